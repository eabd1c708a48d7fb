defmodule Linx.Test.Reconcile.Outside do
  @moduledoc false
  # The changes that other programs make in a case, as commands of ip(8) with their owner:
  # `:foreign`, `:ours` for a command with our mark, `:none` for a deletion, `{:unmark, key}` for
  # one that takes our mark off an address.

  import Linx.Test.Reconcile.Chance

  alias Linx.Test.Reconcile.{Command, Entries, Lab, LinkEntries, RuleEntries, View}

  @up ["a0", "b0"]

  @v4 for(n <- [1, 2, 5], do: "203.0.113.#{n}") ++ ["203.0.112.1"]
  @v6 ["2001:db8:7::1", "2001:db8:7::2", "2001:db8:8::1", "fe80::5"]

  @protocols [4, 9, 77]

  def foreign(entries, time) do
    routes = for {:route, _, _, _, _} = route <- entries, do: route

    for _ <- 1..(roll(6) - 1)//1 do
      case pick([:address, :address, :address, :route, :route, :route, :append, :link, :rule]) do
        :link -> {:foreign, LinkEntries.foreign()}
        :rule -> {:foreign, RuleEntries.foreign(entries)}
        :append when routes != [] -> {:foreign, joined(pick(routes), time)}
        :address -> {:foreign, foreign_address()}
        _ -> {:foreign, foreign_route()}
      end
    end
  end

  defp foreign_address do
    pick([
      "addr add 203.0.113.#{pick([77, 78])}/24 dev #{pick(@up)}",
      "addr add 203.0.113.#{pick([77, 78])}/24 dev #{pick(@up)} label #{pick(@up)}:f " <>
        "valid_lft 5000 preferred_lft 4000",
      "addr add 203.0.115.77/25 dev #{pick(@up)} scope link metric 900",
      "addr add 2001:db8:7::77/64 dev a0 nodad",
      "addr add 2001:db8:7::78/64 dev a0 nodad valid_lft 5000 preferred_lft 5000",
      "addr add #{pick(@v4)}/24 dev #{pick(@up)}",
      "addr add #{pick(@v6)}/64 dev a0 nodad"
    ])
  end

  # Another metric or table than those of the pools, mostly.
  defp foreign_route do
    family = pick([:inet, :inet6])
    {dst, len} = Entries.destination(family)
    metric = if chance(85), do: pick([7, 2000]), else: nil

    {gateway, way} =
      if chance(20), do: {nil, [nh_id: Entries.object(family)]}, else: Entries.both(family)

    opts =
      way ++
        if(metric, do: [metric: metric], else: []) ++
        if(chance(30), do: [metrics: [mtu: 1280]], else: [])

    Command.route("add", {:route, dst, len, gateway, opts}, pick(@protocols))
  end

  # A hop of the key of one of ours: behind it where that is there, in its place where it is not.
  defp joined({:route, dst, len, _, opts}, time) do
    family = View.family(View.ip(dst))

    if (time == :before and chance(80)) or opts[:nh_id] != nil or opts[:type] != nil do
      foreign_route()
    else
      gateway =
        if family == :inet, do: "192.0.2.4", else: pick(["2001:db8:1::99", "2001:db8:1::98"])

      kept = Keyword.take(opts, [:table, :metric, :tos])
      Command.route("append", {:route, dst, len, gateway, kept}, pick(@protocols))
    end
  end

  # -- drift ---

  def drift(entries) do
    Enum.flat_map(1..(roll(5) - 1)//1, fn _ ->
      if entries == [] or chance(12), do: links_drift(), else: drifted(pick(entries))
    end)
  end

  defp drifted({:link, _, _, _} = link), do: Enum.map(LinkEntries.drift(link), &{:foreign, &1})
  defp drifted({:rule, _} = rule), do: [RuleEntries.drift(rule)]

  defp drifted({:address, link, ip, len, opts}) when link != "nope0" do
    case pick([:delete, :delete, :lifetime, :lifetime_unmarked]) do
      :delete ->
        [
          {:none,
           Command.address("del", {:address, link, ip, len, Keyword.take(opts, [:peer])}, nil)}
        ]

      :lifetime ->
        [{:none, "addr change #{ip}/#{len} dev #{link} valid_lft 5000 preferred_lft 0 proto 76"}]

      :lifetime_unmarked ->
        [
          {{:unmark, View.key_of({:address, link, ip, len, []})},
           "addr change #{ip}/#{len} dev #{link} valid_lft 5000 preferred_lft 0"}
        ]
    end
  end

  defp drifted({:address, _, _, _, _}), do: []

  defp drifted({:route, dst, len, _, opts} = route) do
    family = View.family(View.ip(dst))
    key = Keyword.take(opts, [:table, :metric, :tos])
    {gateway, way} = Entries.both(family)
    other = {:route, dst, len, gateway, way ++ key}

    case pick([:delete, :delete, :change, :altered, :altered, :replace, :append, :foreign]) do
      :delete ->
        [{:none, Command.key("del", route) <> " proto 76"}]

      :change ->
        [
          {:ours,
           Command.route(
             "change",
             {:route, dst, len, gateway, way ++ key ++ [metrics: [mtu: 600]]}
           )}
        ]

      :replace ->
        [{:ours, Command.route("replace", other)}]

      # Another value of one option of the entry.
      :altered ->
        {:route, _, _, gateway, altered} = Entries.altered(route, [])
        opts = Keyword.drop(altered, [:table, :metric, :tos]) ++ key
        [{:ours, Command.route("replace", {:route, dst, len, gateway, opts})}]

      :append ->
        [{:ours, Command.route("append", other)}]

      :foreign ->
        [
          {:foreign,
           Command.route(pick(["append", "append", "append", "replace"]), other, pick([nil, 4]))}
        ]
    end
  end

  defp links_drift do
    link = pick(Lab.links())

    commands =
      case pick([:bounce, :bounce, :down, :again, :without_inet6]) do
        :without_inet6 -> without_inet6("a0")
        :bounce -> ["link set #{link} down" | Lab.raise_link(link) ++ Lab.belongings(link)]
        :down -> ["link set #{link} down"]
        :again -> ["link del #{link}" | Lab.make(link)]
      end

    Enum.map(commands, &{:foreign, &1})
  end

  # IPv6 goes with its addresses and routes, and comes back without them.
  defp without_inet6(link) do
    for(n <- [1, 0], do: "sysctl -qw net.ipv6.conf.#{link}.disable_ipv6=#{n}") ++
      Lab.belongings(link)
  end
end
