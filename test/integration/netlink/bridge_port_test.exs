defmodule Linx.Netlink.BridgePortTest do
  use ExUnit.Case, async: true

  # Options of ports, set by us and shown by bridge(8) and ip(8), and the other way round.

  @moduletag :root
  @moduletag :netns

  alias Linx.Netlink.{Error, Rtnl}
  alias Linx.Netlink.Rtnl.Bridge.Port
  alias Linx.Netlink.Rtnl.{Link, Nexthop}
  alias Linx.Test.{Bridge, Netns}

  setup do
    ns = Netns.quiet()
    on_exit(fn -> Netns.stop(ns) end)
    socket = Netns.open(ns)
    :ok = Link.create_bridge(socket, "br0")

    :ok = Bridge.ports!(socket, "br0", [{"v0", "w0"}, {"v1", "w1"}])
    {:ok, links} = Link.list(socket)
    %{ns: ns, socket: socket, index: Map.new(links, &{&1.name, &1.index})}
  end

  defp shown(ns, name \\ nil) do
    links = Bridge.show!(ns, "link show")
    if name, do: Enum.find(links, &(&1["ifname"] == name)), else: links
  end

  # bridge(8)'s name for each of ours that it shows under another, and the fields that it does not
  # show.
  @names %{neigh_vlan_suppress: "neigh_vlan_suppress"}
  @unshown [
    :ifindex,
    :name,
    :bridge,
    :extra,
    :proxy_arp,
    :proxy_arp_wifi,
    :learning_sync,
    :designated_port,
    :designated_cost,
    :id,
    :no,
    :topology_change_ack,
    :config_pending,
    :mcast_eht_hosts_limit,
    :mcast_eht_hosts_cnt,
    :backup_port,
    :group_fwd_mask
  ]

  defp same!(ns, socket, name) do
    {:ok, port} = Port.get(socket, name)
    words = shown(ns, name)

    for {field, value} <- Map.from_struct(port),
        field not in @unshown,
        value != nil,
        word = words[@names[field] || "#{field}"],
        word != nil do
      assert {field, if(field == :state, do: "#{value}", else: value)} == {field, word}
    end

    assert port.extra == []
    port
  end

  test "a port is read as bridge shows it, alone and in a list", context do
    %{ns: ns, socket: socket, index: index} = context
    port = same!(ns, socket, "v0")

    assert port.ifindex == index["v0"] and port.bridge == index["br0"] and port.name == "v0"
    assert port.learning == true and port.hairpin == false
    assert port.state in [:forwarding, :disabled, :listening, :learning]

    {:ok, list} = Port.list(socket)
    assert Enum.map(list, & &1.name) == Enum.map(shown(ns), & &1["ifname"])
    {:ok, all} = {:ok, for(name <- ["v0", "v1"], do: elem(Port.get(socket, name), 1))}
    assert Enum.sort_by(list, & &1.ifindex) == Enum.sort_by(all, & &1.ifindex)

    :ok = Link.create_bridge(socket, "br1")
    assert Port.list(socket, "br1") == {:ok, []}
    assert {:ok, [_, _]} = Port.list(socket, "br0")
    assert {:ok, ^port} = Port.get(socket, index["v0"])
    :ok = Link.add_altname(socket, "v0", "a-name-longer-than-fifteen-bytes")
    assert {:ok, ^port} = Port.get(socket, "a-name-longer-than-fifteen-bytes")
  end

  @switches [
    :hairpin,
    :guard,
    :root_block,
    :learning,
    :flood,
    :mcast_flood,
    :bcast_flood,
    :mcast_to_unicast,
    :neigh_suppress,
    :isolated,
    :locked,
    :vlan_tunnel,
    :proxy_arp,
    :proxy_arp_wifi,
    :fastleave,
    :mab,
    :neigh_vlan_suppress,
    :neigh_forward_grat
  ]

  test "every switch goes on and off", %{ns: ns, socket: socket} do
    {:ok, before} = Port.get(socket, "v0")

    known =
      for key <- @switches do
        value = not (Map.fetch!(before, key) || false)

        case Port.set(socket, "v0", with_locked(key, value)) do
          :ok ->
            port = same!(ns, socket, "v0")
            assert Map.fetch!(port, key) == value, inspect(key)
            # A port that was written is back as it was, with numbers too.
            :ok =
              Port.set(socket, "v0", [{key, if(value, do: 0, else: 1)}, {:locked, before.locked}])

            assert {:ok, %{ifindex: _} = again} = Port.get(socket, "v0")
            assert Map.fetch!(again, key) == not value
            key

          {:error, error} ->
            assert Map.fetch!(before, key) == nil
            assert %Error{errno: :eopnotsupp, message: text} = error
            assert text =~ "#{key}"
            nil
        end
      end

    assert length(Enum.filter(known, & &1)) >= 15
    assert Port.get(socket, "v0") == {:ok, before}
  end

  # The kernel wants `locked` beside `mab`.
  defp with_locked(:mab, true), do: [mab: true, locked: true]
  defp with_locked(key, value), do: [{key, value}]

  test "in a batch an option that this kernel does not have is refused too", %{socket: socket} do
    {:ok, before} = Port.get(socket, "v0")

    for key <- [:mab, :neigh_vlan_suppress, :neigh_forward_grat] do
      opts = with_locked(key, true)
      alone = Port.set(socket, "v0", opts)
      assert Rtnl.batch(socket, [{Port, :set, ["v0", opts]}]) == {:ok, [alone]}

      if Map.fetch!(before, key) == nil,
        do: assert({:error, %Error{errno: :eopnotsupp}} = alone),
        else: assert(alone == :ok)
    end

    assert {:ok, [{:error, %Error{errno: :eopnotsupp}}, {:error, %Error{errno: :enodev}}]} =
             Rtnl.batch(socket, [
               {Port, :set, ["w0", [locked: true]]},
               {Port, :set, ["nope0", [locked: true]]}
             ])
  end

  test "numbers, states and links", %{ns: ns, socket: socket, index: index} do
    :ok = Port.set(socket, "v0", cost: 77, priority: 5, mcast_router: 2, mcast_max_groups: 9)
    port = same!(ns, socket, "v0")
    assert {port.cost, port.priority, port.mcast_router, port.mcast_max_groups} == {77, 5, 2, 9}
    assert %{"cost" => 77, "priority" => 5, "mcast_router" => 2} = shown(ns, "v0")

    # Without spanning tree a blocking port goes on to forward.
    for state <- [:disabled, :listening, :learning, :forwarding] do
      :ok = Port.set(socket, "v0", state: state)
      assert same!(ns, socket, "v0").state == state
      assert shown(ns, "v0")["state"] == "#{state}"
    end

    :ok = Port.set(socket, "v0", backup_port: "v1", group_fwd_mask: 0x4000)
    assert {:ok, %Port{backup_port: backup, group_fwd_mask: 0x4000}} = Port.get(socket, "v0")
    assert backup == index["v1"]
    assert shown(ns, "v0")["backup_port"] == "v1"
    :ok = Nexthop.add(socket, 5, gateway: "192.0.2.9", fdb: true)
    :ok = Nexthop.add(socket, 9, group: [5], fdb: true)
    :ok = Port.set(socket, "v0", backup_nhid: 9)
    assert {:ok, %Port{backup_nhid: 9}} = Port.get(socket, "v0")
    :ok = Port.set(socket, "v0", backup_port: nil)
    assert {:ok, %Port{backup_port: nil}} = Port.get(socket, "v0")
    :ok = Port.set(socket, "v0", flush: true)
  end

  test "what ip and bridge set is read", %{ns: ns, socket: socket} do
    Bridge.run!(ns, "link set dev v0 cost 9 learning off flood off isolated on hairpin on")
    Netns.run!(ns, "ip link set dev v1 type bridge_slave guard on neigh_suppress on fastleave on")

    assert %Port{cost: 9, learning: false, flood: false, isolated: true, hairpin: true} =
             same!(ns, socket, "v0")

    assert %Port{guard: true, neigh_suppress: true, fastleave: true} = same!(ns, socket, "v1")
  end

  test "random options, several in a request", %{ns: ns, socket: socket} do
    {:ok, start} = Port.get(socket, "v0")
    usable = for key <- @switches -- [:mab, :proxy_arp], Map.fetch!(start, key) != nil, do: key
    seed = :rand.seed(:exsss) |> :rand.export_seed_s()

    for _ <- 1..30 do
      opts =
        Enum.map(Enum.take_random(usable, :rand.uniform(6)), &{&1, :rand.uniform(2) == 1}) ++
          [cost: :rand.uniform(0xFFFF), priority: :rand.uniform(64) - 1]

      assert Port.set(socket, "v0", opts) == :ok, inspect({seed, opts})
      port = same!(ns, socket, "v0")
      for {key, value} <- opts, do: assert(Map.fetch!(port, key) == value, inspect({seed, key}))
    end
  end

  test "errors", %{socket: socket, index: index} do
    assert {:error, %Error{errno: :eopnotsupp, message: text}} = Port.get(socket, "w0")
    assert text =~ "w0"
    assert {:error, %Error{errno: :eopnotsupp}} = Port.set(socket, "w0", learning: false)
    assert {:error, %Error{errno: :enodev, message: text}} = Port.get(socket, "nope0")
    assert text =~ "nope0"
    assert {:error, %Error{errno: :enodev}} = Port.set(socket, "nope0", learning: false)
    assert {:error, %Error{errno: :enodev}} = Port.set(socket, 9999, learning: false)
    assert {:error, %Error{errno: :enodev}} = Port.set(socket, "v0", backup_port: "nope0")
    assert {:error, %Error{errno: :enodev}} = Port.list(socket, "nope0")

    # Not another port of the bridge.
    assert {:error, %Error{}} = Port.set(socket, "v0", backup_port: "w1")

    assert {:ok, [:ok, {:error, %Error{errno: :eopnotsupp}}]} =
             Rtnl.batch(socket, [
               {Port, :set, ["v0", [backup_port: "v1", isolated: true]]},
               {Port, :set, [index["w0"], [isolated: true]]}
             ])

    assert {:ok, %Port{isolated: true}} = Port.get(socket, "v0")
  end
end
