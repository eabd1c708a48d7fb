defmodule Linx.Netlink.Rtnl.AltNames do
  @moduledoc false
  # IFLA_PROP_LIST: a nest in which IFLA_ALT_IFNAME stands once for each further name.

  alias Linx.Netlink.Attr

  @ifla_alt_ifname 53

  @spec encode([String.t()]) :: binary()
  def encode(names), do: Attr.encode(for name <- names, do: {@ifla_alt_ifname, [name, 0]})

  @spec decode(binary()) :: [String.t()]
  def decode(bytes) do
    for {@ifla_alt_ifname, name} <- Attr.scan(bytes), do: name |> :binary.split(<<0>>) |> hd()
  end
end
