defmodule Linx.Netlink.Rtnl.Bridge.Port.Attributes do
  @moduledoc false
  # IFLA_BRPORT_* of linux/if_link.h at 7.2, by the names of bridge(8).

  use Linx.Netlink.Codec

  codec do
    enum(:switch, :u8, false: 0, true: 1)
    enum(:state, :u8, disabled: 0, listening: 1, learning: 2, forwarding: 3, blocking: 4)

    attr(1, :state, {:enum, :state})
    attr(2, :priority, :u16)
    attr(3, :cost, :u32)
    attr(4, :hairpin, {:enum, :switch})
    attr(5, :guard, {:enum, :switch})
    attr(6, :root_block, {:enum, :switch})
    attr(7, :fastleave, {:enum, :switch})
    attr(8, :learning, {:enum, :switch})
    attr(9, :flood, {:enum, :switch})
    attr(10, :proxy_arp, {:enum, :switch})
    attr(11, :learning_sync, {:enum, :switch})
    attr(12, :proxy_arp_wifi, {:enum, :switch})
    attr(15, :designated_port, :u16)
    attr(16, :designated_cost, :u16)
    attr(17, :id, :u16)
    attr(18, :no, :u16)
    attr(19, :topology_change_ack, :u8)
    attr(20, :config_pending, :u8)
    attr(24, :flush, :flag)
    attr(25, :mcast_router, :u8)
    attr(27, :mcast_flood, {:enum, :switch})
    attr(28, :mcast_to_unicast, {:enum, :switch})
    attr(29, :vlan_tunnel, {:enum, :switch})
    attr(30, :bcast_flood, {:enum, :switch})
    attr(31, :group_fwd_mask, :u16)
    attr(32, :neigh_suppress, {:enum, :switch})
    attr(33, :isolated, {:enum, :switch})
    attr(34, :backup_port, :u32)
    attr(37, :mcast_eht_hosts_limit, :u32)
    attr(38, :mcast_eht_hosts_cnt, :u32)
    attr(39, :locked, {:enum, :switch})
    attr(40, :mab, {:enum, :switch})
    attr(41, :mcast_n_groups, :u32)
    attr(42, :mcast_max_groups, :u32)
    attr(43, :neigh_vlan_suppress, {:enum, :switch})
    attr(44, :backup_nhid, :u32)
    attr(45, :neigh_forward_grat, {:enum, :switch})
    # Root and bridge ids, timers, and the state of the media redundancy protocol.
    rest(:extra, skip: [13, 14, 21..23, 26, 35, 36])
  end
end
