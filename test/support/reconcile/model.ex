defmodule Linx.Test.Reconcile.Model do
  @moduledoc false
  # Which desired entries the kernel can have together, in at most seventy lines. `world` is what
  # is not ours: `%{links, addresses, keys, nexthops}`, and `after` the links behind the pass. The
  # test tries what this calls impossible by ip(8), which must fail too.

  alias Linx.Test.Reconcile.View

  def possible(entries, world), do: grow([], entries, world)

  defp grow(done, left, world) do
    case Enum.split_with(left, &possible?(&1, done, world)) do
      {[], _} -> done
      {new, left} -> grow(done ++ new, left, world)
    end
  end

  defp possible?({:rule, opts}, _done, _world),
    do: not match?({:goto, n} when n <= 200, opts[:action])

  # The options of kinds that the kernel does not change.
  @kept [:proxy, :l2miss]

  defp possible?({:link, name, kind, opts}, done, world) do
    there = world.links[name]
    ports = opts[:ports] || []

    Enum.all?([opts[:link], opts[:master] | ports], &(&1 == nil or there?(&1, done, world))) and
      (opts[:master] == nil or bridge?(opts[:master], done, world)) and
      not Enum.any?(ports, &bridge?(&1, done, world)) and
      (kind != :vlan or opts[:up] != true or link(opts[:link], done, world).up) and
      if there do
        there.kind == "#{kind}" and
          (opts[:link] == nil or View.on?(there, opts[:link], world.after)) and
          opts[:peer] in [nil, there.parent] and opts[:id] in [nil, there.data["id"]] and
          View.link?({:link, name, kind, Keyword.take(opts, @kept)}, world.links)
      else
        opts[:peer] == nil or world.links[opts[:peer]] == nil
      end
  end

  defp possible?({:address, link, ip, _, _} = entry, done, world) do
    carries?(link, View.family(View.ip(ip)), done, world, false) and
      Enum.all?(world.addresses, fn seen ->
        View.key_of_address(seen) != View.key_of(entry) or View.address?(entry, seen)
      end)
  end

  defp possible?({:route, dst, _, _, opts} = entry, done, world) do
    family = View.family(View.ip(dst))

    View.key_of(entry) not in world.keys and
      (opts[:nh_id] == nil or opts[:nh_id] in world.nexthops) and
      (opts[:prefsrc] == nil or local?(View.ip(opts[:prefsrc]), done, world)) and
      Enum.all?(View.hops(entry), fn hop ->
        (hop.dev == nil or carries?(hop.dev, family, done, world, true)) and
          (hop.gateway == nil or hop.onlink == true or
             (hop.dev != nil and View.link_local?(hop.gateway)) or
             Enum.any?(reach(hop.gateway, done, world), &(hop.dev in [nil, &1])))
      end)
  end

  defp there?(name, done, world), do: link(name, done, world) != nil

  defp bridge?(name, done, world), do: match?(%{kind: "bridge"}, link(name, done, world))

  # A desired link or its far end as the pass leaves it, or one that is not ours.
  defp link(name, done, world) do
    made = for {:link, link, _, opts} <- done, end_ <- [link, opts[:peer]], do: end_
    if name in made, do: world.after[name], else: world.links[name]
  end

  defp carries?(link, family, done, world, up?) do
    link = link(link, done, world)
    link != nil and (family == :inet or link.mtu >= 1280) and (link.up or not up?)
  end

  defp local?(ip, done, world),
    do: Enum.any?(world.addresses ++ View.seen(done), &(&1.ip == ip))

  @doc "The links on which a gateway is by a subnet or a route to the link."
  def reach(gateway, done, world) do
    for {link, net, len} <- subnets(world.addresses ++ View.seen(done)) ++ direct(done),
        match?(%{up: true}, link(link, done, world)) and View.inside?(gateway, net, len),
        do: link
  end

  defp subnets(addresses),
    do: for(a <- addresses, !a.raw["noprefixroute"], do: {a.link, a.peer || a.ip, a.len})

  defp direct(done),
    do:
      for(
        {:route, dst, len, nil, [{:oif, link} | scope]} <- done,
        scope in [[], [scope: :link], [scope: :host]],
        do: {link, View.ip(dst), len}
      )
end
