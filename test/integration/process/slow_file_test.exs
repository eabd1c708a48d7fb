defmodule Linx.Process.SlowFileTest do
  # Options that name a path in a file system that never answers: they keep neither the VM's file
  # server nor a session from its end.
  #
  # Broken by hand: File.stat/1 in Options.Stdio: the file server did not answer. expect_end/1
  # without its timer: stop/2 did not return.
  use ExUnit.Case, async: true

  import Linx.Test.Session

  alias Linx.Process, as: P
  alias Linx.Process.Options

  @moduletag :root
  @moduletag :fuse
  @moduletag :tmp_dir
  @moduletag timeout: 120_000

  # The file system is mounted in a namespace of its own; its path leads through `/proc`.
  setup %{tmp_dir: folder} do
    program = Path.join(folder, "mute_fuse")
    source = Path.expand("../../support/mute_fuse.c", __DIR__)
    {"", 0} = System.cmd("cc", ["-Wall", "-o", program, source], stderr_to_stdout: true)
    stdio = [stdin: :pipe, stdout: :pipe]
    {box, pid} = running(argv: [program, "/mnt"], namespaces: [:mount], stdio: stdio)
    assert_receive {:linx_process, :stdout, "mounted\n"}, 60_000
    flush()
    on_exit(fn -> P.stop(box, 0) end)
    %{box: box, folder: "/proc/#{pid}/root/mnt"}
  end

  test "the path of a socket: file operations of the VM go on", context do
    stdio = [stdin: :devnull, stdout: {:connect_unix, context.folder <> "/s"}, stderr: :devnull]
    spawn = Task.async(fn -> P.spawn(argv: ["/bin/true"], stdio: stdio) end)
    refute Task.yield(spawn, 100)
    assert {:ok, {:ok, %File.Stat{}}} = Task.yield(Task.async(fn -> File.stat("/") end), 60_000)
    P.stop(context.box, 0)
    {:ok, session} = Task.await(spawn, 60_000)
    P.stop(session, 0)
  end

  test "the path of a file: the session ends when it is stopped", context do
    stdio = [stdin: :devnull, stdout: {:file, context.folder <> "/x", :write}, stderr: :devnull]
    {:ok, options} = Options.parse(:spawn, argv: ["/bin/true"], stdio: stdio)
    options = Map.put(options, :stuck_timeout, 500)
    {:ok, session} = GenServer.start_link(P, {:spawn, {:spawn, options.request}, options})
    assert_receive {:linx_process, :ready, pid}, 60_000
    :ok = P.proceed(session)
    assert P.wait(session, 100) == {:error, :timeout}
    assert {:error, %{stage: :kill, errno: :etimedout}} = P.stop(session, 0)
    assert_receive {:linx_process, :error, _errno, :kill}
    until(fn -> not alive?(pid) end)
    P.stop(context.box, 0)
  end
end
