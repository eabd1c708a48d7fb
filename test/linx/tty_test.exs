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

  # A group leader that is not OTP's: gives `typed`, then waits as a person who types no more, or ends.
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
    session = workload(["/bin/cat"], stdio: :devnull)
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

    assert_raise ArgumentError, ~r/:detach_key/, fn ->
      Tty.attach(:group_leader, self(), detach_key: 17)
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

  test "a process that does not own the session sees its end" do
    session =
      workload(["/bin/sh", "-c", "read line; exit 6"],
        owner: spawn(fn -> Process.sleep(:infinity) end)
      )

    assert {{:ok, {:exited, 6}}, ""} =
             at_keyboard("\n", fn -> Tty.attach(:group_leader, session, []) end)
  end

  test "a workload that cannot be run is its error" do
    {:ok, session} = Session.spawn(argv: ["/no/such/program"], stdio: :pty)
    # The group leader answers nothing, as a person who does not type.
    Process.group_leader(self(), spawn(fn -> Process.sleep(:infinity) end))
    task = self()

    spawn_link(fn ->
      send(task, :go)
      poll(fn -> Process.whereis(Linx.Tty.Guard) != nil end)
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

      # How much of the echo came before the detach is up to the terminal; the next attach shows the rest.
      assert shown =~ ~r/\A[abc\r\n]*\z/
    end
  end

  test "the signal handler tells its process of a resize and of a continuation, and of nothing else" do
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

    test "an ssh session's driver takes bytes where it took UTF-8, and UTF-8 again" do
      tty = {:state, :tty, :reader, :writer, %{input: :raw, output: :cooked}, :more}
      leader = self()

      state = fn encoding, deduced, group ->
        data = {:state, :cm, 0, :pty, encoding, deduced, group, :shell, :exec, tty}
        {:state, :cm, :ssh_cli, data, 0, false}
      end

      for deduced <- [:undefined, :utf8] do
        {:ok, driver} = GenServer.start_link(Driver, state.(:utf8, deduced, leader))
        assert Otp.bytes(driver, leader, ?m) == {:ok, {:utf8, deduced}}
        assert_received {^driver, {:data, [?m]}}
        assert :sys.get_state(driver) == state.(:latin1, :latin1, leader)
        assert Otp.characters(driver, leader, {:utf8, deduced}, ?n) == :ok
        assert_received {^driver, {:data, [?n]}}
        assert :sys.get_state(driver) == state.(:utf8, deduced, leader)
      end

      # Another's session, a terminal of Latin-1, and what is no such driver.
      for other <- [
            state.(:utf8, :utf8, :another),
            state.(:latin1, :undefined, leader),
            state.(:utf8, :latin1, leader),
            state.(:utf16, :utf8, leader),
            {:server, {:state, tty}}
          ] do
        {:ok, driver} = GenServer.start_link(Driver, other)
        assert Otp.bytes(driver, leader, ?m) == :none
        assert Otp.characters(driver, :nobody, {:utf8, :utf8}, ?n) == :ok
        assert :sys.get_state(driver) == other
      end

      assert Otp.bytes(nil, leader, ?m) == :none
    end

    test "a group leader that is not OTP's has no driver" do
      {:ok, leader} = StringIO.open("")
      assert Otp.driver(leader) == nil
      refute Otp.elsewhere?(leader)
    end
  end
end
