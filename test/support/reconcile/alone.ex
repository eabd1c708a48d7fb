defmodule Linx.Test.Reconcile.Alone do
  @moduledoc false
  # A second witness that other programs' state stays: the commands of the other programs run in
  # two namespaces, and in one of them a reconciler makes, changes and removes its entries in
  # between. In the end both namespaces must be equal, whoever the test's register holds an object
  # to belong to.

  import ExUnit.Assertions, only: [flunk: 1]

  alias Linx.Netlink.{Rtnl, Socket}
  alias Linx.Netlink.Rtnl.Reconcile
  alias Linx.Test.Reconcile.{Command, Generator, Lab, LinkEntries}

  # The part of the cases that must be comparable, in percent.
  @min_compared 50

  @doc "Compares the namespaces of each seed; fails with the first two that differ."
  def check(seeds) do
    results =
      seeds
      |> Task.async_stream(&{&1, run(Generator.make(&1))},
        timeout: :infinity,
        max_concurrency: System.schedulers_online()
      )
      |> Enum.map(fn {:ok, result} -> result end)

    compared = Enum.count(results, &match?({_, outcome} when outcome != :incomparable, &1))

    IO.puts(
      "reconcile beside a namespace without: #{compared} of #{length(results)} cases compared"
    )

    for {seed, {:differs, text}} <- results, do: flunk("seed #{seed}: #{text}")

    if 100 * compared < @min_compared * length(results),
      do: flunk("#{compared} of #{length(results)} cases can be compared")

    :ok
  end

  defp run(c) do
    with_labs(fn lab, socket, alone ->
      [foreign1, foreign2] = for commands <- c.foreign, do: Enum.map(commands, &elem(&1, 1))
      tried1 = Lab.try_each(lab, foreign1)
      first = reconcile(socket, c.first, %{}, c.mode)
      tried2 = Lab.try_each(lab, foreign2)
      second = reconcile(socket, c.second, first.last_applied, c.mode)
      last = reconcile(socket, [], second.last_applied, :continue)

      # Objects that an entry of the reconciler made possible are not there without it.
      done = for {command, 0, _} <- tried1 ++ tried2, do: command
      again = Lab.try_each(alone, done)
      possible? = Enum.all?(again, &match?({_, 0, _}, &1))
      lost = first.lost ++ second.lost ++ last.lost

      if possible? and lost == [],
        do: compare(terms(lab, c), terms(alone, c)),
        else: :incomparable
    end)
  end

  defp with_labs(fun) do
    [lab, alone] = [Lab.start(), Lab.start()]
    {:ok, socket} = Rtnl.open(Lab.target(lab))

    try do
      fun.(lab, socket, alone)
    after
      Socket.close(socket)
      Enum.each([lab, alone], &Lab.stop/1)
    end
  end

  defp reconcile(socket, entries, last, mode) do
    {:ok, report} =
      Reconcile.reconcile(socket, Command.desired(entries), last, on_error: mode)

    report
  end

  defp compare(same, same), do: :same

  defp compare(beside, alone) do
    text = &inspect(&1, pretty: true, limit: :infinity)

    {:differs,
     "other programs' state differs from that of a namespace without a reconciler\n" <>
       "missing: #{text.(alone -- beside)}\nmore: #{text.(beside -- alone)}"}
  end

  # -- a namespace in terms that can be compared ---

  defp terms(lab, c) do
    Lab.carrier(lab)
    Lab.taken(lab)
    view = Lab.view(lab)
    named = named(c)

    Enum.sort(
      Enum.map(view.links, fn {name, link} -> link(link, name in named) end) ++
        Enum.map(view.addresses, &address/1) ++
        Enum.map(view.rules, &rule/1) ++
        for(route <- view.routes, route.proto != 2, do: route(route)) ++
        Enum.to_list(view.nexthops)
    )
  end

  # A pass sets the options of a link that an entry names, whoever made it.
  defp named(c) do
    for {:link, name, _, opts} <- c.first ++ c.second,
        link <- [name | opts[:ports] || []],
        do: link
  end

  defp link(link, true), do: {:link, link.name, link.kind, link.parent}

  defp link(link, false) do
    master = if link.master in LinkEntries.pool(), do: nil, else: link.master
    # The MTU of a bridge follows those of its ports.
    mtu = if link.kind == "bridge", do: [], else: ["mtu"]
    options = Map.take(link.raw, ["txqlen", "group", "ifalias"] ++ mtu)
    {link(link, true), link.up, master, options}
  end

  # Lifetimes run.
  defp address(address) do
    raw =
      for {key, value} <- Map.drop(address.raw, ["secondary", "tentative"]), into: %{} do
        {key, if(String.ends_with?(key, "life_time"), do: div(value + 200, 1000), else: value)}
      end

    {:address, address.link, raw}
  end

  # The kernel counts the priorities that it chooses down from the main table's.
  defp rule(rule) do
    priority = if rule.priority in 30_000..32_765, do: :chosen, else: rule.priority
    {:rule, priority, Map.delete(rule.raw, "priority")}
  end

  @ways ["dev", "gateway", "via", "weight", "nexthops", "flags", "nh_info", "expires", "cache"]

  defp route(route) do
    hops = Enum.sort(for hop <- route.hops, do: Map.take(hop, [:gateway, :dev, :weight, :onlink]))
    {:route, route.key, hops, Map.drop(route.raw, @ways)}
  end
end
