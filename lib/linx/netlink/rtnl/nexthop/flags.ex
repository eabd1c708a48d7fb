defmodule Linx.Netlink.Rtnl.Nexthop.Flags do
  @moduledoc false
  # `RTNH_F_*` of linux/rtnetlink.h, as a kind.

  use Linx.Netlink.Codec

  codec do
    flags(:flags, :u32,
      dead: 1,
      pervasive: 2,
      onlink: 4,
      offload: 8,
      linkdown: 16,
      unresolved: 32,
      trap: 64
    )
  end
end
