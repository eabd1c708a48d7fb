defmodule Linx.Netlink.SleepingOwnerTest do
  # Floods at monitors and log listeners whose owner does not read: the VM stays small, and the
  # owner is told of the loss.
  use ExUnit.Case, async: false

  alias Linx.Netfilter
  alias Linx.Netfilter.{Chain, Expr, Rule, Ruleset, Set}
  alias Linx.Netlink.{Rtnl, Socket}
  alias Linx.Netlink.Rtnl.{Link, Monitor, Route}
  alias Linx.Test.{Firewall, Poll}

  @moduletag :root
  @moduletag :netns
  @moduletag timeout: 300_000

  @most 32 * 1024 * 1024

  setup do
    Firewall.namespace()
  end

  # A process that reads when it is told to, up to a message for which `last?` holds, and answers
  # how many messages there were and whether a loss was among them.
  defp sleeper(last?) do
    spawn_link(fn ->
      receive do
        {:wake, test} -> send(test, {:read, read(last?, 0, false)})
      end

      # The listener ends with it.
      receive do: (:end -> :ok)
    end)
  end

  defp read(last?, count, lost?) do
    receive do
      {:wake, _} ->
        read(last?, count, lost?)

      {_subsystem, :resync_needed} ->
        read(last?, count, true)

      {_subsystem, _event, event} ->
        if last?.(event), do: {count, lost?}, else: read(last?, count + 1, lost?)
    end
  end

  # The bytes that the VM has grown by, collected but for the owner's mailbox.
  defp growth(fun) do
    before = memory()
    fun.()
    memory() - before
  end

  defp memory do
    Enum.each(Process.list(), &:erlang.garbage_collect/1)
    :erlang.memory(:total)
  end

  # Nothing of a flood is on its way any more.
  defp settled(listener, owner) do
    length = fn -> owner |> Process.info(:message_queue_len) |> elem(1) end

    Poll.until(fn ->
      before = length.()
      _ = :sys.get_state(listener)
      receive after: (50 -> length.() == before)
    end)
  end

  defp logged(port) do
    Rule.build!([
      Expr.payload(:udp_dport),
      Expr.cmp(:eq, <<port::16>>),
      Expr.counter(),
      Expr.log(group: 5000),
      :drop
    ])
  end

  defp send_packets(pid, port, count) do
    code = """
    import socket
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("127.0.0.1", #{port}))
    data = b"x" * 500
    for n in range(#{count}):
        s.send(data)
    """

    Firewall.run!(pid, ["python3", "-c", code])
  end

  # 830 000 packets are more of the same, and take a minute.
  @tag :nftables
  test "a log listener", %{pid: pid, sock: sock} do
    Firewall.run!(pid, ["ip", "link", "set", "lo", "up"])

    chain =
      Chain.new!("input",
        type: :filter,
        hook: :input,
        priority: 0,
        rules: [logged(9), logged(10)]
      )

    rs =
      Ruleset.new() |> Ruleset.add_table!(:inet, "fw") |> Ruleset.put_chain!("fw", chain)

    :ok = Netfilter.push(sock, rs)
    owner = sleeper(fn event -> match?(<<_::176, 10::16, _::binary>>, event.payload) end)

    {:ok, listener} =
      Netfilter.log_listen(owner, group: 5000, netns: {:pid, pid}, copy_mode: :packet)

    packets = if Linx.Test.Host.slow?(), do: 830_000, else: 120_000

    grown =
      growth(fn ->
        send_packets(pid, 9, packets)
        settled(listener, owner)
      end)

    assert grown < @most
    send(owner, {:wake, self()})
    assert {count, true} = last(fn -> send_packets(pid, 10, 1) end)
    assert count in 1_000..(packets - 1)
    :ok = Netfilter.unlog_listen(listener)
  end

  # The message that is known to be the last may be lost too, and is sent again.
  defp last(sent, tries \\ 100) do
    sent.()

    receive do
      {:read, answer} -> answer
    after
      100 -> if tries > 0, do: last(sent, tries - 1), else: flunk("the owner hears nothing")
    end
  end

  test "an rtnetlink monitor", %{pid: pid} do
    {:ok, socket} = Rtnl.open({:pid, pid})
    on_exit(fn -> Socket.close(socket) end)
    :ok = Link.set_up(socket, "lo")
    owner = sleeper(fn event -> match?(%{resource: %Rtnl.Rule{}}, event) end)
    {:ok, monitor} = Monitor.start_link(owner: owner, netns: {:pid, pid})
    routes = for n <- 1..10_000, do: {"10.#{div(n, 250)}.#{rem(n, 250)}.0", 24, nil, oif: 1}

    grown =
      growth(fn ->
        for _ <- 1..8 do
          {:ok, _} = Route.add_many(socket, routes)
          {:ok, _} = Route.delete_many(socket, routes)
        end

        settled(monitor, owner)
      end)

    assert grown < @most
    send(owner, {:wake, self()})

    rule = fn ->
      :ok = Rtnl.Rule.add(socket, fwmark: System.unique_integer([:positive]), table: 5)
    end

    assert {count, true} = last(rule)
    assert count in 1_000..159_999
    :ok = Monitor.stop(monitor)
  end

  @tag :nftables
  test "a monitor of rulesets, by many commits and by one that is too large", %{
    pid: pid,
    sock: sock
  } do
    set = fn count ->
      elements = for n <- 1..count, do: {10, div(n, 65_536), rem(div(n, 256), 256), rem(n, 256)}

      Ruleset.new()
      |> Ruleset.add_table!(:inet, "t")
      |> Ruleset.add_set!("t", Set.new!("s", key_type: :ipv4_addr, elements: elements))
    end

    owner = sleeper(fn event -> match?(%{op: :new_table, entity: %{name: "last"}}, event) end)
    {:ok, monitor} = Netfilter.subscribe(owner, netns: {:pid, pid}, rcvbuf: 64 * 1024 * 1024)
    {small, large} = {set.(2_000), set.(100_000)}
    :ok = Netfilter.push(sock, set.(1))

    grown =
      growth(fn ->
        for _ <- 1..30, do: :ok = Netfilter.push(sock, small)
        :ok = Netfilter.push(sock, large)
        settled(monitor, owner)
      end)

    assert grown < @most
    send(owner, {:wake, self()})
    table = Ruleset.new() |> Ruleset.add_table!(:inet, "last")
    assert {count, true} = last(fn -> :ok = Netfilter.push(sock, table) end)
    assert count in 1_000..99_999
    :ok = Netfilter.unsubscribe(monitor)
  end
end
