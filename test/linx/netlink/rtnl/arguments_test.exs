defmodule Linx.Netlink.Rtnl.ArgumentsTest do
  use ExUnit.Case, async: true

  # A closed socket answers everything that reaches it with EBADF: what is refused otherwise never
  # got there.

  alias Linx.Netlink.{Error, Rtnl, Socket}
  alias Linx.Netlink.Rtnl.{Address, Link, Neighbour, Route, Rule}

  setup do
    {:ok, socket} = Rtnl.open()
    :ok = Socket.close(socket)
    %{socket: socket}
  end

  test "a name that has to be looked up does not hide what else is wrong", %{socket: socket} do
    for {result, reason} <- [
          {Address.add(socket, "eth0", "192.0.2", 24), {:invalid_ip, "192.0.2"}},
          {Address.add(socket, "eth0", "192.0.2.1", 33), {:invalid_prefix, 33}},
          {Address.delete(socket, "eth0", nil, 24), {:invalid_ip, nil}},
          {Address.replace(socket, "eth0", "::1", 128, scope: 256), {:bad_option, {:scope, 256}}},
          {Address.add(socket, "a\0", "192.0.2.1", 24), {:invalid_name, "a\0"}},
          {Neighbour.add(socket, "eth0", "192.0.2.1", "02:00"), {:invalid_mac, "02:00"}},
          {Neighbour.delete(socket, "eth0", "localhost"), {:invalid_ip, "localhost"}},
          {Route.add(socket, "192.0.2.0", 24, nil, oif: "eth0", metric: -1),
           {:bad_option, {:metric, -1}}},
          {Link.create_macvlan(socket, "a b", "eth0"), {:invalid_name, "a b"}},
          {Link.create_macvlan(socket, "m0", "eth0", :nothing), {:bad_option, {:mode, :nothing}}},
          {Link.create_vlan(socket, "eth0.0", "eth0", 0), {:bad_option, {:id, 0}}},
          {Link.create(socket, "x0", :vxlan, link: "eth0", mtu: 0), {:bad_option, {:mtu, 0}}},
          {Link.create(socket, "x0", :vxlan, :none), {:bad_option, :none}},
          {Link.set(socket, "", master: "br0"), {:invalid_name, ""}},
          {Link.set_master(socket, nil, "br0"), {:invalid_name, nil}},
          {Link.add_altname(socket, "eth0", ""), {:invalid_name, ""}}
        ] do
      assert {:error, ^reason} = result
    end

    for {result, reason} <- [
          {Link.list(socket, kind: nil), {:invalid_kind, nil}},
          {Link.list(socket, kinds: :veth), {:bad_option, {:kinds, :veth}}},
          {Route.list(socket, table: 0), {:bad_option, {:table, 0}}},
          {Address.list(socket, family: :inet5), {:bad_option, {:family, :inet5}}},
          {Neighbour.list(socket, proxy: nil), {:bad_option, {:proxy, nil}}},
          {Rule.list(socket, table: 3), {:bad_option, {:table, 3}}}
        ] do
      assert {:error, ^reason} = result
    end

    for result <- [
          Address.add(socket, "eth0", "192.0.2.1", 24),
          Neighbour.delete(socket, "eth0", "192.0.2.1"),
          Link.create_macvlan(socket, "m0", "eth0"),
          Link.set_master(socket, "eth0", "br0")
        ] do
      assert {:error, %Error{errno: :ebadf}} = result
    end
  end
end
