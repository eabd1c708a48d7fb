defmodule Linx.Netlink.NexthopTest do
  use ExUnit.Case, async: true

  # Nexthop objects made by us and shown by ip(8), and the other way round.

  @moduletag :root
  @moduletag :netns

  alias Linx.IP
  alias Linx.Netlink.{Error, Rtnl}
  alias Linx.Netlink.Rtnl.{Address, Encap, Link, Nexthop, Route}
  alias Linx.Test.Netns

  setup do
    ns = Netns.quiet()
    on_exit(fn -> Netns.stop(ns) end)
    socket = Netns.open(ns)

    for {name, peer} <- [{"a0", "a1"}, {"b0", "b1"}] do
      :ok = Link.create_veth(socket, name, peer)
      for link <- [name, peer], do: :ok = Link.set_up(socket, link)
    end

    :ok = Link.set_up(socket, "lo")
    :ok = Address.add(socket, "a0", "192.0.2.1", 24)
    :ok = Address.add(socket, "a0", "2001:db8:1::1", 64)
    :ok = Address.add(socket, "b0", "198.51.100.1", 24)
    {:ok, links} = Link.list(socket)
    %{ns: ns, socket: socket, names: Map.new(links, &{&1.index, &1.name})}
  end

  defp shown(ns, what \\ ""), do: Netns.ip!(ns, "nexthop show #{what}")

  # A nexthop of ours in the words of `ip -j -d nexthop`.
  defp words(%Nexthop{} = hop, names) do
    %{
      "id" => hop.id,
      "gateway" => hop.gateway && IP.to_string(hop.gateway),
      "dev" => hop.oif && names[hop.oif],
      "scope" => scope(hop.scope),
      "protocol" => "#{hop.protocol}",
      "flags" => Enum.map(hop.flags, &"#{&1}"),
      "group" => hop.group && Enum.map(hop.group, &member/1),
      "type" => if(hop.type not in [nil, :mpath], do: "#{hop.type}"),
      "blackhole" => hop.blackhole,
      "fdb" => hop.fdb,
      "resilient_args" => hop.resilient && resilient(hop.resilient)
    }
    |> Map.merge(encap(hop.encap_type, hop.encap))
    |> Map.reject(fn {_, value} -> value == nil end)
  end

  defp scope(:universe), do: "global"
  defp scope(scope), do: "#{scope}"

  defp member({id, 1}), do: %{"id" => id}
  defp member({id, weight}), do: %{"id" => id, "weight" => weight}

  # ip(8) shows seconds.
  defp resilient(args) do
    %{
      "buckets" => args.buckets,
      "idle_timer" => seconds(args.idle_timer),
      "unbalanced_timer" => seconds(args.unbalanced_timer),
      "unbalanced_time" => seconds(args.unbalanced_time)
    }
  end

  defp seconds(n) when rem(n, 100) == 0, do: div(n, 100)
  defp seconds(n), do: n / 100

  defp encap(nil, _), do: %{}

  defp encap(:ip, %Encap.IP4{} = e) do
    %{
      "encap" => "ip",
      "dst" => IP.to_string(e.dst),
      "src" => IP.to_string(e.src),
      "ttl" => e.ttl,
      "tos" => e.tos
    }
  end

  # ip(8) prints the key `id` twice for an encapsulation; the nexthop's comes first and counts.
  defp tidy(map) do
    map
    |> Map.new(fn
      {key, nil} when key in ["blackhole", "fdb"] -> {key, true}
      pair -> pair
    end)
    |> Map.delete("used")
  end

  defp same!(ns, socket, names) do
    {:ok, ours} = Nexthop.list(socket)
    assert Enum.map(ours, &words(&1, names)) == Enum.map(shown(ns), &tidy/1)

    for hop <- ours do
      assert Nexthop.get(socket, hop.id) == {:ok, hop}
      assert hop.extra == []
    end

    ours
  end

  test "single hops of every sort are as ip shows them", context do
    %{ns: ns, socket: socket, names: names} = context

    for {id, opts} <- [
          {1, gateway: "192.0.2.2", oif: "a0"},
          {2, via: "2001:db8:1::2", oif: "a0", protocol: :static},
          {3, oif: "b0"},
          {4, oif: "b0", family: :inet6, protocol: 76},
          {5, gateway: "203.0.113.1", oif: "a0", onlink: true},
          {6, blackhole: true},
          {7, blackhole: true, family: :inet6, protocol: :bgp},
          {8, gateway: "192.0.2.99", fdb: true},
          {0xFFFFFFFF, gateway: "192.0.2.3", oif: "a0"}
        ] do
      assert Nexthop.add(socket, id, opts) == :ok
    end

    ours = same!(ns, socket, names)
    assert length(ours) == 9

    assert %Nexthop{family: 10, gateway: %IP{family: :inet6}, protocol: :static} =
             Enum.at(ours, 1)

    assert %Nexthop{protocol: 76, family: 10} = Enum.at(ours, 3)
    assert %Nexthop{flags: [:onlink]} = Enum.at(ours, 4)
    assert %Nexthop{blackhole: true, protocol: :bgp} = Enum.at(ours, 6)
  end

  test "what ip makes is read", %{ns: ns, socket: socket, names: names} do
    for command <- [
          "id 1 via 192.0.2.2 dev a0",
          "id 2 via 198.51.100.2 dev b0 proto zebra",
          "id 3 via inet6 2001:db8:1::3 dev a0",
          "id 4 blackhole",
          "id 5 via 203.0.113.1 dev a0 onlink",
          "id 6 via 192.0.2.9 fdb",
          "id 7 via 192.0.2.10 fdb",
          "id 8 dev a0 proto 200",
          "id 10 group 1,2/5",
          "id 11 group 1,200000",
          "id 12 group 6,256/7 fdb",
          "id 13 group 1,3/2 type resilient buckets 32 idle_timer 12 unbalanced_timer 40",
          "id 14 encap ip id 5 dst 192.0.2.9 dev a0"
        ] do
      case Netns.run(ns, "ip nexthop add #{command}") do
        {_, 0} -> :ok
        {output, _} -> assert command =~ "200000", "#{command}: #{output}"
      end
    end

    ours = same!(ns, socket, names)
    assert Enum.map(ours, & &1.id) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 14]
    groups = for hop <- ours, hop.group, do: {hop.id, hop.type, hop.group}

    assert groups == [
             {10, :mpath, [{1, 2}, {5, 1}]},
             {12, :mpath, [{6, 256}, {7, 1}]},
             {13, :resilient, [{1, 3}, {2, 1}]}
           ]

    assert %Nexthop.Resilient{buckets: 32, idle_timer: 1200, unbalanced_timer: 4000} =
             Enum.at(ours, 10).resilient
  end

  test "groups, of objects that are there and no others", context do
    %{ns: ns, socket: socket, names: names} = context
    :ok = Nexthop.add(socket, 1, gateway: "192.0.2.2", oif: "a0")
    :ok = Nexthop.add(socket, 2, gateway: "198.51.100.2", oif: "b0")
    :ok = Nexthop.add(socket, 10, group: [1, {2, 5}])
    :ok = Nexthop.add(socket, 11, group: [2], protocol: :ospf)

    :ok =
      Nexthop.add(socket, 12,
        group: [{1, 2}, 2],
        type: :resilient,
        buckets: 16,
        idle_timer: 500,
        unbalanced_timer: 0
      )

    same!(ns, socket, names)
    assert {:error, %Error{errno: :einval}} = Nexthop.add(socket, 13, group: [1, 99])
    assert {:error, %Error{errno: :einval}} = Nexthop.add(socket, 13, group: [10, 1])

    # Other members; then a single hop in a group's place, which the kernel refuses.
    :ok = Nexthop.replace(socket, 10, group: [{1, 256}])
    assert {:ok, %Nexthop{group: [{1, 256}]}} = Nexthop.get(socket, 10)
    assert {:error, %Error{errno: :einval}} = Nexthop.replace(socket, 10, blackhole: true)
    same!(ns, socket, names)

    # A member that goes leaves its groups, and an empty group goes.
    :ok = Nexthop.delete(socket, 2)
    assert Enum.map(same!(ns, socket, names), & &1.id) == [1, 10, 12]
  end

  test "packets of a group's members are counted", %{socket: socket} do
    :ok = Nexthop.add(socket, 1, gateway: "192.0.2.2", oif: "a0")
    :ok = Nexthop.add(socket, 2, gateway: "198.51.100.2", oif: "b0")
    :ok = Nexthop.add(socket, 10, group: [1, 2])

    case Nexthop.get(socket, 10, stats: true) do
      {:ok, %Nexthop{stats: stats}} ->
        assert Enum.map(stats, &{&1.id, &1.packets}) == [{1, 0}, {2, 0}]
        assert {:ok, [%{stats: ^stats}]} = Nexthop.list(socket, groups: true, stats: true)
        assert {:ok, %Nexthop{stats: nil}} = Nexthop.get(socket, 10)

      # Linux before 6.9.
      {:error, error} ->
        assert error.errno == :einval
    end
  end

  test "weights above 256", %{ns: ns, socket: socket, names: names} do
    :ok = Nexthop.add(socket, 1, gateway: "192.0.2.2", oif: "a0")

    # The machine's ip may know none; what it cannot show is read back.
    case Nexthop.add(socket, 10, group: [{1, 0x10000}]) do
      :ok ->
        assert {:ok, %Nexthop{group: [{1, 0x10000}]}} = Nexthop.get(socket, 10)
        assert {:ok, [_, %Nexthop{group: [{1, 0x10000}]}]} = Nexthop.list(socket)

      # Linux before 6.12.
      {:error, error} ->
        assert error.errno == :einval
        same!(ns, socket, names)
    end
  end

  test "buckets of a resilient group lead to its members", %{ns: ns, socket: socket} do
    :ok = Nexthop.add(socket, 1, gateway: "192.0.2.2", oif: "a0")
    :ok = Nexthop.add(socket, 2, gateway: "198.51.100.2", oif: "b0")
    :ok = Nexthop.add(socket, 10, group: [{1, 3}, 2], type: :resilient, buckets: 40)
    {:ok, buckets} = Nexthop.buckets(socket, 10)

    assert Enum.map(buckets, &{&1.id, &1.index, &1.nh_id}) ==
             for(
               %{"id" => 10, "bucket" => bucket} <- Netns.ip!(ns, "nexthop bucket show id 10"),
               do: {10, bucket["index"], bucket["nhid"]}
             )

    assert Enum.map(buckets, & &1.index) == Enum.to_list(0..39)
    assert Enum.frequencies_by(buckets, & &1.nh_id) == %{1 => 30, 2 => 10}
    assert {:ok, to_b} = Nexthop.buckets(socket, 10, oif: "b0")
    assert Enum.map(to_b, & &1.nh_id) |> Enum.uniq() == [2]
    assert {:ok, to_1} = Nexthop.buckets(socket, 10, nh_id: 1)
    assert length(to_1) == 30
    assert Enum.all?(buckets, &(is_integer(&1.idle_time) and &1.flags == []))
  end

  test "routes over an object follow it, and go with it", %{ns: ns, socket: socket} do
    :ok = Nexthop.add(socket, 10, gateway: "192.0.2.2", oif: "a0")
    :ok = Route.add(socket, "203.0.113.0", 24, nil, nh_id: 10)

    assert [%{"nhid" => 10, "gateway" => "192.0.2.2"}] =
             Netns.ip!(ns, "route show 203.0.113.0/24")

    :ok = Nexthop.replace(socket, 10, gateway: "198.51.100.2", oif: "b0")

    assert [%{"gateway" => "198.51.100.2", "dev" => "b0"}] =
             Netns.ip!(ns, "route show 203.0.113.0/24")

    :ok = Nexthop.delete(socket, 10)
    assert Netns.ip!(ns, "route show 203.0.113.0/24") == []
  end

  test "filters are the kernel's", %{ns: ns, socket: socket} do
    :ok = Link.create_bridge(socket, "br0")
    :ok = Link.set_up(socket, "br0")
    :ok = Link.set_master(socket, "b0", "br0")
    :ok = Nexthop.add(socket, 1, gateway: "192.0.2.2", oif: "a0")
    :ok = Nexthop.add(socket, 2, oif: "b0", protocol: :static)
    :ok = Nexthop.add(socket, 3, oif: "a0", family: :inet6)
    :ok = Nexthop.add(socket, 4, gateway: "192.0.2.7", fdb: true)
    :ok = Nexthop.add(socket, 10, group: [1, 2], protocol: :static)

    for {filter, what} <- [
          {[], ""},
          {[oif: "a0"], "dev a0"},
          {[master: "br0"], "master br0"},
          {[groups: true], "groups"},
          {[fdb: true], "fdb"},
          {[protocol: :static], "proto 4"},
          {[protocol: 4], "proto 4"}
        ] do
      {:ok, ours} = Nexthop.list(socket, filter)
      assert Enum.map(ours, & &1.id) == Enum.map(shown(ns, what), & &1["id"]), inspect(filter)
    end

    assert {:ok, [%Nexthop{id: 3}]} = Nexthop.list(socket, family: :inet6)
    assert {:error, %Error{errno: :enodev}} = Nexthop.list(socket, oif: "nope0")
  end

  test "a nexthop as it was read is deleted, and made elsewhere", context do
    %{ns: ns, socket: socket, names: names} = context

    for command <- [
          "id 1 via 192.0.2.2 dev a0 proto bird",
          "id 2 via 203.0.113.1 dev a0 onlink",
          "id 3 blackhole",
          "id 4 dev b0",
          "id 5 encap ip id 7 dst 192.0.2.9 src 192.0.2.1 ttl 9 dev a0",
          "id 6 via 192.0.2.77 fdb",
          "id 10 group 1,2/2",
          "id 11 group 1,2/2 type resilient buckets 8"
        ],
        do: Netns.run!(ns, "ip nexthop add #{command}")

    ours = same!(ns, socket, names)
    before = shown(ns)
    for hop <- Enum.reverse(ours), do: assert(Nexthop.delete(socket, hop) == :ok)
    assert shown(ns) == []
    for hop <- ours, do: assert(Nexthop.add(socket, hop) == :ok, inspect(hop))
    assert shown(ns) == before
    for hop <- ours, do: assert(Nexthop.replace(socket, hop) == :ok)
    assert {:ok, results} = Nexthop.delete_many(socket, Enum.reverse(ours))
    assert Enum.uniq(results) == [:ok]
    assert shown(ns) == []
  end

  test "many in one send, with the result of each", %{socket: socket} do
    hops = for n <- 1..200, do: {n, gateway: "192.0.2.#{n + 1}", oif: "a0"}
    assert {:ok, results} = Nexthop.add_many(socket, hops ++ [{7, oif: "a0"}, {0, oif: "a0"}])
    assert Enum.take(results, 200) |> Enum.uniq() == [:ok]

    assert [{:error, %Error{errno: :eexist}}, {:error, {:invalid_id, 0}}] =
             Enum.drop(results, 200)

    assert {:ok, [:ok, :ok]} =
             Rtnl.batch(socket, [
               {Nexthop, :add, [1000, [group: [1, 2]]]},
               {Route, :add, ["203.0.113.0", 24, nil, [nh_id: 1000]]}
             ])

    assert {:ok, list} = Nexthop.list(socket)
    assert length(list) == 201
  end

  test "errors are the kernel's, with words", %{socket: socket} do
    :ok = Nexthop.add(socket, 1, gateway: "192.0.2.2", oif: "a0")

    assert {:error, %Error{errno: :eexist, message: text}} = Nexthop.add(socket, 1, oif: "a0")
    assert text =~ "exist"

    assert {:error, %Error{errno: :enoent, message: text}} = Nexthop.get(socket, 99)
    assert text =~ "99" or text =~ "id"
    assert {:error, %Error{errno: :enoent}} = Nexthop.delete(socket, 99)
    assert {:error, %Error{errno: :enodev}} = Nexthop.add(socket, 2, oif: "nope0")

    # No way to the gateway.
    assert {:error, %Error{} = error} =
             Nexthop.add(socket, 2, gateway: "203.0.113.1", oif: "a0")

    assert error.errno in [:enetunreach, :einval]
    :ok = Link.set_down(socket, "b0")
    assert {:error, %Error{errno: :enetdown}} = Nexthop.add(socket, 2, oif: "b0")
  end

  test "random objects are shown as they were made", context do
    %{ns: ns, socket: socket, names: names} = context
    seed = :rand.seed(:exsss) |> :rand.export_seed_s()

    singles =
      for id <- 1..40 do
        opts = Enum.random(single())
        assert Nexthop.add(socket, id, opts) == :ok, inspect({seed, id, opts})
        {id, opts}
      end

    usable = for {id, opts} <- singles, !opts[:blackhole] and !opts[:fdb], do: id

    for id <- 100..130 do
      members =
        usable |> Enum.take_random(:rand.uniform(5)) |> Enum.map(&{&1, :rand.uniform(256)})

      opts = [group: members] ++ Enum.random(kinds(length(members)))
      assert Nexthop.add(socket, id, opts) == :ok, inspect({seed, id, opts})
    end

    same!(ns, socket, names)
  end

  defp single do
    [
      [gateway: "192.0.2.#{:rand.uniform(250) + 1}", oif: "a0"],
      [gateway: "198.51.100.#{:rand.uniform(250) + 1}", oif: "b0", protocol: unnamed()],
      [gateway: "2001:db8:1::#{:rand.uniform(999)}", oif: "a0", protocol: :isis],
      [gateway: "10.#{:rand.uniform(250)}.0.1", oif: "b0", onlink: true],
      [oif: Enum.random(["a0", "b0"]), family: Enum.random([:inet, :inet6])],
      [blackhole: true],
      [gateway: "192.0.2.#{:rand.uniform(250) + 1}", fdb: true],
      [oif: "a0", encap: {:ip, id: :rand.uniform(1000), dst: "192.0.2.9", ttl: 3, tos: 4}]
    ]
  end

  # Versions of ip(8) differ in the protocols that they have a name for, and none has one of
  # these.
  defp unnamed, do: Enum.random(100..180)

  defp kinds(members) do
    [
      [],
      [protocol: :babel],
      [type: :mpath],
      [type: :resilient, buckets: members + :rand.uniform(50)],
      [type: :resilient, buckets: 64, idle_timer: :rand.uniform(9999) * 100],
      [type: :resilient, buckets: 64, unbalanced_timer: :rand.uniform(99) * 100]
    ]
  end
end
