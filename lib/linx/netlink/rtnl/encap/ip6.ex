defmodule Linx.Netlink.Rtnl.Encap.IP6 do
  @moduledoc """
  The header of an IPv6 tunnel: `id`, `dst`, `src`, `hoplimit`, `tc`, `flags`. See
  `Linx.Netlink.Rtnl.Encap`.

  Source: `include/uapi/linux/lwtunnel.h`, `LWTUNNEL_IP6_*`.
  """

  use Linx.Netlink.Codec

  alias Linx.IP

  codec do
    attr(1, :id, :u64_be)
    attr(2, :dst, IP)
    attr(3, :src, IP)
    attr(4, :hoplimit, :u8)
    attr(5, :tc, :u8)
    attr(6, :flags, :u16_be)
    rest(:extra, skip: [7])
  end
end
