defmodule Linx.Process.SessionTest do
  use ExUnit.Case, async: true

  import Linx.Test.Session

  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info}

  describe "the checkpoint" do
    test "spawn returns with the child parked" do
      {:ok, session} = P.spawn(argv: ["/bin/true"])
      assert {:ok, pid} = P.host_pid(session)
      assert_received {:linx_process, :ready, ^pid}
      assert {:ok, %Info{stage: :ready, host_pid: ^pid, child_pid: ^pid}} = P.info(session)
      assert alive?(pid)
      assert :ok = P.abort(session)
    end

    test "a parked child holds /dev/null and its channel, nothing of the VM's" do
      {session, pid} = parked(argv: ["/bin/true"], stdio: :inherit)

      links =
        for fd <- File.ls!("/proc/#{pid}/fd"), do: {fd, File.read_link!("/proc/#{pid}/fd/#{fd}")}

      assert [{"0", "/dev/null"}, {"1", "/dev/null"}, {"2", "/dev/null"}, {_, "socket:" <> _}] =
               Enum.sort(links)

      P.abort(session)
    end

    test "the image it runs cannot be written" do
      {session, pid} = parked(argv: ["/bin/true"])
      assert File.read_link!("/proc/#{pid}/exe") =~ "memfd:linx_process"
      assert {:error, reason} = File.open("/proc/#{pid}/exe", [:read, :write, :raw])
      assert reason in [:etxtbsy, :eperm, :eacces]
      P.abort(session)
    end

    test "proceed twice is refused" do
      {session, _pid} = running(argv: ["/bin/sleep", "60"])
      assert P.proceed(session) == {:error, :running}
      assert {:ok, {:signaled, 15}} = P.stop(session, 60_000)
      assert P.proceed(session) == {:error, :no_process}
    end

    test "commands are for the parked child only" do
      {session, _pid} = parked(argv: ["/bin/sleep", "60"])
      assert P.command(session, {:drop_bounding, 0}) == :ok
      P.proceed(session)
      assert P.command(session, {:drop_bounding, 0}) == {:error, :running}
      P.stop(session, 0)
      assert P.command(session, {:drop_bounding, 0}) == {:error, :no_process}
    end
  end

  describe "the end" do
    test "an exit code, for everybody who waits" do
      {session, _pid} = parked(argv: ["/bin/sh", "-c", "exit 7"])
      tasks = for _ <- 1..10, do: Task.async(fn -> P.wait(session) end)
      P.proceed(session)
      assert Enum.uniq(Task.await_many(tasks, 60_000)) == [{:ok, {:exited, 7}}]
      assert P.wait(session) == {:ok, {:exited, 7}}
      assert_receive {:linx_process, :exited, 7}
    end

    test "every code and signal as it was" do
      for code <- [0, 1, 127, 255] do
        assert {{:ok, {:exited, ^code}}, "", ""} = run(["/bin/sh", "-c", "exit #{code}"])
      end

      for signal <- [1, 9, 11, 34, 64] do
        {session, _pid} = running(argv: ["/bin/sleep", "60"])
        :ok = P.signal(session, signal)
        assert P.wait(session, 60_000) == {:ok, {:signaled, signal}}
      end
    end

    test "one terminal event and nothing after it" do
      {session, _pid} = running(argv: ["/bin/sh", "-c", "echo out; exit 3"], stdio: :pipe)
      assert {:ok, {:exited, 3}} = P.wait(session)
      assert_received {:linx_process, :stdout, "out\n"}
      assert_received {:linx_process, :exited, 3}
      refute_receive {:linx_process, _, _}, 50
    end

    test "what was used is in the info" do
      {session, _pid} =
        running(argv: ["/bin/sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"])

      assert {:ok, {:exited, 0}} = P.wait(session)
      {:ok, %Info{rusage: rusage}} = P.info(session)
      assert rusage.user_time > 0
      assert rusage.max_rss > 100_000
    end

    test "stop asks first, then kills" do
      # `wait` ends when the signal comes; in any other command the shell would see it only after
      # that.
      script = "trap 'echo asked' TERM; echo ready; while :; do sleep 1000 & wait $!; done"
      {session, _pid} = running(argv: ["/bin/sh", "-c", script], stdio: :pipe)
      output_until(:stdout, "ready")
      assert {:ok, {:signaled, 9}} = P.stop(session, 3_000)
      assert output(:stdout) =~ "asked"
    end

    test "a workload that is stopped takes what stop asks" do
      {session, pid} = running(argv: ["/bin/sleep", "1000"], stdio: :devnull)
      :ok = P.signal(session, 19)
      until(fn -> File.read!("/proc/#{pid}/stat") =~ ") T " end)
      assert {:ok, {:signaled, 15}} = P.stop(session, :infinity)
    end

    test "stop of a parked session aborts it" do
      {session, _pid} = parked(argv: ["/bin/true"])
      assert P.stop(session) == {:ok, :aborted}
      assert P.stop(session) == {:ok, :aborted}
    end

    test "stop between proceed and the exec is a kill, not a failure" do
      for round <- 1..100 do
        options = [argv: ["/bin/cat"], stdio: Enum.at([:pty, :pipe], rem(round, 2))]
        {:ok, session} = P.spawn([auto_proceed: true] ++ options)
        assert {:ok, {:signaled, signal}} = P.stop(session, 0)
        assert signal in [9, 15]
        GenServer.stop(session)
      end
    end

    test "a parked session that is stopped as a process tells its owner that it was aborted" do
      {session, pid} = parked(argv: ["/bin/true"])
      GenServer.stop(session)
      assert_receive {:linx_process, :aborted}
      refute alive?(pid)
    end

    test "signals before the exec wait for it" do
      {session, pid} = parked(argv: ["/bin/sleep", "60"])
      :ok = P.signal(session, 10)
      assert alive?(pid)
      :ok = P.proceed(session)
      assert_receive {:linx_process, :running}
      assert {:ok, {:signaled, 10}} = P.wait(session)
    end

    test "a signal that does not exist is refused" do
      {session, _pid} = parked(argv: ["/bin/true"])
      assert P.signal(session, 0) == {:error, {:bad_signal, 0}}
      assert P.signal(session, 65) == {:error, {:bad_signal, 65}}
      P.abort(session)
    end
  end

  describe "failures" do
    for {file, errno, name} <- [
          {"/nonexistent", 2, :enoent},
          {"/etc/passwd", 13, :eacces},
          {"/", 13, :eacces}
        ] do
      test "execve of #{file} is #{name}" do
        {:ok, session} = P.spawn(argv: [unquote(file)], auto_proceed: true)

        assert {:error, %Error{stage: :execve, errno: unquote(name), code: unquote(errno)}} =
                 P.wait(session, 60_000)

        assert_received {:linx_process, :error, unquote(errno), :execve}
        refute_received {:linx_process, :running}
      end
    end

    @tag :tmp_dir
    test "files that are no program, or are being written", %{tmp_dir: dir} do
      file = fn name, content, mode ->
        path = Path.join(dir, name)
        File.write!(path, content)
        File.chmod!(path, mode)
        path
      end

      text = file.("text", "echo no interpreter named\n", 0o755)
      lost = file.("lost", "#!/nonexistent/interpreter\n", 0o755)
      plain = file.("plain", "#!/bin/sh\n", 0o644)
      {:ok, busy} = "busy" |> file.(File.read!("/bin/true"), 0o755) |> File.open([:append, :raw])
      loop = Path.join(dir, "loop")
      File.ln_s!(loop, loop)

      for {path, errno} <- [
            {text, :enoexec},
            {lost, :enoent},
            {plain, :eacces},
            {Path.join(dir, "busy"), :etxtbsy},
            {loop, :eloop},
            {text <> "/below", :enotdir},
            {"/" <> String.duplicate("n", 256), :enametoolong}
          ] do
        {:ok, session} = P.spawn(argv: [path], stdio: :devnull, auto_proceed: true)
        assert {:error, %Error{stage: :execve, errno: found}} = P.wait(session, 60_000)
        assert {path, found} == {path, errno}
      end

      File.close(busy)
    end

    @tag :tmp_dir
    test "a script gets its path and arguments, whatever its name", %{tmp_dir: dir} do
      path = Path.join(dir, "script")
      File.write!(path, "#!/bin/sh\necho \"$0\" \"$@\"\n")
      File.chmod!(path, 0o755)
      assert {{:ok, {:exited, 0}}, out, ""} = run([path, "a b"], arg0: "other")
      assert out == "#{path} a b\n"
    end

    test "an environment of a megabyte arrives" do
      env = for n <- 1..16, do: "V#{n}=" <> String.duplicate("x", 65_000)

      assert {{:ok, {:exited, 0}}, "65000\n", _} =
               run(["/bin/sh", "-c", "echo ${#V16}"], env: env)
    end

    test "arguments beyond what execve takes" do
      {:ok, session} =
        P.spawn(argv: ["/bin/true", String.duplicate("a", 129 * 1024)], auto_proceed: true)

      assert {:error, %Error{stage: :execve, errno: :e2big}} = P.wait(session, 60_000)
      many = List.duplicate(String.duplicate("a", 100_000), 30)
      {:ok, session} = P.spawn(argv: ["/bin/true" | many], auto_proceed: true)
      assert {:error, %Error{stage: :execve, errno: :e2big}} = P.wait(session, 60_000)
    end

    test "just below it they arrive" do
      many = List.duplicate(String.duplicate("a", 100_000), 15)
      {outcome, out, _} = run(["/bin/sh", "-c", "echo $#; echo ${15} | wc -c", "sh" | many])
      assert {outcome, out} == {{:ok, {:exited, 0}}, "15\n100001\n"}
    end

    test "a request above the bound says so" do
      {:ok, session} = P.spawn(argv: ["/bin/true", String.duplicate("a", 9 * 1024 * 1024)])
      assert {:error, %Error{stage: :request_too_big, errno: :emsgsize}} = P.wait(session, 60_000)
      assert_received {:linx_process, :error, 90, :request_too_big}
    end

    test "a child killed at the checkpoint ends the session" do
      {session, pid} = parked(argv: ["/bin/true"])
      {_, 0} = System.cmd("kill", ["-9", "#{pid}"])
      assert {:error, %Error{stage: :exec_outcome, errno: :eio}} = P.wait(session, 60_000)
    end

    test "an agent that is killed says agent_died, and its child is gone" do
      {session, pid} = running(argv: ["/bin/sleep", "60"])
      {_, 0} = System.cmd("kill", ["-9", "#{parent(pid)}"])

      assert {:error, %Error{stage: :agent_died, errno: :unknown, code: 137}} =
               P.wait(session, 60_000)

      assert_received {:linx_process, :error, 137, :agent_died}
      until(fn -> not alive?(pid) end)
    end

    test "the directory of a cgroup that is not there" do
      {:ok, session} = P.spawn(argv: ["/bin/true"], cgroup: "/nonexistent")
      assert {:error, %Error{stage: :cgroup, errno: :enoent}} = P.wait(session, 60_000)
    end
  end

  describe "the session's process" do
    test "without linger it stops with the outcome" do
      Process.flag(:trap_exit, true)

      for {argv, reason} <- [
            {["/bin/true"], :normal},
            {["/bin/sh", "-c", "exit 3"], {:exited, 3}},
            {["/bin/sh", "-c", "kill -9 $$"], {:signaled, 9}}
          ] do
        {:ok, session} = P.spawn(argv: argv, linger: false, auto_proceed: true)
        assert_receive {:EXIT, ^session, ^reason}
        assert P.wait(session) == {:error, :no_process}
      end

      {:ok, session} = P.spawn(argv: ["/bin/true"], linger: false)
      P.abort(session)
      assert_receive {:EXIT, ^session, {:shutdown, :aborted}}

      {:ok, session} = P.spawn(argv: ["/nonexistent"], linger: false, auto_proceed: true)
      assert_receive {:EXIT, ^session, {:error, %Error{stage: :execve, errno: :enoent}}}
    end

    test "a transient child is restarted after a failure and not after success" do
      Process.flag(:trap_exit, true)
      counter = :counters.new(1, [])
      test = self()

      owner =
        spawn_link(fn ->
          forward = fn forward ->
            receive do
              {:linx_process, :ready, _} -> :counters.add(counter, 1, 1)
              {:linx_process, :exited, 0} -> send(test, :succeeded)
              _ -> :ok
            end

            forward.(forward)
          end

          forward.(forward)
        end)

      mark = Linx.Test.Scratch.path("restart")
      on_exit(fn -> File.rm(mark) end)
      script = "if [ -e #{mark} ]; then exit 0; else touch #{mark}; exit 1; fi"

      child =
        {P,
         argv: ["/bin/sh", "-c", script], owner: owner, auto_proceed: true, restart: :transient}

      {:ok, supervisor} = Supervisor.start_link([child], strategy: :one_for_one)
      assert_receive :succeeded
      until(fn -> Supervisor.count_children(supervisor).active == 0 end)
      assert :counters.get(counter, 1) == 2
      Supervisor.stop(supervisor)
    end

    test "a supervisor's shutdown leaves nothing" do
      Process.flag(:trap_exit, true)
      child = {P, argv: ["/bin/sleep", "60"], owner: self(), auto_proceed: true}
      {:ok, supervisor} = Supervisor.start_link([child], strategy: :one_for_one)
      assert_receive {:linx_process, :ready, pid}
      assert_receive {:linx_process, :running}
      Supervisor.stop(supervisor)
      refute alive?(pid)
    end

    test "it ends with the process that made it" do
      test = self()

      maker =
        spawn(fn ->
          {:ok, session} = P.spawn(argv: ["/bin/sleep", "60"], auto_proceed: true, owner: test)
          send(test, {:session, session})
        end)

      assert_receive {:session, session}
      assert_receive {:linx_process, :ready, pid}
      ref = Process.monitor(session)
      assert_receive {:DOWN, ^ref, _, _, _}
      refute Process.alive?(maker)
      until(fn -> not alive?(pid) end)
    end

    test "an owner by name gets the events of its name, whoever has it" do
      test = self()
      name = :"linx_owner_#{System.unique_integer([:positive])}"
      {session, _pid} = running(argv: ["/bin/sleep", "60"])

      assert :ok = P.set_owner(session, name)
      first = named(name, test)
      Process.exit(first, :kill)
      until(fn -> Process.whereis(name) == nil end)

      second = named(name, test)
      :ok = P.signal(session, 9)
      assert_receive {^second, {:linx_process, :signaled, 9}}
    end

    test "a supervised session tells an owner by name, and is content without one" do
      name = :"linx_owner_#{System.unique_integer([:positive])}"
      {:ok, session} = P.spawn(argv: ["/bin/true"], owner: name, auto_proceed: true)
      assert {:ok, {:exited, 0}} = P.wait(session)

      owner = named(name, self())
      child = {P, argv: ["/bin/true"], owner: name, auto_proceed: true, restart: :transient}
      {:ok, supervisor} = Supervisor.start_link([child], strategy: :one_for_one)
      assert_receive {^owner, {:linx_process, :exited, 0}}
      Supervisor.stop(supervisor)
    end

    test "set_owner moves the events" do
      test = self()
      {session, _pid} = parked(argv: ["/bin/true"])

      other =
        spawn_link(fn ->
          receive do
            message -> send(test, {:other, message})
          end
        end)

      :ok = P.set_owner(session, other)
      P.proceed(session)
      assert_receive {:other, {:linx_process, :running}}
      assert {:ok, {:exited, 0}} = P.wait(session)
      refute_received {:linx_process, :running}
    end

    test "the session's own pin names its process and no other" do
      {session, _pid} = parked(argv: ["/bin/true"])
      assert {:ok, pin} = P.pin(session)
      assert Linx.Native.pid_alive(pin)
      P.abort(session)
      P.wait(session)
      refute Linx.Native.pid_alive(pin)
      assert P.pin(session) == {:error, :no_process}
    end

    # In a VM of its own, whose descriptors nobody else opens.
    @tag :root
    test "a session that has ended and stays holds no descriptor of the VM" do
      left =
        Linx.Test.Vm.eval(
          ["env"],
          quote do
            pidfds = fn ->
              for fd <- File.ls!("/proc/self/fd"),
                  {:ok, "anon_inode:[pidfd]"} <- [File.read_link("/proc/self/fd/#{fd}")],
                  do: fd
            end

            sessions =
              for argv <- [["/bin/true"], ["/no/such"]], _ <- 1..15 do
                opts = [argv: argv, stdio: :devnull, auto_proceed: true]
                {:ok, session} = Linx.Process.spawn(opts)
                _ = Linx.Process.wait(session)
                session
              end

            Linx.Test.Poll.holds?(fn -> pidfds.() == [] end, 10_000)
            {length(pidfds.()), Enum.all?(sessions, &Process.alive?/1)}
          end
        )

      assert left == {0, true}
    end

    test "no port or process is left" do
      test = self()

      sessions =
        for _ <- 1..20 do
          spawn(fn ->
            {:ok, session} = P.spawn(argv: ["/bin/true"], auto_proceed: true)
            send(test, {session, P.wait(session)})
          end)

          assert_receive {session, {:ok, {:exited, 0}}} when is_pid(session)
          session
        end

      until(fn -> not Enum.any?(sessions, &Process.alive?/1) end)

      owners =
        for port <- Port.list(), {:connected, pid} <- [Port.info(port, :connected)], do: pid

      assert owners -- sessions == owners
    end
  end

  # A process of that name that hands on what it gets, with its own pid.
  defp named(name, to) do
    start_supervised!(
      {Task,
       fn ->
         Process.register(self(), name)
         send(to, {:registered, self()})
         forward(to)
       end},
      id: make_ref(),
      restart: :temporary
    )

    assert_receive {:registered, pid}
    pid
  end

  defp forward(to) do
    receive do
      message -> send(to, {self(), message})
    end

    forward(to)
  end
end
