defmodule Linx.Netlink.Rtnl.Bridge.Vlan.Info do
  @moduledoc false
  # `struct bridge_vlan_info`.

  use Linx.Netlink.Codec

  codec do
    flags(:flags, :u16,
      master: 0x01,
      pvid: 0x02,
      untagged: 0x04,
      range_begin: 0x08,
      range_end: 0x10,
      brentry: 0x20,
      only_opts: 0x40
    )

    header do
      field(:flags, {:flags, :flags})
      field(:vid, :u16)
    end
  end
end
