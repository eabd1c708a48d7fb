defmodule Linx.Process.LimitsTest do
  # Each resource limit at nothing and next to nothing, on the child that sets it on itself: the
  # child ends, with a stage or by the kernel's signal. The agent and everybody whose number it
  # may have elsewhere live on.
  use ExUnit.Case, async: true

  import Linx.Test.Session

  alias Linx.Process, as: P
  alias Linx.Seccomp

  @moduletag :root

  @limits ~w(cpu fsize data stack core rss nproc nofile memlock as locks sigpending msgqueue nice
             rtprio rttime)a
  @values [0, 1, 1000]

  # SIGKILL and SIGSEGV are execve(2)'s past its point of no return; SIGXCPU is RLIMIT_CPU's. A
  # limit of no CPU time kills at the next tick, which may come before the exec.
  defp assert_own_end(outcome, what) do
    case outcome do
      {:ok, {:exited, _code}} -> :ok
      {:ok, {:signaled, signal}} -> assert signal in [9, 11, 24], what
      {:error, %{stage: :exec_outcome}} -> assert what == "cpu: 0"
      {:error, %{stage: stage}} -> assert stage in [:rlimit, :execve, :stdio], "#{what}: #{stage}"
    end
  end

  defp target do
    {target, _pid} =
      running(argv: ["/bin/sleep", "300"], stdio: :devnull, namespaces: [:pid, :uts])

    target
  end

  for init <- [false, true], limit <- @limits do
    test "#{limit}, spawned (init: #{init})" do
      for value <- @values do
        opts = [argv: ["/bin/true"], stdio: :devnull, rlimits: [{unquote(limit), value}]]
        {:ok, session} = P.spawn([init: unquote(init), auto_proceed: true] ++ opts)
        assert_own_end(P.wait(session, 60_000), "#{unquote(limit)}: #{value}")
      end
    end
  end

  for init <- [false, true] do
    test "each of them, entered (init: #{init})" do
      target = target()

      for limit <- @limits, value <- @values do
        opts = [argv: ["/bin/true"], stdio: :devnull, rlimits: [{limit, value}]]
        {:ok, session} = P.enter(target, [init: unquote(init), auto_proceed: true] ++ opts)
        assert_own_end(P.wait(session, 60_000), "#{limit}: #{value}")
      end

      assert {:ok, %{stage: :running}} = P.info(target)
    end
  end

  # Starts a process in the target's pid namespace with the number that the agent of `session` has
  # in ours.
  defp bystander(target, session) do
    {:ok, %{host_pid: pid, reaper_pid: reaper}} = P.info(session)
    agent = parent(reaper || pid)
    last = "echo #{agent - 1} > /proc/sys/kernel/ns_last_pid"
    script = "exec 3<&0; #{last}; cat <&3 & echo $!; wait"
    opts = [argv: ["/bin/sh", "-c", script], stdio: :pipe, auto_proceed: true]
    {:ok, other} = P.enter(target, opts)
    number = :stdout |> output_until("\n") |> String.trim() |> String.to_integer()
    assert number == agent
    other
  end

  # Without a process of this number to hit, a signal by number would go unseen. A dead one
  # answers nothing, while its session may not have heard of it yet.
  defp assert_bystander_lives(other) do
    assert P.stdin_write(other, "alive\n") == :ok
    assert_receive {:linx_process, :stdout, "alive\n"}, 20_000
    {:ok, _outcome} = P.stop(other, 0)
  end

  for init <- [false, true], limit <- [as: 1000, data: 0, stack: 0] do
    test "#{inspect(limit)} signals nobody who has the agent's number (init: #{init})" do
      target = target()
      opts = [argv: ["/bin/true"], stdio: :devnull, rlimits: [unquote(limit)]]
      {:ok, session} = P.enter(target, [init: unquote(init)] ++ opts)
      assert_receive {:linx_process, :ready, _pid}
      other = bystander(target, session)
      :ok = P.proceed(session)
      assert_own_end(P.wait(session, 60_000), inspect(unquote(limit)))
      assert_bystander_lives(other)
    end
  end

  # Killed by the filter, or refused its end by it.
  for init <- [false, true], default <- [:kill_process, {:errno, :eperm}] do
    test "nor does the end of a child whose filter allows none (init: #{init}, " <>
           "#{inspect(default)})" do
      target = target()
      opts = [argv: ["/nonexistent"], stdio: :devnull, init: unquote(init)]
      {:ok, session} = P.enter(target, opts)
      assert_receive {:linx_process, :ready, _pid}
      other = bystander(target, session)

      {:ok, filter} = Seccomp.allow_list([:tkill], default: unquote(default))

      :ok = Seccomp.install(session, filter)
      :ok = P.proceed(session)
      assert {:error, %{stage: :execve, errno: :enoent}} = P.wait(session, 60_000)
      assert_bystander_lives(other)
    end
  end
end
