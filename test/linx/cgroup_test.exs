defmodule Linx.CgroupTest do
  use ExUnit.Case, async: true

  alias Linx.Cgroup
  alias Linx.Cgroup.{Error, Events, Pressure, Stats}

  doctest Linx.Cgroup.Error

  # The verbs are file operations, so a folder stands in where no kernel is needed.
  @moduletag :tmp_dir

  defp put(dir, file, text), do: File.write!(Path.join(dir, file), text)
  defp get(dir, file), do: File.read!(Path.join(dir, file))

  test "setters write what the kernel reads", %{tmp_dir: cg} do
    for {file, set, written} <- [
          {"memory.max", &Cgroup.set_memory_max(&1, 4096), "4096"},
          {"memory.max", &Cgroup.set_memory_max(&1, :max), "max"},
          {"memory.high", &Cgroup.set_memory_high(&1, 0), "0"},
          {"pids.max", &Cgroup.set_pids_max(&1, 100), "100"},
          {"cpu.max", &Cgroup.set_cpu_max(&1, {50_000, 100_000}), "50000 100000"},
          {"cpu.max", &Cgroup.set_cpu_max(&1, :max), "max"},
          {"cpu.weight", &Cgroup.set_cpu_weight(&1, 10_000), "10000"},
          {"io.max", &Cgroup.set_io_max(&1, {8, 16}, rbps: 1024, wiops: :max),
           "8:16 rbps=1024 wiops=max"},
          {"cgroup.kill", &Cgroup.kill/1, "1"},
          {"cgroup.freeze", &Cgroup.freeze/1, "1"},
          {"cgroup.freeze", &Cgroup.thaw/1, "0"}
        ] do
      assert {:error, %Error{operation: :write, errno: :enoent, path: path}} = set.(cg)
      assert path == Path.join(cg, file)
      refute File.exists?(path)
      put(cg, file, "")
      assert :ok = set.(cg)
      assert get(cg, file) == written
      File.rm!(path)
    end
  end

  test "a value that no setter takes raises before anything is written", %{tmp_dir: cg} do
    for call <- [
          fn -> Cgroup.set_memory_max(cg, -1) end,
          fn -> Cgroup.set_memory_max(cg, "1G") end,
          fn -> Cgroup.set_memory_max(cg, Integer.pow(2, 64)) end,
          fn -> Cgroup.set_memory_high(cg, 1.5) end,
          fn -> Cgroup.set_pids_max(cg, :none) end,
          fn -> Cgroup.set_cpu_max(cg, {0, 100_000}) end,
          fn -> Cgroup.set_cpu_max(cg, 50_000) end,
          fn -> Cgroup.set_cpu_weight(cg, 0) end,
          fn -> Cgroup.set_cpu_weight(cg, 10_001) end,
          fn -> Cgroup.set_io_max(cg, "8:0", rbps: 1) end,
          fn -> Cgroup.set_io_max(cg, {8, 0}, []) end,
          fn -> Cgroup.set_io_max(cg, {8, 0}, bps: 1) end,
          fn -> Cgroup.set_io_max(cg, {8, 0}, rbps: 0) end,
          fn -> Cgroup.add_process(cg, 0) end,
          fn -> Cgroup.add_process(cg, -1) end,
          fn -> Cgroup.read(cg, "../secret") end,
          fn -> Cgroup.write(cg, "", 1) end,
          fn -> Cgroup.write(cg, "a\0b", 1) end,
          fn -> Cgroup.read(cg <> "\0", "memory.max") end,
          fn -> Cgroup.create(cg <> "/a\0b") end,
          fn -> Cgroup.create(Path.relative_to_cwd(cg) <> "/x") end,
          fn -> Cgroup.create("") end,
          fn -> Cgroup.destroy(Path.relative_to_cwd(cg)) end,
          fn -> Cgroup.stats(Path.relative_to_cwd(cg)) end,
          fn -> Cgroup.destroy(cg <> "/a\0b") end,
          fn -> Cgroup.stats(cg <> "\0") end,
          fn -> Cgroup.enable_controllers(cg, [:cpu, :"memory -cpu"]) end,
          fn -> Cgroup.enable_controllers(cg, [:cpu, :"+memory"]) end,
          fn -> Cgroup.enable_controllers(cg, [:""]) end
        ] do
      assert_raise ArgumentError, call
    end

    assert File.ls!(cg) == []
  end

  test "an empty text is written, not left out", %{tmp_dir: cg} do
    put(cg, "cpuset.cpus", "0-3")
    assert :ok = Cgroup.write(cg, "cpuset.cpus", "")
    assert get(cg, "cpuset.cpus") == "\n"
  end

  test "a cgroup is made once and may be made twice; a file is not one", %{tmp_dir: dir} do
    path = Path.join(dir, "cg")
    assert Cgroup.create(path) == {:ok, path}
    assert Cgroup.create(path) == {:ok, path}
    put(dir, "file", "")

    assert {:error, %Error{operation: :create, errno: :eexist}} =
             Cgroup.create(Path.join(dir, "file"))
  end

  test "controllers are written one by one, and those refused are named", %{tmp_dir: cg} do
    put(cg, "cgroup.subtree_control", "")
    assert :ok = Cgroup.enable_controllers(cg, [:cpu])
    assert get(cg, "cgroup.subtree_control") == "+cpu"
    File.rm!(Path.join(cg, "cgroup.subtree_control"))

    assert {:partial, [memory: %Error{errno: :enoent}, io: %Error{errno: :enoent}]} =
             Cgroup.enable_controllers(cg, [:memory, :io])
  end

  test "stats take what there is", %{tmp_dir: cg} do
    assert Cgroup.stats(cg) == {:ok, %Stats{}}
    put(cg, "cpu.stat", "usage_usec 7\nbad line here\nuser_usec x\nnew_counter 9\n")
    put(cg, "memory.current", "max\n")
    put(cg, "pids.current", "3\n")

    put(cg, "memory.pressure", """
    some avg10=1.50 avg60=0.25 avg300=0.00 total=4711
    full avg10=0.00 avg60=0.00 avg300=0.00 total=11
    """)

    put(cg, "io.pressure", "nonsense\n")
    put(cg, "cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n")

    assert {:ok, %Stats{cpu_usec: 7, cpu_user_usec: nil, memory_current: nil} = stats} =
             Cgroup.stats(cg)

    assert stats.pids_current == 3
    assert stats.io_pressure == nil

    assert stats.memory_pressure == %Pressure{
             some: %{avg10: 1.5, avg60: 0.25, avg300: 0.0, total: 4711},
             full: %{avg10: 0.0, avg60: 0.0, avg300: 0.0, total: 11}
           }

    assert %Pressure{some: %{total: 1}, full: nil} = stats.cpu_pressure
    assert inspect(stats) == "#Linx.Cgroup.Stats<cpu=7µs pids=3>"
  end

  test "events take what there is", %{tmp_dir: cg} do
    assert {:error, %Error{operation: :read, errno: :enoent}} = Cgroup.events(cg)
    put(cg, "cgroup.events", "populated 1\nfrozen 0\nnew 4\n")
    assert Cgroup.events(cg) == {:ok, %Events{populated: true, frozen: false}}

    put(cg, "memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n")
    put(cg, "pids.events", "max 7\n")

    assert Cgroup.events(cg) ==
             {:ok,
              %Events{
                populated: true,
                frozen: false,
                memory_low: 1,
                memory_high: 2,
                memory_max: 3,
                memory_oom: 4,
                memory_oom_kill: 5,
                memory_oom_group_kill: 6,
                pids_max: 7
              }}
  end

  test "units are for people" do
    for {stats, text} <- [
          {%Stats{}, ""},
          {%Stats{cpu_usec: 0}, "cpu=0µs"},
          {%Stats{cpu_usec: 999}, "cpu=999µs"},
          {%Stats{cpu_usec: 1500}, "cpu=1.5ms"},
          {%Stats{cpu_usec: 999_999}, "cpu=999.9ms"},
          {%Stats{cpu_usec: 12_345_678}, "cpu=12.3s"},
          {%Stats{memory_current: 1023}, "mem=1023B"},
          {%Stats{memory_current: 4096}, "mem=4KiB"},
          {%Stats{memory_current: 44_040_192}, "mem=42MiB"},
          {%Stats{memory_current: 1_610_612_736}, "mem=1.5GiB"},
          {%Stats{memory_current: 0, pids_current: 0}, "mem=0B pids=0"}
        ] do
      assert inspect(stats) == "#Linx.Cgroup.Stats<#{text}>"
    end
  end

  test "a session that is gone is no process to add", %{tmp_dir: cg} do
    put(cg, "cgroup.procs", "")

    assert {:error, %Error{operation: :add_process, errno: :esrch, code: 3}} =
             Cgroup.add_process(cg, spawn(fn -> :ok end))

    assert get(cg, "cgroup.procs") == ""
  end

  test "an error says what may be missing" do
    text = fn errno, path, operation ->
      Exception.message(Linx.Cgroup.Error.from_posix(errno, path, operation))
    end

    assert text.(:enoent, "/c/memory.max", :write) =~ "is memory in the cgroup.subtree_control"

    assert text.(:enoent, "/c/cgroup.kill", :write) ==
             "cgroup write failed on /c/cgroup.kill: enoent (errno 2)"

    assert text.(:eacces, "/c/cgroup.procs", :add_process) =~ "common ancestor"
    assert text.(:ebusy, "/c/cgroup.procs", :add_process) =~ "holds no processes"
    assert text.(:ebusy, "/c", :destroy) =~ "it holds processes or cgroups"
    assert text.(:eexist, "/c", :create) == "cgroup create failed on /c: eexist (errno 17)"
  end
end
