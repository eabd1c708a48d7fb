defmodule Linx.Netlink.Rtnl.Bridge.Message do
  @moduledoc false
  # A link as AF_BRIDGE has it: a port with its options (IFLA_PROTINFO) and its VLANs
  # (IFLA_AF_SPEC).

  use Linx.Netlink.Codec

  alias Linx.Netlink.Rtnl.Bridge.{Port, Vlan}

  codec do
    flags(:filter, :u32, brvlan: 0x2, brvlan_compressed: 0x4)

    header do
      field(:family, :u8, default: 7)
      pad(1)
      field(:type, :u16)
      field(:index, :s32)
      field(:flags, :u32)
      field(:change, :u32)
    end

    attr(3, :name, :string)
    attr(10, :master, :u32)
    attr(12, :port, {:nested, Port.Attributes})
    attr(26, :vlans, {:nested, Vlan.Attributes})
    attr(29, :ext_mask, {:flags, :filter})
  end
end
