defmodule Linx.Netlink.BridgeMdbTest do
  use ExUnit.Case, async: true

  # Multicast groups added by us and shown by bridge(8), and the other way round.

  @moduletag :root
  @moduletag :netns

  alias Linx.{IP, MAC}
  alias Linx.Netlink.{Error, Rtnl}
  alias Linx.Netlink.Rtnl.Bridge.{Mdb, Port}
  alias Linx.Netlink.Rtnl.Link
  alias Linx.Test.{Bridge, Netns}

  import Linx.IP
  import Linx.MAC

  setup do
    ns = Netns.quiet()
    on_exit(fn -> Netns.stop(ns) end)
    socket = Netns.open(ns)

    for br <- ["br0", "br1"] do
      # IGMPv3 and MLDv2: without them there are no lists of sources.
      :ok = Link.create(socket, br, :bridge, mcast_igmp_version: 3, mcast_mld_version: 2)
    end

    :ok = Bridge.ports!(socket, "br0", [{"v0", "w0"}, {"v1", "w1"}])
    :ok = Bridge.ports!(socket, "br1", [{"v2", "w2"}])

    {:ok, links} = Link.list(socket)
    names = Map.new(links, &{&1.index, &1.name})
    %{ns: ns, socket: socket, names: names, index: Map.new(names, fn {i, n} -> {n, i} end)}
  end

  defp shown(ns) do
    [%{"mdb" => entries}] = Bridge.show!(ns, "mdb show")

    # The bridges themselves listen to other snoopers (RFC 4286).
    for entry <- entries, entry["grp"] != "ff02::6a" do
      entry
      |> Map.take(~w(dev port grp src vid state filter_mode protocol source_list))
      |> Map.replace_lazy("source_list", fn list -> Enum.map(list, & &1["address"]) end)
    end
  end

  defp words(%Mdb{} = entry, names) do
    %{
      "dev" => names[entry.bridge],
      "port" => names[entry.port],
      "grp" => "#{entry.group}",
      "src" => entry.source && IP.to_string(entry.source),
      "vid" => if(entry.vid != 0, do: entry.vid),
      "state" => "#{entry.state}",
      "filter_mode" => entry.filter_mode && "#{entry.filter_mode}",
      "protocol" => entry.protocol && "#{entry.protocol}",
      "source_list" =>
        if(entry.source_list != [], do: for({ip, _} <- entry.source_list, do: IP.to_string(ip)))
    }
    |> Map.reject(fn {_, value} -> value == nil end)
  end

  defp same!(ns, socket, names) do
    {theirs, {:ok, ours}} = Netns.steady(fn -> shown(ns) end, fn -> Mdb.list(socket) end)
    ours = Enum.reject(ours, &(&1.group == ~IP"ff02::6a"))
    assert ours |> Enum.map(&words(&1, names)) |> Enum.sort() == Enum.sort(theirs)
    for entry <- ours, do: assert(entry.extra == [])
    ours
  end

  test "groups of each family, with their options", %{ns: ns, socket: socket, names: names} do
    for {br, group, opts} <- [
          {"br0", "239.1.1.1", [port: "v0"]},
          {"br0", "239.1.1.1", [port: "v1", state: :permanent]},
          {"br0", ~IP"ff0e::1", [port: "v0", state: :permanent]},
          {"br1", "239.1.1.2", [port: "v2", protocol: :bird]},
          {"br0", "239.1.1.3", [port: "v0", source: "192.0.2.1", state: :permanent]},
          {"br0", "239.1.1.4",
           [port: "v0", filter_mode: :include, source_list: ["192.0.2.1", "192.0.2.2"]]},
          {"br0", "239.1.1.5", [port: "v1", filter_mode: :exclude, source_list: ["192.0.2.9"]]},
          {"br0", ~MAC"01:00:5e:7f:00:01", [port: "v0", state: :permanent]},
          {"br0", "01:02:03:04:05:06", [port: "v1", state: :permanent]},
          {"br0", "239.1.1.6", []}
        ] do
      assert Mdb.add(socket, br, group, opts) == :ok, inspect({group, opts})
    end

    ours = same!(ns, socket, names)
    find = fn group -> Enum.filter(ours, &(&1.group == group and &1.source == nil)) end

    assert [%Mdb{state: :temp}, %Mdb{state: :permanent}] =
             Enum.sort_by(find.(~IP"239.1.1.1"), & &1.port)

    assert [%Mdb{protocol: :bird, state: :temp}] = find.(~IP"239.1.1.2")
    assert [%Mdb{filter_mode: :include, source_list: [_, _] = list}] = find.(~IP"239.1.1.4")
    assert list |> Enum.map(&elem(&1, 0)) |> Enum.sort() == [~IP"192.0.2.1", ~IP"192.0.2.2"]
    assert [%Mdb{group: ~MAC"01:00:5e:7f:00:01"}] = find.(~MAC"01:00:5e:7f:00:01")

    assert {:ok, ofbr1} = Mdb.list(socket, "br1")
    assert Enum.map(ofbr1, & &1.group) -- [~IP"ff02::6a"] == [~IP"239.1.1.2"]
    assert {:ok, both} = Mdb.get(socket, "br0", "239.1.1.1")

    assert Enum.sort(both) |> Enum.map(&untimed/1) ==
             Enum.map(Enum.sort(find.(~IP"239.1.1.1")), &untimed/1)

    assert {:error, %Error{errno: :enoent}} = Mdb.get(socket, "br0", "239.9.9.9")
  end

  defp untimed(entry), do: %{entry | timer: nil}

  test "what bridge adds is read, deleted as read, and gone", context do
    %{ns: ns, socket: socket, names: names} = context

    for command <- [
          "dev br0 port v0 grp 239.2.1.1",
          "dev br0 port v1 grp 239.2.1.1 permanent",
          "dev br0 port v0 grp ff0e::2 permanent",
          "dev br0 port v0 grp 239.2.1.2 src 192.0.2.7",
          "dev br0 port v0 grp 239.2.1.3 filter_mode include source_list 192.0.2.1,192.0.2.2",
          "dev br1 port v2 grp 01:00:5e:00:00:09 permanent"
        ],
        do: Bridge.run!(ns, "mdb add #{command}")

    ours = same!(ns, socket, names)
    mine = Enum.reject(ours, &(:star_excl in &1.flags))
    # An entry takes those of its sources along.
    {sourced, plain} = Enum.split_with(mine, & &1.source)
    for entry <- plain, do: assert(Mdb.delete(socket, entry) == :ok, inspect(entry))

    for entry <- sourced do
      assert Mdb.delete(socket, entry) in [:ok] or
               match?({:error, %Error{}}, Mdb.delete(socket, entry))
    end

    assert shown(ns) == []
  end

  test "an entry changes, and is deleted by what names it", context do
    %{ns: ns, socket: socket, names: names} = context
    :ok = Mdb.add(socket, "br0", "239.3.1.1", port: "v0")

    assert {:error, %Error{errno: :eexist, message: text}} =
             Mdb.add(socket, "br0", "239.3.1.1", port: "v0")

    assert text =~ "already"
    :ok = Mdb.replace(socket, "br0", "239.3.1.1", port: "v0", state: :permanent)
    assert [%Mdb{state: :permanent}] = same!(ns, socket, names)
    assert {:error, %Error{}} = Mdb.delete(socket, "br0", "239.3.1.1", port: "v1")
    assert {:error, %Error{}} = Mdb.delete(socket, "br0", "239.3.1.2", port: "v0")
    :ok = Mdb.delete(socket, "br0", "239.3.1.1", port: "v0")
    assert shown(ns) == []

    assert {:ok, [:ok, :ok, {:error, %Error{errno: :enodev}}, {:error, {:invalid_group, "x"}}]} =
             Mdb.add_many(socket, [
               {"br0", "239.3.1.1", [port: "v0"]},
               {"br0", "239.3.1.2", [port: "v1", state: :permanent]},
               {"br0", "239.3.1.2", [port: "nope0"]},
               {"br0", "x", [port: "v1"]}
             ])

    assert {:ok, [:ok]} = Rtnl.batch(socket, [{Mdb, :delete, ["br0", "239.3.1.1", [port: "v0"]]}])
    entries = same!(ns, socket, names)
    assert {:ok, [:ok]} = Mdb.delete_many(socket, entries)
  end

  test "flush takes what its filter keeps", %{ns: ns, socket: socket} do
    fill = fn ->
      for {group, opts} <- [
            {"239.4.1.1", [port: "v0"]},
            {"239.4.1.2", [port: "v0", state: :permanent]},
            {"239.4.1.3", [port: "v1", state: :permanent, protocol: :bird]}
          ],
          do: :ok = Mdb.replace(socket, "br0", group, opts)
    end

    for {opts, left} <- [
          {[], []},
          {[port: "v0"], ["239.4.1.3"]},
          {[state: :permanent], ["239.4.1.1"]},
          {[state: :temp], ["239.4.1.2", "239.4.1.3"]},
          {[protocol: :bird], ["239.4.1.1", "239.4.1.2"]}
        ] do
      fill.()
      assert Mdb.flush(socket, "br0", opts) == :ok, inspect(opts)
      assert {opts, shown(ns) |> Enum.map(& &1["grp"]) |> Enum.sort()} == {opts, left}
    end
  end

  test "ports with multicast routers", %{ns: ns, socket: socket, index: index} do
    assert Mdb.routers(socket) == {:ok, []}
    :ok = Port.set(socket, "v0", mcast_router: 2)
    assert {:ok, [router]} = Mdb.routers(socket, "br0")
    assert {router.bridge, router.port, router.type} == {index["br0"], index["v0"], :permanent}
    assert [%{"router" => %{"br0" => [%{"port" => "v0"}]}}] = Bridge.show!(ns, "mdb show")
    assert Mdb.routers(socket, "br1") == {:ok, []}
  end

  test "groups of a VXLAN have remotes", %{ns: ns, socket: socket, names: names, index: index} do
    :ok = Link.create(socket, "vx0", :vxlan, external: true, port: 4789)
    vxlan = [port: "vx0", src_vni: 5, state: :permanent]
    :ok = Mdb.add(socket, "vx0", "239.1.1.1", [{:dst, "192.0.2.9"} | vxlan])
    far = [dst: "192.0.2.10", dst_port: 5000, vni: 7, via: "v0", source: "192.0.2.1"]
    :ok = Mdb.add(socket, "vx0", "239.1.1.1", far ++ vxlan)
    {:ok, links} = Link.list(socket)
    names = Map.merge(names, Map.new(links, &{&1.index, &1.name}))
    assert [near, far] = ns |> same!(socket, names) |> Enum.sort_by(&(&1.source != nil))
    assert %Mdb{dst: ~IP"192.0.2.9", src_vni: 5, source: nil, vni: nil} = near

    assert %Mdb{
             dst: ~IP"192.0.2.10",
             dst_port: 5000,
             vni: 7,
             src_vni: 5,
             source: ~IP"192.0.2.1"
           } =
             far

    assert far.via == index["v0"]
    assert {:ok, [%Mdb{dst: ~IP"192.0.2.9"}]} = Mdb.get(socket, "vx0", "239.1.1.1", src_vni: 5)
    assert {:ok, [:ok, :ok]} = Mdb.delete_many(socket, [near, far])
    assert shown(ns) == []
  end

  test "errors", %{socket: socket} do
    assert {:error, %Error{errno: :enodev, message: text}} =
             Mdb.add(socket, "nope0", "239.1.1.1", port: "v0")

    assert text =~ "nope0"
    assert {:error, %Error{}} = Mdb.add(socket, "w0", "239.1.1.1", port: "v0")
    # Not of this bridge; no multicast address; a hardware address that is not permanent.
    assert {:error, %Error{}} = Mdb.add(socket, "br0", "239.1.1.1", port: "v2")
    assert {:error, %Error{errno: :einval}} = Mdb.add(socket, "br0", "192.0.2.1", port: "v0")
    assert {:error, %Error{}} = Mdb.add(socket, "br0", "01:00:5e:00:00:01", port: "v0")
  end

  test "random groups are shown as they were added", context do
    %{ns: ns, socket: socket, names: names} = context
    seed = :rand.seed(:exsss) |> :rand.export_seed_s()

    for n <- 1..60 do
      {group, opts} = Enum.random(kinds(n))
      port = Enum.random(["v0", "v1"])

      assert Mdb.add(socket, "br0", group, [{:port, port} | opts]) == :ok,
             inspect({seed, group, opts})
    end

    same!(ns, socket, names)
  end

  # Protocols that no version of bridge(8) has a name for.
  defp kinds(n) do
    state = Enum.random([:temp, :permanent])
    sources = for s <- 1..:rand.uniform(3), do: "192.0.2.#{s}"

    [
      {"239.9.0.#{n}", [state: state]},
      {"ff0e::#{n}", [state: state, protocol: Enum.random(100..180)]},
      {%MAC{bytes: <<1, 0, 94, 1, 1, n>>}, [state: :permanent]},
      {"239.9.1.#{n}", [state: state, source: "192.0.2.#{n}"]},
      {"239.9.2.#{n}", [filter_mode: :include, source_list: sources]},
      {"239.9.3.#{n}", [filter_mode: :exclude, source_list: sources, state: state]}
    ]
  end
end
