defmodule Linx.Integration.CgroupReconcileTest do
  # bin/test-kernel runs this where the machine's own hierarchy lacks the controllers.
  use ExUnit.Case, async: false

  alias Linx.{Cgroup, Process, Reconcile}
  alias Linx.Cgroup.{Error, Events, Stats}

  @moduletag [root: true, cgroup_controllers: true]

  @root "/sys/fs/cgroup"
  @controllers [:cpu, :memory, :pids]
  @mib 1024 * 1024

  # One cgroup of the test's own below the root, with the controllers given to its children.
  setup do
    enabled = File.read!(Path.join(@root, "cgroup.subtree_control")) |> String.split()
    :ok = Cgroup.enable_controllers(@root, @controllers)
    ours = for controller <- @controllers, "#{controller}" not in enabled, do: controller

    parent = Path.join(@root, "linx-test-#{System.unique_integer([:positive])}")
    {:ok, parent} = Cgroup.create(parent)
    :ok = Cgroup.enable_controllers(parent, @controllers)

    on_exit(fn ->
      children = for path <- Path.wildcard(parent <> "/*"), File.dir?(path), do: path
      for cg <- children ++ [parent], do: remove(cg)
      for controller <- ours, do: Cgroup.write(@root, "cgroup.subtree_control", "-#{controller}")
    end)

    {:ok, cg} = Cgroup.create(Path.join(parent, "work"))
    %{parent: parent, cg: cg}
  end

  defp remove(cg) do
    Cgroup.thaw(cg)
    Cgroup.kill(cg)
    eventually(fn -> Cgroup.destroy(cg) == :ok end)
  end

  defp eventually(condition), do: Linx.Test.Session.until(condition, 20_000)

  defp start(cg, argv, opts \\ []) do
    {:ok, session} = Process.spawn(Keyword.merge([argv: argv, stdio: :devnull], opts))
    :ok = Cgroup.add_process(cg, session)
    :ok = Process.proceed(session)
    assert_receive {:linx_process, :running}
    on_exit(fn -> if Elixir.Process.alive?(session), do: Process.stop(session, 0) end)
    session
  end

  defp spin(cg), do: start(cg, ["/bin/sh", "-c", "while :; do :; done"])

  test "a workload beside it, in another cgroup, lives on", %{cg: cg, parent: parent} do
    {:ok, other} = Cgroup.create(Path.join(parent, "other"))
    bystander = start(other, ["/bin/sleep", "60"])
    :ok = Cgroup.set_memory_max(cg, 8 * @mib)
    session = start(cg, ["/usr/bin/tail", "/dev/zero"])
    assert Process.wait(session, 60_000) == {:ok, {:signaled, 9}}
    assert {:ok, %Events{populated: true, memory_oom_kill: 0}} = Cgroup.events(other)
    Process.stop(bystander, 0)
  end

  test "cpu.max :max lets it run again", %{cg: cg} do
    :ok = Cgroup.set_cpu_max(cg, {1_000, 100_000})
    spin(cg)
    eventually(fn -> match?({:ok, %Stats{cpu_nr_throttled: n}} when n >= 2, Cgroup.stats(cg)) end)
    :ok = Cgroup.set_cpu_max(cg, :max)
    {:ok, before} = Cgroup.stats(cg)
    eventually(fn -> elem(Cgroup.stats(cg), 1).cpu_usec > before.cpu_usec + 50_000 end)
  end

  test "a spawn straight into the cgroup is under its limits from the start", %{cg: cg} do
    :ok = Cgroup.set_memory_max(cg, 16 * @mib)

    {:ok, session} =
      Process.spawn(
        argv: ["/usr/bin/tail", "/dev/zero"],
        stdio: :devnull,
        cgroup: cg,
        auto_proceed: true
      )

    assert Process.wait(session, 60_000) == {:ok, {:signaled, 9}}
    assert {:ok, %Events{memory_oom_kill: 1}} = Cgroup.events(cg)
  end

  test "the reconciler makes limits true once, rounds as the kernel does, and corrects drift", %{
    cg: cg
  } do
    desired = %{
      "memory.max" => 5_000_000,
      "memory.high" => :max,
      "cpu.max" => {20_000, 100_000},
      "cpu.weight" => 200,
      "pids.max" => 50
    }

    {:ok, r} = Cgroup.Reconcile.reconcile(cg, desired)
    assert r.converged?
    assert length(r.applied) == 4
    {:ok, r} = Cgroup.Reconcile.reconcile(cg, desired, r.last_applied)
    assert r.applied == []

    :ok = Cgroup.set_pids_max(cg, :max)
    {:ok, r} = Cgroup.Reconcile.reconcile(cg, desired, r.last_applied)
    assert r.applied == [{:set, "pids.max", 50}]
    assert r.last_applied["pids.max"] == %{applied: 50, original: "max"}

    {:ok, r} =
      Cgroup.Reconcile.reconcile(cg, %{"pids.max" => 50}, r.last_applied, revert_on_release: true)

    assert r.converged? and r.last_applied == %{"pids.max" => %{applied: 50, original: "max"}}
    assert Cgroup.read(cg, "cpu.weight") == {:ok, "100"}
    assert Cgroup.read(cg, "cpu.max") == {:ok, "max 100000"}
  end

  test "to the reconciler a missing controller is one failure among successes", %{cg: cg} do
    :ok = Cgroup.enable_controllers(cg, [:memory])
    {:ok, child} = Cgroup.create(Path.join(cg, "child"))
    {:ok, r} = Cgroup.Reconcile.reconcile(child, %{"memory.max" => @mib, "cpu.weight" => 5})
    assert r.applied == [{:set, "memory.max", @mib}]
    assert [{{:set, "cpu.weight", 5}, %Error{errno: :enoent}}] = r.failed
    :ok = Cgroup.destroy(child)
  end

  test "a loop may be older than its cgroup", %{parent: parent} do
    later = Path.join(parent, "later")

    {:ok, loop} =
      Reconcile.start_link(
        source: Cgroup.Reconcile.Source,
        scope: later,
        desired: %{"pids.max" => 10},
        interval: 10,
        owner: self()
      )

    assert_receive {:linx_reconcile, :report, %{converged?: false}}
    {:ok, ^later} = Cgroup.create(later)
    assert_receive {:linx_reconcile, :report, %{applied: [{:set, "pids.max", 10}]}}
    Reconcile.stop(loop)
    assert Cgroup.read(later, "pids.max") == {:ok, "10"}
  end
end
