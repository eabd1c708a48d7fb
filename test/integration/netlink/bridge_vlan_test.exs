defmodule Linx.Netlink.BridgeVlanTest do
  use ExUnit.Case, async: true

  # VLANs of ports, made by us and shown by bridge(8), and the other way round.

  @moduletag :root
  @moduletag :netns
  @moduletag :bridge_vlan

  alias Linx.Netlink.{Error, Rtnl}
  alias Linx.Netlink.Rtnl.Bridge.{Fdb, Mdb, Port, Vlan}
  alias Linx.Netlink.Rtnl.Link
  alias Linx.Test.{Bridge, Netns}

  setup do
    ns = Netns.quiet()
    on_exit(fn -> Netns.stop(ns) end)
    socket = Netns.open(ns)
    :ok = Link.create(socket, "br0", :bridge, vlan_filtering: 1)

    :ok = Bridge.ports!(socket, "br0", [{"v0", "w0"}, {"v1", "w1"}])
    {:ok, links} = Link.list(socket)
    %{ns: ns, socket: socket, index: Map.new(links, &{&1.name, &1.index})}
  end

  # Each VLAN for itself: versions of bridge(8) differ in what they make ranges of.
  defp shown(ns) do
    for %{"ifname" => name, "vlans" => vlans} <- Bridge.show!(ns, "vlan show"),
        vlan <- vlans,
        vid <- vlan["vlan"]..(vlan["vlanEnd"] || vlan["vlan"]),
        do: {name, vid, vlan |> Map.get("flags", []) |> Enum.map(&flag/1) |> Enum.sort()}
  end

  defp flag("PVID"), do: :pvid
  defp flag("Egress Untagged"), do: :untagged

  defp same!(ns, socket) do
    {:ok, ours} = Vlan.list(socket)

    assert shown(ns) |> Enum.sort() ==
             for(v <- ours, vid <- v.vids, do: {v.name, vid, Enum.sort(v.flags)}) |> Enum.sort()

    ours
  end

  test "one, ranges and flags, of ports and of the bridge", context do
    %{ns: ns, socket: socket, index: index} = context
    :ok = Vlan.add(socket, "v0", 10, pvid: true, untagged: true)
    :ok = Vlan.add(socket, "v0", 100..199)
    :ok = Vlan.add(socket, "v0", 200..210, untagged: true)
    :ok = Vlan.add(socket, "v1", 4094)
    :ok = Vlan.add(socket, "br0", 10, self: true)
    :ok = Vlan.add(socket, index["br0"], 20..21, self: true, untagged: true)
    same!(ns, socket)
    {:ok, of_v0} = Vlan.list(socket, "v0")

    assert Enum.map(of_v0, &{&1.vids, Enum.sort(&1.flags)}) == [
             {1..1, [:untagged]},
             {10..10, [:pvid, :untagged]},
             {100..199, []},
             {200..210, [:untagged]}
           ]

    assert Enum.all?(of_v0, &(&1.ifindex == index["v0"] and &1.name == "v0"))
    :ok = Vlan.delete(socket, "v0", 150..160)
    :ok = Vlan.delete(socket, "v0", 1)
    :ok = Vlan.delete(socket, "br0", 20, self: true)
    same!(ns, socket)
    # Other flags for one that is there.
    :ok = Vlan.add(socket, "v0", 100, untagged: true)
    :ok = Vlan.add(socket, "v0", 10, untagged: false)
    same!(ns, socket)
    {:ok, of_v0} = Vlan.list(socket, "v0")
    assert hd(of_v0).vids == 10..10 and hd(of_v0).flags == []
  end

  test "what bridge makes is read", %{ns: ns, socket: socket} do
    Bridge.run!(ns, "vlan add dev v0 vid 5 pvid untagged")
    Bridge.run!(ns, "vlan add dev v0 vid 6-60")
    Bridge.run!(ns, "vlan add dev br0 vid 5 self")
    Bridge.run!(ns, "vlan del dev v1 vid 1")
    same!(ns, socket)
    {:ok, []} = Vlan.list(socket, "v1")
  end

  test "tunnel ids", %{ns: ns, socket: socket} do
    :ok = Link.create(socket, "vx0", :vxlan, external: true, port: 4789)
    :ok = Link.set_master(socket, "vx0", "br0")
    :ok = Port.set(socket, "vx0", vlan_tunnel: true)
    :ok = Vlan.add(socket, "vx0", 10, tunnel: 1010)
    :ok = Vlan.add(socket, "vx0", 20..25, tunnel: 2020..2025)
    {:ok, tunnels} = Vlan.tunnels(socket)

    assert Enum.map(tunnels, &{&1.name, &1.vids, &1.ids}) ==
             [{"vx0", 10..10, 1010..1010}, {"vx0", 20..25, 2020..2025}]

    [%{"ifname" => "vx0", "tunnels" => shown}] = Bridge.show!(ns, "vlan tunnelshow")

    assert for(t <- shown, do: {t["vlan"], t["vlanEnd"], t["tunid"], t["tunidEnd"]}) ==
             [{10, nil, 1010, nil}, {20, 25, 2020, 2025}]

    :ok = Vlan.delete(socket, "vx0", 20..25, tunnel: 2020..2025)
    assert {:ok, [%Vlan.Tunnel{vids: 10..10}]} = Vlan.tunnels(socket, "vx0")
    {:ok, vlans} = Vlan.list(socket, "vx0")
    assert 20..25 in Enum.map(vlans, & &1.vids)
    same!(ns, socket)
  end

  test "random VLANs, in one send", %{ns: ns, socket: socket} do
    seed = :rand.seed(:exsss) |> :rand.export_seed_s()

    for _ <- 1..10 do
      changes =
        for _ <- 1..20 do
          first = :rand.uniform(4000)
          last = min(4094, first + Enum.random([0, 0, 1, 5, 50]))
          {Enum.random(["v0", "v1"]), Enum.random([first, first..last]), options(first, last)}
        end

      assert {:ok, results} = Vlan.add_many(socket, changes)
      # A range that ends where it begins is one VLAN.
      assert Enum.uniq(results) == [:ok], inspect({seed, changes})
      same!(ns, socket)
      some = for {dev, vids, _} <- Enum.take_random(changes, 10), do: {dev, vids}
      assert {:ok, results} = Vlan.delete_many(socket, Enum.uniq(some))
      assert Enum.uniq(results) == [:ok]
      same!(ns, socket)
    end
  end

  defp options(vid, vid), do: Enum.random([[], [untagged: true], [pvid: true], [untagged: false]])
  defp options(_, _), do: Enum.random([[], [untagged: true]])

  test "FDB and MDB entries have a VLAN", %{ns: ns, socket: socket} do
    :ok = Vlan.add(socket, "v0", 10)
    mac = "02:00:00:00:00:01"
    :ok = Fdb.add(socket, "v0", mac, master: true, state: :static, vlan: 10)
    assert {:ok, [%Fdb{vlan: 10} = entry]} = Fdb.list(socket, br: "br0", state: :static)
    assert {:ok, %Fdb{vlan: 10}} = Fdb.get(socket, "v0", mac, master: true, vlan: 10)
    assert Enum.any?(Bridge.show!(ns, "fdb show"), &(&1["mac"] == mac and &1["vlan"] == 10))
    assert {:ok, [_ | _]} = Fdb.list(socket, vlan: 10)

    # The answer for a VLAN that the port is not in: EINVAL of Linux 6.12, ENOENT of 7.2.
    assert {:error, %Error{errno: errno}} =
             Fdb.delete(socket, "v0", mac, master: true, vlan: 11)

    assert errno in [:enoent, :einval]

    :ok = Fdb.delete(socket, entry)
    :ok = Fdb.add(socket, "v0", mac, master: true, state: :static, vlan: 10)
    :ok = Fdb.flush(socket, "br0", vlan: 10)
    assert {:ok, []} = Fdb.list(socket, vlan: 10, state: :static)

    :ok = Mdb.add(socket, "br0", "239.1.1.1", port: "v0", vid: 10, state: :permanent)
    # The bridge itself listens to other snoopers.
    ours = fn ->
      for %Mdb{port: port, bridge: br} = e when port != br <- elem(Mdb.list(socket, "br0"), 1),
          do: e
    end

    assert [%Mdb{vid: 10} = entry] = ours.()
    [%{"mdb" => shown}] = Bridge.show!(ns, "mdb show")
    assert Enum.any?(shown, &match?(%{"vid" => 10, "grp" => "239.1.1.1"}, &1))
    assert {:ok, [%Mdb{vid: 10}]} = Mdb.get(socket, "br0", "239.1.1.1", vid: 10)
    :ok = Mdb.delete(socket, entry)
    assert ours.() == []
  end

  test "a bridge filters VLANs from when it is told to", %{ns: ns, socket: socket} do
    :ok = Link.create_bridge(socket, "br1")
    :ok = Link.set(socket, "br1", vlan_filtering: 1, vlan_default_pvid: 7, vlan_protocol: 0x88A8)
    [%{"linkinfo" => %{"info_data" => data}}] = Netns.ip!(ns, "link show dev br1")

    assert %{"vlan_filtering" => 1, "vlan_default_pvid" => 7, "vlan_protocol" => "802.1ad"} = data

    assert {:ok, %{linkinfo: %{info_data: %{vlan_filtering: 1, vlan_default_pvid: 7}}}} =
             Link.get(socket, "br1")
  end

  test "errors", %{socket: socket} do
    assert {:error, %Error{errno: :eopnotsupp}} = Vlan.add(socket, "w0", 10)
    assert {:error, %Error{errno: :eopnotsupp}} = Vlan.add(socket, "br0", 10)
    assert {:error, %Error{errno: :enodev, message: text}} = Vlan.add(socket, "nope0", 10)
    assert text =~ "nope0"
    # The kernel passes over the deletion of one that is not there.
    assert Vlan.delete(socket, "v0", 99) == :ok

    assert {:ok, [:ok, {:error, {:invalid_vids, 0}}]} =
             Rtnl.batch(socket, [{Vlan, :add, ["v0", 10]}, {Vlan, :add, ["v0", 0, []]}])
  end
end
