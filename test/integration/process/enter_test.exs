defmodule Linx.Process.EnterTest do
  use ExUnit.Case, async: true

  import Linx.Test.Session

  alias Linx.Process, as: P
  alias Linx.Process.Protocol

  @kinds ~w(user mnt uts ipc cgroup net time pid)

  defp namespaces(pid), do: Map.new(@kinds, &{&1, File.read_link!("/proc/#{pid}/ns/#{&1}")})

  defp target(namespaces) do
    {session, pid} = parked(argv: ["/bin/sleep", "300"], namespaces: namespaces)

    if :user in namespaces do
      File.write!("/proc/#{pid}/uid_map", "0 0 4294967295")
      File.write!("/proc/#{pid}/gid_map", "0 0 4294967295")
    end

    P.proceed(session)
    assert_receive {:linx_process, :running}
    {session, pid}
  end

  describe "the target shapes" do
    @describetag :root

    for {name, namespaces} <- [
          {"its own user namespace and net",
           [:user, :net, :pid, :mount, :uts, :ipc, :cgroup, :time]},
          {"its own user namespace, the host's net", [:user, :pid, :mount, :uts, :ipc]},
          {"the host's user namespace, its own net",
           [:net, :pid, :mount, :uts, :ipc, :cgroup, :time]},
          {"the host's user namespace and net", [:pid, :mount, :uts, :ipc]}
        ] do
      test "#{name}: everything is joined" do
        {session, pid} = target(unquote(namespaces))
        {:ok, inside} = P.enter(pid, argv: ["/bin/sleep", "300"])
        assert_receive {:linx_process, :ready, inside_pid}
        # A parked child in there may be looked at by root only, and holds nothing.
        links =
          for fd <- File.ls!("/proc/#{inside_pid}/fd"),
              do: File.read_link!("/proc/#{inside_pid}/fd/#{fd}")

        assert Enum.count(links) == 4
        assert Enum.count(links, &(&1 == "/dev/null")) == 3
        assert Map.delete(namespaces(inside_pid), "user") == Map.delete(namespaces(pid), "user")
        P.proceed(inside)
        assert_receive {:linx_process, :running}
        assert namespaces(inside_pid) == namespaces(pid)
        assert {:ok, %{mode: :enter}} = P.info(inside)
        P.stop(inside, 0)
        P.stop(session, 0)
      end
    end

    test "only those that are listed" do
      {session, pid} = target([:net, :uts])
      {:ok, inside} = P.enter(pid, namespaces: [:uts], argv: ["/bin/sleep", "300"])
      assert_receive {:linx_process, :ready, inside_pid}
      assert namespaces(inside_pid)["uts"] == namespaces(pid)["uts"]
      assert namespaces(inside_pid)["net"] == namespaces("self")["net"]
      P.abort(inside)
      P.stop(session, 0)
    end

    test "a session is a target too, until it ends" do
      {session, _pid} = target([:uts])
      assert {:ok, inside} = P.enter(session, argv: ["/bin/true"], auto_proceed: true)
      assert {:ok, {:exited, 0}} = P.wait(inside, 60_000)
      P.stop(session, 0)
      assert P.enter(session, argv: ["/bin/true"]) == {:error, :no_process}
    end

    test "its own pid is the target namespace's" do
      {session, pid} = target([:pid])
      {:ok, inside} = P.enter(pid, argv: ["/bin/true"])
      assert {:ok, %{child_pid: 2}} = P.info(inside)
      P.abort(inside)
      P.stop(session, 0)
    end

    test "the options of spawn work there" do
      {session, pid} = target([:user, :pid])

      {:ok, inside} =
        P.enter(pid,
          argv: ["/bin/sh", "-c", "id -u; pwd; echo $A; umask"],
          stdio: :pipe,
          uid: 12,
          gid: 12,
          cwd: "/usr",
          env: ["A=b"],
          umask: 0o077,
          auto_proceed: true
        )

      assert {:ok, {:exited, 0}} = P.wait(inside, 60_000)
      assert output(:stdout) == "12\n/usr\nb\n0077\n"
      P.stop(session, 0)
    end

    test "it dies with the pid namespace it joined" do
      {session, pid} = target([:pid])
      {:ok, inside} = P.enter(pid, argv: ["/bin/sleep", "300"], auto_proceed: true)
      assert_receive {:linx_process, :running}
      P.stop(session, 0)
      assert {:ok, {:signaled, 9}} = P.wait(inside, 60_000)
    end

    test "sockets and files are the host's, whatever the root in there" do
      {session, pid} = target([:mount])
      dir = Linx.Test.Scratch.path("enter")
      File.mkdir_p!(dir)
      on_exit(fn -> File.rm_rf!(dir) end)

      # The target's own /tmp is empty. Where the host's mounts are shared this one would travel
      # back to it.
      own = "mount --make-rprivate / && exec mount -t tmpfs none #{System.tmp_dir!()}"
      {:ok, mounter} = P.enter(pid, argv: ["/bin/sh", "-c", own], auto_proceed: true)

      assert {:ok, {:exited, 0}} = P.wait(mounter, 60_000)
      socket = Path.join(dir, "s")
      {:ok, listener} = :gen_tcp.listen(0, [{:ifaddr, {:local, socket}}, :binary, active: false])
      stdio = [stdout: {:connect_unix, socket}, stderr: {:file, Path.join(dir, "err"), :write}]
      script = "ls #{System.tmp_dir!()} | wc -l; echo err >&2"

      {:ok, inside} =
        P.enter(pid, argv: ["/bin/sh", "-c", script], stdio: stdio, auto_proceed: true)

      {:ok, connection} = :gen_tcp.accept(listener, 60_000)
      assert :gen_tcp.recv(connection, 0, 60_000) == {:ok, "0\n"}
      assert {:ok, {:exited, 0}} = P.wait(inside, 60_000)
      assert File.read!(Path.join(dir, "err")) == "err\n"
      P.stop(session, 0)
    end
  end

  describe "failures" do
    test "nobody there" do
      for pid <- [99_999_999, 0x7FFFFFFF] do
        {:ok, session} = P.enter(pid, argv: ["/bin/true"])
        assert {:error, %{stage: :open_ns_user, errno: :enoent}} = P.wait(session, 60_000)
        assert_received {:linx_process, :error, 2, :open_ns_user}
      end

      {:ok, session} = P.enter(99_999_999, argv: ["/bin/true"], namespaces: [:net, :pid])
      assert {:error, %{stage: :open_ns_net, errno: :enoent}} = P.wait(session, 60_000)
    end

    test "a target that is no pid" do
      assert P.enter(0, argv: ["/bin/true"]) == {:error, {:bad_target, 0}}
      assert P.enter(-1, argv: ["/bin/true"]) == {:error, {:bad_target, -1}}
      assert P.enter("1", argv: ["/bin/true"]) == {:error, {:bad_target, "1"}}
      assert P.enter(1, []) == {:error, :argv_required}
    end

    @tag :root
    test "a namespace that may not be joined is named" do
      # The agent itself, as a user without rights in the host's namespaces.
      {session, pid} = target([:net])
      program = Linx.Test.Scratch.path("agent")
      File.cp!(Application.app_dir(:linx, "priv/linx_process"), program)
      on_exit(fn -> File.rm(program) end)

      port =
        Port.open({:spawn_executable, System.find_executable("setpriv")}, [
          :binary,
          :nouse_stdio,
          packet: 4,
          args: ~w(--reuid 1234 --regid 1234 --clear-groups) ++ [program]
        ])

      request = %{argv: ["/bin/true"], namespaces: 0x40000000}
      Port.command(port, Protocol.encode({:enter, pid, request}))
      assert_receive {^port, {:data, frame}}
      Port.close(port)
      P.stop(session, 0)
      assert {:ok, {:ended, {:error, errno, stage}, nil}} = Protocol.decode(frame)
      assert {errno, stage} in [{1, :setns_net}, {1, :open_ns_net}, {13, :open_ns_net}]
    end
  end
end
