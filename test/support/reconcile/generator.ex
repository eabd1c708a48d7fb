defmodule Linx.Test.Reconcile.Generator do
  @moduledoc false
  # One case of the property test from one seed: two desired states, other programs' state and
  # drift. Values come from small pools, so that entries collide often. The options are those
  # that the modules accept, read from their source: an option that this module has no value for
  # raises.

  import Linx.Test.Reconcile.Chance

  alias Linx.Test.Reconcile.{Entries, Options, Outside, View}

  @up ["a0", "b0"]

  @doc "A case: `%{seed, mode, first, second, steps, forget}`."
  def make(seed) do
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
    there = &Enum.reject(&1, fn entry -> "nope0" in Enum.map(links(entry), fn l -> l end) end)
    %{c | first: there.(c.first), second: there.(c.second)}
  end

  defp fit(c), do: c

  defp links({:address, link, _, _, _}), do: [link]
  defp links(route), do: Enum.map(View.hops(route), & &1.dev)

  # -- the first desired state ---

  defp entries do
    addresses = distinct(for(_ <- 1..(roll(9) - 1)//1, do: Entries.address()))
    routes = distinct(for(_ <- 1..(roll(9) - 1)//1, do: Entries.route(addresses)))
    distinct(addresses ++ nearby(routes) ++ routes)
  end

  # A gateway behind another desired route has that route, mostly.
  defp nearby(routes) do
    gateways = for {:route, _, _, gateway, _} <- routes, do: gateway

    for {gateway, route} <- Entries.near(),
        gateway in gateways and chance(85),
        do: route
  end

  defp distinct(entries), do: Enum.uniq_by(entries, &View.key_of/1)

  # -- the second desired state ---

  defp changed(entries, 0), do: distinct(entries)
  defp changed(entries, n), do: entries |> change() |> distinct() |> changed(n - 1)

  defp change(entries) do
    addresses = Enum.filter(entries, &match?({:address, _, _, _, _}, &1))

    case pick([:alter, :alter, :alter, :alter, :remove, :add, :reorder]) do
      _ when entries == [] -> [Entries.address()]
      :alter -> List.update_at(entries, roll(length(entries)) - 1, &altered(&1, addresses))
      :remove -> List.delete_at(entries, roll(length(entries)) - 1)
      :add -> entries ++ [if(chance(50), do: Entries.address(), else: Entries.route(addresses))]
      :reorder -> some(entries, length(entries))
    end
  end

  defp altered({:address, link, ip, len, opts}, _addresses) do
    family = View.family(View.ip(ip))

    case pick([:link, :len, :options]) do
      :link ->
        {:address, pick(@up), ip, len, Keyword.drop(opts, [:label])} |> carried()

      :len ->
        {:address, link, ip, pick(if(family == :inet, do: [24, 25, 32], else: [64, 128])),
         Keyword.drop(opts, [:peer, :broadcast, :scope])}

      :options ->
        {:address, link, ip, len, Entries.address_options(family, link, ip, len)}
    end
  end

  defp altered({:route, dst, len, gateway, opts}, addresses) do
    family = View.family(View.ip(dst))
    {ways, rest} = Keyword.split(opts, Entries.ways())

    case pick([:way, :option, :option]) do
      :way ->
        {gateway, way} = Entries.way(family, addresses)

        {:route, dst, len, gateway,
         way ++ Enum.filter(rest, fn {key, _} -> Entries.fits?(key, way) end)}

      :option ->
        key = pick(Options.of(:route) -- Entries.ways())

        {:route, dst, len, gateway,
         Entries.extra(
           ways ++ Keyword.delete(rest, key),
           family,
           addresses,
           if(chance(20), do: [], else: [key])
         )}
    end
  end

  # IPv6 is not moved to where it cannot be.
  defp carried({:address, "b0", ip, len, opts} = entry),
    do: if(View.family(View.ip(ip)) == :inet, do: entry, else: {:address, "a0", ip, len, opts})

  defp carried(entry), do: entry
end
