defmodule Linx.Netlink.RtnlTest do
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :netns

  import Linx.IP
  import Linx.MAC

  alias Linx.Netlink.{Error, Rtnl, Socket}

  alias Linx.Netlink.Rtnl.{
    Address,
    Bridge,
    Link,
    LinkInfo,
    Neighbour,
    Nexthop,
    Route,
    Rule,
    Stats
  }

  alias Linx.Test.Netns

  setup do
    ns = Netns.start()
    %{ns: ns, socket: Netns.open(ns)}
  end

  defp veth(socket, a \\ "v0", b \\ "v1") do
    :ok = Link.create_veth(socket, a, b)
    :ok = Link.set_up(socket, a)
    :ok = Link.set_up(socket, b)
  end

  describe "links" do
    test "a veth pair from making to removal", %{socket: socket} do
      assert :ok = Link.create_veth(socket, "v0", "v1")
      assert {:error, %Error{errno: :eexist}} = Link.create_veth(socket, "v0", "v2")
      assert {:ok, %Link{index: index, name: "v0"} = link} = Link.get(socket, "v0")
      # The kernel reports the carrier of a new link a moment later.
      {:ok, again} = Link.get(socket, index)
      assert %{again | operstate: link.operstate} == link
      refute Link.up?(link)

      assert :ok = Link.set_up(socket, "v0")
      assert :ok = Link.set_mtu(socket, index, 1400)
      assert :ok = Link.set_address(socket, "v0", "02:00:00:00:00:01")
      assert :ok = Link.set_address(socket, "v1", ~MAC"02:00:00:00:00:02")

      assert {:ok, %Link{mtu: 1400, address: ~MAC"02:00:00:00:00:01"} = link} =
               Link.get(socket, "v0")

      assert Link.up?(link)

      assert :ok = Link.set_down(socket, "v0")
      assert :ok = Link.set_name(socket, "v0", "w0")
      assert {:error, %Error{errno: :eexist}} = Link.set_name(socket, "w0", "v1")
      assert :ok = Link.delete(socket, "w0")

      assert {:error, %Error{errno: :enodev, code: 19, message: "no such interface \"v1\""}} =
               Link.get(socket, "v1")
    end

    test "the kernel's own words and the name of the field it objects to", %{socket: socket} do
      :ok = Link.create_veth(socket, "v0", "v1")

      assert {:error, %Error{errno: :einval, message: "mtu greater than device maximum"}} =
               Link.set_mtu(socket, "v0", 1_000_000)

      # An id of 25 bits, which create/4 would not let through.
      data = %LinkInfo.Vxlan{id: 0x1000000}
      link = %Link{name: "x0", linkinfo: %LinkInfo{kind: "vxlan", info_data: data}}

      assert {:error, %Error{errno: :erange, at: [:linkinfo, :info_data, :id], message: text}} =
               Rtnl.Call.change(socket, Rtnl.Call.op(16, 0x600, link))

      assert text =~ "VXLAN ID"
    end

    test "where the kernel gives no words, the verb does", %{socket: socket} do
      veth(socket)
      :ok = Address.add(socket, "v0", "192.0.2.2", 24)
      :ok = Link.create_bridge(socket, "br0")

      for {refused, errno, message} <- [
            {Link.create_bridge(socket, "br0"), :eexist, ~s(interface "br0" exists already)},
            {Link.create_veth(socket, "v2", "v1"), :eexist,
             ~s(interface "v2" or its peer "v1" exists already)},
            {Link.set_name(socket, "v0", "br0"), :eexist, ~s(interface "br0" exists already)},
            {Link.add_altname(socket, "v0", "br0"), :eexist, ~s(interface "br0" exists already)},
            {Link.delete_altname(socket, "v0", "none"), :enoent,
             ~s(no such alternative name "none")},
            {Link.delete(socket, "lo"), :eopnotsupp, ~s(interface "lo" cannot be deleted)},
            {Link.move_to_netns(socket, "v0", 0x7FFFFFFF), :esrch, "no such process 2147483647"},
            {Route.get(socket, "203.0.113.1"), :enetunreach, "no route to 203.0.113.1"},
            {Route.delete_default(socket, "192.0.2.1"), :esrch, "no such route to default"},
            {Rule.delete(socket, table: 99), :enoent, "no such rule"},
            {Neighbour.delete(socket, "v0", "192.0.2.3"), :enoent,
             ~s(192.0.2.3 is no neighbour on "v0")}
          ] do
        assert {:error, %Error{errno: ^errno, message: ^message}} = refused
      end
    end

    test "an index is not among what may be set of a link", %{socket: socket} do
      veth(socket)
      assert {:error, {:bad_option, {:index, 1}}} = Link.set(socket, "v0", index: 1, up: false)
      assert {:ok, %Link{index: 1}} = Link.get(socket, "lo")
    end

    test "which of two names was at fault", %{socket: socket} do
      assert {:error, %Error{errno: :enodev, message: "no such parent interface \"nope\""}} =
               Link.create_macvlan(socket, "m0", "nope")

      :ok = Link.create_veth(socket, "v0", "v1")

      assert {:error, %Error{message: "no such master interface \"br9\""}} =
               Link.set_master(socket, "v0", "br9")

      assert {:error, %Error{message: "no such interface \"v9\""}} =
               Link.set_master(socket, "v9", "v0")
    end

    test "bridge, ports and their list", %{socket: socket} do
      :ok = Link.create_bridge(socket, "br0")
      :ok = Link.create(socket, "br1", :bridge, stp_state: 1, forward_delay: 400, up: true)
      veth(socket)
      :ok = Link.set_master(socket, "v0", "br0")

      assert {:ok, [%Link{name: "v0"}]} = Link.list(socket, master: "br0")
      assert {:ok, bridges} = Link.list(socket, kind: :bridge)
      assert Enum.map(bridges, & &1.name) == ["br0", "br1"]

      assert %LinkInfo.Bridge{stp_state: 1, forward_delay: 400} =
               List.last(bridges).linkinfo.info_data

      :ok = Link.set_master(socket, "v0", nil)
      assert {:ok, []} = Link.list(socket, master: "br0")
    end

    test "macvlan modes", %{socket: socket} do
      veth(socket)

      for {mode, number} <- [bridge: 4, private: 1, vepa: 2] do
        :ok = Link.create_macvlan(socket, "m-#{mode}", "v0", mode)
        {:ok, link} = Link.get(socket, "m-#{mode}")
        assert %LinkInfo{kind: "macvlan", info_data: %{mode: ^number}} = link.linkinfo
      end
    end

    test "vxlan with its options", %{socket: socket} do
      veth(socket)

      :ok =
        Link.create(socket, "vx0", :vxlan,
          id: 42,
          remote: "192.0.2.9",
          port: 4789,
          learning: false,
          link: "v0",
          mtu: 1400
        )

      assert {:ok, %Link{mtu: 1400, linkinfo: %LinkInfo{info_data: data}}} =
               Link.get(socket, "vx0")

      assert %{id: 42, group: ~IP"192.0.2.9", port: 4789, learning: 0} = data
    end

    @tag :dummy
    test "a dummy", %{socket: socket} do
      assert :ok = Link.create_dummy(socket, "d0")
      assert {:ok, %Link{linkinfo: %LinkInfo{kind: "dummy"}}} = Link.get(socket, "d0")
      assert {:ok, [:ok]} = Link.delete_many(socket, ["d0"])
    end

    @tag :vlan
    test "a VLAN", %{socket: socket} do
      :ok = Link.create_veth(socket, "v0", "v1")
      assert :ok = Link.create_vlan(socket, "v0.42", "v0", 42)
      {:ok, link} = Link.get(socket, "v0.42")
      assert %LinkInfo{kind: "vlan", info_data: %LinkInfo.Vlan{id: 42}} = link.linkinfo
    end

    @tag :ipvlan
    test "an ipvlan", %{socket: socket} do
      :ok = Link.create_veth(socket, "v0", "v1")

      for {mode, number} <- [l3: 1, l2: 0] do
        assert :ok = Link.create_ipvlan(socket, "i0", "v0", mode)
        {:ok, link} = Link.get(socket, "i0")
        assert %LinkInfo{info_data: %LinkInfo.Ipvlan{mode: ^number}} = link.linkinfo
        :ok = Link.delete(socket, "i0")
      end
    end

    test "a kind that the kernel has not", %{socket: socket} do
      assert {:error, %Error{errno: :eopnotsupp}} = Link.create(socket, "x0", "no-such-kind")
    end

    test "alternative names of any length find the link", %{socket: socket} do
      :ok = Link.create_veth(socket, "v0", "v1")
      long = String.duplicate("n", 100)
      :ok = Link.add_altname(socket, "v0", long)
      :ok = Link.add_altname(socket, long, "short-alt")

      assert {:ok, %Link{name: "v0", altnames: altnames}} = Link.get(socket, long)
      assert Enum.sort(altnames) == Enum.sort([long, "short-alt"])
      assert :ok = Link.set_mtu(socket, "short-alt", 1300)
      assert {:ok, %Link{mtu: 1300}} = Link.get(socket, "v0")
      :ok = Link.delete_altname(socket, "v0", long)
      assert {:error, %Error{errno: :enodev}} = Link.get(socket, long)
    end

    test "into another namespace by pid, by file and back", %{ns: ns, socket: socket} do
      other = Netns.start()
      there = Netns.open(other)
      :ok = Link.create_veth(socket, "v0", "v1")
      assert :ok = Link.move_to_netns(socket, "v1", other.pid)
      assert {:error, %Error{errno: :enodev}} = Link.get(socket, "v1")
      assert {:ok, %Link{name: "v1"}} = Link.get(there, "v1")

      assert :ok = Link.move_to_netns(there, "v1", {:path, "/proc/#{ns.pid}/ns/net"})
      assert {:ok, %Link{name: "v1"}} = Link.get(socket, "v1")
      assert :ok = Link.move_to_netns(socket, "v1", {:pid, other.pid})
      assert {:ok, _} = Link.get(there, "v1")

      assert {:error, %Error{errno: :enoent, stage: :open}} =
               Link.move_to_netns(socket, "v0", {:path, "/proc/self/ns/absent"})

      assert {:error, %Error{errno: :esrch}} = Link.move_to_netns(socket, "v0", 99_999_999)
    end

    test "many are removed with one wait, and each tells its own result", %{socket: socket} do
      for n <- 1..20, do: :ok = Link.create_veth(socket, "a#{n}", "b#{n}")
      names = for n <- 1..20, do: "a#{n}"

      assert {:ok, results} = Link.delete_many(socket, names ++ ["nope"])
      assert Enum.take(results, 20) == List.duplicate(:ok, 20)
      assert {:error, %Error{errno: :enodev}} = List.last(results)
      assert {:ok, [%Link{name: "lo"}]} = Link.list(socket)
    end

    test "one that cannot be removed does not keep the others, nor lose its group", %{
      ns: ns,
      socket: socket
    } do
      veth(socket)
      Netns.run!(ns, "ip link set lo group 7")

      assert {:ok, [:ok, {:error, %Error{errno: :eopnotsupp}}, :ok]} =
               Link.delete_many(socket, ["v0", "lo", "v1"])

      assert {:ok, [%Link{name: "lo", group: 7}]} = Link.list(socket)
    end
  end

  describe "addresses" do
    test "of both families, with options", %{ns: ns, socket: socket} do
      veth(socket)
      assert :ok = Address.add(socket, "v0", "192.0.2.1", 24)
      assert {:error, %Error{errno: :eexist}} = Address.add(socket, "v0", ~IP"192.0.2.1", 24)
      assert :ok = Address.add(socket, "v0", "192.0.2.5", 32, peer: "192.0.2.6", label: "v0:x")

      assert :ok =
               Address.add(socket, "v0", "2001:db8::1", 64,
                 flags: [:nodad],
                 valid: 500,
                 preferred: 100
               )

      [%{"addr_info" => shown}] = Netns.ip!(ns, "addr show dev v0")
      assert %{"label" => "v0:x", "address" => "192.0.2.6"} = find(shown, "192.0.2.5")
      assert %{"nodad" => true, "valid_life_time" => valid} = find(shown, "2001:db8::1")
      assert valid in 100..500

      assert {:ok, addresses} = Address.list(socket, "v0")
      assert {:ok, v4} = Address.list(socket, link: "v0", family: :inet)
      assert length(v4) == 2 and length(addresses) in 3..4

      assert :ok = Address.replace(socket, "v0", "2001:db8::1", 64, valid: 9000, flags: [:nodad])
      assert :ok = Address.delete(socket, "v0", "192.0.2.1", 24)

      assert {:error, %Error{errno: :eaddrnotavail}} =
               Address.delete(socket, "v0", "192.0.2.1", 24)

      assert :ok = Address.delete(socket, "v0", "2001:db8::1", 64)
    end

    defp find(shown, local), do: Enum.find(shown, &(&1["local"] == local))

    test "on a link that is not there", %{socket: socket} do
      assert {:error, %Error{errno: :enodev, message: "no such interface \"v7\""}} =
               Address.add(socket, "v7", "192.0.2.1", 24)

      assert {:error, %Error{errno: :enodev}} = Address.list(socket, "v7")
      assert {:ok, []} = Address.list(socket, "lo")
    end
  end

  describe "routes" do
    setup %{socket: socket} do
      veth(socket)
      :ok = Address.add(socket, "v0", "192.0.2.1", 24)
      :ok = Address.add(socket, "v0", "2001:db8::1", 64, flags: [:nodad])
      # The kernel makes the address's own route from a work queue.
      true =
        Netns.eventually(fn ->
          {:ok, routes} = Route.list(socket, type: :local)
          Enum.any?(routes, &(&1.dst == ~IP"2001:db8::1"))
        end)

      :ok
    end

    test "add is strict, replace changes in place, delete finds by what is given", %{
      socket: socket
    } do
      assert :ok = Route.add(socket, "203.0.113.0", 24, "192.0.2.254")

      assert {:error, %Error{errno: :eexist}} =
               Route.add(socket, "203.0.113.0", 24, "192.0.2.253")

      assert :ok = Route.replace(socket, "203.0.113.0", 24, "192.0.2.253")
      assert {:ok, %Route{gateway: ~IP"192.0.2.253"}} = Route.get(socket, "203.0.113.9")

      assert {:error, %Error{errno: :esrch}} =
               Route.delete(socket, "203.0.113.0", 24, "192.0.2.254")

      assert :ok = Route.delete(socket, "203.0.113.0", 24, "192.0.2.253")
    end

    test "deletion with and without a protocol", %{socket: socket} do
      :ok = Route.add(socket, "203.0.113.0", 24, "192.0.2.254", protocol: :static)

      assert {:error, %Error{errno: :esrch}} =
               Route.delete(socket, "203.0.113.0", 24, "192.0.2.254", protocol: :dhcp)

      assert :ok = Route.delete(socket, "203.0.113.0", 24, "192.0.2.254")
    end

    test "defaults of both families", %{socket: socket} do
      for gateway <- ["192.0.2.254", "2001:db8::2"] do
        assert :ok = Route.add_default(socket, gateway)
        {:ok, routes} = Route.list(socket, table: 254)
        assert [route] = Enum.filter(routes, &(&1.dst_len == 0))
        assert Kernel.to_string(route.gateway) == gateway
        assert inspect(route) =~ "<default via #{gateway} oif="
        assert :ok = Route.delete_default(socket, gateway)
      end
    end

    test "tables above 255, metric and protocol", %{ns: ns, socket: socket} do
      :ok =
        Route.add(socket, "203.0.113.0", 24, "192.0.2.254",
          table: 100_000,
          metric: 50,
          protocol: :static
        )

      assert {:ok, [route]} = Route.list(socket, table: 100_000)
      assert Route.target_table(route) == 100_000
      assert %Route{priority: 50, protocol: 4} = route

      assert [%{"metric" => 50, "protocol" => "static"}] =
               Netns.ip!(ns, "route show table 100000")

      assert :ok =
               Route.delete(socket, "203.0.113.0", 24, "192.0.2.254", table: 100_000, metric: 50)

      assert {:ok, []} = Route.list(socket, table: 100_000)
    end

    test "several next hops, metrics, preferred source, types", %{ns: ns, socket: socket} do
      hops = [[gateway: "192.0.2.2", weight: 3], [gateway: "192.0.2.3", oif: "v0"]]
      :ok = Route.add(socket, "203.0.113.0", 24, nil, multipath: hops)
      :ok = Route.add(socket, "203.0.114.0", 24, nil, oif: "v0", prefsrc: "192.0.2.1")

      :ok =
        Route.add(socket, "203.0.115.0", 24, "192.0.2.9", metrics: [mtu: 1300, cc_algo: "reno"])

      :ok = Route.add(socket, "203.0.116.0", 24, nil, type: :blackhole)
      :ok = Route.add(socket, "2001:db8:7::", 48, nil, type: :prohibit)
      :ok = Route.add(socket, "203.0.117.0", 24, nil, via: "2001:db8::9")
      :ok = Route.add(socket, "203.0.118.0", 24, "10.9.9.9", oif: "v0", onlink: true)

      shown = Map.new(Netns.ip!(ns, "route show"), &{&1["dst"], &1})
      assert [%{"gateway" => "192.0.2.2", "weight" => 3}, _] = shown["203.0.113.0/24"]["nexthops"]
      assert %{"prefsrc" => "192.0.2.1", "scope" => "link"} = shown["203.0.114.0/24"]
      assert %{"metrics" => [%{"mtu" => 1300, "congestion" => "reno"}]} = shown["203.0.115.0/24"]
      assert %{"type" => "blackhole"} = shown["203.0.116.0/24"]
      assert %{"via" => %{"family" => "inet6"}} = shown["203.0.117.0/24"]
      assert "onlink" in shown["203.0.118.0/24"]["flags"]
      assert {:ok, [_]} = Route.list(socket, type: :prohibit)

      # A route that was read can be deleted with the struct that was read.
      {:ok, routes} = Route.list(socket, protocol: :boot)

      for route <- routes,
          do: assert(:ok = Rtnl.Call.change(socket, Route.change(:delete, Route.bare(route))))

      assert {:ok, []} = Route.list(socket, protocol: :boot)
    end

    test "filters are the kernel's and agree with filtering all", %{socket: socket} do
      :ok = Route.add(socket, "203.0.113.0", 24, "192.0.2.9", table: 77, protocol: :static)

      filters = [
        {[table: 77], &(Route.target_table(&1) == 77)},
        {[table: 255], &(Route.target_table(&1) == 255)},
        {[protocol: :static], &(&1.protocol == 4)},
        {[family: :inet6], &(&1.family == 10)},
        {[family: :inet, type: :local], &(&1.family == 2 and &1.type == 2)},
        {[table: 78], fn _ -> false end}
      ]

      {{:ok, all}, filtered} =
        Netns.steady(
          fn -> Route.list(socket) end,
          fn -> for {filter, _keep} <- filters, do: Route.list(socket, filter) end
        )

      for {{_filter, keep}, answer} <- Enum.zip(filters, filtered) do
        assert {:ok, routes} = answer
        assert Enum.sort(routes) == all |> Enum.filter(keep) |> Enum.sort()
      end

      assert {:error, %Error{errno: :enodev}} = Route.list(socket, oif: "nope")
      assert {:error, {:bad_option, {:colour, 1}}} = Route.list(socket, colour: 1)
    end

    test "get says where the kernel would send", %{socket: socket} do
      :ok = Route.add_default(socket, "192.0.2.254")
      assert {:ok, %Route{gateway: ~IP"192.0.2.254", dst_len: 32}} = Route.get(socket, "1.1.1.1")

      assert {:ok, %Route{dst_len: 0, dst: nil}} =
               Route.get(socket, "1.1.1.1", fib_match: true)

      assert {:error, %Error{errno: :enetunreach}} = Route.get(socket, "2001:db9::1")
      assert {:error, {:invalid_ip, "x"}} = Route.get(socket, "x")
    end

    test "the gateway that no link reaches is named", %{socket: socket} do
      assert {:error, %Error{errno: :enetunreach, message: "Nexthop has invalid gateway"}} =
               Route.add(socket, "203.0.113.0", 24, "10.9.9.9")
    end
  end

  test "rules", %{ns: ns, socket: socket} do
    assert :ok = Rule.add(socket, from: "10.0.0.0/24", table: 100)
    assert :ok = Rule.add(socket, fwmark: 1, table: 1000, priority: 200)

    assert {:error, %Error{errno: :eexist}} =
             Rule.add(socket, fwmark: 1, table: 1000, priority: 200)

    assert :ok = Rule.add(socket, to: "fd00::/8", table: 7, dport: 80..90, ipproto: 6)
    assert :ok = Rule.add(socket, iif: "lo", action: :blackhole, priority: 300, invert: true)
    assert :ok = Rule.add(socket, family: :inet6, fwmark: 2, fwmask: 0xFF, table: 7, priority: 5)

    shown = Netns.ip!(ns, "rule show")
    assert Enum.any?(shown, &match?(%{"src" => "10.0.0.0", "srclen" => 24, "table" => "100"}, &1))
    assert Enum.any?(shown, &match?(%{"fwmark" => "0x1", "priority" => 200}, &1))
    assert Enum.any?(shown, &match?(%{"action" => "blackhole", "not" => nil}, &1))

    assert {:ok, rules} = Rule.list(socket)
    assert {:ok, v6} = Rule.list(socket, family: :inet6)
    assert Enum.all?(v6, &(&1.family == 10)) and length(v6) < length(rules)
    assert [rule] = Enum.filter(rules, &(&1.priority == 200))
    assert inspect(rule) == "#Linx.Netlink.Rtnl.Rule<priority=200 fwmark=0x1 table=1000>"

    assert :ok = Rule.delete(socket, from: "10.0.0.0/24", table: 100)
    assert {:error, %Error{errno: :enoent}} = Rule.delete(socket, from: "10.0.0.0/24", table: 100)
  end

  test "neighbours", %{socket: socket} do
    veth(socket)
    assert :ok = Neighbour.add(socket, "v0", "192.0.2.9", "02:00:00:00:00:09")

    assert {:error, %Error{errno: :eexist}} =
             Neighbour.add(socket, "v0", "192.0.2.9", "02:00:00:00:00:0a")

    assert :ok = Neighbour.replace(socket, "v0", ~IP"192.0.2.9", ~MAC"02:00:00:00:00:0a")
    assert :ok = Neighbour.add(socket, "v0", "2001:db8::9", "02:00:00:00:00:09")

    assert {:ok, neighbours} = Neighbour.list(socket, "v0")
    assert [neighbour] = Enum.filter(neighbours, &(&1.dst == ~IP"192.0.2.9"))
    assert %Neighbour{lladdr: ~MAC"02:00:00:00:00:0a", state: 128} = neighbour
    assert inspect(neighbour) =~ "<192.0.2.9 -> 02:00:00:00:00:0a ifindex="
    assert {:ok, []} = Neighbour.list(socket, "lo")

    assert :ok = Neighbour.delete(socket, "v0", "192.0.2.9")
    assert {:error, %Error{errno: :enoent}} = Neighbour.delete(socket, "v0", "192.0.2.9")
  end

  test "statistics count", %{ns: ns, socket: socket} do
    :ok = Link.set_up(socket, "lo")
    {:ok, before} = Stats.get(socket, "lo")
    Netns.run!(ns, "ping -c 2 -i 0.01 -q 127.0.0.1")
    {:ok, now} = Stats.get(socket, "lo")
    assert now.link.rx_packets >= before.link.rx_packets + 4
    assert now.link.rx_otherhost_dropped in [nil, 0]
    assert {:ok, [^now]} = Stats.list(socket)
    assert {:error, %Error{errno: :enodev}} = Stats.get(socket, "nope")
  end

  describe "batch" do
    test "gives each change its own result and goes on after one that fails", %{socket: socket} do
      veth(socket)

      assert {:ok,
              [
                :ok,
                {:error, %Error{errno: :enodev}},
                :ok,
                {:error, %Error{errno: :eexist}},
                {:error, {:invalid_ip, "bad"}},
                :ok,
                {:error, {:missing, :table}},
                :ok
              ]} =
               Rtnl.batch(socket, [
                 {Address, :add, ["v0", "192.0.2.1", 24]},
                 {Address, :add, ["v9", "192.0.2.1", 24]},
                 {Route, :add, ["203.0.113.0", 24, "192.0.2.9"]},
                 {Route, :add, ["203.0.113.0", 24, "192.0.2.8"]},
                 {Route, :add, ["bad", 24, "192.0.2.8"]},
                 {Neighbour, :add, ["v0", "192.0.2.9", "02:00:00:00:00:09"]},
                 {Rule, :add, [[fwmark: 1]]},
                 {Link, :create_veth, ["w0", "w1"]}
               ])

      assert {:ok, []} = Rtnl.batch(socket, [])
    end

    test "of more messages than the receive buffer holds answers", %{socket: socket} do
      :ok = Socket.set_rcvbuf(socket, 100_000)
      routes = for n <- 0..2999, do: {"10.#{div(n, 250)}.#{rem(n, 250)}.0", 24, nil, oif: 99_999}
      assert {:ok, results} = Route.add_many(socket, routes)
      assert length(results) == 3000
      assert Enum.all?(results, &match?({:error, %Error{errno: :enodev}}, &1))
    end

    test "of several sends says of each change what became of it", %{socket: socket} do
      :ok = Socket.set_rcvbuf(socket, 50_000)
      size = Socket.batch_size(socket)
      :ok = Link.set_up(socket, "lo")

      # Refused by us, made, refused by the kernel: a send ends with any of them.
      for shift <- 0..2, {verb, refusal} <- [add: :enodev, delete: :esrch] do
        numbers = shift..(3 * size + shift)

        changes =
          for n <- numbers do
            prefix = if rem(n, 3) == 0, do: 33, else: 32
            oif = if rem(n, 3) == 1, do: "lo", else: 99_999
            {Route, verb, ["10.7.#{div(n, 250)}.#{rem(n, 250)}", prefix, nil, [oif: oif]]}
          end

        assert {:ok, results} = Rtnl.batch(socket, changes)
        assert length(results) == length(changes)

        for {result, n} <- Enum.zip(results, numbers) do
          case rem(n, 3) do
            0 -> assert {:error, {:invalid_prefix, 33}} = result
            1 -> assert result == :ok
            2 -> assert {:error, %Error{errno: ^refusal}} = result
          end
        end
      end
    end

    test "of nothing but what is refused before it is sent", %{socket: socket} do
      assert {:ok, [{:error, {:invalid_ip, "bad"}}, {:error, {:bad_option, {:table, 0}}}]} =
               Route.add_many(socket, [
                 {"bad", 24, "192.0.2.1"},
                 {"10.0.0.0", 8, "192.0.2.1", table: 0}
               ])
    end

    test "that raises has made no change", %{socket: socket} do
      :ok = Link.set_up(socket, "lo")

      changes =
        for n <- 0..2999,
            do: {Route, :add, ["10.#{div(n, 250)}.#{rem(n, 250)}.0", 24, nil, [oif: "lo"]]}

      assert_raise ArgumentError, fn -> Rtnl.batch(socket, changes ++ [{Route, :list, []}]) end
      assert {:ok, []} = Route.list(socket, table: 254, family: :inet)
    end

    test "of what is no change names it, and makes none", %{socket: socket} do
      modules =
        [Link, Address, Route, Nexthop, Neighbour, Rule] ++
          [Bridge.Fdb, Bridge.Vlan, Bridge.Mdb, Bridge.Port]

      bad =
        [:x, nil, {}, {Link, :set_up}, {Link, "set_up", ["lo"]}, {Link, :set_up, "lo"}] ++
          [{Link, :move_to_netns, ["lo", 1]}, {nil, nil, nil}, {String, :upcase, ["lo"]}] ++
          for(module <- modules, verb <- [:add, :set, :list], do: {module, verb, []})

      for change <- bad do
        error =
          assert_raise ArgumentError, fn ->
            Rtnl.batch(socket, [{Link, :set_up, ["lo"]}, change])
          end

        assert error.message =~ "no change for a batch: #{inspect(change)}"
      end

      for changes <- [:x, nil, %{}, [{Link, :set_up, ["lo"]} | :x], {Link, :set_up, ["lo"]}] do
        error = assert_raise ArgumentError, fn -> Rtnl.batch(socket, changes) end
        assert error.message =~ "not a list of changes: #{inspect(changes)}"
      end

      {:ok, lo} = Link.get(socket, "lo")
      refute Link.up?(lo)
    end
  end

  test "a namespace lives on while a socket in it is open", %{ns: ns, socket: socket} do
    veth(socket)
    Netns.stop(ns)
    assert Netns.eventually(fn -> not File.exists?("/proc/#{ns.pid}") end)
    assert {:ok, [_, _, _]} = Link.list(socket)
    assert {:error, %Error{errno: :enoent, stage: :open}} = Rtnl.open({:pid, ns.pid})
  end
end
