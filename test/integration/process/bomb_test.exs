defmodule Linx.Process.BombTest do
  # Trees that grow while they are ended: whoever the session started is gone when it is. Each bomb is bounded in number
  # by RLIMIT_NPROC of a uid of its own, and in time by its own clock.
  use ExUnit.Case, async: false

  import Linx.Test.Session

  alias Linx.Process, as: P
  alias Linx.Test.{CgroupTree, Scratch, Vm}

  @moduletag :root
  @moduletag timeout: 600_000

  @kinds ~w(deep setsid orphans stopped continue)

  # As many processes as two processors can make trouble with.
  @most 60
  @seconds 20

  setup_all do
    path = Scratch.path("bomb")
    source = Path.expand("../../support/bomb.c", __DIR__)

    {"", 0} =
      System.cmd("cc", ~w(-O1 -Wall -Wno-infinite-recursion -static -o #{path} #{source}),
        stderr_to_stdout: true
      )

    on_exit(fn -> File.rm!(path) end)
    %{bomb: path}
  end

  defp rounds, do: if(System.get_env("LINX_SLOW") in [nil, "", "0"], do: 2, else: 20)

  # Nobody else's: so many users that no test meets another.
  defp uid, do: 200_000 + System.unique_integer([:positive, :monotonic])

  defp options(bomb, kind, uid, more \\ []) do
    [
      argv: [bomb, "#{@seconds}", kind],
      uid: uid,
      rlimits: [nproc: @most],
      stdio: :devnull,
      auto_proceed: true
    ] ++ more
  end

  defp alive(uid) do
    for name <- File.ls!("/proc"),
        name =~ ~r/^\d+$/,
        {:ok, status} <- [File.read("/proc/#{name}/status")],
        status =~ ~r/^Uid:\s+#{uid}\s/m,
        not (status =~ ~r/^State:\s+[ZX]/m),
        do: String.to_integer(name)
  end

  defp assert_gone_within(uid, milliseconds) do
    deadline = System.monotonic_time(:millisecond) + milliseconds
    until(fn -> alive(uid) == [] or System.monotonic_time(:millisecond) > deadline end)
    left = alive(uid)
    for pid <- left, do: System.cmd("kill", ["-9", "#{pid}"], stderr_to_stdout: true)
    assert left == []
  end

  for kind <- @kinds, init <- [false, true] do
    test "#{kind}: nobody is left at the end of the workload (init: #{init})", %{bomb: bomb} do
      for _ <- 1..rounds() do
        uid = uid()
        {:ok, session} = P.spawn(options(bomb, unquote(kind), uid, init: unquote(init)))
        assert P.wait(session, 60_000) == {:ok, {:exited, 7}}
        assert alive(uid) == []
      end
    end

    test "#{kind}: nor at a stop, an abrupt end of the session, or that of the VM (init: #{init})",
         %{bomb: bomb} do
      for _ <- 1..rounds(), ending <- [:stop, :kill, :vm] do
        uid = uid()
        opts = options(bomb, unquote(kind), uid, init: unquote(init))

        case ending do
          :stop ->
            {:ok, session} = P.spawn(opts)
            until(fn -> length(alive(uid)) > 20 or unquote(kind) == "orphans" end)
            assert {:ok, _outcome} = P.stop(session, 0)
            assert alive(uid) == []

          :kill ->
            {:ok, session} = P.spawn(opts)
            Process.unlink(session)
            until(fn -> alive(uid) != [] end)
            Process.exit(session, :kill)
            assert_gone_within(uid, 1_000)

          :vm ->
            vm(opts, fn -> until(fn -> alive(uid) != [] end) end)
            assert_gone_within(uid, 1_000)
        end
      end
    end
  end

  # Starts the session in another VM, runs `fun`, and kills that VM.
  defp vm(opts, fun) do
    code =
      quote do
        {:ok, session} = Linx.Process.spawn(unquote(opts))
        IO.puts("up #{System.pid()}")
        Process.sleep(:infinity)
      end

    ebin = Application.app_dir(:linx, "ebin")
    elixir = System.find_executable("elixir")
    args = ["-pa", ebin, "-e", Macro.to_string(code)]
    port = Port.open({:spawn_executable, elixir}, [:binary, :exit_status, args: args])
    assert_receive {^port, {:data, "up " <> pid}}
    fun.()
    {_, 0} = System.cmd("kill", ["-9", String.trim(pid)])
    assert_receive {^port, {:exit_status, _}}
  end

  describe "the agent killed" do
    defp agent_of(session) do
      {:ok, info} = P.info(session)
      parent(info.reaper_pid || info.host_pid)
    end

    for init <- [false, true] do
      test "with a pid namespace nobody is left (init: #{init})", %{bomb: bomb} do
        for kind <- @kinds do
          uid = uid()
          more = [init: unquote(init), namespaces: [:pid]]
          {:ok, session} = P.spawn(options(bomb, kind, uid, more))
          until(fn -> alive(uid) != [] end)
          {_, 0} = System.cmd("kill", ["-9", "#{agent_of(session)}"])
          assert_gone_within(uid, 1_000)
        end
      end
    end

    @tag :cgroup2
    test "with a cgroup of its own nobody is left", %{bomb: bomb} do
      CgroupTree.in_own(fn folder ->
        for kind <- @kinds do
          uid = uid()
          cgroup = Path.join(folder, "bomb-#{uid}")
          File.mkdir!(cgroup)
          {:ok, session} = P.spawn(options(bomb, kind, uid, cgroup: cgroup))
          until(fn -> alive(uid) != [] end)
          {_, 0} = System.cmd("kill", ["-9", "#{agent_of(session)}"])
          assert_gone_within(uid, 1_000)
          until(fn -> File.rmdir(cgroup) == :ok end)
        end
      end)
    end

    test "without either the workload dies, and its daemons are told apart by the page",
         _context do
      {session, pid} =
        running(argv: ["/bin/sh", "-c", "sleep 300 & exec sleep 300"], stdio: :devnull)

      {_, 0} = System.cmd("kill", ["-9", "#{agent_of(session)}"])
      until(fn -> not alive?(pid) end)
      assert {:error, %{stage: :agent_died}} = P.wait(session, 60_000)
    end
  end

  # The tree is found without the /proc in view.
  for {name, wrapper} <- [
        {"a tmpfs in the place of /proc", "mount -t tmpfs none /proc; exec \"$@\""},
        {"the /proc of another pid namespace", "exec unshare -pf \"$@\""}
      ] do
    test "#{name}: what left the workload is ended" do
      marker = "#{86_400 + System.unique_integer([:positive])}"

      code =
        quote do
          argv = ["/bin/sh", "-c", "setsid sleep #{unquote(marker)} & sleep 0.3; exit 3"]

          {:ok, session} =
            Linx.Process.spawn(argv: argv, stdio: :devnull, auto_proceed: true)

          Linx.Process.wait(session, 60_000)
        end

      wrapper = ["unshare", "--mount", "--propagation", "private", "sh", "-c", unquote(wrapper)]
      assert Vm.eval(wrapper ++ ["sh"], code) == {:ok, {:exited, 3}}
      assert with_argument(marker) == []
    end
  end

  defp with_argument(text) do
    for name <- File.ls!("/proc"),
        name =~ ~r/^\d+$/,
        {:ok, line} <- [File.read("/proc/#{name}/cmdline")],
        text in String.split(line, <<0>>),
        do: name
  end
end
