defmodule Linx.Netlink.Rtnl.LinkInfo.Bond.Targets do
  @moduledoc false
  # IFLA_BOND_ARP_IP_TARGET and IFLA_BOND_NS_IP6_TARGET: a nest of addresses, numbered from 0.

  alias Linx.IP
  alias Linx.Netlink.Attr

  @spec encode([IP.t()]) :: binary()
  def encode(targets),
    do: Attr.encode(for {ip, n} <- Enum.with_index(targets), do: {n, IP.encode(ip)})

  @spec decode(binary()) :: [IP.t()]
  def decode(bytes), do: for({_n, value} <- Attr.scan(bytes), ip = IP.decode(value), do: ip)
end
