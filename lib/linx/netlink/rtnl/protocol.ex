defmodule Linx.Netlink.Rtnl.Protocol do
  @moduledoc false
  # The kind of a protocol: which program an object belongs to. `RTPROT_*` of linux/rtnetlink.h at
  # 7.2.

  use Linx.Netlink.Codec

  alias Linx.Netlink.Codec.Kind

  codec do
    enum(:protocol, :u8,
      unspec: 0,
      redirect: 1,
      kernel: 2,
      boot: 3,
      static: 4,
      gated: 8,
      ra: 9,
      mrt: 10,
      zebra: 11,
      bird: 12,
      dnrouted: 13,
      xorp: 14,
      ntk: 15,
      dhcp: 16,
      mrouted: 17,
      keepalived: 18,
      babel: 42,
      ovn: 84,
      openr: 99,
      bgp: 186,
      isis: 187,
      ospf: 188,
      rip: 189,
      eigrp: 192
    )
  end

  @doc "The value that a protocol reads as, for a name or a number."
  @spec cast(term()) :: {:ok, atom() | 0..255} | :error
  def cast(protocol) do
    kind = __codec__().kinds.protocol
    with {:ok, number} <- Kind.number(kind, protocol), do: {:ok, Kind.value(kind, number)}
  end
end
