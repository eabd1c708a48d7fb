defmodule Linx.Netlink.DifferentialTest do
  use ExUnit.Case, async: true

  # Reads of Linx compared with those of ip(8) for the same objects.

  @moduletag :root
  @moduletag :netns

  alias Linx.{IP, MAC}
  alias Linx.Netlink.Rtnl.{Address, Link, Neighbour, Route, Rule, Stats}
  alias Linx.Test.Netns

  @setup """
  ip link set lo up
  ip link add v0 type veth peer name v1
  ip link add br0 type bridge stp_state 1 forward_delay 700
  ip link set v0 master br0 up
  ip link set v1 up alias uplink txqueuelen 77 group 5
  ip link property add dev v1 altname a-name-longer-than-fifteen-bytes
  ip link set br0 up
  ip link add mv0 link v1 type macvlan mode private
  ip link add mv1 link v1 type macvlan mode bridge
  ip link add mt0 link v1 type macvtap mode vepa
  ip link add vx0 type vxlan id 42 remote 192.0.2.9 dstport 4789 dev v1 ttl 9 nolearning
  ip link add vx6 type vxlan id 43 local 2001:db8::1 group ff05::1 dstport 4790 dev v1
  ip link add vxe type vxlan external dstport 4791
  ip link add ifb0 type ifb
  ip tuntap add tap0 mode tap
  ip tuntap add tun0 mode tun
  ip link add gre0x type gretap remote 192.0.2.9 local 192.0.2.1
  ip link add ipip1 type ipip remote 192.0.2.9 local 192.0.2.1
  ip link add gnv0 type geneve id 7 remote 192.0.2.9
  ip link add vrf0 type vrf table 70
  ip link add bond0 type bond mode active-backup
  ip link add dum0 type dummy
  ip link add vl5 link v1 type vlan id 5
  ip link add iv0 link v1 type ipvlan mode l2
  ip addr add 192.0.2.1/24 brd + dev v1
  ip addr add 192.0.2.5/32 peer 198.51.100.1/32 dev v1 label v1:ptp
  ip addr add 2001:db8::1/64 dev v1 nodad
  ip addr add 2001:db8:1::1/64 dev v1 nodad valid_lft 5000 preferred_lft 1000
  ip route add 203.0.113.0/24 via 192.0.2.254 metric 50 proto static
  ip route add 203.0.114.0/24 dev v1 table 1000 src 192.0.2.1 mtu lock 1300 advmss 1200
  ip route add 203.0.115.0/24 nexthop via 192.0.2.2 weight 3 nexthop via 192.0.2.3
  ip route add blackhole 203.0.116.0/24
  ip route add unreachable 2001:db8:9::/48
  ip route add 203.0.117.0/24 via inet6 2001:db8::9
  ip route add 2001:db8:8::/48 via 2001:db8::2 metric 7
  ip route add 203.0.118.0/24 via 192.0.2.254 tos 0x10 onlink dev v1
  ip rule add from 192.0.2.0/25 table 1000 priority 100
  ip rule add fwmark 0x10/0xff iif v1 table 77 priority 101
  ip rule add ipproto tcp dport 80-90 uidrange 5-9 prohibit priority 102
  ip rule add oif v1 tos 0x10 table 300 suppress_prefixlength 0 priority 103
  ip -6 rule add to 2001:db8::/32 goto 32766 priority 104
  ip neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 dev v1
  ip neigh add 192.0.2.79 lladdr 02:00:00:00:00:79 dev v1 nud stale
  ip -6 neigh add 2001:db8::77 lladdr 02:00:00:00:00:78 dev v1
  """

  setup do
    ns = Netns.start()

    # A kernel refuses the kinds that it lacks, and those are not compared.
    made =
      for command <- String.split(@setup, "\n", trim: true),
          {_, 0} <- [Netns.run(ns, command)],
          do: command

    assert length(made) > 30
    socket = Netns.open(ns)
    {:ok, links} = Link.list(socket)
    %{ns: ns, socket: socket, names: Map.new(links, &{&1.index, &1.name})}
  end

  # The output of ip and the read of Linx while both stay the same: the kernel makes addresses,
  # and so routes, by itself.
  defp both(ns, what, read) do
    {shown, {:ok, ours}} = Netns.steady(fn -> Netns.ip!(ns, what) end, read)
    {shown, ours}
  end

  test "links", %{ns: ns, socket: socket, names: names} do
    {shown, links} = both(ns, "link show", fn -> Link.list(socket) end)
    shown = Map.new(shown, &{&1["ifindex"], &1})
    assert Enum.sort(Map.keys(shown)) == links |> Enum.map(& &1.index) |> Enum.sort()

    for link <- links do
      ip = shown[link.index]

      assert {link.name, link.mtu, link.txqlen, link.alias, link.qdisc} ==
               {ip["ifname"], ip["mtu"], ip["txqlen"], ip["ifalias"], ip["qdisc"]}

      assert Link.up?(link) == "UP" in ip["flags"]
      assert names[link.master] == ip["master"]
      assert (link.altnames || []) == (ip["altnames"] || [])
      assert group(link.group) == ip["group"]
      assert operstate(link.operstate) == ip["operstate"]
      assert address(link.address) == ip["address"]
      assert peer(link, names) == ip["link"]
      assert kind(link) == get_in(ip, ["linkinfo", "info_kind"])
      data(link.linkinfo, get_in(ip, ["linkinfo", "info_data"]) || %{}, names)
    end
  end

  defp group(0), do: "default"
  defp group(n), do: Integer.to_string(n)

  # RFC 2863, as ip(8) names it.
  defp operstate(n),
    do: elem({"UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP"}, n)

  defp address(nil), do: nil
  defp address(%MAC{} = mac), do: MAC.to_string(mac)
  # A tunnel's hardware address is an IP address.
  defp address(<<_::32>> = bytes), do: bytes |> IP.decode() |> IP.to_string()
  defp address(""), do: nil

  # A link of 0 is no parent ("NONE" of a tunnel).
  defp peer(%{link: nil}, _names), do: nil
  defp peer(%{link: 0}, _names), do: nil
  defp peer(%{link: index}, names), do: names[index]

  defp kind(%{linkinfo: nil}), do: nil
  defp kind(%{linkinfo: info}), do: info.kind

  defp data(%{kind: "macvlan", info_data: data}, ip, _names),
    do: assert(%{1 => "private", 2 => "vepa", 4 => "bridge"}[data.mode] == ip["mode"])

  defp data(%{kind: "ipvlan", info_data: data}, ip, _names),
    do: assert(%{0 => "l2", 1 => "l3"}[data.mode] == ip["mode"])

  defp data(%{kind: "vlan", info_data: data}, ip, _names), do: assert(data.id == ip["id"])
  defp data(%{kind: "vrf", info_data: data}, ip, _names), do: assert(data.table == ip["table"])

  defp data(%{kind: "bridge", info_data: data}, ip, _names) do
    for key <- [:forward_delay, :hello_time, :max_age, :ageing_time, :stp_state],
        do: assert(Map.fetch!(data, key) == ip[Atom.to_string(key)])
  end

  defp data(%{kind: "vxlan", info_data: data}, ip, names) do
    assert data.port == ip["port"]
    assert data.id == (ip["id"] || 0)
    assert (data.link || 0) == 0 or names[data.link] == ip["link"]
    assert text(data.group) == ip["group"] || ip["remote"]
    assert text(data.group6) == ip["group6"] || ip["remote6"]
    assert text(data.local6) == ip["local6"]
    assert data.learning == 1 == (ip["learning"] || false)
    assert data.collect_metadata == 1 == (ip["external"] || false)
  end

  defp data(%{kind: "tun", info_data: data}, ip, _names),
    do: assert(%{1 => "tun", 2 => "tap"}[data.type] == ip["type"])

  defp data(_info, _ip, _names), do: :ok

  defp text(nil), do: nil
  defp text(ip), do: IP.to_string(ip)

  test "addresses", %{ns: ns, socket: socket, names: names} do
    # Lifetimes run, so that what is shown of them never stays the same.
    as_shown = fn ->
      for link <- Netns.ip!(ns, "addr show"), address <- link["addr_info"] do
        {link["ifname"], address["local"], address["prefixlen"], address["address"],
         address["broadcast"], scope(address["scope"]),
         lifetime(address["valid_life_time"]) > 10_000}
      end
    end

    {shown, {:ok, addresses}} = Netns.steady(as_shown, fn -> Address.list(socket) end)

    ours =
      for address <- addresses do
        {names[address.index], text(address.local || address.address), address.prefixlen,
         peer_text(address), text(address.broadcast), address.scope,
         valid(address.lifetime) > 10_000}
      end

    assert Enum.sort(ours) == Enum.sort(shown)
  end

  defp peer_text(%{local: local, address: peer}) when local != nil and local != peer,
    do: text(peer)

  defp peer_text(_), do: nil

  defp scope("global"), do: 0
  defp scope("link"), do: 253
  defp scope("host"), do: 254

  defp lifetime(seconds), do: seconds
  defp valid({_, :forever}), do: 0xFFFFFFFF
  defp valid({_, seconds}), do: seconds

  test "routes", %{ns: ns, socket: socket, names: names} do
    for {family, flag} <- [inet: "-4", inet6: "-6"] do
      {shown, routes} =
        both(ns, "#{flag} route show table all", fn -> Route.list(socket, family: family) end)

      shown = for route <- shown, do: {route_key(route), route}
      assert length(routes) == length(shown)

      for route <- routes do
        key = {destination(route, family), Route.target_table(route), route.type, route.tos}
        candidates = for {^key, ip} <- shown, do: ip
        assert Enum.any?(candidates, &same_route?(route, &1, names)), inspect({route, candidates})
      end
    end
  end

  defp route_key(ip) do
    {ip["dst"], table(ip["table"] || "main"), type(ip["type"] || "unicast"), tos(ip["tos"])}
  end

  defp table("main"), do: 254
  defp table("local"), do: 255
  defp table("default"), do: 253
  defp table(n), do: String.to_integer(n)

  defp type(name) do
    Enum.find_index(
      ~w(unspec unicast local broadcast anycast multicast blackhole unreachable prohibit throw),
      &(&1 == name)
    )
  end

  defp tos(nil), do: 0
  defp tos("lowdelay"), do: 0x10
  defp tos("0x10"), do: 0x10

  defp destination(%{dst_len: 0}, _family), do: "default"
  defp destination(%{dst: dst, dst_len: 32}, :inet), do: text(dst)
  defp destination(%{dst: dst, dst_len: 128}, :inet6), do: text(dst)
  defp destination(%{dst: dst, dst_len: length}, _family), do: "#{dst}/#{length}"

  defp same_route?(route, ip, names) do
    gateway = ip["gateway"] || get_in(ip, ["via", "host"])

    text(route.gateway || route.via) == gateway and
      names[route.oif] == ip["dev"] and
      route.priority == ip["metric"] and
      text(route.prefsrc) == ip["prefsrc"] and
      protocol(route.protocol) == ip["protocol"] and
      hops(route.multipath) == shown_hops(ip["nexthops"]) and
      (route.metrics && route.metrics.mtu) == mtu(ip["metrics"])
  end

  defp protocol(n), do: %{2 => "kernel", 3 => "boot", 4 => "static", 9 => "ra"}[n]
  defp hops(nil), do: nil
  defp hops(hops), do: Enum.map(hops, &{text(&1.gateway), &1.weight})
  defp shown_hops(nil), do: nil
  defp shown_hops(hops), do: Enum.map(hops, &{&1["gateway"], &1["weight"]})

  defp mtu(nil), do: nil
  defp mtu([%{} = metrics | _]), do: metrics["mtu"]

  test "rules", %{ns: ns, socket: socket} do
    for {family, flag} <- [inet: "-4", inet6: "-6"] do
      shown = Netns.ip!(ns, "#{flag} rule show")
      {:ok, rules} = Rule.list(socket, family: family)
      assert length(rules) == length(shown)

      for {rule, ip} <- Enum.zip(rules, shown) do
        assert (rule.priority || 0) == ip["priority"]
        assert (text(rule.src) || "all") == ip["src"]
        assert text(rule.dst) == ip["dst"]
        assert rule.iif == ip["iif"] and rule.oif == ip["oif"]
        assert hex(rule.fwmark) == ip["fwmark"]
        assert rule.goto == ip["goto"]
        assert suppress(rule.suppress_prefixlength) == ip["suppress_prefixlen"]
        assert ports(rule.dport) == {ip["dport_start"] || ip["dport"], ip["dport_end"]}
        if ip["table"], do: assert(Rule.target_table(rule) == table(ip["table"]))
      end
    end
  end

  # The kernel says -1 for none.
  defp suppress(0xFFFFFFFF), do: nil
  defp suppress(n), do: n

  defp hex(nil), do: nil
  defp hex(n), do: "0x" <> String.downcase(Integer.to_string(n, 16))
  defp ports(nil), do: {nil, nil}
  defp ports(first..last//1), do: {first, last}

  test "neighbours", %{ns: ns, socket: socket, names: names} do
    shown =
      for neighbour <- Netns.ip!(ns, "neigh show nud all"), neighbour["lladdr"] do
        {neighbour["dst"], neighbour["dev"], neighbour["lladdr"]}
      end

    {:ok, neighbours} = Neighbour.list(socket)

    ours =
      for %{lladdr: %MAC{} = mac} = neighbour <- neighbours,
          do: {text(neighbour.dst), names[neighbour.ifindex], MAC.to_string(mac)}

    # Multicast entries come and go by themselves.
    assert static(ours) == static(shown)
    assert length(static(ours)) == 3
  end

  defp static(entries),
    do: entries |> Enum.filter(&(elem(&1, 0) =~ ~r/^(192|2001)/)) |> Enum.sort()

  test "statistics", %{ns: ns, socket: socket, names: names} do
    {:ok, before} = Stats.list(socket)
    shown = Map.new(Netns.ip!(ns, "-s link show"), &{&1["ifname"], &1["stats64"]})
    {:ok, later} = Stats.list(socket)
    later = Map.new(later, &{&1.ifindex, &1.link})

    for stats <- before do
      now = later[stats.ifindex]
      ip = shown[names[stats.ifindex]]
      assert ip["rx"]["bytes"] in stats.link.rx_bytes..now.rx_bytes
      assert ip["tx"]["packets"] in stats.link.tx_packets..now.tx_packets
      assert ip["rx"]["errors"] in stats.link.rx_errors..now.rx_errors
    end
  end
end
