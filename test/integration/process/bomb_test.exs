defmodule Linx.Process.BombTest do
  # Trees that grow while they are ended: whoever the session started is gone when it is. Each
  # bomb is bounded in number by RLIMIT_NPROC of a uid of its own, and in time by its own clock.
  use ExUnit.Case, async: false

  import Linx.Test.Session

  alias Linx.Process, as: P
  alias Linx.Test.{Scratch, Vm}

  @moduletag :root
  @moduletag timeout: 600_000

  @kinds ~w(deep setsid orphans stopped continue)

  # As many processes as two processors can make trouble with.
  @max_processes 60
  @seconds 20

  setup_all do
    path = Scratch.path("bomb")
    source = Path.expand("../../support/bomb.c", __DIR__)

    flags = ~w(-O1 -Wall -Wno-infinite-recursion -static -o)
    {"", 0} = System.cmd("cc", flags ++ [path, source], stderr_to_stdout: true)
    on_exit(fn -> File.rm!(path) end)
    first_in_line()
    %{bomb: path}
  end

  # A bomb takes every processor, and a look at /proc through the VM's threads then takes seconds.
  # This VM's threads go first (sched(7), SCHED_RR, reset on fork), so that only the looking is
  # fast: the agents compete as ever.
  defp first_in_line do
    case priority(~w(--rr --reset-on-fork -p 1)) do
      {_, 0} -> on_exit(fn -> {_, 0} = priority(~w(--other -p 0)) end)
      {words, _} -> IO.puts("no priority for who looks at the bombs: #{String.trim(words)}")
    end
  end

  defp priority(args),
    do: System.cmd("chrt", ["-a"] ++ args ++ [System.pid()], stderr_to_stdout: true)

  # Times ten bombs, of five kinds, with and without a reaper.
  defp rounds, do: if(Linx.Test.Host.slow?(), do: 10, else: 1)

  # Nobody else's: so many users that no test meets another.
  defp uid, do: 200_000 + System.unique_integer([:positive, :monotonic])

  defp options(bomb, kind, uid, more, stay \\ []) do
    [
      argv: [bomb, "#{@seconds}", kind | stay],
      uid: uid,
      rlimits: [nproc: @max_processes],
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

    test "#{kind}: nor at a stop, the death of the session, or that of the VM (init: #{init})",
         %{bomb: bomb} do
      for _ <- 1..rounds(), ending <- [:stop, :kill, :vm] do
        uid = uid()
        opts = options(bomb, unquote(kind), uid, [init: unquote(init)], ["stay"])

        case ending do
          :stop ->
            {:ok, session} = P.spawn(opts)
            until(fn -> length(alive(uid)) > 1 end)
            assert {:ok, {:signaled, _}} = P.stop(session, 0)
            assert alive(uid) == []

          :kill ->
            {:ok, session} = P.spawn(opts)
            Process.unlink(session)
            until(fn -> length(alive(uid)) > 1 end)
            Process.exit(session, :kill)
            assert_gone_within(uid, 1_000)

          :vm ->
            vm(opts, fn -> until(fn -> length(alive(uid)) > 1 end) end)
            assert_gone_within(uid, 1_000)
        end
      end
    end
  end

  # Starts the session in another VM, runs `fun`, and kills that VM.
  defp vm(opts, fun) do
    code =
      quote do
        {:ok, _session} = Linx.Process.spawn(unquote(opts))
        IO.puts("up #{System.pid()}")
        events = Stream.repeatedly(fn -> receive(do: (event -> event)) end)
        Enum.each(events, &IO.puts(inspect(&1)))
      end

    ebin = Application.app_dir(:linx, "ebin")
    elixir = System.find_executable("elixir")
    args = ["-pa", ebin, "-e", Macro.to_string(code)]
    port = Port.open({:spawn_executable, elixir}, [:binary, :exit_status, args: args])
    assert_receive {^port, {:data, "up " <> pid}}, 60_000

    try do
      fun.()
    rescue
      error in ExUnit.AssertionError ->
        {:messages, messages} = Process.info(self(), :messages)
        said = for {^port, message} <- messages, do: message

        reraise %{error | message: "#{error.message}; the VM said #{inspect(said)}"},
                __STACKTRACE__
    after
      {_, 0} = System.cmd("kill", ["-9", String.trim(pid)])
    end

    assert_receive {^port, {:exit_status, _}}, 60_000
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
          {:ok, session} = P.spawn(options(bomb, kind, uid, more, ["stay"]))
          until(fn -> length(alive(uid)) > 1 end)
          {_, 0} = System.cmd("kill", ["-9", "#{agent_of(session)}"])
          assert_gone_within(uid, 1_000)
        end
      end
    end

    @tag :cgroup2
    test "with a cgroup of its own nobody is left", %{bomb: bomb} do
      wrapper = Linx.Test.Vm.cgroup2()

      for kind <- @kinds do
        uid = uid()
        opts = options(bomb, kind, uid, [cgroup: "/mnt/linx-bomb-#{uid}"], ["stay"])

        code =
          quote do
            System.cmd("chrt", ~w(-a --rr --reset-on-fork -p 1) ++ [System.pid()])
            cgroup = "/mnt/linx-bomb-#{unquote(uid)}"
            {:ok, _} = Linx.Cgroup.create(cgroup)
            {:ok, session} = Linx.Process.spawn(unquote(opts))
            inside = fn -> length(String.split(File.read!(cgroup <> "/cgroup.procs"))) end
            true = Linx.Test.Poll.holds?(fn -> inside.() > 1 end)
            {:ok, info} = Linx.Process.info(session)
            {_, 0} = System.cmd("kill", ["-9", "#{Linx.Test.Session.parent(info.host_pid)}"])
            {micros, _} = :timer.tc(fn -> Linx.Test.Poll.until(fn -> inside.() == 0 end) end)
            Linx.Test.CgroupTree.remove!(cgroup)
            micros
          end

        assert Vm.eval(wrapper, code) < 1_000_000
        assert alive(uid) == []
      end
    end

    # docs/process/overview.md, "How a session ends".
    test "without either the workload dies, and what it started stays" do
      marker = marker()
      argv = ["/bin/sh", "-c", "sleep #{marker} & exec sleep 300"]
      {session, pid} = running(argv: argv, stdio: :devnull)
      until(fn -> with_argument(marker) != [] end)
      {_, 0} = System.cmd("kill", ["-9", "#{agent_of(session)}"])
      until(fn -> not alive?(pid) end)
      assert {:error, %{stage: :agent_died}} = P.wait(session, 60_000)
      assert [left] = with_argument(marker)
      {_, 0} = System.cmd("kill", ["-9", left])
    end
  end

  @no_proc "mount -t tmpfs none /proc"
  @no_admin "setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin"

  # The tree is found without the /proc in view: by a procfs that is mounted nowhere, or, where no
  # file system may be mounted, by asking of each number whether it is a child.
  for {name, wrapper} <- [
        {"a tmpfs in the place of /proc", "#{@no_proc}; exec \"$@\""},
        {"the same without CAP_SYS_ADMIN", "#{@no_proc}; exec #{@no_admin} \"$@\""},
        {"the /proc of another pid namespace", "exec unshare -pf \"$@\""}
      ] do
    test "#{name}: what left the workload is ended" do
      marker = marker()

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

  # Seconds to sleep that no other process sleeps, few enough to end by themselves.
  defp marker, do: "20.#{System.unique_integer([:positive])}"

  defp with_argument(text) do
    for name <- File.ls!("/proc"),
        name =~ ~r/^\d+$/,
        {:ok, line} <- [File.read("/proc/#{name}/cmdline")],
        text in String.split(line, <<0>>),
        do: name
  end
end
