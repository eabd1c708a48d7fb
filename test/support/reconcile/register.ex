defmodule Linx.Test.Reconcile.Register do
  @moduledoc false
  # Whose an address, a route or a hop is. The kernel shows the protocol of an address and of a
  # route, but of an IPv6 group that of its first hop alone, and ip(8) takes the mark off an
  # address that it changes. So the test notes the addresses that came with a pass (`made`) and
  # the hops of groups that came with others' commands (`hops`).

  alias Linx.Test.Reconcile.{LinkEntries, View}

  @ours 76

  @doc """
  The registers after a step of `owner`, from the view before it to the one in the state. A step
  that replaces a group puts hops of its owner in the place of all.
  """
  def seen(state, before, owner, replaces? \\ false) do
    old = if replaces?, do: untouched(before, state.view), else: before
    before = MapSet.new(hops6(old), &elem(&1, 0))
    state = %{state | hops: MapSet.intersection(state.hops, before)}
    now = MapSet.new(hops6(state.view), &elem(&1, 0))

    new = if owner in [:foreign], do: MapSet.difference(now, before), else: MapSet.new()
    marks = Map.new(hops6(state.view))

    # A route of one hop shows its own protocol.
    hops =
      state.hops
      |> MapSet.intersection(now)
      |> MapSet.union(new)
      |> MapSet.filter(&(marks[&1] != {:single, @ours}))

    alone = for {hop, {:single, proto}} <- marks, proto != @ours, into: MapSet.new(), do: hop

    made =
      MapSet.intersection(state.made, MapSet.new(state.view.addresses, &View.key_of_address/1))

    links =
      MapSet.filter(state.links, fn {name, kind} ->
        match?(%{^name => %{kind: ^kind}}, state.view.links)
      end)

    %{state | hops: MapSet.union(hops, alone), made: made, links: links}
  end

  defp untouched(before, view) do
    term = &{&1.key, &1.proto, &1.hops, &1.nhid, &1.type}
    there = MapSet.new(view.routes, term)
    %{before | routes: Enum.filter(before.routes, &(term.(&1) in there))}
  end

  # `{hop, {:single, protocol} | :group}` of each hop of each IPv6 route.
  defp hops6(view) do
    for %{family: :inet6, proto: proto} = route <- view.routes, proto != 2, hop <- route.hops do
      {{route.key, hop.gateway, hop.dev, route.nhid, route.type},
       if(match?([_], route.hops), do: {:single, proto}, else: :group)}
    end
  end

  @doc "The addresses that came with a pass or carry our mark."
  def made(view, before) do
    old = MapSet.new(before.addresses, &View.key_of_address/1)

    for %{proto: proto} = a <- view.addresses,
        key = View.key_of_address(a),
        proto == @ours or key not in old,
        into: MapSet.new(),
        do: key
  end

  @doc "The links that came with a pass, without far ends."
  def links(view, before) do
    old = MapSet.new(before.links, fn {_name, link} -> link.index end)

    for {name, link} <- view.links,
        name in LinkEntries.pool() and link.index not in old,
        into: MapSet.new(),
        do: {name, link.kind}
  end

  # The links that are ours, with their far ends.
  defp our_links(state) do
    ours = for {name, _kind} <- state.links, do: name

    far =
      for {name, %{kind: "veth", parent: parent}} <- state.view.links,
          parent in ours,
          do: name

    ours ++ far
  end

  @doc "Everything that is not ours, as the model takes it."
  def world(state) do
    view = state.view

    keys4 =
      for %{family: :inet, proto: proto} = r <- view.routes, proto not in [2, @ours], do: r.key

    keys6 = for {key, _, _, _, _} <- state.hops, do: key

    %{
      links: Map.drop(view.links, our_links(state)),
      addresses: Enum.reject(view.addresses, &ours?(&1, state)),
      keys: MapSet.new(keys4 ++ keys6),
      nexthops: view.nexthops
    }
  end

  def ours?(%{proto: @ours}, _state), do: true
  def ours?(address, state), do: MapSet.member?(state.made, View.key_of_address(address))

  def foreign_hops(%{family: :inet}, _state), do: []

  def foreign_hops(route, state) do
    for hop <- route.hops,
        MapSet.member?(state.hops, {route.key, hop.gateway, hop.dev, route.nhid, route.type}),
        do: hop
  end

  @doc """
  What is foreign in the view of `state`, by the registers of `before`, in terms that can be
  compared.
  """
  def foreign(state, before, entries \\ []) do
    view = state.view
    ours = our_links(state) ++ our_links(before)
    named = for {:link, name, _, opts} <- entries, port <- [name | opts[:ports] || []], do: port

    links =
      for {name, link} <- view.links, name not in ours, do: link_term(link, name in named)

    rules = for rule <- view.rules, rule.proto != @ours, do: {rule.proto, rule.raw}

    addresses =
      for a <- view.addresses, not ours?(a, state), not ours?(a, before), do: address_term(a)

    v4 =
      for %{family: :inet, proto: proto} = r <- view.routes,
          proto not in [2, @ours],
          do: route_term(r)

    v6 =
      for %{family: :inet6, proto: proto} = r <- view.routes,
          proto != 2,
          hop <- r.hops,
          MapSet.member?(before.hops, {r.key, hop.gateway, hop.dev, r.nhid, r.type}),
          do: {r.key, hop.gateway, hop.dev, hop.weight, r.nhid, r.type}

    Enum.sort(links) ++
      Enum.sort(rules) ++
      Enum.sort(addresses) ++ Enum.sort(v4) ++ Enum.sort(v6) ++ Enum.sort(view.nexthops)
  end

  # A pass sets options of a link that an entry names, whoever made it. A port leaves a bridge
  # that goes.
  defp link_term(link, true), do: {link.name, link.index, link.kind, link.parent}

  defp link_term(link, false) do
    # The MTU and the MAC of a bridge follow those of its ports.
    own = if link.kind == "bridge", do: [], else: ["mtu", "address"]
    raw = Map.take(link.raw, ["txqlen", "group", "ifalias"] ++ own)

    {link_term(link, true), link.up, raw,
     if(link.master in LinkEntries.pool(), do: nil, else: link.master)}
  end

  # Which of a subnet's addresses is the first is no property of an address. Lifetimes run, on an
  # emulated machine for minutes, and those that the cases give are thousands of seconds apart.
  defp address_term(a) do
    raw = Map.drop(a.raw, ["secondary", "tentative"])

    {a.link,
     Map.new(raw, fn {key, value} ->
       {key, if(String.ends_with?(key, "life_time"), do: div(value + 900, 1000), else: value)}
     end)}
  end

  defp route_term(r) do
    raw = Map.drop(r.raw, ["flags", "nh_info", "expires", "cache"])

    {r.key,
     Map.update(raw, "nexthops", [], fn hops -> Enum.map(hops, &Map.delete(&1, "flags")) end)}
  end
end
