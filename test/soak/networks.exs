defmodule Soak.Networks do
  # Netlink, in namespaces that vanish and over sockets that are closed or too small.
  import Soak.Ends

  alias Linx.{Netfilter, NFT, Process, Reconcile, Sysctl}
  alias Linx.Netlink.{Nfnl, Rtnl, Socket}

  def scenarios do
    [
      rtnl: &rtnl/2,
      shared_socket: &shared_socket/2,
      small_socket: &small_socket/2,
      monitor: &monitor/2,
      netfilter: &netfilter/2,
      nft_monitor: &nft_monitor/2,
      log: &log/2,
      reconcile: &reconcile/2
    ]
  end

  defp rtnl(tag, _places) do
    {:ok, session} = spawn_tagged(tag, argv: ["/bin/sleep", "5"], namespaces: [:net])

    with pid when pid != nil <- workload(session),
         {:ok, socket} <- Rtnl.open({:pid, pid}) do
      saboteur = sabotage(session)
      Rtnl.Link.create_veth(socket, "a0", "a1")
      Rtnl.Link.set_up(socket, "a0")
      Rtnl.Address.add(socket, "a0", "10.9.0.1", 24)
      Rtnl.Route.add_default(socket, "10.9.0.2")

      for resource <- [Rtnl.Link, Rtnl.Address, Rtnl.Route, Rtnl.Rule],
          do: resource.list(socket)

      Rtnl.Link.delete(socket, "a0")
      join(saboteur)
      Enum.random([fn -> Socket.close(socket) end, fn -> :left_to_the_collector end]).()
    end

    Process.stop(session, 0)
  end

  # Ten processes ask, one closes.
  defp shared_socket(_tag, _places) do
    {:ok, socket} = Rtnl.open()
    askers = for _ <- 1..10, do: Task.async(fn -> for _ <- 1..20, do: Rtnl.Link.list(socket) end)
    Elixir.Process.sleep(:rand.uniform(5))
    Socket.close(socket)
    Task.await_many(askers)
  end

  # Answers that do not fit: ENOBUFS, and the next request is answered as if nothing had been.
  defp small_socket(tag, _places) do
    in_network(tag, fn pid, _session ->
      {:ok, socket} = Rtnl.open({:pid, pid})
      for n <- 1..100, do: Rtnl.Address.add(socket, "lo", "10.7.0.#{n}", 32)
      :ok = Socket.set_rcvbuf(socket, 2304)
      Rtnl.Address.list(socket)
      Rtnl.Address.add_many(socket, for(n <- 1..200, do: {"lo", "10.6.0.#{n}", 32}))
      Rtnl.Link.list(socket)
      Socket.close(socket)
    end)
  end

  # A small receive buffer and a flood: ENOBUFS, and a resync for it.
  defp monitor(tag, _places) do
    {:ok, session} = spawn_tagged(tag, argv: ["/bin/sleep", "5"], namespaces: [:net])

    with pid when pid != nil <- workload(session),
         {:ok, socket} <- Rtnl.open({:pid, pid}),
         {:ok, monitor} <- Rtnl.Monitor.subscribe(self(), netns: {:pid, pid}, rcvbuf: 4096) do
      for n <- 1..50, do: Rtnl.Address.add(socket, "lo", "10.8.0.#{n}", 32)

      Enum.random([&Rtnl.Monitor.unsubscribe/1, &stop_rudely/1]).(monitor)

      Socket.close(socket)
    end

    Process.stop(session, 0)
  end

  defp stop_rudely(pid) do
    Elixir.Process.unlink(pid)
    Elixir.Process.exit(pid, :kill)
  end

  @ruleset """
  table inet soak {
    set banned { type ipv4_addr; flags interval; elements = { 192.0.2.0/24, 198.51.100.7 } }
    chain input {
      type filter hook input priority 0; policy accept;
      ip saddr @banned drop
      tcp dport { 22, 80 } counter accept
      ct state established,related accept
    }
  }
  """

  defp netfilter(tag, _places) do
    {:ok, session} = spawn_tagged(tag, argv: ["/bin/sleep", "5"], namespaces: [:net])

    with pid when pid != nil <- workload(session),
         {:ok, socket} <- Nfnl.open({:pid, pid}) do
      saboteur = sabotage(session)
      {:ok, ruleset} = NFT.parse(@ruleset)
      Netfilter.push(socket, ruleset)
      Netfilter.create_table(socket, "owned", family: :inet)

      with {:ok, pulled} <- Netfilter.pull(socket) do
        NFT.format(pulled)
        Netfilter.diff(pulled, ruleset)
      end

      join(saboteur)
      Enum.random([fn -> Socket.close(socket) end, fn -> :left_to_the_collector end]).()
    end

    Process.stop(session, 0)
  end

  # Commits come faster than this socket takes them.
  defp nft_monitor(tag, _places) do
    in_network(tag, fn pid, session ->
      {:ok, socket} = Nfnl.open({:pid, pid})

      rcvbuf = Enum.random([4096, 1_000_000])

      case Netfilter.subscribe(self(), netns: {:pid, pid}, rcvbuf: rcvbuf) do
        {:ok, monitor} ->
          saboteur = sabotage(session)
          {:ok, ruleset} = NFT.parse(@ruleset)
          for _ <- 1..10, do: Netfilter.push(socket, ruleset)

          Enum.random([&Netfilter.unsubscribe/1, &stop_rudely/1]).(monitor)

          join(saboteur)

        {:error, _} ->
          :ok
      end

      Socket.close(socket)
    end)
  end

  defp log(tag, _places) do
    in_network(tag, fn pid, session ->
      # Two listeners of one group: the second is refused.
      listeners =
        for _ <- 1..2, {:ok, listener} <- [Netfilter.log_listen(self(), log_options(pid))] do
          listener
        end

      saboteur = sabotage(session)

      for listener <- listeners,
          do: Enum.random([&Netfilter.unlog_listen/1, &stop_rudely/1]).(listener)

      join(saboteur)
    end)
  end

  defp log_options(pid),
    do: [group: 5000, netns: {:pid, pid}, copy_mode: {:packet, 64}, rcvbuf: 4096]

  # Loops that heal what somebody else breaks, until their namespace is gone.
  defp reconcile(tag, _places) do
    in_network(tag, fn pid, session ->
      {:ok, socket} = Rtnl.open({:pid, pid})
      Rtnl.Link.create_veth(socket, "a0", "a1")
      Rtnl.Link.set_up(socket, "a0")
      options = [interval: 20, debounce: 5, owner: self()]

      {:ok, network} =
        Reconcile.start_link(
          [
            source: Rtnl.Reconcile.Source,
            scope: {:pid, pid},
            desired: %{addresses: [{"a0", "10.5.0.1", 24}], routes: [{:default, "10.5.0.2"}]}
          ] ++ options
        )

      {:ok, knobs} =
        Reconcile.start_link(
          [
            source: Sysctl.Reconcile.Source,
            scope: {:pid, pid},
            desired: %{"net.ipv4.ip_forward" => 1}
          ] ++ options
        )

      for _ <- 1..5 do
        Rtnl.Address.delete(socket, "a0", "10.5.0.1", 24)
        Sysctl.write("net.ipv4.ip_forward", "0", in: {:pid, pid})
        Elixir.Process.sleep(:rand.uniform(20))
      end

      if Enum.random([true, false]), do: kill(workload(session))
      Elixir.Process.sleep(:rand.uniform(40))
      for loop <- [network, knobs], do: Enum.random([&Reconcile.stop/1, &stop_rudely/1]).(loop)
      Socket.close(socket)
    end)
  end

  defp in_network(tag, work) do
    {:ok, session} = spawn_tagged(tag, argv: ["/bin/sleep", "5"], namespaces: [:net])
    if pid = workload(session), do: work.(pid, session)
    Process.stop(session, 0)
  end
end
