defmodule Linx.Netlink.Rtnl.Reconcile.Kept do
  @moduledoc false
  # Options of link kinds that the kernel keeps otherwise than they are sent: switches as 0 or 1,
  # 0 as a default, times in whole ticks of its clock, and values outside of a range as its end or
  # not at all. The last are refused here. The length of a tick is not known in advance.

  alias Linx.Netlink.Rtnl.LinkInfo
  alias Linx.Netlink.Rtnl.LinkInfo.{Bond, Bridge, Vxlan}

  # Each value but 0 is 1. STP is 2 where a program beside the kernel speaks it.
  @switches %{
    Bridge =>
      [:stp_state, :vlan_filtering, :mcast_snooping, :mcast_query_use_ifaddr, :mcast_querier] ++
        [:nf_call_iptables, :nf_call_ip6tables, :nf_call_arptables, :mcast_stats_enabled],
    Vxlan =>
      [:learning, :proxy, :rsc, :l2miss, :l3miss, :udp_csum, :udp_zero_csum6_tx] ++
        [:udp_zero_csum6_rx, :remcsum_tx, :remcsum_rx, :collect_metadata]
  }

  # FDB_AGE_DEFAULT
  @defaults %{Vxlan => %{ageing: {0, 300}}}

  # The end is that of 64 bits of nanoseconds, in hundredths of a second.
  @longest 0..1_844_674_407_370
  # BR_MULTICAST_QUERY_INTVL_MIN and _MAX, likewise for the first queries.
  @queries 100..8_640_000

  @ranges %{
    Bridge => %{
      # Obsolete: RHT_ELASTICITY.
      mcast_hash_elasticity: 16..16,
      mcast_query_interval: @queries,
      mcast_startup_query_interval: @queries,
      mcast_last_member_interval: @longest,
      mcast_membership_interval: @longest,
      mcast_querier_interval: @longest,
      mcast_query_response_interval: @longest
    }
  }

  # In hundredths of a second, which may be more than a tick or less.
  @times %{
    Bridge =>
      [:forward_delay, :hello_time, :max_age, :ageing_time, :mcast_last_member_interval] ++
        [:mcast_membership_interval, :mcast_querier_interval, :mcast_query_interval] ++
        [:mcast_query_response_interval, :mcast_startup_query_interval]
  }

  @doc "The first value of a kind's options that the kernel does not keep, and what it keeps."
  @spec check(LinkInfo.t()) ::
          :ok | {:error, {:out_of_range, {atom(), term()}, Range.t() | {:multiple_of, integer()}}}
  def check(%{info_data: %Bond{miimon: tick} = data}) when is_integer(tick) and tick > 0 do
    found =
      Enum.find([:updelay, :downdelay, :peer_notif_delay], fn key ->
        rem(Map.fetch!(data, key) || 0, tick) != 0
      end)

    if found,
      do: {:error, {:out_of_range, {found, Map.fetch!(data, found)}, {:multiple_of, tick}}},
      else: :ok
  end

  def check(%{info_data: %module{} = data}) when is_map_key(@ranges, module) do
    Enum.find_value(@ranges[module], :ok, fn {key, range} ->
      value = Map.fetch!(data, key)
      if value != nil and value not in range, do: {:error, {:out_of_range, {key, value}, range}}
    end)
  end

  def check(_info), do: :ok

  @doc "The options of a kind in the form in which the kernel keeps them."
  @spec normal(LinkInfo.t() | nil) :: LinkInfo.t() | nil
  def normal(%{info_data: %module{} = data} = info) do
    data = Enum.reduce(Map.get(@switches, module, []), data, &switch/2)
    %{info | info_data: Enum.reduce(Map.get(@defaults, module, %{}), data, &default/2)}
  end

  def normal(info), do: info

  defp switch(key, data) do
    case Map.fetch!(data, key) do
      off when off in [nil, 0] -> data
      _on -> Map.replace!(data, key, 1)
    end
  end

  defp default({key, {sent, kept}}, data),
    do: if(Map.fetch!(data, key) == sent, do: Map.replace!(data, key, kept), else: data)

  @doc "Whether a value of a kind's option is kept as another one because of the clock's ticks."
  @spec rounded?(LinkInfo.t() | nil, atom(), {term(), term()}) :: boolean()
  def rounded?(%{info_data: %module{}}, key, {sent, kept})
      when is_integer(sent) and is_integer(kept),
      do: key in Map.get(@times, module, []) and kept in (sent - 1)..sent

  def rounded?(_info, _key, _values), do: false
end
