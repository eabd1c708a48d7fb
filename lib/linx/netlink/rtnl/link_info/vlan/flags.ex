defmodule Linx.Netlink.Rtnl.LinkInfo.Vlan.Flags do
  @moduledoc false
  # `struct ifla_vlan_flags`: only the flags of the mask change.

  use Linx.Netlink.Codec

  codec do
    flags(:flag, :u32,
      reorder_hdr: 0x01,
      gvrp: 0x02,
      loose_binding: 0x04,
      mvrp: 0x08,
      bridge_binding: 0x10
    )

    header do
      field(:value, {:flags, :flag})
      field(:mask, {:flags, :flag})
    end
  end
end
