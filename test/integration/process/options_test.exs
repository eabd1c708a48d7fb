defmodule Linx.Process.OptionsIntegrationTest do
  # The options that change who and where the workload is.
  use ExUnit.Case, async: true

  import Linx.Test.Session

  alias Linx.Process, as: P
  alias Linx.Test.{Inheritance, Vm}

  setup_all {Inheritance, :prepare}

  # cap_net_bind_service and cap_net_raw, linux/capability.h.
  @net_bind 0x400
  @all 0x1FF_FFFF_FFFF

  defp probe(opts) do
    assert {{:ok, {:exited, 0}}, out, _} = run([Inheritance.path()], opts)
    Inheritance.parse(out)
  end

  defp commanded(commands, opts \\ []) do
    {session, _pid} = parked(opts ++ [argv: [Inheritance.path()], stdio: :pipe])
    for command <- commands, do: :ok = P.command(session, command)
    {session, fn -> finish(session) end}
  end

  defp finish(session) do
    :ok = P.proceed(session)
    assert {:ok, {:exited, 0}} = P.wait(session, 60_000)
    Inheritance.parse(output(:stdout))["status"]
  end

  defp mask(status, name), do: String.to_integer(status[name], 16)

  describe "capabilities" do
    @describetag :root

    test "in the order of the documented example: sets first, bounding after" do
      {_session, finish} =
        commanded([
          {:set_thread_sets, @net_bind, @net_bind, 0},
          {:drop_bounding, @all - @net_bind}
        ])

      status = finish.()
      assert mask(status, "CapBnd") == @net_bind
      assert mask(status, "CapEff") == @net_bind
    end

    test "bounding drops are in force while it is parked" do
      {session, pid} = parked(argv: ["/bin/true"])
      :ok = P.command(session, {:drop_bounding, @net_bind})

      until(fn ->
        status = File.read!("/proc/#{pid}/status") |> status()
        Bitwise.band(mask(status, "CapBnd"), @net_bind) == 0
      end)

      P.abort(session)
    end

    test "ambient ones survive another identity" do
      {_session, finish} =
        commanded(
          [{:set_thread_sets, @net_bind, @net_bind, @net_bind}, {:set_ambient, @net_bind}],
          uid: 1234,
          gid: 1234
        )

      status = finish.()
      assert status["Uid"] =~ ~r/^1234\t1234/
      for set <- ~w(CapInh CapPrm CapEff CapAmb), do: assert(mask(status, set) == @net_bind)
    end

    test "more than permitted is refused, while it is parked" do
      {session, _} = commanded([{:set_thread_sets, @net_bind, 0, 0}])
      assert {:error, %{stage: :cap_set_thread, errno: :eperm}} = P.wait(session, 60_000)
    end

    test "ambient without inheritable is refused" do
      {session, _} = commanded([{:set_ambient, @net_bind}])
      P.proceed(session)
      assert {:error, %{stage: :cap_set_ambient, errno: :eperm}} = P.wait(session, 60_000)
      refute_received {:linx_process, :running}
    end

    test "a bounding drop without the right is refused" do
      {session, _} = commanded([{:drop_bounding, 1}], namespaces: [])
      :ok = P.abort(session)
      {session, _} = commanded([{:drop_bounding, Bitwise.bsl(1, 63)}])
      assert {:error, %{stage: :cap_drop_bounding, errno: :einval}} = P.wait(session, 60_000)
    end
  end

  defp status(text) do
    for line <- String.split(text, "\n"),
        [key, value] <- [String.split(line, ":", parts: 2)],
        into: %{} do
      {key, String.trim(value)}
    end
  end

  describe "filters" do
    # struct sock_filter: u16 code, u8 jt, u8 jf, u32 k, native order.
    defp bpf(instructions) do
      for {code, jt, jf, k} <- instructions, into: <<>> do
        <<code::native-16, jt, jf, k::native-32>>
      end
    end

    @allow 0x7FFF0000
    @kill 0x80000000
    @eperm 0x00050001

    # x86_64 and aarch64 numbers.
    defp number(:execve), do: if(x86?(), do: 59, else: 221)
    defp number(:execveat), do: if(x86?(), do: 322, else: 281)
    defp x86?, do: to_string(:erlang.system_info(:system_architecture)) =~ "x86_64"

    # All calls but these are allowed.
    defp deny(names, action) do
      tests =
        for {name, at} <- Enum.with_index(names), do: {0x15, length(names) - at, 0, number(name)}

      bpf([{0x20, 0, 0, 0}] ++ tests ++ [{0x06, 0, 0, @allow}, {0x06, 0, 0, action}])
    end

    test "one that forbids exec lets the workload start, and no further exec" do
      {session, _pid} = parked(argv: ["/bin/sh", "-c", "/bin/true; echo after $?"], stdio: :pipe)
      :ok = P.command(session, {:seccomp, deny([:execve, :execveat], @eperm)})
      P.proceed(session)
      assert_receive {:linx_process, :running}
      assert {:ok, {:exited, 0}} = P.wait(session, 60_000)
      assert output(:stdout) =~ "after 126"
    end

    test "one that kills for anything still lets a missing file say so" do
      # With many arguments freeing what was made for the exec would be a system call.
      for arguments <- [[], List.duplicate("x", 50_000)] do
        {session, _pid} = parked(argv: ["/nonexistent" | arguments])
        :ok = P.command(session, {:seccomp, bpf([{0x06, 0, 0, @kill}])})
        P.proceed(session)
        assert {:error, %{stage: :execve, errno: :enoent}} = P.wait(session, 60_000)
      end
    end

    test "one that forbids everything kills the workload at its first call" do
      {session, _pid} = parked(argv: ["/bin/true"])
      :ok = P.command(session, {:seccomp, bpf([{0x06, 0, 0, @kill}])})
      P.proceed(session)
      assert_receive {:linx_process, :running}
      assert {:ok, {:signaled, 31}} = P.wait(session, 60_000)
    end

    test "several are all in force" do
      {session, _pid} = parked(argv: [Inheritance.path()], stdio: :pipe)
      for _ <- 1..3, do: :ok = P.command(session, {:seccomp, deny([:execve], @eperm)})
      assert %{"Seccomp" => "2", "Seccomp_filters" => "3", "NoNewPrivs" => "1"} = finish(session)
    end

    test "the second may be one that the first would not let install" do
      {session, _pid} = parked(argv: [Inheritance.path()], stdio: :pipe)
      everything_but = deny([:execve], @eperm)
      seccomp = if x86?(), do: 317, else: 277

      no_seccomp =
        bpf([{0x20, 0, 0, 0}, {0x15, 1, 0, seccomp}, {0x06, 0, 0, @allow}, {0x06, 0, 0, @kill}])

      :ok = P.command(session, {:seccomp, no_seccomp})
      :ok = P.command(session, {:seccomp, everything_but})
      assert %{"Seccomp_filters" => "2"} = finish(session)
    end

    test "more than the channel holds waits for the child" do
      {session, pid} = parked(argv: [Inheritance.path()], stdio: :pipe)
      long = bpf(List.duplicate({0x20, 0, 0, 0}, 4_000) ++ [{0x06, 0, 0, @allow}])
      # Ready to do so: the agent waits for a child that does not read, and not for long.
      continue = ["-c", "read go; kill -CONT #{pid}"]
      shell = Port.open({:spawn_executable, "/bin/sh"}, args: continue)
      {_, 0} = System.cmd("kill", ["-STOP", "#{pid}"])
      for _ <- 1..7, do: :ok = P.command(session, {:seccomp, long})
      Port.command(shell, "go\n")
      assert %{"Seccomp_filters" => "7"} = finish(session)
    end

    test "nonsense is EINVAL" do
      for program <- [bpf([{0xFFFF, 0, 0, 0}]), bpf([{0x05, 0, 0, 500}]), "seven..", ""] do
        {session, _pid} = parked(argv: ["/bin/true"])
        :ok = P.command(session, {:seccomp, program})
        P.proceed(session)
        assert {:error, %{stage: :seccomp_install, errno: :einval}} = P.wait(session, 60_000)
      end
    end

    test "the longest that fits" do
      padding = List.duplicate({0x20, 0, 0, 0}, 4096 - 10 - 1)
      {session, _pid} = parked(argv: [Inheritance.path()], stdio: :pipe)
      :ok = P.command(session, {:seccomp, bpf(padding ++ [{0x06, 0, 0, @allow}])})
      assert %{"Seccomp" => "2"} = finish(session)
    end
  end

  describe "identity and limits" do
    @describetag :root

    test "a limit that may not be raised" do
      {:ok, session} =
        P.spawn(argv: ["/bin/true"], uid: 1234, rlimits: [nofile: 10], auto_proceed: true)

      assert {:ok, {:exited, 0}} = P.wait(session, 60_000)

      {:ok, session} =
        P.spawn(argv: ["/bin/true"], rlimits: [nofile: {1, 0xFFFFFFFFFFFF}], auto_proceed: true)

      assert {:error, %{stage: :rlimit, errno: :eperm}} = P.wait(session, 60_000)
    end

    test "a directory that only the new identity may enter, or only the old one" do
      dir = Linx.Test.Scratch.path("cwd")
      File.mkdir_p!(dir)
      File.chmod!(dir, 0o700)
      on_exit(fn -> File.rm_rf!(dir) end)
      assert probe(cwd: dir, uid: 1234)["cwd"] == [dir]
      File.chown!(dir, 1234)
      assert probe(cwd: dir, uid: 1234)["cwd"] == [dir]
    end

    test "descriptors may be opened again by the new identity" do
      assert {{:ok, {:exited, 0}}, "again\n", ""} =
               run(["/bin/sh", "-c", "echo again > /dev/stdout"], uid: 1234)
    end

    test "its terminal belongs to it" do
      {session, _pid} =
        running(argv: ["/bin/sh", "-c", "stat -c '%u' $(tty); echo end"], stdio: :pty, uid: 1234)

      assert output_until(:pty_out, "end") =~ "1234\r\n"
      P.wait(session)
    end
  end

  describe "init" do
    @describetag :userns

    test "is pid 1 and the workload is not; SIGTERM ends it" do
      {session, _pid} =
        running(
          argv: ["/bin/sh", "-c", "echo $$; sleep 60"],
          stdio: :pipe,
          init: true,
          namespaces: [:pid, :user]
        )

      assert output_until(:stdout, "\n") == "2\n"
      assert {:ok, {:signaled, 15}} = P.stop(session, 60_000)
    end

    test "without it pid 1 ignores SIGTERM" do
      {session, _pid} = running(argv: ["/bin/sleep", "60"], namespaces: [:pid, :user])
      assert {:ok, {:signaled, 9}} = P.stop(session, 300)
    end

    test "hands on codes, reaps orphans, and holds nothing of the workload's" do
      script = "(sleep 0.05 &); read line; exit 5"

      {session, _pid} =
        running(
          argv: ["/bin/sh", "-c", script],
          stdio: :pipe,
          init: true,
          namespaces: [:pid, :user, :mount]
        )

      {:ok, %{reaper_pid: reaper}} = P.info(session)
      assert File.ls!("/proc/#{reaper}/fd") == []
      :ok = P.stdin_close(session)
      assert {:ok, {:exited, 5}} = P.wait(session, 60_000)
    end

    test "hands on every signal, those that C libraries keep for themselves too" do
      for signal <- [32, 33, 34, 35, 64] do
        {session, _pid} = running(argv: ["/bin/sleep", "60"], init: true)
        :ok = P.signal(session, signal)
        assert {:ok, {:signaled, ^signal}} = P.wait(session, 60_000)
      end
    end

    test "a missing file is still an error of execve" do
      {:ok, session} = P.spawn(argv: ["/nonexistent"], init: true, auto_proceed: true)
      assert {:error, %{stage: :execve, errno: :enoent}} = P.wait(session, 60_000)
    end

    test "works without a pid namespace, and dies with its session" do
      {session, _pid} =
        running(argv: ["/bin/sh", "-c", "echo $$; sleep 60"], stdio: :pipe, init: true)

      workload = output_until(:stdout, "\n") |> String.trim() |> String.to_integer()
      assert alive?(workload)
      GenServer.stop(session)
      refute alive?(workload)
    end
  end

  describe "namespaces" do
    @describetag :root

    for kind <- [:net, :mount, :pid, :uts, :ipc, :user, :cgroup, :time] do
      file = %{mount: "mnt"}[kind] || to_string(kind)

      test "#{kind} is fresh" do
        {session, pid} = parked(argv: ["/bin/true"], namespaces: [unquote(kind)])

        refute File.read_link!("/proc/#{pid}/ns/#{unquote(file)}") ==
                 File.read_link!("/proc/self/ns/#{unquote(file)}")

        P.proceed(session)
        assert {:ok, {:exited, 0}} = P.wait(session, 60_000)
      end
    end

    test "the child's own pid is in the info" do
      {session, pid} = parked(argv: ["/bin/true"], namespaces: [:pid])
      assert {:ok, %{child_pid: 1, host_pid: ^pid}} = P.info(session)
      P.abort(session)
    end

    test "ids that the map lacks, and groups that it may not set, are errors of their step" do
      for {options, stage, errno} <- [
            {[uid: 7], :setuid, :einval},
            {[gid: 7, groups: []], :setgroups, :eperm},
            {[groups: [0]], :setgroups, :eperm}
          ] do
        opts = [argv: ["/bin/true"], namespaces: [:user], stdio: :devnull]
        {session, pid} = parked(opts ++ options)
        if stage == :setgroups, do: File.write!("/proc/#{pid}/setgroups", "deny")
        File.write!("/proc/#{pid}/uid_map", "0 100000 1")
        File.write!("/proc/#{pid}/gid_map", "0 100000 1")
        P.proceed(session)
        assert {:error, %{stage: ^stage, errno: ^errno}} = P.wait(session, 60_000)
      end

      # A gid that the map lacks, where groups may be set.
      {session, pid} =
        parked(argv: ["/bin/true"], namespaces: [:user], gid: 7, stdio: :devnull)

      File.write!("/proc/#{pid}/uid_map", "0 100000 1")
      File.write!("/proc/#{pid}/gid_map", "0 100000 1")
      P.proceed(session)
      assert {:error, %{stage: :setgid, errno: :einval}} = P.wait(session, 60_000)
    end

    test "without maps the workload is nobody; with them it is root inside" do
      {session, _pid} =
        running(argv: ["/bin/sh", "-c", "id -u"], namespaces: [:user], stdio: :pipe)

      P.wait(session)
      assert output(:stdout) == "65534\n"

      {session, pid} =
        parked(argv: ["/bin/sh", "-c", "id -u; id -g"], namespaces: [:user], stdio: :pipe)

      File.write!("/proc/#{pid}/uid_map", "0 100000 65536")
      File.write!("/proc/#{pid}/gid_map", "0 100000 65536")
      P.proceed(session)
      assert {:ok, {:exited, 0}} = P.wait(session, 60_000)
      assert output(:stdout) == "0\n0\n"
    end
  end

  # Kernels that compare how often two cgroups were killed end every child that is cloned into
  # such a one.
  @tag :cgroup2
  test "a cgroup that was killed takes the next session, of every kind" do
    wrapper = Linx.Test.Vm.cgroup2()

    code =
      quote do
        cgroup = "/mnt/linx-again-#{System.unique_integer([:positive])}-#{:os.getpid()}"
        {:ok, _} = Linx.Cgroup.create(cgroup)
        common = [stdio: [stdout: :pipe], cgroup: cgroup, auto_proceed: true]
        look = ["/bin/sh", "-c", "cat /proc/self/cgroup; sleep 300 & exit 0"]

        kinds = [
          [],
          [init: true],
          [namespaces: [:cgroup]],
          [namespaces: [:user, :pid, :mount, :cgroup], init: true],
          [namespaces: [:time], time_offsets: [boottime: 100]]
        ]

        {:ok, pod} = Linx.Process.spawn(argv: ["/bin/sleep", "300"], namespaces: [:mount, :uts])
        receive do: ({:linx_process, :ready, _} -> :ok)
        :ok = Linx.Process.proceed(pod)

        verbs =
          for(kind <- kinds, do: &Linx.Process.spawn([argv: &1] ++ common ++ kind)) ++
            [&Linx.Process.enter(pod, [argv: &1] ++ common)]

        answers =
          for verb <- verbs do
            File.write!(cgroup <> "/cgroup.kill", "1")
            {:ok, session} = verb.(look)
            outcome = Linx.Process.wait(session, 60_000)

            said =
              receive do: ({:linx_process, :stdout, text} ->
                             text |> String.trim() |> String.split("\n") |> List.last()),
                      after: (0 -> nil)

            File.write!(cgroup <> "/cgroup.kill", "1")
            {outcome, said}
          end

        Linx.Process.stop(pod, 0)
        Linx.Test.Poll.until(fn -> Linx.Cgroup.destroy(cgroup) == :ok end)
        {Path.basename(cgroup), answers}
      end

    {name, answers} = Vm.eval(wrapper, code)
    named = {{:ok, {:exited, 0}}, "0::/" <> name}
    root = {{:ok, {:exited, 0}}, "0::/"}
    assert answers == [named, named, root, root, named, named]
  end

  @tag :cgroup2
  test "a workload starts in its cgroup, and what it leaves there dies with the session" do
    script = """
    mount -t cgroup2 none /mnt && mkdir /mnt/linx-process-test && exec "$@"
    """

    code = ~S"""
    dir = "/mnt/linx-process-test"
    script = "cat /proc/self/cgroup; setsid sleep 300 & exit 0"
    {:ok, session} = Linx.Process.spawn(argv: ["/bin/sh", "-c", script],
      cgroup: dir, stdio: [stdout: :pipe], auto_proceed: true)
    {:ok, {:exited, 0}} = Linx.Process.wait(session, 60_000)
    out = receive do {:linx_process, :stdout, out} -> out after 0 -> "" end
    true = out =~ "linx-process-test"
    # Killed by cgroup.kill, reaped by the agent.
    "" = File.read!(Path.join(dir, "cgroup.procs"))
    :ok = File.rmdir(dir)
    """

    args = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]

    elixir = [
      System.find_executable("elixir"),
      "-pa",
      Application.app_dir(:linx, "ebin"),
      "-e",
      code
    ]

    [command | args] = args ++ elixir
    assert {_, 0} = System.cmd(command, args, stderr_to_stdout: true)
  end
end
