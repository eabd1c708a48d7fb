defmodule Linx.Netlink.Rtnl.Nexthop.Resilient do
  @moduledoc """
  The parameters of a resilient group: `buckets`, how many there are; `idle_timer`, how long a
  bucket must be idle before it may move to another nexthop; `unbalanced_timer`, how long the
  group may be out of balance before busy buckets move too (0: for ever); and, as read,
  `unbalanced_time`, how long it has been out of balance. Times are in hundredths of a second.

  Source: ip-nexthop(8), `include/uapi/linux/nexthop.h`, `NHA_RES_GROUP_*`.
  """

  use Linx.Netlink.Codec

  codec do
    attr(1, :buckets, :u16)
    attr(2, :idle_timer, :u32)
    attr(3, :unbalanced_timer, :u32)
    attr(4, :unbalanced_time, :u64)
    rest(:extra, skip: [0])
  end
end
