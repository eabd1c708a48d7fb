defmodule Linx.Integration.CgroupLimitsTest do
  # Limits in force. They need the controllers on the unified hierarchy, which bin/test-kernel has
  # where the machine's own kernel does not.
  use ExUnit.Case, async: false

  import Linx.Test.Workload

  alias Linx.Cgroup
  alias Linx.Cgroup.{Error, Events, Stats}
  alias Linx.Process, as: Session
  alias Linx.Test.CgroupTree

  @moduletag :root
  @moduletag :cgroup_controllers
  @moduletag timeout: 600_000

  @top "/sys/fs/cgroup"

  setup_all do
    :ok = Cgroup.enable_controllers(@top, [:cpu, :memory, :pids])
    parent = Path.join(@top, "linx-test-#{System.pid()}")
    {:ok, ^parent} = Cgroup.create(parent)
    on_exit(fn -> CgroupTree.remove!(parent) end)
    :ok = Cgroup.enable_controllers(parent, [:cpu, :memory, :pids])
    %{parent: parent}
  end

  setup %{parent: parent} do
    path = Path.join(parent, "case-#{System.unique_integer([:positive])}")
    {:ok, cg} = Cgroup.create(path)
    on_exit(fn -> CgroupTree.remove!(cg) end)
    %{cg: cg}
  end

  defp workload(cg, script, opts \\ []) do
    {session, pid} = parked([], [argv: ["/bin/sh", "-c", script]] ++ opts)
    :ok = Cgroup.add_process(cg, session)
    {session, pid}
  end

  test "supported?" do
    assert Cgroup.supported?()
  end

  test "memory.max kills the workload inside its cgroup", %{cg: cg} do
    :ok = Cgroup.set_memory_max(cg, 16 * 1024 * 1024)
    assert Cgroup.read(cg, "memory.max") == {:ok, "16777216"}
    # A line that never ends: tail keeps all of it.
    {session, _} = workload(cg, "exec tail /dev/zero")
    :ok = Session.proceed(session)
    assert Session.wait(session, 60_000) == {:ok, {:signaled, 9}}
    assert {:ok, %Events{memory_oom_kill: 1, memory_max: max}} = Cgroup.events(cg)
    assert max > 0
    assert {:ok, %Stats{memory_peak: peak}} = Cgroup.stats(cg)
    assert peak == nil or peak in 1_000_000..(16 * 1024 * 1024)
    assert :ok = Cgroup.set_memory_max(cg, :max)
    assert Cgroup.read(cg, "memory.max") == {:ok, "max"}
  end

  test "memory.high slows and kills nobody", %{cg: cg} do
    :ok = Cgroup.set_memory_high(cg, 4 * 1024 * 1024)
    assert Cgroup.read(cg, "memory.high") == {:ok, "4194304"}
    # Nothing of it can be reclaimed, so it crawls on.
    {session, _} = workload(cg, "exec tail /dev/zero")
    :ok = Session.proceed(session)
    eventually(fn -> match?({:ok, %Events{memory_high: n}} when n > 0, Cgroup.events(cg)) end)
    assert {:ok, %Events{memory_oom_kill: 0, populated: true}} = Cgroup.events(cg)
    :ok = Cgroup.set_memory_high(cg, :max)
    :ok = Cgroup.kill(cg)
    assert Session.wait(session, 60_000) == {:ok, {:signaled, 9}}
  end

  test "cpu.max throttles", %{cg: cg} do
    :ok = Cgroup.set_cpu_max(cg, {10_000, 100_000})
    assert Cgroup.read(cg, "cpu.max") == {:ok, "10000 100000"}
    {session, _} = workload(cg, "while :; do :; done")
    :ok = Session.proceed(session)

    eventually(fn ->
      {:ok, %Stats{cpu_nr_throttled: throttled, cpu_throttled_usec: usec}} = Cgroup.stats(cg)
      throttled > 2 and usec > 0
    end)

    {:ok, %Stats{cpu_usec: used, cpu_user_usec: user, cpu_system_usec: system}} = Cgroup.stats(cg)
    assert used > 0 and user + system <= used + 100_000
    assert :ok = Cgroup.set_cpu_max(cg, :max)
    assert {:ok, "max " <> _} = Cgroup.read(cg, "cpu.max")
  end

  test "cpu.weight is set", %{cg: cg} do
    assert :ok = Cgroup.set_cpu_weight(cg, 250)
    assert Cgroup.read(cg, "cpu.weight") == {:ok, "250"}
  end

  test "pids.max refuses the fork", %{cg: cg} do
    :ok = Cgroup.set_pids_max(cg, 1)

    {session, _} =
      workload(cg, "/bin/true; echo not-reached", stdio: [stdout: :pipe, stderr: :devnull])

    assert {output, {:exited, code}} = run(session)
    refute output =~ "not-reached"
    assert code != 0
    assert {:ok, %Events{pids_max: refused}} = Cgroup.events(cg)
    assert refused > 0
    assert :ok = Cgroup.set_pids_max(cg, :max)
    assert Cgroup.read(cg, "pids.max") == {:ok, "max"}
  end

  test "pids are counted", %{cg: cg} do
    {session, _} = workload(cg, "sleep 100 & sleep 100 & wait")
    :ok = Session.proceed(session)
    eventually(fn -> match?({:ok, %Stats{pids_current: 3}}, Cgroup.stats(cg)) end)
    assert inspect(elem(Cgroup.stats(cg), 1)) =~ ~r/mem=.* pids=3>/
    :ok = Cgroup.kill(cg)
    assert Session.wait(session, 60_000) == {:ok, {:signaled, 9}}
  end

  test "freeze stops and thaw resumes", %{cg: cg} do
    {session, pid} = workload(cg, "while :; do :; done")
    :ok = Session.proceed(session)
    eventually(fn -> CgroupTree.cpu_ticks(pid) > 5 end)
    :ok = Cgroup.freeze(cg)
    eventually(fn -> match?({:ok, %Events{frozen: true}}, Cgroup.events(cg)) end)
    at = CgroupTree.cpu_ticks(pid)
    # Time that another process uses.
    {_, 0} = System.cmd("sh", ["-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"])
    assert CgroupTree.cpu_ticks(pid) == at
    :ok = Cgroup.thaw(cg)
    eventually(fn -> CgroupTree.cpu_ticks(pid) > at + 5 end)
    # A frozen one can be killed.
    :ok = Cgroup.freeze(cg)
    :ok = Cgroup.kill(cg)
    assert Session.wait(session, 60_000) == {:ok, {:signaled, 9}}
  end

  test "delegation is refused controller by controller", %{cg: cg} do
    # cg was given what its parent enabled, and nothing else.
    {:ok, given} = Cgroup.read(cg, "cgroup.controllers")
    assert Enum.sort(String.split(given)) == ~w(cpu memory pids)

    assert {:partial, [{:no_such, %Error{operation: :write, errno: :einval, code: 22} = error}]} =
             Cgroup.enable_controllers(cg, [:memory, :no_such, :pids])

    assert error.path == Path.join(cg, "cgroup.subtree_control")
    {:ok, enabled} = Cgroup.read(cg, "cgroup.subtree_control")
    assert Enum.sort(String.split(enabled)) == ~w(memory pids)

    # A controller that exists and was not given.
    {:ok, all} = Cgroup.read(@top, "cgroup.controllers")

    for name <- String.split(all) -- String.split(given) do
      controller = String.to_atom(name)

      assert {:partial, [{^controller, %Error{errno: :enoent}}]} =
               Cgroup.enable_controllers(cg, [controller])
    end

    # A limit of a controller that is not enabled for the child.
    {:ok, child} = Cgroup.create(Path.join(cg, "child"))
    assert :ok = Cgroup.set_memory_max(child, 1_000_000)

    assert {:error, %Error{operation: :write, errno: :enoent}} =
             Cgroup.set_cpu_max(child, {1000, 10_000})

    assert {:ok, %Stats{memory_current: 0, cpu_nr_throttled: nil}} = Cgroup.stats(child)
    :ok = Cgroup.destroy(child)
  end

  test "no internal processes: a cgroup that gives on takes none", %{cg: cg} do
    :ok = Cgroup.enable_controllers(cg, [:memory])
    {session, _} = parked([])

    assert {:error, %Error{operation: :add_process, errno: :ebusy}} =
             Cgroup.add_process(cg, session)
  end

  test "values out of the kernel's range come back as its errno", %{cg: cg} do
    assert {:error, %Error{operation: :write, errno: :einval}} = Cgroup.set_cpu_max(cg, {1, 1})
    assert {:error, %Error{errno: :einval}} = Cgroup.write(cg, "memory.max", "lots")
    assert {:error, %Error{errno: errno}} = Cgroup.write(cg, "cpu.weight", 0)
    assert errno in [:erange, :einval]
  end
end
