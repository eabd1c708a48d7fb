defmodule Linx.Netlink.Rtnl.Reconcile.Canonical do
  @moduledoc false
  # The kernel's form of routes, addresses and rules, and the comparison of a desired object with
  # an observed one.
  #
  # The kernel stores some values in another form than they were sent: one hop of a multipath as a
  # gateway, a nexthop object with the gateway of that object, an IPv6 blackhole on lo, host bits
  # off, a metric of 0 as 1024 (IPv6). Every such form is known here and nowhere else. A desired
  # object is compared in the options that it sets; an option that is unset has whatever value the
  # kernel gave it.

  import Bitwise

  alias Linx.IP
  alias Linx.Netlink.Rtnl.{Address, Lifetime, Route, Rule}
  alias Linx.Netlink.Rtnl.Route.{Metrics, Nexthop}
  alias Linx.Netlink.Rtnl.Rule.Match

  @inet 2
  @inet6 10

  # RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT, RTN_THROW: the types without a next hop.
  @rejects 6..9
  @blackhole 6

  # RTNH_F_ONLINK: the one flag of a hop that a request sets. Dead, linkdown, offload and trap are
  # the kernel's.
  @onlink 4

  # IP6_RT_PRIO_USER
  @ipv6_metric 1024

  # The metrics that ip_metrics_convert() cuts down to what fits.
  @metric_limits %{mtu: 65_520, advmss: 65_495, hoplimit: 255}

  # -- routes ------------------------------------------------------------------------------------

  @doc """
  A desired route in the kernel's form: host bits off, a gateway in `via` of the route's own
  family as `gateway`, a flag of all hops of an IPv6 route as one of each, one hop as a plain
  gateway.
  """
  @spec route(Route.t()) :: Route.t()
  def route(%Route{} = route),
    do: route |> masked() |> own_via() |> flagged_hops() |> single_hop()

  defp flagged_hops(%{family: @inet6, multipath: [_ | _] = hops, flags: flags} = route)
       when (flags &&& @onlink) != 0,
       do: %{route | multipath: Enum.map(hops, &%{&1 | flags: &1.flags ||| @onlink})}

  defp flagged_hops(route), do: route

  defp masked(%{dst: %IP{bytes: bytes} = ip, dst_len: length} = route)
       when is_integer(length) and length < bit_size(bytes) do
    host = bit_size(bytes) - length

    case bytes do
      <<_::bits-size(^length), 0::size(^host)>> ->
        route

      <<net::bits-size(^length), _::bits>> ->
        %{route | dst: %{ip | bytes: <<net::bits, 0::size(host)>>}}
    end
  end

  defp masked(route), do: route

  defp own_via(%{via: %IP{} = via, gateway: nil} = route) do
    if family(via) == route.family, do: %{route | gateway: via, via: nil}, else: route
  end

  defp own_via(route), do: route

  defp single_hop(%{multipath: [_ | _] = hops} = route) do
    case Enum.map(hops, &hop(&1, route.family)) do
      [hop] ->
        oif = if hop.oif == 0, do: nil, else: hop.oif
        flags = (route.flags || 0) ||| (hop.flags &&& @onlink)
        %{route | multipath: nil, gateway: hop.gateway, via: hop.via, oif: oif, flags: flags}

      hops ->
        %{route | multipath: hops}
    end
  end

  defp single_hop(route), do: route

  defp hop(%Nexthop{via: %IP{} = via, gateway: nil} = hop, family) do
    if family(via) == family, do: %{hop | gateway: via, via: nil}, else: hop
  end

  defp hop(hop, _family), do: hop

  defp family(%IP{family: :inet}), do: @inet
  defp family(%IP{family: :inet6}), do: @inet6

  @doc """
  The next hops of a route: `:none` for a type without any, `{:object, id}` for a nexthop object,
  else a list of hops.
  """
  @spec hops(Route.t()) :: :none | {:object, pos_integer()} | [Nexthop.t()]
  def hops(%{nh_id: id}) when id != nil, do: {:object, id}
  def hops(%{type: type}) when type in @rejects, do: :none
  def hops(%{multipath: [_ | _] = hops}), do: hops

  def hops(%{gateway: gateway, via: via, oif: oif, flags: flags}),
    do: [%Nexthop{gateway: gateway, via: via, oif: oif || 0, flags: (flags || 0) &&& @onlink}]

  @doc """
  Whether IPv6 puts a route's hops into the group of its key: each has a gateway, and none is a
  nexthop object.
  """
  @spec grouped?(Route.t()) :: boolean()
  def grouped?(route) do
    case hops(route) do
      [_ | _] = hops -> Enum.all?(hops, & &1.gateway)
      _none_or_object -> false
    end
  end

  @doc """
  The compared options of a desired route, in the kernel's form, from its options as they were
  written.
  """
  @spec set(keyword()) :: keyword()
  def set([]), do: []

  def set(opts) do
    hops? = Keyword.has_key?(opts, :multipath)

    Enum.flat_map(opts, fn
      # Compared in each hop.
      {:onlink, _} when hops? -> []
      {:metrics, metrics} -> [metrics: Enum.map(metrics, &metric/1)]
      {key, value} when key in [:prefsrc, :pref, :scope, :onlink, :expires] -> [{key, value}]
      _compared_always -> []
    end)
  end

  @doc """
  The compared options of a desired route that is only a struct: those of its fields that hold a
  value.
  """
  @spec set_of(Route.t()) :: keyword()
  def set_of(%Route{} = route) do
    metrics =
      for {key, value} when value != nil <- metrics(route.metrics), do: metric({key, value})

    for {key, value} <- [
          prefsrc: route.prefsrc,
          pref: route.pref,
          metrics: if(metrics != [], do: metrics),
          onlink: if(((route.flags || 0) &&& @onlink) != 0, do: true)
        ],
        value != nil,
        do: {key, value}
  end

  defp metrics(nil), do: []
  defp metrics(%Metrics{} = metrics), do: metrics |> Map.from_struct() |> Map.to_list()

  defp metric({key, value}) when is_map_key(@metric_limits, key),
    do: {key, min(value, @metric_limits[key])}

  defp metric(metric), do: metric

  @doc """
  Whether an observed route has the type, the next hops and the set options of a desired one in
  the kernel's form. Lifetimes (`:expires`) are compared elsewhere.
  """
  @spec same_route?(Route.t(), keyword(), Route.t()) :: boolean()
  def same_route?(want, set, seen) do
    type(want) == type(seen) and same_hops?(want, seen) and same_options?(want, set, seen)
  end

  # A route by a blackhole object is listed as of that type and kept as unicast.
  defp type(%{type: @blackhole, nh_id: id}) when id != nil, do: 1
  defp type(%{type: type}) when type in [nil, 0], do: 1
  defp type(%{type: type}), do: type

  @doc "Whether an observed route has the set options of a desired one."
  @spec same_options?(Route.t(), keyword(), Route.t()) :: boolean()
  def same_options?(_want, [], _seen), do: true
  def same_options?(want, set, seen), do: Enum.all?(set, &option?(&1, want, seen))

  defp option?({:prefsrc, _}, want, seen), do: want.prefsrc == seen.prefsrc
  defp option?({:pref, _}, want, seen), do: (want.pref || 0) == (seen.pref || 0)
  defp option?({:scope, _}, want, seen), do: want.scope == seen.scope
  # A flag of each hop of a group, compared there.
  defp option?({:onlink, _}, _want, %{multipath: [_ | _]}), do: true
  defp option?({:onlink, on?}, _want, seen), do: ((seen.flags || 0) &&& @onlink) != 0 == on?
  defp option?({:expires, _}, _want, _seen), do: true

  defp option?({:metrics, metrics}, _want, seen) do
    Enum.all?(metrics, fn {key, value} ->
      # A metric of 0 is not kept.
      observed = seen.metrics && Map.fetch!(seen.metrics, key)
      (observed || 0) == value
    end)
  end

  @doc "Whether an observed route has the next hops of a desired one, in any order."
  @spec same_hops?(Route.t(), Route.t()) :: boolean()
  # The plain case, one gateway or one link on both sides, without building a list.
  def same_hops?(
        %{nh_id: nil, multipath: nil, type: type} = want,
        %{nh_id: nil, multipath: nil} = seen
      )
      when type not in @rejects do
    want.gateway == seen.gateway and want.via == seen.via and want.oif in [nil, seen.oif]
  end

  def same_hops?(want, seen), do: match_hops?(hops(want), hops(seen))

  defp match_hops?([_ | _] = wanted, [_ | _] = seen), do: unmatched(wanted, seen) == {[], []}
  defp match_hops?(wanted, seen), do: wanted == seen

  @doc """
  The wanted hops that are not among the observed, and the observed ones that no wanted hop is.
  The order of hops means nothing.
  """
  @spec unmatched([Nexthop.t()], [Nexthop.t()]) :: {[Nexthop.t()], [Nexthop.t()]}
  def unmatched(wanted, seen) do
    # Hops with a link choose before those without, which take any.
    {missing, rest} =
      wanted
      |> Enum.sort_by(&(&1.oif == 0))
      |> Enum.reduce({[], seen}, fn hop, {missing, rest} ->
        case Enum.find_index(rest, &same_hop?(hop, &1)) do
          nil -> {[hop | missing], rest}
          at -> {missing, List.delete_at(rest, at)}
        end
      end)

    {Enum.reverse(missing), rest}
  end

  defp same_hop?(want, seen),
    do: same_target?(want, seen) and want.weight == seen.weight and onlink?(want, seen)

  @doc "Whether two hops lead to the same gateway by the same link, whatever their weights."
  @spec same_target?(Nexthop.t(), Nexthop.t()) :: boolean()
  def same_target?(want, seen),
    do: want.gateway == seen.gateway and want.via == seen.via and want.oif in [0, seen.oif]

  defp onlink?(%{flags: flags}, _seen) when (flags &&& @onlink) == 0, do: true
  defp onlink?(_want, seen), do: (seen.flags &&& @onlink) != 0

  @doc "The route with another list of hops."
  @spec with_hops(Route.t(), [Nexthop.t()]) :: Route.t()
  def with_hops(route, hops), do: %{route | gateway: nil, via: nil, oif: nil, multipath: hops}

  @doc """
  A deletion of one hop of an IPv6 group: its protocol and gateway are named, so that no other hop
  goes with it.
  """
  @spec hop_deletion(Route.t(), Nexthop.t(), 0..255) :: Route.t()
  def hop_deletion(route, hop, protocol) do
    oif = if hop.oif == 0, do: nil, else: hop.oif

    Route.bare(%{
      route
      | multipath: nil,
        gateway: hop.gateway,
        via: hop.via,
        oif: oif,
        protocol: protocol
    })
  end

  @doc "An observed route as a request that makes it again."
  @spec again(Route.t()) :: Route.t()
  def again(%Route{} = route) do
    kept =
      [:family, :dst, :dst_len, :src, :src_len, :tos, :table, :table_ext, :protocol, :scope] ++
        [:type, :gateway, :via, :oif, :multipath, :nh_id, :priority, :prefsrc, :pref, :metrics] ++
        [:flow, :encap_type, :encap]

    route = %{struct(Route, Map.to_list(Map.take(route, kept))) | flags: route.flags &&& @onlink}

    case hops(route) do
      list when is_list(list) and route.multipath != nil ->
        %{route | oif: nil, multipath: Enum.map(list, &%{&1 | flags: &1.flags &&& @onlink})}

      list when is_list(list) ->
        route

      _none_or_object ->
        %{route | type: type(route), gateway: nil, via: nil, oif: nil, multipath: nil}
    end
  end

  @doc """
  What makes a route that route: `{table, family, dst, dst_len, metric}`, and the TOS where an
  IPv4 route has one.
  """
  @spec route_key(Route.t()) :: term()
  def route_key(%{family: family} = route) do
    table = Route.target_table(route)
    metric = route_metric(family, route.priority)

    case route do
      %{tos: tos} when family == @inet and tos not in [nil, 0] ->
        {table, family, destination(route), route.dst_len, metric, tos}

      _ ->
        {table, family, destination(route), route.dst_len, metric}
    end
  end

  defp destination(%{dst_len: 0}), do: :default
  defp destination(%{dst: nil}), do: nil
  defp destination(route), do: masked(route).dst

  defp route_metric(@inet6, none) when none in [nil, 0], do: @ipv6_metric
  defp route_metric(_family, nil), do: 0
  defp route_metric(_family, metric), do: metric

  # -- addresses ---------------------------------------------------------------------------------

  @doc "The interface's own address, which IPv6 has in `address` unless there is a peer."
  @spec own(Address.t()) :: IP.t() | nil
  def own(%{local: nil, address: address}), do: address
  def own(%{local: local}), do: local

  # The far end of a point-to-point address.
  defp peer(%{local: local, address: address}) when local in [nil, address], do: nil
  defp peer(%{address: address}), do: address

  @doc """
  What makes an address that address to the kernel: on IPv6 the link and the address alone, on
  IPv4 also the prefix length and the subnet of the peer.
  """
  @spec address_id(Address.t()) :: term()
  def address_id(%{family: @inet6} = address), do: {address.index, @inet6, own(address)}

  def address_id(%{family: family} = address) do
    peer = peer(address)
    net = peer && masked(%{dst: peer, dst_len: address.prefixlen}).dst
    {address.index, family, own(address), address.prefixlen, net}
  end

  @doc "The subnet of an address."
  @spec address_net(Address.t()) :: IP.t()
  def address_net(address), do: masked(%{dst: address.address, dst_len: address.prefixlen}).dst

  # IFA_F_*: NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN. IFA_F_OPTIMISTIC ends
  # with the check that it is for.
  @kept_flags 0x02 ||| 0x10 ||| 0x100 ||| 0x200 ||| 0x400

  @doc "The flags of an address, all 32 bits."
  @spec flags(Address.t()) :: non_neg_integer()
  def flags(%{flags_ext: nil, flags: flags}), do: flags
  def flags(%{flags_ext: flags}), do: flags

  # IFA_F_DEPRECATED
  @deprecated_flag 0x20

  @doc """
  The lifetime of an address. Of an IPv4 address that stays for ever the kernel lists a preferred
  lifetime of for ever, and a flag where it is over (inet_fill_ifaddr).
  """
  @spec lifetime(Address.t()) :: {Lifetime.seconds(), Lifetime.seconds()}
  def lifetime(%{family: @inet, lifetime: forever} = address)
      when forever in [nil, {:forever, :forever}] do
    if (flags(address) &&& @deprecated_flag) != 0,
      do: {0, :forever},
      else: {:forever, :forever}
  end

  def lifetime(%{lifetime: lifetime}), do: lifetime || {:forever, :forever}

  @doc "Those flags of an address that a request sets and the kernel keeps."
  @spec kept_flags(Address.t()) :: non_neg_integer()
  def kept_flags(address), do: flags(address) &&& @kept_flags

  @doc """
  How an observed address differs from a desired one, its lifetimes apart: `:same`, `:values` (a
  replacement changes them) or `:identity` (it has to be made anew). `set` are the options that
  the desired one sets.
  """
  @spec compare_address(Address.t(), [atom()], Address.t()) :: :same | :values | :identity
  def compare_address(%{family: @inet6} = want, set, seen) do
    cond do
      want.prefixlen != seen.prefixlen or peer(want) != peer(seen) -> :identity
      :priority in set and metric_off?(want, seen) -> :identity
      not address_options?([:flags, :priority], want, set, seen) -> :values
      true -> :same
    end
  end

  def compare_address(want, set, seen) do
    cond do
      not address_options?([:scope, :label, :broadcast, :flags], want, set, seen) -> :identity
      not address_options?([:priority], want, set, seen) -> :values
      true -> :same
    end
  end

  # No change of an IPv6 address takes a metric off (inet6_addr_modify).
  defp metric_off?(want, seen),
    do: address_option(:priority, want) == 0 and address_option(:priority, seen) != 0

  defp address_options?(keys, want, set, seen),
    do: Enum.all?(keys, &(&1 not in set or address_option(&1, want) == address_option(&1, seen)))

  defp address_option(:flags, address), do: kept_flags(address)
  defp address_option(:priority, address), do: address.priority || 0

  defp address_option(:broadcast, %{broadcast: %IP{bytes: <<0::32>>}}), do: nil
  defp address_option(key, address), do: Map.fetch!(address, key)

  # IFA_F_SECONDARY, DADFAILED, DEPRECATED, TENTATIVE, PERMANENT and STABLE_PRIVACY are the
  # kernel's.
  @asked_flags @kept_flags ||| 0x04

  @doc """
  An observed address as a request that makes it again, with the lifetimes that it had left.
  """
  @spec again_address(Address.t()) :: Address.t()
  def again_address(%Address{} = address) do
    flags = flags(address) &&& @asked_flags
    lifetime = lifetime(address)
    %{address | flags: flags &&& 0xFF, flags_ext: flags, lifetime: lifetime, extra: []}
  end

  # -- rules -------------------------------------------------------------------------------------

  # FIB_RULE_INVERT
  @invert 2
  @all 0xFFFFFFFF

  @doc """
  Every selector and the action of a rule, with neutral values as `nil`: a prefix of no bits, a
  mark of 0 under no mask, a TOS of 0. The protocol is not in it.
  """
  @spec rule_key(Rule.t()) :: term()
  def rule_key(rule) do
    # The kernel sends no priority of 0.
    {rule.priority || 0, rule.family, subnet(rule.src, rule.src_len),
     subnet(rule.dst, rule.dst_len), mark(rule.fwmark, rule.fwmask), target(rule), rule.iif,
     rule.oif, none(rule.tos), ((rule.flags || 0) &&& @invert) != 0, none(rule.ipproto),
     rule.sport, rule.dport, rule.uid,
     rule.suppress_prefixlength not in [nil, @all] && rule.suppress_prefixlength,
     none(rule.l3mdev), rule.suppress_ifgroup not in [nil, @all] && rule.suppress_ifgroup,
     rule.dscp, Enum.sort(Match.extra(rule))}
  end

  defp subnet(_ip, length) when length in [nil, 0], do: nil
  defp subnet(%IP{} = ip, length), do: {masked(%{dst: ip, dst_len: length}).dst, length}
  defp subnet(nil, length), do: {nil, length}

  # The mask of a mark is all bits unless given, and a mark of 0 is not sent back.
  defp mark(mark, mask) when mark in [nil, 0] and mask in [nil, 0], do: nil
  defp mark(nil, mask), do: {0, mask}
  defp mark(mark, nil), do: {mark, @all}
  defp mark(mark, mask), do: {mark, mask}

  defp target(%{action: 2} = rule), do: {:goto, rule.goto}

  defp target(%{action: action} = rule) when action in [nil, 0, 1],
    do: {:table, Rule.target_table(rule)}

  defp target(%{action: action}), do: {:action, action}

  defp none(0), do: nil
  defp none(value), do: value

  @doc """
  What the kernel itself takes for one rule: it does not compare inversion, nor where a goto
  leads.
  """
  @spec kernel_rule_key(Rule.t()) :: term()
  def kernel_rule_key(rule) do
    key = rule_key(%{rule | flags: 0})

    case target(rule) do
      {:goto, _} -> put_elem(key, 5, :goto)
      _ -> key
    end
  end

  @doc "An observed rule as a deletion names it."
  @spec rule_deletion(Rule.t()) :: Rule.t()
  def rule_deletion(rule), do: %{rule | flags: (rule.flags || 0) &&& @invert}
end
