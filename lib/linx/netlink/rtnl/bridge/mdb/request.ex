defmodule Linx.Netlink.Rtnl.Bridge.Mdb.Request do
  @moduledoc false
  # RTM_NEWMDB, RTM_DELMDB, RTM_GETMDB as they are sent.

  use Linx.Netlink.Codec

  alias Linx.IP
  alias Linx.Netlink.Rtnl.Bridge.Mdb.{Entry, Sources}
  alias Linx.Netlink.Rtnl.Protocol

  defmodule Attributes do
    @moduledoc false
    # MDBE_ATTR_*.

    use Linx.Netlink.Codec

    codec do
      attr(1, :source, IP)
      attr(2, :source_list, {:nested, Sources})
      attr(3, :filter_mode, {:enum, {Entry, :mode}})
      attr(4, :protocol, {:enum, {Protocol, :protocol}})
      attr(5, :dst, IP)
      attr(6, :dst_port, :u16)
      attr(7, :vni, :u32)
      attr(8, :via, :u32)
      attr(9, :src_vni, :u32)
      rest(:extra)
    end
  end

  codec do
    header do
      field(:family, :u8, default: 7)
      pad(3)
      field(:ifindex, :u32)
    end

    attr(1, :entry, Entry)
    attr(2, :attributes, {:nested, Attributes})
  end
end
