defmodule Linx.Process.InheritTest do
  # The state that a workload inherits, reported by the probe program, from a parent whose state
  # is not the default.
  use ExUnit.Case, async: true

  alias Linx.Test.{Inheritance, Session}

  # A VM of its own under `probe dirty`: SIGPIPE and SIGFPE ignored, SIGUSR1 blocked, descriptors
  # 57 and 900 on /etc, umask 077, RELEASE_COOKIE set, and 300 files open.
  @script ~S"""
  [probe, out] = System.argv()
  for _ <- 1..300, do: File.open!("/etc/passwd", [:raw])
  run = fn name, opts ->
    probe = [argv: [probe, "a b", ""], stdio: :pipe, auto_proceed: true]
    {:ok, session} = Linx.Process.spawn(opts ++ probe)
    {:ok, {:exited, 0}} = Linx.Process.wait(session, 60_000)
    drain = fn drain, parts ->
      receive do
        {:linx_process, stream, bytes} when stream in [:stdout, :pty_out] ->
          drain.(drain, [bytes | parts])
      after
        0 -> parts |> Enum.reverse() |> IO.iodata_to_binary() |> String.replace("\r\n", "\n")
      end
    end
    File.write!(Path.join(out, name), drain.(drain, []))
  end
  run.("default", [])
  run.("pty", [stdio: :pty])
  run.("init", [init: true])
  run.("options", [env: ["A=1", "B=two words"], cwd: "/usr", umask: 0o027, arg0: "other",
                   rlimits: [nofile: {100, 200}, core: 0], no_new_privs: true])
  run.("clean", [env: {:clean, ["ONLY=this"]}])
  if System.argv() != [] and match?({"0\n", 0}, System.cmd("id", ["-u"])) do
    run.("user", [uid: 1234, gid: 2345, groups: [7, 8]])
    run.("bare_user", [uid: 1234, gid: 2345])
  end
  """

  setup_all do
    out = Linx.Test.Scratch.path("inherit")
    File.mkdir_p!(out)
    on_exit(fn -> File.rm_rf!(out) end)
    script = Path.join(out, "script.exs")
    File.write!(script, @script)

    {text, status} =
      System.cmd(
        Inheritance.path(),
        [
          "dirty",
          System.find_executable("elixir"),
          "-pa",
          Application.app_dir(:linx, "ebin"),
          script
        ] ++
          [Inheritance.path(), out],
        stderr_to_stdout: true
      )

    assert status == 0, text

    results =
      for name <- File.ls!(out), name != "script.exs", into: %{}, do: {name, read(out, name)}

    %{results: results}
  end

  defp read(out, name), do: out |> Path.join(name) |> File.read!() |> Inheritance.parse()

  defp each(results, names, check), do: for(name <- names, do: check.(Map.fetch!(results, name)))

  test "descriptors 0 to 2 and no other", %{results: results} do
    each(results, ~w(default options clean init pty), fn probe ->
      assert ["0 " <> _, "1 " <> _, "2 " <> _] = Enum.sort(probe["fd"])
    end)
  end

  test "no signal ignored, none blocked", %{results: results} do
    each(results, ~w(default options clean init pty), fn probe ->
      assert probe["status"]["SigIgn"] == "0000000000000000"
      assert probe["status"]["SigBlk"] == "0000000000000000"
    end)
  end

  test "umask 0022, or the one asked for", %{results: results} do
    assert results["default"]["status"]["Umask"] == "0022"
    assert results["init"]["status"]["Umask"] == "0022"
    assert results["options"]["status"]["Umask"] == "0027"
  end

  test "a session and a group of its own", %{results: results} do
    each(results, ~w(default init pty), fn probe ->
      assert probe["session_leader"] == ["true"]
      assert probe["group_leader"] == ["true"]
    end)
  end

  test "no terminal, or its own as the controlling one", %{results: results} do
    assert results["default"]["ctty_group"] == ["false"]
    assert results["pty"]["ctty_group"] == ["true"]
    assert Enum.all?(results["pty"]["fd"], &(&1 =~ ~r"^\d /dev/pts/\d+$"))
  end

  test "the VM's environment without the cluster's secret", %{results: results} do
    environment = results["default"]["env"]
    refute Enum.any?(environment, &String.starts_with?(&1, "RELEASE_COOKIE="))
    assert Enum.any?(environment, &String.starts_with?(&1, "PATH="))
  end

  test "a list is the whole environment", %{results: results} do
    assert results["options"]["env"] == ["A=1", "B=two words"]
  end

  test "a clean environment is the list and a PATH", %{results: results} do
    assert ["PATH=/usr/local/sbin" <> _, "ONLY=this"] = results["clean"]["env"]
  end

  test "arguments reach it as they are, the name can be another", %{results: results} do
    assert results["default"]["arg"] == [Inheritance.path(), "a b", ""]
    assert results["options"]["arg"] == ["other", "a b", ""]
  end

  test "the VM's directory, or the one asked for", %{results: results} do
    assert results["default"]["cwd"] == [File.cwd!()]
    assert results["options"]["cwd"] == ["/usr"]
  end

  test "the VM's limits, or those asked for", %{results: results} do
    assert Enum.any?(results["options"]["limit"], &(&1 =~ ~r/^Max open files +100 +200 /))
    assert Enum.any?(results["options"]["limit"], &(&1 =~ ~r/^Max core file size +0 +0 /))
    {own, 0} = System.cmd("cat", ["/proc/self/limits"])
    assert results["default"]["limit"] == own |> String.split("\n", trim: true)
  end

  test "oom_score_adj as the VM's", %{results: results} do
    assert results["default"]["oom_score_adj"] == [
             String.trim(File.read!("/proc/self/oom_score_adj"))
           ]
  end

  test "no_new_privs only where asked for, no filter", %{results: results} do
    assert results["default"]["status"]["NoNewPrivs"] == "0"
    assert results["options"]["status"]["NoNewPrivs"] == "1"
    assert results["default"]["status"]["Seccomp"] == "0"
  end

  test "no inheritable and no ambient capability", %{results: results} do
    assert results["default"]["status"]["CapInh"] =~ ~r/^0+$/
    assert results["default"]["status"]["CapAmb"] =~ ~r/^0+$/
  end

  @tag :root
  test "another identity takes everything of the old one away", %{results: results} do
    status = results["user"]["status"]
    assert status["Uid"] == "1234\t1234\t1234\t1234"
    assert status["Gid"] == "2345\t2345\t2345\t2345"
    assert status["Groups"] == "7 8"
    assert status["CapPrm"] =~ ~r/^0+$/
    assert status["CapEff"] =~ ~r/^0+$/
    assert results["bare_user"]["status"]["Groups"] == ""
  end

  @tag :tmp_dir
  test "descriptors that the VM holds cannot be named by the workload", %{tmp_dir: dir} do
    File.write!(Path.join(dir, "run"), "#!/bin/sh\n")
    File.chmod!(Path.join(dir, "run"), 0o755)
    {:ok, _} = File.open(dir, [:read, :directory, :raw])
    Process.flag(:trap_exit, true)
    {{:error, error}, _, _} = Session.run(["/proc/self/fd/57/passwd"])
    assert %{stage: :execve, errno: :enoent} = error
    {{:error, error}, _, _} = Session.run(["/bin/true"], cwd: "/proc/self/fd/57")
    assert %{stage: :chdir, errno: :enoent} = error
  end

  test "the control channel is not in reach" do
    {outcome, out, _err} =
      Session.run([
        "/bin/sh",
        "-c",
        "(echo x >&4) 2>/dev/null || echo none; (read x <&3) 2>/dev/null || echo none"
      ])

    assert {outcome, out} == {{:ok, {:exited, 0}}, "none\nnone\n"}
  end

  test "a VM without standard descriptors starts clean ones" do
    script = ~S"""
    {:ok, session} = Linx.Process.spawn(argv: ["/bin/true"], auto_proceed: true)
    {:ok, {:exited, 0}} = Linx.Process.wait(session, 60_000)
    options = [argv: ["/bin/echo", "hi"], stdio: :pipe, auto_proceed: true]
    {:ok, session} = Linx.Process.spawn(options)
    {:ok, {:exited, 0}} = Linx.Process.wait(session, 60_000)
    receive do {:linx_process, :stdout, "hi\n"} -> System.halt(42) after 0 -> System.halt(43) end
    """

    elixir =
      "exec elixir -pa '#{Application.app_dir(:linx, "ebin")}' -e " <>
        "'#{String.replace(script, "'", "'\\''")}'"

    assert {_, 42} = System.cmd("sh", ["-c", elixir <> " <&- >&- 2>&-"])
  end
end
