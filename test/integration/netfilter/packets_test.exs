defmodule Linx.Netfilter.PacketsTest do
  # Packets, sent between two namespaces that a veth pair joins: what a rule says must happen to
  # them.
  use ExUnit.Case, async: true

  alias Linx.Netfilter
  alias Linx.Netfilter.{Element, Expr, Ruleset, Set, Vmap}
  alias Linx.Test.{Firewall, Workload}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  @input [type: :filter, hook: :input, priority: 0]

  setup do
    %{pid: here, sock: sock} = Firewall.namespace()
    %{pid: there} = Firewall.namespace()
    ip = &Firewall.run!(here, ["ip" | String.split(&1)])
    ip.("link add v0 type veth peer name v1 netns #{there}")
    ip.("addr add 192.0.2.1/24 dev v0")
    ip.("link set v0 up")
    ip.("link set lo up")

    for command <- ["addr add 192.0.2.2/24 dev v1", "link set v1 up", "link set lo up"],
        do: Firewall.run!(there, ["ip" | String.split(command)])

    %{here: here, there: there, sock: sock}
  end

  defp ruleset(rules, opts \\ []) do
    base =
      Ruleset.new()
      |> Ruleset.add_table!(:inet, "t")
      |> Ruleset.add_chain!("t", "in", opts ++ @input)

    Enum.reduce(rules, base, &Ruleset.add_rule!(&2, "t", "in", &1))
  end

  # One datagram or connection from the peer, by python: {:ok, text} or the error's name.
  @client """
  import socket, sys
  kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
  s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
  s.settimeout(float(sys.argv[4]))
  try:
      s.connect((host, port))
      if kind == "udp":
          s.send(b"hello")
          print("got " + s.recv(100).decode())
      else:
          print("connected")
  except Exception as e:
      print(type(e).__name__)
  """

  @server """
  import socket, sys, select
  ports = [int(p) for p in sys.argv[1:]]
  fds = []
  for p in ports:
      t = socket.socket(); t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); \
  t.bind(("0.0.0.0", p)); t.listen(50); fds.append(t)
      u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", p)); fds.append(u)
  print("ready", flush=True)
  while True:
      for s in select.select(fds, [], [])[0]:
          if s.type == socket.SOCK_STREAM: s.accept()[0].close()
          else:
              data, peer = s.recvfrom(100); s.sendto(str(s.getsockname()[1]).encode(), peer)
  """

  defp serve(pid, ports) do
    args = [
      "--target",
      "#{pid}",
      "--net",
      "python3",
      "-c",
      @server | Enum.map(ports, &to_string/1)
    ]

    port =
      Port.open({:spawn_executable, System.find_executable("nsenter")}, [
        :binary,
        args: args,
        line: 100
      ])

    {:os_pid, os_pid} = Port.info(port, :os_pid)
    on_exit(fn -> System.cmd("kill", ["-9", "#{os_pid}"]) end)
    assert_receive {^port, {:data, {:eol, "ready"}}}
  end

  @peer "192.0.2.1"

  # The answer, waited for up to a minute.
  defp try_to(pid, kind, port), do: client(pid, kind, port, "60")

  # That nothing comes, which takes a second to say.
  defp nothing?(pid, kind, port), do: client(pid, kind, port, "1") in ["timeout", "TimeoutError"]

  defp client(pid, kind, port, wait) do
    {text, 0} = Firewall.run(pid, ["python3", "-c", @client, kind, @peer, to_string(port), wait])
    String.trim(text)
  end

  defp counters(sock) do
    {:ok, rs} = Netfilter.pull(sock, {:inet, "t"})
    {:ok, table} = Ruleset.fetch_table(rs, "t")

    for rule <- table.chains["in"].rules,
        %{name: :counter, data: data} <- rule.expressions,
        do: data.packets
  end

  test "a rule for a TCP port does not admit UDP of that port", %{
    here: here,
    there: there,
    sock: sock
  } do
    serve(here, [22])
    assert try_to(there, "tcp", 22) == "connected"
    assert try_to(there, "udp", 22) == "got 22"

    rules = [[Expr.payload(:tcp_dport), Expr.cmp(:eq, <<22::16>>), Expr.counter(), :accept]]
    :ok = Netfilter.push(sock, ruleset(rules, policy: :drop))

    assert Firewall.run!(here, ["nft", "list", "ruleset"]) =~
             ~r/^\s*tcp dport 22 counter packets 0 bytes 0 accept$/m

    assert try_to(there, "tcp", 22) == "connected"
    assert [packets] = counters(sock)
    assert packets > 0
    assert nothing?(there, "udp", 22)
    assert [^packets] = counters(sock)
  end

  test "the bytes alone admit both", %{here: here, there: there, sock: sock} do
    serve(here, [22])
    rules = [[Expr.payload(:transport, 2, 2), Expr.cmp(:eq, <<22::16>>), :accept]]
    :ok = Netfilter.push(sock, ruleset(rules, policy: :drop))
    assert try_to(there, "tcp", 22) == "connected"
    assert try_to(there, "udp", 22) == "got 22"
  end

  test "sets, intervals and verdict maps decide as they say", %{
    here: here,
    there: there,
    sock: sock
  } do
    serve(here, [80, 81, 90])

    rs =
      ruleset([
        [Expr.payload(:tcp_dport), Expr.lookup("ports", dreg: 0)],
        [
          Expr.payload(:ip_saddr),
          Expr.lookup("lan"),
          Expr.payload(:udp_dport),
          Expr.set_literal([80..89], :inet_service),
          :accept
        ],
        [Expr.counter(), :drop]
      ])

    rs =
      rs
      |> Ruleset.add_chain!("t", "web")
      |> Ruleset.add_rule!("t", "web", [:accept])
      |> Ruleset.add_map!(
        "t",
        Vmap.new!("ports", key_type: :inet_service, elements: [{80, {:jump, "web"}}, {81, :drop}])
      )
      |> Ruleset.add_set!(
        "t",
        Set.new!("lan", key_type: :ipv4_addr, flags: [:interval], elements: ["192.0.2.0/24"])
      )

    :ok = Netfilter.push(sock, rs)
    assert try_to(there, "tcp", 80) == "connected"
    assert nothing?(there, "tcp", 81)
    assert try_to(there, "udp", 81) == "got 81"
    assert nothing?(there, "udp", 90)
    assert [1] = counters(sock)
  end

  test "an element with a timeout is gone after it", %{here: here, there: there, sock: sock} do
    serve(here, [80])
    assert dropped_while_banned?(there, sock, 2_000)
    Workload.eventually(fn -> client(there, "udp", 80, "1") == "got 80" end)
    assert banned(sock) == []
  end

  # On a busy machine the try may come after the ban: then a longer one.
  defp dropped_while_banned?(there, sock, milliseconds) do
    banned =
      Set.new!("banned",
        key_type: :ipv4_addr,
        flags: [:timeout],
        elements: [%Element{key: "192.0.2.2", timeout: milliseconds}]
      )

    rs =
      ruleset([[Expr.payload(:ip_saddr), Expr.lookup("banned"), :drop]])
      |> Ruleset.add_set!("t", banned)

    :ok = Netfilter.push(sock, rs)
    nothing? = nothing?(there, "udp", 80)

    if banned(sock) == [],
      do: dropped_while_banned?(there, sock, 2 * milliseconds),
      else: nothing?
  end

  defp banned(sock) do
    {:ok, rs} = Netfilter.pull(sock, {:inet, "t"})
    rs.tables[{:inet, "t"}].sets["banned"].elements
  end

  test "traffic fills a dynamic set", %{there: there, here: here, sock: sock} do
    serve(here, [80])

    seen =
      Set.new!("seen",
        key_type: :ipv4_addr,
        flags: [:dynamic, :timeout],
        timeout: 60_000,
        size: 100
      )

    rs =
      ruleset([[Expr.payload(:ip_saddr), Expr.dynset(:add, "seen")]])
      |> Ruleset.add_set!("t", seen)

    :ok = Netfilter.push(sock, rs)
    assert try_to(there, "udp", 80) == "got 80"
    {:ok, pulled} = Netfilter.pull(sock, {:inet, "t"})

    assert [%Element{key: {192, 0, 2, 2}, expires: left}] =
             pulled.tables[{:inet, "t"}].sets["seen"].elements

    assert left in 1..60_000
    # A reconcile leaves what traffic put there.
    assert Netfilter.diff(pulled, rs).ops == []
  end

  test "destination NAT and reject", %{here: here, there: there, sock: sock} do
    serve(here, [8080])

    rs =
      Ruleset.new()
      |> Ruleset.add_table!(:inet, "t")
      |> Ruleset.add_chain!("t", "nat", type: :nat, hook: :prerouting, priority: :dstnat)
      |> Ruleset.add_rule!("t", "nat", [
        Expr.payload(:tcp_dport),
        Expr.cmp(:eq, <<80::16>>),
        Expr.redirect(port: 8080)
      ])
      |> Ruleset.add_rule!("t", "nat", [
        Expr.payload(:udp_dport),
        Expr.cmp(:eq, <<81::16>>),
        Expr.dnat_to("192.0.2.1", 8080)
      ])
      |> Ruleset.add_chain!("t", "in", @input)
      |> Ruleset.add_rule!("t", "in", [
        Expr.payload(:tcp_dport),
        Expr.cmp(:eq, <<9::16>>),
        Expr.reject(:tcp_reset)
      ])
      |> Ruleset.add_rule!("t", "in", [
        Expr.payload(:udp_dport),
        Expr.cmp(:eq, <<9::16>>),
        Expr.reject(:icmpx_unreach)
      ])

    :ok = Netfilter.push(sock, rs)
    assert try_to(there, "tcp", 80) == "connected"
    assert try_to(there, "udp", 81) == "got 8080"
    assert try_to(there, "tcp", 9) == "ConnectionRefusedError"
    assert try_to(there, "udp", 9) == "ConnectionRefusedError"
  end

  test "NFLOG reports a packet with its prefix, payload and sequence", %{
    here: here,
    there: there,
    sock: sock
  } do
    serve(here, [80])

    {:ok, listener} =
      Netfilter.log_listen(self(),
        group: 5000,
        netns: {:pid, here},
        copy_mode: {:packet, 256},
        flags: [:seq]
      )

    :ok =
      Netfilter.push(
        sock,
        ruleset([
          [
            Expr.payload(:udp_dport),
            Expr.cmp(:eq, <<80::16>>),
            Expr.log(group: 5000, prefix: "seen")
          ]
        ])
      )

    assert try_to(there, "udp", 80) == "got 80"
    assert_receive {:linx_netfilter, :log, event}

    assert %Netfilter.Log.Event{
             prefix: "seen",
             group: 5000,
             hook: 1,
             hw_protocol: 0x0800,
             seq: 0,
             indev: index
           } = event

    assert is_integer(index)
    assert byte_size(event.hwaddr) == 6
    # 20 bytes of IPv4, 8 of UDP, five of text.
    assert <<4::4, 5::4, _::binary-11, 192, 0, 2, 2, 192, 0, 2, 1, datagram::binary>> =
             event.payload

    assert <<_::16, 80::16, _::32, "hello">> = datagram

    assert {:error, %Netfilter.Error{errno: :eperm, operation: :log_listen}} =
             Netfilter.log_listen(self(), group: 5000, netns: {:pid, here})

    :ok = Netfilter.unlog_listen(listener)
    {:ok, again} = Netfilter.log_listen(self(), group: 5000, netns: {:pid, here})
    :ok = Netfilter.unlog_listen(again)
  end

  test "NFLOG copies as many bytes as it was told to, and none is none", %{
    here: here,
    there: there,
    sock: sock
  } do
    serve(here, [80])
    rule = [Expr.payload(:udp_dport), Expr.cmp(:eq, <<80::16>>), Expr.log(group: 5000)]
    :ok = Netfilter.push(sock, ruleset([rule]))

    for {mode, bytes} <- [
          {:none, nil},
          {:meta, nil},
          {{:packet, 0}, nil},
          {{:packet, 20}, 20},
          {:packet, 33}
        ] do
      {:ok, listener} =
        Netfilter.log_listen(self(), group: 5000, netns: {:pid, here}, copy_mode: mode)

      assert try_to(there, "udp", 80) == "got 80"
      assert_receive {:linx_netfilter, :log, %{payload: payload}}
      assert bytes == (payload && byte_size(payload))
      :ok = Netfilter.unlog_listen(listener)
      forget_logs()
    end
  end

  # A client may have asked twice.
  defp forget_logs do
    receive do
      {:linx_netfilter, :log, _} -> forget_logs()
    after
      0 -> :ok
    end
  end

  test "of 50 000 logged packets none is lost without a word", %{
    here: here,
    there: there,
    sock: sock
  } do
    {:ok, listener} =
      Netfilter.log_listen(self(),
        group: 5000,
        netns: {:pid, here},
        flags: [:seq],
        rcvbuf: 300_000
      )

    logged = fn port, prefix ->
      log = Expr.log(group: 5000, prefix: prefix)
      [Expr.payload(:udp_dport), Expr.cmp(:eq, <<port::16>>), Expr.counter(), log, :drop]
    end

    :ok = Netfilter.push(sock, ruleset([logged.(9, "one"), logged.(10, "last")]))

    code = """
    import socket
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for n in range(50000):
        while True:
            try:
                s.sendto(b"x", ("192.0.2.1", 9)); break
            except OSError: pass
    """

    Firewall.run!(there, ["python3", "-c", code])
    {seqs, told?} = collect(there, [], false)
    :ok = Netfilter.unlog_listen(listener)
    assert seqs == Enum.sort(seqs) and seqs == Enum.uniq(seqs)
    assert [packets, _last] = counters(sock)
    assert packets > 1_000
    assert Enum.take_while(seqs, &(&1 < packets)) == Enum.to_list(0..(packets - 1)) or told?
  end

  # Up to the first packet that was sent after all the others: behind it none of them is on its
  # way. One may be lost too.
  defp collect(there, seqs, told?) do
    receive do
      {:linx_netfilter, :log, %{prefix: "one", seq: seq}} -> collect(there, [seq | seqs], told?)
      {:linx_netfilter, :log, %{prefix: "last"}} -> {Enum.reverse(seqs), told?}
      {:linx_netfilter, :resync_needed} -> collect(there, seqs, true)
    after
      100 ->
        last =
          "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', " <>
            "('192.0.2.1', 10))"

        Firewall.run!(there, ["python3", "-c", last])
        collect(there, seqs, told?)
    end
  end
end
