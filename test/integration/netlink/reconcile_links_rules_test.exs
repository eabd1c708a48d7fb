defmodule Linx.Netlink.ReconcileLinksRulesTest do
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :netns

  import Linx.Test.ReconcileBench

  alias Linx.Netlink.Error
  alias Linx.Netlink.Rtnl.{Diff, Link, Reconcile, Rule}
  alias Linx.Test.Netns

  setup do: start()

  defp link(bench, name) do
    case Netns.run(bench.ns, "ip -j -d link show #{name}") do
      {json, 0} -> json |> JSON.decode!() |> hd()
      _absent -> nil
    end
  end

  defp rules(bench, family \\ 4) do
    for rule <- Netns.ip!(bench.ns, "-#{family} rule show"),
        rule["protocol"] not in ["kernel"],
        do: rule
  end

  describe "links" do
    test "are made, configured and deleted, with what is on them", bench do
      desired = %{
        links: [
          {"c0", :veth, peer: "c1", master: "br7", up: true},
          {"br7", :bridge, up: true, ageing_time: 20_000, mtu: 1400},
          {"br8", "bridge"}
        ],
        addresses: [{"br7", "10.7.0.1", 24}],
        routes: [{"10.8.0.0", 16, "10.7.0.9"}]
      }

      report = pass(bench, desired)
      assert report.failed == []
      assert link(bench, "c0")["master"] == "br7"
      assert "UP" in link(bench, "br7")["flags"]
      assert link(bench, "br7")["mtu"] == 1400
      assert link(bench, "br7")["linkinfo"]["info_data"]["ageing_time"] == 20_000
      refute "UP" in link(bench, "br8")["flags"]

      assert report.last_applied.links ==
               MapSet.new([{"c0", "veth"}, {"br7", "bridge"}, {"br8", "bridge"}])

      ips!(bench.ns, "link set c1 up")
      assert Netns.eventually(fn -> pass(bench, desired, report.last_applied).converged? end)
      settled(bench, desired, pass(bench, desired, report.last_applied))

      converge(bench, %{}, report.last_applied)
      for name <- ["c0", "c1", "br7", "br8"], do: assert(link(bench, name) == nil)
      assert link(bench, "a0")
    end

    test "drift of options is repaired, and other options change", bench do
      for {a, b, drift, key, shown} <- [
            {[up: true], [up: false], "down", "operstate", {"DOWN", "DOWN"}},
            {[mtu: 1400], [mtu: 1300], "mtu 1200", "mtu", {1400, 1300}},
            {[txqlen: 10], [txqlen: 20], "txqueuelen 30", "txqlen", {10, 20}},
            {[alias: "x"], [alias: "y"], "alias z", "ifalias", {"x", "y"}},
            {[group: 5], [group: 6], "group 7", "group", {"5", "6"}},
            {[address: "02:00:00:00:00:01"], [address: "02:00:00:00:00:02"],
             "address 02:00:00:00:00:03", "address", {"02:00:00:00:00:01", "02:00:00:00:00:02"}}
          ] do
        desired = &%{links: [{"br7", :bridge, &1}]}
        report = converge(bench, desired.(a))
        ips!(bench.ns, "link set br7 #{drift}")
        report = converge(bench, desired.(a), report.last_applied)
        if key != "operstate", do: assert(link(bench, "br7")[key] == elem(shown, 0))
        report = converge(bench, desired.(b), report.last_applied)
        assert link(bench, "br7")[key] == elem(shown, 1)
        converge(bench, %{}, report.last_applied)
      end
    end

    test "options of the kind change", bench do
      desired = &%{links: [{"br7", :bridge, stp_state: &1, ageing_time: 20_000}]}
      report = converge(bench, desired.(0))
      ips!(bench.ns, "link set br7 type bridge ageing_time 30000")
      report = converge(bench, desired.(1), report.last_applied)
      data = link(bench, "br7")["linkinfo"]["info_data"]
      assert {1, 20_000} = {data["stp_state"], data["ageing_time"]}
      assert report.applied == [{:update, elem(hd(report.applied), 1)}]
    end

    test "ports come and go, and a master is taken away", bench do
      desired = %{links: [{"br7", :bridge, ports: ["a1", "b1"], up: true}]}
      report = pass(bench, desired)
      assert link(bench, "a1")["master"] == "br7"
      ips!(bench.ns, "link set b1 nomaster")
      report = pass(bench, desired, report.last_applied)
      assert link(bench, "b1")["master"] == "br7"
      settled(bench, desired, report)
      pass(bench, %{}, report.last_applied)
      assert link(bench, "a1")["master"] == nil
    end

    test "no other link is deleted or made anew", bench do
      ips!(bench.ns, "link add br7 type bridge")
      report = converge(bench, %{links: [{"br7", :bridge, up: true}]})
      assert "UP" in link(bench, "br7")["flags"]
      refute is_map_key(report.last_applied, :links)
      converge(bench, %{}, report.last_applied)
      assert link(bench, "br7")

      desired = %{links: [{"br7", :veth, peer: "x1"}], addresses: [{"a0", "203.0.113.5", 24}]}
      report = pass(bench, desired)
      assert [{{:create, %Link{name: "br7"}}, %Error{errno: :eexist}}] = report.failed
      assert "203.0.113.5/24" in addresses(bench, "a0")
      settled(bench, desired, report)
      assert link(bench, "br7")["linkinfo"]["info_kind"] == "bridge"

      # A link of the name that another program made since is not ours.
      report = converge(bench, %{links: [{"c0", :veth, peer: "c1"}]})
      ips!(bench.ns, "link del c0\nlink add c0 type bridge")
      converge(bench, %{}, report.last_applied)
      assert link(bench, "c0")
    end

    test "ours becomes one of another kind", bench do
      report = converge(bench, %{links: [{"c0", :veth, peer: "c1"}]})
      report = converge(bench, %{links: [{"c0", :bridge}]}, report.last_applied)
      assert link(bench, "c0")["linkinfo"]["info_kind"] == "bridge"
      assert report.last_applied.links == MapSet.new([{"c0", "bridge"}])
    end

    test "what is on a link of the same desired state is no mistake where one failure ends " <>
           "a pass",
         bench do
      desired = %{
        links: [{"c0", :veth, peer: "c1", up: true}],
        addresses: [{"c0", "10.7.0.1", 24}]
      }

      report = converge(bench, desired, %{}, on_error: :halt)
      assert addresses(bench, "c0") == ["10.7.0.1/24"]
      converge(bench, %{}, report.last_applied, on_error: :halt)

      desired = %{
        links: [{"c0", :nonsense}],
        addresses: [{"c0", "10.7.0.1", 24}, {"a0", "10.7.0.1", 24}]
      }

      report = pass(bench, desired, %{}, on_error: :halt)
      assert [{{:create, %Link{}}, %Error{errno: :eopnotsupp}}] = report.failed
      assert {:create, {"c0", "10.7.0.1", 24}} in report.pending
      assert addresses(bench, "a0") == ["192.0.2.1/24"]

      report = pass(bench, desired)

      assert [{{:create, %Link{}}, _}, {{:create, {"c0", _, _}}, {:no_link, "c0"}}] =
               report.failed

      assert addresses(bench, "a0") == ["192.0.2.1/24", "10.7.0.1/24"]
    end

    test "what is desired on a link that the pass deletes is not there", bench do
      for {name, entry} <- [
            {"c0", %{routes: [{"198.18.5.0", 24, nil, oif: "c0"}]}},
            {"c0", %{addresses: [{"c0", "10.7.0.1", 24}]}},
            {"c1", %{addresses: [{"c1", "10.7.0.1", 24}]}},
            {"c0", %{links: [{"c2", :macvlan, link: "c0"}]}},
            {"c0", %{links: [{"c2", :bridge, ports: ["c0"]}]}}
          ] do
        report = pass(bench, %{links: [{"c0", :veth, peer: "c1", up: true}]})
        ips!(bench.ns, "link set c1 up")
        report = pass(bench, entry, report.last_applied)
        assert link(bench, name) == nil
        refute report.converged?
        assert [_] = report.failed
        settled(bench, entry, report)
        pass(bench, %{}, report.last_applied)
      end

      # With one failure at most it is the one that is told.
      made = %{links: [{"c0", :veth, peer: "c1", up: true}]}
      report = converge(bench, made, %{}, on_error: :halt)
      desired = %{addresses: [{"c0", "10.7.0.1", 24}]}
      report = pass(bench, desired, report.last_applied, on_error: :halt)
      assert [{{:create, {"c0", "10.7.0.1", 24}}, {:no_link, "c0"}}] = report.failed
    end

    # The kernel changes the mode of a bond that is down and has no ports (bond_opt_check_deps).
    @tag :bond
    test "a bond of ours whose mode the kernel does not change is made anew", bench do
      mode = fn -> link(bench, "bond7")["linkinfo"]["info_data"]["mode"] end
      desired = &%{links: [{"bond7", :bond, [mode: &1] ++ &2}]}

      report = converge(bench, desired.(:balance_rr, up: true))
      index = link(bench, "bond7")["ifindex"]
      report = converge(bench, desired.(:active_backup, up: true), report.last_applied)
      assert mode.() == "active-backup"
      assert link(bench, "bond7")["ifindex"] != index
      converge(bench, %{}, report.last_applied)

      # With a port, and down.
      report = converge(bench, desired.(:balance_rr, []))
      ips!(bench.ns, "link set b1 down\nlink set b1 master bond7")
      report = converge(bench, desired.(:active_backup, []), report.last_applied)
      assert mode.() == "active-backup"
      converge(bench, %{}, report.last_applied)

      # Another program's stays.
      ips!(bench.ns, "link add bond7 type bond mode balance-rr\nlink set bond7 up")
      report = pass(bench, desired.(:active_backup, []))
      assert [{{:update, %Link{name: "bond7"}}, %Error{}}] = report.failed
      assert mode.() == "balance-rr"
    end

    test "a macvlan of ours that is to be alone on its parent, or was, is made anew", bench do
      desired = &%{links: [{"c0", :macvlan, link: "a1", mode: &1, up: true}]}

      report =
        for mode <- [:bridge, :passthru, :source, :private], reduce: %{last_applied: %{}} do
          report ->
            report = converge(bench, desired.(mode), report.last_applied)
            assert link(bench, "c0")["linkinfo"]["info_data"]["mode"] == "#{mode}"
            report
        end

      converge(bench, %{}, report.last_applied)

      # Another's stays.
      ips!(bench.ns, "link add c0 link a1 type macvlan mode bridge")
      index = link(bench, "c0")["ifindex"]
      report = pass(bench, %{links: [{"c0", :macvlan, link: "a1", mode: :passthru}]})
      assert [{{:update, %Link{name: "c0"}}, %Error{errno: :eexist}}] = report.failed
      assert link(bench, "c0")["ifindex"] == index
    end

    @tag :ifb
    test "a MAC that only a new link takes", bench do
      desired = &%{links: [{"c0", :ifb, [{:up, true} | &1]}]}
      report = converge(bench, desired.([]))
      report = converge(bench, desired.(address: "02:00:00:00:00:01"), report.last_applied)
      assert link(bench, "c0")["address"] == "02:00:00:00:00:01"

      # The old one stays where a new link would take the options no better.
      index = link(bench, "c0")["ifindex"]
      desired = desired.(address: "02:00:00:00:00:02", master: "lo")
      report = pass(bench, desired, report.last_applied)
      assert [{{:update, %Link{name: "c0"}}, %Error{}}] = report.failed
      assert link(bench, "c0")["ifindex"] == index
    end

    @tag :bridge_vlan
    test "a bridge that refuses a change while it is in use stays", bench do
      ips!(bench.ns, "link add c0 type veth peer name c1")
      desired = &{"br7", :bridge, [vlan_filtering: 1, ports: ["c1"]] ++ &1}
      report = converge(bench, %{links: [desired.([])]})
      index = link(bench, "br7")["ifindex"]
      report = pass(bench, %{links: [desired.(mst_enabled: true)]}, report.last_applied)
      assert [{{:update, %Link{name: "br7"}}, %Error{errno: :ebusy}}] = report.failed
      assert link(bench, "br7")["ifindex"] == index
      assert link(bench, "c1")["master"] == "br7"
    end

    test "a parent that differs is repaired where the link is ours", bench do
      parent = fn name ->
        case link(bench, name) do
          %{"linkinfo" => %{"info_kind" => "vxlan", "info_data" => data}} -> data["link"]
          shown -> shown["link"]
        end
      end

      kinds = [{:macvlan, [mode: :private]}, {:vxlan, [id: 5, remote: "192.0.2.9"]}]

      for {kind, opts} <- kinds do
        desired = &%{links: [{"c0", kind, [link: &1] ++ opts}]}
        report = converge(bench, desired.("a0"))
        assert parent.("c0") == "a0"
        report = converge(bench, desired.("b0"), report.last_applied)
        assert parent.("c0") == "b0"

        # An absent parent takes nothing away.
        report = pass(bench, desired.("nope0"), report.last_applied)
        assert [{{:update, %Link{name: "c0"}}, {:no_link, "nope0"}}] = report.failed
        settled(bench, desired.("nope0"), report)
        assert parent.("c0") == "b0"
        converge(bench, %{}, report.last_applied)
      end

      ips!(bench.ns, "link add link a0 name c0 type macvlan mode bridge")
      desired = %{links: [{"c0", :macvlan, link: "b0", mode: :bridge}]}
      report = pass(bench, desired)
      assert [{{:update, %Link{name: "c0"}}, %Error{errno: :eexist} = error}] = report.failed
      assert error.message =~ "link"
      settled(bench, desired, report)
      assert parent.("c0") == "a0"
    end

    test "a veth pair's far end has the name that is desired", bench do
      desired = &%{links: [{"c0", :veth, peer: &1}]}
      report = converge(bench, desired.("c1"))
      index = link(bench, "c1")["ifindex"]
      report = converge(bench, desired.("c2"), report.last_applied)
      assert link(bench, "c2")["ifindex"] == index
      ips!(bench.ns, "link set c2 name c3")
      report = converge(bench, desired.("c2"), report.last_applied)
      assert link(bench, "c2")["ifindex"] == index

      # A name that another link has.
      taken = pass(bench, desired.("b1"), report.last_applied)
      assert [{{:update, %Link{name: "c0"}}, %Error{errno: :eexist}}] = taken.failed
      settled(bench, desired.("b1"), taken)

      # In another namespace it is its owner's.
      other = Netns.start()
      ips!(bench.ns, "link set c2 netns #{other.pid} name eth0")
      report = converge(bench, desired.("c2"), taken.last_applied)
      assert [_] = Enum.filter(Netns.ip!(other, "link show"), &(&1["ifindex"] == index))
      Netns.stop(other)
      converge(bench, %{}, report.last_applied)

      report = pass(bench, %{links: [{"a0", :veth, peer: "c1"}]})
      assert [{{:update, %Link{name: "a0"}}, %Error{errno: :eexist}}] = report.failed
      assert link(bench, "a1")
    end

    test "are made in the order of what they need, ports last", bench do
      desired = %{
        links: [
          {"br7", :bridge, ports: ["c1"]},
          {"c3", :macvlan, link: "c2"},
          {"c2", :macvlan, link: "c0", master: "br8"},
          {"br8", :bridge},
          {"c0", :veth, peer: "c1"}
        ]
      }

      # One failure would end the pass.
      report = converge(bench, desired, %{}, on_error: :halt)
      assert link(bench, "c1")["master"] == "br7"
      assert link(bench, "c2")["master"] == "br8"
      # The driver puts it beside c2.
      assert link(bench, "c3")["link"] == "c0"
      converge(bench, %{}, report.last_applied, on_error: :halt)

      # Two links that need each other cannot be made, and the pass ends.
      circle = %{links: [{"c0", :macvlan, link: "c1"}, {"c1", :macvlan, link: "c0"}]}
      assert %{converged?: false, applied: [], failed: [_, _]} = pass(bench, circle)
    end

    test "a link with two masters, or an option with two values, is refused", bench do
      for links <- [
            [{"br7", :bridge, ports: ["a1"]}, {"br8", :bridge, ports: ["b1", "a1"]}],
            [
              {"br8", :bridge},
              {"c0", :veth, peer: "c1", master: "br8"},
              {"br7", :bridge, ports: ["c0"]}
            ],
            [{"c0", :veth, peer: "c1", master: nil}, {"br7", :bridge, ports: ["c0"]}]
          ] do
        last = List.last(links)

        assert {:error, {:normalize, {:duplicate, ^last}}} =
                 Reconcile.reconcile(bench.socket, %{links: links}, %{}, on_error: :continue)
      end

      for {first, second} <- [{{:up, true}, {:up, false}}, {{:mtu, 1400}, {:mtu, 1300}}] do
        bad = {"br7", :bridge, [first, second]}

        assert {:error, {:normalize, {^bad, {:bad_option, ^second}}}} =
                 Reconcile.reconcile(bench.socket, %{links: [bad]})
      end

      assert link(bench, "br7") == nil
    end

    test "an option that is off and that the kernel does not list is no difference", bench do
      for options <- [[vnifilter: false], [mc_route: false, localbypass: false]] do
        report = converge(bench, %{links: [{"c0", :vxlan, [id: 5, port: 4789] ++ options}]})
        converge(bench, %{}, report.last_applied)
      end
    end

    # Values that the kernel keeps otherwise, and other values of the same options.
    @normal [
      {:bridge, [stp_state: 3], [stp_state: 0]},
      {:bridge, [mcast_stats_enabled: 8], [mcast_stats_enabled: 0]},
      {:bridge, [mcast_snooping: 255, mcast_querier: 7], [mcast_snooping: 0]},
      {:bridge, [mcast_query_use_ifaddr: 200], [mcast_query_use_ifaddr: 0]},
      {:vxlan, [id: 5, port: 4789, learning: 9], [id: 5, port: 4789, learning: 0]},
      {:vxlan, [id: 5, port: 4789, proxy: 2], [id: 5, port: 4789, l2miss: 3]},
      {:vxlan, [id: 5, port: 4789, ageing: 0], [id: 5, port: 4789, ageing: 77]}
    ]

    test "a switch or a default that the kernel writes otherwise is no difference", bench do
      for {kind, one, other} <- @normal do
        report = converge(bench, %{links: [{"c0", kind, one}]})
        report = converge(bench, %{links: [{"c0", kind, other}]}, report.last_applied)
        report = converge(bench, %{links: [{"c0", kind, one}]}, report.last_applied)
        converge(bench, %{}, report.last_applied)
      end
    end

    # The times of a bridge, in hundredths of a second: an odd one is kept as the one before
    # where the kernel's clock has 250 ticks a second.
    @times [:forward_delay, :hello_time, :max_age, :ageing_time, :mcast_last_member_interval] ++
             [:mcast_membership_interval, :mcast_querier_interval, :mcast_query_interval] ++
             [:mcast_query_response_interval, :mcast_startup_query_interval]

    test "a time that the kernel keeps in ticks is set once", bench do
      report =
        for key <- @times, reduce: pass(bench, %{}) do
          report ->
            desired = fn n -> %{links: [{"br7", :bridge, [{key, n}]}]} end
            report = converge(bench, desired.(777), report.last_applied)
            ips!(bench.ns, "link set br7 txqueuelen 9")
            assert converge(bench, desired.(777), report.last_applied).applied == []
            # Another program's value is another one.
            :ok = Link.set(bench.socket, "br7", [{key, 780}])
            report = converge(bench, desired.(777), report.last_applied)
            assert {:ok, %{linkinfo: %{info_data: data}}} = Link.get(bench.socket, "br7")
            assert Map.fetch!(data, key) in [776, 777]
            report
        end

      converge(bench, %{}, report.last_applied)
    end

    test "a value that the kernel would keep as another one is refused, with its range", bench do
      for {kind, option, range} <- [
            {:bridge, {:mcast_query_interval, 3}, 100..8_640_000},
            {:bridge, {:mcast_query_interval, 8_640_001}, 100..8_640_000},
            {:bridge, {:mcast_startup_query_interval, 0}, 100..8_640_000},
            {:bridge, {:mcast_membership_interval, 0xFFFFFFFFFFFFFFFF}, 0..1_844_674_407_370},
            {:bridge, {:mcast_hash_elasticity, 8}, 16..16},
            {:bond, {:updelay, 150}, {:multiple_of, 100}},
            {:bond, {:peer_notif_delay, 50}, {:multiple_of, 100}}
          ] do
        entry = {"c0", kind, if(kind == :bond, do: [miimon: 100], else: []) ++ [option]}

        assert {:error, {:normalize, {^entry, {:out_of_range, ^option, ^range}}}} =
                 Reconcile.reconcile(bench.socket, %{links: [entry]}, %{}, on_error: :continue)
      end

      # The ends are kept.
      for n <- [100, 8_640_000] do
        entry = {"br7", :bridge, [mcast_query_interval: n, mcast_startup_query_interval: n]}
        report = converge(bench, %{links: [entry, {"br8", :bridge}]})
        converge(bench, %{}, report.last_applied)
      end
    end

    test "an option that the kernel keeps otherwise is sent once, and pending", bench do
      # A port of 0 is the one of the module's parameter.
      desired = %{links: [{"c0", :vxlan, [id: 5, port: 0]}]}
      report = pass(bench, desired)
      assert [create: %Link{name: "c0"}] = report.applied
      assert [update: %Link{name: "c0"}] = report.pending
      before = link(bench, "c0")
      report = settled(bench, desired, report)
      assert [update: %Link{name: "c0"}] = report.pending

      # With another option it is set, and stays what it is.
      desired = %{links: [{"c0", :vxlan, [id: 5, port: 0, txqlen: 77]}]}
      report = pass(bench, desired, report.last_applied)
      assert [update: %Link{}] = report.applied
      report = settled(bench, desired, report)
      assert Map.delete(link(bench, "c0"), "txqlen") == Map.delete(before, "txqlen")
      report = converge(bench, %{links: [{"c0", :vxlan, [id: 5]}]}, report.last_applied)
      refute is_map_key(report.last_applied, :unkept)
      converge(bench, %{}, report.last_applied)
    end

    test "a port that two bridges want, by two of its names, has the first", bench do
      # An alternative name is a name, so this is no contradiction that the entries show.
      ips!(bench.ns, "link property add dev a1 altname a1-other")
      desired = %{links: [{"br7", :bridge, ports: ["a1"]}, {"br8", :bridge, ports: ["a1-other"]}]}
      report = pass(bench, desired)
      refute report.converged?
      assert [{{:update, %Link{name: "a1"}}, %Error{errno: :ebusy}}] = report.failed
      assert link(bench, "a1")["master"] == "br7"
      settled(bench, desired, report)

      # A master of its own entry comes behind the ports of others.
      desired = %{
        links: [
          {"br7", :bridge, ports: ["v8-other"]},
          {"br8", :bridge},
          {"v8", :veth, peer: "v9"}
        ]
      }

      report = pass(bench, desired, report.last_applied)
      ips!(bench.ns, "link property add dev v8 altname v8-other")
      report = converge(bench, desired, report.last_applied)
      assert link(bench, "v8")["master"] == "br7"
      converge(bench, %{}, report.last_applied)
    end

    test "what is no link is refused", bench do
      for bad <- [
            {"c0", :veth, colour: 1},
            {"c0", :bridge, netns: 1},
            {"c0", :bridge, index: 9},
            {"c0", :bridge, ports: "a1"},
            {"c 0", :bridge},
            {"c0", 7},
            {"c0"},
            {},
            "c0"
          ] do
        assert {:error, {:normalize, {^bad, _}}} =
                 Reconcile.reconcile(bench.socket, %{links: [bad]})
      end

      assert {:error, {:normalize, {:duplicate, _}}} =
               Reconcile.reconcile(bench.socket, %{links: [{"c0", :bridge}, {"c0", :veth}]})
    end
  end

  describe "rules" do
    @rules [
      [from: "10.0.0.0/8", table: 100, priority: 200],
      [from: "10.0.0.0/8", table: 100, priority: 200, oif: "a0"],
      [from: "10.0.0.0/8", table: 100, priority: 200, sport: 80],
      [from: "10.0.0.0/8", table: 5000, priority: 200, dport: 80..90],
      [to: "2001:db8::/32", table: 100, priority: 200],
      [fwmark: 0, fwmask: 0x100000, table: 100, priority: 201],
      [fwmark: 7, table: 100, priority: 202, tos: 16],
      [from: "0.0.0.0/0", table: 100, priority: 203],
      [family: :inet6, table: 100, priority: 204, suppress_prefixlength: 0],
      [iif: "lo", action: :blackhole, priority: 205],
      [ipproto: 6, action: {:goto, 32_766}, priority: 206],
      [uid: 1000..2000, table: 100, priority: 207, invert: true],
      [from: "192.0.2.7", table: 100],
      [from: "192.0.2.8", table: 100, priority: 0]
    ]

    test "are made, put back and deleted, and others' stay", bench do
      ips!(
        bench.ns,
        "rule add from 10.0.0.0/8 table 100 pref 200\nrule add from 1.2.3.4 table 9 pref 99 " <>
          "proto static"
      )

      foreign = rules(bench)
      report = converge(bench, %{rules: @rules})
      assert length(report.applied) == length(@rules)
      assert length(rules(bench)) == length(foreign) + length(@rules) - 2
      assert length(rules(bench, 6)) == 2

      # Their order means nothing.
      assert pass(bench, %{rules: Enum.reverse(@rules)}, report.last_applied).applied == []

      ips!(
        bench.ns,
        "rule del pref 202\nrule del pref 206\nrule add from 10.3.0.0/16 table 7 pref 300 " <>
          "proto 76"
      )

      report = converge(bench, %{rules: @rules}, report.last_applied)
      assert length(report.applied) == 3

      converge(bench, %{}, report.last_applied)
      assert rules(bench) == foreign
      assert rules(bench, 6) == []
    end

    test "each may be left out alone", bench do
      for rule <- @rules do
        report = converge(bench, %{rules: @rules})
        rest = @rules -- [rule]
        report = converge(bench, %{rules: rest}, report.last_applied)
        assert length(rules(bench)) + length(rules(bench, 6)) == length(rest)
        converge(bench, %{}, report.last_applied)
      end
    end

    test "change in what the kernel does not compare", bench do
      for {a, b} <- [
            {[from: "10.0.0.0/8", table: 100, priority: 200], [invert: true]},
            {[action: {:goto, 32_766}, priority: 200], [action: {:goto, 32_767}]}
          ],
          on_error <- [:halt, :continue] do
        report = converge(bench, %{rules: [a]}, %{}, on_error: on_error)
        changed = Keyword.merge(a, b)
        report = converge(bench, %{rules: [changed]}, report.last_applied, on_error: on_error)
        assert [{:update, %Rule{}}] = report.applied
        assert length(rules(bench)) == 1
        converge(bench, %{}, report.last_applied)
      end
    end

    test "of which one says less than another are made in any order", bench do
      wide = [from: "10.0.0.0/8", table: 100, priority: 200]
      wide6 = [from: "2001:db8::/32", table: 100, priority: 200]

      for {less, more} <- [
            {wide, [to: "198.18.0.0/24"]},
            {wide, [tos: 16]},
            {wide, [to: "198.18.0.0/24", tos: 16]},
            {Keyword.delete(wide, :from), [from: "10.0.0.0/8"]},
            {wide6, [to: "2001:db8:1::/48"]}
          ],
          more = Keyword.merge(less, more),
          on_error <- [:halt, :continue] do
        count = fn -> length(rules(bench)) + length(rules(bench, 6)) end
        report = converge(bench, %{rules: [more]}, %{}, on_error: on_error)
        report = converge(bench, %{rules: [less]}, report.last_applied, on_error: on_error)
        assert count.() == 1
        report = converge(bench, %{rules: [more, less]}, report.last_applied, on_error: on_error)
        report = converge(bench, %{rules: [more]}, report.last_applied, on_error: on_error)
        report = converge(bench, %{rules: [less, more]}, report.last_applied, on_error: on_error)
        report = converge(bench, %{}, report.last_applied, on_error: on_error)
        report = converge(bench, %{rules: [more, less]}, report.last_applied, on_error: on_error)
        assert count.() == 2
        converge(bench, %{}, report.last_applied, on_error: on_error)
      end
    end

    # A rule that is made anew stands behind the others of its priority.
    test "which the kernel refuses to change stay in their place", bench do
      rule = [action: {:goto, 300}, priority: 200]
      report = converge(bench, %{rules: [rule]})
      ips!(bench.ns, "rule add from 10.0.0.0/8 table 9 pref 200 proto static")
      before = Netns.ip!(bench.ns, "rule show")

      for on_error <- [:halt, :continue] do
        back = %{rules: [Keyword.put(rule, :action, {:goto, 100})]}
        report = pass(bench, back, report.last_applied, on_error: on_error)
        assert [{{:update, %Rule{}}, %Error{errno: :einval}}] = report.failed
        assert report.applied == []
        assert Netns.ip!(bench.ns, "rule show") == before
      end
    end

    test "of two protocols do not meet", bench do
      rule = [from: "10.0.0.0/8", table: 100, priority: 200]
      a = converge(bench, %{rules: [rule]})
      b = converge(bench, %{rules: [rule]}, %{}, protocol: 100)
      converge(bench, %{}, a.last_applied)
      assert length(rules(bench)) == 1
      converge(bench, %{}, b.last_applied, protocol: 100)
      assert rules(bench) == []
    end

    test "as listed compare as they were made", bench do
      for opts <- @rules do
        :ok = Rule.add(bench.socket, Keyword.put(opts, :protocol, 76))
      end

      {:ok, list} = Rule.list(bench.socket)
      ours = Enum.filter(list, &(&1.protocol == 76))
      assert length(Diff.rules(ours, [], MapSet.new())) == length(@rules)
      assert Diff.rules(ours, list, MapSet.new()) == []
      assert pass(bench, %{rules: @rules}).applied == []
    end

    test "that make no sense are refused", bench do
      for bad <- [[from: "10.0.0.0/8"], [table: 0], [colour: 1], :bad, [:bad], {"10.0.0.0", 8}] do
        assert {:error, {:normalize, {^bad, _}}} =
                 Reconcile.reconcile(bench.socket, %{rules: [bad]})
      end

      rule = [from: "10.0.0.0/8", table: 100, priority: 200]

      assert {:error, {:normalize, {:duplicate, _}}} =
               Reconcile.reconcile(bench.socket, %{rules: [rule, [{:tos, 0} | rule]]})
    end
  end
end
