defmodule Linx.Integration.LinkKindsTest do
  # Links of each kind, made by us and read by ip(8), and the other way round. bin/test-kernel
  # runs those that the machine's own kernel lacks.
  use ExUnit.Case, async: true

  alias Linx.MAC
  alias Linx.Netlink.{Error, Rtnl}
  alias Linx.Netlink.Rtnl.{Address, Link, LinkInfo, Route}
  alias Linx.Test.Netns

  @moduletag :root

  setup do
    ns = Netns.start()
    on_exit(fn -> Netns.stop(ns) end)
    socket = Netns.open(ns)
    :ok = Link.create_veth(socket, "v0", "v1")
    %{ns: ns, socket: socket}
  end

  # The output of ip for one link, after the comparison with Linx's read.
  defp seen(ns, socket, name) do
    [shown] = Netns.ip!(ns, "link show dev #{name}")
    {:ok, link} = Link.get(socket, name)
    assert link.index == shown["ifindex"]
    assert link.mtu == shown["mtu"]
    assert MAC.to_string(link.address) == shown["address"]
    assert "UP" in shown["flags"] == Link.up?(link)
    assert link.linkinfo.kind == shown["linkinfo"]["info_kind"]
    assert parent(link, socket) == shown["link"]
    {shown["linkinfo"]["info_data"], link}
  end

  defp parent(%Link{link: nil}, _socket), do: nil

  defp parent(%Link{link: index}, socket) do
    {:ok, %Link{name: name}} = Link.get(socket, index)
    name
  end

  test "the least and the greatest MTU are those that ip shows", %{ns: ns, socket: socket} do
    [shown] = Netns.ip!(ns, "link show dev v0")
    {:ok, link} = Link.get(socket, "v0")
    assert {link.min_mtu, link.max_mtu} == {shown["min_mtu"], shown["max_mtu"]}
    assert link.min_mtu > 0 and link.max_mtu > link.mtu

    assert {:ok, links} = Link.list(socket)
    assert %Link{max_mtu: max} = Enum.find(links, &(&1.name == "v0"))
    assert max == link.max_mtu
  end

  @tag :dummy
  test "a dummy is made with its options, carries addresses and routes, and goes", context do
    %{ns: ns, socket: socket} = context
    :ok = Link.create(socket, "d0", :dummy, mtu: 9000, address: "02:00:00:00:00:07", up: true)
    assert {_, %Link{mtu: 9000, name: "d0"}} = seen(ns, socket, "d0")
    assert [%{"address" => "02:00:00:00:00:07"}] = Netns.ip!(ns, "link show dev d0")

    :ok = Address.add(socket, "d0", "198.51.100.1", 24)
    :ok = Route.add(socket, "203.0.113.0", 24, "198.51.100.2")

    assert [%{"dst" => "203.0.113.0/24", "gateway" => "198.51.100.2", "dev" => "d0"}] =
             Netns.ip!(ns, "route show 203.0.113.0/24")

    :ok = Link.set_down(socket, "d0")
    assert Netns.ip!(ns, "route show 203.0.113.0/24") == []
    :ok = Link.delete(socket, "d0")
    assert {:error, %Error{errno: :enodev}} = Link.get(socket, "d0")
    assert {:error, %Error{errno: :eexist}} = Link.create_dummy(socket, "v0")
  end

  @tag :dummy
  test "dummies are made, listed by kind and removed many at once", %{ns: ns, socket: socket} do
    for n <- 1..50, do: :ok = Link.create_dummy(socket, "d#{n}")
    assert {:ok, links} = Link.list(socket, kind: :dummy)
    assert length(links) == 50
    assert length(Netns.ip!(ns, "link show type dummy")) == 50
    assert {:ok, results} = Link.delete_many(socket, for(n <- 1..50, do: "d#{n}"))
    assert Enum.uniq(results) == [:ok]
    assert Netns.ip!(ns, "link show type dummy") == []
  end

  @tag :vlan
  test "a VLAN has its id, its protocol and its parent", %{ns: ns, socket: socket} do
    :ok = Link.create_vlan(socket, "v0.42", "v0", 42)

    assert {%{"id" => 42, "protocol" => "802.1Q"}, link} = seen(ns, socket, "v0.42")
    assert %LinkInfo.Vlan{id: 42} = link.linkinfo.info_data

    for id <- [-1, 0, 4095, 65_578, "42"] do
      assert {:error, _} = Link.create_vlan(socket, "w0", "v0", id)
      assert {:error, %Error{errno: :enodev}} = Link.get(socket, "w0")
    end

    assert {:error, %Error{errno: :eexist}} = Link.create_vlan(socket, "w0", "v0", 42)

    # Gone with its parent.
    :ok = Link.delete(socket, "v0")
    assert {:error, %Error{errno: :enodev}} = Link.get(socket, "v0.42")
  end

  @tag :vlan
  test "a VLAN made by ip is read, one in another too", %{ns: ns, socket: socket} do
    Netns.run!(ns, "ip link add link v0 name outer type vlan proto 802.1ad id 7")
    Netns.run!(ns, "ip link add link outer name inner type vlan id 4094 reorder_hdr off")
    assert {%{"protocol" => "802.1ad", "id" => 7}, outer} = seen(ns, socket, "outer")
    assert outer.linkinfo.info_data.protocol == 0x88A8
    assert {%{"id" => 4094, "protocol" => "802.1Q"}, inner} = seen(ns, socket, "inner")
    assert inner.linkinfo.info_data.id == 4094
    assert inner.link == outer.index
  end

  @tag :ipvlan
  test "an ipvlan in each mode, many on one parent", %{ns: ns, socket: socket} do
    for mode <- [:l2, :l3, :l3s] do
      :ok = Link.set_down(socket, "v0")
      name = "i-#{mode}"
      :ok = Link.create_ipvlan(socket, name, "v0", mode)
      text = Atom.to_string(mode)
      assert {%{"mode" => ^text}, link} = seen(ns, socket, name)
      # It has its parent's hardware address.
      assert {:ok, %Link{address: address}} = Link.get(socket, "v0")
      assert link.address == address
      :ok = Link.delete(socket, name)
    end

    for n <- 1..8, do: :ok = Link.create_ipvlan(socket, "i#{n}", "v0")
    assert {:ok, links} = Link.list(socket, kind: :ipvlan)
    assert Enum.map(links, & &1.linkinfo.info_data.mode) |> Enum.uniq() == [1]
  end

  @tag :ipvlan
  test "an ipvlan moves to a container's namespace and is its parent's there", context do
    %{ns: ns, socket: socket} = context
    other = Netns.start()
    on_exit(fn -> Netns.stop(other) end)
    there = Netns.open(other)
    :ok = Link.create_ipvlan(socket, "i0", "v0", :l2)
    :ok = Link.move_to_netns(socket, "i0", {:pid, other.pid})
    assert {:ok, %Link{name: "i0", linkinfo: %LinkInfo{kind: "ipvlan"}}} = Link.get(there, "i0")
    assert [%{"ifname" => "i0", "link_netnsid" => _}] = Netns.ip!(other, "link show dev i0")
    :ok = Address.add(there, "i0", "192.0.2.7", 24)
    :ok = Link.set_up(there, "i0")
    # The parent's end takes it along.
    :ok = Link.delete(socket, "v0")
    assert {:error, %Error{errno: :enodev}} = Link.get(there, "i0")
    assert Netns.ip!(ns, "link show type veth") == []
  end

  test "a macvlan in each mode", %{ns: ns, socket: socket} do
    for mode <- [:private, :vepa, :bridge, :passthru] do
      :ok = Link.create_macvlan(socket, "m0", "v0", mode)
      text = Atom.to_string(mode)
      assert {%{"mode" => ^text}, %Link{}} = seen(ns, socket, "m0")
      :ok = Link.delete(socket, "m0")
    end
  end

  test "a bridge with its ports", %{ns: ns, socket: socket} do
    :ok = Link.create(socket, "br0", :bridge, stp_state: 1, forward_delay: 400)
    :ok = Link.set_master(socket, "v0", "br0")

    assert {%{"stp_state" => 1, "forward_delay" => 400}, %Link{}} = seen(ns, socket, "br0")
    assert [%{"master" => "br0"}] = Netns.ip!(ns, "link show dev v0")
  end

  @tag :geneve
  test "a GENEVE tunnel to each family, and one of metadata", %{ns: ns, socket: socket} do
    options = [id: 5, remote: "192.0.2.9", ttl: 7, tos: 4, udp_csum: false, df: 1]

    :ok =
      Link.create(socket, "g4", :geneve, [port: 6082, address: "02:00:00:00:00:05"] ++ options)

    assert {shown, %Link{}} = seen(ns, socket, "g4")

    assert %{"id" => 5, "remote" => "192.0.2.9", "ttl" => 7, "port" => 6082, "df" => "set"} =
             shown

    assert %{"udp_csum" => false} = shown

    :ok = Link.create(socket, "g6", :geneve, id: 0xFFFFFF, remote: "2001:db8::9", label: 0xFFFFF)
    assert {%{"id" => 0xFFFFFF, "remote6" => "2001:db8::9"}, %Link{}} = seen(ns, socket, "g6")

    Netns.run!(ns, "ip link add gx type geneve external dstport 6083 udp6zerocsumrx")
    assert {_shown, %Link{linkinfo: %LinkInfo{info_data: data}}} = seen(ns, socket, "gx")
    assert %LinkInfo.Geneve{collect_metadata: true, port: 6083, udp_zero_csum6_rx: 1} = data

    assert {:error, %Error{errno: :ebusy}} =
             Link.create(socket, "g7", :geneve, [port: 6082] ++ options)
  end

  @tag :geneve
  test "the rtnl reconciler changes a GENEVE tunnel of ours", %{ns: ns, socket: socket} do
    desired = fn ttl, id ->
      %{links: [{"g4", :geneve, id: id, remote: "192.0.2.9", ttl: ttl, up: true}]}
    end

    {:ok, %{converged?: true, last_applied: last}} =
      Rtnl.Reconcile.reconcile(socket, desired.(7, 5))

    {:ok, %{converged?: true, last_applied: last}} =
      Rtnl.Reconcile.reconcile(socket, desired.(9, 5), last)

    assert {%{"ttl" => 9, "id" => 5}, _link} = seen(ns, socket, "g4")
    # The identifier is fixed: the tunnel is made anew.
    {:ok, %{converged?: true, last_applied: last}} =
      Rtnl.Reconcile.reconcile(socket, desired.(9, 6), last)

    assert {%{"ttl" => 9, "id" => 6}, _link} = seen(ns, socket, "g4")
    {:ok, %{applied: []}} = Rtnl.Reconcile.reconcile(socket, desired.(9, 6), last)
  end

  for {kind, tag} <- [dummy: :dummy, vlan: :vlan, ipvlan: :ipvlan] do
    @tag tag
    test "the rtnl reconciler configures a link of kind #{kind}", %{ns: ns, socket: socket} do
      case unquote(kind) do
        :dummy -> :ok = Link.create_dummy(socket, "x0")
        :vlan -> :ok = Link.create_vlan(socket, "x0", "v0", 9)
        :ipvlan -> :ok = Link.create_ipvlan(socket, "x0", "v0")
      end

      for name <- ["v0", "v1", "x0"], do: :ok = Link.set_up(socket, name)

      desired = %{
        addresses: [{"x0", "198.51.100.9", 24}],
        routes: [{"203.0.113.0", 24, "198.51.100.1"}]
      }

      assert {:ok, %{converged?: true, last_applied: last}} =
               Rtnl.Reconcile.reconcile(socket, desired)

      Netns.run!(ns, "ip address del 198.51.100.9/24 dev x0")
      assert {:ok, %{converged?: true}} = Rtnl.Reconcile.reconcile(socket, desired, last)

      assert [%{"gateway" => "198.51.100.1", "dev" => "x0"}] =
               Netns.ip!(ns, "route show 203.0.113.0/24")
    end
  end
end
