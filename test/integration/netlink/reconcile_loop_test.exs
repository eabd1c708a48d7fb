defmodule Linx.Netlink.ReconcileLoopTest do
  # Loops over rtnetlink in networks that do not hold still. Each module of this file is a
  # network of its own, so that they run beside each other.

  defmodule Helpers do
    @moduledoc false

    import ExUnit.Assertions
    import ExUnit.Callbacks, only: [start_supervised!: 2]

    alias Linx.Netlink.Rtnl.Reconcile.Source
    alias Linx.Test.Netns

    @doc "How long a test is disturbed, in milliseconds: as given, or a minute with LINX_SLOW."
    def duration(ms), do: if(Linx.Test.Host.slow?(), do: 60_000, else: ms)

    @doc "A loop in a namespace, which reports to the caller."
    def loop(ns, desired, opts \\ []) do
      start_supervised!(
        {Linx.Reconcile,
         [source: Source, scope: Netns.target(ns), desired: desired, owner: self()]
         |> Keyword.merge(interval: 1_000, debounce: 10)
         |> Keyword.merge(opts)},
        id: {:loop, ns.pid}
      )
    end

    @doc "Links without addresses of the kernel's own, so that IPv6 is in force at once."
    def up(ns, links) do
      for link <- links, do: Netns.run!(ns, "ip link set #{link} up")

      assert Netns.eventually(fn ->
               Enum.all?(
                 links,
                 &(&1 == "lo" or Netns.run!(ns, "ip link show #{&1}") =~ "state UP")
               )
             end)
    end

    @doc "A veth pair between two namespaces."
    def wire({one, a}, {other, b}) do
      Netns.run!(one, "ip link add #{a} type veth peer name #{b} netns #{other.pid}")
    end

    @doc "Commands of ip(8), one a line."
    def ip(ns, commands),
      do: for(line <- String.split(commands, "\n", trim: true), do: Netns.run!(ns, "ip #{line}"))

    def reaches?(ns, target, source),
      do: match?({_, 0}, Netns.run(ns, "ping -c 1 -W 1 -q -I #{source} #{target}"))

    @doc "The packets that a ping lost, of those that it sent: `{lost, sent}`."
    def loss(text) do
      [_, sent, received] =
        Regex.run(~r/(\d+) packets transmitted, (\d+) (?:packets )?received/, text)

      {String.to_integer(sent) - String.to_integer(received), String.to_integer(sent)}
    end

    @doc "A command in a namespace whose output comes as messages of the port."
    def start(ns, command) do
      Port.open({:spawn_executable, System.find_executable("nsenter")}, [
        :binary,
        :exit_status,
        :stderr_to_stdout,
        args: ["--target", "#{ns.pid}", "--net", "--" | String.split(command)]
      ])
    end

    @doc "All that such a command prints until it ends."
    def output(port, text \\ "") do
      receive do
        {^port, {:data, more}} -> output(port, text <> more)
        {^port, {:exit_status, _}} -> text
      after
        120_000 -> flunk("a command does not end; it printed #{text}")
      end
    end

    @doc "Sends a signal to such a command."
    def signal(port, signal) do
      {:os_pid, pid} = Port.info(port, :os_pid)
      {_, 0} = System.cmd("kill", ["-#{signal}", "#{pid}"])
    end

    @doc "Repeats `fun` with a count, every `period` milliseconds for `total`."
    def every(period, total, fun) do
      start = System.monotonic_time(:millisecond)

      for n <- 1..div(total, period) do
        fun.(n)
        # The next step is at a time of its own, whatever this one took.
        left = start + n * period - System.monotonic_time(:millisecond)
        receive after: (max(left, 0) -> :ok)
      end
    end

    def flush_reports(last \\ nil) do
      receive do
        {:linx_reconcile, :report, report} -> flush_reports(report)
      after
        0 -> last
      end
    end

    @doc "The first report for which `fun` is true."
    def await_report(fun) do
      assert_receive {:linx_reconcile, :report, report}
      if fun.(report), do: report, else: await_report(fun)
    end

    def destinations(ns, what \\ "route show"),
      do: ns |> Netns.ip!(what) |> Enum.map(& &1["dst"]) |> Enum.sort()
  end

  defmodule ThreeRouters do
    # A ring of three routers, each with a loop of its own: to each of the two others a way over
    # the wire between them, and a dearer one over the third.
    use ExUnit.Case, async: true

    import Linx.Netlink.ReconcileLoopTest.Helpers

    alias Linx.Test.Netns

    @moduletag :root
    @moduletag :netns

    # Router n's own address, its address on the wire to m, and its link there.
    defp self4(n), do: "10.255.0.#{n}"
    defp self6(n), do: "fd00::#{n}"
    defp wire4(n, m), do: "10.0.#{n * m}.#{n}"
    defp wire6(n, m), do: "fd00:#{n * m}::#{n}"
    defp link(m), do: "to#{m}"

    defp desired(n) do
      others = [1, 2, 3] -- [n]

      %{
        addresses:
          [{"lo", self4(n), 32}, {"lo", self6(n), 128}] ++
            for(
              m <- others,
              a <- [{link(m), wire4(n, m), 24}, {link(m), wire6(n, m), 64}],
              do: a
            ),
        routes:
          for m <- others,
              [third] = others -- [m],
              {via, metric} <- [{m, 10}, {third, 20}],
              {target, len, gateway} <- [
                {self4(m), 32, wire4(via, n)},
                {self6(m), 128, wire6(via, n)}
              ] do
            {target, len, gateway, oif: link(via), metric: metric}
          end
      }
    end

    test "every pair reaches each other, also when a wire is cut and mended" do
      routers = Map.new(1..3, &{&1, router()})

      for {n, m} <- [{1, 2}, {2, 3}, {1, 3}],
          do: wire({routers[n], link(m)}, {routers[m], link(n)})

      for {n, ns} <- routers do
        Netns.run!(ns, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")

        Netns.run!(
          ns,
          "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0"
        )

        for m <- [1, 2, 3] -- [n], do: Netns.run!(ns, "ip link set #{link(m)} up")
        Netns.run!(ns, "ip link set lo up")
      end

      for {n, ns} <- routers, do: loop(ns, desired(n))
      assert_meshed(routers)

      # Both ends lose the link's routes and IPv6 addresses; what is left leads over the third
      # router.
      Netns.run!(routers[1], "ip link set to2 down")
      assert_meshed(routers)

      assert routers[1] |> Netns.ip!("route show #{self4(2)}") |> Enum.map(& &1["dev"]) == ["to3"]

      # Drift meanwhile is healed in each of them.
      Netns.run!(routers[3], "ip route del #{self4(1)} metric 10")

      assert Netns.eventually(fn ->
               length(Netns.ip!(routers[3], "route show #{self4(1)}")) == 2
             end)

      Netns.run!(routers[1], "ip link set to2 up")
      assert_meshed(routers)

      for {n, ns} <- routers, family <- ["-4", "-6"] do
        wanted =
          for {dst, _, gw, opts} <- desired(n).routes,
              family == "-6" == (dst =~ ":"),
              do: {dst, gw, opts[:metric]}

        assert Netns.eventually(fn -> routes(ns, family) == Enum.sort(wanted) end),
               "router #{n}: #{inspect(routes(ns, family))} instead of #{inspect(wanted)}"
      end
    end

    defp routes(ns, family) do
      routes =
        for r <- Netns.ip!(ns, "#{family} route show proto 76"),
            do: {r["dst"], r["gateway"], r["metric"]}

      Enum.sort(routes)
    end

    # Each pair over both families; the kernel may take until its neighbours know each other.
    defp assert_meshed(routers) do
      for n <- 1..3,
          m <- 1..3,
          n != m,
          {from, to} <- [{self4(n), self4(m)}, {self6(n), self6(m)}] do
        assert Netns.eventually(fn -> reaches?(routers[n], to, from) end),
               "#{from} does not reach #{to}"
      end
    end

    # Neighbours of IPv6 are asked for from link-local addresses, which the kernel makes here
    # and takes at once.
    defp router do
      ns = Netns.start()
      Netns.run!(ns, "sysctl -qw net.ipv6.conf.default.accept_dad=0")

      # A way whose far end is down is no way.
      for family <- ["ipv4", "ipv6"],
          link <- ["all", "default"],
          do:
            Netns.run!(ns, "sysctl -qw net.#{family}.conf.#{link}.ignore_routes_with_linkdown=1")

      ns
    end
  end

  defmodule FlappingUplink do
    # A link that goes down and up every 50 ms. Nothing that is not on it is touched, and in the
    # end all is there.
    use ExUnit.Case, async: true

    import Linx.Netlink.ReconcileLoopTest.Helpers

    alias Linx.Test.Netns

    @moduletag :root
    @moduletag :netns
    @moduletag timeout: :infinity

    @desired %{
      addresses: [
        {"lan0", "192.0.2.1", 24},
        {"lan0", "2001:db8:1::1", 64},
        {"wan0", "198.51.100.1", 24},
        {"wan0", "2001:db8:2::1", 64}
      ],
      routes: [
        {:default, "198.51.100.254", oif: "wan0"},
        {:default, "2001:db8:2::2", oif: "wan0"},
        {"203.0.113.0", 24, "192.0.2.2"},
        {"2001:db8:9::", 48, "2001:db8:1::2"},
        {"203.0.114.0", 24, nil, multipath: [[gateway: "192.0.2.2"], [gateway: "192.0.2.3"]]}
      ]
    }

    test "leaves the others alone and has all in the end" do
      ns = Netns.quiet()

      for link <- ["lan", "wan"],
          do: Netns.run!(ns, "ip link add #{link}0 type veth peer name #{link}1")

      up(ns, ["lan1", "lan0", "wan1", "wan0"])
      pid = loop(ns, @desired)
      await_report(& &1.converged?)

      monitor = start(ns, "ip monitor address route")
      total = duration(3_000)

      every(50, total, fn n ->
        Netns.run!(ns, "ip link set wan0 #{if rem(n, 2) == 1, do: "down", else: "up"}")
        # Nothing piles up at the loop.
        assert {:message_queue_len, length} = Process.info(pid, :message_queue_len)
        assert length < 1_000
      end)

      Netns.run!(ns, "ip link set wan0 up")
      last = flush_reports()
      refute last == nil

      if not last.converged?, do: await_report(& &1.converged?)

      assert Netns.eventually(
               fn ->
                 "default" in destinations(ns) and "default" in destinations(ns, "-6 route show")
               end,
               120_000
             )

      signal(monitor, "INT")
      said = output(monitor)
      # The uplink did flap, and not a line is of what is on the other link.
      assert said =~ "wan0"
      refute said =~ "lan0"
      assert Process.alive?(pid)
    end
  end

  defmodule MovingGateway do
    # A default gateway that is on one link and then on the other, once a second, under traffic.
    use ExUnit.Case, async: true

    import Linx.Netlink.ReconcileLoopTest.Helpers

    alias Linx.Test.Netns

    @moduletag :root
    @moduletag :netns
    @moduletag timeout: :infinity

    @client "10.1.0.1"
    @target "10.9.9.9"

    setup do
      [router, server] = [Netns.quiet(), Netns.quiet()]
      for link <- ["wan1", "wan2"], do: wire({router, link}, {server, link})

      for ns <- [router, server],
          do:
            Netns.run!(
              ns,
              "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0"
            )

      for ns <- [router, server],
          link <- ["wan1", "wan2"],
          do: Netns.run!(ns, "ip link set #{link} up")

      for ns <- [router, server], do: up(ns, ["lo", "wan1", "wan2"])

      # Answers come back over a wire that holds still.
      ip(server, """
      addr add #{@target}/32 dev lo
      addr add 10.2.1.2/24 dev wan1
      addr add 10.2.2.2/24 dev wan2
      addr add 203.0.113.9/24 dev wan1
      addr add 203.0.113.9/24 dev wan2
      route add #{@client} via 10.2.1.1
      """)

      %{router: router, server: server}
    end

    defp addresses,
      do: [{"lo", @client, 32}, {"wan1", "10.2.1.1", 24}, {"wan2", "10.2.2.1", 24}]

    test "loses no packet where both links are there", %{router: router} do
      desired = &%{addresses: addresses(), routes: [{:default, "10.2.#{&1}.2", oif: "wan#{&1}"}]}
      {lost, sent, moves} = moved(router, desired)
      IO.puts("moving gateway: #{lost} of #{sent} packets lost in #{moves} moves")
      assert lost == 0
      # One default route at the end.
      assert [%{"dev" => dev}] = Netns.ip!(router, "route show default")
      assert dev in ["wan1", "wan2"]
    end

    test "is followed where it takes its subnet along", %{router: router} do
      desired =
        &%{
          addresses: addresses() ++ [{"wan#{&1}", "203.0.113.1", 24}],
          routes: [{:default, "203.0.113.9"}]
        }

      {lost, sent, moves} = moved(router, desired)
      IO.puts("moving gateway and subnet: #{lost} of #{sent} packets lost in #{moves} moves")
      assert lost * 5 < sent
      assert [%{"dev" => dev}] = Netns.ip!(router, "route show default")

      assert [^dev] =
               for(
                 %{"ifname" => name, "addr_info" => [_ | _] = list} <-
                   Netns.ip!(router, "addr show"),
                 Enum.any?(list, &(&1["local"] == "203.0.113.1")),
                 do: name
               )
    end

    defp moved(router, desired) do
      pid = loop(router, desired.(1))
      await_report(& &1.converged?)
      assert Netns.eventually(fn -> reaches?(router, @target, @client) end)

      ping = start(router, "ping -i 0.01 -q -W 2 -I #{@client} #{@target}")
      total = duration(2_000)

      every(1_000, total, fn n ->
        link = "#{rem(n, 2) + 1}"
        :ok = Linx.Reconcile.put_desired(pid, desired.(link))

        assert Netns.eventually(fn ->
                 match?([%{"dev" => "wan" <> ^link}], Netns.ip!(router, "route show default"))
               end)

        # A busy machine sends fewer in a second, but some by each link.
        before = echoes(router)
        assert Netns.eventually(fn -> echoes(router) >= before + 5 end)
      end)

      signal(ping, "INT")
      {lost, sent} = ping |> output() |> loss()
      moves = div(total, 1_000)
      assert sent >= 5 * moves
      {lost, sent, moves}
    end

    # The echo requests that the namespace has sent: Icmp, OutEchos of proc_net_snmp(5).
    defp echoes(router) do
      lines = router |> Netns.run!("cat /proc/net/snmp") |> String.split("\n")
      [names, values] = for "Icmp: " <> fields <- lines, do: String.split(fields)
      names |> Enum.zip(values) |> Map.new() |> Map.fetch!("OutEchos") |> String.to_integer()
    end
  end

  defmodule LinkThatNeverComes do
    # Entries on a link that is not there: everything else is made, healed and changed.
    use ExUnit.Case, async: true

    import Linx.Netlink.ReconcileLoopTest.Helpers

    alias Linx.Test.Netns

    @moduletag :root
    @moduletag :netns

    @missing [
      {"modem0", "203.0.113.6", 32},
      {"10.66.0.0", 24, nil, [oif: "modem0"]},
      {"10.67.0.0", 24, nil, [multipath: [[gateway: "192.0.2.2"], [oif: "modem0"]]]}
    ]

    test "holds nothing up" do
      ns = Netns.quiet()
      Netns.run!(ns, "ip link add lan0 type veth peer name lan1")
      up(ns, ["lan1", "lan0"])
      [address | routes] = @missing

      desired = %{
        addresses: [address, {"lan0", "192.0.2.1", 24}, {"lan0", "2001:db8:1::1", 64}],
        routes: routes ++ [{"10.1.0.0", 24, "192.0.2.2"}, {"2001:db8:9::", 48, "2001:db8:1::2"}]
      }

      pid = loop(ns, desired)
      report = await_report(fn _ -> true end)
      assert missing(report) == Enum.sort(@missing)
      assert report.pending == []
      assert "10.1.0.0/24" in destinations(ns)
      assert "2001:db8:9::/48" in destinations(ns, "-6 route show")

      # Drift is healed at once. (A fourth time in ten seconds is a contest, and passes wait.)
      for _ <- 1..3 do
        Netns.run!(ns, "ip route del 10.1.0.0/24")
        assert Netns.eventually(fn -> "10.1.0.0/24" in destinations(ns) end, 5_000)
      end

      # So is a change of what is desired: something new, and something that goes.
      changed = %{desired | routes: routes ++ [{"10.2.0.0", 24, "192.0.2.3"}]}
      :ok = Linx.Reconcile.put_desired(pid, changed)

      assert Netns.eventually(
               fn ->
                 "10.2.0.0/24" in destinations(ns) and "10.1.0.0/24" not in destinations(ns)
               end,
               5_000
             )

      assert destinations(ns, "-6 route show 2001:db8:9::/48") == []

      # Passes with nothing to do say so.
      {:ok, report} = Linx.Reconcile.reconcile(pid)
      assert report.applied == []
      assert missing(report) == Enum.sort(@missing)

      # And when the link comes after all, so does what is on it.
      Netns.run!(ns, "ip link add modem0 type veth peer name modem1")
      up(ns, ["modem1", "modem0"])

      assert Netns.eventually(fn ->
               "10.66.0.0/24" in destinations(ns) and "10.67.0.0/24" in destinations(ns)
             end)

      assert {:ok, %{converged?: true}} = Linx.Reconcile.reconcile(pid)
    end

    defp missing(report),
      do: Enum.sort(for {{:create, entry}, {:no_link, "modem0"}} <- report.failed, do: entry)
  end
end
