defmodule Linx.Process.HostileTest do
  # Hostile uses of a session.
  use ExUnit.Case, async: true

  import Linx.Test.Session

  alias Linx.Process, as: P
  alias Linx.Test.Inheritance

  setup_all {Inheritance, :prepare}

  defp count(normal, slow),
    do: if(Linx.Test.Host.slow?(), do: slow, else: normal)

  @terminal [:exited, :signaled, :error]

  defp terminal?({:linx_process, :aborted}), do: true
  defp terminal?({:linx_process, kind, _}) when kind in @terminal, do: true
  defp terminal?({:linx_process, :error, _, _}), do: true
  defp terminal?(_message), do: false

  @tag timeout: 600_000
  test "many callers, any verb, any order: one terminal event, and every call answers" do
    for round <- 1..count(30, 500) do
      stdio = Enum.at([:pty, :pipe, :devnull], rem(round, 3))

      argv =
        Enum.random([
          ["/bin/cat"],
          ["/bin/true"],
          ["/nonexistent"],
          ["/bin/sh", "-c", "sleep 0.01; exit 4"]
        ])

      {:ok, session} = P.spawn(argv: argv, stdio: stdio, auto_proceed: rem(round, 5) == 0)
      {:ok, pid} = with {:error, :not_ready} <- P.host_pid(session), do: {:ok, nil}

      callers =
        for _ <- 1..4 do
          Task.async(fn ->
            for _ <- 1..20 do
              case :rand.uniform(12) do
                1 ->
                  P.proceed(session)

                2 ->
                  P.signal(session, Enum.random([10, 15, 18, 64]))

                3 ->
                  P.pty_write(session, "x\n")

                4 ->
                  P.stdin_write(session, "x\n")

                5 ->
                  P.stdin_close(session)

                6 ->
                  P.info(session)

                7 ->
                  P.pty_set_winsize(session, {:rand.uniform(100), 80, 0, 0})

                8 ->
                  P.command(session, {:drop_bounding, Bitwise.bsl(1, :rand.uniform(40))})

                9 ->
                  P.wait(session, 0)

                10 ->
                  P.pin(session)

                11 ->
                  P.command(session, {:seccomp, <<6::native-16, 0, 0, 0x7FFF0000::native-32>>})

                12 ->
                  if :rand.uniform(10) == 1, do: P.abort(session)
              end
            end
          end)
        end

      Task.await_many(callers, 30_000)
      P.stop(session, 100)
      {:messages, messages} = Process.info(self(), :messages)
      assert [_one] = Enum.filter(messages, &terminal?/1)
      GenServer.stop(session)
      if pid, do: until(fn -> not alive?(pid) end)
      flush()
    end
  end

  @tag :root
  test "a root that was changed at the checkpoint leaves no way out" do
    probe = Inheritance.path()
    {session, pid} = parked(argv: ["/probe"], namespaces: [:mount], stdio: :pipe)
    old = File.cwd!()

    script = """
    set -e
    mount --make-rprivate /
    mount -t tmpfs none /mnt
    mkdir /mnt/old /mnt/proc
    cp #{probe} /mnt/probe
    cp #{System.find_executable("busybox")} /mnt/busybox
    mount -t proc proc /mnt/proc
    cd /mnt
    pivot_root . old
    /busybox umount -l /old
    """

    {out, status} =
      System.cmd("nsenter", ["-t", "#{pid}", "-m", "sh", "-c", script], stderr_to_stdout: true)

    assert {out, status} == {"", 0}
    assert File.read_link!("/proc/#{pid}/cwd") =~ old
    P.proceed(session)
    assert {:ok, {:exited, 0}} = P.wait(session, 60_000)
    assert Inheritance.parse(output(:stdout))["cwd"] == ["/"]
  end

  @tag :userns
  test "a limit on namespaces is an error of clone" do
    code = ~S"""
    {:ok, session} = Linx.Process.spawn(argv: ["/bin/true"], namespaces: [:net])
    {:error, error} = Linx.Process.wait(session, 60_000)
    IO.puts("#{error.stage} #{error.errno}")
    """

    elixir = ["elixir", "-pa", Application.app_dir(:linx, "ebin"), "-e", code]
    script = "echo 0 > /proc/sys/user/max_net_namespaces; exec \"$@\""
    args = ["--user", "--map-root-user", "sh", "-c", script, "sh" | elixir]
    assert {"clone enospc\n", 0} = System.cmd("unshare", args, stderr_to_stdout: true)
  end

  test "an agent without descriptors to spare says so and leaves nothing" do
    {session, pid} = parked(argv: ["/bin/sleep", "300"], stdio: :inherit)
    {_, 0} = System.cmd("prlimit", ["--pid", "#{parent(pid)}", "--nofile=5"])
    P.proceed(session)
    assert {:error, %{stage: :stdio, errno: :emfile}} = P.wait(session, 60_000)
    refute alive?(pid)
  end

  # Its last words go to the VM's standard error, so the VM is another one.
  @without_memory ~S"""
  alias Linx.Process, as: P
  {:ok, session} = P.spawn(argv: ["/bin/cat"], stdio: :pipe, auto_proceed: true)
  receive do {:linx_process, :running} -> :ok end
  {:ok, pid} = P.host_pid(session)
  [_, agent] = Regex.run(~r/^PPid:\s+(\d+)$/m, File.read!("/proc/#{pid}/status"))
  {_, 0} = System.cmd("prlimit", ["--pid", agent, "--as=1"])
  # Its queue has to grow for what cat does not take yet.
  {_, 0} = System.cmd("kill", ["-STOP", "#{pid}"])
  for _ <- 1..8, do: P.stdin_write(session, :binary.copy("x", 1_000_000))
  {:error, %{stage: stage}} = P.wait(session, 60_000)
  IO.puts("#{stage} of #{pid}")
  """

  test "an agent without memory to spare says so and ends, and its workload with it" do
    args = ["-pa", Application.app_dir(:linx, "ebin"), "-e", @without_memory]
    {output, 0} = System.cmd("elixir", args, stderr_to_stdout: true)
    assert output =~ ~r/memory allocation of \d+ bytes failed/
    assert [_, pid] = Regex.run(~r/^agent_died of (\d+)$/m, output)
    until(fn -> not alive?(String.to_integer(pid)) end)
  end

  @tag timeout: 600_000
  test "an owner that never reads leaves the VM as it was" do
    silent = spawn_link(fn -> Process.sleep(:infinity) end)
    opts = [argv: ["/bin/cat", "/dev/zero"], owner: silent, auto_proceed: true]
    sessions = for stdio <- [:pty, :pipe], do: elem(P.spawn([stdio: stdio] ++ opts), 1)
    # Full, and from then on flat.
    until(fn -> Process.info(silent, :message_queue_len) > {:message_queue_len, 4} end)
    before = unread(silent)
    deadline = System.monotonic_time(:millisecond) + count(300, 30_000)
    watch(silent, deadline)
    assert unread(silent) <= 8 * 1024 * 1024
    assert unread(silent) - before <= 4 * 1024 * 1024
    for session <- sessions, do: P.stop(session, 0)
  end

  defp watch(owner, deadline) do
    assert {:message_queue_len, queued} = Process.info(owner, :message_queue_len)
    assert queued <= 128
    Process.sleep(50)
    if System.monotonic_time(:millisecond) < deadline, do: watch(owner, deadline)
  end

  defp unread(owner) do
    {:messages, messages} = Process.info(owner, :messages)

    Enum.sum(
      for {:linx_process, _, bytes} when is_binary(bytes) <- messages, do: byte_size(bytes)
    )
  end
end
