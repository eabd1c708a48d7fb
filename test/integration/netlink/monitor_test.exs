defmodule Linx.Netlink.MonitorTest do
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :netns

  import Linx.IP

  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Address, Link, Monitor, Neighbour, Route, Rule}
  alias Linx.Netlink.Rtnl.Monitor.Event
  alias Linx.Test.Netns

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

  test "a message type that is not read comes as its number", %{ns: ns, socket: socket} do
    # RTNLGRP_NEXTHOP
    {:ok, _monitor} = Monitor.subscribe(self(), netns: Netns.target(ns), groups: [32])
    :ok = Link.set_up(socket, "lo")
    Netns.run!(ns, "ip nexthop add id 1 dev lo")
    assert_receive {:linx_rtnl, :event, %Event{op: {:unknown, 104}, resource: nil}}
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

  # The kernel gives nothing to a monitor that has lost something until all that it had in store is read.
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
end
