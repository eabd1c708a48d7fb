defmodule Linx.Cgroup.ReconcileTest do
  use ExUnit.Case, async: true
  doctest Linx.Cgroup.Reconcile

  # An ordinary directory stands in for a cgroup: both are files. The kernel's own are in
  # test/integration.
  @moduletag :tmp_dir

  alias Linx.Cgroup.Reconcile
  alias Linx.Cgroup.Reconcile.Source

  test "diff knows how the kernel writes a limit" do
    for {file, text, value, same} <- [
          {"memory.max", "max", :max, true},
          {"memory.max", "4096", 5000, true},
          {"memory.max", "8192", 5000, false},
          {"memory.max", "0", 100, true},
          {"cpu.max", "max 100000", :max, true},
          {"cpu.max", "max 50000", :max, true},
          {"cpu.max", "50000 100000", :max, false},
          {"cpu.max", "50000 100000", {50_000, 100_000}, true},
          {"cpu.max", "50000 100000", {50_000, 50_000}, false},
          {"pids.max", "100", 100, true},
          {"pids.max", "101", 100, false},
          {"io.max", "8:0 rbps=1 wbps=max riops=max wiops=max",
           "8:0 rbps=1 wbps=max riops=max wiops=max", true},
          {"io.max", "8:0 rbps=1 wbps=max riops=max wiops=max", "8:0 rbps=1", true},
          {"io.max", "8:0 rbps=1 wbps=max riops=max wiops=max", "8:0 rbps=2", false},
          {"io.max", "8:0 rbps=1 wbps=max riops=max wiops=max", "8:0 rbps=1 wiops=7", false},
          {"io.max", "", "8:0 rbps=max", true},
          {"io.max", "", "8:0 rbps=1", false},
          {"io.max", "", "", true},
          {"io.max", "8:0 rbps=1 wbps=max riops=max wiops=max", "", false},
          {"io.max", "", "8:0", false},
          {"io.max", "", "8:0 rbps", false},
          {"io.max", "", "8:0 rbps=max bogus=max", false},
          {"io.max", "", "8:0 rbps=max\n8:16 rbps=1", false},
          {"io.weight", "default 100", "default 100", true},
          {"io.weight", "default 100", "default 200", false},
          {"memory.max", "1073741824", "1G", true},
          {"memory.high", "65536", "64k", true},
          {"memory.high", "65536", "65K", true},
          {"memory.high", "65536", "68K", false},
          {"memory.oom.group", "0", 1, false},
          {"memory.oom.group", "1", 1, true},
          {"cpu.max", "50000 100000", "50000", true},
          {"cpu.max", "50000 100000", "50000 20000", false},
          {"cpuset.cpus", "0-2,5", "5,2,0-1", true},
          {"cpuset.cpus", "0-2", "0-3", false},
          {"cpuset.cpus", "", "0", false},
          {"cpuset.cpus", "", "", true},
          {"cpuset.cpus", "0-1,4-5", "0-7:2/4", false},
          {"cpuset.cpus", "0-1", "1-0", false},
          {"cpuset.cpus", "0-1", "0-x,-", false},
          {"cpuset.cpus.partition", "member", "root", false}
        ] do
      expected = if same, do: [], else: [{:set, file, value}]

      assert {file, text, Reconcile.diff(%{file => text}, %{file => value})} ==
               {file, text, expected}
    end
  end

  test "writes the shapes that the setters take", %{tmp_dir: cg} do
    for file <- ~w(memory.max cpu.max cpu.weight io.max),
        do: File.write!(Path.join(cg, file), "?\n")

    desired = %{
      "memory.max" => :max,
      "cpu.max" => {1000, 2000},
      "cpu.weight" => 50,
      "io.max" => "8:0 rbps=1"
    }

    {:ok, r} = Reconcile.reconcile(cg, desired)
    assert r.converged?
    assert File.read!(Path.join(cg, "cpu.max")) == "1000 2000"

    assert Reconcile.observe(cg, Map.keys(desired) ++ ["pids.max"]) == %{
             "memory.max" => "max",
             "cpu.max" => "1000 2000",
             "cpu.weight" => "50",
             "io.max" => "8:0 rbps=1"
           }

    {:ok, r} = Reconcile.reconcile(cg, %{}, r.last_applied, revert_on_release: true)
    assert length(r.applied) == 4
    assert File.read!(Path.join(cg, "cpu.max")) == "?"
  end

  test "a value of no shape raises before any file is touched", %{tmp_dir: cg} do
    File.write!(Path.join(cg, "pids.max"), "max")

    for bad <- [-1, Integer.pow(2, 64), 1.5, nil, {0, 100}, {100, :max}, [1]] do
      assert_raise ArgumentError, fn ->
        Reconcile.reconcile(cg, %{"pids.max" => 5, "zzz" => bad})
      end
    end

    assert File.read!(Path.join(cg, "pids.max")) == "max"
  end

  test "to the loop such a value is a pass that could not be made", %{tmp_dir: cg} do
    File.write!(Path.join(cg, "pids.max"), "max")

    for bad <- [%{"pids.max" => nil}, [:no_map], %{"../x" => 1}, %{pids: 1}] do
      assert {:error, %ArgumentError{}} = Source.reconcile(cg, bad, %{}, [])
    end

    loop =
      start_supervised!(
        {Linx.Reconcile,
         source: Source, scope: cg, desired: %{"pids.max" => nil}, owner: self(), debounce: 0}
      )

    assert_receive {:linx_reconcile, :error, %ArgumentError{}}
    :ok = Linx.Reconcile.put_desired(loop, %{"pids.max" => 7})
    assert_receive {:linx_reconcile, :report, %{converged?: true}}
    assert File.read!(Path.join(cg, "pids.max")) == "7"
  end

  test "the source reads too", %{tmp_dir: cg} do
    File.write!(Path.join(cg, "pids.max"), "max\n")
    assert Source.observe(cg, files: ["pids.max", "memory.max"]) == {:ok, %{"pids.max" => "max"}}
  end
end
