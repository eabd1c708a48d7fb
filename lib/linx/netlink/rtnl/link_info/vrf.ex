defmodule Linx.Netlink.Rtnl.LinkInfo.Vrf do
  @moduledoc """
  The routing table of a VRF.

  Source: `include/uapi/linux/if_link.h`, `IFLA_VRF_TABLE`.
  """

  use Linx.Netlink.Codec

  codec do
    attr(1, :table, :u32)
  end
end
