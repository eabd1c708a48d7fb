defmodule Linx.Netlink.Rtnl.Reconcile.Groups do
  @moduledoc false
  # The steps that make an IPv6 route as desired.
  #
  # IPv6 merges the gateways of one key into a group, in which each hop has a protocol of its own
  # and only that of the first is listed. One hop that is listed as ours is ours alone and
  # replaced. A group of several is changed hop by hop: a deletion names our protocol and the
  # hop's gateway, which takes no other's hop. A deletion by protocol without a gateway would take
  # the whole group.

  alias Linx.Netlink.Rtnl.{Call, Route}
  alias Linx.Netlink.Rtnl.Route.Hops
  alias Linx.Netlink.Rtnl.Reconcile.{Canonical, Desired, Observed, Routes, RouteState, Step}
  alias Linx.Netlink.Socket

  @inet6 10

  @doc "The step that makes an entry as desired where `seen` are the routes of its key, or `nil`."
  @spec change(Desired.Entry.t(), [Route.t()], Observed.t(), Routes.ctx()) :: Step.t() | nil
  def change(entry, [], _observed, _ctx), do: create(entry.item)

  def change(entry, seen, observed, ctx) do
    want = RouteState.resolved(entry.item, observed)
    {mine, others} = Enum.split_with(seen, &(&1.protocol == ctx.protocol))
    group = Enum.find(seen, &Canonical.grouped?/1)
    same = Enum.find(mine, &RouteState.same?(entry, want, &1, observed, ctx))

    cond do
      devices?(want) ->
        by_device(entry, want, mine, ctx)

      Canonical.grouped?(want) and group != nil and group.multipath != nil ->
        hop_by_hop(entry, want, group, mine -- [group], observed, ctx)

      same != nil and mine == [same] ->
        nil

      want.nh_id != nil and Enum.any?(mine, &(&1.nh_id == nil)) ->
        to_object(RouteState.sent(entry, want, mine), mine, others, ctx)

      same != nil ->
        remove_all(entry.item, mine -- [same], ctx)

      mine == [] ->
        beside_others(entry.item, group, ctx)

      Canonical.grouped?(want) and group in mine ->
        replace(RouteState.sent(entry, want, mine), mine -- [group], ctx)

      others == [] and match?([%{multipath: nil}], mine) ->
        replace(RouteState.sent(entry, want, mine), [], ctx)

      others == [] and match?([%{nh_id: id}] when id != nil, mine) ->
        replace(RouteState.sent(entry, want, mine), [], ctx)

      true ->
        append(RouteState.sent(entry, want, mine), mine, ctx)
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
    single? = Enum.count(want.multipath, & &1.gateway) < 2

    {missing, surplus} =
      Canonical.unmatched(weighed(want.multipath, single?), weighed(seen, single?))

    if missing != [] or surplus != [] or others != [] do
      {gateways, devices} = Enum.split_with(missing, & &1.gateway)
      # A gateway behind a device hides it.
      hidden = if gateways == [], do: [], else: Enum.filter(want.multipath, &(&1.gateway == nil))

      Step.sequence({:update, entry.item}, fn socket ->
        [
          fn -> append_hops(socket, want, gateways) end,
          fn -> place(socket, want, Enum.uniq(hidden ++ devices), ctx) end,
          fn -> remove_each(socket, others, ctx) end,
          fn -> remove_hops(socket, hd(mine), surplus, ctx) end
        ]
      end)
    end
  end

  # Devices behind all hops of the key. A device of ours between the hops of a group is there
  # already, though no list shows it.
  defp place(socket, want, devices, ctx) do
    devices
    |> Enum.flat_map(
      &[fn -> remove_hops(socket, want, [&1], ctx) end, appended(socket, want, &1)]
    )
    |> Step.all()
  end

  defp appended(socket, want, device), do: fn -> append_hops(socket, want, [device]) end

  # The kernel lists the weights of a group, which one gateway and links are not.
  defp weighed(hops, single?),
    do: Enum.map(hops, &if(single? or &1.gateway == nil, do: %{&1 | weight: 1}, else: &1))

  # A deletion by gateway would take the object's route, so the one hop that is surely ours goes
  # last, by a deletion that finds it before the object's route, and the others before there is
  # such a route.
  defp to_object(route, [%{multipath: nil}], [], ctx), do: replace(route, [], ctx)

  defp to_object(route, mine, _others, ctx) do
    {objects, rest} = Enum.split_with(mine, & &1.nh_id)
    firsts = for route <- rest, hop <- Enum.take(route.multipath || [], 1), do: {route, [hop]}
    others = for %{multipath: [_ | hops]} = route <- rest, do: {route, hops}
    single = for %{multipath: nil} = route <- rest, do: route
    hops = &Enum.map(&2, fn {route, hops} -> fn -> remove_hops(&1, route, hops, ctx) end end)

    Step.sequence({:update, route}, fn socket ->
      [fn -> remove_each(socket, objects, ctx) end] ++
        hops.(socket, others) ++
        [fn -> Call.change(socket, Route.change(:append, route)) end] ++
        hops.(socket, firsts) ++ [fn -> remove_each(socket, single, ctx) end]
    end)
  end

  defp replace(route, surplus, ctx) do
    Step.sequence({:update, route}, fn socket ->
      [fn -> Call.change(socket, Route.change(:replace, route)) end] ++
        (surplus |> in_order() |> Enum.map(&fn -> remove(socket, &1, ctx) end))
    end)
  end

  # The kernel refuses a second route by the same link or object, whatever its options
  # (rt6_duplicate_nexthop): ours of that sort goes before the new one comes.
  defp append(route, old, ctx) do
    {same, others} = Enum.split_with(old, &Canonical.same_hops?(route, &1))

    Step.sequence({:update, route}, fn socket ->
      [fn -> append_for(socket, route, same) end] ++
        (others |> in_order() |> Enum.map(&fn -> remove(socket, &1, ctx) end))
    end)
  end

  defp append_for(socket, route, []), do: Call.change(socket, Route.change(:append, route))

  defp append_for(socket, route, [old | _]) do
    with :ok <- Step.delete_route(socket, old),
         {:error, _} = error <- Call.change(socket, Route.change(:append, route)),
         do: Step.undone(error, [{{:create, old}, fn -> back(socket, old) end}])
  end

  defp back(socket, old),
    do: Call.change(socket, Route.change(:append, Canonical.again(old)))

  defp remove_all(want, routes, ctx) do
    Step.sequence({:update, want}, fn socket ->
      routes |> in_order() |> Enum.map(&fn -> remove(socket, &1, ctx) end)
    end)
  end

  # Only others' routes are listed. The group may hold hops of ours behind the first; without one
  # there the kernel refuses the route, as it does beside any other's.
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
               RouteState.lifetime?(entry, group, observed, ctx))

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
      route = RouteState.sent(entry, want, [group])
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

  # A hop that is there is refused: it goes and comes back, one at a time, and the others carry
  # the packets.
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

  defp create(%{family: @inet6, multipath: [_ | _]} = route),
    do: %Step{op: {:create, route}, run: &make(&1, :add, route)}

  defp create(route), do: Step.request({:create, route}, Route.change(:add, route))

  defp make(socket, verb, route), do: Hops.change(socket, verb, Route.change(verb, route))

  # -- deletion ----------------------------------------------------------------------------------

  @doc "Deletes a route of ours; of a group no other's hop."
  @spec remove(Socket.t(), Route.t(), Routes.ctx()) :: Step.result()
  def remove(socket, %{family: @inet6, multipath: [_ | _] = hops, nh_id: nil} = route, ctx),
    do: remove_hops(socket, route, hops, ctx)

  def remove(socket, route, _ctx), do: Step.delete_route(socket, route)

  @doc "Deletes those hops of a group that are ours."
  @spec remove_hops(Socket.t(), Route.t(), [Route.Nexthop.t()], Routes.ctx()) :: Step.result()
  def remove_hops(socket, route, hops, ctx) do
    hops
    |> Enum.map(fn hop ->
      call = Route.change(:delete, Canonical.hop_deletion(route, hop, ctx.protocol))
      fn -> Step.remove(socket, call) end
    end)
    |> Step.all()
  end

  @doc """
  Routes in the order of their deletion: nexthop objects first, since a deletion that names a
  gateway takes one of the same protocol, whatever its gateway.
  """
  @spec in_order([Route.t()]) :: [Route.t()]
  def in_order(routes) when routes == [] or tl(routes) == [], do: routes
  def in_order(routes), do: Enum.sort_by(routes, &(&1.nh_id == nil))
end
