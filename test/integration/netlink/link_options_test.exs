defmodule Linx.Netlink.LinkOptionsTest do
  use ExUnit.Case, async: true

  # A kind's own options, given to Link.create and Link.set and shown by ip(8), and the other way
  # round.

  @moduletag :root
  @moduletag :netns

  alias Linx.Netlink.{Error, Rtnl}
  alias Linx.Netlink.Rtnl.{Link, LinkInfo}
  alias Linx.Test.Netns

  setup do
    ns = Netns.quiet()
    on_exit(fn -> Netns.stop(ns) end)
    socket = Netns.open(ns)
    :ok = Link.create_bridge(socket, "br0")
    :ok = Link.create_veth(socket, "v0", "v1")
    %{ns: ns, socket: socket}
  end

  defp shown(ns, name) do
    [link] = Netns.ip!(ns, "link show dev #{name}")
    link["linkinfo"]["info_data"]
  end

  defp data(socket, name) do
    {:ok, link} = Link.get(socket, name)
    link.linkinfo.info_data
  end

  # Each with two values: made with the first, changed to the second.
  @bridge [
    forward_delay: {400, 500},
    hello_time: {200, 300},
    max_age: {1000, 1100},
    ageing_time: {100, 200},
    stp_state: {1, 0},
    priority: {4096, 8192},
    group_fwd_mask: {0x4000, 0x4008},
    mcast_router: {2, 0},
    mcast_query_use_ifaddr: {1, 0},
    mcast_querier: {1, 0},
    mcast_hash_max: {512, 1024},
    mcast_last_member_count: {3, 4},
    mcast_startup_query_count: {3, 4},
    mcast_last_member_interval: {200, 300},
    mcast_membership_interval: {20_000, 30_000},
    mcast_querier_interval: {20_000, 30_000},
    mcast_query_interval: {5000, 6000},
    mcast_query_response_interval: {500, 600},
    mcast_startup_query_interval: {1000, 1100},
    mcast_stats_enabled: {1, 0},
    mcast_igmp_version: {3, 2},
    mcast_mld_version: {2, 1},
    nf_call_iptables: {1, 0},
    nf_call_ip6tables: {1, 0},
    nf_call_arptables: {1, 0}
  ]

  test "every option of a bridge, as it is made and later", %{ns: ns, socket: socket} do
    :ok = Link.create(socket, "br1", :bridge, for({key, {first, _}} <- @bridge, do: {key, first}))
    ip = shown(ns, "br1")
    ours = data(socket, "br1")

    for {key, {first, _}} <- @bridge do
      assert {key, Map.fetch!(ours, key)} == {key, first}
      assert {key, ip(ip, key)} == {key, first}
    end

    for {key, {_, second}} <- @bridge do
      assert Link.set(socket, "br1", [{key, second}]) == :ok, inspect(key)
      assert {key, Map.fetch!(data(socket, "br1"), key)} == {key, second}
      assert {key, ip(shown(ns, "br1"), key)} == {key, second}
    end

    # All at once, with options of links in general.
    both = for {key, {first, _}} <- @bridge, key not in [:stp_state], do: {key, first}
    assert Link.set(socket, "br1", both ++ [up: true, mtu: 1400, alias: "a bridge"]) == :ok
    assert {:ok, %Link{mtu: 1400, alias: "a bridge"} = link} = Link.get(socket, "br1")
    assert Link.up?(link)
    for {key, value} <- both, do: assert(Map.fetch!(link.linkinfo.info_data, key) == value)
  end

  # ip(8) abbreviates two words.
  defp ip(shown, key) do
    short = "#{key}" |> String.replace("_count", "_cnt") |> String.replace("_interval", "_intvl")
    number(Map.get(shown, short, shown["#{key}"]))
  end

  # ip(8) shows some as text.
  defp number("0x" <> hex), do: String.to_integer(hex, 16)
  defp number(other), do: other

  test "a bridge's switches, address and flush", %{ns: ns, socket: socket} do
    :ok = Link.set(socket, "br0", no_linklocal_learn: true)
    assert shown(ns, "br0")["no_linklocal_learn"] == 1
    assert :no_linklocal_learn in data(socket, "br0").boolopts.value
    :ok = Link.set(socket, "br0", no_linklocal_learn: false, fdb_flush: true)
    assert shown(ns, "br0")["no_linklocal_learn"] == 0
    :ok = Link.set(socket, "br0", group_addr: "01:80:c2:00:00:0d")
    assert shown(ns, "br0")["group_addr"] == "01:80:c2:00:00:0d"
    assert "#{data(socket, "br0").group_addr}" == "01:80:c2:00:00:0d"
    Netns.run!(ns, "ip link set br0 type bridge no_linklocal_learn 1")
    assert :no_linklocal_learn in data(socket, "br0").boolopts.value
  end

  test "what ip sets is read", %{ns: ns, socket: socket} do
    Netns.run!(ns, "ip link set br0 type bridge mcast_hash_max 64 ageing_time 500 stp_state 1")

    assert %LinkInfo.Bridge{mcast_hash_max: 64, ageing_time: 500, stp_state: 1} =
             data(socket, "br0")

    Netns.run!(ns, "ip link add vx0 type vxlan id 9 dstport 4789 gbp df set srcport 5000 6000")

    assert %LinkInfo.Vxlan{id: 9, gbp: true, df: 1, port_range: 5000..6000//1} =
             data(socket, "vx0")
  end

  test "a VXLAN, with its link, and what can change of it", %{ns: ns, socket: socket} do
    opts = [
      id: 42,
      port: 4789,
      link: "v0",
      local: "192.0.2.1",
      remote: "192.0.2.9",
      ttl: 9,
      learning: false,
      ageing: 77,
      limit: 99,
      port_range: 5000..6000,
      udp_csum: true,
      udp_zero_csum6_tx: true,
      df: 1,
      gbp: true
    ]

    :ok = Link.create(socket, "vx0", :vxlan, opts)
    ip = shown(ns, "vx0")

    assert %{
             "id" => 42,
             "link" => "v0",
             "local" => "192.0.2.1",
             "remote" => "192.0.2.9",
             "ttl" => 9,
             "ageing" => 77,
             "limit" => 99,
             "port" => 4789,
             "port_range" => %{"low" => 5000, "high" => 6000},
             "udp_csum" => true,
             "udp_zero_csum6_tx" => true,
             "df" => "set",
             "gbp" => true
           } = ip

    refute ip["learning"]

    assert %LinkInfo.Vxlan{
             limit: 99,
             port_range: 5000..6000//1,
             udp_zero_csum6_tx: 1,
             df: 1,
             gbp: true,
             ttl_inherit: false,
             learning: 0
           } = data(socket, "vx0")

    :ok = Link.set(socket, "vx0", ageing: 88, learning: true, remote: "192.0.2.10", link: "v1")
    assert %{"ageing" => 88, "remote" => "192.0.2.10", "link" => "v1"} = shown(ns, "vx0")
    assert data(socket, "vx0").learning == 1
    # Not this one.
    assert {:error, %Error{}} = Link.set(socket, "vx0", id: 43)
    assert shown(ns, "vx0")["id"] == 42

    :ok =
      Link.create(socket, "vx1", :vxlan,
        id: 1,
        port: 4790,
        ttl_inherit: true,
        label: 0xABCDE,
        local: "::1"
      )

    assert data(socket, "vx1").ttl_inherit == true
    assert data(socket, "vx1").label == 0xABCDE
    assert number(shown(ns, "vx1")["label"]) == 0xABCDE
  end

  test "an option is the kind's or is refused with the kind, and nothing changes", context do
    %{socket: socket} = context

    for {ref, opts, reason} <- [
          {"v0", [vlan_filtering: 1], {"veth", {:vlan_filtering, 1}}},
          {"br0", [miimon: 100], {"bridge", {:miimon, 100}}},
          {"br0", [nonsense: 1], {:nonsense, 1}},
          {"br0", [mtu: 1400, table: 1], {"bridge", {:table, 1}}},
          {"br0", [priority: 0x10000], {"bridge", {:priority, 0x10000}}},
          {"br0", [no_linklocal_learn: 1], {"bridge", {:no_linklocal_learn, 1}}},
          {"br0", [forward_delay: nil], {"bridge", {:forward_delay, nil}}},
          {"lo", [vlan_filtering: 1], {:vlan_filtering, 1}},
          {"br0", [mtu: 0, priority: 1], {:mtu, 0}}
        ] do
      assert Link.set(socket, ref, opts) == {:error, {:bad_option, reason}}
    end

    assert {:error, {:bad_option, {"bridge", {:link, _}}}} = Link.set(socket, "br0", link: "v0")
    assert {:ok, %Link{mtu: 1500}} = Link.get(socket, "br0")

    assert {:error, %Error{errno: :enodev, message: text}} =
             Link.set(socket, "nope0", vlan_filtering: 1)

    assert text =~ "nope0"
    assert {:error, {:invalid_name, ""}} = Link.set(socket, "", vlan_filtering: 1)
    {:ok, %Link{index: index}} = Link.get(socket, "br0")
    assert Link.set(socket, index, priority: 7) == :ok
    assert data(socket, "br0").priority == 7
  end

  test "an option that this kernel does not have is not passed over", %{socket: socket} do
    keys = [:stp_mode, :fdb_max_learned, :vlan_default_pvid, :vlan_stats_per_port]
    missing = for key <- keys, Map.fetch!(data(socket, "br0"), key) == nil, do: key

    for key <- keys do
      case Link.set(socket, "br0", [{key, 1}]) do
        :ok ->
          assert key not in missing
          assert Map.fetch!(data(socket, "br0"), key) == 1

        {:error, %Error{} = error} ->
          assert key in missing
          assert error.errno == :eopnotsupp and error.message =~ "#{key}"
      end
    end
  end

  test "a parent is refused for a kind that has none", %{ns: ns, socket: socket} do
    for kind <- [:bridge, :veth, :dummy, :ifb, :gretap, "wireguard", :vrf, :bond],
        make <- [&Link.create/4, &Link.ensure/4, &batched/4] do
      opts = [link: "br0"] ++ if(kind == :veth, do: [peer: "c9"], else: [])
      assert make.(socket, "c8", kind, opts) == {:error, {:bad_option, {:link, "br0"}}}
    end

    refute Enum.any?(Netns.ip!(ns, "link show"), &(&1["ifname"] in ["c8", "c9"]))
    assert Link.create(socket, "c8", :macvlan, link: "v0") == :ok
  end

  defp batched(socket, name, kind, opts) do
    {:ok, [result]} = Rtnl.batch(socket, [{Link, :create, [name, kind, opts]}])
    result
  end

  test "no link is left that was made without an option of this kernel's", context do
    %{ns: ns, socket: socket} = context
    other = Netns.quiet()

    missing =
      for key <- [:stp_mode, :vlan_default_pvid],
          Map.fetch!(data(socket, "br0"), key) == nil,
          do: key

    for {netns, at} <- [
          {[], ns},
          {[netns: {:pid, other.pid}], other},
          {[netns: other.pid], other}
        ],
        {make, netns} <- [{&Link.create/4, netns}, {&Link.ensure/4, []}],
        key <- [:stp_mode, :vlan_default_pvid] do
      made = make.(socket, "br9", :bridge, [{key, 1} | netns])
      at = if netns == [], do: ns, else: at
      there? = Enum.any?(Netns.ip!(at, "link show"), &(&1["ifname"] == "br9"))

      if key in missing do
        assert {:error, %Error{errno: :eopnotsupp, message: text}} = made
        assert text =~ "#{key}" and not there?
        :ok = Link.create(socket, "br9", :bridge, [{key, 0}, {:no_linklocal_learn, true} | netns])
      else
        assert made == :ok and there?
      end

      Netns.run!(at, "ip link del br9")
    end

    Netns.stop(other)
  end

  test "in a batch, the kinds of all are looked up at once", %{ns: ns, socket: socket} do
    assert {:ok, results} =
             Rtnl.batch(socket, [
               {Link, :set, ["br0", [ageing_time: 700]]},
               {Link, :set, ["v0", [ageing_time: 700]]},
               {Link, :set, ["nope0", [ageing_time: 700]]},
               {Link, :set, ["br0", [master: nil, priority: 3]]},
               {Link, :set, ["v1", [mtu: 1400]]}
             ])

    assert [
             :ok,
             {:error, {:bad_option, {"veth", {:ageing_time, 700}}}},
             {:error, %Error{errno: :enodev}},
             :ok,
             :ok
           ] = results

    assert %{"ageing_time" => 700, "priority" => 3} = shown(ns, "br0")
  end

  test "a macvlan's mode", %{ns: ns, socket: socket} do
    :ok = Link.create_macvlan(socket, "m0", "v0")
    :ok = Link.set(socket, "m0", mode: :private)
    assert shown(ns, "m0")["mode"] == "private"
    # The driver of a pair changes nothing.
    assert {:error, %Error{errno: :eopnotsupp}} = Link.set(socket, "v0", peer: "x0")
  end

  test "random options of a bridge, several in a request", %{ns: ns, socket: socket} do
    seed = :rand.seed(:exsss) |> :rand.export_seed_s()

    for _ <- 1..20 do
      opts =
        for {key, {a, b}} <- Enum.take_random(@bridge, :rand.uniform(8)),
            do: {key, Enum.random([a, b])}

      assert Link.set(socket, "br0", opts) == :ok, inspect({seed, opts})
      ip = shown(ns, "br0")
      ours = data(socket, "br0")

      for {key, value} <- opts do
        assert {key, Map.fetch!(ours, key), ip(ip, key)} == {key, value, value},
               inspect(seed)
      end
    end
  end

  @tag :vlan
  test "a VLAN's switches and priorities change, its id does not", %{ns: ns, socket: socket} do
    :ok =
      Link.create(socket, "v0.5", :vlan,
        id: 5,
        link: "v0",
        reorder_hdr: false,
        egress_qos: %{3 => 5}
      )

    assert %{"id" => 5} = ip = shown(ns, "v0.5")
    refute "REORDER_HDR" in Map.get(ip, "flags", [])
    :ok = Link.set(socket, "v0.5", reorder_hdr: true, loose_binding: true, ingress_qos: %{1 => 9})
    assert %{"flags" => flags} = ip = shown(ns, "v0.5")
    assert "REORDER_HDR" in flags and "LOOSE_BINDING" in flags
    assert [%{"from" => 1, "to" => 9}] = ip["ingress_qos"]
    assert [%{"from" => 3, "to" => 5}] = ip["egress_qos"]

    assert %LinkInfo.Vlan{egress_qos: %{3 => 5}, ingress_qos: %{1 => 9}, flags: flags} =
             data(socket, "v0.5")

    assert Enum.sort(flags.value) == [:loose_binding, :reorder_hdr]

    # The switches and priorities that are not given are not compared.
    same = [id: 5, link: "v0", loose_binding: true, egress_qos: %{3 => 5, 4 => 0}]
    assert Link.ensure(socket, "v0.5", :vlan, same) == :ok

    options = Enum.zip([gvrp: true, egress_qos: %{3 => 6}], [:flags, :egress_qos])

    for {option, field} <- options do
      assert {:error, %Error{errno: :eexist, at: [^field]}} =
               Link.ensure(socket, "v0.5", :vlan, [option, id: 5, link: "v0"])
    end

    assert {:error, {:bad_option, {"vlan", {:id, 7}}}} = Link.set(socket, "v0.5", id: 7)
    assert shown(ns, "v0.5")["id"] == 5
  end

  @tag :bond
  test "a bond, by the names of its modes", %{ns: ns, socket: socket} do
    opts = [mode: :active_backup, miimon: 100, num_peer_notif: 3, lp_interval: 5]
    :ok = Link.create(socket, "bond1", :bond, opts)

    assert %{"mode" => "active-backup", "miimon" => 100, "num_peer_notif" => 3} =
             shown(ns, "bond1")

    assert %LinkInfo.Bond{mode: 1, miimon: 100, lp_interval: 5} = data(socket, "bond1")
    :ok = Link.set(socket, "bond1", mode: :"802.3ad", min_links: 2, ad_actor_sys_prio: 9)
    assert %{"mode" => "802.3ad", "min_links" => 2} = shown(ns, "bond1")
    assert %LinkInfo.Bond{mode: 4, ad_actor_sys_prio: 9} = data(socket, "bond1")
    :ok = Link.set(socket, "bond1", mode: 1, miimon: 0)
    :ok = Link.set(socket, "bond1", arp_interval: 50, arp_ip_target: ["192.0.2.1", "192.0.2.2"])
    assert %{"arp_interval" => 50, "arp_ip_target" => targets} = shown(ns, "bond1")
    assert targets == ["192.0.2.1", "192.0.2.2"]
    assert Enum.map(data(socket, "bond1").arp_ip_target, &"#{&1}") == targets

    assert {:error, {:bad_option, {"bond", {:mode, :fastest}}}} =
             Link.set(socket, "bond1", mode: :fastest)
  end
end
