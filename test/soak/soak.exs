# Everything at random, with faults, for SOAK_MINUTES; then what is left is counted. Run by bin/soak.
#
# A scenario may meet any documented error, since another one may be killing its workload or closing its socket at that
# moment. What it may not do is raise, hang, or leave something behind.

defmodule Soak do
  alias Linx.{Capabilities, Cgroup, Mount, Netfilter, NFT, Process, Seccomp, Sysctl, User}
  alias Linx.Netlink.{Nfnl, Rtnl, Socket}

  @namespaces [:user, :mount, :pid, :uts, :ipc, :net, :cgroup]
  @workers 4

  # -- the run -------------------------------------------------------------------------------------------------------

  def main do
    minutes = System.fetch_env!("SOAK_MINUTES") |> String.to_integer()

    seed =
      System.get_env("SOAK_SEED")
      |> then(&if &1, do: String.to_integer(&1), else: System.os_time())

    tag = "LINX_SOAK=#{System.pid()}"
    places = prepare()

    # Through everything a few times, so that code is loaded and atoms are made before the first count.
    for _ <- 1..6, scenario <- scenarios(places), do: attempt(scenario, tag)
    settle()
    # Counting makes atoms of its own the first time.
    account(tag, places)
    before = account(tag, places)

    IO.puts("soak: #{minutes} minutes, #{@workers} workers, seed #{seed}")
    deadline = System.monotonic_time(:second) + minutes * 60

    results =
      1..@workers
      |> Enum.map(fn n ->
        Task.async(fn -> work(:rand.seed(:exsss, {seed, n, 0}), deadline, tag, places, %{}) end)
      end)
      |> Task.await_many(:infinity)

    counts =
      Enum.reduce(results, %{}, &Map.merge(&1, &2, fn _, {a, b}, {c, d} -> {a + c, b ++ d} end))

    for {name, {n, _}} <- Enum.sort(counts),
        do: IO.puts("  #{String.pad_trailing(to_string(name), 12)} #{n}")

    failures = for {name, {_, failures}} <- counts, failure <- failures, do: {name, failure}
    for {name, failure} <- Enum.take(failures, 20), do: IO.puts("FAILED #{name}: #{failure}")

    settle()
    left = wait_for(before, tag, places, 100)
    clean? = report(before, left)
    clean_up(places)
    if failures != [] or not clean?, do: System.halt(1)
    IO.puts("soak: clean")
  end

  defp work(_rand, deadline, tag, places, counts) do
    if System.monotonic_time(:second) >= deadline do
      counts
    else
      {name, _} = scenario = Enum.random(scenarios(places))
      failures = attempt(scenario, tag)

      counts =
        Map.update(counts, name, {1, failures}, fn {n, all} -> {n + 1, failures ++ all} end)

      work(nil, deadline, tag, places, counts)
    end
  end

  # In a process of its own, so that links, mailboxes and sockets end with it.
  defp attempt({name, run}, tag) do
    {pid, monitor} = spawn_monitor(fn -> run.(tag) end)

    receive do
      {:DOWN, ^monitor, :process, ^pid, reason} when reason in [:normal, :killed, :shutdown] -> []
      {:DOWN, ^monitor, :process, ^pid, reason} -> [Exception.format_exit(reason)]
    after
      60_000 ->
        stack = Elixir.Process.info(pid, :current_stacktrace)
        Elixir.Process.exit(pid, :kill)
        ["#{name} hangs: #{inspect(stack)}"]
    end
  end

  defp prepare do
    base = Path.join(System.tmp_dir!(), "linx-soak-#{System.pid()}")
    full = Path.join(base, "full")
    cgroups = Path.join(base, "cgroup")
    Enum.each([full, cgroups], &File.mkdir_p!/1)
    :ok = Mount.mount("tmpfs", full, "tmpfs", data: "size=4k")
    :ok = Mount.mount("none", cgroups, "cgroup2")
    :ok = Cgroup.create(Path.join(cgroups, "linx-soak-#{System.pid()}")) |> elem(0)

    %{
      base: base,
      full: full,
      cgroup: Path.join(cgroups, "linx-soak-#{System.pid()}"),
      cgroups: cgroups
    }
  end

  defp clean_up(places) do
    Cgroup.destroy(places.cgroup)
    Mount.umount(places.full)
    Mount.umount(places.cgroups)
    File.rm_rf!(places.base)
  end

  # -- scenarios -----------------------------------------------------------------------------------------------------

  defp scenarios(places) do
    [
      session: &session/1,
      pipes: &pipes/1,
      pty: &pty/1,
      enter: &enter/1,
      configured: &configured/1,
      rtnl: &rtnl/1,
      shared_socket: &shared_socket/1,
      monitor: &monitor/1,
      netfilter: &netfilter/1,
      seccomp: &seccomp/1,
      cgroup: &cgroup(&1, places),
      full_disk: &full_disk(&1, places),
      rlimit: &rlimit/1
    ]
  end

  defp spawn_tagged(tag, options) do
    Process.spawn([env: {:clean, [tag]}, stdio: :devnull] ++ options)
  end

  defp session(tag) do
    kinds = Enum.take_random(@namespaces, :rand.uniform(4) - 1)

    argv =
      Enum.random([
        ["/bin/true"],
        ["/bin/sleep", "5"],
        ["/bin/sh", "-c", "sleep 5 & sleep 5"],
        ["/nonexistent"]
      ])

    {:ok, session} =
      spawn_tagged(tag, argv: argv, namespaces: kinds, init: Enum.random([true, false]))

    if Enum.random([true, true, false]), do: Process.proceed(session)
    finish(session)
  end

  # Every way for a session to end, the rude ones included.
  defp finish(session) do
    case :rand.uniform(7) do
      1 -> Process.stop(session, Enum.random([0, 50]))
      2 -> Process.abort(session)
      3 -> kill(workload(session))
      4 -> kill(parent(workload(session)))
      5 -> Elixir.Process.unlink(session) && Elixir.Process.exit(session, :kill)
      6 -> Process.signal(session, 15)
      7 -> :ok
    end

    Process.stop(session, 0)
  end

  defp workload(session) do
    case Process.host_pid(session) do
      {:ok, pid} -> pid
      {:error, _} -> nil
    end
  end

  # The port program is the workload's parent, or the parent of its init.
  defp parent(nil), do: nil

  defp parent(pid) do
    with {:ok, status} <- File.read("/proc/#{pid}/status"),
         [_, parent] <- Regex.run(~r/^PPid:\s+(\d+)$/m, status),
         parent = String.to_integer(parent),
         true <- parent > 1 and parent != String.to_integer(System.pid()),
         {:ok, "linx_process\n"} <- File.read("/proc/#{parent}/comm") do
      parent
    else
      _ -> nil
    end
  end

  defp kill(nil), do: :ok
  defp kill(pid), do: System.cmd("kill", ["-9", "#{pid}"], stderr_to_stdout: true)

  defp pipes(tag) do
    {:ok, session} =
      Process.spawn(argv: ["/bin/cat"], env: {:clean, [tag]}, stdio: :pipe, auto_proceed: true)

    Process.stdin_write(session, :binary.copy("x", :rand.uniform(1_000_000)))
    drain(:rand.uniform(200))
    finish(session)
  end

  defp pty(tag) do
    argv =
      Enum.random([
        ["/bin/cat", "/dev/zero"],
        ["/bin/cat"],
        ["/bin/sh", "-c", "head -c 300000 /dev/zero"]
      ])

    {:ok, session} =
      Process.spawn(argv: argv, env: {:clean, [tag]}, stdio: :pty, auto_proceed: true)

    Process.pty_write(session, :binary.copy("line\n", 1_000))
    Process.pty_set_winsize(session, {:rand.uniform(100), 80, 0, 0})
    drain(:rand.uniform(100))
    finish(session)
  end

  # Takes what comes for so long.
  defp drain(milliseconds), do: drain_until(System.monotonic_time(:millisecond) + milliseconds)

  defp drain_until(deadline) do
    left = deadline - System.monotonic_time(:millisecond)

    receive do
      {:linx_process, _, _} when left > 0 -> drain_until(deadline)
    after
      max(left, 0) -> :ok
    end
  end

  defp enter(tag) do
    {:ok, target} =
      spawn_tagged(tag, argv: ["/bin/sleep", "5"], namespaces: [:net, :uts, :ipc, :mount])

    if Enum.random([true, false]), do: Process.proceed(target)
    saboteur = sabotage(target)

    entered =
      Process.enter(target,
        argv: ["/bin/true"],
        env: {:clean, [tag]},
        stdio: :devnull,
        auto_proceed: true
      )

    with {:ok, session} <- entered, do: finish(session)
    join(saboteur)
    Process.stop(target, 0)
  end

  # Kills the workload at some moment while another verb is at work on it.
  defp sabotage(session) do
    pid = workload(session)

    Task.async(fn ->
      if Enum.random([true, false]) do
        Elixir.Process.sleep(:rand.uniform(5))
        kill(pid)
      end
    end)
  end

  defp join(task), do: Task.await(task)

  defp configured(tag) do
    {:ok, session} =
      spawn_tagged(tag, argv: ["/bin/sleep", "5"], namespaces: [:user, :mount, :pid, :uts, :net])

    saboteur = sabotage(session)
    User.setup_maps(session, uid: [{0, 100_000, 1}], gid: [{0, 100_000, 1}])
    Sysctl.write("kernel.hostname", "soak", in: session)
    Sysctl.list("net.ipv4.conf", in: session)
    Mount.mount("proc", "/proc", "proc", in: session)
    Mount.mount("tmpfs", "/mnt", "tmpfs", in: session)
    Mount.list(session)
    Capabilities.drop_bounding(session, Capabilities.Constants.all())
    Process.proceed(session)
    join(saboteur)
    finish(session)
  end

  defp rtnl(tag) do
    {:ok, session} = spawn_tagged(tag, argv: ["/bin/sleep", "5"], namespaces: [:net])

    with pid when pid != nil <- workload(session),
         {:ok, socket} <- Rtnl.open({:pid, pid}) do
      saboteur = sabotage(session)
      Rtnl.Link.create_veth(socket, "a0", "a1")
      Rtnl.Link.set_up(socket, "a0")
      Rtnl.Address.add(socket, "a0", "10.9.0.1", 24)
      Rtnl.Route.add_default(socket, "10.9.0.2")

      for verb <- [&Rtnl.Link.list/1, &Rtnl.Address.list/1, &Rtnl.Route.list/1, &Rtnl.Rule.list/1],
          do: verb.(socket)

      Rtnl.Link.delete(socket, "a0")
      join(saboteur)
      Enum.random([fn -> Socket.close(socket) end, fn -> :left_to_the_collector end]).()
    end

    Process.stop(session, 0)
  end

  # Ten processes ask, one closes.
  defp shared_socket(_tag) do
    {:ok, socket} = Rtnl.open()
    askers = for _ <- 1..10, do: Task.async(fn -> for _ <- 1..20, do: Rtnl.Link.list(socket) end)
    Elixir.Process.sleep(:rand.uniform(5))
    Socket.close(socket)
    Task.await_many(askers)
  end

  # A small receive buffer and a flood: ENOBUFS, and a resync for it.
  defp monitor(tag) do
    {:ok, session} = spawn_tagged(tag, argv: ["/bin/sleep", "5"], namespaces: [:net])

    with pid when pid != nil <- workload(session),
         {:ok, socket} <- Rtnl.open({:pid, pid}),
         {:ok, monitor} <- Rtnl.Monitor.subscribe(self(), netns: {:pid, pid}, rcvbuf: 4096) do
      for n <- 1..50, do: Rtnl.Address.add(socket, "lo", "10.8.0.#{n}", 32)

      Enum.random([fn -> Rtnl.Monitor.unsubscribe(monitor) end, fn -> stop_rudely(monitor) end]).()

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

  defp netfilter(tag) do
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

  defp seccomp(tag) do
    {:ok, session} = spawn_tagged(tag, argv: ["/bin/true"])

    {:ok, filter} =
      Seccomp.deny_list(Enum.take_random(~w(mount umount2 ptrace bpf keyctl reboot swapon)a, 4))

    saboteur = sabotage(session)
    Seccomp.install(session, filter)
    Process.proceed(session)
    join(saboteur)
    Process.wait(session, 5_000)
  end

  defp cgroup(tag, places) do
    path = Path.join(places.cgroup, "#{System.unique_integer([:positive])}")
    {:ok, cg} = Cgroup.create(path)

    {:ok, session} =
      spawn_tagged(tag,
        argv: ["/bin/sh", "-c", "sleep 5 & sleep 5"],
        cgroup: path,
        auto_proceed: true
      )

    Cgroup.freeze(cg)
    Cgroup.stats(cg)
    Cgroup.thaw(cg)
    finish(session)
    destroy(cg, 100)
  end

  # A killed process leaves its cgroup a moment after it is reaped.
  defp destroy(cg, tries) do
    case Cgroup.destroy(cg) do
      {:error, %{errno: :ebusy}} when tries > 0 ->
        Elixir.Process.sleep(10)
        destroy(cg, tries - 1)

      other ->
        :ok = other
    end
  end

  defp full_disk(tag, places) do
    file = Path.join(places.full, "out#{System.unique_integer([:positive])}")

    case Process.spawn(
           argv: ["/bin/sh", "-c", "head -c 100000 /dev/zero"],
           env: {:clean, [tag]},
           stdio: [stdin: :devnull, stdout: {:file, file, :write}, stderr: :devnull],
           auto_proceed: true
         ) do
      {:ok, session} -> Process.wait(session, 10_000)
      {:error, _} -> :ok
    end

    File.rm(file)
  end

  # No memory and no descriptors, for the workload and for the port program.
  defp rlimit(tag) do
    limit = Enum.random(as: 65_536, nofile: 3, nproc: 1, fsize: 0, data: 4096)

    {:ok, session} =
      spawn_tagged(tag, argv: ["/bin/sh", "-c", "cat /etc/hostname; sleep 1"], rlimits: [limit])

    agent = session |> workload() |> parent()

    if agent,
      do:
        System.cmd("prlimit", ["--pid=#{agent}", Enum.random(["--nofile=5", "--as=1000000"])],
          stderr_to_stdout: true
        )

    Process.proceed(session)
    Process.wait(session, 100)
    finish(session)
  end

  # -- the accounting ------------------------------------------------------------------------------------------------

  defp settle do
    for pid <- Elixir.Process.list(), do: :erlang.garbage_collect(pid)
    Elixir.Process.sleep(200)
  end

  defp account(tag, places) do
    {:ok, rtnl} = Rtnl.open()
    {:ok, links} = Rtnl.Link.list(rtnl)
    :ok = Socket.close(rtnl)
    {:ok, nfnl} = Nfnl.open()
    {:ok, ruleset} = Netfilter.pull(nfnl)
    :ok = Socket.close(nfnl)

    %{
      descriptors: length(File.ls!("/proc/self/fd")),
      threads: length(File.ls!("/proc/self/task")),
      processes: length(Elixir.Process.list()),
      ports: length(Port.list()),
      atoms: :erlang.system_info(:atom_count),
      memory_mb: div(:erlang.memory(:total), 1_048_576),
      rss_mb: rss(),
      workloads: workloads(tag),
      agents: length(children("linx_process")),
      namespaces: namespaces(),
      mounts: "/proc/self/mountinfo" |> File.stream!() |> Enum.count(),
      links: Enum.map(links, & &1.name),
      tables: Netfilter.Ruleset.tables(ruleset) |> length(),
      cgroups: places.cgroup |> File.ls!() |> Enum.count(&File.dir?(Path.join(places.cgroup, &1)))
    }
  end

  defp rss do
    [_, kb] = Regex.run(~r/^VmRSS:\s+(\d+) kB/m, File.read!("/proc/self/status"))
    div(String.to_integer(kb), 1024)
  end

  defp workloads(tag) do
    Enum.count(Path.wildcard("/proc/[0-9]*/environ"), fn path ->
      match?({:ok, environ} when is_binary(environ), File.read(path)) and
        File.read(path) |> elem(1) |> to_string() |> String.contains?(tag)
    end)
  end

  defp children(name) do
    me = System.pid()

    for path <- Path.wildcard("/proc/[0-9]*/status"),
        {:ok, status} <- [File.read(path)],
        status =~ ~r/^Name:\s+#{name}$/m,
        status =~ ~r/^PPid:\s+#{me}$/m,
        do: path
  end

  # Of the whole machine: what a workload had and nobody is in any more is gone.
  defp namespaces do
    for path <- Path.wildcard("/proc/[0-9]*/ns/*"),
        {:ok, link} <- [File.read_link(path)],
        uniq: true do
      link
    end
    |> length()
  end

  # Growth that is no leak: allocators keep memory, and a module or two may be loaded late.
  @slack %{atoms: 50, memory_mb: 8, rss_mb: 64}

  defp wait_for(before, tag, places, tries) do
    now = account(tag, places)

    if tries == 0 or Enum.all?(before, fn {key, value} -> same?(key, value, now[key]) end) do
      now
    else
      settle()
      wait_for(before, tag, places, tries - 1)
    end
  end

  defp same?(key, before, now) when is_map_key(@slack, key), do: now <= before + @slack[key]

  defp same?(key, before, now) when key in [:descriptors, :threads, :processes, :namespaces],
    do: now <= before

  defp same?(_key, before, now), do: now == before

  defp report(before, left) do
    IO.puts("\n  #{String.pad_trailing("", 14)}#{String.pad_trailing("before", 12)}after")

    for {key, value} <- Enum.sort(before) do
      ok? = same?(key, value, left[key])
      mark = if ok?, do: "", else: "   LEFT OVER"

      IO.puts(
        "  #{String.pad_trailing(to_string(key), 14)}#{String.pad_trailing(inspect(value), 12)}#{inspect(left[key])}#{mark}"
      )

      ok?
    end
    |> Enum.all?()
  end
end

Soak.main()
