defmodule Linx.Netlink.ReconcileGatewaysTest do
  # Gateways that the kernel finds by another route of the same table: by the one in whose place
  # the new route comes, by one that goes in the same pass, by one of the same route.
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :netns

  import Linx.Test.ReconcileBench

  alias Linx.Test.Netns

  setup do: start()

  defp one({dst, len}, gateway, opts), do: %{routes: [{dst, len, gateway, opts}]}

  # Routes in whose place one by a gateway comes: those by which the kernel refuses gateways, and
  # those by which it finds them on another link.
  @v4 [
    [type: :broadcast, oif: "a0"],
    [type: :multicast, oif: "b0"],
    [type: :anycast, oif: "a0"],
    [type: :local, oif: "b0"],
    [oif: "b0"],
    [oif: "b0", scope: :host],
    [multipath: [[oif: "a0"], [oif: "b0"]]],
    [type: :blackhole],
    [type: :throw]
  ]
  @v6 [
    [type: :local, oif: "lo"],
    [type: :anycast, oif: "lo"],
    [type: :multicast, oif: "b0"],
    [type: :local, oif: "b0"],
    [oif: "b0"],
    [oif: "lo"],
    [type: :blackhole]
  ]

  defp gateways4 do
    [
      {"192.0.2.2", []},
      {"192.0.2.2", [oif: "a0"]},
      {nil, [multipath: [[gateway: "192.0.2.2"], [gateway: "192.0.2.3", weight: 3]]]},
      {nil, [multipath: [[gateway: "192.0.2.2"], [oif: "b0"]]]},
      {"10.9.9.9", [oif: "a0", onlink: true]}
    ]
  end

  defp gateways6 do
    [
      {"2001:db8:1::2", []},
      {"2001:db8:1::2", [oif: "a0"]},
      {nil, [multipath: [[gateway: "2001:db8:1::2"], [gateway: "2001:db8:1::3"]]]},
      {"2001:db8:ff::9", [oif: "a0", onlink: true]}
    ]
  end

  test "of IPv4, found by the route in whose place theirs comes", bench do
    for {dst, table, gateways} <- [
          {{"0.0.0.0", 0}, 5000, gateways4()},
          {{"192.0.2.0", 25}, 254, Enum.take(gateways4(), 3)},
          {{"10.9.9.9", 32}, 255, Enum.take(gateways4(), -1)}
        ],
        way <- @v4,
        do: there_and_back(bench, dst, way, gateways, table)

    assert Netns.ip!(bench.ns, "-4 route show table all proto 76") == []
  end

  test "of IPv6, found by the route in whose place theirs comes", bench do
    for {dst, table, gateways} <- [
          {{"::", 0}, 5000, gateways6()},
          {{"2001:db8:1::", 80}, 254, Enum.take(gateways6(), 3)},
          {{"2001:db8:ff::9", 128}, 254, Enum.take(gateways6(), -1)}
        ],
        way <- @v6,
        do: there_and_back(bench, dst, way, gateways, table)

    assert Netns.ip!(bench.ns, "-6 route show table all proto 76") == []
  end

  defp there_and_back(bench, dst, way, gateways, table) do
    first = one(dst, nil, way ++ [table: table])

    report =
      for {gateway, opts} <- gateways, reduce: converge(bench, first) do
        report ->
          report = converge(bench, one(dst, gateway, opts ++ [table: table]), report.last_applied)
          converge(bench, first, report.last_applied)
      end

    converge(bench, %{}, report.last_applied)
  end

  test "found by a route that goes in the same pass, where one failure ends it", bench do
    for {default, dst, len, gateway, way} <- [
          {"0.0.0.0", "203.0.113.0", 24, "192.0.2.2", [type: :broadcast, oif: "a0"]},
          {"::", "2001:db8:9::", 48, "2001:db8:1::2", [type: :local, oif: "lo"]}
        ],
        last <- [[], [{default, 0, nil, [type: :blackhole, table: 5000]}]] do
      first = converge(bench, %{routes: [{default, 0, nil, way ++ [table: 5000]}]})
      desired = %{routes: [{dst, len, gateway, table: 5000}] ++ last}
      report = converge(bench, desired, first.last_applied, on_error: :halt)
      converge(bench, %{}, report.last_applied)
    end
  end

  test "the old route stays where the gateway is found nowhere else", bench do
    for {dst, gateway, way} <- [
          {{"0.0.0.0", 0}, "10.9.9.9", [type: :broadcast, oif: "a0"]},
          {{"::", 0}, "2001:db8:ff::9", [type: :local, oif: "lo"]}
        ] do
      way = way ++ [table: 5000]
      first = converge(bench, one(dst, nil, way))
      desired = one(dst, gateway, table: 5000)
      report = pass(bench, desired, first.last_applied)
      assert [{{:update, _}, _}] = report.failed
      assert report.applied == []
      report = settled(bench, desired, report)
      assert converge(bench, one(dst, nil, way), report.last_applied).applied == []
      converge(bench, %{}, report.last_applied)
    end
  end

  test "another's route with the key stays", bench do
    report = converge(bench, one({"0.0.0.0", 0}, nil, type: :broadcast, oif: "a0", table: 5000))

    ips!(bench.ns, """
    route append default via 198.51.100.9 dev b0 table 5000 proto static
    route append broadcast default dev b0 table 5000 proto static
    """)

    before = Netns.ip!(bench.ns, "route show table 5000 proto static")
    # The other's is in the way as well.
    desired = one({"0.0.0.0", 0}, "192.0.2.2", table: 5000)
    report = pass(bench, desired, report.last_applied)
    refute report.converged?
    assert Netns.ip!(bench.ns, "route show table 5000 proto static") == before
    ips!(bench.ns, "route del broadcast default table 5000 proto static")
    report = converge(bench, desired, report.last_applied)
    converge(bench, %{}, report.last_applied)
    assert Netns.ip!(bench.ns, "route show table 5000") |> length() == 1
  end

  test "found by a link of their own route, or by a route beside them", bench do
    for {default, dst, len, gateway} <- [
          {"0.0.0.0", "203.0.113.0", 24, "192.0.2.2"},
          {"::", "2001:db8:9::", 48, "2001:db8:1::2"}
        ] do
      beside = {dst, len, gateway, table: 5000}
      device = {default, 0, nil, oif: "b0", table: 5000}

      for routes <- [[beside, device], [device, beside]] do
        report = converge(bench, %{routes: routes})
        assert [%{"dev" => "b0"}] = routes(bench, "#{dst}/#{len}")
        # The default by a gateway leads to no link.
        routes = [beside, {default, 0, gateway, table: 5000}]
        report = converge(bench, %{routes: routes}, report.last_applied)
        assert [%{"dev" => "a0"}] = routes(bench, "#{dst}/#{len}")
        converge(bench, %{}, report.last_applied)
      end

      hops = [multipath: [[gateway: gateway], [oif: "b0"]], table: 5000]
      report = converge(bench, %{routes: [{default, 0, nil, hops}]})

      report =
        converge(bench, %{routes: [{default, 0, gateway, table: 5000}]}, report.last_applied)

      converge(bench, %{}, report.last_applied)
    end
  end

  test "are looked for as the kernel does it", bench do
    # Each of these routes hides the next: its table tells no link, and the rules do.
    for {dst, commands, dev, build} <- [
          {"203.0.113.0/24", "route add 192.0.2.0/25 via 198.51.100.9 table 5000", "b0",
           "192.0.2.2"},
          {"203.0.113.0/24", "route add blackhole 192.0.2.0/25 table 5000 scope link", "a0",
           "192.0.2.2"},
          {"203.0.113.0/24", "route add local 192.0.2.0/25 dev b0 table 5000", "b0", "192.0.2.2"},
          {"203.0.113.0/24", "route add 192.0.2.0/25 dev a0 tos 8 table 5000", "b0", "192.0.2.2"},
          {"2001:db8:9::/48", "-6 route add 2001:db8:1::/80 via 2001:db8:2::9 table 5000", "a0",
           "2001:db8:1::2"},
          {"2001:db8:9::/48", "-6 route add unreachable 2001:db8:1::/80 table 5000", "a0",
           "2001:db8:1::2"},
          {"2001:db8:9::/48", "-6 route add 2001:db8:1::/80 dev lo table 5000", "a0",
           "2001:db8:1::2"},
          {"2001:db8:9::/48", "-6 route add 2001:db8:1::/80 dev a0 metric 9 table 5000", "a0",
           "2001:db8:1::2"}
        ] do
      default = if dst =~ ":", do: "-6 route add default", else: "route add default"
      Netns.run!(bench.ns, "ip #{default} dev b0 table 5000")
      Netns.run!(bench.ns, "ip #{commands}")
      [ip, len] = String.split(dst, "/")
      desired = one({ip, String.to_integer(len)}, build, table: 5000)
      report = converge(bench, desired)
      assert [%{"dev" => ^dev}] = routes(bench, dst), "beside #{commands}"
      converge(bench, %{}, report.last_applied)
      family = if dst =~ ":", do: "-6", else: "-4"
      Netns.run!(bench.ns, "ip #{family} route flush table 5000")
    end
  end
end
