defmodule Linx.Integration.SeccompTest do
  use ExUnit.Case, async: true

  alias Linx.Seccomp
  alias Linx.Seccomp.Syscalls
  alias Linx.Test.Probe

  @sigsys 31
  @eperm -1
  @enosys -38

  # The list of the moduledoc's example. It names neither execve nor what a C library's start-up
  # needs.
  @nginx ~w(read write openat close fstat brk mmap munmap mprotect accept4 bind listen socket
            setsockopt rt_sigaction rt_sigprocmask rt_sigreturn exit_group)a

  @moduletag :tmp_dir

  setup %{tmp_dir: folder} do
    %{probe: Probe.build!(folder)}
  end

  defp nr(name), do: Syscalls.to_number(name, Seccomp.arch())
  defp native(name, args \\ []), do: Enum.join(["n:#{nr(name)}" | args], ",")

  # arm has mmap2 in place of mmap.
  defp nginx do
    calls = Syscalls.all(Seccomp.arch())
    for name <- @nginx, do: if(name == :mmap and name not in calls, do: :mmap2, else: name)
  end

  defp allow!(names, default) do
    {:ok, filter} = Seccomp.allow_list(names, default: default)
    filter
  end

  defp rules!(rules, default) do
    {:ok, filter} = Seccomp.from_rules({rules, default})
    filter
  end

  describe "a list without execve" do
    test "starts the workload, and kills it when it wants to exec itself", %{probe: probe} do
      filter = allow!(nginx(), :kill_process)

      # arm answers SIGILL to a number beyond those of its own calls.
      free = if Seccomp.arch() == :arm, do: 999, else: -1
      line = "n:#{free}=#{@enosys}"
      assert {[^line | _], {:exited, 0}} = Probe.run(probe, ["n:#{free}", "e:"], [])
      assert Probe.run(probe, ["e:"], [filter]) == {[], {:signaled, @sigsys}}

      assert {[line], {:signaled, @sigsys}} =
               Probe.run(probe, [native(:close, [-1]), "e:"], [filter])

      assert line == "n:#{nr(:close)}=-9"
    end

    test "refuses that exec with the list's errno", %{probe: probe} do
      filter = allow!(nginx(), {:errno, :eperm})
      assert Probe.run(probe, ["e:"], [filter]) == {["e:=#{@eperm}"], {:exited, 0}}
    end

    test "refuses execveat and seccomp with a guessed value", %{probe: probe} do
      filter = allow!(nginx(), {:errno, :eperm})

      for guess <- [0, 1, -1, 0x123456789ABCDEF], name <- [:execveat, :seccomp] do
        assert Probe.run(probe, [native(name, [0, 0, 0, 0, 0, guess])], [filter]) ==
                 {["n:#{nr(name)}=#{@eperm}"], {:exited, 0}}
      end
    end

    test "leaves the workload nothing of the value that started it", %{probe: probe} do
      filter = allow!([:write, :exit_group], {:errno, :eperm})
      assert Probe.run(probe, ["r:"], [filter]) == {["r:=0"], {:exited, 0}}
    end

    test "says so when the workload's file is missing", %{tmp_dir: folder} do
      filter = allow!([], :kill_process)
      assert Probe.run(Path.join(folder, "gone"), [], [filter]) == {[], {:error, 2, :execve}}
    end
  end

  describe "foreign calls" do
    @describetag :x86_64

    test "of x32 meet a deny list's kill, and without a filter the kernel's answer", %{
      probe: probe
    } do
      filter = rules!([{{:errno, :eacces}, :getppid}], :allow)
      call = "x:#{nr(:getppid)}"

      assert {[unfiltered], {:exited, 0}} = Probe.run(probe, [call], [])
      assert unfiltered == "x:#{nr(:getppid)}=#{@enosys}"
      assert Probe.run(probe, [call], [filter]) == {[], {:signaled, @sigsys}}
      # The same number without the bit is judged by the rule.
      assert Probe.run(probe, [native(:getppid)], [filter]) ==
               {["n:#{nr(:getppid)}=-13"], {:exited, 0}}
    end

    test "of x32 meet an allow list's errno, also for a listed number", %{probe: probe} do
      filter = allow!([:write, :exit_group, :getppid], {:errno, :eperm})

      for name <- [:getppid, :getuid] do
        assert Probe.run(probe, ["x:#{nr(name)}"], [filter]) ==
                 {["x:#{nr(name)}=#{@eperm}"], {:exited, 0}}
      end
    end

    test "of x32's own range without the bit are killed", %{probe: probe} do
      filter = rules!([{{:errno, :eacces}, :getppid}], :allow)
      assert Probe.run(probe, ["n:520"], []) == {["n:520=#{@enosys}"], {:exited, 0}}
      assert Probe.run(probe, ["n:520"], [filter]) == {[], {:signaled, @sigsys}}
    end

    test "through int 0x80 are killed, and without a filter the kernel's " <>
           "answer",
         %{probe: probe} do
      # i386's getpid is 20; that number is writev on x86_64.
      {unfiltered, ended} = Probe.run(probe, ["i:20"], [])

      case ended do
        {:exited, 0} -> assert [<<"i:20=", _::binary>>] = unfiltered
        # A kernel without i386 emulation has no gate there.
        {:signaled, 11} -> assert unfiltered == []
      end

      if ended == {:exited, 0} do
        for filter <- [
              rules!([{{:errno, :eacces}, :getppid}], :allow),
              allow!(Syscalls.all(Seccomp.arch()), {:errno, :eperm})
            ] do
          assert Probe.run(probe, ["i:20"], [filter]) == {[], {:signaled, @sigsys}}
        end
      end
    end

    test "a number of -1 is not foreign", %{probe: probe} do
      filter = rules!([{{:errno, :eacces}, :getppid}], :allow)
      assert Probe.run(probe, ["n:-1"], [filter]) == {["n:-1=#{@enosys}"], {:exited, 0}}
    end
  end

  test "every number that is not listed gets the default", %{probe: probe} do
    filter = allow!([:write, :exit_group], {:errno, :enodata})
    assert Probe.run(probe, ["m:600"], [filter]) == {[], {:exited, 0}}
  end

  test "every action", %{probe: probe} do
    call = native(:getppid)
    line = &"n:#{nr(:getppid)}=#{&1}"
    run = fn action -> Probe.run(probe, [call], [rules!([{action, :getppid}], :allow)]) end

    for action <- [:allow, :log] do
      assert {[printed], {:exited, 0}} = run.(action)
      assert printed != line.(@eperm)
    end

    assert run.({:errno, :eperm}) == {[line.(@eperm)], {:exited, 0}}
    assert run.({:errno, 1234}) == {[line.(-1234)], {:exited, 0}}
    assert run.({:errno, 0}) == {[line.(0)], {:exited, 0}}

    for action <- [:trap, :kill_thread, :kill_process],
        do: assert({[], {:signaled, @sigsys}} == run.(action))
  end

  @tag :long_arguments
  test "conditions compare both halves of an argument", %{probe: probe} do
    # fcntl(fd, cmd, arg) on a closed descriptor is EBADF when the filter lets it through.
    big = 0x1_0000_0001

    for {conditions, passes, refused} <- [
          {[{2, :eq, big}], [big], [1, big - 1, 0x2_0000_0001]},
          {[{2, :lt, big}], [0, 1, 0xFFFFFFFF, big - 1], [big, big + 1, -1]},
          {[{2, :ge, big}], [big, -1], [1, 0xFFFFFFFF]},
          {[{2, :masked_eq, 0xFFFFFFFF, 1}], [1, big], [0, 2]},
          {[{2, :gt, 5}, {2, :ne, 7}], [6, 8, big], [5, 7]}
        ] do
      filter = rules!([{:allow, :fcntl, conditions}, {{:errno, :eperm}, :fcntl}], :allow)
      calls = for value <- passes ++ refused, do: native(:fcntl, [-1, 1, value])
      expected = List.duplicate(-9, length(passes)) ++ List.duplicate(@eperm, length(refused))

      assert Probe.run(probe, calls, [filter]) ==
               {for(result <- expected, do: "n:#{nr(:fcntl)}=#{result}"), {:exited, 0}}
    end
  end

  # CVE-2019-10063: the kernel reads ioctl's second argument as 32 bits, so the upper half is the
  # caller's to choose.
  @tag :long_arguments
  test "a mask closes what a comparison of all 64 bits leaves open", %{probe: probe} do
    tiocsti = 0x5412
    calls = for command <- [tiocsti, tiocsti + 0x1_0000_0000], do: native(:ioctl, [-1, command])
    line = &"n:#{nr(:ioctl)}=#{&1}"

    naive = rules!([{{:errno, :eperm}, :ioctl, [{1, :eq, tiocsti}]}], :allow)
    assert Probe.run(probe, calls, [naive]) == {[line.(-1), line.(-9)], {:exited, 0}}

    masked = rules!([{{:errno, :eperm}, :ioctl, [{1, :masked_eq, 0xFFFFFFFF, tiocsti}]}], :allow)
    assert Probe.run(probe, calls, [masked]) == {[line.(-1), line.(-1)], {:exited, 0}}
  end

  describe "stacked filters" do
    test "all count, and the strictest answer wins", %{probe: probe} do
      filters = [
        rules!([{{:errno, :eperm}, :getppid}, {{:errno, :eperm}, :getuid}], :allow),
        rules!([{{:errno, :eacces}, :getgid}, {:trap, :getuid}], :allow)
      ]

      assert Probe.run(probe, [native(:getppid), native(:getgid), native(:getuid)], filters) ==
               {["n:#{nr(:getppid)}=-1", "n:#{nr(:getgid)}=-13"], {:signaled, @sigsys}}
    end

    test "may each lack what installing the next one takes", %{probe: probe} do
      filters = for _ <- 1..5, do: allow!([:write, :exit_group], :kill_process)
      assert {["n:" <> _], {:exited, 0}} = Probe.run(probe, [native(:write, [-1])], filters)
    end

    test "may come faster than the parked child reads them", %{probe: probe} do
      filters = List.duplicate(allow!([:write, :exit_group], :kill_process), 300)
      assert {["n:" <> _], {:exited, 0}} = Probe.run(probe, [native(:write, [-1])], filters)
    end

    test "beyond what the kernel takes for one thread are its error", %{probe: probe} do
      assert Probe.run(probe, [], List.duplicate(longest(), 12)) ==
               {[], {:error, 12, :seccomp_install}}
    end

    test "may be as long as the kernel takes", %{probe: probe} do
      filters = for _ <- 1..2, do: longest()
      assert div(byte_size(hd(filters).bpf), 8) in 4070..4086
      assert {["n:" <> _], {:exited, 0}} = Probe.run(probe, [native(:write, [-1])], filters)
    end
  end

  # Conditions on one call, as many as fit.
  defp longest do
    rules = fn count ->
      for(n <- 1..count, do: {:trap, :read, [{0, :eq, n * 0x100000}]}) ++
        [{:allow, :write}, {:allow, :exit_group}]
    end

    # A condition takes four instructions, and two where an argument has 32 bits.
    most = div(8192, :erlang.system_info(:wordsize))

    Enum.reduce_while(most..800//-1, nil, fn count, _ ->
      case Seccomp.from_rules({rules.(count), :kill_process}) do
        {:ok, filter} -> {:halt, filter}
        {:error, %Seccomp.Error{errno: :e2big}} -> {:cont, nil}
      end
    end)
  end

  @tag :root
  test "a workload without capabilities gets its filter all the same", %{probe: probe} do
    {:ok, session} =
      Linx.Process.spawn(
        argv: [probe, native(:getppid), "e:"],
        stdio: [stdin: :devnull, stdout: :pipe, stderr: :devnull]
      )

    none = MapSet.new()

    :ok =
      Linx.Capabilities.set_thread_sets(session,
        effective: none,
        permitted: none,
        inheritable: none
      )

    :ok = Linx.Capabilities.drop_bounding(session, Linx.Capabilities.Constants.all())
    :ok = Seccomp.install(session, allow!(nginx() ++ [:getppid], {:errno, :eperm}))
    :ok = Linx.Process.proceed(session)
    assert_receive {:linx_process, :exited, 0}
    # Each line is a write of its own.
    assert Linx.Test.Session.output(:stdout) =~ "e:=#{@eperm}"
  end

  test "the kernel shows filters and no_new_privs on the workload" do
    {:ok, filter} = Seccomp.deny_list([:ptrace])
    {:ok, session} = Linx.Process.spawn(argv: ["/bin/sleep", "60"], stdio: :devnull)
    for _ <- 1..2, do: :ok = Seccomp.install(session, filter)
    :ok = Linx.Process.proceed(session)
    assert_receive {:linx_process, :running}

    {:ok, pid} = Linx.Process.host_pid(session)
    status = File.read!("/proc/#{pid}/status")
    assert status =~ ~r/^Seccomp:\t2$/m
    assert status =~ ~r/^Seccomp_filters:\t2$/m
    assert status =~ ~r/^NoNewPrivs:\t1$/m
    Linx.Process.stop(session)
  end

  test "a filter of another architecture is refused before it is sent" do
    {:ok, filter} = Seccomp.deny_list([:ptrace])
    other = if Seccomp.arch() == :x86_64, do: :aarch64, else: :x86_64
    assert_raise ArgumentError, fn -> Seccomp.install(self(), %{filter | arch: other}) end
  end

  test "bytes that are no program are EINVAL, from whoever finds it out" do
    {:ok, filter} = Seccomp.deny_list([:ptrace])

    # The last one is whole, and has no return: the kernel refuses it.
    for bpf <- ["", <<0::24>>, <<0::size(4087 * 64)>>, <<0x20::native-16, 0, 0, 0::native-32>>] do
      {:ok, session} = Linx.Process.spawn(argv: ["/bin/true"], stdio: :devnull)
      assert :ok = Seccomp.install(session, %{filter | bpf: bpf})
      _ = Linx.Process.proceed(session)
      assert_receive {:linx_process, :error, 22, :seccomp_install}

      assert {:error, %Linx.Process.Error{stage: :seccomp_install, errno: :einval}} =
               Linx.Process.wait(session)
    end
  end
end
