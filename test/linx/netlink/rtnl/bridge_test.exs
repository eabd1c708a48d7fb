defmodule Linx.Netlink.Rtnl.BridgeTest do
  use ExUnit.Case, async: true

  import Linx.IP
  import Linx.MAC

  alias Linx.Netlink.{Attr, Error, Rtnl, Socket}
  alias Linx.Netlink.Rtnl.Bridge.{Fdb, Mdb, Message, Port, Vlan}

  # A closed socket answers everything that reaches it with EBADF.
  setup do
    {:ok, socket} = Rtnl.open()
    :ok = Socket.close(socket)
    %{socket: socket}
  end

  @mac "02:00:00:00:00:01"

  test "an FDB's options that make no sense are refused before anything is sent", context do
    %{socket: socket} = context

    for {opts, reason} <- [
          {[state: :stale], {:bad_option, {:state, :stale}}},
          {[vlan: 0], {:bad_option, {:vlan, 0}}},
          {[vlan: 4095], {:bad_option, {:vlan, 4095}}},
          {[port: 0x10000], {:bad_option, {:port, 0x10000}}},
          {[vni: 0x1000000], {:bad_option, {:vni, 0x1000000}}},
          {[vni: "1"], {:bad_option, {:vni, "1"}}},
          {[dst: "192.0.2"], {:invalid_ip, "192.0.2"}},
          {[sticky: 1], {:bad_option, {:sticky, 1}}},
          {[master: nil], {:bad_option, {:master, nil}}},
          {[nonsense: true], {:bad_option, {:nonsense, true}}},
          {[:master], {:bad_option, :master}},
          {[via: ""], {:invalid_name, ""}},
          {:none, {:bad_option, :none}}
        ],
        verb <- [:add, :replace, :append] do
      assert apply(Fdb, verb, [socket, "eth0", @mac, opts]) == {:error, reason}
    end

    for {result, reason} <- [
          {Fdb.add(socket, "eth0", "02:00"), {:invalid_mac, "02:00"}},
          {Fdb.add(socket, "", @mac), {:invalid_name, ""}},
          {Fdb.delete(socket, "eth0", @mac, state: :static), {:bad_option, {:state, :static}}},
          {Fdb.get(socket, "eth0", @mac, dst: "192.0.2.1"), {:bad_option, {:dst, "192.0.2.1"}}},
          {Fdb.get(socket, "eth0", @mac, :none), {:bad_option, :none}},
          {Fdb.list(socket, state: :stale), {:bad_option, {:state, :stale}}},
          {Fdb.list(socket, vlan: 0), {:bad_option, {:vlan, 0}}},
          {Fdb.flush(socket, "eth0", sticky: 1), {:bad_option, {:sticky, 1}}},
          {Fdb.flush(socket, "eth0", via: "eth1"), {:bad_option, {:via, "eth1"}}},
          {Fdb.flush(socket, "eth0", state: :stale), {:bad_option, {:state, :stale}}}
        ],
        do: assert({:error, ^reason} = result)

    for result <- [
          Fdb.add(socket, "eth0", @mac, master: true),
          Fdb.add(socket, 1, @mac),
          Fdb.delete(socket, "eth0", @mac),
          Fdb.flush(socket, "eth0"),
          Fdb.get(socket, "eth0", @mac),
          Fdb.list(socket)
        ],
        do: assert({:error, %Error{errno: :ebadf}} = result)
  end

  test "VLANs and options that make none are refused before anything is sent", context do
    %{socket: socket} = context

    for {vids, opts, reason} <- [
          {0, [], {:invalid_vids, 0}},
          {4095, [], {:invalid_vids, 4095}},
          {5..4//-1, [], {:invalid_vids, 5..4//-1}},
          {1..9//2, [], {:invalid_vids, 1..9//2}},
          {1..4095, [], {:invalid_vids, 1..4095}},
          {"1", [], {:invalid_vids, "1"}},
          {1..2, [pvid: true], {:bad_option, {:pvid, true}}},
          {1, [pvid: 1], {:bad_option, {:pvid, 1}}},
          {1, [tunnel: -1], {:bad_option, {:tunnel, -1}}},
          {1..3, [tunnel: 5], {:bad_option, {:tunnel, 5}}},
          {1..3, [tunnel: 5..6], {:bad_option, {:tunnel, 5..6}}},
          {1, [:self], {:bad_option, :self}},
          {1, :self, {:bad_option, :self}}
        ] do
      assert Vlan.add(socket, "eth0", vids, opts) == {:error, reason}
    end

    assert Vlan.delete(socket, "eth0", 1, pvid: true) == {:error, {:bad_option, {:pvid, true}}}
    assert Vlan.add(socket, "", 1) == {:error, {:invalid_name, ""}}
    assert {:error, %Error{errno: :ebadf}} = Vlan.add(socket, "eth0", 1..4094)
    assert {:error, %Error{errno: :ebadf}} = Vlan.list(socket)
  end

  test "groups and options that make none are refused before anything is sent", context do
    %{socket: socket} = context

    for {group, opts, reason} <- [
          {"239.1.1", [], {:invalid_group, "239.1.1"}},
          {nil, [], {:invalid_group, nil}},
          {"239.1.1.1", [vid: 0], {:bad_option, {:vid, 0}}},
          {"239.1.1.1", [state: :static], {:bad_option, {:state, :static}}},
          {"239.1.1.1", [source: "x"], {:invalid_ip, "x"}},
          {"239.1.1.1", [source_list: []], {:bad_option, {:source_list, []}}},
          {"239.1.1.1", [source_list: ["x"]], {:invalid_ip, "x"}},
          {"239.1.1.1", [filter_mode: 1], {:bad_option, {:filter_mode, 1}}},
          {"239.1.1.1", [protocol: :nobody], {:bad_option, {:protocol, :nobody}}},
          {"239.1.1.1", [dst_port: 0], {:bad_option, {:dst_port, 0}}},
          {"239.1.1.1", [vni: 0x1000000], {:bad_option, {:vni, 0x1000000}}},
          {"239.1.1.1", :none, {:bad_option, :none}}
        ] do
      assert Mdb.add(socket, "br0", group, opts) == {:error, reason}
    end

    assert {:error, {:bad_option, {:source, _}}} = Mdb.flush(socket, "br0", source: "192.0.2.1")
    assert {:error, {:bad_option, {:port, _}}} = Mdb.get(socket, "br0", "239.1.1.1", port: "v0")
    assert {:error, %Error{errno: :ebadf}} = Mdb.add(socket, "br0", "239.1.1.1", port: "v0")
    assert {:error, %Error{errno: :ebadf}} = Mdb.list(socket)
  end

  test "a port's options that make no sense are refused before anything is sent", context do
    %{socket: socket} = context

    for opts <- [
          [],
          :none,
          [state: :forward],
          [state: 5],
          [priority: 64],
          [cost: 0],
          [cost: 0x10000],
          [learning: 2],
          [learning: nil],
          [learning: "on"],
          [mcast_router: 4],
          [flush: false],
          [mcast_n_groups: 1],
          [id: 1],
          [extra: []],
          [nonsense: 1]
        ] do
      assert {:error, {:bad_option, _}} = Port.set(socket, "eth0", opts)
    end

    assert {:error, {:invalid_name, ""}} = Port.set(socket, "eth0", backup_port: "")
    assert {:error, {:invalid_name, nil}} = Port.get(socket, nil)
    assert {:error, %Error{errno: :ebadf}} = Port.set(socket, "eth0", learning: false)
    assert {:error, %Error{errno: :ebadf}} = Port.get(socket, "eth0")
  end

  test "what a newer kernel sends is kept, and decoding never raises" do
    :rand.seed(:exsss, {3, 2, 1})

    entry = %Fdb{ifindex: 3, lladdr: ~MAC"02:00:00:00:00:01", state: [:noarp], flags: [:self]}
    body = Fdb.encode(entry) <> Attr.encode([{99, "new"}])
    assert Fdb.decode(body) == %{entry | extra: [{99, "new"}]}

    ports = Attr.encode([{1, <<9>>}, {4, <<7>>}, {99, "new"}])
    body = <<7, 0, 0::16, 4::native-32, 0::64>> <> Attr.encode([{0x800C, ports}])
    assert %Message{port: %{state: 9, hairpin: 7, extra: [{99, "new"}]}} = Message.decode(body)

    for module <- [Fdb, Message, Mdb.Answer, Mdb.Entry, Port.Single], _ <- 1..500 do
      assert %_{} = module.decode(:rand.bytes(:rand.uniform(80)))
    end

    for _ <- 1..2_000 do
      at = :rand.uniform(byte_size(body)) - 1
      <<head::binary-size(^at), _, tail::binary>> = body
      assert %Message{} = Message.decode(<<head::binary, :rand.uniform(256) - 1, tail::binary>>)
    end
  end

  test "inspect shows what a person needs" do
    for {value, text} <- [
          {%Fdb{ifindex: 3, lladdr: ~MAC"02:00:00:00:00:01", master: 2, vlan: 5, state: [:noarp]},
           "Fdb<02:00:00:00:00:01 ifindex=3 vlan=5 master=2 noarp>"},
          {%Fdb{ifindex: 3, lladdr: ~MAC"02:00:00:00:00:01", dst: ~IP"192.0.2.9", flags: [:self]},
           "Fdb<02:00:00:00:00:01 ifindex=3 dst=192.0.2.9 self>"},
          {%Vlan{ifindex: 3, name: "v0", vids: 10..10, flags: [:pvid]},
           "Vlan<10 dev=v0 ifindex=3 pvid>"},
          {%Vlan{ifindex: 3, vids: 10..20}, "Vlan<10-20 ifindex=3>"},
          {%Mdb{bridge: 2, port: 3, group: ~IP"239.1.1.1", vid: 7},
           "Mdb<239.1.1.1 bridge=2 port=3 vid=7 temp>"},
          {%Port{ifindex: 3, name: "v0", bridge: 2, state: :forwarding},
           "Port<\"v0\" (3) forwarding bridge=2>"}
        ],
        do: assert(inspect(value) == "#Linx.Netlink.Rtnl.Bridge." <> text)
  end
end
