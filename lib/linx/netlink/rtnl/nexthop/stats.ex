defmodule Linx.Netlink.Rtnl.Nexthop.Stats do
  @moduledoc """
  The packets that one member of a group has forwarded: `id` is the nexthop's, `packets` counts
  all, and `packets_hw` those of hardware, where a driver counts them.

  Source: `include/uapi/linux/nexthop.h`, `NHA_GROUP_STATS_ENTRY_*`.
  """

  use Linx.Netlink.Codec

  codec do
    attr(1, :id, :u32)
    attr(2, :packets, :uint)
    attr(3, :packets_hw, :uint)
  end

  defmodule List do
    @moduledoc false
    # NHA_GROUP_STATS.

    use Linx.Netlink.Codec

    codec do
      attr(1, :entries, {:multi, Linx.Netlink.Rtnl.Nexthop.Stats})
    end
  end
end
