defmodule Linx.Integration.CgroupPressureTest do
  # Pressure stall information of a cgroup, where the kernel keeps it. A module of its own:
  # User-Mode Linux has the controllers and no pressure, and an included tag counts over an
  # excluded one.
  use ExUnit.Case, async: false

  import Linx.Test.Workload

  alias Linx.Cgroup
  alias Linx.Cgroup.Stats
  alias Linx.Process, as: Session
  alias Linx.Test.CgroupTree

  @moduletag :root
  @moduletag :psi
  @moduletag timeout: 600_000

  @top "/sys/fs/cgroup"

  test "counts the time that a task waits for a processor" do
    :ok = Cgroup.enable_controllers(@top, [:cpu])
    {:ok, cg} = Cgroup.create(Path.join(@top, "linx-pressure-#{System.pid()}"))
    on_exit(fn -> CgroupTree.remove!(cg) end)
    :ok = Cgroup.set_cpu_max(cg, {10_000, 100_000})
    {session, _pid} = parked([], argv: ["/bin/sh", "-c", "while :; do :; done"])
    :ok = Cgroup.add_process(cg, session)
    {:ok, %Stats{cpu_pressure: %{some: %{total: before}}}} = Cgroup.stats(cg)
    :ok = Session.proceed(session)

    eventually(fn ->
      {:ok, %Stats{cpu_pressure: %{some: some}}} = Cgroup.stats(cg)
      some.total - before > 100_000
    end)
  end
end
