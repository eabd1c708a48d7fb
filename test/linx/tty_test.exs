defmodule Linx.TtyTest do
  use ExUnit.Case, async: true

  @moduletag :clone3

  import Linx.Test.Terminal, only: [poll: 1]

  alias Linx.Process, as: Session
  alias Linx.Tty
  alias Linx.Tty.{Otp, SigwinchHandler}

  doctest Linx.Tty
  doctest Linx.Tty.Error
  doctest Linx.Tty.WindowSize

  defp workload(argv, opts \\ []) do
    {:ok, session} = Session.spawn([argv: argv] ++ Keyword.merge([stdio: :pty], opts))
    :ok = Session.proceed(session)
    session
  end

  # A group leader that is not OTP's: gives `typed`, then waits as a person who types no more, or
  # ends.
  defp at_keyboard(typed, fun, ending \\ :silent) do
    leader = spawn_link(fn -> leader(String.graphemes(typed), "", ending) end)
    Process.group_leader(self(), leader)
    result = fun.()
    send(leader, {:shown, self()})
    assert_receive {:shown, shown}
    {result, shown}
  end

  defp leader(typed, shown, ending) do
    receive do
      {:io_request, from, ref, {:get_chars, _, _, 1}} ->
        case typed do
          [char | rest] ->
            send(from, {:io_reply, ref, char})
            leader(rest, shown, ending)

          [] ->
            if ending == :eof, do: send(from, {:io_reply, ref, :eof})
            leader([], shown, ending)
        end

      {:io_request, from, ref, {:put_chars, :unicode, chars}} ->
        send(from, {:io_reply, ref, :ok})
        leader(typed, shown <> IO.chardata_to_string(chars), ending)

      {:io_request, from, ref, {:get_geometry, what}} ->
        send(from, {:io_reply, ref, %{rows: 44, columns: 155}[what]})
        leader(typed, shown, ending)

      {:io_request, from, ref, _} ->
        send(from, {:io_reply, ref, {:error, :enotsup}})
        leader(typed, shown, ending)

      {:shown, from} ->
        send(from, {:shown, shown})
    end
  end

  test "what is no running session is refused" do
    {gone, ref} = spawn_monitor(fn -> :ok end)
    assert_receive {:DOWN, ^ref, _, _, _}
    done = workload(["/bin/true"])
    {:ok, {:exited, 0}} = Session.wait(done)

    for target <- [:controlling, :group_leader], session <- [gone, done, self()] do
      assert Tty.attach(target, session) == {:error, :no_process}
    end
  end

  test "a session without a terminal is refused" do
    session = workload(["/bin/sleep", "300"], stdio: :devnull)
    assert Tty.attach(:group_leader, session) == {:error, :no_pty}
  end

  test "bad arguments raise before anything is touched" do
    assert_raise ArgumentError, ~r/:controlling or :group_leader/, fn ->
      Tty.attach(:tty, self())
    end

    assert_raise ArgumentError, ~r/session/, fn -> Tty.attach(:group_leader, 1) end

    assert_raise ArgumentError, ~r/detach/, fn ->
      Tty.attach(:group_leader, self(), detach: "x")
    end

    for bad <- [detach_key: 17, answers: :no, reset: 1] do
      assert_raise ArgumentError, ~r/#{elem(bad, 0)}/, fn ->
        Tty.attach(:group_leader, self(), [bad])
      end
    end
  end

  test "every condition has words, and anything else its own" do
    for reason <- [:no_local_tty, :no_process, :no_pty, :gl_eof, :hangup, :busy, :aborted] do
      refute Tty.format_error(reason) == inspect(reason)
    end

    assert Tty.format_error(%Linx.Tty.Error{operation: :open, errno: :enxio, code: 6}) =~ "enxio"
  end

  test "any group leader is a terminal: what it has is typed, what comes is shown" do
    session = workload(["/bin/sh", "-c", "read line; echo \"<$line>\"; stty size; exit 4"])
    {result, shown} = at_keyboard("hello\n", fn -> Tty.attach(:group_leader, session) end)
    assert result == {:ok, {:exited, 4}}
    assert shown =~ "<hello>\r\n44 155\r\n"
  end

  test "no more input ends the attach, and the workload lives" do
    session = workload(["/bin/cat"])

    assert {{:error, :gl_eof}, _} =
             at_keyboard("", fn -> Tty.attach(:group_leader, session) end, :eof)

    assert {:ok, %{result: nil}} = Session.info(session)
    assert Process.info(self(), :trap_exit) == {:trap_exit, false}
  end

  # Takes each event of a session and gives it to the test process.
  defp owner do
    test = self()
    spawn_link(fn -> pass(test) end)
  end

  defp pass(test) do
    receive(do: (event -> send(test, {:owner, event})))
    pass(test)
  end

  test "a session of another process: its output is shown, and its owner has it back at the " <>
         "end" do
    owner = owner()

    session =
      workload(["/bin/sh", "-c", "read line; echo \"<$line>\"; read more; exit 6"], owner: owner)

    {result, shown} =
      at_keyboard("hello\n" <> <<16, 17>>, fn -> Tty.attach(:group_leader, session) end)

    assert result == {:ok, :detached}
    assert :sys.get_state(session).owner == owner
    # The output after the detach key goes to the owner, and together with the output before it is
    # complete.
    {again, rest} = at_keyboard("\n", fn -> Tty.attach(:group_leader, session) end)
    assert again == {:ok, {:exited, 6}}
    assert_receive {:owner, {:linx_process, :exited, 6}}
    assert shown <> owned() <> rest =~ "<hello>\r\n"
    refute_received {:linx_process, _, _}
  end

  defp owned do
    receive do
      {:owner, {:linx_process, :pty_out, bytes}} -> bytes <> owned()
    after
      0 -> ""
    end
  end

  test "the attaching process killed: the session's events go to its owner again" do
    owner = owner()
    session = workload(["/bin/cat"], owner: owner)
    silent = spawn(fn -> Process.sleep(:infinity) end)

    attacher =
      spawn(fn ->
        Process.group_leader(self(), silent)
        Tty.attach(:group_leader, session)
      end)

    poll(fn -> :sys.get_state(session).loan.lent != nil end)
    Process.exit(attacher, :kill)
    poll(fn -> :sys.get_state(session).owner == owner end)
    Session.pty_write(session, "line\n")
    assert_receive {:owner, {:linx_process, :pty_out, _}}
  end

  describe "one owner of two sessions:" do
    # Each kind of event of another session that is in the mailbox before the attach, and one that
    # comes meanwhile.
    defp noisy(directory) do
      noise =
        workload(
          [
            "/bin/sh",
            "-c",
            "echo before; while [ ! -e go ]; do sleep 0.01; done; echo during"
          ],
          cwd: directory
        )

      piped = workload(["/bin/sh", "-c", "echo piped; exit 5"], stdio: [stdout: :pipe])
      {:ok, {:exited, 5}} = Session.wait(piped)
      assert_receive {:linx_process, :pty_out, "before\r\n"}
      send(self(), {:linx_process, :pty_out, "before\r\n"})
      noise
    end

    defp mailbox,
      do:
        self()
        |> Process.info(:messages)
        |> elem(1)
        |> Enum.filter(&(elem(&1, 0) == :linx_process))

    @tag :tmp_dir
    test "an attach shows its own, and the other's stays in the mailbox", %{tmp_dir: dir} do
      noise = noisy(dir)

      session =
        workload(
          [
            "/bin/sh",
            "-c",
            "stty -echo; echo mine; read line; : > go; read more; echo \"<$more>\""
          ],
          cwd: dir
        )

      assert Linx.Test.Poll.holds?(
               fn -> {:linx_process, :pty_out, "mine\r\n"} in mailbox() end,
               60_000
             )

      before = mailbox() -- [{:linx_process, :pty_out, "mine\r\n"}]

      leader = spawn_link(fn -> leader(["1", "\n"], "", :silent) end)
      Process.group_leader(self(), leader)
      test = self()

      spawn_link(fn ->
        # The other's output during the attach has come, and its end, before this one goes on.
        {:ok, {:exited, 0}} = Session.wait(noise)
        send(test, :over)
        Session.pty_write(session, "2\n")
      end)

      assert Tty.attach(:group_leader, session) == {:ok, {:exited, 0}}
      assert_receive :over
      send(leader, {:shown, self()})
      assert_receive {:shown, shown}
      assert shown =~ "mine\r\n"
      assert shown =~ "<2>\r\n"
      refute shown =~ "before"
      refute shown =~ "during"
      refute shown =~ "piped"

      left = mailbox()
      assert before -- left == []
      assert {:linx_process, :pty_out, "during\r\n"} in left
      assert {:linx_process, :exited, 5} in left
      assert {:linx_process, :stdout, "piped\n"} in left
      # The other's end, and not this one's.
      assert Enum.count(left, &(&1 == {:linx_process, :exited, 0})) == 1
    end

    test "a session that is long over is refused, and nobody's output is taken" do
      done = workload(["/bin/sh", "-c", "echo done"])
      {:ok, {:exited, 0}} = Session.wait(done)
      assert_receive {:linx_process, :exited, 0}
      send(self(), {:linx_process, :exited, 0})
      left = mailbox()
      assert Tty.attach(:group_leader, done) == {:error, :no_process}
      assert mailbox() == left
    end

    test "a second attach to a session that has one is refused" do
      session = workload(["/bin/cat"])
      silent = spawn(fn -> Process.sleep(:infinity) end)

      spawn_link(fn ->
        Process.group_leader(self(), silent)
        Tty.attach(:group_leader, session)
      end)

      poll(fn -> :sys.get_state(session).loan.lent != nil end)

      assert {{:error, :busy}, ""} =
               at_keyboard("x", fn -> Tty.attach(:group_leader, session) end)
    end
  end

  test "a workload that takes no input stops the reading of keys" do
    # In line mode the terminal itself would drop what nobody reads.
    session = workload(["/bin/sh", "-c", "stty raw -echo; echo raw; exec sleep 60"])
    assert_receive {:linx_process, :pty_out, "raw" <> _}
    # 64 MiB and no more are kept by the session.
    :ok = Session.pty_write(session, :binary.copy("x", 64 * 1024 * 1024))
    assert Session.pty_write(session, :binary.copy("x", 1024 * 1024)) == {:error, :busy}
    test = self()
    leader = spawn_link(fn -> endless(test, 0) end)
    room = 64 * 1024 * 1024 - :sys.get_state(session).input.waiting

    attacher =
      spawn_link(fn ->
        Process.group_leader(self(), leader)
        Tty.attach(:group_leader, session)
      end)

    # The group leader is asked for more until the store is full, then not at all: a loop that
    # goes on asking is never silent.
    assert_receive {:given, count}, 60_000

    # The session's room, the delivery that it refused, and what the reader of the keys keeps for
    # the next.
    assert count in 1..(room + 2 * 65_536)
    Process.unlink(attacher)
    Process.exit(attacher, :kill)
  end

  # A keyboard on which a key is always down; tells how often it was asked when it is asked no
  # more, whatever else is.
  defp endless(test, count, until \\ nil) do
    until = until || System.monotonic_time(:millisecond) + 2_000

    receive do
      {:io_request, from, ref, {:get_chars, _, _, 1}} ->
        send(from, {:io_reply, ref, "x"})
        endless(test, count + 1)

      {:io_request, from, ref, put} when elem(put, 0) == :put_chars ->
        send(from, {:io_reply, ref, :ok})
        endless(test, count, until)

      {:io_request, from, ref, _} ->
        send(from, {:io_reply, ref, {:error, :enotsup}})
        endless(test, count, until)
    after
      max(until - System.monotonic_time(:millisecond), 0) ->
        send(test, {:given, count})
        endless(test, count)
    end
  end

  test "one slow terminal does not hold up another" do
    silent = spawn(fn -> Process.sleep(:infinity) end)
    sessions = for _ <- 1..6, do: workload(["/bin/cat"])

    attachers =
      for session <- sessions do
        spawn(fn ->
          leader = spawn_link(fn -> Process.sleep(:infinity) end)
          Process.group_leader(self(), leader)
          Tty.attach(:group_leader, session)
        end)
      end

    poll(fn -> Process.whereis(Linx.Tty.Guard) != nil end)
    session = workload(["/bin/cat"])
    started = System.monotonic_time(:millisecond)

    assert {{:ok, :detached}, _} =
             at_keyboard(<<16, 17>>, fn -> Tty.attach(:group_leader, session) end)

    assert System.monotonic_time(:millisecond) - started < 2_500
    for pid <- [silent | attachers], do: Process.exit(pid, :kill)
  end

  test "a workload that cannot be run is its error" do
    {:ok, session} = Session.spawn(argv: ["/no/such/program"], stdio: :pty)
    # The group leader answers nothing, as a person who does not type.
    Process.group_leader(self(), spawn(fn -> Process.sleep(:infinity) end))
    task = self()

    spawn_link(fn ->
      send(task, :go)
      poll(fn -> :sys.get_state(session).loan.lent != nil end)
      Session.proceed(session)
    end)

    assert_receive :go

    assert {:error, %Session.Error{stage: :execve, errno: :enoent}} =
             Tty.attach(:group_leader, session)
  end

  test "exit signals that came meanwhile still count" do
    session = workload(["/bin/cat"])
    silent = spawn(fn -> Process.sleep(:infinity) end)

    {attacher, ref} =
      spawn_monitor(fn ->
        Process.group_leader(self(), silent)
        Session.set_owner(session, self())
        Tty.attach(:group_leader, session)
      end)

    poll(fn -> Process.info(attacher, :trap_exit) == {:trap_exit, true} end)
    Process.exit(attacher, :enough)
    assert_receive {:DOWN, ^ref, _, _, :enough}
    poll(fn -> Process.whereis(Linx.Tty.Guard) == nil end)
  end

  test "a session on another's terminal that is let go of takes another attach" do
    session = workload(["/bin/cat"])

    for _ <- 1..3 do
      assert {{:ok, :detached}, shown} =
               at_keyboard("abc\n" <> <<16, 17>>, fn -> Tty.attach(:group_leader, session) end)

      # How much of the echo came before the detach is up to the terminal; the next attach shows
      # the rest.
      assert shown =~ ~r/\A[abc\r\n]*\z/
    end
  end

  test "the signal handler tells its process of a resize and of a continuation, and of " <>
         "nothing else" do
    {:ok, pid} = SigwinchHandler.init(self())
    assert {:ok, ^pid} = SigwinchHandler.handle_event(:sigwinch, pid)
    assert_received {:linx_tty, :sigwinch}
    assert {:ok, ^pid} = SigwinchHandler.handle_event(:sigusr2, pid)
    refute_received {:linx_tty, _}
    assert {:ok, :ok, ^pid} = SigwinchHandler.handle_call(:anything, pid)
  end

  describe "OTP of an unknown shape is left alone" do
    defmodule Driver do
      use GenServer
      def init(state), do: {:ok, state}
    end

    test "a driver whose state is something else" do
      tty = {:state, :tty, :reader, :writer, %{input: :raw, output: :cooked}, :more}

      for state <- [
            :anything,
            {:server, :data},
            {:server, {:state, :no_tty}},
            {:server, {:state, put_elem(tty, 4, :options)}},
            {:server, {:state, put_elem(tty, 0, :tty)}},
            {:state, :cm, :another_cli, {:state, tty}, 0, false}
          ] do
        {:ok, driver} = GenServer.start_link(Driver, state)
        assert Otp.output(driver, :raw) == :none
        assert :sys.get_state(driver) == state
      end

      assert Otp.output(nil, :raw) == :none
      assert Otp.output(spawn(fn -> :ok end), :raw) == :none
    end

    test "the known shapes change in that one option" do
      tty = {:state, :tty, :reader, :writer, %{input: :raw, output: :cooked, ofd: :stdout}, :more}
      raw = put_elem(tty, 4, %{input: :raw, output: :raw, ofd: :stdout})

      for {state, changed} <- [
            {{:server, {:state, tty, :w}}, {:server, {:state, raw, :w}}},
            {{:switch_loop, {:cont, {:state, tty}}}, {:switch_loop, {:cont, {:state, raw}}}},
            {{:state, :cm, :ssh_cli, {:state, 1, 2, tty}, 0, false},
             {:state, :cm, :ssh_cli, {:state, 1, 2, raw}, 0, false}}
          ] do
        {:ok, driver} = GenServer.start_link(Driver, state)
        assert Otp.output(driver, :raw) == {:ok, :cooked}
        assert :sys.get_state(driver) == changed
        assert Otp.output(driver, :cooked) == {:ok, :raw}
        assert :sys.get_state(driver) == state
      end
    end

    # OTP's group leader with a driver of the shape of ssh_cli, and a reader whose request waits
    # in it.
    defp ssh(encoding, deduced, group \\ nil) do
      {:ok, driver} = GenServer.start(Driver, :starting)
      leader = :group.start(driver, :noshell, echo: false)
      on_exit(fn -> for pid <- [leader, driver], do: Process.exit(pid, :kill) end)
      tty = {:state, :tty, :reader, :writer, %{input: :raw, output: :cooked}, :more}
      data = {:state, :cm, 0, :pty, encoding, deduced, group || leader, :shell, :exec, tty}
      :sys.replace_state(driver, fn _ -> {:state, :cm, :ssh_cli, data, 0, false} end)
      {driver, leader}
    end

    defp encodings(driver) do
      {:state, _, :ssh_cli, data, _, _} = :sys.get_state(driver)
      {elem(data, 4), elem(data, 5)}
    end

    test "an ssh session's driver takes bytes where it took UTF-8, and UTF-8 again" do
      for deduced <- [:undefined, :utf8] do
        {driver, leader} = ssh(:utf8, deduced)
        Linx.Tty.Group.request(leader)
        assert Otp.bytes(driver, leader, self()) == {:ok, {:utf8, deduced}}
        assert_received {:bytes, true}
        assert encodings(driver) == {:latin1, :latin1}
        me = self()
        also = fn -> send(me, {:meanwhile, self()}) end
        assert Otp.characters(driver, leader, self(), {:utf8, deduced}, also) == :ok
        # While the driver stands still.
        assert_received {:meanwhile, ^driver}
        assert encodings(driver) == {:utf8, deduced}
      end
    end

    test "no byte begins while a character may be on its way" do
      {driver, leader} = ssh(:utf8, :utf8)
      assert Otp.bytes(driver, leader, self()) == :none
      refute_received {:bytes, true}
      assert encodings(driver) == {:utf8, :utf8}
    end

    test "another's ssh session, and a terminal of Latin-1, stay as they are" do
      for {encoding, deduced, group} <- [
            {:utf8, :utf8, :another},
            {:latin1, :undefined, nil},
            {:utf8, :latin1, nil},
            {:utf16, :utf8, nil}
          ] do
        {driver, leader} = ssh(encoding, deduced, group)
        Linx.Tty.Group.request(leader)
        assert Otp.bytes(driver, leader, self()) == :none
        assert encodings(driver) == {encoding, deduced}
      end

      assert Otp.bytes(nil, self(), self()) == :none
    end

    test "a group leader that is not OTP's has no driver" do
      {:ok, leader} = StringIO.open("")
      assert Otp.driver(leader) == nil
      refute Otp.elsewhere?(leader)
    end
  end
end
