defmodule Linx.Test.Reconcile.Generator do
  @moduledoc false
  # One case of the property test from one seed: two desired states, other programs' state and
  # drift. Values come from small pools, so that entries collide often. The options are those
  # that the modules accept, read from their source: an option that this module has no value for
  # raises.

  import Linx.Test.Reconcile.Chance

  alias Linx.Test.Reconcile.{Entries, LinkEntries, Outside, RuleEntries, View}

  @doc """
  A case: `%{seed, mode, first, second, steps, forget}`, with the kinds of links that not every
  kernel has if `rare?`.
  """
  def make(seed, rare? \\ false) do
    LinkEntries.use_rare(rare?)
    :rand.seed(:exsss, {seed, 76, 254})
    first = entries()
    second = changed(first, roll(4))

    %{
      seed: seed,
      # All five laws hold under :continue, four under :halt.
      mode: if(rem(seed, 4) == 3, do: :halt, else: :continue),
      first: first,
      second: second,
      foreign: [Outside.foreign(first, :before), Outside.foreign(first ++ second, :between)],
      drift: [Outside.drift(first), Outside.drift(second)],
      # The pass before which the caller loses `last_applied`.
      forget: if(rem(seed, 5) == 0, do: 1 + roll(4))
    }
    |> fit()
  end

  # Under :halt a link that is not there ends the pass before it begins, as documented.
  defp fit(%{mode: :halt} = c) do
    %{c | first: there(c.first), second: there(c.second)}
  end

  defp fit(c), do: c

  defp there(entries) do
    made = for {:link, name, _, _} <- entries, do: name
    absent = ["nope0" | LinkEntries.pool() -- made]
    Enum.reject(entries, fn entry -> Enum.any?(links(entry), &(&1 in absent)) end)
  end

  defp links({:link, _, _, _}), do: []
  defp links({:rule, _}), do: []
  defp links({:address, link, _, _, _}), do: [link]
  defp links(route), do: Enum.map(View.hops(route), & &1.dev)

  # -- the first desired state ---

  defp entries do
    addresses = distinct(for(_ <- 1..(roll(9) - 1)//1, do: Entries.address()))
    routes = distinct(for(_ <- 1..(roll(9) - 1)//1, do: Entries.route(addresses)))
    links = distinct(for(_ <- 1..(roll(5) - 2)//1, do: LinkEntries.link()))
    links = LinkEntries.agreeing(links)
    rules = distinct(for(_ <- 1..(roll(5) - 2)//1, do: RuleEntries.rule()))

    distinct(links ++ LinkEntries.users(links) ++ addresses ++ nearby(routes) ++ routes ++ rules)
  end

  # A gateway behind another desired route has that route, mostly.
  defp nearby(routes) do
    gateways = for {:route, _, _, gateway, _} <- routes, do: gateway

    for {gateway, route} <- Entries.near(),
        gateway in gateways and chance(85),
        do: route
  end

  defp distinct(entries),
    do: entries |> Enum.reject(&no_gateways?/1) |> Enum.uniq_by(&kernel_key/1)

  # The kernel takes a rule and its inversion for one.
  defp kernel_key({:rule, opts}), do: View.key_of({:rule, Keyword.delete(opts, :invert)})
  defp kernel_key(entry), do: View.key_of(entry)

  # With it no gateway is a unicast address of another host, and no route by a gateway is
  # possible.
  defp no_gateways?({:route, _, 0, _, opts}),
    do: opts[:type] in [:local, :multicast, :broadcast, :anycast]

  defp no_gateways?(_entry), do: false

  # -- the second desired state ---

  defp changed(entries, 0), do: entries |> distinct() |> LinkEntries.agreeing()
  defp changed(entries, n), do: entries |> change() |> distinct() |> changed(n - 1)

  defp change(entries) do
    addresses = Enum.filter(entries, &match?({:address, _, _, _, _}, &1))

    case pick([:alter, :alter, :alter, :alter, :remove, :add, :reorder]) do
      _ when entries == [] ->
        [Entries.address()]

      :alter ->
        List.update_at(entries, roll(length(entries)) - 1, &Entries.altered(&1, addresses))

      :remove ->
        List.delete_at(entries, roll(length(entries)) - 1)

      :add ->
        entries ++ [added(addresses)]

      :reorder ->
        some(entries, length(entries))
    end
  end

  defp added(addresses) do
    case pick([:address, :address, :route, :route, :link, :rule]) do
      :address -> Entries.address()
      :route -> Entries.route(addresses)
      :link -> LinkEntries.link()
      :rule -> RuleEntries.rule()
    end
  end
end
