defmodule Linx.Process.RefusedTest do
  # Each system call of the agent, its children, the reaper and `enter`, refused one at a time:
  # the session is what was promised in full, or an error that names its stage. Nothing is left,
  # and no processor is kept busy.
  use ExUnit.Case, async: true

  alias Linx.Process, as: P
  alias Linx.Process.Options
  alias Linx.Seccomp.Syscalls
  alias Linx.Test.{Poll, Refused}

  @moduletag :root
  @moduletag :userns
  @moduletag :x86_64
  @moduletag timeout: 900_000

  # Without these there is no report, whatever is done instead: the program does not start, or
  # cannot speak.
  @needed ~w(read write mmap brk execve execveat exit_group arch_prctl)a

  # From a trace of the five kinds; the second test holds it against a new one.
  @calls __DIR__
         |> Path.join("refused_calls.txt")
         |> File.read!()
         |> String.split()
         |> Enum.map(&String.to_atom/1)
  @external_resource Path.join(__DIR__, "refused_calls.txt")

  @errnos [enosys: 38, eperm: 1]

  setup_all do
    program = Refused.build!()
    on_exit(fn -> File.rm_rf!(Path.dirname(program)) end)
    unfiltered = Refused.image!(program, "")

    # All before the first is executed: a file that somebody still holds open for writing is
    # ETXTBSY.
    images =
      for call <- @calls, {errno, code} <- @errnos, into: %{} do
        number = Syscalls.to_number(call, :x86_64)
        {{call, errno}, Refused.image!(program, "#{program} #{number} #{code}")}
      end

    promised =
      for kind <- Refused.kinds(), into: %{} do
        {{:ok, seen}, []} = Refused.run(kind, program, unfiltered)
        {kind, seen}
      end

    %{program: program, promised: promised, images: images}
  end

  test "each is a fall-back or an error with a stage, in every kind of session", context do
    cases =
      for call <- @calls,
          {errno, _code} <- @errnos,
          kind <- Refused.kinds(),
          do: {call, errno, kind}

    wrong =
      cases
      |> Task.async_stream(&{&1, refused(&1, context)},
        max_concurrency: 4,
        timeout: :infinity,
        ordered: false
      )
      |> Enum.flat_map(fn {:ok, {{call, errno, kind}, {answer, beside}}} ->
        case beside ++ judge(call, answer, context.promised[kind]) do
          [] -> []
          faults -> [{call, errno, kind, faults}]
        end
      end)

    assert wrong == [],
           inspect(Enum.sort(wrong), limit: :infinity, printable_limit: 400, pretty: true)
  end

  defp refused({call, errno, kind}, %{program: program, images: images}),
    do: Refused.run(kind, program, images[{call, errno}])

  # Without a call in @needed the agent cannot report anything: only the session's end is checked.
  defp judge(call, {:error, :hangs}, _promised), do: [{:hangs, call}]
  defp judge(call, _answer, _promised) when call in @needed, do: []
  defp judge(_call, {:ok, promised}, promised), do: []

  defp judge(_call, {:ok, seen}, promised),
    do:
      for({key, value} <- seen, promised[key] != value, do: {:broken, key, value, promised[key]})

  defp judge(_call, {:error, %{stage: stage, errno: errno}}, _promised)
       when stage != :agent_died and errno != :unknown,
       do: []

  defp judge(_call, {:error, error}, _promised), do: [error]

  # The VM writes its request whenever it gets to it, and a report that is followed by an EPIPE is
  # not read any more.
  test "an agent that reports before its request reads on until the VM hangs up", context do
    Process.flag(:trap_exit, true)

    # An agent without poll could end at once.
    numbers = for call <- [:poll, :ppoll], do: Syscalls.to_number(call, :x86_64)
    deaf = Enum.map_join(numbers, " ", &"#{context.program} #{&1} 38")
    calls = [:fcntl, :signalfd4, :rt_sigprocmask, :prctl, :umask, :close]

    images =
      [{:poll, Refused.image!(context.program, deaf)}] ++
        for(call <- calls, {errno, _} <- @errnos, do: {call, context.images[{call, errno}]})

    for {call, image} <- images do
      port =
        Port.open({:spawn_executable, String.to_charlist(image)}, [
          :binary,
          :nouse_stdio,
          packet: 4
        ])

      {:os_pid, pid} = Port.info(port, :os_pid)
      assert_receive {^port, {:data, report}}, 20_000, inspect(call)
      assert {:status, :error, _code, _stage} = :erlang.binary_to_term(report)

      # Each is more than the pipe takes, so the second waits until the first was read.
      for _ <- 1..2, do: true = Port.command(port, :binary.copy(<<0>>, 300_000))
      refute_received {:EXIT, ^port, _reason}
      true = Port.close(port)
      Poll.until(fn -> not Linx.Test.Session.alive?(pid) end)
      assert_receive {:EXIT, ^port, :normal}
    end
  end

  # An end before the job is read would be EPIPE, ECONNRESET or EIO, depending on who is first.
  test "an agent that cannot prepare for a job reads it and answers with the stage", context do
    {:ok, target} =
      P.spawn(
        argv: [context.program, "stub"],
        namespaces: [:pid],
        stdio: [stdin: :pipe, stdout: :devnull],
        auto_proceed: true
      )

    {:ok, place} = Linx.Target.resolve(target)
    {:ok, places} = Linx.Sysctl.Native.places(place, "kernel/ns_last_pid")

    # Without either call descriptors of the VM would stay open.
    closes = for call <- [:close_range, :close], do: Syscalls.to_number(call, :x86_64)
    unclosed = Enum.map_join(closes, " ", &"#{context.program} #{&1} 1")

    for image <- [context.images[{:prctl, :eperm}], Refused.image!(context.program, unclosed)] do
      answer = Linx.Native.sysctl_read(image, places, ["kernel/ns_last_pid"])
      assert Linx.Pool.Native.await(answer) == {:error, {:fork, 1}}
    end

    P.stop(target, 0)
  end

  # A session of `opts` with a workload that waits for the end of its standard input.
  defp waiting(image, program, opts) do
    opts = [argv: [program, "stub"], stdio: [stdin: :pipe, stdout: :pipe]] ++ opts
    {:ok, options} = Options.parse(:spawn, opts)
    options = Map.put(options, :image, image)
    {:ok, session} = GenServer.start_link(P, {:spawn, {:spawn, options.request}, options})
    assert_receive {:linx_process, :ready, _pid}
    :ok = P.proceed(session)
    assert_receive {:linx_process, :stdout, "up\n"}
    session
  end

  test "without pidfd_send_signal signals and ends reach the workload", context do
    for {errno, _code} <- @errnos, init <- [false, true] do
      image = context.images[{:pidfd_send_signal, errno}]
      session = waiting(image, context.program, init: init)

      # A reaper's child is signalled by its descriptor alone, or not at all.
      case P.signal(session, 9) do
        :ok -> assert P.wait(session, 20_000) == {:ok, {:signaled, 9}}
        {:error, %{stage: :signal}} when init -> :ok
      end

      session = waiting(image, context.program, init: init)
      task = Task.async(P, :stop, [session, 100])
      assert {:ok, {:signaled, signal}} = Task.await(task, 20_000)
      assert signal in [9, 15]
    end
  end

  # A reaper that found it out later would take the workload with it, as a child that died in an
  # unknown way.
  test "without the calls that a reaper waits with there is none", context do
    for call <- [:rt_sigtimedwait, :wait4], {errno, _code} <- @errnos do
      image = context.images[{call, errno}]

      assert {{:error, %{stage: :init, errno: ^errno}}, []} =
               Refused.run(:init, context.program, image)
    end
  end

  # The agent has a group to give up.
  test "without setgroups ids that were asked for are refused", %{program: program} do
    number = Syscalls.to_number(:setgroups, :x86_64)

    for {errno, code} <- @errnos do
      image = Refused.image!(program, "setpriv --groups=4242 #{program} #{number} #{code}")

      assert {{:error, %{stage: :setgroups, errno: ^errno}}, []} =
               Refused.run(:ids, program, image)
    end
  end

  @tag :strace
  test "no call of a new trace is missing from the list", %{program: program} do
    traced =
      for kind <- Refused.kinds(), reduce: MapSet.new() do
        traced ->
          out = program <> "-trace-#{kind}"
          image = Refused.image!(program, "strace -f -qq -o #{out}")
          {{:ok, _seen}, _left} = Refused.run(kind, program, image)

          names =
            Regex.scan(~r/^\d+ +(?:<\.\.\. )?(\w+)/m, File.read!(out), capture: :all_but_first)

          names
          |> List.flatten()
          |> Enum.map(&String.to_atom/1)
          |> MapSet.new()
          |> MapSet.union(traced)
      end

    assert MapSet.difference(traced, MapSet.new(@calls)) == MapSet.new()
  end
end
