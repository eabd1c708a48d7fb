defmodule Linx.Process.ReportTest do
  # Captures the log of the whole VM.
  use ExUnit.Case, async: false

  import ExUnit.CaptureLog
  import Linx.Test.Session, only: [parked: 1]

  alias Linx.Process, as: P

  @moduletag timeout: 120_000

  defp supervised(opts) do
    test = self()
    owner = spawn_link(fn -> Process.sleep(:infinity) end)

    log =
      capture_log(fn ->
        child = {P, [owner: owner, auto_proceed: true, restart: :temporary] ++ opts}
        {:ok, supervisor} = Supervisor.start_link([child], strategy: :one_for_one)
        Linx.Test.Poll.until(fn -> Supervisor.which_children(supervisor) == [] end)
        Supervisor.stop(supervisor)
        send(test, :over)
      end)

    assert_receive :over
    log
  end

  describe "a supervised workload that fails" do
    test "has a short report that names argv and id, and none of the rest" do
      secret = "SECRET=#{String.duplicate("hunter2", 100)}"
      argv = ["/bin/sh", "-c", "exit 7"]

      for {opts, texts} <- [
            {[argv: argv, id: :job], [":job", inspect(argv), "{:exited, 7}"]},
            {[argv: argv], ["Linx.Process", inspect(argv)]},
            {[argv: ["/nope"], id: {:web, 1}], ["{:web, 1}", "/nope", "execve: enoent (2)"]},
            {[argv: ["/bin/sh", "-c", "kill -9 $$"], id: "w"], [~s("w"), "{:signaled, 9}"]}
          ] do
        log = supervised([env: [secret]] ++ opts)
        for text <- texts, do: assert(log =~ text)
        refute log =~ "hunter2"
        refute log =~ "<<"
        refute log =~ "Linx.Process.Session{"
        assert length(Regex.scan(~r/#Linx\.Process</, log)) == 1
        assert byte_size(log) < 700, log
      end
    end

    test "is as short for an argv without end" do
      argv = ["/bin/sh", "-c", "exit 1"] ++ List.duplicate(String.duplicate("x", 10_000), 50)
      log = supervised(argv: argv, id: String.duplicate("y", 10_000))
      assert log =~ ~s(["/bin/sh", "-c", "exit 1", "xxx)
      assert byte_size(log) < 1_200, log
    end

    test "a crash of the session shows no state, argument or message" do
      secret = "hunter2"
      Process.flag(:trap_exit, true)

      log =
        capture_log(fn ->
          {session, _pid} =
            parked(argv: ["/bin/cat"], stdio: [stdin: :pipe], id: :crash, env: ["S=#{secret}"])

          # A state that the next input finds no clause for: its arguments are in the trace.
          :sys.replace_state(session, fn state -> %{state | input: {secret}} end)
          send(session, {:feed, self(), :stdin, String.duplicate(secret, 100)})
          assert_receive {:EXIT, ^session, _reason}, 60_000
        end)

      assert log =~ ":crash"
      refute log =~ secret
      refute log =~ "Linx.Process.Session{"
    end
  end

  test "sys.get_status shows one line" do
    {session, pid} =
      parked(argv: ["/bin/cat"], stdio: [stdin: :pipe], id: :shown, env: ["S=hunter2"])

    :ok = P.stdin_write(session, String.duplicate("hunter2", 1_000))
    text = inspect(:sys.get_status(session), limit: :infinity, printable_limit: :infinity)
    assert text =~ ~s(#Linx.Process<:shown, ["/bin/cat"] :ready host=#{pid}>)
    refute text =~ "hunter2"
    P.abort(session)
  end

  describe "the text of an error" do
    defp failed(opts) do
      {:ok, session} = P.spawn([auto_proceed: true] ++ opts)
      assert {:error, error} = P.wait(session, 60_000)
      Exception.message(error)
    end

    @tag :tmp_dir
    test "names the file of an execve, and what was looked for", %{tmp_dir: dir} do
      assert failed(argv: ["ls"]) ==
               "execve: enoent (2): ls: PATH is not searched; give the absolute path of the file"

      assert failed(argv: ["name", "x"], arg0: "other") =~ "name: PATH is not searched"

      assert failed(argv: ["./no"]) =~
               "./no: not there, seen from the workload's working directory"

      script = Path.join(dir, "script")
      File.write!(script, "#!/no/such/interpreter\n")
      File.chmod!(script, 0o755)
      assert failed(argv: [script]) =~ "#{script} is there; the interpreter"
      File.chmod!(script, 0o644)
      assert failed(argv: [script]) =~ "#{script}: it, or the interpreter"
      File.write!(script, "no header")
      File.chmod!(script, 0o755)
      assert failed(argv: [script]) =~ "#{script}: neither an ELF file"
      assert failed(argv: [Path.join(script, "below")]) =~ "enotdir (20): #{script}/below"
      assert failed(argv: ["/bin/true"], cwd: "/no/such") =~ "chdir: enoent (2): /no/such"
      file = Path.join(dir, "none/file")

      assert failed(argv: ["/bin/true"], stdio: [stdout: {:file, file, :write}]) =~
               "stdio: enoent (2): #{file}"

      assert {:error, error} = P.run(argv: ["/no/such"])
      assert Exception.message(error) == "execve: enoent (2): /no/such"
    end

    test "a plain file that is not there stays what it was" do
      assert failed(argv: ["/no/such"]) == "execve: enoent (2)"
    end

    test "names the target of an enter" do
      {:ok, session} = P.enter(99_999_999, argv: ["/bin/true"])
      assert {:error, error} = P.wait(session, 60_000)
      assert Exception.message(error) =~ "process 99999999"
    end

    test "names capability and namespace for whoever has them not" do
      subject = fn request ->
        Linx.Process.Subject.new({:spawn, Map.merge(%{argv: ["/bin/true"]}, request)}, nil)
      end

      text = fn stage, code, request ->
        code
        |> P.Error.from_agent(stage)
        |> P.Explain.explain(subject.(request))
        |> Exception.message()
      end

      assert text.(:clone, 1, %{namespaces: 0x40020000}) ==
               "clone: eperm (1): namespaces :mount, :net need CAP_SYS_ADMIN in the user " <>
                 "namespace of the VM, " <>
                 "or :user beside them"

      assert text.(:clone, 1, %{namespaces: 0x10000000}) =~ "user namespace is not permitted"
      assert text.(:setuid, 22, %{uid: 77}) =~ "uid 77 is not mapped"
      assert text.(:setuid, 1, %{uid: 77}) =~ "CAP_SETUID in the workload's user namespace"
      assert text.(:rlimit, 1, %{}) =~ "CAP_SYS_RESOURCE"
      assert text.(:seccomp_install, 13, %{}) =~ "CAP_SYS_ADMIN"

      assert text.(:clone, 13, %{cgroup: "/sys/fs/cgroup/x"}) =~
               "/sys/fs/cgroup/x: needs write permission"

      entered = Linx.Process.Subject.new({:enter, 42, %{argv: ["/bin/true"], namespaces: 0}}, nil)

      message =
        1 |> P.Error.from_agent(:setns_net) |> P.Explain.explain(entered) |> Exception.message()

      assert message =~ "owns the net namespace of process 42"
    end

    @tag :root
    test "an unmapped id is named by a real one" do
      assert failed(argv: ["/bin/true"], namespaces: [:user], uid: 77) =~ "uid 77"
    end
  end
end
