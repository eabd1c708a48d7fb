defmodule Linx.Netlink.Rtnl.LinkInfo.Tun do
  @moduledoc """
  What the kernel says of a tun or tap link: `type` 1 is tun, 2 tap; `owner` and `group` are ids,
  absent when anyone may attach. Such links are made through /dev/net/tun, not by netlink.

  Source: `include/uapi/linux/if_link.h`, `IFLA_TUN_*`.
  """

  use Linx.Netlink.Codec

  codec do
    attr(1, :owner, :u32)
    attr(2, :group, :u32)
    attr(3, :type, :u8)
    attr(4, :pi, :u8)
    attr(5, :vnet_hdr, :u8)
    attr(6, :persist, :u8)
    attr(7, :multi_queue, :u8)
    attr(8, :num_queues, :u32)
    attr(9, :num_disabled_queues, :u32)
  end
end
