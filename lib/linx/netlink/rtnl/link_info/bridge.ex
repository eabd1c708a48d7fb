defmodule Linx.Netlink.Rtnl.LinkInfo.Bridge do
  @moduledoc """
  The configuration of a bridge. Times are in hundredths of a second, as the kernel has them.

  Source: `include/uapi/linux/if_link.h`, `IFLA_BR_*`.
  """

  use Linx.Netlink.Codec

  codec do
    attr(1, :forward_delay, :u32)
    attr(2, :hello_time, :u32)
    attr(3, :max_age, :u32)
    attr(4, :ageing_time, :u32)
    attr(5, :stp_state, :u32)
    attr(6, :priority, :u16)
    attr(7, :vlan_filtering, :u8)
    attr(8, :vlan_protocol, :u16_be)
    attr(9, :group_fwd_mask, :u16)
    attr(22, :mcast_router, :u8)
    attr(23, :mcast_snooping, :u8)
    attr(24, :mcast_query_use_ifaddr, :u8)
    attr(25, :mcast_querier, :u8)
    attr(36, :nf_call_iptables, :u8)
    attr(37, :nf_call_ip6tables, :u8)
    attr(38, :nf_call_arptables, :u8)
    attr(39, :vlan_default_pvid, :u16)
    attr(41, :vlan_stats_enabled, :u8)
  end
end
