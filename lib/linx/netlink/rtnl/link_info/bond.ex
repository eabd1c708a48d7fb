defmodule Linx.Netlink.Rtnl.LinkInfo.Bond do
  @moduledoc """
  The configuration of a bond. `mode` is the kernel's number: 0 balance-rr, 1 active-backup, 2 balance-xor, 3 broadcast,
  4 802.3ad, 5 balance-tlb, 6 balance-alb. Times are in milliseconds.

  Source: `include/uapi/linux/if_link.h`, `IFLA_BOND_*`; Documentation/networking/bonding.rst.
  """

  use Linx.Netlink.Codec

  codec do
    attr(1, :mode, :u8)
    attr(2, :active_slave, :u32)
    attr(3, :miimon, :u32)
    attr(4, :updelay, :u32)
    attr(5, :downdelay, :u32)
    attr(6, :use_carrier, :u8)
    attr(7, :arp_interval, :u32)
    attr(9, :arp_validate, :u32)
    attr(11, :primary, :u32)
    attr(12, :primary_reselect, :u8)
    attr(13, :fail_over_mac, :u8)
    attr(14, :xmit_hash_policy, :u8)
    attr(17, :all_slaves_active, :u8)
    attr(18, :min_links, :u32)
    attr(21, :ad_lacp_rate, :u8)
    attr(22, :ad_select, :u8)
  end
end
