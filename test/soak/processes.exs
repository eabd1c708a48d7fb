defmodule Soak.Processes do
  # Sessions: every kind of them, ended in every way.
  import Soak.Ends

  alias Linx.{Capabilities, Mount, Process, Seccomp, Sysctl, User}

  @namespaces [:user, :mount, :pid, :uts, :ipc, :net, :cgroup]

  def scenarios do
    [
      session: &session/2,
      pipes: &pipes/2,
      pty: &pty/2,
      half_dead_pty: &half_dead_pty/2,
      stop_race: &stop_race/2,
      owner_death: &owner_death/2,
      new_owner: &new_owner/2,
      enter: &enter/2,
      configured: &configured/2,
      seccomp: &seccomp/2
    ]
  end

  defp session(tag, _places) do
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

  defp pipes(tag, _places) do
    {:ok, session} =
      Process.spawn(argv: ["/bin/cat"], env: {:clean, [tag]}, stdio: :pipe, auto_proceed: true)

    Process.stdin_write(session, :binary.copy("x", :rand.uniform(1_000_000)))
    drain(:rand.uniform(200))
    finish(session)
  end

  defp pty(tag, _places) do
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

  # A terminal whose workload closes it, leaves it to a grandchild, or is stopped, as is the
  # agent.
  defp half_dead_pty(tag, _places) do
    script =
      Enum.random([
        "exec </dev/null >/dev/null 2>&1; sleep 0.05; exec </dev/tty >/dev/tty; echo back; " <>
          "sleep 1",
        "setsid sleep 5 & echo left; exit 3",
        "trap '' HUP; stty raw -echo; cat"
      ])

    {:ok, session} =
      Process.spawn(
        argv: ["/bin/sh", "-c", script],
        env: {:clean, [tag]},
        stdio: :pty,
        auto_proceed: true
      )

    pid = workload(session)
    stopped = Enum.random([pid, parent(pid), nil])
    signal(stopped, "STOP")
    Process.pty_write(session, :binary.copy("x", 200_000))
    Process.pty_set_winsize(session, {:rand.uniform(100), 80, 0, 0})
    drain(:rand.uniform(100))
    # A stopped agent hears nothing, not even the end of its session.
    continue = Task.async(fn -> Elixir.Process.sleep(20) && signal(stopped, "CONT") end)
    finish(session)
    join(continue)
  end

  # All the ends at once.
  defp stop_race(tag, _places) do
    options = [
      argv: Enum.random([["/bin/sleep", "5"], ["/bin/true"], ["/nonexistent"]]),
      auto_proceed: Enum.random([true, false]),
      namespaces: Enum.random([[], [:user, :pid]])
    ]

    {:ok, session} = spawn_tagged(tag, options)

    verbs = [
      fn -> Process.stop(session, Enum.random([0, 1, 20])) end,
      fn -> Process.stop(session, 0) end,
      fn -> Process.abort(session) end,
      fn -> Process.proceed(session) end,
      fn -> Process.signal(session, Enum.random([9, 15, 17])) end,
      fn -> Process.wait(session, :rand.uniform(5)) end
    ]

    tasks =
      for verb <- Enum.shuffle(verbs) do
        Task.async(fn ->
          if Enum.random([true, false]), do: Elixir.Process.sleep(:rand.uniform(3))
          verb.()
        end)
      end

    Task.await_many(tasks, 30_000)
    Process.stop(session, 0)
  end

  # Whoever starts a session may die while it starts.
  defp owner_death(tag, _places) do
    {starter, monitor} =
      spawn_monitor(fn ->
        kinds = Enum.random([[], [:net, :pid], [:user, :mount]])
        {:ok, _} = spawn_tagged(tag, argv: ["/bin/sleep", "5"], namespaces: kinds)
        Elixir.Process.sleep(:infinity)
      end)

    Elixir.Process.sleep(:rand.uniform(8) - 1)
    Elixir.Process.exit(starter, :kill)
    receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
  end

  # Output that goes to one who dies of it, then to one who reads.
  defp new_owner(tag, _places) do
    {reader, monitor} = spawn_monitor(fn -> drain(:rand.uniform(20)) end)

    {:ok, session} =
      Process.spawn(
        argv: ["/bin/cat", "/dev/zero"],
        env: {:clean, [tag]},
        stdio: Enum.random([:pty, :pipe]),
        owner: reader,
        auto_proceed: true
      )

    receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
    Process.set_owner(session, self())
    drain(:rand.uniform(50))
    finish(session)
  end

  defp enter(tag, _places) do
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

  defp configured(tag, _places) do
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

  defp seccomp(tag, _places) do
    {:ok, session} = spawn_tagged(tag, argv: ["/bin/true"])

    {:ok, filter} =
      Seccomp.deny_list(Enum.take_random(~w(mount umount2 ptrace bpf keyctl reboot swapon)a, 4))

    saboteur = sabotage(session)
    Seccomp.install(session, filter)
    Process.proceed(session)
    join(saboteur)
    Process.wait(session, 5_000)
  end
end
