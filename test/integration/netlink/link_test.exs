defmodule Linx.Netlink.LinkTest do
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :netns

  alias Linx.Netlink.{Error, Rtnl}
  alias Linx.Netlink.Rtnl.{Address, Link, Reconcile, Route, Stats}
  alias Linx.Test.Netns

  setup do
    ns = Netns.quiet()
    %{ns: ns, socket: Netns.open(ns)}
  end

  defp shown(ns, name), do: ns |> Netns.ip!("link show dev #{name}") |> hd()
  defp names(ns), do: ns |> Netns.ip!("link show") |> Enum.map(& &1["ifname"]) |> Enum.sort()

  describe "an answer longer than a portion of 32 KiB" do
    for count <- [240, 480] do
      test "of #{count} names, by name, alternative name and index", %{ns: ns, socket: s} do
        :ok = Link.create_veth(s, "b0", "b1")
        names = for i <- 1..unquote(count), do: String.pad_trailing("n#{i}-", 127, "x")

        for name <- names, do: :ok = Link.add_altname(s, "b1", name)
        [%{"altnames" => shown}] = Netns.ip!(ns, "link show dev b1")
        assert length(shown) == unquote(count)

        {:ok, links} = Link.list(s)
        listed = Enum.find(links, &(&1.name == "b1"))
        assert length(listed.altnames) == unquote(count)

        for ref <- ["b1", hd(names), List.last(names), listed.index] do
          assert {:ok, %Link{name: "b1", altnames: altnames}} = Link.get(s, ref)
          assert altnames == listed.altnames
        end

        assert {:ok, %Stats{}} = Stats.get(s, "b1")
      end
    end
  end

  describe "text at its longest" do
    test "of a link: the longest works, one more is refused here", %{ns: ns, socket: s} do
      long = &String.duplicate("a", &1)
      :ok = Link.create_veth(s, long.(15), "v1")
      :ok = Link.set_up(s, "v1")
      :ok = Link.set_up(s, long.(15))
      assert long.(15) in names(ns)
      assert {:error, {:invalid_name, _}} = Link.create_bridge(s, long.(16))
      assert {:error, {:invalid_name, _}} = Link.set_name(s, "v1", long.(16))

      assert :ok = Link.add_altname(s, "v1", long.(127))
      assert [<<_::binary-127>>] = shown(ns, "v1")["altnames"]
      assert {:error, {:invalid_name, _}} = Link.add_altname(s, "v1", long.(128))

      for n <- [1, 254, 255] do
        assert :ok = Link.set(s, "v1", alias: long.(n))
        assert shown(ns, "v1")["ifalias"] == long.(n)
        assert {:ok, %Link{alias: alias}} = Link.get(s, "v1")
        assert alias == long.(n)
      end

      assert {:error, {:bad_option, {:alias, _}}} = Link.set(s, "v1", alias: long.(256))
      assert {:error, {:bad_option, {:alias, _}}} = Link.set(s, "v1", alias: "a\0")
      assert :ok = Link.set(s, "v1", alias: "")
      assert shown(ns, "v1")["ifalias"] in [nil, ""]

      assert :ok = Address.add(s, "v1", "192.0.2.1", 32, label: long.(15))
      assert {:ok, [%{label: <<_::binary-15>>}]} = Address.list(s, "v1")

      assert {:error, {:bad_option, {:label, _}}} =
               Address.add(s, "v1", "192.0.2.2", 32, label: long.(16))

      # A route's congestion control: no algorithm has such a name.
      assert {:error, %Error{}} =
               Route.add(s, "203.0.113.0", 24, nil, oif: "v1", metrics: [cc_algo: long.(15)])

      assert {:error, {:bad_option, {:metrics, _}}} =
               Route.add(s, "203.0.113.0", 24, nil, oif: "v1", metrics: [cc_algo: long.(16)])

      assert :ok = Rtnl.Rule.add(s, iif: long.(15), oif: long.(15), table: 100)

      for key <- [:iif, :oif],
          do: assert({:error, {:bad_option, _}} = Rtnl.Rule.add(s, [{key, long.(16)}, table: 1]))
    end
  end

  test "switches as ip has them", %{ns: ns, socket: s} do
    :ok = Link.create_veth(s, "v0", "v1")

    for {switch, flag, shown_on?} <- [
          {:promisc, "PROMISC", true},
          {:arp, "NOARP", false},
          {:multicast, "MULTICAST", true},
          {:allmulticast, "ALLMULTI", true}
        ],
        on? <- [true, false, true] do
      assert :ok = Link.set(s, "v0", [{switch, on?}])
      assert {switch, on?, flag in shown(ns, "v0")["flags"]} == {switch, on?, on? == shown_on?}
    end

    # Together with others, and when a link is made.
    before = shown(ns, "v0")
    assert :ok = Link.set(s, "v0", promisc: false, arp: true, mtu: 1400)
    assert %{"mtu" => 1400, "flags" => flags} = shown(ns, "v0")
    assert before["flags"] -- flags == ["PROMISC"]
    :ok = Link.create(s, "br0", :bridge, arp: false, multicast: false)
    assert "NOARP" in shown(ns, "br0")["flags"]
    refute "MULTICAST" in shown(ns, "br0")["flags"]

    for switch <- [:promisc, :arp, :multicast, :allmulticast],
        do: assert({:error, {:bad_option, {^switch, 1}}} = Link.set(s, "v0", [{switch, 1}]))
  end

  describe "another namespace" do
    setup do
      {:ok, session} =
        Linx.Process.spawn(argv: ["/bin/true"], namespaces: [:net], stdio: :devnull)

      {:ok, pid} = Linx.Process.host_pid(session)
      {:ok, held} = Linx.Netns.open({:pid, pid})
      other = %Netns{pid: pid}
      ways = [pid, {:pid, pid}, {:path, "/proc/#{pid}/ns/net"}, session, held]
      %{other: other, ways: ways, there: Netns.open(other)}
    end

    test "takes a link by a new name in one request",
         %{ns: ns, socket: s, other: other} = context do
      for {netns, n} <- Enum.with_index(context.ways) do
        :ok = Link.create_veth(s, "tmp", "host#{n}")
        # Its own name is taken there from the second on, which is no matter.
        if n == 1, do: Netns.run!(other, "ip link add tmp type bridge")
        assert :ok = Link.move_to_netns(s, "tmp", netns, name: "eth#{n}")
        refute "tmp" in names(ns)
        assert "eth#{n}" in names(other)
        assert "tmp" in names(other) == n > 0
      end

      :ok = Link.create_veth(s, "more", "less")

      assert {:error, %Error{errno: :eexist, message: text}} =
               Link.move_to_netns(s, "more", other.pid, name: "eth0")

      assert text == ~s(interface "eth0" exists already in that namespace)
      {:ok, %{index: index}} = Link.get(s, "more")

      assert {:error, {:invalid_name, "a b"}} =
               Link.move_to_netns(s, "more", other.pid, name: "a b")

      assert {:error, {:bad_option, {:up, true}}} =
               Link.move_to_netns(s, "more", other.pid, up: true)

      assert {:error, %Error{errno: :enodev}} =
               Link.move_to_netns(s, "none", other.pid, name: "x")

      assert {:error, %Error{errno: :esrch}} =
               Link.move_to_netns(s, "more", 0x7FFFFFFF, name: "x")

      assert :ok = Link.move_to_netns(s, index, other.pid, name: "by-index")
      assert "by-index" in names(other)
    end

    test "gets a link that is made there", %{ns: ns, socket: s, other: other} = context do
      for {netns, n} <- Enum.with_index(context.ways) do
        assert :ok =
                 Link.create(s, "eth#{n}", :veth,
                   peer: "ct#{n}",
                   netns: netns,
                   up: true,
                   mtu: 1400
                 )

        assert "ct#{n}" in names(ns)
        refute "eth#{n}" in names(ns)
        assert %{"mtu" => 1400, "flags" => flags} = shown(other, "eth#{n}")
        assert "UP" in flags
      end

      # A parent is the socket's.
      :ok = Link.create(s, "mv0", :macvlan, link: "ct0", mode: :bridge, netns: {:pid, other.pid})
      {:ok, parent} = Link.get(s, "ct0")
      assert {:ok, %Link{link: index}} = Link.get(context.there, "mv0")
      assert index == parent.index

      assert {:error, %Error{errno: :eexist}} =
               Link.create(s, "eth0", :bridge, netns: {:pid, other.pid})

      assert {:ok, [:ok, {:error, {:bad_option, {:netns, {:path, "/x"}}}}]} =
               Rtnl.batch(s, [
                 {Link, :create, ["br8", :bridge, [netns: {:pid, other.pid}]]},
                 {Link, :create, ["br9", :bridge, [netns: {:path, "/x"}]]}
               ])

      assert "br8" in names(other)
      before = {names(ns), names(other)}

      for netns <- [0, -1, :blue, "blue", {:pid, 0}, {:fd, 3}, nil_like()] do
        assert {netns, {:error, {:bad_option, {:netns, netns}}}} ==
                 {netns, Link.create(s, "br9", :bridge, netns: netns)}
      end

      assert {:error, %Error{errno: :enoent}} =
               Link.create(s, "br9", :bridge, netns: {:path, "/nowhere"})

      assert {:error, %Error{errno: :esrch, message: "no such process 2147483647"}} =
               Link.create(s, "br9", :bridge, netns: 0x7FFFFFFF)

      assert {names(ns), names(other)} == before
    end

    defp nil_like, do: {:path, ""}
  end

  describe "ensure" do
    @kinds [
      {"br0", :bridge, [stp_state: 1, forward_delay: 400, mtu: 1400, up: true]},
      {"br1", :bridge, []},
      {"br2", :bridge, [no_linklocal_learn: true, fdb_flush: true]},
      {"v0", :veth, [peer: "v1", address: "02:00:00:00:00:07", group: 7]},
      {"m0", :macvlan, [link: "v1", mode: :private, arp: false]},
      {"vx2", :vxlan, [id: 44, link: "v1", remote: "239.1.1.1", port: 4790]},
      {"vx0", :vxlan, [id: 42, remote: "192.0.2.9", port: 4789, learning: false]},
      {"vx1", :vxlan, [id: 43, local: "2001:db8::1", external: false, alias: "x"]},
      {"p0", :veth, [peer: "p1", master: "br1", promisc: true]}
    ]

    test "makes what is absent and leaves what is there", %{ns: ns, socket: s} do
      for {name, kind, opts} <- @kinds do
        assert {name, :ok} == {name, Link.ensure(s, name, kind, opts)}
        before = names(ns)
        {:ok, %{index: index}} = Link.get(s, name)
        assert {name, :ok} == {name, Link.ensure(s, name, kind, opts)}
        assert {name, :ok} == {name, Link.ensure(s, name, kind)}
        assert {:ok, %{index: ^index}} = Link.get(s, name)
        assert names(ns) == before
      end
    end

    test "an alias and a VXLAN's link are what they were asked to be", %{ns: ns, socket: s} do
      :ok = Link.create_veth(s, "v0", "v1")
      :ok = Link.create(s, "br0", :bridge, alias: "uplink", up: true)
      assert shown(ns, "br0")["ifalias"] == "uplink"
      :ok = Link.create(s, "br1", :bridge, alias: "")

      assert {:ok, [{:error, {:bad_option, {:alias, "x"}}}]} =
               Rtnl.batch(s, [{Link, :create, ["br2", :bridge, [alias: "x"]]}])

      assert {:error, {:bad_option, {:alias, "x"}}} =
               Link.create(s, "br2", :bridge, alias: "x", netns: {:pid, ns.pid})

      assert {:error, {:bad_option, {:alias, "x"}}} =
               Link.create(s, "br2", :bridge, alias: "x", netns: ns.pid)

      :ok = Link.create(s, "vx2", :vxlan, id: 44, link: "v1", port: 4790)
      assert %{"linkinfo" => %{"info_data" => %{"link" => "v1"}}} = shown(ns, "vx2")

      assert {:error, %Error{errno: :enodev}} =
               Link.create(s, "vx3", :vxlan, id: 45, link: "none", port: 4790)

      assert "vx3" not in names(ns) and "br2" not in names(ns)
    end

    test "desired links have their switches, and a VXLAN its link", %{ns: ns, socket: s} do
      :ok = Link.create_veth(s, "v0", "v1")

      links = [
        {"br0", :bridge, [arp: false, promisc: true, no_linklocal_learn: true]},
        {"vx2", :vxlan, [id: 4, link: "v1"]}
      ]

      {:ok, %{converged?: true} = first} = Reconcile.reconcile(s, %{links: links})
      {:ok, second} = Reconcile.reconcile(s, %{links: links}, first.last_applied)
      assert %{converged?: true, applied: []} = second
      assert %{"linkinfo" => %{"info_data" => %{"link" => "v1"}}} = shown(ns, "vx2")
      Netns.run!(ns, "ip link set br0 arp on promisc off")
      {:ok, third} = Reconcile.reconcile(s, %{links: links}, first.last_applied)
      assert %{converged?: true, applied: [update: _]} = third
      assert ["NOARP", "PROMISC"] -- shown(ns, "br0")["flags"] == []
    end

    test "is an error that names what is something else", %{ns: ns, socket: s} do
      for {name, kind, opts} <- @kinds, do: :ok = Link.create(s, name, kind, opts)
      :ok = Link.add_altname(s, "br0", "bridge-of-rack-7")
      :ok = Link.add_altname(s, "br0", "alt0")
      before = Netns.ip!(ns, "link show")

      for {name, kind, opts, fields} <- [
            {"br0", :veth, [peer: "x"], [:kind]},
            {"lo", :bridge, [], [:kind]},
            {"alt0", :bridge, [], [:name]},
            {"br0", :bridge, [stp_state: 0], [:stp_state]},
            {"br0", :bridge, [mtu: 1500], [:mtu]},
            {"br1", :bridge, [up: true], [:flags]},
            {"br1", :bridge, [no_linklocal_learn: true], [:boolopts]},
            {"br2", :bridge, [no_linklocal_learn: false], [:boolopts]},
            {"br0", :bridge, [alias: "x"], [:alias]},
            {"br0", :bridge, [index: 99], [:index]},
            {"v0", :veth, [peer: "v2"], [:peer]},
            {"v0", :veth, [peer: "v1", address: "02:00:00:00:00:08"], [:address]},
            {"v0", :veth, [group: 0], [:group]},
            {"v0", :veth, [master: "br0"], [:master]},
            {"p0", :veth, [master: nil], [:master]},
            {"p0", :veth, [promisc: false], [:flags]},
            {"m0", :macvlan, [link: "v0"], [:link]},
            {"m0", :macvlan, [mode: :bridge], [:mode]},
            {"m0", :macvlan, [arp: true], [:flags]},
            {"vx0", :vxlan, [id: 41], [:id]},
            {"vx0", :vxlan, [remote: "192.0.2.8"], [:group]},
            {"vx0", :vxlan, [learning: true], [:learning]},
            {"vx2", :vxlan, [link: "v0"], [:link]}
          ] do
        assert {name, opts, {:error, %Error{errno: :eexist, at: at, message: text}}} =
                 {name, opts, Link.ensure(s, name, kind, opts)}

        assert {name, opts, at} == {name, opts, fields}
        assert text =~ name
      end

      assert without_counters(Netns.ip!(ns, "link show")) == without_counters(before)
      assert {:error, {:bad_option, {:netns, 1}}} = Link.ensure(s, "br0", :bridge, netns: 1)
      assert {:error, {:bad_option, {:mut, 1}}} = Link.ensure(s, "br0", :bridge, mut: 1)
    end

    defp without_counters(links), do: Enum.map(links, &Map.take(&1, ~w(ifname mtu flags master)))
  end
end
