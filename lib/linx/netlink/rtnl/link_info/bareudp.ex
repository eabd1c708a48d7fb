defmodule Linx.Netlink.Rtnl.LinkInfo.Bareudp do
  @moduledoc """
  A bareudp tunnel: packets of one protocol in UDP, without a header between (RFC 7510 for MPLS).

  `port` is the UDP destination port and `ethertype` the protocol inside, both needed to make one.
  `srcport_min` is the least source port. `multiproto` carries MPLS multicast beside unicast, and
  IPv6 beside IPv4.

      :ok = Link.create(socket, "bu0", :bareudp, port: 6635, ethertype: 0x8847)

  Source: `include/uapi/linux/if_link.h`, `IFLA_BAREUDP_*`.
  """

  use Linx.Netlink.Codec

  codec do
    attr(1, :port, :u16_be)
    attr(2, :ethertype, :u16_be)
    attr(3, :srcport_min, :u16)
    attr(4, :multiproto, :flag)
  end
end
