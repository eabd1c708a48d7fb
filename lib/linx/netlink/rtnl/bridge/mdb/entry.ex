defmodule Linx.Netlink.Rtnl.Bridge.Mdb.Entry do
  @moduledoc false
  # MDBA_MDB_ENTRY_INFO: `struct br_mdb_entry` and MDBA_MDB_EATTR_*. A request has the struct
  # alone.

  use Linx.Netlink.Codec

  alias Linx.IP
  alias Linx.Netlink.Rtnl.Bridge.Mdb.Sources
  alias Linx.Netlink.Rtnl.Protocol

  codec do
    enum(:state, :u8, temp: 0, permanent: 1)
    enum(:mode, :u8, exclude: 0, include: 1)

    flags(:flags, :u8,
      offload: 1,
      fast_leave: 2,
      star_excl: 4,
      blocked: 8,
      offload_failed: 16
    )

    header do
      field(:ifindex, :u32)
      field(:state, {:enum, :state})
      field(:flags, {:flags, :flags})
      field(:vid, :u16)
      field(:address, {:binary, 16})
      field(:proto, :u16_be)
      pad(2)
    end

    attr(1, :timer, :u32)
    attr(2, :source_list, {:nested, Sources})
    attr(3, :filter_mode, {:enum, :mode})
    attr(4, :source, IP)
    attr(5, :protocol, {:enum, {Protocol, :protocol}})
    attr(6, :dst, IP)
    attr(7, :dst_port, :u16)
    attr(8, :vni, :u32)
    attr(9, :via, :u32)
    attr(10, :src_vni, :u32)
    rest(:extra)
  end
end
