defmodule Linx.Netlink.Rtnl.Encap.IP4 do
  @moduledoc """
  The header of an IPv4 tunnel: `id`, `dst`, `src`, `ttl`, `tos`, `flags`. See
  `Linx.Netlink.Rtnl.Encap`.

  Source: `include/uapi/linux/lwtunnel.h`, `LWTUNNEL_IP_*`.
  """

  use Linx.Netlink.Codec

  alias Linx.IP

  codec do
    attr(1, :id, :u64_be)
    attr(2, :dst, IP)
    attr(3, :src, IP)
    attr(4, :ttl, :u8)
    attr(5, :tos, :u8)
    attr(6, :flags, :u16_be)
    rest(:extra, skip: [7])
  end
end
