defmodule Linx.Netlink.Rtnl.Bridge.Vlan.TunnelInfo do
  @moduledoc false
  # IFLA_BRIDGE_VLAN_TUNNEL_INFO: the tunnel id of a VLAN.

  use Linx.Netlink.Codec

  alias Linx.Netlink.Rtnl.Bridge.Vlan.Info

  codec do
    attr(1, :id, :u32)
    attr(2, :vid, :u16)
    attr(3, :flags, {:flags, {Info, :flags}}, default: [])
  end
end
