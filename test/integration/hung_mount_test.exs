defmodule Linx.Integration.HungMountTest do
  # A verb on a file system that never answers. The counts of threads are the VM's, so nothing else may run.
  use ExUnit.Case, async: false

  import Linx.Test.Workload, only: [eventually: 1]

  alias Linx.Mount
  alias Linx.Process, as: P

  @moduletag :root
  @moduletag :fuse
  @moduletag :tmp_dir

  setup %{tmp_dir: folder} do
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
