defmodule Linx.Integration.TtySshTest do
  # A person at an ssh client on a terminal of ours, logged in to OTP's ssh daemon, which runs in
  # this VM on loopback.
  use ExUnit.Case, async: true

  import Linx.Test.Terminal

  # Mix puts OTP's ssh on the path when the test asks for it.
  @compile {:no_warn_undefined, :ssh}

  @moduletag :tty
  @moduletag :tmp_dir
  @moduletag timeout: 600_000

  setup %{tmp_dir: dir} do
    for app <- [:ssh, :iex] do
      Mix.ensure_application!(app)
      {:ok, _} = Application.ensure_all_started(app)
    end

    # One configuration for every iex of the VM.
    before = Keyword.take(IEx.configuration(), [:colors, :default_prompt])
    on_exit(fn -> IEx.configure(before) end)
    IEx.configure(colors: [enabled: false], default_prompt: "ready>")

    key = Path.join(dir, "ssh_host_ed25519_key")
    {_, 0} = System.cmd("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key])

    {:ok, daemon} =
      :ssh.daemon({127, 0, 0, 1}, 0,
        system_dir: String.to_charlist(dir),
        no_auth_needed: true,
        shell: {:iex, :start, []}
      )

    on_exit(fn -> :ssh.stop_daemon(daemon) end)
    {:ok, info} = :ssh.daemon_info(daemon)
    %{port: info[:port]}
  end

  defp login(port, opts \\ []) do
    ssh = [
      System.find_executable("ssh"),
      "-tt",
      "-e",
      "none",
      "-o",
      "StrictHostKeyChecking=no",
      "-o",
      "UserKnownHostsFile=/dev/null",
      "-o",
      "LogLevel=ERROR",
      "-o",
      "SendEnv=LC_ALL",
      "-p",
      "#{port}",
      "someone@127.0.0.1"
    ]

    session = start(ssh, [env: env([{"TERM", "xterm"}, {"LC_ALL", "C.UTF-8"}])] ++ opts)
    expect("ready> ")
    session
  end

  defp spawned(t) do
    env = ~s(["PS1=sh" <> "-> ", "PATH=/usr/bin:/bin", "TERM=xterm", "HISTFILE="])
    run(t, "{:ok, s} = Linx.Process.spawn(argv: [\"/bin/sh\"], stdio: :pty, env: #{env})")
    assert run(t, "Linx.Process.proceed(s)") == ":ok"
  end

  defp attach(t, opts \\ "[]"), do: type(t, "r = Linx.Tty.attach(:group_leader, s, #{opts})\r")

  test "the raw terminal is refused, with a hint", %{port: port} do
    t = login(port)
    spawned(t)
    assert run(t, "Linx.Tty.attach(:controlling, s)") == "{:error, :no_local_tty}"
    assert run(t, "Linx.Tty.format_error(:no_local_tty)") =~ ":group_leader"
  end

  test "size, keys, ctrl-c, resize, the alternate screen; iex works on after it", %{port: port} do
    t = login(port, rows: 33, cols: 101)
    spawned(t)
    attach(t)
    expect("sh-> ")
    type(t, "stty size\r")
    expect("33 101\r\n")

    type(
      t,
      "sh -c 'trap \"echo caug\"\"ht; exit\" INT; echo rea\"\"dy; while :; do sleep .1; done'\r"
    )

    expect("ready\r\n")
    type(t, <<3>>)
    expect("caught")
    expect("sh-> ")

    type(t, "trap 'stty size' WINCH; echo se''t\r")
    expect("set\r\n")
    :ok = Linx.Process.pty_set_winsize(t, {50, 132, 0, 0})
    until(fn -> type(t, "\r") end, "50 132\r\n")

    type(
      t,
      "printf '\\033[?1049h\\033[2J\\033[5;10Hx\\b\\b\\a\\t\\033[?1049lcaf\\303\\251 en''d'\r"
    )

    expect("\e[?1049h\e[2J\e[5;10Hx\b\b\a\t\e[?1049lcafé end")
    type(t, "echo 'é€'\r")
    expect("é€\r\n")
    type(t, "exit 7\r")
    expect("{:ok, {:exited, 7}}\r\n")
    assert run(t, "1 + 41") == "42"
    assert run(t, "1 + 4x\b2") == "43"
    assert run(t, "{:io.getopts()[:echo], Process.whereis(Linx.Tty.Guard)}") == "{true, nil}"
  end

  test "an editor edits", %{port: port, tmp_dir: dir} do
    t = login(port)

    run(
      t,
      "{:ok, s} = Linx.Process.spawn(argv: [\"#{System.find_executable("busybox")}\", " <>
        "\"vi\", \"f\"], " <>
        "stdio: :pty, cwd: \"#{dir}\", env: [\"TERM=xterm\"])"
    )

    run(t, "Linx.Process.proceed(s)")
    attach(t)
    expect("~")
    type(t, "iline one\rline twx\b")
    expect("line tw")
    type(t, "o\e")
    expect("\e[K- ")
    type(t, ":wq\r")
    expect("{:ok, {:exited, 0}}")
    assert File.read!(Path.join(dir, "f")) == "line one\nline two\n"
  end

  test "ctrl-c many times over never reaches the shell", %{port: port} do
    t = login(port)
    spawned(t)
    attach(t)
    expect("sh-> ")

    for n <- 1..30 do
      type(t, List.duplicate(<<3>>, 5))
      type(t, "echo a''live-#{n}\r")
      until(fn -> type(t, "\recho a''live-#{n}\r") end, "alive-#{n}\r\n")
    end

    type(t, "\rexit 0\r")
    expect("{:ok, {:exited, ")
    assert run(t, "1 + 41") == "42"
  end

  # OTP's daemon alone takes what comes after the first byte for Latin-1, and all that follows it.
  test "a character that comes in two pieces is whole", %{port: port} do
    t = login(port)
    spawned(t)
    attach(t)
    expect("sh-> ")
    byte = "head -c 1 | od -An -tx1"

    type(t, "stty raw -echo; echo rea''dy; #{byte}; #{byte}; head -c 6; stty sane; echo en''d\r")
    expect("ready")
    type(t, <<0xC3>>)
    expect("c3")
    type(t, <<0xA9>>)
    expect("a9")
    type(t, "caf€")
    expect("caf€")
    expect("end\r\n")
    type(t, "echo 'é€' en''d\r")
    expect("é€ end\r\n")
    type(t, "exit\r")
    expect("{:ok, {:exited, 0}}")
    assert run(t, "~s(é€)") == "\"é€\""
  end

  test "a paste arrives whole", %{port: port, tmp_dir: dir} do
    t = login(port)
    spawned(t)
    attach(t)
    expect("sh-> ")
    lines = for n <- 1..500, do: "line #{n} of the paste, with some text: é€\n"
    type(t, "stty -echo; echo rea''dy; cat > '#{dir}/paste'; stty echo; echo en''d\r")
    expect("ready\r\n")
    type(t, lines)
    type(t, <<4>>)
    expect("end\r\n")
    assert File.read!(Path.join(dir, "paste")) == IO.iodata_to_binary(lines)
  end

  test "two logins attach side by side", %{port: port} do
    parent = self()

    person = fn ->
      t = login(port, linked: true)
      spawned(t)
      attach(t)
      expect("sh-> ")
      send(parent, :attached)
      receive(do: (:go -> :ok))
      type(t, "echo $((20 + 22))\r")
      expect("42\r\n")
      type(t, "exit\r")
      expect("{:ok, {:exited, 0}}")
    end

    people = for _ <- 1..2, do: Task.async(person)
    for _ <- people, do: assert_receive(:attached)
    for task <- people, do: send(task.pid, :go)
    Task.await_many(people, 60_000)
  end

  for who <- [:another, :evaluator] do
    @who who
    test "the attaching process (#{who}) killed: iex works on", %{port: port, tmp_dir: dir} do
      fifo = Path.join(dir, "fifo")
      {_, 0} = System.cmd("mkfifo", [fifo])
      t = login(port)

      body =
        "{:ok, s} = Linx.Process.spawn(argv: [\"/bin/sh\"], stdio: :pty, env: [\"PS1=sh\" " <>
          "<> \"-> \"]); " <>
          "Linx.Process.proceed(s); Linx.Tty.attach(:group_leader, s)"

      kill = "spawn(fn -> :file.read_file(\"#{fifo}\", [:raw]); Process.exit(pid, :kill) end)"

      case @who do
        :another ->
          type(
            t,
            "{pid, m} = spawn_monitor(fn -> #{body} end); #{kill}; receive(do: ({:DOWN, ^m, " <>
              "_, _, _} -> :gone))\r"
          )

        :evaluator ->
          type(t, "pid = self(); #{kill}; #{body}\r")
      end

      expect("sh-> ")
      type(t, "echo > '#{fifo}'\r")
      if @who == :another, do: expect(":gone")
      expect(~r/(ready|iex)[^\n]*> /)
      assert run(t, "1 + 41") == "42"
      assert run(t, "1 + 4x\b2") == "43"
      poll(fn -> Process.whereis(Linx.Tty.Guard) == nil end)
    end
  end

  # The order of the attach's end and of the shell's question for a line is left to chance, 500
  # times.
  @tag :slow
  test "the attaching process killed, many times: iex works on", %{port: port, tmp_dir: dir} do
    fifo = Path.join(dir, "fifo")
    {_, 0} = System.cmd("mkfifo", [fifo])
    t = login(port)

    for _ <- 1..500 do
      type(
        t,
        "{pid, m} = spawn_monitor(fn -> {:ok, s} = Linx.Process.spawn(argv: [\"/bin/sh\"], " <>
          "stdio: :pty, " <>
          "env: [\"PS1=sh\" <> \"-> \"]); Linx.Process.proceed(s); " <>
          "Linx.Tty.attach(:group_leader, s) end); " <>
          "spawn(fn -> :file.read_file(\"#{fifo}\", [:raw]); Process.exit(pid, :kill) end); " <>
          "receive(do: ({:DOWN, ^m, _, _, _} -> :gone))\r"
      )

      expect("sh-> ")
      type(t, "echo > '#{fifo}'\r")
      expect(":gone")
      expect(~r/(ready|iex)[^\n]*> /)

      # The shell has asked for a line; a person who sees the prompt takes longer than this to
      # type.
      poll(fn -> Process.whereis(Linx.Tty.Guard) == nil end)
      assert run(t, "1 + 41") == "42"
      assert run(t, "1 + 4x\b2") == "43"
    end
  end

  test "the connection cut: the workload lives if it is another's, nothing stays behind", %{
    port: port
  } do
    {:ok, session} = Linx.Process.spawn(argv: ["/bin/cat"], stdio: :pty)
    :ok = Linx.Process.proceed(session)
    name = :"linx_ssh_test_#{System.unique_integer([:positive])}"
    Process.register(session, name)
    on_exit(fn -> Linx.Process.signal(session, 9) end)

    t = login(port)

    type(
      t,
      "s = Process.whereis(#{inspect(name)}); Linx.Process.set_owner(s, self()); r = " <>
        "Linx.Tty.attach(:group_leader, s)\r"
    )

    poll(fn -> Process.whereis(Linx.Tty.Guard) != nil end)
    :ok = Linx.Process.signal(t, 9)
    poll(fn -> Process.whereis(Linx.Tty.Guard) == nil end)
    assert {:ok, %{stage: :running}} = Linx.Process.info(session)
    :ok = Linx.Process.signal(session, 9)
    assert {:ok, {:signaled, 9}} = Linx.Process.wait(session)
  end
end
