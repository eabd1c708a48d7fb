defmodule Linx.Netlink.Rtnl.Bridge.Vlan.Attributes do
  @moduledoc false
  # IFLA_AF_SPEC of AF_BRIDGE: VLANs, and whether those of the bridge or of the device are meant.

  use Linx.Netlink.Codec

  alias Linx.Netlink.Rtnl.Bridge.Vlan.{Info, TunnelInfo}

  codec do
    flags(:target, :u16, master: 1, self: 2)

    attr(0, :target, {:flags, :target})
    attr(2, :vlans, {:multi, Info})
    attr(3, :tunnels, {:multi, {:nested, TunnelInfo}})
  end
end
