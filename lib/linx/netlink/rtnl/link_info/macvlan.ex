defmodule Linx.Netlink.Rtnl.LinkInfo.Macvlan do
  @moduledoc """
  The mode of a macvlan or macvtap, as the kernel's number: 1 private, 2 vepa, 4 bridge, 8
  passthru, 16 source.

  Source: `include/uapi/linux/if_link.h`, `IFLA_MACVLAN_*`.
  """

  use Linx.Netlink.Codec

  codec do
    attr(1, :mode, :u32)
  end

  @modes %{private: 1, vepa: 2, bridge: 4, passthru: 8, source: 16}

  @doc false
  def __option__(:mode, mode, data) when is_map_key(@modes, mode),
    do: {:ok, %{data | mode: @modes[mode]}}

  def __option__(_key, _value, _data), do: :error
end
