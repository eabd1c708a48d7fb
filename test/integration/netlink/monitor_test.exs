defmodule Linx.Netlink.MonitorTest do
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :netns

  import Linx.IP

  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Address, Link, Monitor, Neighbour, Nexthop, Route, Rule}
  alias Linx.Netlink.Rtnl.Monitor.Event
  alias Linx.Test.{MulticastRouter, Netns}

  setup do
    ns = Netns.start()
    %{ns: ns, socket: Netns.open(ns)}
  end

  test "a namespace that is none raises in the caller and starts nothing" do
    for netns <- [:blue, {:pid, 0}, {:path, ""}, "/proc/self/ns/net", nil] do
      assert_raise ArgumentError, ~r/not a network namespace/, fn ->
        Monitor.subscribe(self(), netns: netns)
      end
    end
  end

  test "every kind of object, as a read gives it", %{ns: ns, socket: socket} do
    {:ok, monitor} = Monitor.subscribe(self(), netns: Netns.target(ns))

    :ok = Link.create_veth(socket, "v0", "v1")
    assert_receive {:linx_rtnl, :event, %Event{op: :new_link, resource: %Link{name: "v0"}}}
    :ok = Link.set_up(socket, "v0")
    :ok = Link.set_up(socket, "v1")

    :ok = Address.add(socket, "v0", "192.0.2.1", 24)

    # The links have addresses of the kernel's too, which come when they like.
    assert_receive {:linx_rtnl, :event,
                    %Event{op: :new_addr, resource: %Address{address: ~IP"192.0.2.1"} = address}}

    {:ok, addresses} = Address.list(socket, link: "v0", family: :inet)
    assert address in addresses

    :ok = Route.add(socket, "203.0.113.0", 24, "192.0.2.9", table: 1000)

    assert_receive {:linx_rtnl, :event,
                    %Event{op: :new_route, resource: %Route{dst: ~IP"203.0.113.0"} = route}}

    assert {:ok, [^route]} = Route.list(socket, table: 1000)

    :ok = Rule.add(socket, fwmark: 9, table: 1000, priority: 9)
    assert_receive {:linx_rtnl, :event, %Event{op: :new_rule, resource: %Rule{fwmark: 9}}}
    :ok = Neighbour.add(socket, "v0", "192.0.2.7", "02:00:00:00:00:07")

    assert_receive {:linx_rtnl, :event,
                    %Event{op: :new_neigh, resource: %Neighbour{dst: ~IP"192.0.2.7"}}}

    :ok = Neighbour.delete(socket, "v0", "192.0.2.7")
    :ok = Rule.delete(socket, fwmark: 9, table: 1000)
    :ok = Route.delete(socket, "203.0.113.0", 24, "192.0.2.9", table: 1000)
    :ok = Address.delete(socket, "v0", "192.0.2.1", 24)
    :ok = Link.delete(socket, "v0")

    for op <- [:del_neigh, :del_rule, :del_route, :del_addr, :del_link],
        do: assert_receive({:linx_rtnl, :event, %Event{op: ^op}})

    assert :ok = Monitor.unsubscribe(monitor)
    refute Process.alive?(monitor)
  end

  test "only the groups that were asked for", %{ns: ns, socket: socket} do
    {:ok, monitor} = Monitor.subscribe(self(), netns: Netns.target(ns), groups: [5])
    :ok = Link.set_up(socket, "lo")
    :ok = Address.add(socket, "lo", "192.0.2.1", 32)
    assert_receive {:linx_rtnl, :event, %Event{op: :new_addr}}
    Monitor.stop(monitor)
    refute_received {:linx_rtnl, :event, %Event{op: :new_link}}
    refute_received {:linx_rtnl, :event, %Event{op: :new_route}}
  end

  test "nexthop objects, as a read gives them", %{ns: ns, socket: socket} do
    # RTNLGRP_NEXTHOP
    {:ok, _monitor} = Monitor.subscribe(self(), netns: Netns.target(ns), groups: [32])
    :ok = Link.set_up(socket, "lo")

    for {id, command} <- [
          {1, "id 1 dev lo proto zebra"},
          {2, "id 2 via 192.0.2.9 dev lo onlink"},
          {3, "id 3 blackhole"},
          {4, "id 4 encap ip id 5 dst 192.0.2.9 dev lo"},
          {10, "id 10 group 1,2/2,7 type resilient buckets 8"}
        ] do
      Netns.run!(ns, "ip nexthop add #{command}")
      {:ok, nexthop} = Nexthop.get(socket, id)
      assert_receive {:linx_rtnl, :event, %Event{op: :new_nexthop, resource: ^nexthop}}
    end

    :ok = Nexthop.delete(socket, 3)
    assert_receive {:linx_rtnl, :event, %Event{op: :del_nexthop, resource: %Nexthop{id: 3}}}
  end

  test "a message type that is not read comes as its number", %{ns: ns} do
    # RTNLGRP_IPV4_NETCONF and RTM_NEWNETCONF
    {:ok, _monitor} = Monitor.subscribe(self(), netns: Netns.target(ns), groups: [24])
    Netns.run!(ns, "sysctl -qw net.ipv4.conf.lo.forwarding=0 net.ipv4.conf.lo.forwarding=1")
    assert_receive {:linx_rtnl, :event, %Event{op: {:unknown, 80}, resource: nil}}
  end

  test "an overrun is told, and events go on", %{ns: ns, socket: socket} do
    :ok = Link.set_up(socket, "lo")
    {:ok, %Link{index: lo}} = Link.get(socket, "lo")

    {:ok, monitor} = Monitor.subscribe(self(), netns: Netns.target(ns), rcvbuf: 8192)
    # It cannot read while we fill its buffer.
    :ok = :sys.suspend(monitor)
    routes = for n <- 1..2000, do: {"10.#{div(n, 250)}.#{rem(n, 250)}.0", 24, nil, oif: lo}
    {:ok, results} = Route.add_many(socket, routes)
    assert Enum.all?(results, &(&1 == :ok))
    :ok = :sys.resume(monitor)

    assert_receive {:linx_rtnl, :resync_needed}
    assert Netns.eventually(fn -> rule_seen?(socket) end)
    Monitor.stop(monitor)
    assert events([]) < 2000
  end

  # The kernel gives nothing to a monitor that has lost something until all that it had in store
  # is read.
  defp rule_seen?(socket) do
    :ok = Rule.add(socket, fwmark: System.unique_integer([:positive]), table: 5)

    receive do
      {:linx_rtnl, :event, %Event{op: :new_rule}} -> true
    after
      100 -> false
    end
  end

  test "with room enough nothing is lost", %{ns: ns, socket: socket} do
    :ok = Link.set_up(socket, "lo")
    {:ok, %Link{index: lo}} = Link.get(socket, "lo")
    {:ok, monitor} = Monitor.subscribe(self(), netns: Netns.target(ns), groups: [7])
    :ok = :sys.suspend(monitor)
    routes = for n <- 1..2000, do: {"10.#{div(n, 250)}.#{rem(n, 250)}.0", 24, nil, oif: lo}
    {:ok, _} = Route.add_many(socket, routes)
    :ok = :sys.resume(monitor)

    for _ <- 1..2000, do: assert_receive({:linx_rtnl, :event, %Event{op: :new_route}})
    refute_received {:linx_rtnl, :resync_needed}
    Monitor.stop(monitor)
  end

  defp events(counted) do
    receive do
      {:linx_rtnl, :event, _} -> events([1 | counted])
    after
      0 -> length(counted)
    end
  end

  test "it ends with its owner", %{ns: ns} do
    owner = spawn(fn -> receive do: (:stop -> :ok) end)
    {:ok, monitor} = Monitor.start_link(owner: owner, netns: Netns.target(ns))
    ref = Process.monitor(monitor)
    send(owner, :stop)
    assert_receive {:DOWN, ^ref, _, _, :normal}
  end

  test "it stops in the middle of a flood", %{ns: ns, socket: socket} do
    :ok = Link.set_up(socket, "lo")
    {:ok, monitor} = Monitor.subscribe(spawn_link(&drop/0), netns: Netns.target(ns))

    flood =
      spawn_link(fn ->
        {:ok, own} = Socket.open(0, Netns.target(ns))
        flood(own, 1)
      end)

    assert :ok = Monitor.stop(monitor)
    Process.unlink(flood)
    Process.exit(flood, :kill)
  end

  defp drop do
    receive do
      _ -> drop()
    end
  end

  defp flood(socket, n) do
    ip = "10.1.#{rem(div(n, 250), 250)}.#{rem(n, 250)}"
    _ = Address.add(socket, "lo", ip, 32)
    flood(socket, n + 1)
  end

  test "what cannot start says why and takes nobody with it" do
    assert {:error, %Error{errno: :enoent, stage: :open}} =
             Monitor.subscribe(self(), netns: {:path, "/proc/self/ns/absent"})

    assert_raise ArgumentError, fn -> Monitor.start_link([]) end
    assert_raise ArgumentError, fn -> Monitor.subscribe(self(), colour: 1) end
    assert_raise ArgumentError, fn -> Monitor.subscribe(self(), groups: [0]) end
  end

  test "under a supervisor", %{ns: ns} do
    start_supervised!({Monitor, owner: self(), netns: Netns.target(ns)})
    Netns.run!(ns, "ip link set lo up")
    assert_receive {:linx_rtnl, :event, %Event{op: :new_link, resource: %Link{name: "lo"}}}
  end

  describe "messages of another family under the same type" do
    test "a port that joins and leaves its bridge is there all the time", %{ns: ns, socket: s} do
      :ok = Link.create_veth(s, "v0", "v1")
      :ok = Link.create_bridge(s, "br0")
      {:ok, monitor} = Monitor.subscribe(self(), netns: Netns.target(ns), groups: [1])
      :ok = Link.set_master(s, "v1", "br0")
      assert_receive {:linx_rtnl, :event, %Event{op: :new_bridge_port, resource: port}}
      assert %Link{name: "v1", family: 7} = port
      :ok = Link.set_master(s, "v1", nil)
      assert_receive {:linx_rtnl, :event, %Event{op: :del_bridge_port, resource: port}}
      assert %Link{name: "v1", family: 7} = port
      :ok = Link.set_mtu(s, "v1", 1400)
      assert_receive {:linx_rtnl, :event, %Event{op: :new_link, resource: %Link{mtu: 1400}}}
      refute_received {:linx_rtnl, :event, %Event{op: :del_link}}

      # A port that is deleted: both, and the link's own is of no family.
      :ok = Link.set_master(s, "v1", "br0")
      :ok = Link.delete(s, "v1")

      for name <- ["v0", "v1"] do
        assert_receive {:linx_rtnl, :event,
                        %Event{op: :del_link, resource: %Link{name: ^name, family: 0}}}
      end

      Monitor.stop(monitor)
      refute_received {:linx_rtnl, :event, %Event{op: :del_link}}
    end

    test "forwarding entries are no neighbours", %{ns: ns, socket: s} do
      :ok = Link.create_veth(s, "v0", "v1")
      :ok = Link.create_bridge(s, "br0")
      :ok = Link.set_master(s, "v1", "br0")
      {:ok, monitor} = Monitor.subscribe(self(), netns: Netns.target(ns))
      Netns.run!(ns, "bridge fdb add 02:00:00:00:00:77 dev v1 master static")
      Netns.run!(ns, "bridge fdb del 02:00:00:00:00:77 dev v1 master")
      assert_fdb(:new_fdb)
      assert_fdb(:del_fdb)
      Monitor.stop(monitor)
      refute_received {:linx_rtnl, :event, %Event{op: :new_neigh, resource: %{family: 7}}}
      refute_received {:linx_rtnl, :event, %Event{op: :del_neigh, resource: %{family: 7}}}
    end

    defp assert_fdb(op) do
      mac = Linx.MAC.parse("02:00:00:00:00:77") |> elem(1)

      assert_receive {:linx_rtnl, :event,
                      %Event{op: ^op, resource: %Neighbour{family: 7, lladdr: ^mac}}}
    end

    test "a link's IPv6 configuration is no link", %{ns: ns, socket: s} do
      :ok = Link.create_veth(s, "v0", "v1")
      :ok = Link.set_up(s, "v0")
      {:ok, monitor} = Monitor.subscribe(self(), netns: Netns.target(ns), groups: [12])
      Netns.run!(ns, "ip token set ::5 dev v0")
      assert_receive {:linx_rtnl, :event, %Event{op: :new_link_inet6, resource: resource}}
      assert %Link{name: "v0", family: 10} = resource
      Monitor.stop(monitor)
      refute_received {:linx_rtnl, :event, %Event{op: :new_link}}
    end

    test "entries of the multicast cache are no routes", %{ns: ns, socket: s} do
      :ok = Link.create_veth(s, "v0", "v1")
      :ok = Link.set_up(s, "v0")
      {:ok, %{index: index}} = Link.get(s, "v0")

      {:ok, monitor} =
        Monitor.subscribe(self(), netns: Netns.target(ns), groups: [6, 7, 8])

      path = "/proc/#{ns.pid}/ns/net"
      router = MulticastRouter.start(path, index, <<192, 0, 2, 7>>, <<239, 1, 2, 3>>)
      assert_receive {:linx_rtnl, :event, %Event{op: :new_mroute, resource: resource}}
      assert %Route{family: 128, dst: ~IP"239.1.2.3"} = resource
      :ok = :socket.close(router)
      assert_receive {:linx_rtnl, :event, %Event{op: :del_mroute}}
      :ok = Rule.add(s, fwmark: 9, table: 1000, priority: 9)
      assert_receive {:linx_rtnl, :event, %Event{op: :new_rule}}
      Monitor.stop(monitor)
      refute_received {:linx_rtnl, :event, %Event{op: :new_route}}
    end
  end
end
