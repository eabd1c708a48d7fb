defmodule Linx.Integration.CgroupTest do
  # One subtree of the machine's cgroup2 hierarchy, in a VM that has it mounted for itself alone.
  use ExUnit.Case, async: true

  alias Linx.Cgroup.{Error, Events, Stats}
  alias Linx.Test.Vm

  @moduletag :root
  @moduletag :cgroup2

  # `cg` is a fresh cgroup of the test's; it is emptied and removed after `code`.
  defp in_cgroup(code) do
    name = "linx-test-#{System.pid()}-#{System.unique_integer([:positive])}"

    wrapped =
      quote do
        :ok = Linx.Mount.mount("none", "/mnt", "cgroup2")
        {:ok, var!(cg)} = Linx.Cgroup.create("/mnt/" <> unquote(name))

        try do
          unquote(code)
        after
          Linx.Test.CgroupTree.remove!(var!(cg))
        end
      end

    Vm.eval(["unshare", "--mount", "--propagation", "private"], wrapped)
  end

  test "create, place, count, and destroy once it is empty" do
    code =
      quote do
        {session, pid} = Linx.Test.Workload.parked([])
        again = Linx.Cgroup.create(var!(cg))
        empty = Linx.Cgroup.events(var!(cg))
        placed = Linx.Cgroup.add_process(var!(cg), session)
        {:ok, procs} = Linx.Cgroup.read(var!(cg), "cgroup.procs")
        busy = Linx.Cgroup.destroy(var!(cg))
        stats = Linx.Cgroup.stats(var!(cg))
        full = Linx.Cgroup.events(var!(cg))
        membership = File.read!("/proc/#{pid}/cgroup") =~ Path.basename(var!(cg))
        :ok = Linx.Process.abort(session)
        {:ok, :aborted} = Linx.Process.wait(session)
        dead = Linx.Cgroup.add_process(var!(cg), session)
        absent = Linx.Cgroup.add_process(var!(cg), 99_999_999)
        # A process that was reaped may be in its cgroup a moment longer.
        Linx.Test.Workload.eventually(fn ->
          match?({:ok, %{populated: false}}, Linx.Cgroup.events(var!(cg)))
        end)

        destroyed = Linx.Cgroup.destroy(var!(cg))
        gone = Linx.Cgroup.destroy(var!(cg))
        {:ok, var!(cg)} = Linx.Cgroup.create(var!(cg))

        {again == {:ok, var!(cg)}, empty, placed, procs == "#{pid}", busy, stats, full,
         membership, dead, absent, destroyed, gone}
      end

    assert {true, {:ok, %Events{populated: false, frozen: false}}, :ok, true,
            {:error, %Error{operation: :destroy, errno: :ebusy, code: 16}},
            {:ok, %Stats{cpu_usec: usec}}, {:ok, %Events{populated: true}}, true,
            {:error, %Error{operation: :add_process, errno: :esrch}},
            {:error, %Error{operation: :add_process, errno: :esrch}}, :ok,
            {:error, %Error{operation: :destroy, errno: :enoent}}} = in_cgroup(code)

    assert is_integer(usec)
  end

  test "kill takes every process, those that fork on included" do
    code =
      quote do
        script = "for i in 1 2 3 4 5; do (while :; do sleep 1; done) & done; wait"
        {session, _} = Linx.Test.Workload.parked([], argv: ["/bin/sh", "-c", script])
        :ok = Linx.Cgroup.add_process(var!(cg), session)
        :ok = Linx.Process.proceed(session)

        Linx.Test.Workload.eventually(fn ->
          {:ok, procs} = Linx.Cgroup.read(var!(cg), "cgroup.procs")
          length(String.split(procs)) > 5
        end)

        killed = Linx.Cgroup.kill(var!(cg))
        outcome = Linx.Process.wait(session, 60_000)

        Linx.Test.Workload.eventually(fn ->
          {:ok, events} = Linx.Cgroup.events(var!(cg))
          not events.populated
        end)

        {killed, outcome}
      end

    assert {:ok, {:ok, {:signaled, 9}}} = in_cgroup(code)
  end

  test "freeze stops, thaw resumes" do
    code =
      quote do
        argv = ["/bin/sh", "-c", "while :; do :; done"]
        {session, pid} = Linx.Test.Workload.parked([], argv: argv)

        :ok = Linx.Cgroup.add_process(var!(cg), session)
        :ok = Linx.Process.proceed(session)
        ticks = fn -> Linx.Test.CgroupTree.cpu_ticks(pid) end
        Linx.Test.Workload.eventually(fn -> ticks.() > 5 end)
        frozen = Linx.Cgroup.freeze(var!(cg))

        Linx.Test.Workload.eventually(fn ->
          match?({:ok, %{frozen: true}}, Linx.Cgroup.events(var!(cg)))
        end)

        text = Linx.Cgroup.read(var!(cg), "cgroup.freeze")
        at = ticks.()
        # Time enough for another process to have used the CPU that this one may not.
        {_, 0} = System.cmd("sh", ["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"])
        stood = ticks.() == at
        thawed = Linx.Cgroup.thaw(var!(cg))
        Linx.Test.Workload.eventually(fn -> ticks.() > at + 5 end)
        {frozen, text, stood, thawed, Linx.Cgroup.thaw(var!(cg))}
      end

    assert in_cgroup(code) == {:ok, {:ok, "1"}, true, :ok, :ok}
  end

  test "what has no controller, no such name or no such cgroup is told apart" do
    code =
      quote do
        {
          Linx.Cgroup.write(var!(cg), "no.such", 1),
          Linx.Cgroup.read(var!(cg), "no.such"),
          Linx.Cgroup.enable_controllers(var!(cg), [:no_such, :nor_this]),
          Linx.Cgroup.enable_controllers(var!(cg), []),
          Linx.Cgroup.create(var!(cg) <> "/a/b"),
          Linx.Cgroup.stats(var!(cg) <> "/a"),
          Linx.Cgroup.events(var!(cg) <> "/a"),
          Linx.Cgroup.set_memory_max(var!(cg) <> "/a", 1)
        }
      end

    assert {{:error, %Error{operation: :write, errno: :enoent}},
            {:error, %Error{operation: :read, errno: :enoent}},
            {:partial,
             [
               no_such: %Error{operation: :write, errno: :einval, path: path},
               nor_this: %Error{errno: :einval}
             ]}, :ok, {:error, %Error{operation: :create, errno: :enoent}},
            {:error, %Error{operation: :stats, errno: :enoent}},
            {:error, %Error{operation: :read, errno: :enoent}},
            {:error, %Error{operation: :write, errno: :enoent}}} = in_cgroup(code)

    assert path =~ "cgroup.subtree_control"
  end

  test "pressure is read where the kernel tells of it" do
    code =
      quote do
        {File.exists?(Path.join(var!(cg), "cpu.pressure")), Linx.Cgroup.stats(var!(cg))}
      end

    case in_cgroup(code) do
      {true, {:ok, %Stats{cpu_pressure: pressure}}} ->
        assert %Linx.Cgroup.Pressure{some: %{avg10: avg10, total: total}} = pressure
        assert is_float(avg10) and is_integer(total)

      {false, {:ok, %Stats{cpu_pressure: pressure}}} ->
        assert pressure == nil
    end
  end

  test "a child is born in the cgroup that spawn is given" do
    code =
      quote do
        {session, pid} = Linx.Test.Workload.parked([], cgroup: var!(cg))
        procs = Linx.Cgroup.read(var!(cg), "cgroup.procs")
        :ok = Linx.Cgroup.kill(var!(cg))
        # It was killed where it was parked.
        {:error, %{stage: :exec_outcome}} = Linx.Process.wait(session, 60_000)
        procs == {:ok, "#{pid}"}
      end

    assert in_cgroup(code)
  end

  test "what left its session by a double fork dies in its cgroup when the agent is killed" do
    code =
      quote do
        argv = ["/bin/sh", "-c", "setsid sleep 600 & exec sleep 600"]
        {session, pid} = Linx.Test.Workload.parked([], cgroup: var!(cg), argv: argv)
        :ok = Linx.Process.proceed(session)

        procs = fn ->
          var!(cg) |> Linx.Cgroup.read("cgroup.procs") |> elem(1) |> String.split()
        end

        Linx.Test.Workload.eventually(fn -> length(procs.()) == 2 end)
        [_, agent] = Regex.run(~r/^PPid:\s+(\d+)$/m, File.read!("/proc/#{pid}/status"))
        {_, 0} = System.cmd("kill", ["-9", agent])
        {:error, %{stage: :agent_died}} = Linx.Process.wait(session, 60_000)
        Linx.Test.Workload.eventually(fn -> procs.() == [] end)
      end

    assert in_cgroup(code)
  end

  test "destroy waits for the last process, as long as it is told" do
    code =
      quote do
        cg = var!(cg)
        {session, _} = Linx.Test.Workload.parked([])
        :ok = Linx.Cgroup.add_process(cg, session)
        {time, busy} = :timer.tc(fn -> Linx.Cgroup.destroy(cg, timeout: 300) end)
        # It is in the midst of waiting when the process goes.
        waiter = Task.async(fn -> Linx.Cgroup.destroy(cg, timeout: 60_000) end)

        waits? = fn ->
          Process.info(waiter.pid, :current_function) ==
            {:current_function, {Linx.Pool.Native, :await, 1}}
        end

        Linx.Test.Workload.eventually(waits?)
        :ok = Linx.Process.abort(session)
        gone = Task.await(waiter, 60_000)
        {:ok, ^cg} = Linx.Cgroup.create(cg)
        # A child is not waited for.
        {:ok, child} = Linx.Cgroup.create(cg <> "/child")
        {quick, parent} = :timer.tc(fn -> Linx.Cgroup.destroy(cg, timeout: 60_000) end)

        {div(time, 1000) in 300..30_000, busy, gone, quick < 30_000_000, parent,
         Linx.Cgroup.destroy(child, timeout: 10)}
      end

    assert {true, {:error, %Error{errno: :ebusy}}, :ok, true, {:error, %Error{errno: :ebusy}},
            :ok} =
             in_cgroup(code)
  end

  test "what lies on no cgroup2 is refused by every verb, and nothing is made or changed" do
    code =
      quote do
        :ok = Linx.Mount.mount("tmpfs", "/mnt", "tmpfs")
        File.write!("/mnt/cgroup.procs", "before")
        File.write!("/mnt/cgroup.events", "populated 0")
        File.mkdir!("/mnt/there")

        answers = [
          Linx.Cgroup.create("/mnt/x"),
          Linx.Cgroup.create("/mnt/there"),
          Linx.Cgroup.create("/srv"),
          Linx.Cgroup.stats("/mnt"),
          Linx.Cgroup.events("/mnt"),
          Linx.Cgroup.read("/mnt", "cgroup.procs"),
          Linx.Cgroup.write("/mnt", "cgroup.procs", 1),
          Linx.Cgroup.add_process("/mnt", String.to_integer(System.pid())),
          Linx.Cgroup.set_pids_max("/mnt", 1),
          Linx.Cgroup.freeze("/mnt"),
          Linx.Cgroup.kill("/mnt"),
          Linx.Cgroup.destroy("/mnt/there"),
          Linx.Cgroup.destroy("/mnt/there", timeout: 100)
        ]

        {:partial, [cpu: partial]} = Linx.Cgroup.enable_controllers("/mnt", [:cpu])

        {Enum.map([{:error, partial} | answers], fn {:error, error} -> error.errno end),
         Exception.message(partial), File.read!("/mnt/cgroup.procs"), Enum.sort(File.ls!("/mnt")),
         Linx.Cgroup.create("/no/such"), Linx.Cgroup.stats("/mnt/absent")}
      end

    {errnos, text, procs, files, absent, stats} =
      Vm.eval(["unshare", "--mount", "--propagation", "private"], code)

    assert Enum.uniq(errnos) == [:not_cgroup2]
    assert text =~ "not on a cgroup2 file system"
    assert {procs, files} == {"before", ["cgroup.events", "cgroup.procs", "there"]}
    assert {:error, %Error{operation: :create, errno: :enoent}} = absent
    assert {:error, %Error{operation: :stats, errno: :enoent}} = stats
  end
end
