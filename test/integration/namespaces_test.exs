defmodule Linx.Integration.NamespacesTest do
  # The machine's own counts of threads and descriptors are compared, so nothing else may run.
  use ExUnit.Case, async: false

  import Linx.Test.Workload

  alias Linx.{Capabilities, Mount, Sysctl, Target, User}
  alias Linx.Test.Vm

  @moduletag :root
  @moduletag :tmp_dir
  @moduletag timeout: 600_000

  @kinds ~w(mnt net uts ipc cgroup pid user time)

  # Each thread's namespaces, and there is one answer for all.
  defp namespaces do
    for task <- File.ls!("/proc/self/task"), kind <- @kinds, uniq: true do
      case File.read_link("/proc/self/task/#{task}/ns/#{kind}") do
        {:ok, link} -> link
        # A thread that ended meanwhile.
        {:error, :enoent} -> nil
      end
    end
    |> Enum.reject(&is_nil/1)
    |> Enum.sort()
  end

  # Fewer descriptors or threads are those of an earlier test that have ended meanwhile.
  defp as_before?({namespaces, descriptors, threads}) do
    namespaces() == namespaces and descriptors() <= descriptors and threads() <= threads
  end

  defp descriptors, do: length(File.ls!("/proc/self/fd"))
  defp threads, do: length(File.ls!("/proc/self/task"))

  test "50 processes, 1000 verbs each elsewhere: right values, and the VM is where it was",
       context do
    {session, pid} = parked([:mount, :net, :uts, :ipc])
    :ok = Mount.mount("", "/", "", flags: [:private, :rec], in: session)
    :ok = Mount.mount("tmpfs", context.tmp_dir, "tmpfs", in: session)
    {:ok, host} = Sysctl.read("kernel.hostname")
    :ok = Sysctl.write("kernel.hostname", "elsewhere", in: session)
    {:ok, cwd} = File.cwd()
    before = {namespaces(), descriptors(), threads()}
    assert length(elem(before, 0)) == length(@kinds)

    1..50
    |> Enum.map(fn n -> Task.async(fn -> work(n, session, pid, context.tmp_dir) end) end)
    |> Task.await_many(:infinity)

    eventually(fn -> as_before?(before) end)
    assert File.cwd() == {:ok, cwd}
    assert Sysctl.read("kernel.hostname") == {:ok, host}
    assert Enum.filter(elem(Mount.list(session), 1), &(&1.mount_point =~ "/busy-")) == []
  end

  # 250 rounds of four verbs.
  defp work(n, session, pid, folder) do
    point = Path.join(inside(pid, folder), "busy-#{n}")
    File.mkdir_p!(point)
    target = Path.join(folder, "busy-#{n}")

    for round <- 1..250 do
      on = if rem(round, 2) == 0, do: session, else: {:pid, pid}
      assert Sysctl.read("kernel.hostname", in: on) == {:ok, "elsewhere"}
      assert :ok = Sysctl.write("net.ipv4.ip_default_ttl", rem(round + n, 255) + 1, in: on)
      assert :ok = Mount.mount("tmpfs", target, "tmpfs", in: on)
      assert :ok = Mount.umount(target, in: on)
    end
  end

  test "what fails leaves nothing behind either" do
    {session, pid} = parked([:mount, :pid, :user])
    before = {namespaces(), descriptors(), threads()}

    for _ <- 1..100 do
      assert {:error, _} = Mount.mount("x", "/no/such", "tmpfs", in: session)
      assert {:error, _} = Mount.mount("proc", "/no/such", "proc", in: session)
      assert {:error, _} = Sysctl.read("no.such", in: {:pid, pid})
      assert {:error, _} = Sysctl.write("user.no_such", 1, in: session)
      assert {:error, _} = Mount.umount("/", in: {:path, "/etc/passwd"})
      assert {:error, _} = Mount.pivot_root("/no/such", "/", in: session)
      assert {:error, _} = User.set_uid_map(pid, [{0, 0, 1}, {0, 1, 1}])
    end

    eventually(fn -> as_before?(before) end)
    # The programs that did the jobs are reaped.
    eventually(fn -> zombies() == [] end)
  end

  defp zombies do
    for child <- File.read!("/proc/self/task/#{System.pid()}/children") |> String.split(),
        {:ok, status} <- [File.read("/proc/#{child}/status")],
        status =~ ~r/State:\s+Z/,
        do: child
  end

  test "pins close with their last reference" do
    before = descriptors()
    {_session, pid} = parked([])

    Task.async(fn -> for _ <- 1..500, do: {:ok, _} = Linx.Native.pid_pin(pid) end)
    |> Task.await(60_000)

    eventually(fn ->
      :erlang.garbage_collect()
      descriptors() <= before + 10
    end)
  end

  describe "a pid that another process has now" do
    # A pid namespace of the test's own, where ns_last_pid says which number comes next.
    test "is refused to the session that had it, and its successor stays untouched" do
      code =
        quote do
          import Linx.Test.Workload
          {session, pid} = parked([:user, :mount, :net, :uts])
          :ok = Linx.Process.abort(session)
          {:ok, :aborted} = Linx.Process.wait(session)
          successor = Linx.Test.Recycle.take!(pid, ["unshare", "--user", "--uts", "cat"])

          verbs = [
            Linx.User.set_uid_map(session, [{0, 0, 1}]),
            Linx.User.set_gid_map(session, [{0, 0, 1}]),
            Linx.User.deny_setgroups(session),
            Linx.User.setup_maps(session, uid: [{0, 0, 1}], gid: [{0, 0, 1}]),
            Linx.User.read_uid_map(session),
            Linx.Sysctl.write("kernel.hostname", "wrong", in: session),
            Linx.Sysctl.read("kernel.hostname", in: session),
            Linx.Mount.mount("tmpfs", "/mnt", "tmpfs", in: session),
            Linx.Mount.mount("proc", "/mnt", "proc", in: session),
            Linx.Mount.umount("/mnt", in: session),
            Linx.Mount.list(session),
            Linx.Capabilities.read(session),
            Linx.Capabilities.drop_bounding(session, [:cap_kill])
          ]

          maps = Linx.User.read_uid_map(pid)
          setgroups = File.read!("/proc/#{pid}/setgroups")
          hostname = Linx.Sysctl.read("kernel.hostname", in: {:pid, pid})
          Port.close(successor)
          {verbs, maps, setgroups, hostname, Linx.Sysctl.read("kernel.hostname")}
        end

      assert {verbs, {:ok, []}, "allow\n", hostname, hostname} = Vm.eval(own_pids(), code)
      assert Enum.uniq(verbs) == [{:error, :no_process}]
    end

    test "is refused to a pin that was taken before" do
      code =
        quote do
          first = Port.open({:spawn_executable, "/bin/cat"}, [:binary])
          {:os_pid, pid} = Port.info(first, :os_pid)

          Linx.Test.Workload.eventually(fn ->
            File.read("/proc/#{pid}/comm") == {:ok, "cat\n"}
          end)

          {:ok, pin} = Linx.Native.pid_pin(pid)
          alive = {Linx.Native.pid_alive(pin), Linx.Native.procfs_read(pin, "comm")}
          Port.close(first)
          Linx.Test.Workload.eventually(fn -> not File.exists?("/proc/#{pid}") end)
          successor = Linx.Test.Recycle.take!(pid, ["unshare", "--user", "cat"])

          after_that = {
            Linx.Native.pid_alive(pin),
            Linx.Native.procfs_read(pin, "comm"),
            Linx.Native.procfs_write(pin, "uid_map", "0 0 1\n"),
            Linx.Native.procfs_read(pid, "uid_map")
          }

          Port.close(successor)
          {alive, after_that}
        end

      assert Vm.eval(own_pids(), code) ==
               {{true, {:ok, "cat\n"}},
                {false, {:error, {:read, 3}}, {:error, {:write, 3}}, {:ok, ""}}}
    end

    defp own_pids,
      do: [
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation",
        "private"
      ]
  end

  test "a session is a target like any other", context do
    {session, pid} = parked([:mount])
    assert {:ok, pin} = Target.resolve(session)
    assert Linx.Native.pid_of(pin) == pid
    assert {:ok, %{bounding: bounding}} = Capabilities.read(session)
    assert {:ok, %{bounding: ^bounding}} = Capabilities.read(pid)
    assert {:ok, table} = Mount.list(session)
    assert {:ok, ^table} = Mount.list({:pid, pid})
    assert {:error, :no_process} = Mount.umount(context.tmp_dir, in: spawn(fn -> :ok end))
  end
end
