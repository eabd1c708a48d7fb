defmodule Linx.Process.TargetPtyTest do
  # A workload's terminal where it enters or joins a mount namespace with a devpts of its own: it
  # has a name there.
  use ExUnit.Case, async: true

  import Linx.Test.Session

  alias Linx.{Mount, User}
  alias Linx.Process, as: P
  alias Linx.Process.Error

  @moduletag :root
  @moduletag :tty

  # A container with what `mount` does in it at /dev/pts.
  defp box(namespaces, mount) do
    {:ok, box} = P.spawn(argv: ["/bin/sleep", "300"], namespaces: namespaces, stdio: :devnull)

    if :user in namespaces do
      map = [{0, 100_000, 65_536}]
      :ok = User.setup_maps(box, uid: map, gid: map)
    end

    :ok = mount.(box)
    :ok = P.proceed(box)
    assert_receive {:linx_process, :running}
    flush()
    on_exit(fn -> Process.alive?(box) && P.stop(box, 0) end)
    box
  end

  defp devpts(data \\ "ptmxmode=0666,mode=0620") do
    &Mount.mount("devpts", "/dev/pts", "devpts",
      flags: [:nosuid, :noexec],
      data: "newinstance," <> data,
      in: &1
    )
  end

  defp run_in(session) do
    outcome = P.wait(session, 60_000)
    {outcome, output(:pty_out)}
  end

  defp enter(box, script, opts \\ []) do
    opts = [argv: ["/bin/sh", "-c", script], stdio: :pty, auto_proceed: true] ++ opts
    {:ok, session} = P.enter(box, opts)
    run_in(session)
  end

  # The terminals of the session's own devpts.
  defp terminals(box) do
    {:ok, pid} = P.host_pid(box)
    File.ls!("/proc/#{pid}/root/dev/pts") -- ["ptmx"]
  end

  # Seen failing with the VM's own devpts: tty(1) says "not a tty".
  @script "tty; stty size; stty -a | grep -o '.echo '; stat -c '%u %F' $(tty); echo by name " <>
            "> $(tty)"
  @lines "/dev/pts/0\r\n7 70\r\n-echo \r\n"

  for init <- [false, true] do
    test "has a name, an owner, and the modes and size that were asked for (init: #{init})" do
      box = box([:mount, :pid, :uts], devpts())
      pty = [pty: [rows: 7, cols: 70, echo: false], init: unquote(init)]
      lines = @lines <> "0 character special file\r\nby name\r\n"
      assert enter(box, @script, pty) == {{:ok, {:exited, 0}}, lines}

      # The first is free again, once its agent has ended, which is after it has said how the
      # workload did.
      until(fn -> terminals(box) == [] end)
      lines = @lines <> "1234 character special file\r\nby name\r\n"
      assert enter(box, @script, pty ++ [uid: 1234, gid: 1234]) == {{:ok, {:exited, 0}}, lines}
    end
  end

  test "in a user namespace it is the workload's, by that namespace's ids" do
    box = box([:user, :mount, :pid], devpts())
    pty = [pty: [rows: 7, cols: 70, echo: false]]
    lines = @lines <> "0 character special file\r\nby name\r\n"
    assert enter(box, @script, pty) == {{:ok, {:exited, 0}}, lines}
    until(fn -> terminals(box) == [] end)
    lines = @lines <> "33 character special file\r\nby name\r\n"
    assert enter(box, @script, pty ++ [uid: 33, gid: 33]) == {{:ok, {:exited, 0}}, lines}
  end

  test "is typed at and resized, also before the workload runs" do
    box = box([:mount], devpts())

    {:ok, session} =
      P.enter(box,
        argv: ["/bin/sh", "-c", "tty; stty size; read a; stty size; echo =$a="],
        stdio: :pty
      )

    assert_receive {:linx_process, :ready, _pid}
    :ok = P.pty_set_winsize(session, {11, 22, 0, 0})
    :ok = P.proceed(session)
    seen = output_until(:pty_out, "11 22\r\n")
    assert seen == "/dev/pts/0\r\n11 22\r\n"
    :ok = P.pty_set_winsize(session, {33, 44, 0, 0})
    :ok = P.pty_write(session, "word\n")
    assert output_until(:pty_out, "=word=") =~ "33 44\r\n"
    assert P.wait(session, 60_000) == {:ok, {:exited, 0}}
  end

  test "of a mount namespace that spawn/1 joins" do
    box = box([:mount], devpts())

    {:ok, session} =
      P.spawn(
        argv: ["/usr/bin/tty"],
        namespaces: [:pid, :uts],
        join: {box, [:mount]},
        stdio: :pty,
        auto_proceed: true
      )

    assert run_in(session) == {{:ok, {:exited, 0}}, "/dev/pts/0\r\n"}
  end

  describe "is the VM's" do
    test "where the target has the VM's devpts" do
      box = box([:mount], fn _box -> :ok end)
      assert {{:ok, {:exited, 0}}, "/dev/pts/" <> _} = enter(box, "tty")
    end

    test "where the target has another file system there, or none" do
      box = box([:mount], &Mount.mount("tmpfs", "/dev/pts", "tmpfs", in: &1))
      assert enter(box, "test -t 0; echo $?; tty") == {{:ok, {:exited, 1}}, "0\r\nnot a tty\r\n"}
      box = box([:mount], &Mount.mount("tmpfs", "/dev", "tmpfs", in: &1))
      assert enter(box, "test -t 0; echo $?; tty") == {{:ok, {:exited, 1}}, "0\r\nnot a tty\r\n"}
    end
  end

  # The child asks statfs(2) what /dev/pts is, and a file system in user space need not answer.
  @tag :fuse
  @tag :tmp_dir
  test "a file system that never answers holds the visitor alone", %{tmp_dir: folder} do
    program = Path.join(folder, "mute_fuse")
    source = Path.expand("../../support/mute_fuse.c", __DIR__)
    {"", 0} = System.cmd("cc", ["-Wall", "-o", program, source], stderr_to_stdout: true)

    {:ok, box} =
      P.spawn(
        argv: [program, "/dev/pts"],
        namespaces: [:mount],
        stdio: [stdin: :pipe, stdout: :pipe]
      )

    :ok = P.proceed(box)
    assert_receive {:linx_process, :stdout, "mounted\n"}
    flush()
    {:ok, box_pid} = P.host_pid(box)

    visit =
      Task.async(fn ->
        {:ok, session} = P.enter(box, argv: ["/bin/true"], stdio: :pty)
        P.wait(session, 60_000)
      end)

    # Beside the program itself, which answers nothing, the visitor is the only one in its mount
    # namespace.
    until(fn -> held?(box_pid) end)
    refute Task.yield(visit, 0)

    # Everything else goes on, other visitors too.
    assert {:ok, %{outcome: {:exited, 0}}} = P.run(argv: ["/bin/true"])
    {:ok, other} = P.enter(box, argv: ["/bin/true"], stdio: :devnull, auto_proceed: true)
    assert P.wait(other, 60_000) == {:ok, {:exited, 0}}
    assert held?(box_pid)

    # The end of the file system is the end of the wait.
    assert {:ok, {:signaled, _}} = P.stop(box, 0)

    assert {:error, %Error{stage: :posix_openpt, errno: :enotconn}} =
             Task.await(visit, 60_000)
  end

  defp held?(box) do
    {:ok, namespace} = File.read_link("/proc/#{box}/ns/mnt")

    Enum.any?(File.ls!("/proc"), fn pid ->
      pid =~ ~r/^\d+$/ and pid != "#{box}" and
        File.read_link("/proc/#{pid}/ns/mnt") == {:ok, namespace} and
        File.read("/proc/#{pid}/wchan") |> elem(1) |> to_string() =~ "fuse"
    end)
  end

  test "a file in the place of the devpts' ptmx is not opened" do
    mount = fn box ->
      :ok = devpts().(box)
      Mount.bind("/etc/hostname", "/dev/pts/ptmx", in: box)
    end

    {:ok, session} = P.enter(box([:mount], mount), argv: ["/usr/bin/tty"], stdio: :pty)
    assert {:error, %Error{stage: :posix_openpt, errno: :exdev}} = P.wait(session, 60_000)
  end

  test "a devpts without room is an error that says so" do
    box = box([:mount], devpts("max=1,ptmxmode=0666"))
    opts = [argv: ["/bin/sleep", "60"], stdio: :pty, auto_proceed: true]
    {:ok, first} = P.enter(box, opts)
    assert_receive {:linx_process, :running}
    {:ok, second} = P.enter(box, opts)
    assert {:error, %Error{stage: :posix_openpt, errno: :enospc}} = P.wait(second, 60_000)
    P.stop(first, 0)
    assert {{:ok, {:exited, 0}}, "/dev/pts/0\r\n"} = enter(box, "tty")
  end
end
