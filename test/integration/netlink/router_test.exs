defmodule Linx.Netlink.RouterTest do
  use ExUnit.Case, async: true

  # Three hosts on a bridge and behind a router, with policy rules choosing between two ways.

  @moduletag :root
  @moduletag :netns
  @moduletag timeout: 600_000

  alias Linx.Netlink.{Rtnl, Socket}
  alias Linx.Netlink.Rtnl.{Address, Link, Neighbour, Route, Rule}
  alias Linx.Test.Netns

  # lan: client, router and both servers' uplinks.
  #
  #   client (10.1.0.2) ---- br0 on router (10.1.0.1) ---- wan1 (10.2.1.2) \
  #                                                   ---- wan2 (10.2.2.2)  - server (10.9.9.9)
  @families [
    inet: %{
      client: "10.1.0.2",
      router: "10.1.0.1",
      ways: [{"10.2.1.1", "10.2.1.2"}, {"10.2.2.1", "10.2.2.2"}],
      length: 24,
      host: 32,
      lan: {"10.1.0.0", 24},
      target: "10.9.9.9",
      other: "10.1.0.3",
      subnet: "10.1.0.3/32",
      opts: []
    },
    inet6: %{
      client: "fd01::2",
      router: "fd01::1",
      ways: [{"fd02:1::1", "fd02:1::2"}, {"fd02:2::1", "fd02:2::2"}],
      length: 64,
      host: 128,
      lan: {"fd01::", 64},
      target: "fd09::9",
      other: "fd01::3",
      subnet: "fd01::3/128",
      opts: [flags: [:nodad]]
    }
  ]

  # More than the kernel sends on a link of its own accord meanwhile.
  @pings 20

  for {family, addresses} <- @families do
    @tag family: family
    test "ping and TCP follow the rules (#{family})" do
      route_through(unquote(family), unquote(Macro.escape(addresses)))
    end
  end

  defp route_through(family, a) do
    [client, router, server] = spaces = for _ <- 1..3, do: Netns.start()
    [c, r, s] = sockets = Enum.map(spaces, &Netns.open/1)
    before = for {:ok, links} <- Enum.map(sockets, &Link.list/1), do: length(links)

    wire(r, client, server)
    [{r1, s1}, {r2, s2}] = a.ways
    lan(c, r, a)

    for {link, ours, theirs} <- [{"wan1", r1, s1}, {"wan2", r2, s2}] do
      :ok = Address.add(r, link, ours, a.length, a.opts)
      :ok = Address.add(s, link, theirs, a.length, a.opts)
      for socket <- [r, s], do: :ok = Link.set_up(socket, link)
    end

    :ok = Link.set_up(s, "lo")
    :ok = Address.add(s, "lo", a.target, a.host, a.opts)
    {lan, lan_length} = a.lan
    # Answers go back the way they came; the router knows the lan on its bridge.
    :ok = Route.add(s, lan, lan_length, r1)
    forwarding(router, family)

    # One way in the main table, another in table 100 for marked packets and for one source.
    :ok = Route.add(r, a.target, a.host, s1)
    :ok = Route.add(r, a.target, a.host, s2, table: 100)
    :ok = Rule.add(r, from: a.subnet, table: 100, priority: 100)
    :ok = Rule.add(r, fwmark: 7, family: family, table: 100, priority: 101)

    assert {:ok, %Route{gateway: way}} = Route.get(r, a.target)
    assert Kernel.to_string(way) == s1
    assert {:ok, %Route{gateway: way}} = Route.get(r, a.target, mark: 7)
    assert Kernel.to_string(way) == s2

    # The wan's neighbours are told, not asked for.
    for {link, theirs} <- [{"wan1", s1}, {"wan2", s2}] do
      {:ok, %Link{address: mac}} = Link.get(s, link)
      :ok = Neighbour.replace(r, link, theirs, mac)
    end

    assert counted(r, "wan1", fn -> ping(client, a.client, a.target) end) >= @pings
    assert counted(r, "wan2", fn -> ping(client, a.client, a.target) end) < @pings
    assert counted(r, "wan2", fn -> ping(client, a.other, a.target) end) >= @pings
    assert transfer(client, server, a) == 200_000

    # Without the way the packets are lost, and with it they flow again.
    :ok = Route.delete(r, a.target, a.host, s1)
    refute reachable?(client, a.client, a.target)
    :ok = Route.replace(r, a.target, a.host, s2)
    assert Netns.eventually(fn -> reachable?(client, a.client, a.target) end)

    # Torn down to nothing.
    assert {:ok, [:ok, :ok, :ok, :ok]} =
             Link.delete_many(r, ["wan1", "wan2", "lan", "br0"])

    for opts <- [[from: a.subnet, table: 100], [fwmark: 7, family: family, table: 100]],
        do: :ok = Rule.delete(r, opts)

    assert {:ok, []} = Route.list(r, table: 254, family: family)
    assert {:ok, []} = Route.list(r, table: 100, family: family)
    assert before == for({:ok, links} <- Enum.map(sockets, &Link.list/1), do: length(links))
  end

  # The router's bridge with the client's wire, and two wires to the server.
  defp wire(r, client, server) do
    :ok = Link.create_bridge(r, "br0")
    :ok = Link.create_veth(r, "lan", "eth0")
    :ok = Link.set_master(r, "lan", "br0")
    :ok = Link.move_to_netns(r, "eth0", client.pid)

    for link <- ["wan1", "wan2"] do
      :ok = Link.create_veth(r, link, "far")
      :ok = Link.move_to_netns(r, "far", server.pid)
      {:ok, s} = Rtnl.open(Netns.target(server))
      :ok = Link.set_name(s, "far", link)
      :ok = Socket.close(s)
    end

    for link <- ["lo", "br0", "lan"], do: :ok = Link.set_up(r, link)
  end

  defp lan(c, r, a) do
    :ok = Address.add(r, "br0", a.router, a.length, a.opts)

    assert {:ok, results} =
             Rtnl.batch(c, [
               {Link, :set_up, ["lo"]},
               {Link, :set_up, ["eth0"]},
               {Address, :add, ["eth0", a.client, a.length, a.opts]},
               {Address, :add, ["eth0", a.other, a.length, a.opts]},
               {Route, :add_default, [a.router]}
             ])

    assert Enum.all?(results, &(&1 == :ok))
  end

  defp forwarding(router, :inet) do
    Netns.run!(router, "sysctl -qw net.ipv4.ip_forward=1")
    # Two ways out and one back: the answer does not come in where the question went out.
    Netns.run!(router, "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wan2.rp_filter=0")
  end

  defp forwarding(router, :inet6),
    do: Netns.run!(router, "sysctl -qw net.ipv6.conf.all.forwarding=1")

  # Packets sent on a link meanwhile.
  defp counted(socket, link, fun) do
    before = sent(socket, link)
    fun.()
    sent(socket, link) - before
  end

  defp sent(socket, link) do
    {:ok, stats} = Rtnl.Stats.get(socket, link)
    stats.link.tx_packets
  end

  defp ping(ns, source, target),
    do: Netns.run!(ns, "ping -c #{@pings} -i 0.02 -W 30 -q -I #{source} #{target}")

  defp reachable?(ns, source, target),
    do: match?({_, 0}, Netns.run(ns, "ping -c 1 -W 1 -q -I #{source} #{target}"))

  # Bytes that one end reads of what the other writes.
  defp transfer(client, server, a) do
    program =
      "import socket,sys\n" <>
        "s=socket.create_server((sys.argv[1],8000),family=socket.AF_INET6 if ':' in " <>
        "sys.argv[1] else socket.AF_INET)\n" <>
        "print('listening',flush=True)\nc,_=s.accept()\nn=0\n" <>
        "while True:\n d=c.recv(65536)\n if not d: break\n n+=len(d)\nprint(n,flush=True)"

    port =
      Port.open({:spawn_executable, System.find_executable("nsenter")}, [
        :binary,
        {:line, 100},
        args: ["--target", "#{server.pid}", "--net", "--", "python3", "-c", program, a.target]
      ])

    assert_receive {^port, {:data, {:eol, "listening"}}}

    send_program =
      "import socket,sys;s=socket.create_connection((sys.argv[1],8000),60);" <>
        "s.sendall(b'x'*200000);s.close()"

    {output, 0} =
      System.cmd(
        System.find_executable("nsenter"),
        ["--target", "#{client.pid}", "--net", "--", "python3", "-c", send_program, a.target],
        stderr_to_stdout: true
      )

    assert output == ""
    assert_receive {^port, {:data, {:eol, count}}}
    String.to_integer(count)
  end
end
