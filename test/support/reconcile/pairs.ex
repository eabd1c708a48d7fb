defmodule Linx.Test.Reconcile.Pairs do
  @moduledoc false
  # Two desired states of one object, drawn over values that the generator of the property test
  # leaves out: the ends of each range, options that have no effect together, forms that the
  # kernel stores otherwise. The second state converges behind the first one if it converges
  # alone, and does nothing then; nothing is left of either.

  import Linx.Test.Reconcile.Chance

  alias Linx.Netlink.{Rtnl, Socket}
  alias Linx.Netlink.Rtnl.{Address, Reconcile, Route, Rule}
  alias Linx.Netlink.Rtnl.LinkInfo.Bridge
  alias Linx.Netlink.Rtnl.Route.Metrics
  alias Linx.Test.Reconcile.Lab

  @ours 76

  @doc "The sorts of objects."
  def sorts, do: [:route4, :route6, :address4, :address6, :rule4, :rule6, :macvlan, :bridge]

  @doc "`:ok`, or what is wrong with the first pair that breaks a law."
  def check(sort, seeds) do
    labs = for _ <- 1..2, do: Lab.start()
    sockets = for lab <- labs, do: elem({:ok, _} = Rtnl.open(Lab.target(lab)), 1)

    try do
      Enum.find_value(seeds, :ok, &broken(&1, pair(sort, &1), sockets))
    after
      Enum.each(sockets, &Socket.close/1)
      Enum.each(labs, &Lab.stop/1)
    end
  end

  defp pair(sort, seed) do
    :rand.seed(:exsss, {seed, 76, 7})
    draw(sort)
  end

  defp broken(seed, {first, second}, [alone, behind]) do
    fresh = pass(alone, second, %{})
    one = pass(behind, first, %{})
    idle = pass(behind, first, one.last_applied)
    two = pass(behind, second, one.last_applied)
    again = pass(behind, second, two.last_applied)
    ends = [pass(alone, %{}, fresh.last_applied), pass(behind, %{}, again.last_applied)]

    wrong =
      cond do
        one.converged? and (idle.applied != [] or not idle.converged?) -> {:first, one, idle}
        fresh.converged? and not two.converged? -> {:behind, two}
        two.converged? and (again.applied != [] or not again.converged?) -> {:second, two, again}
        not Enum.all?(ends, & &1.converged?) -> {:ends, ends}
        left(alone) ++ left(behind) != [] -> {:left, left(alone), left(behind)}
        true -> nil
      end

    if wrong, do: {seed, first, second, wrong}
  end

  # A state that is refused is one that is not there.
  defp pass(socket, desired, last) do
    case Reconcile.reconcile(socket, desired, last, on_error: :continue) do
      {:ok, report} -> report
      {:error, {:normalize, _}} -> %Reconcile.Report{converged?: false, last_applied: last}
    end
  end

  defp left(socket) do
    {:ok, routes} = Route.list(socket, protocol: @ours)
    {:ok, addresses} = Address.list(socket)
    {:ok, rules} = Rule.list(socket)

    routes ++
      for(%{proto: @ours} = a <- addresses, do: a) ++ for(%{protocol: @ours} = r <- rules, do: r)
  end

  # -- routes ---

  defp draw(:route4) do
    key =
      some(
        [table: pick([253, 5000, 0xFFFFFFFF]), metric: pick([0, 0xFFFFFFFF]), tos: 8],
        pick([0, 1, 2])
      )

    {dst, len} = pick([{"198.18.0.0", 24}, {"0.0.0.0", 0}, {"198.18.9.1", 32}, {"224.7.0.0", 16}])

    twice(
      fn ->
        route(dst, len, way4(), key, [
          scope(),
          source(["192.0.2.1", "198.51.100.1"]),
          metrics(),
          onlink()
        ])
      end,
      :routes
    )
  end

  defp draw(:route6) do
    key =
      some(
        [table: pick([253, 5000, 0xFFFFFFFF]), metric: pick([0, 1, 0xFFFFFFFF])],
        pick([0, 1, 2])
      )

    {dst, len} = pick([{"2001:db8:9::", 48}, {"::", 0}, {"2001:db8:9::5", 128}, {"ff05::", 16}])

    twice(
      fn ->
        route(dst, len, way6(), key, [
          source(["2001:db8:1::1"]),
          metrics(),
          onlink(),
          pref(),
          expires()
        ])
      end,
      :routes
    )
  end

  defp draw(:address4) do
    {link, len} = {pick(["a0", "b0", "c0", "lo"]), pick([24, 25, 31, 32])}
    ip = pick(["203.0.113.1", "203.0.113.2", "127.0.0.9", "169.254.3.3"])

    options = fn ->
      [
        lifetimes(),
        [label: pick([link, link <> ":x"])],
        [broadcast: pick(["203.0.113.255", "0.0.0.0"])],
        [scope: pick([0, 253, 254])],
        [flags: pick([[], [:noprefixroute]])],
        priority()
      ]
    end

    twice(fn -> [{link, ip, len, drawn(options.())}] end, :addresses)
  end

  defp draw(:address6) do
    {link, ip} = {pick(["a0", "c0", "lo"]), pick(["2001:db8:7::1", "fe80::5", "fd00::1"])}

    options = fn ->
      [
        lifetimes(),
        [flags: some([:nodad, :noprefixroute, :home], pick([0, 1, 2]))],
        priority(),
        [peer: "2001:db8:8::8"]
      ]
    end

    twice(fn -> [{link, ip, pick([64, 128, 48]), drawn(options.())}] end, :addresses)
  end

  defp draw(:rule4),
    do:
      twice(fn -> [rule(["10.0.0.0/8", "10.3.0.7/16", "0.0.0.0/0", "10.9.9.9"], [])] end, :rules)

  defp draw(:rule6),
    do: twice(fn -> [rule(["2001:db8:30::/48", "::/0"], family: :inet6)] end, :rules)

  defp draw(:macvlan) do
    twice(
      fn ->
        [
          {"m7", :macvlan,
           [link: "c1", mode: pick([:private, :vepa, :bridge, :passthru, :source])] ++
             drawn([
               [up: chance(50)],
               [txqlen: pick([0, 10])],
               [group: pick([0, 0xFFFFFFFF])],
               [alias: pick(["", "x"])],
               [arp: chance(50)],
               [multicast: chance(50)],
               [allmulticast: chance(50)],
               [promisc: chance(50)]
             ])}
        ]
      end,
      :links
    )
  end

  # Numbers that the kernel keeps, refuses, cuts, or takes for a switch.
  defp draw(:bridge) do
    options = Map.keys(Bridge.__struct__()) -- [:__struct__, :boolopts, :fdb_flush, :group_addr]

    value = fn ->
      pick([0, 1, 2, 3, 8, 99, 100, 101, 999, 1000, 65_535, 8_640_001, 0xFFFFFFFF])
    end

    twice(
      fn ->
        switches = [no_linklocal_learn: chance(50), mcast_vlan_snooping: chance(50)]

        [
          {"g7", :bridge,
           [up: chance(50)] ++
             for(key <- some(options, pick([0, 1, 2, 3])), do: {key, value.()}) ++
             some(switches, pick([0, 0, 1]))}
        ]
      end,
      :links
    )
  end

  defp twice(draw, key), do: {%{key => draw.()}, %{key => draw.()}}

  defp drawn(options), do: options |> some(pick([0, 1, 1, 2, 3])) |> Enum.concat()

  defp route(dst, len, {gateway, way}, key, options),
    do: [{dst, len, gateway, Enum.uniq_by(way ++ key ++ drawn(options), &elem(&1, 0))}]

  defp way4 do
    pick([
      {"192.0.2.2", []},
      {"192.0.2.3", [oif: "a0"]},
      {nil, [oif: pick(["a0", "b0", "lo"])]},
      {nil, [via: "fe80::7", oif: "a0"]},
      {"10.9.9.9", [oif: "a0", onlink: true]},
      {nil,
       [
         multipath:
           several([
             [gateway: "192.0.2.2"],
             [oif: "b0"],
             [gateway: "192.0.2.4", oif: "a0", onlink: true],
             [via: "2001:db8:1::2", oif: "a0"]
           ])
       ]},
      {nil, [nh_id: pick([10, 20])]},
      {nil, [type: pick([:blackhole, :throw])]},
      {nil, [type: pick([:local, :unicast, :broadcast, :multicast, :anycast]), oif: "a0"]}
    ])
  end

  defp way6 do
    pick([
      {"2001:db8:1::2", []},
      {"fe80::1", [oif: "a0"]},
      {nil, [oif: pick(["a0", "a1", "lo"])]},
      {"2001:db8:ff::9", [oif: "a0", onlink: true]},
      {nil,
       [
         multipath:
           several([
             [gateway: "2001:db8:1::2"],
             [oif: "a1"],
             [gateway: "2001:db8:1::4", oif: "a0"],
             [gateway: "fe80::1", oif: "a0"],
             [gateway: "2001:db8:ff::9", oif: "a0", onlink: true]
           ])
       ]},
      {nil, [nh_id: pick([12, 21])]},
      {nil, [type: pick([:blackhole, :throw])]},
      {nil, [type: pick([:local, :anycast, :multicast]), oif: pick(["a0", "lo"])]}
    ])
  end

  defp several(hops) do
    for hop <- some(hops, pick([1, 2, 2, 3])),
        do: if(chance(40), do: hop ++ [weight: pick([1, 2, 256])], else: hop)
  end

  defp scope, do: [scope: pick([:universe, :site, :link, :host, :nowhere])]
  defp source(ips), do: [prefsrc: pick(ips)]
  defp onlink, do: [onlink: pick([true, false])]
  defp pref, do: [pref: pick([:low, :medium, :high])]
  defp expires, do: [expires: pick([100_000, 30_000_000, 0x7FFFFFFF])]
  defp priority, do: [priority: pick([0, 256, 0xFFFFFFFF])]

  defp lifetimes do
    pick([
      [valid: 2000],
      [valid: 100_000_000, preferred: 3000],
      [preferred: 0],
      [valid: 3000, preferred: 0],
      [valid: :forever, preferred: :forever]
    ])
  end

  @metrics Map.keys(Metrics.__struct__()) -- [:__struct__]

  defp metrics, do: [metrics: for(key <- some(@metrics, pick([1, 2])), do: {key, metric(key)})]

  defp metric(:cc_algo), do: pick(["reno", "cubic"])
  defp metric(:features), do: pick([0, 1])
  defp metric(:lock), do: pick([0, 4, 0xFFFF])
  defp metric(:mtu), do: pick([0, 1280, 70_000])
  defp metric(key) when key in [:advmss, :hoplimit], do: pick([0, 9, 70_000])
  defp metric(_key), do: pick([0, 1, 0xFFFFFFFF])

  # -- rules ---

  defp rule(subnets, family) do
    selectors =
      drawn([
        [from: pick(subnets)],
        pick([[fwmark: 0], [fwmark: 0xFFFFFFFF], [fwmark: 0xF0, fwmask: 0x0F], [fwmask: 0]]),
        [iif: pick(["lo", "nope5"])],
        [oif: "nope5"],
        [tos: pick([0, 8])],
        [ipproto: pick([0, 255])],
        [sport: pick([80..80, 1..65_534])],
        [uid: pick([0, 0..0xFFFFFFFE])],
        [invert: pick([true, false])],
        [suppress_prefixlength: pick([0, 32])],
        [suppress_ifgroup: pick([0, 5])]
      ])

    target = pick([[table: 0xFFFFFFFF], [table: 300], [action: :nop], [action: {:goto, 45_000}]])
    selectors ++ target ++ [priority: pick([40_000, 40_001])] ++ family
  end
end
