defmodule Linx.Netlink.ReconcileGroupsTest do
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :netns

  import Linx.Test.ReconcileBench

  alias Linx.Netlink.Rtnl.Monitor
  alias Linx.Netlink.Rtnl.Monitor.Event
  alias Linx.Test.Netns

  setup do: start()

  @v6 "2001:db8:9::/48"
  @v4 "203.0.113.0/24"

  # The shapes of a route: one gateway, one link, two hops, three, none.
  @v6_shapes %{
    one: {"2001:db8:1::2", []},
    other: {"2001:db8:2::2", []},
    link: {nil, [oif: "a0"]},
    two: {nil, [multipath: [[gateway: "2001:db8:1::2"], [gateway: "2001:db8:1::3"]]]},
    two_others: {nil, [multipath: [[gateway: "2001:db8:1::4"], [gateway: "2001:db8:2::4"]]]},
    three:
      {nil,
       [
         multipath: [
           [gateway: "2001:db8:1::2"],
           [gateway: "2001:db8:1::3"],
           [gateway: "2001:db8:2::2", weight: 3]
         ]
       ]},
    blackhole: {nil, [type: :blackhole]},
    object: {nil, [nh_id: 20]},
    group_object: {nil, [nh_id: 22]}
  }

  @v4_shapes %{
    one: {"192.0.2.2", []},
    other: {"198.51.100.2", []},
    link: {nil, [oif: "a0"]},
    two: {nil, [multipath: [[gateway: "192.0.2.2"], [gateway: "192.0.2.3"]]]},
    three:
      {nil,
       [
         multipath: [
           [gateway: "192.0.2.2"],
           [gateway: "192.0.2.3"],
           [gateway: "198.51.100.2", weight: 3]
         ]
       ]},
    blackhole: {nil, [type: :blackhole]},
    object: {nil, [nh_id: 10]},
    group_object: {nil, [nh_id: 12]}
  }

  defp desired(dst, prefix, {gateway, opts}, more \\ []),
    do: %{routes: [{dst, prefix, gateway, opts ++ more}]}

  for {name, shapes, dst, prefix} <- [
        {"IPv6", @v6_shapes, "2001:db8:9::", 48},
        {"IPv4", @v4_shapes, "203.0.113.0", 24}
      ] do
    test "each sort of #{name} route becomes each other in one pass", bench do
      shapes = unquote(Macro.escape(shapes))
      {dst, prefix} = {unquote(dst), unquote(prefix)}
      text = "#{dst}/#{prefix}"

      alone =
        Map.new(shapes, fn {name, shape} ->
          report = converge(bench, desired(dst, prefix, shape))
          shown = routes(bench, text)
          converge(bench, %{}, report.last_applied)
          {name, shown}
        end)

      for {from, first} <- shapes, {to, second} <- shapes, from != to, memory? <- [true, false] do
        report = converge(bench, desired(dst, prefix, first))
        last_applied = if memory?, do: report.last_applied, else: %{}
        report = pass(bench, desired(dst, prefix, second), last_applied)
        assert report.converged?, "#{from} to #{to}: #{inspect(report.failed)}"

        assert [shown] = routes(bench, text), "#{from} to #{to}"
        assert hops(shown) == hops(hd(alone[to])), "#{from} to #{to}"
        settled(bench, desired(dst, prefix, second), report)
        converge(bench, %{}, report.last_applied)
        assert routes(bench, text) == []
      end
    end
  end

  test "options change with the hops the same", bench do
    for {shape, name} <- [
          {@v6_shapes.one, "one"},
          {@v6_shapes.two, "two"},
          {@v6_shapes.three, "three"}
        ],
        memory? <- [true, false] do
      report = converge(bench, desired("2001:db8:9::", 48, shape))
      last_applied = if memory?, do: report.last_applied, else: %{}
      changed = desired("2001:db8:9::", 48, shape, metrics: [mtu: 1300], pref: :low)
      report = converge(bench, changed, last_applied)
      assert [%{"metrics" => [%{"mtu" => 1300}], "pref" => "low"}] = routes(bench, @v6), name
      converge(bench, %{}, report.last_applied)
    end
  end

  test "a weight changes", bench do
    for {build, dst, gateways} <- [
          {&desired("203.0.113.0", 24, &1), @v4, ["192.0.2.2", "192.0.2.3"]},
          {&desired("2001:db8:9::", 48, &1), @v6, ["2001:db8:1::2", "2001:db8:1::3"]}
        ] do
      [a, b] = gateways
      hops = &{nil, [multipath: [[gateway: a, weight: &1], [gateway: b]]]}
      report = converge(bench, build.(hops.(1)))
      report = converge(bench, build.(hops.(7)), report.last_applied)
      assert [%{"nexthops" => shown}] = routes(bench, dst)
      assert %{^a => 7, ^b => 1} = Map.new(shown, &{&1["gateway"], &1["weight"]})
      converge(bench, %{}, report.last_applied)
    end
  end

  test "a weight that the kernel does not list is no difference", bench do
    for hops <- [
          [[oif: "a0", weight: 9], [oif: "b0"]],
          [[gateway: "2001:db8:1::2", weight: 9], [oif: "b0", weight: 3]],
          [[gateway: "2001:db8:1::2", weight: 9], [gateway: "2001:db8:1::3"], [oif: "b0"]]
        ] do
      desired = %{routes: [{"2001:db8:9::", 48, nil, multipath: hops}]}
      report = converge(bench, desired)
      assert pass(bench, desired).applied == []
      converge(bench, %{}, report.last_applied)
    end

    # The gateway that stays of two keeps its weight.
    desired = &%{routes: [{"2001:db8:9::", 48, nil, multipath: &1}]}
    hops = [[gateway: "2001:db8:1::2", weight: 9], [oif: "b0"]]
    report = converge(bench, desired.(hops ++ [[gateway: "2001:db8:1::3"]]))
    converge(bench, desired.(hops), report.last_applied)
  end

  test "a device between gateways, which no list shows, is found", bench do
    gateways = for n <- 2..4, do: [gateway: "2001:db8:1::#{n}"]
    hops = [hd(gateways), [oif: "b0"] | tl(gateways)]
    desired = &%{routes: [{"2001:db8:9::", 48, nil, multipath: &1}]}

    # In whatever order they are written or come.
    report = converge(bench, desired.(hops))
    report = converge(bench, desired.(hops ++ [[gateway: "2001:db8:1::5"]]), report.last_applied)
    converge(bench, %{}, report.last_applied)

    # Another program adds one behind ours.
    report = converge(bench, desired.([hd(gateways), [oif: "b0"]]))
    ips!(bench.ns, "route append 2001:db8:9::/48 via 2001:db8:1::5 proto 76")
    report = converge(bench, desired.([hd(gateways), [oif: "b0"]]), report.last_applied)
    ips!(bench.ns, "route append 2001:db8:9::/48 via 2001:db8:1::5 proto 76")

    report =
      converge(bench, %{routes: [{"2001:db8:9::", 48, "2001:db8:1::2"}]}, report.last_applied)

    assert ["2001:db8:1::2"] =
             for(route <- routes(bench, "2001:db8:9::/48"), do: route["gateway"])

    report = converge(bench, desired.(hops), report.last_applied)
    ips!(bench.ns, "route append 2001:db8:9::/48 via 2001:db8:1::5 proto 76")
    converge(bench, %{}, report.last_applied)
    assert routes(bench, "2001:db8:9::/48") == []
  end

  test "there is no moment without a route while a group changes", bench do
    {:ok, monitor} =
      Monitor.subscribe(self(), netns: Netns.target(bench.ns), groups: [7, 11])

    report = converge(bench, desired("2001:db8:9::", 48, @v6_shapes.one))

    Enum.reduce([:two, :two_others, :three, :two_others, :one, :other], report, fn shape,
                                                                                   report ->
      events(bench)

      report =
        converge(bench, desired("2001:db8:9::", 48, @v6_shapes[shape]), report.last_applied)

      # A deletion before the first new hop would leave none.
      assert [:new_route | _] = events(bench)
      report
    end)

    Monitor.stop(monitor)
  end

  # The events up to now: those of a route that the test makes come last.
  defp events(bench) do
    ips!(bench.ns, "route add blackhole 240.0.0.1 table 4999")
    ips!(bench.ns, "route del blackhole 240.0.0.1 table 4999")
    drain([])
  end

  defp drain(events) do
    assert_receive {:linx_rtnl, :event, %Event{op: op, resource: route}}

    case {op, route} do
      {:new_route, %{table_ext: 4999}} -> drain(events)
      {:del_route, %{table_ext: 4999}} -> Enum.reverse(events)
      _ours -> drain([op | events])
    end
  end

  describe "a group that others have joined" do
    @foreign ["2001:db8:1::98", "2001:db8:1::99"]

    # Where the others' hops stand: before ours, behind it, on both sides.
    @states %{
      behind: {[], ["2001:db8:1::99"]},
      before: {["2001:db8:1::98"], []},
      around: {["2001:db8:1::98"], ["2001:db8:1::99"]},
      two_behind: {[], ["2001:db8:1::98", "2001:db8:1::99"]}
    }

    defp foreign_hops(bench, protocol) do
      hops =
        for route <- routes(bench, @v6),
            {gateway, _} <- hops(route),
            gateway in @foreign,
            do: gateway

      # Each is really of that protocol: it can be deleted by it, and is put back.
      for gateway <- hops do
        ips!(bench.ns, """
        route del #{@v6} proto #{protocol} via #{gateway}
        route append #{@v6} proto #{protocol} via #{gateway}
        """)
      end

      Enum.sort(hops)
    end

    defp ours(bench) do
      for(
        route <- routes(bench, @v6),
        {gateway, _} <- hops(route),
        gateway not in @foreign,
        do: gateway
      )
      |> Enum.sort()
    end

    # A group with our hop or hops at a place among others', as programs come to make it.
    defp make_group(bench, {before, behind}, shape) do
      report = converge(bench, desired("2001:db8:9::", 48, shape))

      ips!(
        bench.ns,
        Enum.map_join(before ++ behind, "\n", &"route append #{@v6} via #{&1} proto static")
      )

      # Ours go to the end, as after a change of the gateway.
      if before != [] do
        for gateway <- ours(bench) do
          ips!(
            bench.ns,
            "route del #{@v6} proto 76 via #{gateway}\nroute append #{@v6} proto 76 via " <>
              "#{gateway}"
          )
        end

        for gateway <- behind do
          ips!(
            bench.ns,
            "route del #{@v6} proto static via #{gateway}\nroute append #{@v6} proto static " <>
              "via #{gateway}"
          )
        end
      end

      # The pass in between sees the group.
      pass(bench, desired("2001:db8:9::", 48, shape), report.last_applied)
    end

    defp clear(bench) do
      for route <- routes(bench, @v6), {gateway, dev} <- hops(route) do
        via = if gateway, do: "via #{gateway}", else: "dev #{dev}"
        ips!(bench.ns, "route del #{@v6} #{via}")
      end
    end

    test "nothing changes, and ours changes, grows, shrinks and goes", bench do
      one = @v6_shapes.one
      two = @v6_shapes.two
      other = @v6_shapes.other

      for {state, {before, behind} = places} <- @states, memory? <- [true, false] do
        memory = &if(memory?, do: &1.last_applied, else: %{})
        label = "#{state}, memory #{memory?}"
        foreign = Enum.sort(before ++ behind)

        report = make_group(bench, places, one)
        assert report.converged? and report.applied == [], label
        assert foreign_hops_only(bench) == foreign

        report =
          Enum.reduce([other, one, two, one, other, two], report, fn shape, report ->
            wanted = desired("2001:db8:9::", 48, shape)
            report = pass(bench, wanted, memory.(report))
            assert report.converged?, label
            assert ours(bench) == gateways(shape), label
            assert foreign_hops_only(bench) == foreign, label
            settled(bench, wanted, report)
            report
          end)

        converge(bench, %{}, memory.(report))
        assert ours(bench) == [], label
        assert foreign_hops(bench, "static") == foreign, label
        clear(bench)
      end
    end

    defp gateways({nil, opts}), do: opts[:multipath] |> Enum.map(& &1[:gateway]) |> Enum.sort()
    defp gateways({gateway, _opts}), do: [gateway]

    defp foreign_hops_only(bench) do
      for(
        route <- routes(bench, @v6),
        {gateway, _} <- hops(route),
        gateway in @foreign,
        do: gateway
      )
      |> Enum.sort()
    end

    test "a route without a gateway beside it comes and goes", bench do
      for {_state, {before, behind} = places} <- @states,
          shape <- [@v6_shapes.link, @v6_shapes.blackhole, @v6_shapes.object] do
        foreign = Enum.sort(before ++ behind)
        report = make_group(bench, places, @v6_shapes.one)
        report = converge(bench, desired("2001:db8:9::", 48, shape), report.last_applied)
        assert foreign_hops_only(bench) == foreign
        report = converge(bench, desired("2001:db8:9::", 48, @v6_shapes.two), report.last_applied)
        assert foreign_hops(bench, "static") == foreign
        assert ours(bench) == gateways(@v6_shapes.two)
        report = converge(bench, desired("2001:db8:9::", 48, shape), report.last_applied)
        converge(bench, %{}, report.last_applied)
        assert foreign_hops_only(bench) == foreign
        assert length(routes(bench, @v6)) == 1
        clear(bench)
      end
    end

    test "the others take their hops back", bench do
      report = make_group(bench, @states.around, @v6_shapes.one)
      clear_foreign(bench)
      report = converge(bench, desired("2001:db8:9::", 48, @v6_shapes.one), report.last_applied)
      assert report.applied == []
      converge(bench, %{}, report.last_applied)
      assert routes(bench, @v6) == []
    end

    defp clear_foreign(bench) do
      for gateway <- foreign_hops_only(bench),
          do: ips!(bench.ns, "route del #{@v6} proto static via #{gateway}")
    end

    test "two reconcilers with two protocols share it", bench do
      a = converge(bench, desired("2001:db8:9::", 48, @v6_shapes.one))
      b_wanted = desired("2001:db8:9::", 48, {"2001:db8:1::99", []})
      # The kernel refuses the second one a place of its own, until a hop of its is there.
      assert %{converged?: false} = pass(bench, b_wanted, %{}, protocol: 100)
      ips!(bench.ns, "route append #{@v6} via 2001:db8:1::99 proto 100")
      b = converge(bench, b_wanted, %{}, protocol: 100)

      b =
        converge(bench, desired("2001:db8:9::", 48, {"2001:db8:1::98", []}), b.last_applied,
          protocol: 100
        )

      a = converge(bench, desired("2001:db8:9::", 48, @v6_shapes.other), a.last_applied)
      assert foreign_hops_only(bench) == ["2001:db8:1::98"]
      assert ours(bench) == ["2001:db8:2::2"]

      converge(bench, %{}, a.last_applied)
      assert foreign_hops(bench, "100") == ["2001:db8:1::98"]
      converge(bench, %{}, b.last_applied, protocol: 100)
      assert routes(bench, @v6) == []
    end

    test "options of ours change in it", bench do
      for {_state, {before, behind} = places} <- @states do
        report = make_group(bench, places, @v6_shapes.one)
        changed = desired("2001:db8:9::", 48, @v6_shapes.one, metrics: [mtu: 1300])
        converge(bench, changed, report.last_applied)
        assert foreign_hops_only(bench) == Enum.sort(before ++ behind)
        clear(bench)
      end
    end
  end

  describe "another's route that joins no group" do
    # The kernel would replace it in the place of ours: both are of that sort.
    @alone ["dev b0", "nhid 21", "blackhole"]

    defp append_alone(bench, "blackhole"),
      do: ips!(bench.ns, "route append blackhole #{@v6} proto static")

    defp append_alone(bench, way), do: ips!(bench.ns, "route append #{@v6} proto static #{way}")

    defp alone(bench), do: for(%{"protocol" => "static"} = r <- routes(bench, @v6), do: r)

    test "stays where ours becomes a route by a link, and a gateway again", bench do
      for foreign <- @alone, memory? <- [true, false] do
        memory = &if(memory?, do: &1.last_applied, else: %{})
        report = converge(bench, desired("2001:db8:9::", 48, @v6_shapes.one))
        append_alone(bench, foreign)
        before = alone(bench)

        report =
          Enum.reduce([:link, :one, :object, :link], report, fn shape, report ->
            wanted = desired("2001:db8:9::", 48, @v6_shapes[shape])
            report = converge(bench, wanted, memory.(report))
            assert alone(bench) == before, "#{foreign}, #{shape}"
            assert length(routes(bench, @v6)) == 2, "#{foreign}, #{shape}"
            report
          end)

        converge(bench, %{}, memory.(report))
        assert routes(bench, @v6) == before
        ips!(bench.ns, "route del #{@v6}")
      end
    end

    test "stays where options of ours change", bench do
      for foreign <- @alone -- ["blackhole"],
          {a, b} <- [
            {[oif: "a0", expires: 600], [oif: "a0", expires: 3000]},
            {[oif: "a0", pref: :high], [oif: "a0", pref: :low]},
            {[oif: "a0", metrics: [mtu: 1400]], [oif: "a0", metrics: [mtu: 1300]]},
            {[type: :unreachable], [type: :prohibit]}
          ] do
        report = converge(bench, desired("2001:db8:9::", 48, {nil, a}))
        append_alone(bench, foreign)
        before = alone(bench)

        # Ours is before it at first, and behind it then.
        report =
          Enum.reduce([b, a, b], report, fn opts, report ->
            wanted = desired("2001:db8:9::", 48, {nil, opts})
            report = converge(bench, wanted, report.last_applied)
            assert alone(bench) == before, "#{foreign}, #{inspect(opts)}"
            assert length(routes(bench, @v6)) == 2
            report
          end)

        converge(bench, %{}, report.last_applied)
        assert routes(bench, @v6) == before
        ips!(bench.ns, "route del #{@v6}")
      end
    end
  end
end
