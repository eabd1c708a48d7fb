defmodule Linx.Test.Reconcile.Generator do
  @moduledoc false
  # One case of the property test from one seed: two desired states, other programs' state and drift. Values come from
  # small pools, so that entries collide often. The options are those that the modules accept, read from their source:
  # an option that this module has no value for raises.

  alias Linx.Netlink.Rtnl.Address
  alias Linx.Netlink.Rtnl.Route.{Metrics, Options}
  alias Linx.Test.Reconcile.{Command, Lab, View}

  # The mark of what is ours is not an entry's business.
  @marks [:protocol, :proto]

  # Options that say where a route leads; `way/2` makes them together.
  @ways [:oif, :via, :multipath, :nh_id, :onlink, :type]

  @up ["a0", "b0"]

  # Routes to a link, by which gateways are reached.
  @near4 {:route, "10.7.0.0", 24, nil, [oif: "a0"]}
  @near6 {:route, "2001:db8:70::", 64, nil, [oif: "a0"]}

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
      foreign: [foreign(first, :before), foreign(first ++ second, :between)],
      drift: [drift(first), drift(second)],
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

  # -- the options -----------------------------------------------------------------------------------------------------

  @doc "The options that the modules accept: `%{route, hop, metric, address}`."
  def options do
    %{
      route: clauses(Options, :option) -- @marks,
      hop: clauses(Options, :hop),
      metric: Metrics.__struct__() |> Map.keys() |> List.delete(:__struct__) |> Enum.sort(),
      address: clauses(Address, :option) -- @marks
    }
  end

  # The keys in the first arguments of a private function's clauses.
  defp clauses(module, name) do
    source = module.module_info(:compile)[:source]

    {_, found} =
      source
      |> File.read!()
      |> Code.string_to_quoted!()
      |> Macro.prewalk([], &clause(&1, &2, name))

    found |> Enum.reverse() |> Enum.uniq()
  end

  defp clause({:defp, _, [head | _]} = node, found, name) do
    case unguarded(head) do
      {^name, _, [{key, _value} | _]} when is_atom(key) -> {node, [key | found]}
      {^name, _, [[{:|, _, [{key, _value} | _]}] | _]} when is_atom(key) -> {node, [key | found]}
      _ -> {node, found}
    end
  end

  defp clause(node, found, _name), do: {node, found}

  defp unguarded({:when, _, [head | _]}), do: head
  defp unguarded(head), do: head

  @doc "The options of routes and addresses that `options/0` has and no value is made for."
  def unknown do
    options = options()

    %{
      route: Enum.reject(options.route -- @ways, &known?(:route_option, [&1])),
      hop: options.hop -- [:gateway, :via, :oif, :weight, :onlink],
      metric: Enum.reject(options.metric, &known?(:metric, [&1])),
      address: Enum.reject(options.address, &known?(:address_option, [&1]))
    }
  end

  defp known?(:route_option, [key]), do: route_option(key, :inet, []) != :unknown
  defp known?(:metric, [key]), do: metric(key) != :unknown

  defp known?(:address_option, [key]),
    do: address_option(key, :inet, "a0", "203.0.113.1", 32) != :unknown

  # -- chance ----------------------------------------------------------------------------------------------------------

  defp roll(n), do: :rand.uniform(n)
  defp chance(percent), do: :rand.uniform(100) <= percent
  defp pick(list), do: Enum.at(list, :rand.uniform(length(list)) - 1)

  defp some(list, n),
    do:
      list
      |> Enum.map(&{:rand.uniform(), &1})
      |> Enum.sort()
      |> Enum.take(n)
      |> Enum.map(&elem(&1, 1))

  # -- desired states --------------------------------------------------------------------------------------------------

  defp entries do
    addresses = distinct(for(_ <- 1..(roll(9) - 1)//1, do: address()))
    routes = distinct(for(_ <- 1..(roll(9) - 1)//1, do: route(addresses)))
    distinct(addresses ++ nearby(routes) ++ routes)
  end

  # A gateway behind another desired route has that route, mostly.
  defp nearby(routes) do
    gateways = for {:route, _, _, gateway, _} <- routes, do: gateway

    for {gateway, route} <- [{"10.7.0.9", @near4}, {"2001:db8:70::9", @near6}],
        gateway in gateways and chance(85),
        do: route
  end

  defp distinct(entries), do: Enum.uniq_by(entries, &View.key_of/1)

  # -- addresses -------------------------------------------------------------------------------------------------------

  @v4 for(n <- [1, 2, 5], do: "203.0.113.#{n}") ++ ["203.0.112.1"]
  @v6 ["2001:db8:7::1", "2001:db8:7::2", "2001:db8:8::1", "fe80::5"]

  defp address do
    family = pick([:inet, :inet, :inet6])
    link = link(family, 6)

    {ip, len} =
      if family == :inet,
        do: {pick(@v4), pick([24, 24, 24, 25, 32])},
        else: {pick(@v6), pick([64, 64, 128])}

    {:address, link, ip, len, address_options(family, link, ip, len)}
  end

  # One link in so many percent is not there or cannot carry it.
  defp link(family, percent) do
    cond do
      chance(percent) and family == :inet6 -> pick(["nope0", "b0"])
      chance(percent) -> "nope0"
      family == :inet -> pick(@up ++ @up ++ ["c0"])
      true -> pick(["a0", "a0", "a0", "c0"])
    end
  end

  defp address_options(family, link, ip, len) do
    for key <- some(options_of(:address), pick([0, 0, 0, 1, 1, 2])),
        {:ok, value} <- [address_option(key, family, link, ip, len)],
        reduce: [] do
      opts -> with_lifetime(opts, key, value)
    end
  end

  # Nothing is preferred for longer than it is valid.
  defp with_lifetime(opts, :preferred, value),
    do: Keyword.merge(opts, valid: opts[:valid] || 2000, preferred: value)

  defp with_lifetime(opts, key, value), do: Keyword.put(opts, key, value)

  defp options_of(kind) do
    with nil <- Process.get({__MODULE__, kind}) do
      options = Map.fetch!(options(), kind)
      Process.put({__MODULE__, kind}, options)
      options
    end
  end

  defp address_option(:peer, :inet, _, "203.0.112.1", 32),
    do: {:ok, pick(["203.0.112.2", "203.0.112.3"])}

  defp address_option(:peer, :inet6, _, "2001:db8:8::1", 128),
    do: {:ok, pick(["2001:db8:8::2", "2001:db8:8::3"])}

  defp address_option(:peer, _, _, _, _), do: :none
  defp address_option(:label, :inet, link, _, _), do: {:ok, "#{link}:#{pick(["x", "y"])}"}

  defp address_option(:broadcast, :inet, _, ip, 24),
    do: {:ok, String.replace(ip, ~r/\.\d+$/, pick([".255", ".127"]))}

  # The addresses of a subnet have one scope.
  defp address_option(:scope, :inet, _, _, 32), do: {:ok, pick([0, 200, 253])}
  defp address_option(:valid, _, _, _, _), do: {:ok, pick([2000, 9000, :forever])}
  defp address_option(:preferred, _, _, _, _), do: {:ok, pick([1000, 2000])}
  defp address_option(:flags, :inet, _, _, _), do: {:ok, [:noprefixroute]}

  defp address_option(:flags, :inet6, _, _, _),
    do: {:ok, pick([[:nodad], [:noprefixroute], [:nodad, :noprefixroute]])}

  defp address_option(:priority, _, _, _, _), do: {:ok, pick([5, 700])}
  defp address_option(key, _, _, _, _) when key in [:label, :broadcast, :scope], do: :none
  defp address_option(_key, _, _, _, _), do: :unknown

  # -- routes ------------------------------------------------------------------------------------------------------------

  @d4 ["198.18.0.0", "198.18.1.0", "198.18.2.0", "198.18.3.0"]
  @d6 ["2001:db8:9::", "2001:db8:a::", "2001:db8:b::"]

  defp route(addresses) do
    family = pick([:inet, :inet, :inet6])

    if chance(6),
      do: if(family == :inet, do: @near4, else: @near6),
      else: route(family, addresses)
  end

  defp route(family, addresses) do
    {dst, len} = destination(family)
    {gateway, way} = way(family, addresses)

    opts =
      extra(way, family, addresses, some(options_of(:route) -- @ways, pick([0, 0, 1, 1, 2, 3])))

    {:route, dst, len, gateway, opts}
  end

  defp destination(:inet),
    do: if(chance(8), do: {"0.0.0.0", 0}, else: {pick(@d4), pick([24, 24, 25])})

  defp destination(:inet6),
    do: if(chance(8), do: {"::", 0}, else: {pick(@d6), pick([48, 48, 49])})

  # Where a route leads: its gateway and the options that go with that.
  defp way(family, addresses) do
    case pick(
           ~w(gateway gateway gateway both both device via onlink multipath multipath multipath nh_id nh_id reject type)a
         ) do
      :gateway -> {gateway(family, addresses), []}
      :both -> both(family)
      :device -> {nil, [oif: link(family, 8) |> up(family)]}
      :via -> {nil, via(family)}
      :onlink -> {far(family), [oif: device(family), onlink: true]}
      :multipath -> {nil, [multipath: multipath(family)]}
      :nh_id -> {nil, [nh_id: object(family)]}
      :reject -> {nil, [type: pick([:blackhole, :unreachable, :prohibit, :throw])]}
      :type -> {nil, [type: pick(typed(family)), oif: device(family)]}
    end
  end

  defp typed(:inet), do: [:local, :multicast, :unicast]
  defp typed(:inet6), do: [:multicast, :anycast, :unicast]

  # A link that is down makes a route impossible; so it is rare.
  defp up("c0", family), do: if(chance(25), do: "c0", else: device(family))
  defp up(link, _family), do: link

  defp device(:inet), do: pick(@up)
  defp device(:inet6), do: "a0"

  defp both(:inet6), do: {pick(["2001:db8:1::2", "2001:db8:1::3", "fe80::1"]), [oif: "a0"]}

  defp both(:inet) do
    case pick(["a0", "b0"]) do
      "a0" -> {pick(["192.0.2.2", "192.0.2.3"]), [oif: "a0"]}
      "b0" -> {"198.51.100.9", [oif: "b0"]}
    end
  end

  defp gateway(family, addresses) do
    cond do
      chance(5) -> far(family)
      chance(25) -> by_address(family, addresses)
      chance(10) -> if(family == :inet, do: "10.7.0.9", else: "2001:db8:70::9")
      true -> elem(both(family), 0) |> plain()
    end
  end

  # A link-local gateway needs its link.
  defp plain("fe80::1"), do: "2001:db8:1::4"
  defp plain(gateway), do: gateway

  defp far(:inet), do: "10.9.9.9"
  defp far(:inet6), do: "2001:db8:ff::9"

  # A gateway that a desired address makes reachable.
  defp by_address(family, addresses) do
    case for(
           {:address, link, ip, len, opts} <- addresses,
           View.family(View.ip(ip)) == family,
           len in [24, 25, 64],
           link != "c0",
           opts[:flags] == nil,
           do: ip
         ) do
      [] -> plain(elem(both(family), 0))
      ips -> ips |> pick() |> beside()
    end
  end

  defp beside("203.0.113." <> _), do: "203.0.113.9"
  defp beside("203.0.112." <> _), do: "203.0.112.9"
  defp beside("2001:db8:7:" <> _), do: "2001:db8:7::9"
  defp beside("2001:db8:8:" <> _), do: "2001:db8:8::9"
  defp beside("fe80:" <> _), do: "2001:db8:1::2"

  defp via(:inet),
    do:
      pick([
        [via: "192.0.2.2"],
        [via: "2001:db8:1::2", oif: "a0"],
        [via: "2001:db8:1::3", oif: "a0"]
      ])

  defp via(:inet6), do: [via: pick(["2001:db8:1::2", "2001:db8:1::3"])]

  defp object(family),
    do:
      if(chance(8), do: 30, else: pick(if(family == :inet, do: [10, 11, 20], else: [12, 13, 21])))

  defp multipath(family), do: family |> hops() |> some(roll(3)) |> Enum.map(&weighed/1)

  defp hops(:inet) do
    [
      [gateway: "192.0.2.2"],
      [gateway: "192.0.2.3", oif: "a0"],
      [gateway: "198.51.100.9"],
      [via: "2001:db8:1::2", oif: "a0"],
      [gateway: "10.9.9.9", oif: "b0", onlink: true]
    ]
  end

  defp hops(:inet6) do
    [
      [gateway: "2001:db8:1::2"],
      [gateway: "2001:db8:1::3", oif: "a0"],
      [gateway: "2001:db8:1::4"],
      [gateway: "fe80::1", oif: "a0"]
    ]
  end

  defp weighed(hop), do: if(chance(30), do: hop ++ [weight: pick([2, 3, 200])], else: hop)

  defp extra(opts, _family, _addresses, []), do: opts

  defp extra(opts, family, addresses, [key | keys]) do
    case fits?(key, opts) && route_option(key, family, addresses) do
      {:ok, value} -> extra(opts ++ [{key, value}], family, addresses, keys)
      _ -> extra(opts, family, addresses, keys)
    end
  end

  # Options that say nothing together with where the route leads, or that the kernel refuses there.
  defp fits?(:scope, opts), do: opts == [] or Keyword.keys(opts) == [:oif]

  defp fits?(key, opts) when key in [:metrics, :prefsrc, :expires, :pref],
    do: opts[:type] in [nil, :unicast] and opts[:nh_id] == nil

  defp fits?(_key, _opts), do: true

  defp route_option(:table, _, _), do: {:ok, pick([100, 254, 5000])}
  defp route_option(:metric, _, _), do: {:ok, pick([0, 1024, 50])}
  defp route_option(:tos, :inet, _), do: {:ok, pick([8, 16])}
  defp route_option(:scope, :inet, _), do: {:ok, pick([:site, :universe])}
  defp route_option(:prefsrc, family, addresses), do: {:ok, source(family, addresses)}
  defp route_option(:pref, :inet6, _), do: {:ok, pick([:low, :medium, :high])}
  defp route_option(:expires, :inet6, _), do: {:ok, pick([600, 3000])}

  defp route_option(:metrics, _, _),
    do:
      {:ok,
       for(key <- some(options_of(:metric), pick([1, 1, 2, 3])), do: {key, metric(key)})
       |> locked()}

  defp route_option(key, _, _) when key in [:tos, :scope, :pref, :expires], do: :none
  defp route_option(_key, _, _), do: :unknown

  # The lock is of the MTU.
  defp locked(metrics),
    do: if(metrics[:lock], do: Keyword.put_new(metrics, :mtu, 1300), else: metrics)

  defp source(family, addresses) do
    base = if family == :inet, do: ["192.0.2.1", "198.51.100.1"], else: ["2001:db8:1::1"]

    ours =
      for {:address, link, ip, _, _} <- addresses,
          View.family(View.ip(ip)) == family,
          link == "a0",
          not String.starts_with?(ip, "fe80"),
          do: ip

    pick(base ++ ours)
  end

  defp metric(:lock), do: 4
  defp metric(:mtu), do: pick([1300, 1400])
  defp metric(:advmss), do: pick([600, 1100])
  defp metric(:rtt), do: pick([80, 800])
  defp metric(:rttvar), do: pick([40, 400])
  defp metric(:hoplimit), do: pick([9, 77])
  defp metric(:features), do: 1
  defp metric(:quickack), do: 1
  defp metric(:fastopen_no_cookie), do: 1
  defp metric(:cc_algo), do: pick(["reno", "cubic"])
  defp metric(:rto_min), do: pick([50, 300])

  defp metric(key) when key in [:window, :ssthresh, :cwnd, :reordering, :initcwnd, :initrwnd],
    do: pick([6, 12])

  defp metric(_key), do: :unknown

  # -- the second desired state ------------------------------------------------------------------------------------------

  defp changed(entries, 0), do: distinct(entries)
  defp changed(entries, n), do: entries |> change() |> distinct() |> changed(n - 1)

  defp change(entries) do
    addresses = Enum.filter(entries, &match?({:address, _, _, _, _}, &1))

    case pick([:alter, :alter, :alter, :alter, :remove, :add, :reorder]) do
      _ when entries == [] -> [address()]
      :alter -> List.update_at(entries, roll(length(entries)) - 1, &altered(&1, addresses))
      :remove -> List.delete_at(entries, roll(length(entries)) - 1)
      :add -> entries ++ [if(chance(50), do: address(), else: route(addresses))]
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
        {:address, link, ip, len, address_options(family, link, ip, len)}
    end
  end

  defp altered({:route, dst, len, gateway, opts}, addresses) do
    family = View.family(View.ip(dst))
    {ways, rest} = Keyword.split(opts, @ways)

    case pick([:way, :option, :option]) do
      :way ->
        {gateway, way} = way(family, addresses)
        {:route, dst, len, gateway, way ++ Enum.filter(rest, fn {key, _} -> fits?(key, way) end)}

      :option ->
        key = pick(options_of(:route) -- @ways)

        {:route, dst, len, gateway,
         extra(
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

  # -- other programs' state: `{owner, command}` -------------------------------------------------------------------------

  @protocols [4, 9, 77]

  defp foreign(entries, time) do
    routes = for {:route, _, _, _, _} = route <- entries, do: route

    for _ <- 1..(roll(6) - 1)//1 do
      case pick([:address, :address, :route, :route, :append]) do
        :append when routes != [] -> {:foreign, joined(pick(routes), time)}
        :address -> {:foreign, foreign_address()}
        _ -> {:foreign, foreign_route()}
      end
    end
  end

  defp foreign_address do
    pick([
      "addr add 203.0.113.#{pick([77, 78])}/24 dev #{pick(@up)}",
      "addr add 203.0.113.#{pick([77, 78])}/24 dev #{pick(@up)} label #{pick(@up)}:f valid_lft 5000 preferred_lft 4000",
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
    {dst, len} = destination(family)
    metric = if chance(85), do: pick([7, 2000]), else: nil
    {gateway, way} = if chance(20), do: {nil, [nh_id: object(family)]}, else: both(family)

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

  # -- drift: `{owner, command}`, owner :ours (with our mark), :foreign or :none ------------------------------------------

  defp drift(entries) do
    Enum.flat_map(1..(roll(5) - 1)//1, fn _ ->
      if entries == [] or chance(12), do: links_drift(), else: drifted(pick(entries))
    end)
  end

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
    {gateway, way} = both(family)
    other = {:route, dst, len, gateway, way ++ key}

    case pick([:delete, :delete, :change, :change, :replace, :append, :foreign]) do
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
      case pick([:bounce, :bounce, :down, :again]) do
        :bounce -> ["link set #{link} down" | Lab.raise_link(link) ++ Lab.belongings(link)]
        :down -> ["link set #{link} down"]
        :again -> ["link del #{link}" | Lab.make(link)]
      end

    Enum.map(commands, &{:foreign, &1})
  end
end
