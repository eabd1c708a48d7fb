defmodule Linx.Netlink.RouteTest do
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :netns

  import Linx.IP

  alias Linx.Netlink.{Error, Rtnl}
  alias Linx.Netlink.Rtnl.{Address, Link, Route}
  alias Linx.Test.{MulticastRouter, Netns}

  setup do
    ns = Netns.quiet()
    socket = Netns.open(ns)
    :ok = Link.set_up(socket, "lo")

    for p <- ["a", "b"] do
      :ok = Link.create_veth(socket, "#{p}0", "#{p}1")
      :ok = Link.set_up(socket, "#{p}0")
      :ok = Link.set_up(socket, "#{p}1")
    end

    {:ok, [:ok, :ok, :ok, :ok]} =
      Address.add_many(socket, [
        {"a0", "192.0.2.1", 24},
        {"b0", "198.51.100.1", 24},
        {"a0", "2001:db8:1::1", 64, [flags: [:nodad]]},
        {"b0", "2001:db8:2::1", 64, [flags: [:nodad]]}
      ])

    # The kernel makes the local routes of new IPv6 addresses a moment later.
    assert Netns.eventually(fn ->
             {:ok, local} = Route.list(socket, family: :inet6, type: :local)

             Enum.all?(
               [~IP"2001:db8:1::1", ~IP"2001:db8:2::1"],
               &(&1 in Enum.map(local, fn r -> r.dst end))
             )
           end)

    %{ns: ns, socket: socket}
  end

  # Each beside another route to the same place that differs in one thing only.
  @shapes [
    "203.0.113.0/24 via 192.0.2.2",
    "203.0.113.0/24 via 192.0.2.2 metric 4294967295",
    "203.0.113.0/24 via 192.0.2.2 metric 100",
    "203.0.113.0/24 via 192.0.2.2 tos 0x10",
    "203.0.113.0/24 via 192.0.2.2 table 5000",
    "203.0.113.0/24 dev a0 metric 7",
    "203.0.113.128/25 dev a0 scope host",
    "default via 192.0.2.9 table 112",
    "default dev b0 table 113",
    "blackhole 198.18.0.0/24",
    "unreachable 198.18.1.0/24 metric 9",
    "prohibit 198.18.2.0/24 table 77",
    "throw 198.18.3.0/24",
    "local 198.18.4.1 dev lo table 80",
    "broadcast 198.18.5.255 dev a0 table 80",
    "multicast 239.1.0.0/16 dev a0",
    "anycast 198.18.6.1 dev a0 table 80",
    "198.18.7.0/24 via 10.99.99.99 dev a0 onlink",
    "198.18.8.0/24 via inet6 2001:db8:1::9 dev a0",
    "198.18.9.0/24 via 192.0.2.2 src 192.0.2.1 mtu 1300 advmss 1200",
    "198.18.10.0/24 via 192.0.2.2 mtu lock 1300 proto 76",
    "198.18.11.0/24 nexthop via 192.0.2.2 weight 3 nexthop via 198.51.100.2",
    "198.18.12.0/24 nexthop via 192.0.2.2 nexthop dev b0 weight 200",
    "198.18.12.0/24 metric 5 nexthop via inet6 2001:db8:1::9 dev a0 nexthop via 192.0.2.3",
    "198.18.13.0/24 nhid 10",
    "198.18.14.0/24 nhid 100",
    "198.18.15.0/24 nhid 12",
    "198.18.16.0/24 encap ip id 7 dst 192.0.2.77 via 192.0.2.2",
    "198.18.17.0/24 via 192.0.2.2 realm 9",
    "198.18.18.0/24 via 192.0.2.2 congctl reno",
    "2001:db8:9::/48 via 2001:db8:1::2",
    "2001:db8:9::/48 via 2001:db8:1::2 metric 100",
    "2001:db8:9::/48 via 2001:db8:1::2 metric 2000",
    "2001:db8:9::/48 via 2001:db8:1::2 table 5000 pref high",
    "2001:db8:a::/48 dev a0 metric 7",
    "2001:db8:a:1::/64 via 2001:db8:1::2 mtu 1300 proto 76",
    "2001:db8:a:2::/64 via 2001:db8:1::2 src 2001:db8:1::1",
    "2001:db8:a:3::/64 via fe80::9 dev a0",
    "2001:db8:a:4::/64 via 2001:db8:99::9 dev a0 onlink",
    "2001:db8:a:5::/64 via 2001:db8:1::2 expires 300",
    "blackhole 2001:db8:b::/48",
    "unreachable 2001:db8:c::/48 metric 9",
    "prohibit 2001:db8:d::/48 table 77",
    "throw 2001:db8:e::/48",
    "default via 2001:db8:1::9 table 112",
    "default dev b0 table 113",
    "2001:db8:f::/48 nexthop via 2001:db8:1::2 nexthop via 2001:db8:2::2 weight 7",
    "2001:db8:f:1::/64 nhid 20",
    "2001:db8:f:2::/64 nhid 200",
    "2001:db8:f:3::/64 nhid 22"
  ]

  defp nexthops(ns) do
    for object <- [
          "id 10 via 192.0.2.2 dev a0",
          "id 11 via 198.51.100.2 dev b0",
          "id 12 blackhole",
          "id 100 group 10/11,3",
          "id 20 via 2001:db8:1::2 dev a0",
          "id 21 via 2001:db8:2::2 dev b0",
          "id 200 group 20/21",
          "id 22 blackhole"
        ] do
      family = if object =~ "id 2" and not (object =~ "group"), do: "-6 ", else: ""
      Netns.run!(ns, "ip #{family}nexthop add #{object}")
    end
  end

  defp make(ns, shapes) do
    for shape <- shapes do
      family =
        if shape =~ ~r/^[a-z ]*2001:/ or shape =~ ~r/default via 2001/, do: "-6 ", else: ""

      Netns.run!(ns, "ip #{family}route add #{shape}")
    end

    Netns.run!(ns, "ip -6 route add default dev b0 table 114")
  end

  test "a route of any shape goes as it was listed, and no other", %{ns: ns, socket: s} do
    nexthops(ns)
    {:ok, before} = Route.list(s)
    make(ns, Enum.uniq(@shapes))
    {:ok, all} = Route.list(s)
    made = all -- before
    assert length(made) == length(Enum.uniq(@shapes)) + 1

    # One by one, in an order of no meaning, each beside all that are left.
    for {route, n} <- made |> Enum.shuffle() |> Enum.with_index(1) do
      {:ok, there} = Route.list(s)
      assert {route, :ok} == {route, Route.delete(s, route)}
      {:ok, left} = Route.list(s)
      assert [gone] = there -- left
      assert identity(gone) == identity(route)
      assert length(left) == length(all) - n
    end

    # All at once, made again as they were listed.
    assert {:ok, results} = Route.add_many(s, made)
    assert Enum.uniq(results) == [:ok]
    {:ok, again} = Route.list(s)
    assert Enum.sort(Enum.map(again, &identity/1)) == Enum.sort(Enum.map(all, &identity/1))

    assert {:ok, results} = Route.delete_many(s, made)
    assert Enum.uniq(results) == [:ok]
    {:ok, left} = Route.list(s)
    assert Enum.sort(left) == Enum.sort(before)
  end

  # A lifetime runs.
  defp identity(route), do: %{route | expires: route.expires && 1}

  test "of two routes to one place the listed one goes", %{ns: ns, socket: s} do
    :ok = Address.add(s, "a0", "192.0.2.9", 24)

    for {first, second} <- [
          {"203.0.113.0/24 via 192.0.2.2 mtu 1300", "203.0.113.0/24 via 192.0.2.2"},
          {"203.0.113.0/24 via 192.0.2.2 mtu 1300", "203.0.113.0/24 via 192.0.2.2 mtu 1400"},
          {"203.0.113.0/24 via 192.0.2.2 src 192.0.2.1", "203.0.113.0/24 via 192.0.2.3"},
          {"203.0.113.0/24 via 192.0.2.2 src 192.0.2.1",
           "203.0.113.0/24 via 192.0.2.2 src 192.0.2.9"},
          {"203.0.113.0/24 dev a0", "203.0.113.0/24 via 192.0.2.2"},
          {"203.0.113.0/24 via 192.0.2.2 proto 76", "203.0.113.0/24 via 192.0.2.2 proto 77"},
          {"203.0.113.0/24 encap ip id 7 dst 192.0.2.77 via 192.0.2.2",
           "203.0.113.0/24 encap ip id 8 dst 192.0.2.77 via 192.0.2.2"},
          {"203.0.113.0/24 via 192.0.2.2 realm 9", "203.0.113.0/24 via 192.0.2.2 realm 10"},
          {"2001:db8:9::/48 dev a0", "2001:db8:9::/48 dev b0"},
          {"2001:db8:9::/48 via 2001:db8:1::2", "2001:db8:9::/48 dev a0"},
          {"2001:db8:9::/48 dev a0", "2001:db8:9::/48 via 2001:db8:1::2"}
        ],
        swapped? <- [false, true] do
      {first, second} = if swapped?, do: {second, first}, else: {first, second}
      {:ok, before} = Route.list(s)
      Netns.run!(ns, "ip route append #{first}")
      Netns.run!(ns, "ip route append #{second}")
      {:ok, both} = Route.list(s)
      assert [a, b] = both -- before

      assert {b, :ok} == {b, Route.delete(s, b)}
      {:ok, left} = Route.list(s)
      assert {first, second, left -- before} == {first, second, [a]}
      assert {a, :ok} == {a, Route.delete(s, a)}
      assert {:ok, ^before} = Route.list(s)
    end
  end

  test "an IPv6 group goes with the hops of others in it, since it was listed with them",
       %{ns: ns, socket: s} do
    {:ok, before} = Route.list(s)
    Netns.run!(ns, "ip -6 route add 2001:db8:9::/48 via 2001:db8:1::2 proto 76")
    Netns.run!(ns, "ip -6 route append 2001:db8:9::/48 via 2001:db8:2::2 proto static")
    {:ok, all} = Route.list(s)
    assert [%Route{multipath: [_, _]} = route] = all -- before
    assert :ok = Route.delete(s, route)
    assert {:ok, ^before} = Route.list(s)
  end

  test "the bare form of one hop takes that hop of a group only", %{ns: ns, socket: s} do
    Netns.run!(ns, "ip -6 route add 2001:db8:9::/48 via 2001:db8:1::2 proto 76")
    {:ok, routes} = Route.list(s, protocol: 76)
    Netns.run!(ns, "ip -6 route append 2001:db8:9::/48 via 2001:db8:2::2 proto static")
    assert [route] = routes
    assert :ok = Route.delete(s, route)

    assert [%{"gateway" => "2001:db8:2::2", "protocol" => "static"}] =
             Netns.ip!(ns, "-6 route show 2001:db8:9::/48")
  end

  test "a listed default, in the words of delete/5", %{ns: ns, socket: s} do
    Netns.run!(ns, "ip route add default via 192.0.2.9 table 112")
    Netns.run!(ns, "ip -6 route add default via 2001:db8:1::9 table 112")
    {:ok, routes} = Route.list(s, table: 112)
    assert length(routes) == 2

    for r <- routes,
        do:
          assert(
            :ok = Route.delete(s, r.dst, r.dst_len, r.gateway, oif: r.oif, table: 112),
            inspect(r)
          )

    assert {:ok, []} = Route.list(s, table: 112)
  end

  test "the default route by a device alone", %{ns: ns, socket: s} do
    assert :ok = Route.add_default(s, nil, oif: "a0")
    assert [%{"dst" => "default", "dev" => "a0"}] = Netns.ip!(ns, "-4 route show default")
    assert :ok = Route.add_default(s, :inet6, oif: "b0", table: 100)
    assert :ok = Route.add_default(s, :inet, oif: "b0", table: 100)
    assert :ok = Route.add_default(s, nil, oif: "b0", prefsrc: "2001:db8:2::1", table: 101)

    assert :ok =
             Route.add_default(s, nil,
               multipath: [[gateway: "2001:db8:1::2"], [gateway: "2001:db8:2::2"]],
               table: 102
             )

    for table <- 100..102, do: assert([_] = Netns.ip!(ns, "-6 route show table #{table}"))
    assert [_] = Netns.ip!(ns, "-4 route show table 100")

    assert :ok = Route.delete_default(s, nil, oif: "a0")
    assert :ok = Route.delete_default(s, :inet6, table: 100)
    assert Netns.ip!(ns, "-4 route show default") == []
    assert Netns.ip!(ns, "-6 route show table 100") == []
    assert [_] = Netns.ip!(ns, "-4 route show table 100")

    assert {:error, {:missing, :gateway}} = Route.add_default(s, nil)
    assert {:error, {:invalid_ip, :inet5}} = Route.add_default(s, :inet5, oif: "a0")
    assert {:error, {:invalid_ip, nil}} = Route.add(s, nil, 8, "192.0.2.2")
  end

  test "appended behind on IPv4, and beside on IPv6", %{ns: ns, socket: s} do
    assert :ok = Route.append(s, "203.0.113.0", 24, "192.0.2.2")
    assert :ok = Route.append(s, "203.0.113.0", 24, "198.51.100.2")

    assert ["192.0.2.2", "198.51.100.2"] =
             ns |> Netns.ip!("route show 203.0.113.0/24") |> Enum.map(& &1["gateway"])

    assert {:error, %Error{errno: :eexist}} = Route.append(s, "203.0.113.0", 24, "192.0.2.2")

    assert :ok = Route.append(s, "2001:db8:9::", 48, "2001:db8:1::2")
    assert :ok = Route.append(s, "2001:db8:9::", 48, "2001:db8:2::2")
    assert [%{"nexthops" => [_, _]}] = Netns.ip!(ns, "-6 route show 2001:db8:9::/48")

    assert {:error, %Error{errno: :eexist}} =
             Route.append(s, "2001:db8:9::", 48, "2001:db8:2::2")
  end

  test "IPv6 hops by devices alone", %{ns: ns, socket: s} do
    devices = fn ->
      ns |> Netns.ip!("-6 route show 2001:db8:9::/48") |> Enum.map(&{&1["dev"], &1["gateway"]})
    end

    hops = [[oif: "a0"], [oif: "b0"]]
    assert :ok = Route.add(s, "2001:db8:9::", 48, nil, multipath: hops)
    assert devices.() == [{"a0", nil}, {"b0", nil}]

    assert {:error, %Error{errno: :eexist}} =
             Route.add(s, "2001:db8:9::", 48, nil, multipath: hops)

    assert devices.() == [{"a0", nil}, {"b0", nil}]
    assert :ok = Route.append(s, "2001:db8:9::", 48, nil, multipath: [[oif: "a1"], [oif: "b1"]])
    assert devices.() == [{"a0", nil}, {"b0", nil}, {"a1", nil}, {"b1", nil}]

    {:ok, routes} = Route.list(s, family: :inet6, protocol: :boot)
    assert {:ok, [:ok, :ok, :ok, :ok]} = Route.delete_many(s, routes)

    # The second hop cannot be: the first is taken back.
    :ok = Link.set_down(s, "b0")

    assert {:error, %Error{errno: errno}} =
             Route.add(s, "2001:db8:9::", 48, nil, multipath: hops)

    assert errno in [:enetdown, :einval, :enetunreach]
    assert devices.() == []
  end

  test "metric 0 of an IPv6 route is 1024 when it is deleted, too", %{ns: ns, socket: s} do
    for metric <- [100, 1024, 2000],
        do: :ok = Route.add(s, "2001:db8:9::", 48, "2001:db8:1::2", metric: metric)

    assert :ok = Route.delete(s, "2001:db8:9::", 48, nil, metric: 0)

    assert [100, 2000] =
             ns |> Netns.ip!("-6 route show 2001:db8:9::/48") |> Enum.map(& &1["metric"])

    assert {:error, %Error{errno: :esrch}} = Route.delete(s, "2001:db8:9::", 48, nil, metric: 0)
  end

  test "values that the kernel takes for not given", %{ns: ns, socket: s} do
    for opts <- [[metric: 0], [protocol: 0], [scope: :nowhere]] do
      :ok =
        Route.add(s, "203.0.113.0", 24, "192.0.2.2", metric: 9, protocol: 76, scope: :universe)

      assert :ok = Route.delete(s, "203.0.113.0", 24, nil, opts)
    end

    # The TOS is compared always.
    :ok = Route.add(s, "203.0.113.0", 24, "192.0.2.2", tos: 16)

    for opts <- [[], [tos: 0], [tos: 8]],
        do:
          assert({:error, %Error{errno: :esrch}} = Route.delete(s, "203.0.113.0", 24, nil, opts))

    assert :ok = Route.delete(s, "203.0.113.0", 24, nil, tos: 16)
    assert Netns.ip!(ns, "route show 203.0.113.0/24") == []
  end

  test "as values", %{socket: s} do
    assert {:ok, %Route{dst: ~IP"0.0.0.0", gateway: ~IP"192.0.2.1"}} =
             Route.new(nil, 0, "192.0.2.1")

    assert {:ok, %Route{family: 10, dst: ~IP"::"}} = Route.new(nil, 0, :inet6, oif: 1)
    {:ok, route} = Route.new("203.0.113.0", 24, "192.0.2.2", protocol: :static)
    assert :ok = Route.add(s, route)
    assert {:error, %Error{errno: :eexist}} = Route.add(s, route)
    assert :ok = Route.delete(s, route)
    assert {:error, %Error{errno: :esrch}} = Route.delete(s, route)
  end

  test "the routes of the IP families, whatever else the kernel routes", %{ns: ns, socket: s} do
    {:ok, before} = Route.list(s)
    {:ok, %{index: index}} = Link.get(s, "a0")
    path = "/proc/#{ns.pid}/ns/net"
    router = MulticastRouter.start(path, index, <<192, 0, 2, 7>>, <<239, 1, 2, 3>>)
    assert Netns.run!(ns, "ip mroute show") =~ "239.1.2.3"

    {:ok, routes} = Route.list(s)
    assert routes |> Enum.map(& &1.family) |> Enum.uniq() |> Enum.sort() == [2, 10]
    assert routes -- before == []
    assert {:ok, []} = Route.list(s, table: 253)
    {:ok, multicast} = Route.list(s, type: :multicast)
    assert Enum.all?(multicast, &(&1.family == 10))
    {:ok, neighbours} = Rtnl.Neighbour.list(s)
    assert Enum.all?(neighbours, &(&1.family in [2, 10]))
    :ok = :socket.close(router)
  end

  test "the time that a route has left", %{ns: ns, socket: s} do
    :ok = Route.add(s, "2001:db8:9::", 48, "2001:db8:1::2", expires: 300)
    :ok = Route.add(s, "2001:db8:a::", 48, "2001:db8:1::2")
    Netns.run!(ns, "ip -6 route add 2001:db8:b::/48 via 2001:db8:1::2 expires 5000 proto ra")

    {:ok, routes} = Route.list(s, family: :inet6)
    left = for %{dst_len: 48} = route <- routes, into: %{}, do: {"#{route.dst}", route.expires}
    assert left["2001:db8:9::"] in 200..300
    assert left["2001:db8:a::"] == nil
    assert left["2001:db8:b::"] in 4900..5000

    for %{"dst" => dst, "expires" => shown} <- Netns.ip!(ns, "-6 route show"),
        do: assert(abs(left[String.trim_trailing(dst, "/48")] - shown) <= 100)

    assert {:ok, [%Route{expires: expires}]} = Route.list(s, protocol: :ra)
    assert expires in 4900..5000
    assert {:ok, %Route{extra: []}} = Route.get(s, "2001:db8:b::1")
    assert Enum.all?(routes, &(&1.extra == []))
  end
end
