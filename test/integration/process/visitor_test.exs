defmodule Linx.Process.VisitorTest do
  # The end of a workload that joined the pid namespace of another process: its orphans become
  # children of that namespace's init, and end with their session all the same.
  #
  # Broken by hand: each of kill/0 without the descendants, signal_tree/1 that keeps none, and
  # find_lost/0 that finds none: one of these tests failed.
  use ExUnit.Case, async: true

  import Linx.Test.Session

  alias Linx.Process, as: P

  @moduletag :root
  @moduletag timeout: 120_000

  setup do
    {target, pid} = running(argv: ["/bin/sleep", "1000"], namespaces: [:pid], stdio: :devnull)
    flush()
    on_exit(fn -> P.stop(target, 0) end)
    %{target: target, pid: pid}
  end

  defp visit(target, script, init) do
    {:ok, visitor} =
      P.enter(target,
        argv: ["/bin/sh", "-c", script],
        stdio: [stdin: :devnull, stdout: :pipe, stderr: :devnull],
        init: init,
        auto_proceed: true
      )

    output_until(:stdout, "up\n")
    visitor
  end

  # The processes of the target's pid namespace beside its init.
  defp others(pid) do
    {:ok, namespace} = File.read_link("/proc/#{pid}/ns/pid")

    for name <- File.ls!("/proc"),
        name =~ ~r/^\d+$/ and name != "#{pid}",
        File.read_link("/proc/#{name}/ns/pid") == {:ok, namespace},
        alive?(name),
        do: name
  end

  for init <- [false, true] do
    @init init

    test "a stop without a grace (init: #{init})", %{target: target, pid: pid} do
      script = "trap '' TERM; sleep 1000 & setsid sleep 1000 & echo up; wait; wait"
      visitor = visit(target, script, @init)
      assert P.stop(visitor, 0) == {:ok, {:signaled, 9}}
      assert others(pid) == []
      assert alive?(pid)
    end

    test "a stop that a child outlives (init: #{init})", %{target: target, pid: pid} do
      visitor = visit(target, "(trap '' TERM; echo up; exec sleep 1000) & wait", @init)
      since = System.monotonic_time(:millisecond)
      assert P.stop(visitor, 700) == {:ok, {:signaled, 15}}
      assert System.monotonic_time(:millisecond) - since >= 700
      assert others(pid) == []
    end

    test "a stop that a child ends by itself after its parent (init: #{init})",
         %{target: target, pid: pid} do
      script = "(trap 'sleep 0.2; exit 0' TERM; echo up; while :; do sleep 0.02; done) & wait"
      visitor = visit(target, script, @init)
      since = System.monotonic_time(:millisecond)
      assert P.stop(visitor, 100_000) == {:ok, {:signaled, 15}}
      assert System.monotonic_time(:millisecond) - since < 60_000
      assert others(pid) == []
    end

    test "its own end (init: #{init})", %{target: target, pid: pid} do
      visitor = visit(target, "sleep 1000 & (sleep 1000 & exit 0); echo up; exit 7", @init)
      assert P.wait(visitor, 60_000) == {:ok, {:exited, 7}}
      assert others(pid) == []
      assert alive?(pid)
    end

    test "the death of its session (init: #{init})", %{target: target, pid: pid} do
      visitor = visit(target, "trap '' TERM; sleep 1000 & echo up; wait", @init)
      Process.unlink(visitor)
      Process.exit(visitor, :kill)
      until(fn -> others(pid) == [] end)
      assert alive?(pid)
    end
  end

  test "with a reaper, a daemon too", %{target: target, pid: pid} do
    visitor = visit(target, "setsid sh -c 'sleep 1000 & exit 0'; echo up", true)
    assert P.wait(visitor, 60_000) == {:ok, {:exited, 0}}
    assert others(pid) == []
  end

  test "a process of the target in another session stays", %{target: target, pid: pid} do
    {:ok, other} = P.enter(target, argv: ["/bin/sleep", "1000"], stdio: :devnull)
    :ok = P.proceed(other)
    assert_receive {:linx_process, :running}
    {:ok, other_pid} = P.host_pid(other)
    visitor = visit(target, "sleep 1000 & echo up; exit 0", false)
    assert P.wait(visitor, 60_000) == {:ok, {:exited, 0}}
    assert others(pid) == ["#{other_pid}"]
    P.stop(other, 0)
  end
end
