defmodule Linx.Netlink.Rtnl.Reconcile.RouteState do
  @moduledoc false
  # Observed routes beside the desired ones: whether each is as desired, whether it is of use, and
  # since when its lifetime runs.

  alias Linx.Netlink.Rtnl.Route
  alias Linx.Netlink.Rtnl.Reconcile.{Canonical, Clock, Desired, Observed, Routes}

  # RTNH_F_DEAD and RTNH_F_LINKDOWN
  @unusable 17

  @doc """
  The route that the kernel would make of an entry now: a gateway without a link is on the link
  where it is found.
  """
  @spec resolved(Route.t(), Observed.t()) :: Route.t()
  def resolved(item, %{follow: follow}) when follow == %{}, do: item

  def resolved(%{multipath: nil, oif: nil} = item, observed),
    do: %{item | oif: Observed.link_of(observed, Route.target_table(item), item)}

  def resolved(%{multipath: [_ | _] = hops} = item, observed) do
    table = Route.target_table(item)

    hops =
      for hop <- hops do
        if hop.oif == 0,
          do: %{hop | oif: Observed.link_of(observed, table, hop) || 0},
          else: hop
      end

    %{item | multipath: hops}
  end

  def resolved(item, _observed), do: item

  @doc """
  Whether an observed route is as desired, with its lifetime. `want` is the entry's route,
  resolved.
  """
  @spec same?(Desired.Entry.t(), Route.t(), Route.t(), Observed.t(), Routes.ctx()) :: boolean()
  def same?(entry, want, seen, observed, ctx) do
    Canonical.same_route?(want, entry.set, seen) and lifetime?(entry, seen, observed, ctx)
  end

  @doc "Whether an observed route has the lifetime that an entry asks for."
  @spec lifetime?(Desired.Entry.t(), Route.t(), Observed.t(), Routes.ctx()) :: boolean()
  def lifetime?(%{spans: nil}, _seen, _observed, _ctx), do: true

  def lifetime?(entry, seen, observed, ctx) do
    rest = Observed.rest_of(observed, seen)
    Clock.same?(entry.spans, [rest], ctx.clocks, {:route, entry.key}, ctx.started)
  end

  @doc """
  The route that is sent: with the link that was found where only the link differs, else as it was
  written.
  """
  @spec sent(Desired.Entry.t(), Route.t(), [Route.t()]) :: Route.t()
  def sent(entry, want, seen) do
    if Enum.any?(seen, &Canonical.same_route?(entry.item, entry.set, &1)),
      do: want,
      else: entry.item
  end

  @doc """
  The desired routes that are there and of no use: a next hop is on a link that is down or without
  a carrier. `done` are the keys of routes that the pass has made, for which the links are asked.
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
  @spec clocks([Desired.Entry.t()], Observed.t(), MapSet.t(), Routes.ctx()) :: Clock.memory()
  def clocks(entries, observed, done, ctx) do
    for %{spans: [_] = spans, absent: nil} = entry <- entries,
        clock = clock(entry, spans, observed, done, ctx),
        into: %{},
        do: {{:route, entry.key}, clock}
  end

  defp clock(entry, spans, observed, done, ctx) do
    seen = observed.routes |> Map.get(entry.key, []) |> Enum.find(&(&1.protocol == ctx.protocol))

    cond do
      MapSet.member?(done, entry.key) -> Map.fetch!(ctx.clocks, {:route, entry.key})
      seen == nil -> nil
      true -> remember(entry, spans, Observed.rest_of(observed, seen), ctx)
    end
  end

  defp remember(entry, spans, rest, ctx),
    do: Clock.remember(ctx.clocks, {:route, entry.key}, spans, [rest], ctx.started)
end
