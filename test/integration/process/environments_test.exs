defmodule Linx.Integration.Process.EnvironmentsTest do
  # Sessions of a VM in an environment that withholds something: they work, or say why before
  # anything runs.
  use ExUnit.Case, async: true

  alias Linx.Process, as: P
  alias Linx.Test.{Engine, Foreign, Vm}

  @moduletag :root
  @moduletag timeout: 300_000

  # The first steps of a user, and each answer with its event.
  defp core(namespaces \\ [:uts], init? \\ true) do
    quote do
      import Linx.Test.Session

      sh = fn script, opts -> run(["/bin/sh", "-c", script], opts) end
      {:ok, listener} = :gen_tcp.listen(0, [])
      descriptors = [listen_fds: [listener], nice: 5, cpus: [0], scheduler: :batch]
      {:ok, left} = P.spawn(argv: ["/bin/sleep", "600"], auto_proceed: true, stdio: :devnull)
      :ok = P.signal(left, 15)
      signaled = P.wait(left, 60_000)
      {:ok, stopped} = P.spawn(argv: ["/bin/sleep", "600"], auto_proceed: true, stdio: :devnull)

      # A container of one's own, and a visitor in it.
      box = fn ->
        opts = [namespaces: unquote(namespaces), hostname: "inner", stdio: :devnull]
        {:ok, box} = P.spawn([argv: ["/bin/sleep", "600"]] ++ opts)
        uid = "id" |> System.cmd(["-u"]) |> elem(0) |> String.trim() |> String.to_integer()

        with {:ok, _pid} <- P.host_pid(box),
             :ok <-
               if(:user in unquote(namespaces),
                 do: Linx.User.setup_maps(box, uid: [{0, uid, 1}], gid: [{0, uid, 1}]),
                 else: :ok
               ),
             :ok <- P.proceed(box),
             # Its own file is what it executes once it runs.
             :ok <- receive(do: ({:linx_process, :running} -> :ok), after: (60_000 -> :late)),
             {:ok, visitor} <-
               P.enter(box,
                 argv: ["/bin/hostname"],
                 stdio: [stdout: :pipe],
                 auto_proceed: true
               ) do
          outcome = P.wait(visitor, 60_000)
          P.stop(box, 0)
          {outcome, output(:stdout)}
        else
          _ -> P.stop(box, 0)
        end
      end

      terminal = fn ->
        opts = [
          argv: ["/bin/sh", "-c", "test -t 0 && stty size"],
          stdio: :pty,
          pty: [rows: 9, cols: 80]
        ]

        {:ok, run} = P.run(opts)
        {run.outcome, run.stdout}
      end

      # The first signal is for a child that its reaper and its /proc may hide from the agent.
      tree = fn ->
        script = """
        trap : TERM
        (trap 'echo child; exit' TERM; echo up; sleep 600 & wait $!) &
        wait $!; wait $!; exit 4
        """

        opts = [argv: ["/bin/sh", "-c", script], init: unquote(init?), stdio: [stdout: :pipe]]
        {:ok, session} = P.spawn(opts ++ [auto_proceed: true])
        output_until(:stdout, "up")

        {P.signal(session, 15, to: :tree), output_until(:stdout, "child"),
         P.wait(session, 60_000)}
      end

      %{
        tree: tree.(),
        plain: sh.("echo $((6 * 7)); exit 3", []),
        signaled: signaled,
        stopped: P.stop(stopped, 100),
        directory: sh.("pwd; umask", cwd: "/usr", umask: 0o027),
        ids: sh.("id -u; id -g; id -G", uid: 1234, gid: 4321),
        init: sh.("sleep 600 & exit 5", init: unquote(init?)),
        descriptors: sh.("echo $((LISTEN_PID == $$)) $LISTEN_FDS; nice", descriptors),
        missing: run(["/nowhere"], []) |> elem(0),
        terminal: terminal.(),
        entered: box.()
      }
    end
  end

  defp works(seen) do
    works_without_ids(seen)
    assert seen.ids == {{:ok, {:exited, 0}}, "1234\n4321\n4321\n", ""}
    assert seen.entered == {{:ok, {:exited, 0}}, "inner\n"}
  end

  defp works_without_ids(seen) do
    assert seen.plain == {{:ok, {:exited, 3}}, "42\n", ""}
    assert seen.signaled == {:ok, {:signaled, 15}}
    assert {:ok, {:signaled, _}} = seen.stopped
    assert seen.directory == {{:ok, {:exited, 0}}, "/usr\n0027\n", ""}
    assert seen.init == {{:ok, {:exited, 5}}, "", ""}
    assert seen.descriptors == {{:ok, {:exited, 0}}, "1 1\n5\n", ""}
    assert {:error, %{stage: :execve, errno: :enoent}} = seen.missing
    assert {:ok, "child\n", {:ok, {:exited, 4}}} = seen.tree
    assert seen.terminal == {{:exited, 0}, "9 80\r\n"}
  end

  describe "behind a container engine's default seccomp profile and capabilities" do
    @describetag :x86_64

    setup do
      folder = Engine.build!()
      on_exit(fn -> File.rm_rf!(folder) end)
      %{folder: folder}
    end

    # Seen failing with a clone3 that has no fall-back: stage clone, ENOSYS.
    test "Docker's: sessions work, namespaces are refused by name, and the doctor tells the " <>
           "cause",
         %{folder: folder} do
      code =
        quote do
          refused =
            for kind <- [:user, :mount, :pid, :net, :uts, :ipc, :time] do
              {:ok, session} =
                Linx.Process.spawn(argv: ["/bin/true"], namespaces: [kind], auto_proceed: true)

              {kind, Linx.Process.wait(session, 60_000)}
            end

          {unquote(core()), refused, Linx.Doctor.Agent.findings()}
        end

      {seen, refused, findings} = Vm.eval(Engine.command(folder, :docker), code)
      assert {:error, %{stage: :clone, errno: :eperm}} = seen.entered
      works(%{seen | entered: {{:ok, {:exited, 0}}, "inner\n"}})

      for {kind, answer} <- refused do
        assert {:error, %{stage: :clone, errno: errno}} = answer
        assert {kind, errno} in [{kind, :eperm}, {:time, :enosys}]
      end

      finding = Enum.find(findings, &(&1.item == "clone3"))
      assert %{status: :missing, detail: "enosys", advice: advice} = finding
      assert advice =~ "filter"
    end

    # It leaves namespaces to the kernel, and refuses sethostname(2) in a user namespace of one's
    # own, too.
    test "Podman's: sessions work, and a host name is refused by name",
         %{folder: folder} do
      seen = Vm.eval(Engine.command(folder, :podman), core([:user, :uts]))
      assert {:error, %{stage: :hostname, errno: :eperm}} = seen.entered
      works(%{seen | entered: {{:ok, {:exited, 0}}, "inner\n"}})
    end
  end

  # Seen failing with the image named by the VM's own number: stage open_port; and with the tree
  # looked for by number.
  test "in a pid namespace with an outer /proc sessions work" do
    works(Vm.eval(Foreign.outer_proc(), core([:user, :uts])))
  end

  # Seen failing with an agent that takes process 1 as its parent for the death of its VM.
  test "as process 1 of a pid namespace with its own /proc sessions work" do
    wrapper = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    works(Vm.eval(wrapper, core()))
  end

  defp hidden_proc(rest \\ []) do
    script = "mount -t proc -o hidepid=2 proc /proc; exec \"$@\""

    ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--propagation", "private"] ++
      ["sh", "-ec", script, "sh"] ++ rest
  end

  test "with a /proc that hides others' processes sessions work" do
    works(Vm.eval(hidden_proc(), core()))
  end

  defp noexec(number, rest \\ []) do
    script = "echo #{number} > /proc/sys/vm/memfd_noexec; exec \"$@\""

    ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"] ++
      ["--propagation", "private", "sh", "-ec", script, "sh"] ++ rest
  end

  # Seen failing with a memfd made without MFD_EXEC, and for 2 without the read-only mount in its
  # place.
  for {number, protection} <- [{1, :sealed}, {2, :read_only}] do
    test "with vm.memfd_noexec #{number} sessions work" do
      code = quote(do: {unquote(core()), Linx.Process.AgentImage.protection()})
      {seen, protection} = Vm.eval(noexec(unquote(number)), code)
      works(seen)
      assert protection == {:ok, unquote(protection)}
    end
  end

  test "without /proc sessions work" do
    works(Vm.eval(Foreign.no_proc(), core()))
  end

  describe "as an ordinary user" do
    @describetag :userns

    defp works_for_a_user(seen) do
      works_without_ids(seen)
      assert {{:error, %{stage: stage, errno: :eperm}}, "", ""} = seen.ids
      assert stage in [:setgid, :setgroups]
    end

    # Seen failing with a parked child that hides itself from a VM without privileges: its maps
    # cannot be written.
    test "sessions work, and ids of another user are refused by name" do
      seen = Vm.eval(Vm.ordinary_user(), core([:user, :uts]))
      works_for_a_user(seen)
      assert seen.entered == {{:ok, {:exited, 0}}, "inner\n"}
    end

    test "whom /proc hides others' processes from, sessions work" do
      seen = Vm.eval(hidden_proc(Vm.ordinary_user()), core([:user, :uts]))
      works_for_a_user(seen)
      assert seen.entered == {{:ok, {:exited, 0}}, "inner\n"}
    end

    # Neither memory that may be executed nor a mount of his own.
    test "with vm.memfd_noexec 2 sessions work, and enter/2 says why it does not" do
      code =
        quote do
          {:ok, session} =
            P.spawn(argv: ["/bin/true"], init: true, auto_proceed: true, stdio: :devnull)

          {P.wait(session, 60_000), unquote(core([:user, :uts], false))}
        end

      {init, seen} = Vm.eval(noexec(2, Vm.ordinary_user()), code)
      works_for_a_user(seen)
      assert {:error, %{stage: :image, errno: :eacces}} = init
      assert {{:error, %{stage: :image, errno: :eacces}}, ""} = seen.entered
    end
  end
end
