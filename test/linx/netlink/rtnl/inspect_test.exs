defmodule Linx.Netlink.Rtnl.InspectTest do
  use ExUnit.Case, async: true

  import Linx.IP, only: [sigil_IP: 2]
  import Linx.MAC, only: [sigil_MAC: 2]

  alias Linx.Netlink.Rtnl.{Link, LinkInfo, Neighbour, Route, Rule}

  # The texts of the documentation, for structs that have no more than these fields.
  test "what is not set is not shown" do
    for {struct, text} <- [
          {%Link{name: "wlan0", index: 3, mtu: 1500}, ~s|Link<"wlan0" (3) DOWN MTU=1500>|},
          {%Link{}, "Link<nil (0) DOWN MTU=>"},
          {%Route{dst_len: 0, gateway: ~IP"192.0.2.1", oif: 2},
           "Route<default via 192.0.2.1 oif=2>"},
          {%Route{table: 254, type: 1}, "Route<default>"},
          {%Rule{table: 255}, "Rule<table=255>"},
          {%Rule{src: ~IP"10.0.0.0", src_len: 24, table: 100},
           "Rule<from=10.0.0.0/24 table=100>"},
          {%Neighbour{ifindex: 2, dst: ~IP"192.0.2.1"}, "Neighbour<192.0.2.1 -> ? ifindex=2>"}
        ],
        do: assert(inspect(struct) == "#Linx.Netlink.Rtnl." <> text)
  end

  test "a link shows its kind, state, carrier, master and MAC" do
    link = %Link{
      name: "eth0",
      index: 2,
      flags: 1,
      mtu: 1500,
      linkinfo: %LinkInfo{kind: "veth"},
      operstate: 6,
      carrier: 1,
      master: 7,
      link: 5,
      link_netnsid: 0,
      address: ~MAC"02:00:5e:10:00:01"
    }

    assert inspect(link) ==
             ~s|#Linx.Netlink.Rtnl.Link<"eth0" (2) UP MTU=1500 kind=veth operstate=up | <>
               "carrier=yes master=7 link=5 link_netnsid=0 mac=02:00:5e:10:00:01>"

    for {name, n} <-
          Enum.with_index(~w(unknown notpresent down lowerlayerdown testing dormant up)),
        do: assert(inspect(%{link | operstate: n}) =~ "operstate=#{name} ")

    assert inspect(%{link | operstate: 9}) =~ "operstate=9 "
    assert inspect(%{link | carrier: 0}) =~ "carrier=no "
    assert inspect(%{link | address: <<1, 2, 3, 4>>}) =~ "mac=01020304>"
    refute inspect(%{link | address: ~MAC"00:00:00:00:00:00"}) =~ "mac="
    refute inspect(%{link | address: ""}) =~ "mac="
    assert inspect(%{link | linkinfo: %LinkInfo{}}) =~ "MTU=1500 operstate"
  end

  test "a route shows its type, metric, device and table" do
    route = %Route{
      dst: ~IP"203.0.113.128",
      dst_len: 25,
      type: 6,
      priority: 9,
      table: 0,
      table_ext: 1000
    }

    assert inspect(route) ==
             "#Linx.Netlink.Rtnl.Route<203.0.113.128/25 type=blackhole metric=9 table=1000>"

    assert inspect(%{route | table_ext: nil, table: 77, type: 250, oif: 3, tos: 16}) ==
             "#Linx.Netlink.Rtnl.Route<203.0.113.128/25 oif=3 type=250 metric=9 table=77 tos=16>"

    assert inspect(%{route | nh_id: 5, priority: nil, prefsrc: ~IP"192.0.2.7"}) =~
             "nh_id=5 type=blackhole table=1000 src=192.0.2.7>"

    for {type, n} <- [local: 2, unreachable: 7, prohibit: 8, throw: 9, nat: 10],
        do: assert(inspect(%{route | type: n}) =~ "type=#{if type == :nat, do: n, else: type} ")
  end

  test "a rule shows its priority, selectors and action" do
    # As the kernel lists the first rule: without a priority.
    assert inspect(%Rule{family: 2, table: 255, table_ext: 255, action: 1}) ==
             "#Linx.Netlink.Rtnl.Rule<priority=0 table=255>"

    assert inspect(%Rule{family: 10, table: 254, action: 1, priority: 32_766}) ==
             "#Linx.Netlink.Rtnl.Rule<priority=32766 inet6 table=254>"

    rule = %Rule{
      action: 8,
      priority: 7,
      flags: 2,
      dst: ~IP"2001:db8::",
      dst_len: 32,
      family: 10,
      iif: "lo",
      ipproto: 6,
      sport: 1..1,
      dport: 80..90,
      uid: 0..999,
      fwmark: 1,
      fwmask: 255,
      tos: 16
    }

    assert inspect(rule) ==
             "#Linx.Netlink.Rtnl.Rule<priority=7 not to=2001:db8::/32 fwmark=0x1 " <>
               "fwmask=0xff iif=lo " <>
               "tos=16 ipproto=6 sport=1 dport=80-90 uid=0-999 action=prohibit>"

    assert inspect(%Rule{action: 2, goto: 100, priority: 1}) =~ "<priority=1 goto=100>"
    assert inspect(%Rule{action: 6, priority: 1}) =~ "<priority=1 action=blackhole>"
    assert inspect(%Rule{action: 99, priority: 1}) =~ "<priority=1 action=99>"

    assert inspect(%Rule{action: 1, priority: 1, l3mdev: 1, suppress_prefixlength: 0}) =~
             "<priority=1 l3mdev suppress_prefixlength=0>"

    assert inspect(%Rule{action: 1, priority: 1, table: 7, suppress_prefixlength: 0xFFFFFFFF}) =~
             "<priority=1 table=7>"
  end

  test "a neighbour shows its state and flags" do
    neighbour = %Neighbour{ifindex: 2, dst: ~IP"192.0.2.1", lladdr: ~MAC"02:00:5e:10:00:01"}

    for {n, name} <- [
          {1, "incomplete"},
          {2, "reachable"},
          {4, "stale"},
          {8, "delay"},
          {16, "probe"},
          {32, "failed"},
          {64, "noarp"},
          {128, "permanent"},
          {0x82, "reachable,permanent"},
          {0x100, "256"},
          {0x102, "reachable,256"}
        ],
        do: assert(inspect(%{neighbour | state: n}) =~ "ifindex=2 state=#{name}>")

    assert inspect(%{neighbour | flags: 0x88, state: 64}) =~ "state=noarp flags=proxy,router>"
    assert inspect(%{neighbour | vlan: 5, master: 7}) =~ "ifindex=2 vlan=5 master=7>"
  end
end
