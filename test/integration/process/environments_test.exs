defmodule Linx.Integration.Process.EnvironmentsTest do
  # Sessions of a VM in an environment that withholds something: they work, or say why before anything runs.
  use ExUnit.Case, async: true

  alias Linx.Process, as: P
  alias Linx.Test.{Foreign, Scratch, Vm}

  @moduletag :root
  @moduletag timeout: 300_000

  # What a user does first, and each answer with its event.
  defp core do
    quote do
      import Linx.Test.Session

      sh = fn script, opts -> run(["/bin/sh", "-c", script], opts) end
      {:ok, listener} = :gen_tcp.listen(0, [])
      descriptors = [listen_fds: [listener], nice: 5, cpus: [0], scheduler: :batch]
      {:ok, left} = P.spawn(argv: ["/bin/sleep", "600"], auto_proceed: true, stdio: :devnull)
      :ok = P.signal(left, 15)
      signaled = P.wait(left, 60_000)
      {:ok, stopped} = P.spawn(argv: ["/bin/sleep", "600"], auto_proceed: true, stdio: :devnull)

      %{
        plain: sh.("echo $((6 * 7)); exit 3", []),
        signaled: signaled,
        stopped: P.stop(stopped, 100),
        directory: sh.("pwd; umask", cwd: "/usr", umask: 0o027),
        ids: sh.("id -u; id -g; id -G", uid: 1234, gid: 4321),
        init: sh.("sleep 600 & exit 5", init: true),
        descriptors: sh.("echo $((LISTEN_PID == $$)) $LISTEN_FDS; nice", descriptors),
        missing: run(["/nowhere"], []) |> elem(0)
      }
    end
  end

  defp works(seen) do
    assert seen.plain == {{:ok, {:exited, 3}}, "42\n", ""}
    assert seen.signaled == {:ok, {:signaled, 15}}
    assert {:ok, {:signaled, _}} = seen.stopped
    assert seen.directory == {{:ok, {:exited, 0}}, "/usr\n0027\n", ""}
    assert seen.ids == {{:ok, {:exited, 0}}, "1234\n4321\n4321\n", ""}
    assert seen.init == {{:ok, {:exited, 5}}, "", ""}
    assert seen.descriptors == {{:ok, {:exited, 0}}, "1 1\n5\n", ""}
    assert {:error, %{stage: :execve, errno: :enoent}} = seen.missing
  end

  describe "behind a container engine's default seccomp profile" do
    setup do
      folder = Scratch.path("engine")
      File.mkdir_p!(folder)
      on_exit(fn -> File.rm_rf!(folder) end)
      program = Path.join(folder, "engine_filter")
      source = Path.expand("../../support/engine_filter.c", __DIR__)
      {"", 0} = System.cmd("cc", ["-O1", "-Wall", "-o", program, source], stderr_to_stdout: true)
      %{program: program}
    end

    # Seen failing with a clone3 that has no fall-back: stage clone, ENOSYS.
    test "sessions work", %{program: program} do
      works(Vm.eval([program], core()))
    end

    test "namespaces are refused by name, and the doctor tells the cause", %{program: program} do
      code =
        quote do
          refused =
            for kind <- [:user, :mount, :pid, :net, :uts, :ipc, :time] do
              {:ok, session} =
                Linx.Process.spawn(argv: ["/bin/true"], namespaces: [kind], auto_proceed: true)

              {kind, Linx.Process.wait(session, 60_000)}
            end

          {refused, Linx.Doctor.Agent.findings()}
        end

      {refused, findings} = Vm.eval([program], code)

      for {kind, answer} <- refused do
        assert {:error, %{stage: :clone, errno: errno}} = answer
        assert {kind, errno} in [{kind, :eperm}, {:time, :enosys}]
      end

      finding = Enum.find(findings, &(&1.item == "clone3"))
      assert %{status: :missing, detail: "enosys", advice: advice} = finding
      assert advice =~ "filter"
    end
  end

  test "in a pid namespace with an outer /proc sessions work" do
    works(Vm.eval(Foreign.outer_proc(), core()))
  end

  test "as process 1 of a pid namespace with its own /proc sessions work" do
    wrapper = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    works(Vm.eval(wrapper, core()))
  end

  test "with a /proc that hides others' processes sessions work" do
    script = "mount -t proc -o hidepid=2 proc /proc; exec \"$@\""

    wrapper =
      ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--propagation", "private"] ++
        ["sh", "-ec", script, "sh"]

    works(Vm.eval(wrapper, core()))
  end

  for noexec <- [1, 2] do
    test "with vm.memfd_noexec #{noexec} sessions work" do
      script = "echo #{unquote(noexec)} > /proc/sys/vm/memfd_noexec; exec \"$@\""

      wrapper =
        ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"] ++
          ["--propagation", "private", "sh", "-ec", script, "sh"]

      works(Vm.eval(wrapper, core()))
    end
  end

  test "without /proc sessions work" do
    works(Vm.eval(Foreign.no_proc(), core()))
  end
end
