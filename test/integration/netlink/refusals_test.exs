defmodule Linx.Netlink.RefusalsTest do
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :netns

  # A refusal names the argument or the right that is wrong or missing.

  alias Linx.Netfilter
  alias Linx.Netlink.{Nfnl, Rtnl, Socket}
  alias Linx.Netlink.Rtnl.{Address, Link, Monitor, Neighbour, Route, Rule, Stats}
  alias Linx.Test.{Netns, Vm}

  setup do
    ns = Netns.start()
    socket = Netns.open(ns)
    {:ok, nfnl} = Nfnl.open(Netns.target(ns))
    on_exit(fn -> Socket.close(nfnl) end)
    %{ns: ns, socket: socket, nfnl: nfnl}
  end

  # A call of every verb, by a socket.
  defp verbs do
    [
      links: &Link.list/1,
      link: &Link.get(&1, "lo"),
      by_index: &Link.get(&1, 1),
      create: &Link.create(&1, "br0", :bridge),
      create_on: &Link.create_vlan(&1, "lo.5", "lo", 5),
      ensure: &Link.ensure(&1, "br0", :bridge),
      set: &Link.set(&1, "lo", up: true),
      set_by_index: &Link.set_down(&1, 1),
      master: &Link.set_master(&1, "lo", "br0"),
      name: &Link.set_name(&1, "lo", "lo0"),
      move: &Link.move_to_netns(&1, "lo", {:pid, 1}),
      altname: &Link.add_altname(&1, "lo", "x"),
      delete: &Link.delete(&1, "lo"),
      delete_many: &Link.delete_many(&1, ["lo"]),
      addresses: &Address.list/1,
      address: &Address.add(&1, "lo", "192.0.2.1", 32),
      address_by_index: &Address.replace(&1, 1, "192.0.2.1", 32),
      ensured: &Address.ensure(&1, 1, "192.0.2.1", 32),
      no_address: &Address.delete(&1, 1, "192.0.2.1", 32),
      many: &Address.add_many(&1, [{1, "192.0.2.1", 32}]),
      routes: &Route.list/1,
      route: &Route.add(&1, "203.0.113.0", 24, nil, type: :blackhole),
      to: &Route.get(&1, "203.0.113.1"),
      default: &Route.add_default(&1, nil, oif: "lo"),
      append: &Route.append(&1, "203.0.113.0", 24, nil, type: :blackhole),
      no_route: &Route.delete(&1, "203.0.113.0", 24, nil),
      routes_at_once: &Route.replace_many(&1, [{"203.0.113.0", 24, nil, [type: :throw]}]),
      rules: &Rule.list/1,
      rule: &Rule.add(&1, table: 100),
      no_rule: &Rule.delete(&1, table: 100),
      no_rule_by_look: &Rule.delete(&1, invert: true),
      rules_at_once: &Rule.delete_many(&1, [[table: 100]]),
      neighbours: &Neighbour.list/1,
      neighbour: &Neighbour.add(&1, "lo", "192.0.2.1", "02:00:00:00:00:01"),
      no_neighbour: &Neighbour.delete(&1, 1, "192.0.2.1"),
      stats: &Stats.get(&1, 1),
      all_stats: &Stats.list/1,
      batch: &Rtnl.batch(&1, [{Rule, :add, [[table: 100]]}]),
      nothing: &Rtnl.batch(&1, [])
    ]
  end

  test "what is no rtnetlink socket is shown", %{socket: socket, nfnl: nfnl} do
    for {verb, run} <- verbs(),
        {given, hint} <- [
          {nil, "Rtnl.open/1 opens one"},
          {:host, ":host"},
          {{:ok, socket}, "inside the {:ok, socket}"},
          {nfnl, "this one is of protocol 12, and Linx.Netlink.Rtnl.open/1 opens the other"}
        ] do
      error =
        try do
          {:answered, run.(given)}
        rescue
          error in ArgumentError -> error
        end

      assert {^verb, %ArgumentError{}} = {verb, error}
      assert {verb, error.message =~ "not a netlink socket of protocol 0"} == {verb, true}
      assert {verb, error.message =~ hint} == {verb, true}
    end
  end

  test "what is no nfnetlink socket is shown", %{socket: socket, nfnl: nfnl} do
    for run <- [
          &Netfilter.push(&1, Netfilter.Ruleset.new()),
          &Netfilter.pull/1,
          &Netfilter.pull(&1, elements: false),
          &Netfilter.pull(&1, {:inet, "fw"}),
          &Netfilter.create_table(&1, "fw")
        ],
        {given, hint} <- [
          {nil, "Nfnl.open/1 opens one"},
          {{:ok, nfnl}, "inside the {:ok, socket}"},
          {socket, "this one is of protocol 0, and Linx.Netlink.Nfnl.open/1 opens the other"}
        ] do
      error = assert_raise ArgumentError, fn -> run.(given) end
      assert error.message =~ "not a netlink socket of protocol 12"
      assert error.message =~ hint
    end
  end

  test "a namespace in another form than its own is shown in that", %{socket: socket} do
    for {given, hint} <- [
          {1234, "that of a process is {:pid, 1234}"},
          {"/run/netns/x", ~s(a namespace file is {:path, "/run/netns/x"})},
          {:blue, ":blue"}
        ],
        run <- [&Rtnl.open/1, &Nfnl.open/1, &Monitor.subscribe(self(), netns: &1)] do
      error = assert_raise ArgumentError, fn -> run.(given) end
      assert error.message =~ "not a network namespace"
      assert error.message =~ hint
    end

    assert_raise ArgumentError, ~r/a namespace file is {:path, "\/x"}/, fn ->
      Link.move_to_netns(socket, "lo", "/x")
    end
  end

  test "the capability that is missing is named" do
    wrapper = [
      "setpriv",
      "--bounding-set=-net_admin",
      "--inh-caps=-net_admin",
      "unshare",
      "--net"
    ]

    refused =
      Vm.eval(
        wrapper,
        quote do
          alias Linx.Netlink.Rtnl
          alias Linx.Netlink.Rtnl.{Address, Link, Neighbour, Route, Rule}
          {:ok, s} = Rtnl.open()
          {:ok, batch} = Rtnl.batch(s, [{Link, :set_up, ["lo"]}, {Rule, :add, [[table: 100]]}])

          [
            Link.set_up(s, "lo"),
            Link.create_bridge(s, "br0"),
            Link.ensure(s, "br0", :bridge),
            Link.delete(s, "lo"),
            Link.set_name(s, "lo", "x"),
            Link.add_altname(s, "lo", "x"),
            Link.move_to_netns(s, "lo", :host),
            Address.add(s, "lo", "192.0.2.1", 32),
            Address.ensure(s, "lo", "192.0.2.1", 32),
            Address.delete(s, "lo", "192.0.2.1", 32),
            Route.add(s, "203.0.113.0", 24, nil, type: :blackhole),
            Route.delete(s, "203.0.113.0", 24, nil),
            Rule.add(s, table: 100),
            Rule.delete(s, table: 254),
            Neighbour.add(s, "lo", "192.0.2.1", "02:00:00:00:00:01") | batch
          ]
        end
      )

    for result <- refused do
      assert {:error, %Linx.Netlink.Error{errno: :eperm} = error} = result
      assert Exception.message(error) =~ "CAP_NET_ADMIN over the network namespace"
    end
  end
end
