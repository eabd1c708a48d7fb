defmodule Linx.Netlink.Rtnl.LinkInfo.Bond do
  @moduledoc """
  The configuration of a bond. `mode` is the kernel's number: 0 balance-rr, 1 active-backup, 2
  balance-xor, 3 broadcast, 4 802.3ad, 5 balance-tlb, 6 balance-alb; as an option it may be a
  name: `:balance_rr`, `:active_backup`, `:balance_xor`, `:broadcast`, `:"802.3ad"`,
  `:balance_tlb`, `:balance_alb`. `arp_ip_target` and `ns_ip6_target` are lists of addresses,
  `active_slave` and `primary` indices of links. Times are in milliseconds.

  Source: `include/uapi/linux/if_link.h` at 7.2, `IFLA_BOND_*`;
  Documentation/networking/bonding.rst.
  """

  use Linx.Netlink.Codec

  alias Linx.{IP, MAC}
  alias Linx.Netlink.Rtnl.HardwareAddress
  alias Linx.Netlink.Rtnl.LinkInfo.Bond.Targets

  codec do
    attr(1, :mode, :u8)
    attr(2, :active_slave, :u32)
    attr(3, :miimon, :u32)
    attr(4, :updelay, :u32)
    attr(5, :downdelay, :u32)
    attr(6, :use_carrier, :u8)
    attr(7, :arp_interval, :u32)
    attr(8, :arp_ip_target, Targets)
    attr(9, :arp_validate, :u32)
    attr(10, :arp_all_targets, :u32)
    attr(11, :primary, :u32)
    attr(12, :primary_reselect, :u8)
    attr(13, :fail_over_mac, :u8)
    attr(14, :xmit_hash_policy, :u8)
    attr(15, :resend_igmp, :u32)
    attr(16, :num_peer_notif, :u8)
    attr(17, :all_slaves_active, :u8)
    attr(18, :min_links, :u32)
    attr(19, :lp_interval, :u32)
    attr(20, :packets_per_slave, :u32)
    attr(21, :ad_lacp_rate, :u8)
    attr(22, :ad_select, :u8)
    attr(24, :ad_actor_sys_prio, :u16)
    attr(25, :ad_user_port_key, :u16)
    attr(26, :ad_actor_system, HardwareAddress)
    attr(27, :tlb_dynamic_lb, :u8)
    attr(28, :peer_notif_delay, :u32)
    attr(29, :ad_lacp_active, :u8)
    attr(30, :missed_max, :u8)
    attr(31, :ns_ip6_target, Targets)
    attr(32, :coupled_control, :u8)
    attr(33, :broadcast_neigh, :u8)
    attr(34, :lacp_strict, :u8)
  end

  @modes %{
    balance_rr: 0,
    active_backup: 1,
    balance_xor: 2,
    broadcast: 3,
    "802.3ad": 4,
    balance_tlb: 5,
    balance_alb: 6
  }

  @doc false
  def __option__(:mode, mode, data) when is_map_key(@modes, mode),
    do: {:ok, %{data | mode: @modes[mode]}}

  def __option__(:arp_ip_target, ips, data), do: targets(data, :arp_ip_target, ips, :inet)
  def __option__(:ns_ip6_target, ips, data), do: targets(data, :ns_ip6_target, ips, :inet6)

  def __option__(:ad_actor_system, mac, data) do
    with {:ok, mac} <- MAC.cast(mac), do: {:ok, %{data | ad_actor_system: mac}}
  end

  def __option__(_key, _value, _data), do: :field

  # BOND_MAX_ARP_TARGETS.
  defp targets(data, key, ips, family) when is_list(ips) and length(ips) <= 16 do
    ips
    |> Enum.reduce_while([], fn ip, done ->
      case IP.cast(ip) do
        {:ok, %IP{family: ^family} = ip} -> {:cont, [ip | done]}
        {:ok, ip} -> {:halt, {:error, {:unlike_families, family, ip}}}
        error -> {:halt, error}
      end
    end)
    |> case do
      done when is_list(done) -> {:ok, Map.replace!(data, key, Enum.reverse(done))}
      error -> error
    end
  end

  defp targets(_data, _key, _ips, _family), do: :error

  @newer [
    :peer_notif_delay,
    :ad_lacp_active,
    :missed_max,
    :coupled_control,
    :broadcast_neigh,
    :lacp_strict
  ]

  # Whether a bond that reads as `data` has an option: the kernel passes over those that it does
  # not know.
  @doc false
  def __has__(key, data), do: key not in @newer or Map.fetch!(data, key) != nil
end
