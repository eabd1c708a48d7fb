defmodule Linx.Netlink.Rtnl.Reconcile.Routes do
  @moduledoc false
  # The steps that make routes as desired.
  #
  # IPv4 keeps several routes with one key beside each other, each with its protocol: the new one
  # is appended and ours deleted, so there is a route at every moment and no other's is touched.
  # IPv6 merges them: Linx.Netlink.Rtnl.Reconcile.Groups.

  alias Linx.Netlink.Error
  alias Linx.Netlink.Rtnl.{Call, Route}

  alias Linx.Netlink.Rtnl.Reconcile.{
    Canonical,
    Clock,
    Desired,
    Gateways,
    Groups,
    Observed,
    RouteState,
    Step
  }

  @inet 2
  @inet6 10
  # RTPROT_KERNEL
  @kernel 2

  @type ctx :: %{
          protocol: 1..255,
          remembered: MapSet.t() | nil,
          clocks: Clock.memory(),
          started: integer()
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

  @doc """
  The steps in order: behind those that replace a route by which the kernel refuses gateways come
  the others, which may need one.
  """
  @spec ordered([Step.t()], Observed.t()) :: [Step.t()]
  def ordered(steps, observed) do
    refusing =
      for {key, routes} <- observed.routes,
          Enum.any?(routes, &Gateways.refuses?/1),
          into: MapSet.new(),
          do: key

    if MapSet.size(refusing) == 0 do
      steps
    else
      {firsts, others} =
        Enum.split_with(steps, fn %{op: {_verb, route}} ->
          MapSet.member?(refusing, Canonical.route_key(route))
        end)

      firsts ++ others
    end
  end

  @doc "Deletions of routes and hops of ours that no entry names."
  @spec deletions(%{optional(term()) => Desired.Entry.t()}, Observed.t(), ctx()) :: [Step.t()]
  def deletions(wanted, observed, ctx) do
    for {key, routes} <- observed.routes,
        not is_map_key(wanted, key),
        route <- Groups.in_order(routes),
        step = deletion(route, key, ctx),
        do: step
  end

  defp deletion(%{protocol: protocol} = route, _key, %{protocol: protocol} = ctx),
    do: %Step{op: {:delete, route}, run: &Groups.remove(&1, route, ctx)}

  # A group that begins with another's hop.
  defp deletion(%{family: @inet6, multipath: [_ | hops], nh_id: nil} = route, key, ctx)
       when route.protocol != @kernel do
    if ctx.remembered == nil or MapSet.member?(ctx.remembered, key),
      do: %Step{op: {:delete, route}, run: &Groups.remove_hops(&1, route, hops, ctx)}
  end

  defp deletion(_route, _key, _ctx), do: nil

  @doc "The IPv6 keys that may hold hops of ours after the pass."
  @spec remember([Desired.Entry.t()]) :: MapSet.t()
  def remember(entries) do
    for %{item: %{family: @inet6}, key: key, absent: nil} <- entries,
        into: MapSet.new(),
        do: key
  end

  defp change(%{item: %{family: @inet}} = entry, [], _observed, _ctx),
    do: Step.request({:create, entry.item}, Route.change(:add, entry.item))

  defp change(%{item: %{family: @inet}} = entry, seen, observed, ctx),
    do: inet(entry, seen, observed, ctx)

  defp change(entry, seen, observed, ctx) do
    with %Step{} = step <- Groups.change(entry, seen, observed, ctx),
         do: Gateways.freeing(step, entry.item, Enum.filter(seen, &(&1.protocol == ctx.protocol)))
  end

  # -- IPv4 --------------------------------------------------------------------------------------

  defp inet(entry, seen, observed, ctx) do
    want = RouteState.resolved(entry.item, observed)

    case Enum.split_with(seen, &RouteState.same?(entry, want, &1, observed, ctx)) do
      {[_], []} ->
        nil

      {[kept | _], _} ->
        surplus(entry.item, kept, seen -- [kept])

      {[], old} ->
        route = RouteState.sent(entry, want, old)

        Gateways.freeing(
          %Step{op: {:update, route}, run: &exchange(&1, route, old)},
          route,
          Enum.filter(old, &(&1.protocol == ctx.protocol))
        )
    end
  end

  # Where the new route cannot be made, one of the old ones stays.
  defp exchange(socket, route, [first | others] = old) do
    case Call.change(socket, Route.change(:append, route)) do
      :ok ->
        Step.all(Enum.map(old, &fn -> Step.delete_route(socket, &1) end))

      {:error, _} = error ->
        Step.undone(
          error,
          for(route <- others, do: {{:delete, route}, fn -> apart(socket, route, first) end})
        )
    end
  end

  defp surplus(want, kept, routes) do
    Step.sequence({:update, want}, fn socket ->
      Enum.map(routes, &fn -> apart(socket, &1, kept) end)
    end)
  end

  # A deletion takes the first that fits, and an absent source or flag fits any: if it took the
  # route that stays, that one is appended, and the next deletion finds the other before it.
  defp apart(socket, route, kept) do
    with :ok <- Step.delete_route(socket, route) do
      case Call.change(socket, Route.change(:append, Canonical.again(kept))) do
        :ok -> Step.delete_route(socket, route)
        {:error, %Error{errno: :eexist}} -> :ok
        error -> error
      end
    end
  end
end
