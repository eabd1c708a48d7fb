# A fleet: three nodes of Erlang's distribution, each in a network namespace of its own, all on
# one bridge, all kept in their desired state by loops that one controller starts and feeds.
#
#     sudo unshare --net elixir --erl "-start_epmd false -erl_epmd_port 4370" \
#       -S mix run --no-start examples/fleet.exs
#
# Here the nodes are workloads of the controller, so that one machine will do. On real machines
# the first half is done by whoever boots them, and the second half is the same.

alias Linx.Netlink.Rtnl
alias Linx.Netlink.Rtnl.{Address, Link}

defmodule Wait do
  def until(what, ask, tries \\ 500) do
    cond do
      ask.() -> IO.puts("  #{what}")
      tries == 0 -> raise "never: #{what}"
      true -> Process.sleep(20) && until(what, ask, tries - 1)
    end
  end
end

names = ~w(north east south)
cookie = Base.encode16(:crypto.strong_rand_bytes(16))

# -- a network: a bridge here, and a link from each node into it ---------------------------------

{:ok, here} = Rtnl.open()
:ok = Link.set_up(here, "lo")
:ok = Link.create_bridge(here, "fleet0")
:ok = Address.add(here, "fleet0", "10.55.0.1", 24)
:ok = Link.set_up(here, "fleet0")

erl = System.find_executable("erl")

boot = fn name, n ->
  address = "10.55.0.#{10 + n}"

  {:ok, session} =
    Linx.Process.spawn(
      argv:
        [erl, "-noinput", "-name", "#{name}@#{address}", "-setcookie", cookie] ++
          ~w(-start_epmd false -erl_epmd_port 4370 -connect_all false),
      namespaces: [:net, :pid],
      init: true,
      stdio: :devnull
    )

  {:ok, pid} = Linx.Process.host_pid(session)
  :ok = Link.create_veth(here, name, "peer0")
  :ok = Link.move_to_netns(here, "peer0", pid)
  :ok = Link.set_master(here, name, "fleet0")
  :ok = Link.set_up(here, name)

  {:ok, there} = Rtnl.open({:pid, pid})
  :ok = Link.set_name(there, "peer0", "eth0")
  :ok = Address.add(there, "eth0", address, 24)
  for link <- ~w(lo eth0), do: :ok = Link.set_up(there, link)
  :ok = Linx.Netlink.Socket.close(there)

  :ok = Linx.Process.proceed(session)
  {:"#{name}@#{address}", session}
end

fleet = for {name, n} <- Enum.with_index(names, 1), do: boot.(name, n)
nodes = for {node, _session} <- fleet, do: node

# -- the controller joins them -------------------------------------------------------------------

{:ok, _} = Node.start(:"controller@10.55.0.1", name_domain: :longnames)
Node.set_cookie(String.to_atom(cookie))

for node <- nodes do
  Wait.until("#{node} is up", fn -> Node.connect(node) end)
  :ok = :erpc.call(node, :code, :add_pathsa, [:code.get_path()])
  {:ok, _} = :erpc.call(node, :application, :ensure_all_started, [:elixir])
end

# A node of an application has a supervisor of its own for this. These have nothing but OTP's.
start_there = fn node, child ->
  :erpc.call(node, :supervisor, :start_child, [
    :kernel_safe_sup,
    Supervisor.child_spec(child, restart: :temporary)
  ])
end

# -- what should be, for each, and a loop there that keeps it so ---------------------------------

desired = fn node ->
  n = Enum.find_index(nodes, &(&1 == node)) + 1

  %{
    addresses: [{"lo", "192.0.2.#{n}", 32}],
    routes:
      for(
        {_, m} <- Enum.with_index(nodes, 1),
        m != n,
        do: {"192.0.2.#{m}", 32, "10.55.0.#{10 + m}"}
      )
  }
end

loops =
  for node <- nodes, into: %{} do
    options = [
      source: Linx.Netlink.Rtnl.Reconcile.Source,
      scope: :host,
      desired: desired.(node),
      owner: self()
    ]

    # Supervised on the node, for as long as the node lives; its reports come here.
    {:ok, loop} = start_there.(node, {Linx.Reconcile, options})
    {node, loop}
  end

# A witness of another make.
addresses = fn node ->
  {output, 0} = :erpc.call(node, System, :cmd, ["ip", ~w(-o address show dev lo)])
  output
end

holds? = fn node -> addresses.(node) =~ desired.(node).addresses |> hd() |> elem(1) end

for node <- nodes, do: Wait.until("#{node} has converged", fn -> holds?.(node) end)

# -- somebody meddles; the node mends itself -----------------------------------------------------

[victim | _] = nodes
{_, 0} = :erpc.call(victim, System, :cmd, ["ip", ~w(address delete 192.0.2.1/32 dev lo)])
Wait.until("#{victim} has healed", fn -> holds?.(victim) end)

# -- one address for another, everywhere at once -------------------------------------------------

for {node, loop} <- loops do
  state = desired.(node)

  :ok =
    Linx.Reconcile.put_desired(loop, %{
      state
      | addresses: [{"lo", "198.51.100.1", 32} | state.addresses]
    })
end

for node <- nodes do
  Wait.until("#{node} has the new address", fn ->
    holds?.(node) and addresses.(node) =~ "198.51.100.1"
  end)
end

# -- a workload over there, whose events come here -----------------------------------------------

[remote | _] = nodes

{:ok, workload} =
  start_there.(
    remote,
    {Linx.Process, argv: ["/bin/sh", "-c", "exit 7"], owner: self(), stdio: :devnull}
  )

:ok = Linx.Process.proceed(workload)

receive do
  {:linx_process, :exited, 7} -> IO.puts("  #{remote}: the workload's end was reported here")
after
  5_000 -> raise "no event from #{remote}"
end

for {_node, session} <- fleet, do: {:ok, _} = Linx.Process.stop(session, 0)
:ok = Link.delete(here, "fleet0")
IO.puts("fleet: done")
