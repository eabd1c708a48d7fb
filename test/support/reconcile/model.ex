defmodule Linx.Test.Reconcile.Model do
  @moduledoc false
  # Which desired entries the kernel can have together, in at most fifty lines. `world` is what is not ours:
  # `%{links, addresses, keys, nexthops}`. The test tries what this calls impossible by ip(8), which must fail too.

  alias Linx.Test.Reconcile.View

  def possible(entries, world), do: grow([], entries, world)

  defp grow(done, left, world) do
    case Enum.split_with(left, &possible?(&1, done, world)) do
      {[], _} -> done
      {new, left} -> grow(done ++ new, left, world)
    end
  end

  defp possible?({:address, link, ip, _, _} = entry, _done, world) do
    carries?(link, View.family(View.ip(ip)), world, false) and
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
        (hop.dev == nil or carries?(hop.dev, family, world, true)) and
          (hop.gateway == nil or hop.onlink == true or hop.dev in on_link(hop.gateway) or
             Enum.any?(reach(hop.gateway, done, world), &(hop.dev in [nil, &1])))
      end)
  end

  defp carries?(link, family, world, up?) do
    link = world.links[link]
    link != nil and (family == :inet or link.mtu >= 1280) and (link.up or not up?)
  end

  defp local?(ip, done, world),
    do: Enum.any?(subnets(done, world), fn {_, local, _, _, _} -> local == ip end)

  @doc "The links on which a gateway is by a subnet or a route to the link."
  def reach(gateway, done, world) do
    for {link, _, near, len, true} <- subnets(done, world),
        View.inside?(gateway, near, len),
        do: link
  end

  defp on_link({0xFE80, _, _, _, _, _, _, _}), do: ["a0"]
  defp on_link(_), do: []

  defp subnets(done, world) do
    up? = &match?(%{up: true}, world.links[&1])

    for(
      a <- world.addresses,
      do: {a.link, a.ip, a.peer || a.ip, a.len, up?.(a.link) and !a.raw["noprefixroute"]}
    ) ++
      for(
        {:address, link, ip, len, opts} <- done,
        do:
          {link, View.ip(ip), View.ip(opts[:peer] || ip), len,
           up?.(link) and :noprefixroute not in (opts[:flags] || [])}
      ) ++
      for(
        {:route, dst, len, nil, opts} <- done,
        opts -- [oif: opts[:oif]] == [],
        do: {opts[:oif], nil, View.ip(dst), len, true}
      )
  end
end
