defmodule Linx.Netfilter.KernelMonitorTest do
  # Commits as a listener hears them, beside writers of its own VM and nft(8).
  use ExUnit.Case, async: true

  import Linx.Test.Firewall, only: [port: 1, ruleset: 1]

  alias Linx.Netfilter
  alias Linx.Netfilter.{Chain, Error, Rule, Ruleset}
  alias Linx.Netlink.{Nfnl, Socket}
  alias Linx.Test.{Firewall, Workload}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  @input [type: :filter, hook: :input, priority: 0]

  setup do
    Firewall.namespace()
  end

  describe "the monitor" do
    test "delivers each commit in order, stamped, after its " <>
           "generation",
         %{sock: sock, pid: pid} do
      {:ok, monitor} = Netfilter.subscribe(self(), netns: {:pid, pid})
      Firewall.run!(pid, ["nft", "add", "table", "inet", "x"])

      assert_receive {:linx_netfilter, :event,
                      %{op: :new_gen, gen_id: gen, proc_name: "nft", entity: %{id: gen}}}

      assert_receive {:linx_netfilter, :event,
                      %{op: :new_table, gen_id: ^gen, proc_name: "nft", entity: %{name: "x"}}}

      :ok = Netfilter.push(sock, ruleset([{port(22), :ssh}]))
      assert_receive {:linx_netfilter, :event, %{op: :new_gen, gen_id: next}}
      assert next == gen + 1
      assert_receive {:linx_netfilter, :event, %{op: :new_table, gen_id: ^next}}

      assert_receive {:linx_netfilter, :event,
                      %{op: :new_chain, entity: {:inet, %Chain{name: "input", hook: :input}}}}

      assert_receive {:linx_netfilter, :event,
                      %{op: :new_rule, entity: {:inet, "fw", "input", %Rule{tag: :ssh}}} = event}

      assert inspect(event) =~ ~r"#Linx.Netfilter.Event<gen=#{next} \S+ new_rule inet/fw/input>"
      :ok = Netfilter.unsubscribe(monitor)
    end

    test "a snapshot and its events meet without a gap", %{sock: sock, pid: pid} do
      {:ok, monitor} = Netfilter.subscribe(self(), netns: {:pid, pid})
      Firewall.run!(pid, ["nft", "add", "table", "inet", "early"])
      {:ok, snapshot} = Netfilter.pull(sock, subscribe_first: monitor)
      Firewall.run!(pid, ["nft", "add", "table", "inet", "late"])
      assert Map.keys(snapshot.tables) == [{:inet, "early"}]
      assert_receive {:linx_netfilter, :event, %{op: :new_table, entity: %{name: "late"}}}
      :ok = Netfilter.unsubscribe(monitor)
    end

    test "an answer among commits holds all before the first event, and nothing of it", context do
      for _ <- 1..5 do
        {:ok, monitor} = Netfilter.subscribe(self(), netns: {:pid, context.pid})
        {:ok, other} = Nfnl.open({:pid, context.pid})
        # From before the first commit, so that what comes has gone by the answer's generation.
        hold = Netfilter.Monitor.hold(monitor)
        writer = Task.async(fn -> for n <- 1..100, do: table(other, n) end)
        result = Netfilter.pull(context.sock, subscribe_first: monitor)
        Task.await(writer, 60_000)
        # So that an event follows, whatever the answer holds.
        table(other, 101)
        :ok = Netfilter.Monitor.release(monitor, hold, 0)

        known =
          case result do
            {:ok, snapshot} -> map_size(snapshot.tables)
            # A commit fell into each of its reads: nothing was answered, and all is told.
            {:error, %Error{errno: :eintr}} -> 0
          end

        assert_receive {:linx_netfilter, :event, %{op: :new_table, entity: %{name: name}}}
        assert name == "t#{known + 1}"
        :ok = Netfilter.unsubscribe(monitor)
        Socket.close(other)
        Firewall.run!(context.pid, ["nft", "flush", "ruleset"])
        forget()
      end
    end

    defp table(sock, n), do: {:ok, _} = Netfilter.create_table(sock, "t#{n}", persist: true)

    defp forget do
      receive do
        {:linx_netfilter, _, _} -> forget()
      after
        0 -> :ok
      end
    end

    test "who dies in a pull holds nothing back", %{pid: pid, sock: sock} do
      {:ok, monitor} = Netfilter.subscribe(self(), netns: {:pid, pid})
      test = self()

      puller =
        spawn(fn ->
          send(test, {:held, Netfilter.Monitor.hold(monitor)})
          Process.sleep(:infinity)
        end)

      assert_receive {:held, _hold}
      {:ok, _} = table(sock, 1)
      Process.exit(puller, :kill)
      assert_receive {:linx_netfilter, :event, %{op: :new_table, entity: %{name: "t1"}}}
      :ok = Netfilter.unsubscribe(monitor)
    end

    @tag timeout: 600_000
    test "sees every one of 10 000 commits in order, or says that it did not", %{pid: pid} do
      {:ok, monitor} = Netfilter.subscribe(self(), netns: {:pid, pid})
      lines = ["add table ip x\n" | for(n <- 1..9_999, do: "add chain ip x c#{n}\n")]
      path = Linx.Test.Scratch.path("txt")
      File.write!(path, lines)
      on_exit(fn -> File.rm(path) end)
      Firewall.run!(pid, ["sh", "-c", "nft -i < #{path}"])
      {:ok, sock} = Nfnl.open({:pid, pid})
      {:ok, %{id: last}} = Nfnl.Codec.get_gen(sock)
      Socket.close(sock)

      case commits(last, [], []) do
        {:resync, _} ->
          :ok

        {gens, names} ->
          assert gens == Enum.to_list((last - 9_999)..last)
          assert names == Enum.map(1..9_999, &"c#{&1}")
      end

      :ok = Netfilter.unsubscribe(monitor)
    end

    test "says resync when it cannot keep up, and goes on with whole commits", %{
      sock: sock,
      pid: pid
    } do
      {:ok, monitor} = Netfilter.subscribe(self(), netns: {:pid, pid}, rcvbuf: 16_384)
      rules = for n <- 1..2_000, do: Rule.build!(port(n))

      # A writer that fills half of a reader's buffer gives up the CPU (netlink_broadcast), and a
      # reader that runs keeps up.
      :ok = :sys.suspend(monitor)
      chain = Chain.new!("input", [rules: rules] ++ @input)

      :ok =
        Netfilter.push(
          sock,
          Ruleset.new() |> Ruleset.add_table!(:inet, "fw") |> Ruleset.put_chain!("fw", chain)
        )

      :ok = :sys.resume(monitor)
      assert_receive {:linx_netfilter, :resync_needed}

      Workload.eventually(fn ->
        name = "t#{System.unique_integer([:positive])}"
        Firewall.run!(pid, ["nft", "add", "table", "ip", name])

        receive do
          {:linx_netfilter, :event, %{op: :new_table, entity: %{family: :ip}, gen_id: gen}}
          when gen > 0 ->
            true
        after
          100 -> false
        end
      end)

      :ok = Netfilter.unsubscribe(monitor)
    end

    defp commits(last, [last | _] = gens, names) do
      receive do
        {:linx_netfilter, :event, %{op: :new_chain, entity: {:ip, chain}}} ->
          {Enum.reverse(gens), Enum.reverse([chain.name | names])}

        {:linx_netfilter, :resync_needed} ->
          {:resync, nil}
      after
        60_000 -> flunk("the last commit came without its chain")
      end
    end

    defp commits(last, gens, names) do
      receive do
        {:linx_netfilter, :event, %{op: :new_gen, gen_id: gen}} ->
          commits(last, [gen | gens], names)

        {:linx_netfilter, :event, %{op: :new_chain, entity: {:ip, c}}} ->
          commits(last, gens, [c.name | names])

        {:linx_netfilter, :event, %{op: :new_table}} ->
          commits(last, gens, names)

        {:linx_netfilter, :resync_needed} ->
          {:resync, nil}
      after
        60_000 -> flunk("#{length(gens)} commits seen")
      end
    end

    test "stops in the middle of a flood", %{pid: pid} do
      {:ok, monitor} = Netfilter.subscribe(spawn_link(&drop/0), netns: {:pid, pid})
      {:ok, sock} = Nfnl.open({:pid, pid})
      flood = spawn_link(fn -> flood(sock) end)
      assert :ok = Netfilter.unsubscribe(monitor)
      Process.unlink(flood)
      Process.exit(flood, :kill)
    end

    defp drop, do: receive(do: (_ -> drop()))

    defp flood(sock) do
      :ok = Netfilter.push(sock, ruleset([{port(22), :ssh}]))
      flood(sock)
    end

    # Whoever relies on its events learns of its end, as of that of rtnetlink's monitor.
    test "and the log listener are linked to the process that started them", %{pid: pid} do
      Process.flag(:trap_exit, true)
      {:ok, rtnl} = Linx.Netlink.Rtnl.Monitor.subscribe(self(), netns: {:pid, pid})
      {:ok, monitor} = Netfilter.subscribe(self(), netns: {:pid, pid})
      {:ok, listener} = Netfilter.log_listen(self(), netns: {:pid, pid}, group: 7)

      for process <- [rtnl, monitor, listener] do
        Process.exit(process, :kill)
        assert_receive {:EXIT, ^process, :killed}
      end

      {:ok, monitor} = Netfilter.subscribe(self(), netns: {:pid, pid})
      :ok = Netfilter.unsubscribe(monitor)
      assert_receive {:EXIT, ^monitor, :normal}
    end

    test "ends with its owner", %{pid: pid} do
      owner = spawn(fn -> receive(do: (:stop -> :ok)) end)
      {:ok, monitor} = Netfilter.subscribe(owner, netns: {:pid, pid})
      ref = Process.monitor(monitor)
      send(owner, :stop)
      assert_receive {:DOWN, ^ref, :process, ^monitor, :normal}
    end
  end
end
