defmodule Linx.Netlink.ReconcileRoutesTest do
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :netns

  import Linx.Test.ReconcileBench

  alias Linx.Netlink.Error
  alias Linx.Netlink.Rtnl.{Nexthop, Reconcile}
  alias Linx.Netlink.Rtnl.Route.Metrics
  alias Linx.Test.Netns

  setup do: start()

  @v4 "203.0.113.0/24"
  @v6 "2001:db8:9::/48"

  defp v4(gateway, opts), do: %{routes: [{"203.0.113.0", 24, gateway, opts}]}
  defp v6(gateway, opts), do: %{routes: [{"2001:db8:9::", 48, gateway, opts}]}
  defp v4(opts), do: v4(nil, opts)
  defp v6(opts), do: v6(nil, opts)

  # Two desired states that differ in one option, and what of the second ip(8) shows. By the first
  # a drift is made.
  defp changes do
    [
      {v4(type: :blackhole), v4(type: :unreachable), %{"type" => "unreachable"}},
      {v4(type: :blackhole), v4(oif: "a0"), %{"dev" => "a0", "type" => "unicast"}},
      {v4(oif: "a0"), v4(oif: "b0"), %{"dev" => "b0"}},
      {v4(oif: "a0"), v4(oif: "a0", scope: :host), %{"scope" => "host"}},
      {v4("192.0.2.2", []), v4("192.0.2.2", prefsrc: "192.0.2.1"), %{"prefsrc" => "192.0.2.1"}},
      {v4("192.0.2.2", []), v4("192.0.2.2", oif: "a0", onlink: true), %{"flags" => ["onlink"]}},
      {v4("192.0.2.2", []), v4("192.0.2.2", tos: 16), %{"tos" => "0x10"}},
      {v4("192.0.2.2", []), v4("192.0.2.2", metric: 7), %{"metric" => 7}},
      {v4("192.0.2.2", []), v4("192.0.2.2", table: 5000), %{"table" => "5000"}},
      {v4(via: "2001:db8:1::2", oif: "a0"), v4(via: "2001:db8:1::3", oif: "a0"),
       %{"via" => %{"family" => "inet6", "host" => "2001:db8:1::3"}}},
      {v4(nh_id: 10), v4(nh_id: 11), %{"nhid" => 11, "gateway" => "192.0.2.3"}},
      {v4(nh_id: 10), v4(nh_id: 12), %{"nhid" => 12}},
      {v4(nh_id: 12), v4("192.0.2.2", []), %{"gateway" => "192.0.2.2"}},
      {v6(type: :blackhole), v6(type: :unreachable), %{"type" => "unreachable"}},
      {v6(type: :prohibit), v6(oif: "a0"), %{"dev" => "a0", "type" => "unicast"}},
      {v6(oif: "a0"), v6(oif: "b0"), %{"dev" => "b0"}},
      {v6("2001:db8:1::2", []), v6("2001:db8:1::2", prefsrc: "2001:db8:1::1"),
       %{"prefsrc" => "2001:db8:1::1"}},
      {v6("2001:db8:1::2", []), v6("2001:db8:1::2", pref: :high), %{"pref" => "high"}},
      {v6("2001:db8:1::2", []), v6("2001:db8:1::2", oif: "a0", onlink: true),
       %{"flags" => ["onlink"]}},
      {v6("2001:db8:1::2", []), v6("2001:db8:1::2", metric: 7), %{"metric" => 7}},
      {v6("2001:db8:1::2", []), v6("2001:db8:1::2", table: 5000), %{"table" => "5000"}},
      {v6(nh_id: 20), v6(nh_id: 21), %{"nhid" => 21, "gateway" => "2001:db8:1::3"}},
      {v6(nh_id: 20), v6(nh_id: 22), %{"nhid" => 22}},
      {v6(nh_id: 22), v6("2001:db8:1::2", []), %{"gateway" => "2001:db8:1::2"}}
    ]
  end

  test "an option that differs is seen and repaired, whoever made it so", bench do
    for {first, second, shown} <- changes() do
      dst = if match?(%{routes: [{"203" <> _, _, _, _}]}, first), do: @v4, else: @v6
      report = converge(bench, first)
      report = converge(bench, second, report.last_applied)
      assert [route] = routes(bench, dst)
      assert Map.take(route, Map.keys(shown)) == shown
      assert converge(bench, %{}, report.last_applied).applied != []
      assert routes(bench, dst) == []

      # The route that ip(8) would leave there: the first form, with our protocol.
      converge(bench, first)
      report = converge(bench, second)
      assert [route] = routes(bench, dst)
      assert Map.take(route, Map.keys(shown)) == shown
      converge(bench, %{}, report.last_applied)
      assert routes(bench, dst) == []
    end
  end

  # A value for each metric, and a second one. Those that a kernel keeps in another form show it.
  @metric_values %{
    lock: {4, 2},
    features: {1, 2},
    cc_algo: {"cubic", "reno"},
    quickack: {1, nil},
    fastopen_no_cookie: {1, nil},
    mtu: {1300, 70_000},
    advmss: {1200, 70_000},
    hoplimit: {64, 70_000}
  }

  for {family, dst, gateway} <- [
        {"IPv4", "203.0.113.0", "192.0.2.2"},
        {"IPv6", "2001:db8:9::", "2001:db8:1::2"}
      ] do
    test "every metric of #{family} is compared", bench do
      metrics = Metrics.__struct__() |> Map.keys() |> List.delete(:__struct__)
      prefix = if unquote(dst) =~ ":", do: 48, else: 24
      desired = &%{routes: [{unquote(dst), prefix, unquote(gateway), metrics: &1}]}

      for metric <- metrics do
        {a, b} = Map.get(@metric_values, metric, {10, 20})
        report = converge(bench, desired.([{metric, a}]))
        assert [route] = routes(bench, "#{unquote(dst)}/#{prefix}")
        shown = route["metrics"]

        if b do
          report = converge(bench, desired.([{metric, b}]), report.last_applied)
          assert [%{"metrics" => other}] = routes(bench, "#{unquote(dst)}/#{prefix}")
          assert other != shown
          # Not compared where it is not set.
          assert pass(bench, desired.([]), report.last_applied).applied == []
        end

        converge(bench, %{}, report.last_applied)
      end
    end
  end

  test "drift by ip(8) is seen and repaired", bench do
    for {desired, dst, drifts} <- [
          {v4("192.0.2.2", metrics: [advmss: 1000]), @v4,
           [
             "route change #{@v4} via 192.0.2.2 advmss 900 proto 76",
             "route change #{@v4} via 192.0.2.3 advmss 1000 proto 76",
             "route change blackhole #{@v4} proto 76",
             "route append #{@v4} via 192.0.2.3 proto 76",
             "route append #{@v4} via 192.0.2.2 proto 76",
             "route del #{@v4}",
             "route change #{@v4} nhid 10 proto 76"
           ]},
          {v6("2001:db8:1::2", metrics: [advmss: 1000]), @v6,
           [
             "route change #{@v6} via 2001:db8:1::2 advmss 900 proto 76",
             "route change #{@v6} via 2001:db8:1::3 advmss 1000 proto 76",
             "route append #{@v6} via 2001:db8:1::3 proto 76",
             "route append blackhole #{@v6} proto 76",
             "route append #{@v6} dev a0 proto 76",
             "route del #{@v6}",
             "route change #{@v6} nhid 20 proto 76"
           ]}
        ],
        drift <- drifts do
      report = converge(bench, desired)
      assert [before] = routes(bench, dst)
      ips!(bench.ns, drift)
      report = converge(bench, desired, report.last_applied)
      assert [^before] = routes(bench, dst)
      converge(bench, %{}, report.last_applied)
    end
  end

  test "a form that the kernel changes is no difference", bench do
    for {desired, dst} <- [
          {v4(multipath: [[gateway: "192.0.2.2"]]), @v4},
          {v4(multipath: [[gateway: "192.0.2.2", onlink: true, oif: "a0"]]), @v4},
          {v4(multipath: [[gateway: "192.0.2.2"], [gateway: "198.51.100.2", weight: 3]]), @v4},
          {v4(multipath: [[via: "192.0.2.2"], [via: "2001:db8:1::2", oif: "a0"]]), @v4},
          {v4(via: "192.0.2.2"), @v4},
          {v4("192.0.2.2", metric: 0), @v4},
          {v4("192.0.2.2", metrics: [mtu: 0]), @v4},
          {%{routes: [{"203.0.113.77", 24, "192.0.2.2"}]}, @v4},
          {v6(multipath: [[gateway: "2001:db8:1::2"]]), @v6},
          {v6(multipath: [[gateway: "2001:db8:1::2", weight: 2], [gateway: "2001:db8:2::2"]]),
           @v6},
          {v6(via: "2001:db8:1::2"), @v6},
          {v6("2001:db8:1::2", metric: 0), @v6},
          {v6("2001:db8:1::2", metric: 1024), @v6},
          {v6(type: :blackhole), @v6},
          {v6(oif: "lo"), @v6},
          {v6(oif: "a0", type: :local), @v6},
          {%{routes: [{"2001:db8:9::77", 48, "2001:db8:1::2"}]}, @v6},
          {v6(multipath: [[oif: "a0"], [oif: "b0"]]), @v6}
        ] do
      report = converge(bench, desired)
      assert routes(bench, dst) != []
      converge(bench, %{}, report.last_applied)
      assert routes(bench, dst) == []
    end
  end

  test "a route by a blackhole object is as desired, and listed as a blackhole", bench do
    :ok = Nexthop.add(bench.socket, 13, blackhole: true)
    :ok = Nexthop.add(bench.socket, 23, blackhole: true, family: :inet6)

    for {object, others, dst} <- [
          {v4(nh_id: 13), [v4(nh_id: 10), v4("192.0.2.2", []), v4(type: :blackhole)], @v4},
          {v6(nh_id: 23), [v6(nh_id: 20), v6("2001:db8:1::2", []), v6(type: :blackhole)], @v6}
        ] do
      last =
        for other <- others, reduce: %{} do
          last ->
            report = converge(bench, object, last)
            assert [%{"type" => "blackhole", "nhid" => id}] = routes(bench, dst)
            assert id in [13, 23]
            report = converge(bench, other, report.last_applied)
            assert [route] = routes(bench, dst)
            refute route["nhid"] == id
            report.last_applied
        end

      converge(bench, %{}, converge(bench, object, last).last_applied)
      assert routes(bench, dst) == []
    end
  end

  test "another's route by a blackhole object is put back as the unicast route it was", bench do
    :ok = Nexthop.add(bench.socket, 13, blackhole: true)
    source = &%{addresses: [{"a0", "192.0.2.9", 24, label: &1}]}
    report = converge(bench, source.("a0:x"))
    ips!(bench.ns, "route add #{@v4} nhid 13 src 192.0.2.9 proto static")
    before = routes(bench, @v4)
    converge(bench, source.("a0:y"), report.last_applied)
    assert routes(bench, @v4) == before
    # A deletion finds it by its type.
    ips!(bench.ns, "route del unicast #{@v4} nhid 13")
    assert routes(bench, @v4) == []
  end

  test "the order of hops means nothing", bench do
    for {gateways, build} <- [
          {["192.0.2.2", "192.0.2.3", "198.51.100.2"], &v4/1},
          {["2001:db8:1::2", "2001:db8:1::3", "2001:db8:2::2"], &v6/1}
        ] do
      hops = for gateway <- gateways, do: [gateway: gateway]
      report = converge(bench, build.(multipath: hops))

      assert pass(bench, build.(multipath: Enum.reverse(hops)), report.last_applied).applied == []
      converge(bench, %{}, report.last_applied)
    end
  end

  test "what has no effect in a family is refused", bench do
    for {desired, option} <- [
          {v4("192.0.2.2", pref: :high), {:pref, :high}},
          {v4("192.0.2.2", expires: 300), {:expires, 300}},
          {v6("2001:db8:1::2", scope: :host), {:scope, :host}},
          {v6("2001:db8:1::2", tos: 16), {:tos, 16}},
          {v6("2001:db8:1::2", expires: 0), {:expires, 0}},
          {v6(type: :blackhole, oif: "a0"), {:oif, "a0"}},
          {v6(type: :blackhole, pref: :high), {:pref, :high}},
          {v6(type: :throw, expires: 300), {:expires, 300}},
          {v6(oif: "lo", pref: :high), {:pref, :high}},
          {v6(type: :anycast, oif: "lo", pref: :high), {:pref, :high}},
          {v6(oif: "lo", expires: 300), {:expires, 300}},
          {v6(multipath: [[oif: "lo"]], pref: :high), {:pref, :high}},
          {v6(multipath: [[oif: "lo"]], expires: 300), {:expires, 300}},
          {v4(multipath: [[gateway: "192.0.2.2"]], onlink: true), {:onlink, true}},
          {v4(nh_id: 10, onlink: true), {:onlink, true}},
          {v6(nh_id: 20, onlink: true), {:onlink, true}},
          {v4(type: :blackhole, onlink: true), {:onlink, true}}
        ],
        on_error <- [:halt, :continue] do
      assert {:error, {:normalize, {_, {:bad_option, ^option}}}} =
               Reconcile.reconcile(bench.socket, desired, %{}, on_error: on_error)
    end

    assert {:error, {:normalize, {_, {:bad_option, {:via, _}}}}} =
             Reconcile.reconcile(bench.socket, v6(via: "192.0.2.2"))
  end

  test "IPv4 keeps routes of several TOS beside each other", bench do
    desired = %{
      routes: [{"203.0.113.0", 24, "192.0.2.2"}, {"203.0.113.0", 24, "192.0.2.3", tos: 8}]
    }

    report = converge(bench, desired)
    assert length(routes(bench, @v4)) == 2
    report = converge(bench, v4("192.0.2.2", tos: 8), report.last_applied)
    assert [%{"tos" => "0x08", "gateway" => "192.0.2.2"}] = routes(bench, @v4)
    converge(bench, %{}, report.last_applied)
  end

  test "a lifetime runs down without being a difference, and another one is set", bench do
    first = converge(bench, v6("2001:db8:1::2", expires: 300))
    assert [%{"expires" => left}] = routes(bench, @v6)
    assert left in 240..300

    second = converge(bench, v6("2001:db8:1::2", expires: 600), first.last_applied)
    assert [%{"expires" => left}] = routes(bench, @v6)
    assert left in 540..600

    ips!(bench.ns, "route change #{@v6} via 2001:db8:1::2 expires 20 proto 76")
    converge(bench, v6("2001:db8:1::2", expires: 600), second.last_applied)
    assert [%{"expires" => left}] = routes(bench, @v6)
    assert left in 540..600
    # Without memory.
    assert pass(bench, v6("2001:db8:1::2", expires: 600)).applied == []
    assert [{:update, _}] = pass(bench, v6("2001:db8:1::2", expires: 100)).applied
  end

  test "a lifetime of more than the kernel lists is as desired", bench do
    for expires <- [30_000_000, 0x7FFFFFFF] do
      report = converge(bench, v6("2001:db8:1::2", expires: expires))
      # Without memory.
      assert pass(bench, v6("2001:db8:1::2", expires: expires)).applied == []
      converge(bench, v6("2001:db8:1::2", expires: 600), report.last_applied)
    end
  end

  test "a preference of a route to the host itself has an effect", bench do
    converge(bench, v6(type: :local, oif: "lo", pref: :high))
    assert [%{"pref" => "high"}] = routes(bench, @v6)
  end

  test "a flag of all hops is one of each", bench do
    far = [[gateway: "2001:db8:ff::8", oif: "a0"], [gateway: "2001:db8:ff::9", oif: "a0"]]

    for hops <- [far, Enum.take(far, 1)] do
      report = converge(bench, v6(multipath: hops, onlink: true))
      assert [route] = routes(bench, @v6)

      for hop <- Map.get(route, "nexthops", [route]), do: assert("onlink" in hop["flags"])
      converge(bench, %{}, report.last_applied)
    end

    # A single hop has its own flag.
    converge(bench, v6(multipath: [hd(far) ++ [onlink: true]], onlink: false))
    converge(bench, v4(multipath: [[gateway: "192.0.2.2"]], onlink: false))
  end

  test "a route follows its gateway to another link", bench do
    for {address, gateway, dst, build} <- [
          {"10.7.0.1/24", "10.7.0.9", @v4, &v4/2},
          {"2001:db8:7::1/64", "2001:db8:7::9", @v6, &v6/2}
        ] do
      ips!(bench.ns, "addr add #{address} dev b0")
      report = converge(bench, build.(gateway, []))
      assert [%{"dev" => "b0"}] = routes(bench, dst)

      multi =
        build.(nil, multipath: [[gateway: gateway], [gateway: String.replace(gateway, "9", "8")]])

      ips!(bench.ns, "addr del #{address} dev b0\naddr add #{address} dev a0")
      report = converge(bench, build.(gateway, []), report.last_applied)
      assert [%{"dev" => "a0"}] = routes(bench, dst)

      report = converge(bench, multi, report.last_applied)
      ips!(bench.ns, "addr del #{address} dev a0\naddr add #{address} dev b0")
      report = converge(bench, multi, report.last_applied)
      assert [route] = routes(bench, dst)
      assert route |> hops() |> Enum.map(&elem(&1, 1)) == ["b0", "b0"]
      converge(bench, %{}, report.last_applied)
    end
  end

  test "a gateway in a table of its own is looked for there first", bench do
    ips!(bench.ns, "route add 10.9.0.0/24 dev b0 table 100\nroute add 10.9.0.0/16 dev a0")
    desired = v4("10.9.0.9", table: 100)
    report = converge(bench, desired)
    assert [%{"dev" => "b0"}] = routes(bench, @v4)
    ips!(bench.ns, "route change 10.9.0.0/24 dev a0 table 100")
    converge(bench, desired, report.last_applied)
    assert [%{"dev" => "a0"}] = routes(bench, @v4)
  end

  test "routes by nexthop objects are deleted, whoever made them, and stop nothing", bench do
    for {id, dst, other} <- [
          {10, @v4, "203.0.114.0/24 via 192.0.2.2"},
          {12, @v4, "203.0.114.0/24 via 192.0.2.2"},
          {20, @v6, "2001:db8:8::/48 via 2001:db8:1::2"},
          {22, @v6, "2001:db8:8::/48 via 2001:db8:1::2"}
        ],
        on_error <- [:halt, :continue] do
      ips!(bench.ns, "route add #{dst} nhid #{id} proto 76\nroute add #{other} proto 76")
      report = converge(bench, %{}, %{}, on_error: on_error)
      assert length(report.applied) == 2
      assert routes(bench, dst) == []
    end
  end

  test "a default route by its link alone", bench do
    for {family, opts, option} <- [
          {:inet, [oif: "a0"], "-4"},
          {:inet6, [oif: "a0"], "-6"},
          {:inet, [type: :unreachable], "-4"},
          {:inet6, [type: :blackhole], "-6"},
          {"2001:db8:1::2", [], "-6"},
          {nil, [oif: "a0"], "-4"}
        ] do
      report = converge(bench, %{routes: [{:default, family, opts}]})
      assert [_] = Netns.ip!(bench.ns, "#{option} route show default")
      converge(bench, %{}, report.last_applied)
    end
  end

  test "a route on a link without a carrier is there and of no use", bench do
    ips!(bench.ns, "link set b1 down")
    true = Netns.eventually(fn -> Netns.run!(bench.ns, "ip link show b0") =~ "NO-CARRIER" end)

    for desired <- [
          v4("198.51.100.2", []),
          v6("2001:db8:2::2", []),
          v4("198.51.100.2", oif: "b0")
        ] do
      report = pass(bench, desired)
      assert %{converged?: false, failed: [], pending: [{:update, _}]} = report
      settled(bench, desired, report)
      pass(bench, %{}, report.last_applied)
    end

    report = pass(bench, v4("198.51.100.2", []))
    ips!(bench.ns, "link set b1 up")
    true = Netns.eventually(fn -> Netns.run!(bench.ns, "ip link show b0") =~ "state UP" end)

    assert Netns.eventually(fn ->
             pass(bench, v4("198.51.100.2", []), report.last_applied).converged?
           end)
  end

  test "of several old routes one stays where the new one cannot be made", bench do
    ips!(bench.ns, """
    route add #{@v4} via 192.0.2.2 proto 76
    route append #{@v4} via 192.0.2.3 proto 76
    route append #{@v4} via 192.0.2.2 src 192.0.2.1 proto 76
    """)

    report = pass(bench, v4(nh_id: 99))
    assert %{converged?: false, failed: [{_, %Error{errno: :einval}}]} = report
    assert [%{"gateway" => "192.0.2.2"} = route] = routes(bench, @v4)
    refute route["prefsrc"]
    settled(bench, v4(nh_id: 99), report)
  end

  test "a route beside another's ends a pass only after all others", bench do
    ips!(bench.ns, "route add #{@v6} via 2001:db8:1::9 proto static")
    %{routes: [taken]} = v6("2001:db8:1::2", [])
    first = converge(bench, v4("192.0.2.2", []))

    report =
      pass(bench, %{routes: [taken, {"203.0.114.0", 24, "192.0.2.2"}]}, first.last_applied,
        on_error: :halt
      )

    assert %{pending: [], failed: [{_, %Error{errno: :eexist}}]} = report
    assert [{:create, _}, {:delete, _}] = report.applied
  end

  test "a foreign route with the key of ours stays, of any sort", bench do
    for {foreign, dst, desired} <- [
          {"route add #{@v4} via 192.0.2.9 proto static", @v4, v4("192.0.2.2", [])},
          {"route add blackhole #{@v4} proto static", @v4, v4("192.0.2.2", [])},
          {"route add #{@v6} via 2001:db8:1::9 proto static", @v6, v6("2001:db8:1::2", [])},
          {"route add #{@v6} dev a0 proto static", @v6, v6(oif: "b0")},
          {"route add blackhole #{@v6} proto static", @v6, v6(type: :unreachable)},
          {"route add #{@v6} nhid 20 proto static", @v6, v6("2001:db8:1::2", [])},
          {"route add #{@v6} proto static nexthop via 2001:db8:1::8 nexthop via 2001:db8:1::9",
           @v6, v6("2001:db8:1::2", [])}
        ] do
      ips!(bench.ns, foreign)
      before = routes(bench, dst)
      report = pass(bench, desired)
      assert %{converged?: false, failed: [{_, %Error{errno: :eexist}}]} = report
      settled(bench, desired, report)
      assert routes(bench, dst) == before
      pass(bench, %{}, report.last_applied)
      assert routes(bench, dst) == before
      ips!(bench.ns, if(dst == @v4, do: "route flush #{dst}", else: "route del #{dst}"))
    end
  end
end
