defmodule Linx.Integration.Process.EnteredTest do
  use ExUnit.Case, async: true

  # The target of a visitor is checked before the workload runs, and the end of a visitor ends no
  # other process.
  #
  # Broken by hand: check_target/2 that proceeds whatever the pin says; Started with the cgroup of
  # a visitor. Each test failed.

  alias Linx.Cgroup
  alias Linx.Process, as: P
  alias Linx.Process.Options
  alias Linx.Test.{Recycle, Scratch, Vm}

  import Linx.Test.Session
  import Linx.Test.Workload, only: [inside: 2]

  @moduletag :root
  @moduletag timeout: 120_000

  setup do
    folder = Scratch.path("entered")
    File.mkdir_p!(folder)
    on_exit(fn -> File.rm_rf!(folder) end)
    %{folder: folder}
  end

  for auto <- [true, false] do
    test "the number has gone to another process meanwhile (auto_proceed: #{auto})", %{
      folder: folder
    } do
      marker = Path.join(folder, "ran")

      code =
        quote do
          {:ok, target} = P.spawn(argv: ["/bin/sleep", "600"], stdio: :devnull)
          {:ok, pid} = P.host_pid(target)
          {:ok, pin} = P.pin(target)

          # An agent that starts when it is told to.
          image = Path.join(var!(folder), "agent")
          go = Path.join(var!(folder), "go")
          agent = Application.app_dir(:linx, "priv/linx_process")
          wait = "while [ ! -e #{go} ]; do sleep 0.01; done"
          File.write!(image, "#!/bin/sh\n#{wait}\nexec #{agent}\n")
          File.chmod!(image, 0o755)

          argv = ["/bin/touch", Path.join(var!(folder), "ran")]
          {:ok, options} = Options.parse(:enter, argv: argv, auto_proceed: var!(auto))
          request = %{options.request | auto_proceed: false}
          options = Map.merge(options, %{request: request, target: pin, image: image})
          {:ok, session} = GenServer.start_link(P, {:enter, {:enter, pid, request}, options})

          # The target ends, and its number becomes another's.
          {:ok, _} = P.stop(target, 0)
          successor = Recycle.take!(pid, ["cat"])
          File.touch!(go)
          outcome = P.wait(session, 60_000)
          entered = GenServer.call(session, :entered)
          Port.close(successor)
          {outcome, entered}
        end

      wrapper = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]

      assert Vm.eval(wrapper, code, folder: folder, auto: unquote(auto)) ==
               {{:ok, :aborted}, :other}

      refute File.exists?(marker)
    end
  end

  test "a session that is entered proceeds by itself once it is known" do
    {target, _pid} = running(argv: ["/bin/sleep", "600"], namespaces: [:uts], stdio: :devnull)
    flush()
    {:ok, session} = P.enter(target, argv: ["/bin/true"], auto_proceed: true)
    assert P.wait(session, 60_000) == {:ok, {:exited, 0}}
    assert_received {:linx_process, :ready, _}
    assert_received {:linx_process, :running}
    P.stop(target, 0)
  end

  @tag :cgroup2
  test "the end of a visitor leaves the cgroup of its host alone", %{folder: folder} do
    {holder, holder_pid} = parked(argv: ["/bin/sleep", "600"], namespaces: [:mount])
    :ok = Linx.Mount.mount("", "/", "", flags: [:private, :rec], in: holder)
    :ok = Linx.Mount.mount("cgroup2", folder, "cgroup2", in: holder)
    {:ok, cg} = Cgroup.create(Path.join(inside(holder_pid, folder), "linx-visit-#{System.pid()}"))

    {pod, _} = running(argv: ["/bin/sleep", "600"], cgroup: cg, stdio: :devnull)

    for stop <- [&P.wait/1, &P.stop(&1, 0)] do
      argv = if stop == (&P.wait/1), do: ["/bin/true"], else: ["/bin/sleep", "600"]

      {:ok, visitor} =
        P.enter(pod, argv: argv, cgroup: cg, stdio: :devnull, auto_proceed: true)

      assert {:ok, _} = stop.(visitor)
      assert {:ok, %{stage: :running}} = P.info(pod)
    end

    # Nor does the session's own death, and its agent's.
    {:ok, visitor} = P.enter(pod, argv: ["/bin/sleep", "600"], cgroup: cg, stdio: :devnull)
    Process.unlink(visitor)
    ref = Process.monitor(visitor)
    Process.exit(visitor, :kill)
    assert_receive {:DOWN, ^ref, :process, ^visitor, _}, 60_000
    {:ok, pod_pid} = P.host_pid(pod)
    procs = fn -> cg |> Cgroup.read("cgroup.procs") |> elem(1) |> String.split() end
    until(fn -> procs.() == ["#{pod_pid}"] end)
    assert {:ok, %{stage: :running}} = P.info(pod)

    P.stop(pod, 0)
    until(fn -> Cgroup.destroy(cg) == :ok end)
    P.stop(holder, 0)
  end
end
