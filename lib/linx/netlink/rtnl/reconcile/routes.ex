defmodule Linx.Netlink.Rtnl.Reconcile.Routes do
  @moduledoc false
  # The steps that make routes as desired.
  #
  # IPv4 keeps several routes with one key beside each other, each with its protocol: the new one is appended and ours
  # deleted, so there is a route at every moment and no other's is touched.
  #
  # IPv6 merges the gateways of one key into a group, in which each hop has a protocol of its own and only that of the
  # first is listed. One hop that is listed as ours is ours alone and replaced. A group of several is changed hop by hop:
  # a deletion names our protocol and the hop's gateway, which takes no other's hop. A deletion by protocol without a
  # gateway would take the whole group.

  alias Linx.Netlink.Error
  alias Linx.Netlink.Rtnl.{Call, Route}
  alias Linx.Netlink.Rtnl.Route.Hops
  alias Linx.Netlink.Rtnl.Reconcile.{Canonical, Clock, Desired, Observed, Step}

  @inet 2
  @inet6 10
  # RTNH_F_DEAD and RTNH_F_LINKDOWN
  @unusable 17
  # RTPROT_KERNEL
  @kernel 2

  @type ctx :: %{
          protocol: 1..255,
          remembered: MapSet.t() | nil,
          clocks: Clock.memory()
        }

  @doc "Creations and updates, in the order of the entries."
  @spec changes([Desired.Entry.t()], Observed.t(), ctx()) :: [Step.t()]
  def changes(entries, observed, ctx) do
    for %{absent: nil} = entry <- entries,
        seen = Map.get(observed.routes, entry.key, []),
        not plainly?(entry, seen, observed, ctx),
        step = change(entry, seen, observed, ctx),
        do: step
  end

  # A route by one gateway without options that is as desired: most of them are.
  defp plainly?(
         %{set: [], spans: nil, item: %{nh_id: nil, multipath: nil, type: 1} = item},
         [%{nh_id: nil, multipath: nil, type: 1} = seen],
         observed,
         ctx
       ) do
    item.gateway == seen.gateway and item.via == seen.via and seen.protocol == ctx.protocol and
      (item.oif || Observed.link_of(observed, Route.target_table(item), item)) in [nil, seen.oif]
  end

  defp plainly?(_entry, _seen, _observed, _ctx), do: false

  @doc "Deletions of routes and hops of ours that no entry names."
  @spec deletions(%{optional(term()) => Desired.Entry.t()}, Observed.t(), ctx()) :: [Step.t()]
  def deletions(wanted, observed, ctx) do
    for {key, routes} <- observed.routes,
        not is_map_key(wanted, key),
        route <- in_order(routes),
        step = deletion(route, key, ctx),
        do: step
  end

  # Nexthop objects first: a deletion that names a gateway takes one of the same protocol, whatever its gateway.
  defp in_order(routes) when routes == [] or tl(routes) == [], do: routes
  defp in_order(routes), do: Enum.sort_by(routes, &(&1.nh_id == nil))

  defp deletion(%{protocol: protocol} = route, _key, %{protocol: protocol} = ctx),
    do: %Step{op: {:delete, route}, run: &remove(&1, route, ctx)}

  # A group that begins with another's hop.
  defp deletion(%{family: @inet6, multipath: [_ | hops], nh_id: nil} = route, key, ctx)
       when route.protocol != @kernel do
    if ctx.remembered == nil or MapSet.member?(ctx.remembered, key),
      do: %Step{op: {:delete, route}, run: &remove_hops(&1, route, hops, ctx)}
  end

  defp deletion(_route, _key, _ctx), do: nil

  @doc "The IPv6 keys that may hold hops of ours after the pass."
  @spec remember([Desired.Entry.t()]) :: MapSet.t()
  def remember(entries) do
    for %{item: %{family: @inet6}, key: key, absent: nil} <- entries,
        into: MapSet.new(),
        do: key
  end

  # -- comparison --------------------------------------------------------------------------------------------------------

  defp change(entry, [], _observed, _ctx), do: create(entry.item)

  defp change(%{item: %{family: @inet}} = entry, seen, observed, ctx),
    do: inet(entry, seen, observed, ctx)

  defp change(entry, seen, observed, ctx), do: inet6(entry, seen, observed, ctx)

  defp create(%{family: @inet6, multipath: [_ | _]} = route),
    do: %Step{op: {:create, route}, run: &make(&1, :add, route)}

  defp create(route), do: Step.request({:create, route}, Route.change(:add, route))

  defp make(socket, verb, route), do: Hops.change(socket, verb, Route.change(verb, route))

  # The route that the kernel would make of the entry now: a gateway without a link is on the link where it is found.
  defp resolved(item, %{follow: follow}) when follow == %{}, do: item

  defp resolved(%{multipath: nil, oif: nil} = item, observed),
    do: %{item | oif: Observed.link_of(observed, Route.target_table(item), item)}

  defp resolved(%{multipath: [_ | _] = hops} = item, observed) do
    table = Route.target_table(item)

    hops =
      for hop <- hops do
        if hop.oif == 0,
          do: %{hop | oif: Observed.link_of(observed, table, hop) || 0},
          else: hop
      end

    %{item | multipath: hops}
  end

  defp resolved(item, _observed), do: item

  defp same?(entry, want, seen, observed, ctx) do
    Canonical.same_route?(want, entry.set, seen) and lifetime?(entry, seen, observed, ctx)
  end

  defp lifetime?(%{spans: nil}, _seen, _observed, _ctx), do: true

  defp lifetime?(entry, seen, observed, ctx) do
    rest = Observed.rest_of(observed, seen)
    Clock.same?(entry.spans, [rest], ctx.clocks, {:route, entry.key})
  end

  # The route that is sent: with the link that was found where only the link differs, else as it was written.
  defp sent(entry, want, seen) do
    if Enum.any?(seen, &Canonical.same_route?(entry.item, entry.set, &1)),
      do: want,
      else: entry.item
  end

  # -- IPv4 --------------------------------------------------------------------------------------------------------------

  defp inet(entry, seen, observed, ctx) do
    want = resolved(entry.item, observed)

    case Enum.split_with(seen, &same?(entry, want, &1, observed, ctx)) do
      {[_], []} ->
        nil

      {[kept | _], _} ->
        surplus(entry.item, kept, seen -- [kept])

      {[], old} ->
        route = sent(entry, want, old)

        %Step{op: {:update, route}, run: &exchange(&1, route, old)}
    end
  end

  # Where the new route cannot be made, one of the old ones stays.
  defp exchange(socket, route, [first | others] = old) do
    case Call.change(socket, Route.change(:append, route)) do
      :ok ->
        Step.all(Enum.map(old, &fn -> delete(socket, &1) end))

      {:error, error} ->
        _ = Step.all(Enum.map(others, &fn -> apart(socket, &1, first) end))
        {:error, error}
    end
  end

  defp surplus(want, kept, routes) do
    step({:update, want}, fn socket -> Enum.map(routes, &fn -> apart(socket, &1, kept) end) end)
  end

  # A deletion takes the first that fits, and an absent source or flag fits any: if it took the route that stays, that one
  # is appended, and the next deletion finds the other before it.
  defp apart(socket, route, kept) do
    with :ok <- delete(socket, route) do
      case Call.change(socket, Route.change(:append, Canonical.again(kept))) do
        :ok -> delete(socket, route)
        {:error, %Error{errno: :eexist}} -> :ok
        error -> error
      end
    end
  end

  defp step(op, runs), do: %Step{op: op, run: fn socket -> Step.all(runs.(socket)) end}

  defp delete(socket, route),
    do: Step.delete(socket, Route.change(:delete, Route.bare(route)))

  # -- IPv6 --------------------------------------------------------------------------------------------------------------

  defp inet6(entry, seen, observed, ctx) do
    want = resolved(entry.item, observed)
    {mine, others} = Enum.split_with(seen, &(&1.protocol == ctx.protocol))
    group = Enum.find(seen, &Canonical.grouped?/1)
    same = Enum.find(mine, &same?(entry, want, &1, observed, ctx))

    cond do
      devices?(want) ->
        by_device(entry, want, mine, ctx)

      Canonical.grouped?(want) and group != nil and group.multipath != nil ->
        hop_by_hop(entry, want, group, mine -- [group], observed, ctx)

      same != nil and mine == [same] ->
        nil

      want.nh_id != nil and Enum.any?(mine, &(&1.nh_id == nil)) ->
        to_object(sent(entry, want, mine), mine, others, ctx)

      same != nil ->
        remove_all(entry.item, mine -- [same], ctx)

      mine == [] ->
        beside_others(entry.item, group, ctx)

      Canonical.grouped?(want) and group in mine ->
        replace(sent(entry, want, mine), mine -- [group], ctx)

      others == [] and match?([%{multipath: nil}], mine) ->
        replace(sent(entry, want, mine), [], ctx)

      others == [] and match?([%{nh_id: id}] when id != nil, mine) ->
        replace(sent(entry, want, mine), [], ctx)

      true ->
        append(sent(entry, want, mine), mine, ctx)
    end
  end

  # Hops by their links alone are routes of their own beside each other.
  defp devices?(%{multipath: [_ | _] = hops}), do: Enum.any?(hops, &(&1.gateway == nil))
  defp devices?(_route), do: false

  defp by_device(entry, _want, [], _ctx), do: create(entry.item)

  defp by_device(entry, want, mine, ctx) do
    seen =
      Enum.flat_map(mine, fn route ->
        route |> Canonical.hops() |> List.wrap() |> Enum.filter(&is_struct/1)
      end)

    others = Enum.reject(mine, &is_list(Canonical.hops(&1)))
    {missing, surplus} = Canonical.unmatched(want.multipath, seen)

    if missing != [] or surplus != [] or others != [] do
      step({:update, entry.item}, fn socket ->
        [
          fn -> append_hops(socket, want, missing) end,
          fn -> remove_each(socket, others, ctx) end,
          fn -> remove_hops(socket, hd(mine), surplus, ctx) end
        ]
      end)
    end
  end

  # A deletion by gateway would take the object's route, so the one hop that is surely ours goes last, by a deletion that
  # finds it before the object's route, and the others before there is such a route.
  defp to_object(route, [%{multipath: nil}], [], ctx), do: replace(route, [], ctx)

  defp to_object(route, mine, _others, ctx) do
    {objects, rest} = Enum.split_with(mine, & &1.nh_id)
    firsts = for route <- rest, hop <- Enum.take(route.multipath || [], 1), do: {route, [hop]}
    others = for %{multipath: [_ | hops]} = route <- rest, do: {route, hops}
    single = for %{multipath: nil} = route <- rest, do: route
    hops = &Enum.map(&2, fn {route, hops} -> fn -> remove_hops(&1, route, hops, ctx) end end)

    step({:update, route}, fn socket ->
      [fn -> remove_each(socket, objects, ctx) end] ++
        hops.(socket, others) ++
        [fn -> Call.change(socket, Route.change(:append, route)) end] ++
        hops.(socket, firsts) ++ [fn -> remove_each(socket, single, ctx) end]
    end)
  end

  defp replace(route, surplus, ctx) do
    step({:update, route}, fn socket ->
      [fn -> Call.change(socket, Route.change(:replace, route)) end] ++
        (surplus |> in_order() |> Enum.map(&fn -> remove(socket, &1, ctx) end))
    end)
  end

  # The kernel refuses a second route by the same link or object, whatever its options
  # (rt6_duplicate_nexthop): ours of that sort goes before the new one comes.
  defp append(route, old, ctx) do
    {same, others} = Enum.split_with(old, &Canonical.same_hops?(route, &1))

    step({:update, route}, fn socket ->
      [fn -> append_for(socket, route, same) end] ++
        (others |> in_order() |> Enum.map(&fn -> remove(socket, &1, ctx) end))
    end)
  end

  defp append_for(socket, route, []), do: Call.change(socket, Route.change(:append, route))

  defp append_for(socket, route, [old | _]) do
    with :ok <- delete(socket, old),
         {:error, error} <- Call.change(socket, Route.change(:append, route)) do
      _ = Call.change(socket, Route.change(:append, Canonical.again(old)))
      {:error, error}
    end
  end

  defp remove_all(want, routes, ctx) do
    step({:update, want}, fn socket ->
      routes |> in_order() |> Enum.map(&fn -> remove(socket, &1, ctx) end)
    end)
  end

  # Only others' routes are listed. The group may hold hops of ours behind the first; without one there the kernel refuses
  # the route, as it does beside any other's.
  defp beside_others(route, %{multipath: [_ | hops]} = group, ctx) do
    %Step{
      op: {:update, route},
      run: fn socket ->
        case remove_hops(socket, group, hops, ctx) do
          :ok -> Call.change(socket, Route.change(:append, route))
          :nothing -> Call.change(socket, Route.change(:add, route))
          error -> error
        end
      end
    }
  end

  defp beside_others(route, _group, _ctx), do: %{create(route) | hopeless?: true}

  defp hop_by_hop(entry, want, group, rest, observed, ctx) do
    ours_first? = group.protocol == ctx.protocol
    {missing, surplus} = Canonical.unmatched(Canonical.hops(want), group.multipath)
    # A hop of another weight is one hop to the kernel.
    {changed, missing} =
      Enum.split_with(missing, fn hop -> Enum.any?(surplus, &Canonical.same_target?(hop, &1)) end)

    surplus =
      Enum.reject(surplus, fn hop -> Enum.any?(changed, &Canonical.same_target?(&1, hop)) end)

    kept = Canonical.hops(want) -- (missing ++ changed)

    # The listed options are those of the first hop.
    stale? =
      ours_first? and
        not (Canonical.same_options?(want, entry.set, group) and
               lifetime?(entry, group, observed, ctx))

    parts = %{
      missing: missing,
      surplus: if(ours_first?, do: surplus, else: surplus -- Enum.take(group.multipath, 1)),
      again: changed ++ if(stale?, do: kept, else: []),
      kept: kept,
      rest: rest
    }

    if Enum.all?([parts.missing, parts.surplus, parts.again, rest], &(&1 == [])) do
      nil
    else
      route = sent(entry, want, [group])
      %Step{op: {:update, route}, run: &regroup(&1, route, group, parts, ours_first?, ctx)}
    end
  end

  defp regroup(socket, want, group, parts, true, ctx) do
    Step.all([
      fn -> append_hops(socket, want, parts.missing) end,
      fn -> remove_each(socket, parts.rest, ctx) end,
      fn -> remove_hops(socket, group, parts.surplus, ctx) end,
      fn -> again(socket, want, group, parts.again, ctx) end
    ])
  end

  # Ours is among the others' hops only if one of them is wanted, or one that is not was ours.
  defp regroup(socket, want, group, parts, false, ctx) do
    removed =
      Step.all([
        fn -> remove_each(socket, parts.rest, ctx) end,
        fn -> remove_hops(socket, group, parts.surplus, ctx) end
      ])

    case removed do
      {:error, _} = error ->
        error

      removed ->
        verb = if removed == :ok or parts.kept != [], do: :append, else: :add

        result =
          Step.all([
            fn -> join(socket, verb, want, parts.missing) end,
            fn -> again(socket, want, group, parts.again, ctx) end
          ])

        if result == :nothing, do: removed, else: result
    end
  end

  defp join(_socket, _verb, _want, []), do: :nothing
  defp join(socket, :append, want, hops), do: append_hops(socket, want, hops)
  defp join(socket, :add, want, _hops), do: Call.change(socket, Route.change(:add, want))

  defp append_hops(_socket, _want, []), do: :nothing

  defp append_hops(socket, want, hops), do: make(socket, :append, Canonical.with_hops(want, hops))

  # A hop that is there is refused: it goes and comes back, one at a time, and the others carry the packets.
  defp again(socket, want, group, hops, ctx) do
    hops
    |> Enum.map(fn hop ->
      fn ->
        case remove_hops(socket, group, [hop], ctx) do
          :ok -> append_hops(socket, want, [hop])
          # Another's hop.
          result -> result
        end
      end
    end)
    |> Step.all()
  end

  defp remove_each(socket, routes, ctx),
    do: routes |> in_order() |> Enum.map(&fn -> remove(socket, &1, ctx) end) |> Step.all()

  # -- deletion ----------------------------------------------------------------------------------------------------------

  # Deletes a route of ours; of a group no other's hop.
  defp remove(socket, %{family: @inet6, multipath: [_ | _] = hops, nh_id: nil} = route, ctx),
    do: remove_hops(socket, route, hops, ctx)

  defp remove(socket, route, _ctx), do: delete(socket, route)

  defp remove_hops(socket, route, hops, ctx) do
    hops
    |> Enum.map(fn hop ->
      call = Route.change(:delete, Canonical.hop_deletion(route, hop, ctx.protocol))
      fn -> Step.remove(socket, call) end
    end)
    |> Step.all()
  end

  # -- state -------------------------------------------------------------------------------------------------------------

  @doc """
  The desired routes that are there and of no use: a next hop is on a link that is down or without a carrier. `done` are
  the keys of routes that the pass has made, for which the links are asked.
  """
  @spec unusable([Desired.Entry.t()], Observed.t(), MapSet.t()) :: [Route.t()]
  def unusable(entries, observed, done) do
    flagged = for {key, routes} <- observed.routes, Enum.any?(routes, &flags?/1), do: key

    if flagged == [] and MapSet.size(done) == 0 do
      []
    else
      flagged = MapSet.new(flagged)

      for %{absent: nil} = entry <- entries,
          unusable?(entry, observed, done, flagged),
          do: entry.item
    end
  end

  defp flags?(%{multipath: nil, flags: flags}), do: Bitwise.band(flags, @unusable) != 0

  defp flags?(%{multipath: hops}),
    do: Enum.any?(hops, &(Bitwise.band(&1.flags, @unusable) != 0))

  defp unusable?(entry, observed, done, flagged) do
    cond do
      MapSet.member?(done, entry.key) -> no_carrier?(resolved(entry.item, observed), observed)
      MapSet.member?(flagged, entry.key) -> flagged?(entry, observed.routes[entry.key])
      true -> false
    end
  end

  defp flagged?(_entry, [%{multipath: nil, flags: flags}]),
    do: Bitwise.band(flags, @unusable) != 0

  defp flagged?(entry, routes) do
    case Canonical.hops(entry.item) do
      [_ | _] = wanted ->
        Enum.any?(routes, fn route ->
          Enum.any?(route.multipath || [], fn hop ->
            Bitwise.band(hop.flags, @unusable) != 0 and
              Enum.any?(wanted, &Canonical.same_target?(&1, hop))
          end)
        end)

      _ ->
        false
    end
  end

  # IFF_UP and IFF_LOWER_UP
  @carrier 0x10001

  defp no_carrier?(item, observed) do
    case Canonical.hops(item) do
      [_ | _] = hops -> Enum.any?(hops, &no_carrier(&1.oif, observed))
      _ -> false
    end
  end

  defp no_carrier(oif, observed) do
    case observed.links do
      %{^oif => link} -> Bitwise.band(link.flags, @carrier) != @carrier
      %{} -> false
    end
  end

  @doc "What to remember of the lifetimes of desired routes that are there."
  @spec clocks([Desired.Entry.t()], Observed.t(), MapSet.t(), ctx()) :: Clock.memory()
  def clocks(entries, observed, done, ctx) do
    for %{spans: [_] = spans, absent: nil} = entry <- entries,
        clock = clock(entry, spans, observed, done, ctx),
        into: %{},
        do: {{:route, entry.key}, clock}
  end

  defp clock(entry, spans, observed, done, ctx) do
    seen = observed.routes |> Map.get(entry.key, []) |> Enum.find(&(&1.protocol == ctx.protocol))

    cond do
      MapSet.member?(done, entry.key) -> {spans, Clock.now()}
      seen == nil -> nil
      true -> remember(entry, spans, Observed.rest_of(observed, seen), ctx)
    end
  end

  defp remember(entry, spans, rest, ctx),
    do: Clock.remember(ctx.clocks, {:route, entry.key}, spans, [rest])
end
