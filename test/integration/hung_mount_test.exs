defmodule Linx.Integration.HungMountTest do
  # A verb on a file system that never answers. The counts of threads are the VM's, so nothing
  # else may run.
  use ExUnit.Case, async: false

  import Linx.Test.Workload, only: [eventually: 1]

  alias Linx.Mount
  alias Linx.Process, as: P

  @moduletag :root
  @moduletag :fuse
  @moduletag :tmp_dir

  setup %{tmp_dir: folder} do
    # Threads of the test before wait until its file system is gone.
    eventually(fn -> waiting() == 0 end)
    program = Path.join(folder, "mute_fuse")
    source = Path.expand("../support/mute_fuse.c", __DIR__)

    {"", 0} =
      System.cmd("cc", ["-Wall", "-Werror", "-o", program, source], stderr_to_stdout: true)

    mute = Path.join(folder, "mute")
    File.mkdir!(mute)

    {:ok, session} =
      P.spawn(argv: [program, mute], namespaces: [:mount], stdio: [stdin: :pipe, stdout: :pipe])

    :ok = Mount.mount("", "/", "", flags: [:private, :rec], in: session)
    :ok = P.proceed(session)
    assert_receive {:linx_process, :stdout, "mounted\n"}
    %{session: session, mute: mute}
  end

  defp threads, do: length(File.ls!("/proc/self/task"))

  # Threads that wait in the file system.
  defp waiting do
    Enum.count(File.ls!("/proc/self/task"), fn id ->
      with {:ok, "linx-work\n"} <- File.read("/proc/self/task/#{id}/comm"),
           {:ok, wchan} <- File.read("/proc/self/task/#{id}/wchan") do
        wchan =~ "fuse"
      else
        _ -> false
      end
    end)
  end

  defp hung(session, mute, count) do
    for n <- 1..count do
      path = Path.join(mute, "at-#{n}")

      spawn_monitor(fn ->
        exit({:answer, Mount.mount("tmpfs", path, "tmpfs", in: session)})
      end)
    end
  end

  test "holds no scheduler, and lets its caller be ended", %{session: session, mute: mute} do
    before = threads()
    count = 3 * :erlang.system_info(:dirty_io_schedulers)
    callers = hung(session, mute, count)
    eventually(fn -> waiting() == count end)

    # The dirty schedulers are free for others.
    assert {:ok, _} = File.read("/proc/self/stat")
    assert :ok = Mount.mount("tmpfs", "/mnt", "tmpfs", in: session)
    for {pid, _ref} <- callers, do: Process.exit(pid, :kill)
    for {pid, ref} <- callers, do: assert_receive({:DOWN, ^ref, :process, ^pid, :killed})

    # Its end is the end of the file system, and of all that wait for it.
    {:ok, _} = P.stop(session, 0)
    eventually(fn -> threads() <= before end)
  end

  # How long a file read of the VM takes at most, in milliseconds, while `work` goes on in another
  # process.
  defp slowest_read(work) do
    task = Task.async(work)
    slowest = slowest_read(task, 0)
    Task.await(task, 60_000)
    slowest
  end

  defp slowest_read(task, slowest) do
    {time, {:ok, _}} = :timer.tc(fn -> :file.read_file("/proc/self/stat", [:raw]) end)
    slowest = max(slowest, div(time, 1000))
    if Process.alive?(task.pid), do: slowest_read(task, slowest), else: slowest
  end

  # Verbs that hang, of several kinds and all at once.
  defp hang_at_once(session, mute, numbers) do
    me = self()

    callers =
      for n <- numbers do
        path = Path.join(mute, "at-#{n}")

        verb =
          case rem(n, 3) do
            0 -> fn -> Mount.mount("tmpfs", path, "tmpfs", in: session) end
            1 -> fn -> Mount.bind("/dev/null", path, flags: [:ro], in: session) end
            2 -> fn -> Mount.setattr(path, [:ro], in: session) end
          end

        spawn(fn ->
          receive(do: (:go -> :ok))
          send(me, {:answer, verb.()})
        end)
      end

    for caller <- callers, do: send(caller, :go)
    callers
  end

  test "many at once hold no file operation of the VM", %{session: session, mute: mute} do
    before = threads()

    # A busy machine may hold one up by itself, but not in each of three rounds.
    rounds =
      Stream.map(1..3, fn _ ->
        others = waiting()

        slowest =
          slowest_read(fn ->
            callers = hang_at_once(session, mute, 1..100)
            eventually(fn -> waiting() == others + 100 end)
            for caller <- callers, do: Process.exit(caller, :kill)
          end)

        slowest
      end)

    assert Enum.any?(rounds, &(&1 < 50))
    {:ok, _} = P.stop(session, 0)
    eventually(fn -> threads() <= before end)
  end

  test "more than the pool takes wait their turn, and other places go on", context do
    %{session: session, mute: mute} = context
    before = threads()
    # The pool is full of the first; which of all it takes would be a matter of scheduling.
    killed = hang_at_once(session, mute, 1..200)
    eventually(fn -> waiting() == 128 end)
    others = hang_at_once(session, mute, 201..400)

    # Jobs that hang in one target take no place of those in others.
    {:ok, other} = P.spawn(argv: ["/"], namespaces: [:mount])
    assert :ok = Mount.mount("tmpfs", "/mnt", "tmpfs", in: other)
    {:ok, _} = P.stop(other, 0)

    # A caller that dies leaves the queue, or makes room for the next, which may be one that dies
    # next: 128 of those that live, and beside them 128 to 200 of the others.
    for caller <- killed, do: Process.exit(caller, :kill)
    # Those that die within the call, before anybody waits for their answer, are but four.
    eventually(fn -> waiting() >= 252 end)
    assert waiting() <= 328
    for caller <- others, do: Process.exit(caller, :kill)
    {:ok, _} = P.stop(session, 0)
    eventually(fn -> threads() <= before end)
    refute_received {:answer, _}
  end

  test "a namespace file there holds no file operation either", %{session: session, mute: mute} do
    {:ok, pid} = P.host_pid(session)
    before = threads()

    # Each its own name: the kernel looks up one name once.
    verb = fn n ->
      path = "/proc/#{pid}/root#{mute}/ns-#{n}"
      file = {:path, path}

      case rem(n, 7) do
        0 -> Linx.Sysctl.read("net.ipv4.ip_forward", in: file)
        1 -> Linx.Sysctl.list("net", in: file)
        2 -> Linx.Sysctl.Native.read_in_ns("/proc/sys/net/ipv4/ip_forward", [path])
        3 -> Mount.umount("/mnt", in: file)
        4 -> Mount.bind("/mnt", "/mnt", idmap: file, in: session)
        5 -> Linx.Cgroup.stats(path)
        6 -> Linx.Cgroup.create(path)
      end
    end

    slowest =
      slowest_read(fn ->
        callers = for n <- 0..69, do: spawn(fn -> verb.(n) end)
        eventually(fn -> waiting() == 70 end)
        for caller <- callers, do: Process.exit(caller, :kill)
      end)

    # Far less than one that waits for four dirty threads at a time.
    assert slowest < 1_000
    {:ok, _} = P.stop(session, 0)
    eventually(fn -> threads() <= before end)
  end

  test "gives the kernel's answer when it comes", %{session: session, mute: mute} do
    before = threads()
    callers = hung(session, mute, 3)
    eventually(fn -> waiting() == 3 end)
    {:ok, _} = P.stop(session, 0)

    for {pid, ref} <- callers do
      assert_receive {:DOWN, ^ref, :process, ^pid, {:answer, {:error, error}}}
      assert %Mount.Error{operation: :mount, errno: errno} = error
      assert errno in [:enotconn, :econnaborted]
    end

    eventually(fn -> threads() <= before end)
  end

  describe "in another VM" do
    # A caller there that waits in the file system; `then` sees it as `caller` with `ref`.
    defp hung_in_another_vm(session, mute, then) do
      {:ok, pid} = P.host_pid(session)

      code =
        quote do
          {caller, ref} =
            spawn_monitor(fn -> exit(Linx.Mount.umount(var!(path), in: {:pid, var!(pid)})) end)

          waits? = fn id ->
            File.read("/proc/self/task/#{id}/comm") == {:ok, "linx-work\n"} and
              match?(
                {:ok, true},
                with(
                  {:ok, at} <- File.read("/proc/self/task/#{id}/wchan"),
                  do: {:ok, at =~ "fuse"}
                )
              )
          end

          Linx.Test.Workload.eventually(fn ->
            Enum.any?(File.ls!("/proc/self/task"), waits?)
          end)

          unquote(then)
        end

      Linx.Test.Vm.eval(["env"], code, path: Path.join(mute, "x"), pid: pid)
    end

    test "is no hindrance to its end", %{session: session, mute: mute} do
      assert hung_in_another_vm(session, mute, :ended) == :ended
    end

    test "outlives the module that started it", %{session: session, mute: mute} do
      then =
        quote do
          # The answer is on its way by now.
          Linx.Test.Workload.eventually(fn ->
            Process.info(caller, :current_function) ==
              {:current_function, {Linx.Mount.Native, :named, 1}}
          end)

          true = :code.delete(Linx.Native)
          :code.purge(Linx.Native)
          {"", 0} = System.cmd("kill", ["-9", "#{var!(pid)}"])

          receive do
            {:DOWN, ^ref, :process, _, {:error, error}} ->
              {error.errno, Linx.Native.nif_version()}
          end
        end

      assert hung_in_another_vm(session, mute, then) == {:enotconn, "linx_nif"}
    end
  end
end
