defmodule Linx.Netlink.Rtnl.LinkInfo.Bridge do
  @moduledoc """
  The configuration of a bridge. Times are in hundredths of a second, as the kernel has them.
  `boolopts` holds what the kernel knows of switches that share an attribute (`mask`) and which of
  them are on (`value`); as options they have their own names, with `true` or `false`:
  `:no_linklocal_learn`, `:mcast_vlan_snooping`, `:mst_enabled`, `:mdb_offload_fail_notification`,
  `:fdb_local_vlan_0`. `fdb_flush: true` forgets every address that was learned.

  Source: ip-link(8), `include/uapi/linux/if_link.h` at 7.2, `IFLA_BR_*`.
  """

  use Linx.Netlink.Codec

  alias Linx.MAC
  alias Linx.Netlink.Rtnl.HardwareAddress

  defmodule BoolOpts do
    @moduledoc false
    # `struct br_boolopt_multi`: only the switches of the mask change.

    use Linx.Netlink.Codec

    codec do
      flags(:switch, :u32,
        no_linklocal_learn: 0x01,
        mcast_vlan_snooping: 0x02,
        mst_enabled: 0x04,
        mdb_offload_fail_notification: 0x08,
        fdb_local_vlan_0: 0x10
      )

      header do
        field(:value, {:flags, :switch})
        field(:mask, {:flags, :switch})
      end
    end
  end

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
    attr(20, :group_addr, HardwareAddress)
    attr(21, :fdb_flush, :flag)
    attr(22, :mcast_router, :u8)
    attr(23, :mcast_snooping, :u8)
    attr(24, :mcast_query_use_ifaddr, :u8)
    attr(25, :mcast_querier, :u8)
    attr(26, :mcast_hash_elasticity, :u32)
    attr(27, :mcast_hash_max, :u32)
    attr(28, :mcast_last_member_count, :u32)
    attr(29, :mcast_startup_query_count, :u32)
    attr(30, :mcast_last_member_interval, :u64)
    attr(31, :mcast_membership_interval, :u64)
    attr(32, :mcast_querier_interval, :u64)
    attr(33, :mcast_query_interval, :u64)
    attr(34, :mcast_query_response_interval, :u64)
    attr(35, :mcast_startup_query_interval, :u64)
    attr(36, :nf_call_iptables, :u8)
    attr(37, :nf_call_ip6tables, :u8)
    attr(38, :nf_call_arptables, :u8)
    attr(39, :vlan_default_pvid, :u16)
    attr(41, :vlan_stats_enabled, :u8)
    attr(42, :mcast_stats_enabled, :u8)
    attr(43, :mcast_igmp_version, :u8)
    attr(44, :mcast_mld_version, :u8)
    attr(45, :vlan_stats_per_port, :u8)
    attr(46, :boolopts, BoolOpts)
    attr(49, :fdb_max_learned, :u32)
    attr(50, :stp_mode, :u32)
  end

  @switches Map.keys(BoolOpts.__codec__().kinds.switch.numbers)

  @doc false
  def __option__(key, on?, data) when key in @switches and is_boolean(on?) do
    opts = data.boolopts || %BoolOpts{}
    value = if on?, do: [key | opts.value], else: List.delete(opts.value, key)
    {:ok, %{data | boolopts: %{opts | value: value, mask: [key | opts.mask]}}}
  end

  def __option__(key, _value, _data) when key in @switches or key == :boolopts, do: :error
  def __option__(:fdb_flush, on?, _data) when on? != true, do: :error

  def __option__(:group_addr, mac, data) do
    with {:ok, mac} <- MAC.cast(mac), do: {:ok, %{data | group_addr: mac}}
  end

  def __option__(_key, _value, _data), do: :field

  # Whether a bridge that reads as `data` has an option: the kernel passes over those that it does
  # not know.
  @doc false
  def __has__(key, data) when key in @switches,
    do: data.boolopts != nil and key in data.boolopts.mask

  def __has__(:fdb_flush, _data), do: true
  def __has__(key, data), do: Map.fetch!(data, key) != nil

  @doc false
  def __names__, do: @switches
end
