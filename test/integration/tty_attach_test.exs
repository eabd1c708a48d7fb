defmodule Linx.Integration.TtyAttachTest do
  # A person at a local iex, on a terminal of ours: both ways of attaching, what passes, and what
  # is left behind.
  use ExUnit.Case, async: true

  import Linx.Test.Terminal

  @moduletag :tty
  @moduletag :tmp_dir
  @moduletag timeout: 600_000

  # A workload in iex's variable `s`. Its prompt is not in what is typed.
  defp spawned(t, argv \\ ~s(["/bin/sh"]), options \\ "") do
    env = ~s(["PS1=sh" <> "-> ", "PATH=/usr/bin:/bin", "TERM=xterm", "HISTFILE="])
    run(t, "{:ok, s} = Linx.Process.spawn(argv: #{argv}, stdio: :pty, env: #{env}#{options})")
    assert run(t, "Linx.Process.proceed(s)") == ":ok"
  end

  defp attach(t, mode, opts \\ "[]"),
    do: type(t, "r = Linx.Tty.attach(#{inspect(mode)}, s, #{opts})\r")

  # The state that attach changes beside the terminal's settings.
  @state """
  {:io.getopts()[:echo], Process.whereis(Linx.Tty.Guard), Process.flag(:trap_exit, false), \
  :sys.get_state(:user_drv) |> elem(1) |> elem(1) |> elem(4), \
  :gen_event.which_handlers(:erl_signal_server) |> Enum.filter(&is_tuple/1), \
  Process.info(self(), :messages) |> elem(1) |> Enum.filter(&match?({:linx_tty, _}, &1)), \
  Process.info(self(), :messages) |> elem(1) |> Enum.filter(&match?({:linx_tty, _, _}, &1))}
  """

  for mode <- [:controlling, :group_leader] do
    describe "#{mode}:" do
      @mode mode

      test "the workload has the terminal's size, its keys and its signals; iex works on " <>
             "after it" do
        t = iex(rows: 33, cols: 101)
        before = {settings(t), run(t, @state)}
        spawned(t)
        attach(t, @mode)
        expect("sh-> ")

        type(t, "stty size\r")
        expect("33 101\r\n")

        # ctrl-c, ctrl-z and ctrl-d are the workload's.
        type(
          t,
          "sh -c 'trap \"echo caug\"\"ht; exit\" INT; echo rea\"\"dy; while :; do sleep .1; " <>
            "done'\r"
        )

        expect("ready\r\n")
        type(t, <<3>>)
        expect("caught")
        expect("sh-> ")
        type(t, "cat\r")
        type(t, "line\r")
        expect("line\r\nline\r\n")
        type(t, <<3>>)
        expect("sh-> ")
        type(t, "cat; echo co''de $?\r")
        expect("$?\r\n")
        type(t, <<4>>)
        expect("code 0\r\n")

        type(t, "exit 7\r")
        expect("{:ok, {:exited, 7}}\r\n")
        assert run(t, "r") == "{:ok, {:exited, 7}}"
        assert {settings(t), run(t, @state)} == before
      end

      test "a resize reaches the workload while it runs" do
        t = iex()
        spawned(t)
        attach(t, @mode)
        expect("sh-> ")
        type(t, "trap 'stty size' WINCH; echo se''t\r")
        expect("set\r\n")
        :ok = Linx.Process.pty_set_winsize(t, {50, 132, 0, 0})
        # dash runs a trap when the command in the foreground has ended.
        until(fn -> type(t, "\r") end, "50 132\r\n")
        type(t, "exit\r")
        expect("{:ok, {:exited, 0}}")
        # iex's own idea of the size is the new one as well.
        assert run(t, "{:io.rows(), :io.columns()}") == "{{:ok, 50}, {:ok, 132}}"
      end

      test "control characters and the alternate screen pass as they are" do
        t = iex()
        spawned(t)
        attach(t, @mode)
        expect("sh-> ")
        type(t, "printf '\\033[?1049h\\033[2J\\033[5;10Hx\\b\\b\\a\\t\\033[?1049l\\0en''d'\r")
        expect("\e[?1049h\e[2J\e[5;10Hx\b\b\a\t\e[?1049l\0end")
        type(t, "printf 'caf\\303\\251 \\342\\202\\254 en''d'\r")
        expect("café € end")
        type(t, "exit\r")
        expect("{:ok, {:exited, 0}}")
      end

      test "an editor edits", %{tmp_dir: dir} do
        file = Path.join(dir, "f")
        t = iex()
        spawned(t, ~s(["#{System.find_executable("busybox")}", "vi", "f"]), ~s(, cwd: "#{dir}"))
        attach(t, @mode)
        expect("~")
        type(t, "iline one\rline twx\b")
        expect("line tw")
        # A key after escape within 50 ms would be part of an escape sequence.
        type(t, "o\e")
        expect("\e[K- ")
        type(t, ":wq\r")
        expect("{:ok, {:exited, 0}}")
        assert File.read!(file) == "line one\nline two\n"
      end

      test "detach leaves it running, and another attach finds it" do
        t = iex()
        spawned(t)
        attach(t, @mode)
        expect("sh-> ")
        type(t, "x=here\r")
        expect("sh-> ")
        type(t, <<16>>)
        type(t, <<17>>)
        expect("{:ok, :detached}\r\n")
        assert run(t, "elem(Linx.Process.info(s), 1).stage") == ":running"

        attach(t, @mode, "[detach_key: <<29>>]")
        type(t, "echo still-$x\r")
        expect("still-here\r\n")
        # The other key is nothing now: ctrl-p and ctrl-q are the workload's.
        type(t, <<16, 17>>)
        type(t, <<21>>)
        type(t, "echo no''t\r")
        expect("not\r\n")
        type(t, <<29>>)
        expect("{:ok, :detached}\r\n")
        assert run(t, "Linx.Process.signal(s, 9)") == ":ok"
        assert run(t, "Linx.Process.wait(s)") == "{:ok, {:signaled, 9}}"
      end

      test "a workload killed by a signal says so" do
        t = iex()
        spawned(t)
        attach(t, @mode)
        expect("sh-> ")
        type(t, "kill -TERM $$; kill -KILL $$\r")
        expect("{:ok, {:signaled, 9}}")
      end

      test "an earlier session's end in the mailbox is not this one's" do
        t = iex()
        spawned(t, ~s(["/bin/sh", "-c", "exit 3"]))
        assert run(t, "Linx.Process.wait(s)") == "{:ok, {:exited, 3}}"

        assert run(
                 t,
                 "{:linx_process, :exited, 3} in elem(Process.info(self(), " <>
                   ":messages), 1)"
               ) ==
                 "true"

        spawned(t)
        attach(t, @mode)
        expect("sh-> ")
        type(t, "exit 4\r")
        expect("{:ok, {:exited, 4}}")
      end

      test "one terminal has one attach at a time" do
        t = iex()
        spawned(t)

        run(t, """
        me = self(); {:ok, other} = Linx.Process.spawn(argv: ["/bin/cat"], stdio: :pty); \
        Linx.Process.proceed(other); \
        second = fn -> send(me, {:second, for(m <- [:controlling, :group_leader], do: \
        Linx.Tty.attach(m, other))}) end\
        """)

        # The second attach is made when the guard has the first one.
        run(t, """
        go = spawn(fn -> File.read!("/proc/self/stat"); receive(do: (:go -> second.())) end); \
        spawn(fn -> r = Process.monitor(go); \
        Stream.repeatedly(fn -> (g = Process.whereis(Linx.Tty.Guard)) && :sys.get_state(g) != \
        %{} end) |> Enum.find(& &1); send(go, :go); \
        receive(do: ({:DOWN, ^r, _, _, _} -> :ok)) end)\
        """)

        attach(t, @mode)
        expect("sh-> ")
        type(t, "exit\r")
        expect("{:ok, {:exited, 0}}")
        assert run(t, "receive(do: ({:second, r} -> r))") == "[error: :busy, error: :busy]"
      end

      test "the guard killed: the attach ends and puts everything back", %{tmp_dir: dir} do
        fifo = Path.join(dir, "fifo")
        {_, 0} = System.cmd("mkfifo", [fifo])
        t = iex()
        before = {settings(t), run(t, @state)}
        spawned(t)

        type(
          t,
          "spawn(fn -> :file.read_file(\"#{fifo}\", [:raw]); " <>
            "Process.exit(Process.whereis(Linx.Tty.Guard), :kill) end); " <>
            "r = Linx.Tty.attach(#{inspect(@mode)}, s)\r"
        )

        expect("sh-> ")
        type(t, "echo > '#{fifo}'\r")
        expect("{:error, :guard_died}\r\n")
        assert {settings(t), run(t, @state)} == before
        assert run(t, "1 + 4x\b2") == "43"
        # And the next attach is as any.
        attach(t, @mode)
        type(t, "exit 9\r")
        expect("{:ok, {:exited, 9}}")
      end

      for who <- [:another, :evaluator] do
        @who who
        test "the attaching process (#{who}) killed: iex works on", %{tmp_dir: dir} do
          fifo = Path.join(dir, "fifo")
          {_, 0} = System.cmd("mkfifo", [fifo])
          t = iex()
          before = settings(t)

          body =
            "{:ok, s} = Linx.Process.spawn(argv: [\"/bin/sh\"], stdio: :pty, env: " <>
              "[\"PS1=sh\" <> \"-> \"]); " <>
              "Linx.Process.proceed(s); Linx.Tty.attach(#{inspect(@mode)}, s)"

          kill = "spawn(fn -> :file.read_file(\"#{fifo}\", [:raw]); Process.exit(pid, :kill) end)"

          case @who do
            :another ->
              type(t, "pid = spawn(fn -> #{body} end); #{kill}; Process.sleep(:infinity)\r")

            :evaluator ->
              type(t, "pid = self(); #{kill}; #{body}\r")
          end

          expect("sh-> ")
          attached = settings(t)
          assert attached != before
          type(t, "echo > '#{fifo}'\r")

          # The evaluator sleeps in the first case: iex's own ctrl-c, or a killed evaluator, gives
          # a prompt.
          poll(fn -> settings(t) == before end)
          if @who == :another, do: type(t, <<7>>)

          if @who == :another do
            expect("User switch command")
            type(t, "i\r")
            expect("resume")
            type(t, "c\r")
          end

          expect(~r/(ready|iex)[^\n]*> /)
          assert run(t, "1 + 41") == "42"
          # Echo and the line editor are back: a line is edited before it is read.
          assert run(t, "1 + 4x\b2") == "43"
          assert run(t, "Process.whereis(Linx.Tty.Guard)") == "nil"
          assert settings(t) == before
        end
      end
    end
  end

  for mode <- [:controlling, :group_leader] do
    @mode mode

    test "#{mode}: a hundred attaches leave no descriptor, thread, process or atom behind" do
      t = iex()

      attaches = fn count ->
        """
        for _ <- 1..#{count} do \
        {:ok, s} = Linx.Process.spawn(argv: ["/bin/true"], stdio: :pty, linger: false); \
        Process.unlink(s); m = Process.monitor(s); \
        Linx.Process.proceed(s); \
        r = Linx.Tty.attach(#{inspect(@mode)}, s); receive(do: ({:DOWN, ^m, _, _, _} -> :ok)); r \
        end |> Enum.reject(&(&1 in [{:ok, {:exited, 0}}, {:error, :no_process}]))\
        """
      end

      count = """
      (:erlang.garbage_collect(); {length(File.ls!("/proc/self/fd")), \
      length(File.ls!("/proc/self/task")), \
      length(Process.list()), :erlang.system_info(:atom_count), length(elem(Process.info(self(), \
      :messages), 1))})\
      """

      # Ended before it was attached to, or while: both are right.
      assert run(t, attaches.(5)) == "[]"
      run(t, "flush()")
      run(t, count)
      before = run(t, count)
      assert run(t, attaches.(100)) == "[]"
      run(t, "flush()")
      poll(fn -> run(t, count) == before end)
    end

    test "#{mode}: 10 MB of output arrive whole" do
      t = iex()
      spawned(t)
      attach(t, @mode)
      expect("sh-> ")
      type(t, "stty -onlcr; echo sta''rt; seq -f %09.0f 1 1000000; echo en''d\r")
      expect("start\n")
      output = expect("end\n", 300_000)
      assert byte_size(output) == 10_000_000
      numbers = output |> String.split("\n", trim: true) |> Enum.map(&String.to_integer/1)
      assert numbers == Enum.to_list(1..1_000_000)
      type(t, "exit\r")
      expect("{:ok, {:exited, 0}}")
    end
  end

  describe "a terminal that answers:" do
    # Until iex has the result: answers each query at once, a place with the place that was set
    # before.
    defp answering(t, until, seen \\ "") do
      receive do
        {:linx_process, :pty_out, bytes} ->
          for [query | place] <- Regex.scan(~r/(?:\e\[(\d+);(\d+)H)?\e\[6n|\e\[c|\x05/, bytes),
              do: type(t, reply(query, place))

          seen = seen <> bytes

          if seen =~ until,
            do: Process.put(Linx.Test.Terminal, seen),
            else: answering(t, until, seen)
      after
        60_000 -> flunk("no #{until}; seen: #{inspect(seen)}")
      end
    end

    defp reply("\e[c", _), do: "\e[?62;22c"
    defp reply(<<5>>, _), do: "Process.put(:obeyed, 1)"
    defp reply(_, []), do: "\e[1;1R"
    defp reply(_, [row, col]), do: "\e[#{row};#{col}R"

    for mode <- [:controlling, :group_leader] do
      @mode mode
      @queries "printf '\\\\033[6n\\\\033[c\\\\005'"

      test "#{mode}: what a workload asked for is not typed at iex" do
        t = iex()
        spawned(t, ~s(["/bin/sh", "-c", "read go; #{@queries}"]))
        attach(t, @mode)
        poll(fn -> "-isig" in settings(t) end)
        type(t, "\r")
        answering(t, "{:ok, {:exited, 0}}")
        expect("{:ok, {:exited, 0}}")
        assert run(t, "1 + 41") == "42"
        assert run(t, "Process.get(:obeyed)") == "nil"
      end

      test "#{mode}: with `answers: :keep` it is" do
        t = iex()

        # An answer that comes before the workload has ended is input of the workload, and lost
        # with it.
        obeyed? = fn ->
          spawned(t, ~s(["/bin/sh", "-c", "read go; printf '\\\\005'"]))
          attach(t, @mode, "[answers: :keep]")
          poll(fn -> "-isig" in settings(t) end)
          type(t, "\r")
          answering(t, "{:ok, {:exited, 0}}")
          expect("{:ok, {:exited, 0}}")
          type(t, "\r")
          run(t, "Process.get(:obeyed)") == "1"
        end

        assert Enum.any?(1..20, fn _ -> obeyed?.() end)
      end

      test "#{mode}: `reset: true` ends the modes that a workload left on" do
        t = iex()
        spawned(t, ~s(["/bin/sh", "-c", "read go; printf '\\\\033[?1049h\\\\033[?1003h'"]))
        attach(t, @mode, "[reset: true, answers: :keep]")
        poll(fn -> "-isig" in settings(t) end)
        type(t, "\r")
        expect("\e[?1003h")
        assert expect("{:ok, {:exited, 0}}") =~ ~r/\e\[\?1003l.*\e\[\?1049l/s
      end
    end
  end

  # Seen failing with a hold that does not put them back.
  test "a program without a shell has its signals as before" do
    code = """
    :ok = :os.set_signal(:sigwinch, :ignore)
    :ok = :os.set_signal(:sigcont, :default)
    signals = fn -> for s <- [:sigwinch, :sigcont], do: Linx.Native.tty_signal_disposition(s) end
    before = signals.()
    {:ok, s} = Linx.Process.spawn(argv: ["/bin/sh", "-c", "echo up; read go"], stdio: :pty, \
    auto_proceed: true)
    r = Linx.Tty.attach(:controlling, s)
    IO.inspect({:left, r, before == signals.(), before})
    """

    t =
      start([
        System.find_executable("elixir"),
        "-pa",
        Application.app_dir(:linx, "ebin"),
        "-e",
        code
      ])

    expect("up")
    poll(fn -> "-icanon" in settings(t) end)
    type(t, "\r")
    expect("{:left, {:ok, {:exited, 0}}, true, [:ignore, :default]}")
  end

  test "the VM stopped and continued by a shell: the terminal is raw again" do
    t = iex()
    spawned(t)
    attach(t, :controlling)
    expect("sh-> ")
    raw = settings(t)
    {:ok, pid} = Linx.Process.host_pid(t)
    {_, 0} = System.cmd("kill", ["-STOP", "#{pid}"])
    # A shell does this before it continues a job.
    {_, 0} = System.cmd("stty", ["-F", "/proc/#{pid}/fd/0", "sane"])
    {_, 0} = System.cmd("kill", ["-CONT", "#{pid}"])
    poll(fn -> settings(t) == raw end)
    type(t, "echo a''live\r")
    expect("alive\r\n")
    type(t, "exit\r")
    expect("{:ok, {:exited, 0}}")
    assert run(t, "1 + 4x\b2") == "43"
  end

  test "a terminal that takes no output stops neither the kill nor iex", %{tmp_dir: dir} do
    fifo = Path.join(dir, "fifo")
    {_, 0} = System.cmd("mkfifo", [fifo, fifo <> ".kill"])
    t = iex()

    type(
      t,
      "{pid, m} = spawn_monitor(fn -> {:ok, s} = Linx.Process.spawn(argv: [\"/bin/sh\", " <>
        "\"-c\", " <>
        "\"echo go > '#{fifo}'; exec yes\"], stdio: :pty, auto_proceed: true); " <>
        "Linx.Tty.attach(:controlling, s) end); " <>
        "spawn(fn -> :file.read_file(\"#{fifo}.kill\", [:raw]); Process.exit(pid, :kill) " <>
        "end); " <>
        "receive(do: ({:DOWN, ^m, _, _, reason} -> reason))\r"
    )

    {"go\n", 0} = System.cmd("timeout", ["200", "cat", fifo])

    # This process takes no message now: the outer session's credit runs out, and the terminal is
    # full.
    {:ok, pid} = Linx.Process.host_pid(t)
    poll(fn -> stuck?(pid) end)
    {_, 0} = System.cmd("timeout", ["200", "sh", "-c", "echo now > '#{fifo}.kill'"])
    expect(":killed\r\n", 300_000)
    assert run(t, "1 + 4x\b2") == "43"
  end

  # Whether a thread of the VM waits for the terminal to take output.
  defp stuck?(pid) do
    for thread <- File.ls!("/proc/#{pid}/task"),
        {:ok, call} <- [File.read("/proc/#{pid}/task/#{thread}/syscall")],
        {:ok, name} <- [File.read("/proc/#{pid}/task/#{thread}/comm")],
        name =~ "dirty_io" or name =~ "erts_dios",
        String.starts_with?(call, "7 ") or String.starts_with?(call, "271 "),
        reduce: false,
        do: (_ -> true)
  end

  # ctrl-g is the shell's menu otherwise, and ctrl-c takes what came with it along.
  for mode <- [:controlling, :group_leader] do
    @mode mode
    test "#{mode}: every byte passes" do
      t = iex()
      spawned(t)
      pid = run(t, "elem(Linx.Process.host_pid(s), 1)")
      attach(t, @mode, "[detach_key: nil]")
      expect("sh-> ")
      type(t, "printf '\\377\\376\\200x\\303en''d'\r")
      expect(<<255, 254, 128, "x", 0xC3, "end">>)

      type(
        t,
        "stty raw -echo; head -c 256 | od -An -v -tu1 | tr -d '\\n '; stty sane; echo en''d\r"
      )

      poll(fn -> "-icanon" in workload_settings(pid) end)
      type(t, for(n <- 0..255, into: "", do: <<n>>))
      expect("252253254255")
      expect("end")
      type(t, "exit\r")
      expect("{:ok, {:exited, 0}}")
    end
  end

  defp workload_settings(pid) do
    {text, 0} = System.cmd("stty", ["-a", "-F", "/proc/#{pid}/fd/0"])
    String.split(text)
  end

  test "what was typed before the end and not read is iex's" do
    t = iex()
    spawned(t, ~s(["/bin/sh", "-c", "read line; exit 5"]))
    attach(t, :group_leader)
    poll(fn -> "-isig" in settings(t) end)

    # The workload is gone when the second line comes; each of its keys must arrive at iex, and
    # once.
    type(t, "x\r")
    expect("{:ok, {:exited, 5}}")
    type(t, "IO.puts([60, \"o\", \"k>\"])\rIO.puts([60, \"o\", \"k2>\"])\r")
    expect("<ok>")
    expect("<ok2>")
  end

  describe "a program without a shell:" do
    for mode <- [:controlling, :group_leader] do
      @mode mode

      test "#{mode} attaches again after keys have been typed" do
        env = ~S|["PS1=sh" <> "-> ", "PATH=/usr/bin:/bin"]|

        code = """
        {:ok, s} = Linx.Process.spawn(argv: ["/bin/sh"], stdio: :pty, env: #{env}, auto_proceed: \
        true)
        IO.puts("up")
        for _ <- 1..3, do: IO.inspect({:left, Linx.Tty.attach(#{inspect(@mode)}, s)})
        """

        elixir = System.find_executable("elixir")
        t = start([elixir, "-pa", Application.app_dir(:linx, "ebin"), "-e", code])

        # Before that descriptor 0 is the script's that starts the VM, which has other files there
        # for moments.
        expect("up")

        for n <- 1..3 do
          # Keys that come while the attach has the terminal, and no other.
          poll(fn -> "-icanon" in settings(t) end)
          type(t, "echo a''t #{n}\r")
          expect("at #{n}\r\n")
          type(t, if(n < 3, do: <<16, 17>>, else: "exit 4\r"))
          expect(if n < 3, do: "{:left, {:ok, :detached}}", else: "{:left, {:ok, {:exited, 4}}}")
        end
      end
    end
  end
end
