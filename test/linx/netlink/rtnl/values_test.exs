defmodule Linx.Netlink.Rtnl.ValuesTest do
  use ExUnit.Case, async: true

  import Linx.IP
  import Linx.MAC

  alias Linx.Native
  alias Linx.Netlink.Message
  alias Linx.Netlink.Rtnl.{Address, Diff, Link, Neighbour, Objects, Protocol, Route, Rule, Stats}

  doctest Diff

  describe "Route.new/4" do
    test "as the documentation describes it" do
      assert {:ok, %Route{family: 2, table: 254, protocol: 3, type: 1, scope: 0, dst_len: 24}} =
               Route.new("10.0.0.0", 24, "192.0.2.1")

      assert {:ok, %Route{table: 0, table_ext: 1000, protocol: 16, priority: 5}} =
               Route.new("10.0.0.0", 24, "192.0.2.1", table: 1000, protocol: :dhcp, metric: 5)

      assert {:ok, %Route{scope: 253, oif: 3, gateway: nil}} =
               Route.new("10.0.0.0", 24, nil, oif: 3)

      assert {:ok, %Route{type: 6, scope: 0}} = Route.new("10.0.0.0", 24, nil, type: :blackhole)
      assert {:ok, %Route{family: 10, scope: 0}} = Route.new("fd00::", 64, nil, oif: 3)
    end

    test "has the protocols that nexthops have" do
      for {name, n} <- Protocol.__codec__().kinds.protocol.numbers do
        assert {:ok, %Route{protocol: ^n}} = Route.new("10.0.0.0/8", "192.0.2.1", protocol: name)
        assert {:ok, %Rule{protocol: ^n}} = Rule.new(table: 1, protocol: name)
      end
    end

    test "refuses what makes no sense" do
      for {args, reason} <- [
            {["10.0.0", 24, "192.0.2.1"], {:invalid_ip, "10.0.0"}},
            {["10.0.0.0", 33, "192.0.2.1"], {:invalid_prefix, 33}},
            {["10.0.0.0", -1, "192.0.2.1"], {:invalid_prefix, -1}},
            {["10.0.0.0", "24", "192.0.2.1"], {:invalid_prefix, "24"}},
            {["10.0.0.0", 24, "fd00::1"], {:unlike_families, ~IP"10.0.0.0", ~IP"fd00::1"}},
            {["10.0.0.0", 24, nil], {:missing, :gateway}},
            {["10.0.0.0", 24, nil, [oif: "eth0"]], {:invalid_name, "eth0"}},
            {["10.0.0.0", 24, "192.0.2.1", [table: 0]], {:bad_option, {:table, 0}}},
            {["10.0.0.0", 24, "192.0.2.1", [table: 0x100000000]],
             {:bad_option, {:table, 0x100000000}}},
            {["10.0.0.0", 24, "192.0.2.1", [metric: -1]], {:bad_option, {:metric, -1}}},
            {["10.0.0.0", 24, "192.0.2.1", [protocol: :nobody]],
             {:bad_option, {:protocol, :nobody}}},
            {["10.0.0.0", 24, "192.0.2.1", [protocol: 256]], {:bad_option, {:protocol, 256}}},
            {["10.0.0.0", 24, "192.0.2.1", [weight: 1]], {:bad_option, {:weight, 1}}},
            {["10.0.0.0", 24, "192.0.2.1", [metrics: [mtuu: 1]]],
             {:bad_option, {:metrics, [mtuu: 1]}}},
            {["10.0.0.0", 24, "192.0.2.1", [prefsrc: "fd00::1"]],
             {:unlike_families, ~IP"10.0.0.0", ~IP"fd00::1"}},
            {["10.0.0.0", 24, nil, [multipath: []]], {:bad_option, {:multipath, []}}},
            {["10.0.0.0", 24, nil, [multipath: [[weight: 0]]]],
             {:bad_option, {:multipath, [[weight: 0]]}}},
            {["10.0.0.0", 24, "192.0.2.1", [:table]], {:bad_option, :table}},
            {["10.0.0.0", 24, "192.0.2.1", %{}], {:bad_option, %{}}}
          ] do
        assert apply(Route, :new, args) == {:error, reason}
      end
    end
  end

  test "a bad change is refused before a socket is asked" do
    assert Rule.add(nil, fwmark: 1) == {:error, {:missing, :table}}
    assert Rule.add(nil, table: 0) == {:error, {:bad_option, {:table, 0}}}
    assert Rule.add(nil, from: "10/8", table: 1) == {:error, {:invalid_subnet, "10/8"}}

    assert Rule.add(nil, from: "10.0.0.0/8", to: "fd00::/8", table: 1) ==
             {:error, {:unlike_families, ~IP"10.0.0.0", ~IP"fd00::"}}

    assert Rule.add(nil, from: "10.0.0.0/8", family: :inet6, table: 1) ==
             {:error, {:bad_option, :family}}

    assert Link.delete(nil, "") == {:error, {:invalid_name, ""}}
    assert Link.delete(nil, "a\0b") == {:error, {:invalid_name, "a\0b"}}
    assert Link.get(nil, :eth0) == {:error, {:invalid_name, :eth0}}

    for bad <- ["", ".", "..", "a b", "a/b", "a:b", "a\tb", "sixteen-bytes-xx", nil] do
      assert Link.create_bridge(nil, bad) == {:error, {:invalid_name, bad}}
      assert Link.create_veth(nil, "v0", bad) == {:error, {:invalid_name, bad}}
    end

    assert Link.create_vlan(nil, "v", 1, 0) == {:error, {:bad_option, {:id, 0}}}
    assert Link.create_vlan(nil, "v", 1, 4095) == {:error, {:bad_option, {:id, 4095}}}
    assert Link.create_macvlan(nil, "v", 1, :l2) == {:error, {:bad_option, {:mode, :l2}}}
    assert Link.create_ipvlan(nil, "v", 1, :bridge) == {:error, {:bad_option, {:mode, :bridge}}}
    assert Link.set_mtu(nil, "v", 0) == {:error, {:bad_option, {:mtu, 0}}}
    assert Link.set_address(nil, "v", "02:00") == {:error, {:invalid_mac, "02:00"}}
    assert Link.set(nil, "v", colour: 1) == {:error, {:bad_option, {:colour, 1}}}
    assert Address.add(nil, 1, "10.0.0.1", 33) == {:error, {:invalid_prefix, 33}}
    assert Neighbour.add(nil, 1, "10.0.0.1", "02") == {:error, {:invalid_mac, "02"}}
  end

  test "the address of a card's maker is read, and by both readers" do
    # RTM_NEWLINK of a virtio card, cut to three attributes: its name, the address that was set,
    # and IFLA_PERM_ADDRESS.
    body =
      <<0, 0, 1::native-16, 2::native-32, 0x1043::native-32, 0::32>> <>
        Base.decode16!(
          "0900030065746830000000000a00010002000000000700000a00360002fc000000010000",
          case: :lower
        )

    assert %Link{name: "eth0", address: ~MAC"02:00:00:00:00:07"} = link = Link.decode(body)
    assert link.perm_address == ~MAC"02:fc:00:00:00:01"
    assert link.extra == []

    bytes = Message.encode(%Message{type: 16, payload: body})
    assert {:ok, [tuple]} = Native.netlink_decode(bytes, :rtnl)
    assert Objects.one(tuple) == link
  end

  describe "Diff" do
    defp route!(dst, prefix, gateway, opts) do
      {:ok, route} = Route.new(dst, prefix, gateway, opts)
      route
    end

    test "an absent metric is what the kernel takes for it" do
      v4 = route!("10.0.0.0", 24, "192.0.2.1", [])
      assert Diff.route_key(v4) == Diff.route_key(%{v4 | priority: 0})
      v6 = route!("fd00::", 64, "fd01::1", [])
      assert Diff.route_key(v6) == Diff.route_key(%{v6 | priority: 1024})
      assert Diff.route_key(v6) != Diff.route_key(%{v6 | priority: 1})
    end

    test "host bits of an IPv6 destination, which the kernel clears, do not matter" do
      assert Diff.route_key(route!("fd00::5", 64, "fd01::1", [])) ==
               Diff.route_key(route!("fd00::", 64, "fd01::1", []))
    end

    test "a table is the same in header and attribute" do
      route = route!("10.0.0.0", 24, "192.0.2.1", table: 100)
      assert Diff.route_key(route) == Diff.route_key(%{route | table_ext: 100})
    end

    test "a surplus route of ours with another gateway is deleted" do
      a = route!("10.0.0.0", 24, "192.0.2.1", protocol: 76)
      b = %{a | gateway: ~IP"192.0.2.2"}
      assert Diff.routes([a], [b, a], 76) == [{:delete, b}]
      assert Diff.routes([a], [b], 76) == [{:update, a}]
    end

    test "an address of narrow scope counts when it is desired" do
      address = %Address{family: 10, index: 1, prefixlen: 64, address: ~IP"fe80::1", scope: 253}
      assert Diff.addresses([address], [address], MapSet.new()) == []
    end

    test "of two desired with one key the first counts" do
      a = route!("10.0.0.0", 24, "192.0.2.1", protocol: 76)
      assert Diff.routes([a, %{a | gateway: ~IP"192.0.2.2"}], [], 76) == [{:create, a}]
    end

    test "an unknown protocol raises" do
      assert_raise ArgumentError, fn -> Diff.routes([], [], :nobody) end
    end

    # As the documentation says it, item by item.
    defp plainly(desired, observed, key, value) do
      desired = Enum.uniq_by(desired, key)
      seen = &for(item <- observed, key.(item) == &1, do: value.(item))

      changes =
        Enum.flat_map(desired, fn item ->
          case seen.(key.(item)) do
            [] -> [{:create, item}]
            values -> if value.(item) in values, do: [], else: [{:update, item}]
          end
        end)

      deletions =
        for item <- observed,
            wanted <- [Enum.find(desired, &(key.(&1) == key.(item)))],
            wanted == nil or
              (value.(item) != value.(wanted) and value.(wanted) in seen.(key.(item))),
            do: {:delete, item}

      changes ++ deletions
    end

    test "of any two lists, with any key any number of times, it is what the documentation " <>
           "says" do
      :rand.seed(:exsss, {2, 2, 2})
      {key, value} = {&elem(&1, 0), &elem(&1, 1)}

      for _ <- 1..500 do
        [desired, observed] =
          for _ <- 1..2, do: for(n <- some(8), do: {Enum.random(1..6), Enum.random(1..3), n})

        ops = plainly(desired, observed, key, value)
        assert Diff.two_way(desired, observed, key, value) == ops

        owned = MapSet.new(some(6))
        ours = for {:delete, item} <- ops, key.(item) in owned, do: {:delete, item}
        changes = Enum.reject(ops, &match?({:delete, _}, &1))
        wanted = MapSet.new(desired, key)
        ours = Enum.reject(ours, fn {:delete, item} -> key.(item) in wanted end)
        assert Diff.three_way(desired, observed, owned, key, value) == changes ++ ours
      end
    end

    defp some(most), do: Enum.take(Enum.shuffle(1..most), Enum.random(0..most))

    test "applying the difference gives the desired state, whatever the two are" do
      :rand.seed(:exsss, {1, 1, 1})

      for _ <- 1..300 do
        desired = some_routes()
        observed = some_routes()
        ops = Diff.routes(desired, observed, 76)

        after_ops =
          Enum.reduce(ops, observed, fn
            {:create, route}, routes -> [route | routes]
            {:update, route}, routes -> [route | Enum.reject(routes, &same?(&1, route))]
            {:delete, route}, routes -> List.delete(routes, route)
          end)

        ours = Enum.filter(after_ops, &(&1.protocol == 76))
        assert Enum.sort(ours) == desired |> Enum.filter(&(&1.protocol == 76)) |> Enum.sort()
        foreign = Enum.reject(observed, &(&1.protocol == 76))
        assert Enum.sort(Enum.reject(after_ops, &(&1.protocol == 76))) == Enum.sort(foreign)
        assert Diff.routes(desired, ours, 76) == []
      end
    end

    defp same?(a, b), do: a.protocol == b.protocol and Diff.route_key(a) == Diff.route_key(b)

    defp some_routes do
      for n <- Enum.take_random(1..20, 10) do
        gateway = Enum.random(["192.0.2.1", "192.0.2.2"])
        route!("10.0.#{n}.0", 24, gateway, protocol: 76, metric: Enum.random([1, 2]))
      end
      |> Enum.uniq_by(&Diff.route_key/1)
    end
  end

  test "inspect without counters or address" do
    assert inspect(%Stats{ifindex: 3}) == "#Linx.Netlink.Rtnl.Stats<ifindex=3>"
    assert inspect(%Address{}) == "#Linx.Netlink.Rtnl.Address<?/0 ifindex=0>"
    assert inspect(%Neighbour{dst: ~IP"10.0.0.1"}) =~ "10.0.0.1 -> ?"
  end
end
