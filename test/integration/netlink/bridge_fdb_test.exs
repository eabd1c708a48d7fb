defmodule Linx.Netlink.BridgeFdbTest do
  use ExUnit.Case, async: true

  # FDB entries made by us and shown by bridge(8), and the other way round.

  @moduletag :root
  @moduletag :netns

  alias Linx.{IP, MAC}
  alias Linx.Netlink.{Error, Rtnl}
  alias Linx.Netlink.Rtnl.Bridge.{Fdb, Port}
  alias Linx.Netlink.Rtnl.{Link, Nexthop}
  alias Linx.Test.{Bridge, Netns}

  import Linx.IP
  import Linx.MAC

  setup do
    ns = Netns.quiet()
    on_exit(fn -> Netns.stop(ns) end)
    socket = Netns.open(ns)

    # An entry without a VLAN goes to each VLAN of its port too, so ports have none. A kernel
    # without VLANs passes over the option.
    :ok = Link.create(socket, "br0", :bridge, vlan_default_pvid: 0)

    :ok = Bridge.ports!(socket, "br0", [{"v0", "w0"}, {"v1", "w1"}])

    for name <- ["v0", "v1"] do
      :ok = Port.set(socket, name, learning: false, flush: true)
    end

    :ok = Link.create(socket, "vx6", :vxlan, id: 43, port: 4791, local: "2001:db8::1")
    :ok = Link.create(socket, "vx0", :vxlan, id: 42, port: 4789, local: "192.0.2.1")
    :ok = Link.create(socket, "vx1", :vxlan, external: true, port: 4790)
    {:ok, links} = Link.list(socket)
    names = Map.new(links, &{&1.index, &1.name})
    %{ns: ns, socket: socket, names: names, index: Map.new(names, fn {i, n} -> {n, i} end)}
  end

  # An entry of ours in the words of `bridge -j -d fdb`.
  defp words(%Fdb{} = entry, names) do
    %{
      "mac" => MAC.to_string(entry.lladdr),
      "ifname" => names[entry.ifindex],
      "vlan" => entry.vlan,
      "dst" => entry.dst && IP.to_string(entry.dst),
      "port" => entry.port,
      "vni" => entry.vni,
      "src_vni" => entry.src_vni,
      "viaIf" => entry.via && names[entry.via],
      "nhid" => entry.nh_id,
      "master" => entry.master && names[entry.master],
      "flags" => entry.flags |> Enum.map(&flag/1) |> Enum.sort(),
      "state" => state(entry.state)
    }
    |> Map.reject(fn {_, value} -> value == nil end)
  end

  defp flag(:offloaded), do: "offload"
  defp flag(flag), do: "#{flag}"

  defp state(state) do
    cond do
      :permanent in state -> "permanent"
      :noarp in state -> "static"
      :stale in state -> "stale"
      true -> ""
    end
  end

  defp shown(ns, what \\ "") do
    for entry <- Bridge.show!(ns, "fdb show #{what}") do
      entry
      |> Map.take(~w(mac ifname vlan dst port vni src_vni viaIf nhid master flags state))
      |> Map.update("flags", [], &Enum.sort(List.wrap(&1)))
    end
  end

  defp same!(ns, socket, names, filter \\ [], what \\ "") do
    {theirs, {:ok, ours}} =
      Netns.steady(fn -> shown(ns, what) end, fn -> Fdb.list(socket, filter) end)

    assert ours |> Enum.map(&words(&1, names)) |> Enum.sort() == Enum.sort(theirs)
    for entry <- ours, do: assert(entry.extra == [] and entry.family == 7)
    ours
  end

  test "entries of a bridge, in each state and with each flag", context do
    %{ns: ns, socket: socket, names: names, index: index} = context

    for {mac, opts} <- [
          {"02:00:00:00:00:01", [master: true]},
          {"02:00:00:00:00:02", [master: true, state: :static]},
          {"02:00:00:00:00:03", [master: true, state: :dynamic]},
          {"02:00:00:00:00:04", [master: true, state: :static, sticky: true]},
          {"02:00:00:00:00:05", [master: true, state: :dynamic, extern_learn: true]},
          {"02:00:00:00:00:06", [master: true, self: true]},
          {"02:00:00:00:00:07", []},
          {"33:33:00:00:00:77", [self: true]}
        ] do
      assert Fdb.add(socket, "v0", mac, opts) == :ok, inspect(opts)
    end

    same!(ns, socket, names)
    {:ok, by_dev} = Fdb.list(socket, "v0")
    entry = fn mac -> Enum.filter(by_dev, &(&1.lladdr == mac)) end
    assert [%Fdb{state: [:permanent], master: br0, flags: []}] = entry.(~MAC"02:00:00:00:00:01")
    assert br0 == index["br0"]
    assert [%Fdb{state: [:noarp]}] = entry.(~MAC"02:00:00:00:00:02")
    assert [%Fdb{state: [:reachable]}] = entry.(~MAC"02:00:00:00:00:03")
    assert [%Fdb{flags: [:sticky]}] = entry.(~MAC"02:00:00:00:00:04")
    assert [%Fdb{flags: [:extern_learn]}] = entry.(~MAC"02:00:00:00:00:05")
    assert [_, _] = entry.(~MAC"02:00:00:00:00:06")
    assert [%Fdb{flags: [:self], master: nil}] = entry.(~MAC"02:00:00:00:00:07")
    assert Enum.all?(by_dev, &(match?(%Fdb{ages: {_, _}}, &1) or &1.master == nil))
  end

  test "what bridge makes is read, by every filter", context do
    %{ns: ns, socket: socket, names: names} = context

    for command <- [
          "02:00:00:00:01:01 dev v0 master static",
          "02:00:00:00:01:02 dev v1 master dynamic",
          "02:00:00:00:01:03 dev v1 master permanent",
          "02:00:00:00:01:04 dev v1 self",
          "02:00:00:00:01:05 dev br0 self",
          "02:00:00:00:01:06 dev vx0 dst 192.0.2.9 vni 77 port 4799 via v0",
          "00:00:00:00:00:00 dev vx0 dst 192.0.2.10",
          "02:00:00:00:01:08 dev vx1 dst 192.0.2.9 src_vni 5",
          "02:00:00:00:01:09 dev vx6 dst 2001:db8::9"
        ],
        do: Bridge.run!(ns, "fdb add #{command}")

    assert {_, 0} = Bridge.run(ns, "fdb append 00:00:00:00:00:00 dev vx0 dst 192.0.2.11")

    same!(ns, socket, names)
    same!(ns, socket, names, [br: "br0"], "br br0")
    for dev <- ["v0", "v1", "br0", "vx0"], do: same_dev!(ns, socket, names, dev)

    {:ok, static} = Fdb.list(socket, br: "br0", state: :static)
    assert Enum.map(static, & &1.lladdr) == [~MAC"02:00:00:00:01:01"]
    {:ok, dynamic} = Fdb.list(socket, dev: "v1", state: :dynamic)
    assert ~MAC"02:00:00:00:01:02" in Enum.map(dynamic, & &1.lladdr)
    assert Fdb.list(socket, vlan: 7) == {:ok, []}

    {:ok, remotes} = Fdb.list(socket, "vx0")
    zero = for %Fdb{lladdr: ~MAC"00:00:00:00:00:00", dst: dst} <- remotes, do: dst
    assert Enum.sort(zero) == Enum.sort([~IP"192.0.2.10", ~IP"192.0.2.11"])
    one = Enum.find(remotes, &(&1.lladdr == ~MAC"02:00:00:00:01:06"))
    assert %Fdb{dst: ~IP"192.0.2.9", vni: 77, port: 4799, via: via} = one
    assert names[via] == "v0"
  end

  # bridge(8) leaves the device's name out where it was asked for it.
  defp same_dev!(ns, socket, names, dev) do
    {theirs, {:ok, ours}} =
      Netns.steady(fn -> shown(ns, "dev #{dev}") end, fn -> Fdb.list(socket, dev) end)

    theirs = for entry <- theirs, do: Map.put(entry, "ifname", dev)
    assert ours |> Enum.map(&words(&1, names)) |> Enum.sort() == Enum.sort(theirs)
  end

  test "remotes of a VXLAN, several for one address", context do
    %{ns: ns, socket: socket, names: names} = context
    zero = "00:00:00:00:00:00"
    :ok = Fdb.add(socket, "vx0", zero, dst: "192.0.2.2")
    :ok = Fdb.append(socket, "vx0", zero, dst: "192.0.2.3", vni: 7, port: 5000)
    :ok = Fdb.append(socket, "vx0", zero, dst: "192.0.2.4", via: "v0")
    assert {:error, %Error{errno: :eexist}} = Fdb.add(socket, "vx0", zero, dst: "192.0.2.2")
    :ok = Fdb.add(socket, "vx0", "02:00:00:00:02:01", dst: "192.0.2.5", state: :static)
    :ok = Fdb.replace(socket, "vx0", "02:00:00:00:02:01", dst: "192.0.2.6", state: :dynamic)
    :ok = Fdb.add(socket, "vx1", "02:00:00:00:02:02", dst: "192.0.2.5", src_vni: 9)
    :ok = Nexthop.add(socket, 5, gateway: "192.0.2.9", fdb: true)
    :ok = Nexthop.add(socket, 9, group: [5], fdb: true)
    :ok = Fdb.add(socket, "vx0", "02:00:00:00:02:03", nh_id: 9)
    ours = same!(ns, socket, names)
    assert [%Fdb{nh_id: 9, dst: nil}] = Enum.filter(ours, & &1.nh_id)

    assert [%Fdb{dst: ~IP"192.0.2.6", state: [:reachable]}] =
             Enum.filter(ours, &(&1.lladdr == ~MAC"02:00:00:00:02:01"))

    # One remote of several.
    :ok = Fdb.delete(socket, "vx0", zero, dst: "192.0.2.3", vni: 7, port: 5000)
    left = for %Fdb{lladdr: ~MAC"00:00:00:00:00:00"} = e <- same!(ns, socket, names), do: e.dst
    assert Enum.sort(left) == Enum.sort([~IP"192.0.2.2", ~IP"192.0.2.4"])
    assert {:error, %Error{errno: :enoent}} = Fdb.delete(socket, "vx0", "02:00:00:00:09:09")
  end

  test "an entry moves to another port, and is asked for alone", context do
    %{socket: socket, index: index} = context
    mac = ~MAC"02:00:00:00:03:01"
    :ok = Fdb.add(socket, "v0", mac, master: true, state: :static)
    assert {:error, %Error{errno: :eexist}} = Fdb.add(socket, "v0", mac, master: true)
    :ok = Fdb.replace(socket, "v1", mac, master: true, state: :static)

    assert {:ok, %Fdb{lladdr: ^mac, state: [:noarp]} = entry} =
             Fdb.get(socket, "v1", mac, master: true)

    assert entry.ifindex == index["v1"]
    :ok = Fdb.add(socket, "vx0", mac, dst: "192.0.2.7")
    assert {:ok, %Fdb{dst: ~IP"192.0.2.7"}} = Fdb.get(socket, "vx0", mac)

    assert {:error, %Error{errno: :enoent, message: text}} =
             Fdb.get(socket, "v1", "02:00:00:00:03:02", master: true)

    assert text =~ "entry"
    :ok = Fdb.delete(socket, "v1", mac, master: true)
    assert {:error, %Error{errno: :enoent}} = Fdb.delete(socket, "v1", mac, master: true)
    assert {:error, %Error{errno: :enoent}} = Fdb.get(socket, "v1", mac, master: true)
  end

  test "entries as they were read are deleted, and made again", context do
    %{ns: ns, socket: socket, names: names} = context

    for command <- [
          "02:00:00:00:04:01 dev v0 master static",
          "02:00:00:00:04:02 dev v1 master dynamic extern_learn",
          "02:00:00:00:04:03 dev v1 master static sticky",
          "02:00:00:00:04:04 dev v1 self",
          "02:00:00:00:04:05 dev br0 self",
          "02:00:00:00:04:06 dev vx0 dst 192.0.2.9 vni 77 port 4799 via v0",
          "02:00:00:00:04:07 dev vx0 dst 192.0.2.10",
          "02:00:00:00:04:08 dev vx1 dst 192.0.2.9 src_vni 5"
        ],
        do: Bridge.run!(ns, "fdb add #{command}")

    before = made(ns)

    ours =
      for %Fdb{lladdr: %MAC{bytes: <<2, 0, 0, 0, 4, _>>}} = e <- same!(ns, socket, names), do: e

    assert length(ours) == 8
    for entry <- ours, do: assert(Fdb.delete(socket, entry) == :ok, inspect(entry))
    assert made(ns) == []
    for entry <- ours, do: assert(Fdb.add(socket, entry) == :ok, inspect(entry))
    assert Enum.sort(made(ns)) == Enum.sort(before)
    assert {:ok, results} = Fdb.delete_many(socket, ours)
    assert Enum.uniq(results) == [:ok]
    assert made(ns) == []
  end

  # Without those of the kernel, which come and go with multicast groups.
  defp made(ns), do: for(%{"mac" => "02:00:00:00:04:" <> _} = entry <- shown(ns), do: entry)

  test "flush takes what its filter keeps, and no more", context do
    %{ns: ns, socket: socket, names: names} = context

    fill = fn ->
      for {mac, opts} <- [
            {"02:00:00:00:05:01", [state: :static]},
            {"02:00:00:00:05:02", [state: :dynamic]},
            {"02:00:00:00:05:03", [state: :dynamic, extern_learn: true]},
            {"02:00:00:00:05:04", [state: :static, sticky: true]}
          ],
          do: :ok = Fdb.replace(socket, "v0", mac, [{:master, true} | opts])

      :ok = Fdb.replace(socket, "v1", "02:00:00:00:05:05", master: true, state: :static)
    end

    left = fn ->
      for %Fdb{lladdr: %MAC{bytes: <<2, 0, 0, 0, 5, n>>}} <- same!(ns, socket, names), do: n
    end

    for {dev, opts, kept} <- [
          {"br0", [], []},
          {"br0", [state: :static], [2, 3]},
          {"br0", [state: :dynamic], [1, 4, 5]},
          {"br0", [extern_learn: true], [1, 2, 4, 5]},
          {"br0", [sticky: false], [4]},
          {"br0", [brport: "v1"], [1, 2, 3, 4]},
          {"v1", [master: true], [1, 2, 3, 4]},
          {"br0", [brport: "v0", state: :static], [2, 3, 5]}
        ] do
      fill.()
      assert Enum.sort(left.()) == [1, 2, 3, 4, 5]
      assert Fdb.flush(socket, dev, opts) == :ok, inspect({dev, opts})
      assert {dev, opts, Enum.sort(left.())} == {dev, opts, kept}
    end

    :ok = Fdb.add(socket, "vx0", "02:00:00:00:05:11", dst: "192.0.2.2")
    :ok = Fdb.add(socket, "vx0", "02:00:00:00:05:12", dst: "192.0.2.3")
    :ok = Fdb.flush(socket, "vx0", dst: "192.0.2.2")
    assert left.() -- [1, 2, 3, 4, 5] == [0x12]
  end

  test "a thousand in one send, with the result of each", context do
    %{ns: ns, socket: socket, index: index} = context
    mac = fn n -> %MAC{bytes: <<2, 0, 0, 6, div(n, 256), rem(n, 256)>>} end
    all = for n <- 1..1000, do: {Enum.at(["v0", index["v1"]], rem(n, 2)), mac.(n), [master: true]}
    bad = [{"v0", mac.(1), [master: true]}, {"nope0", mac.(1), []}, {"v0", "02:00", []}]
    assert {:ok, results} = Fdb.add_many(socket, all ++ bad)
    assert results |> Enum.take(1000) |> Enum.uniq() == [:ok]

    # mac.(1) went to v1: on v0 it is the bridge's entry all the same.
    assert [
             {:error, %Error{errno: :eexist}},
             {:error, %Error{errno: :enodev}},
             {:error, {:invalid_mac, "02:00"}}
           ] = Enum.drop(results, 1000)

    {permanent, {:ok, list}} =
      Netns.steady(
        fn -> Enum.count(shown(ns, "br br0"), &(&1["state"] == "permanent")) end,
        fn -> Fdb.list(socket, br: "br0", state: :permanent) end
      )

    ours = for %Fdb{lladdr: %MAC{bytes: <<2, 0, 0, 6, _, _>>}} = e <- list, do: e
    assert length(ours) == 1000
    assert permanent == length(list)

    assert {:ok, [:ok, :ok]} =
             Rtnl.batch(socket, [
               {Fdb, :delete, ["v1", mac.(1), [master: true]]},
               {Fdb, :flush, ["br0", [state: :permanent, brport: "v0"]]}
             ])
  end

  test "errors", %{socket: socket} do
    mac = "02:00:00:00:07:01"
    :ok = Link.set_master(socket, "v1", nil)
    assert {:error, %Error{errno: :eopnotsupp}} = Fdb.add(socket, "v1", mac, master: true)
    assert {:error, %Error{errno: :enodev, message: text}} = Fdb.add(socket, "nope0", mac)
    assert text =~ "nope0"
    assert {:error, %Error{errno: :enodev}} = Fdb.list(socket, "nope0")
    # A multicast address cannot be behind a port.
    assert {:error, %Error{}} = Fdb.add(socket, "v0", "01:00:5e:00:00:01", master: true, vlan: 9)

    assert {:error, %Error{errno: :enodev}} =
             Fdb.add(socket, "vx0", mac, dst: "192.0.2.1", via: "no0")
  end

  test "random entries are shown as they were made", context do
    %{ns: ns, socket: socket, names: names} = context
    seed = :rand.seed(:exsss) |> :rand.export_seed_s()

    for n <- 1..150 do
      mac = %MAC{bytes: <<2, 0, 0, 8, 0, n>>}
      {dev, opts} = Enum.random(kinds())
      verb = Enum.random([:add, :replace])
      assert apply(Fdb, verb, [socket, dev, mac, opts]) == :ok, inspect({seed, n, dev, opts})
    end

    same!(ns, socket, names)
  end

  defp kinds do
    state = Enum.random([:permanent, :static, :dynamic])
    on? = :rand.uniform(2) == 1

    [
      {"v0", [master: true, state: state]},
      {"v1", [master: true, state: Enum.random([:static, :dynamic]), sticky: on?]},
      {"v1", [master: true, state: :dynamic, extern_learn: on?]},
      {"vx0", [dst: "192.0.2.#{:rand.uniform(250)}", state: state]},
      {"vx0", [dst: "192.0.2.9", vni: :rand.uniform(0xFFFFFF), port: :rand.uniform(0xFFFF)]},
      {"vx0", [dst: "192.0.2.9", via: Enum.random(["v0", "w1"]), extern_learn: on?]},
      {"vx6", [dst: "2001:db8::#{:rand.uniform(99)}", state: state]},
      {"vx1",
       [
         dst: "192.0.2.#{:rand.uniform(250)}",
         src_vni: :rand.uniform(0xFFFFFF),
         vni: :rand.uniform(0xFFFFFF)
       ]}
    ]
  end
end
