defmodule Linx.Tty.KeyboardTest do
  # The reader of a group leader, at OTP's own `group` with a driver of ours.
  use ExUnit.Case, async: true

  alias Linx.Tty.Keyboard

  # The part of user_drv and ssh_cli that a shell which reads lines asks a group leader for.
  defp driver(group) do
    receive do
      {:type, text} ->
        send(group, {self(), {:data, text}})
        driver(group)

      {:interrupt, group} ->
        Process.exit(group, :interrupt)
        driver(group)

      {:typed?, from} ->
        send(from, :typed)
        driver(group)

      {^group, :tty_geometry} ->
        send(group, {self(), :tty_geometry, {80, 24}})
        driver(group)

      {^group, {:put_chars_sync, _encoding, _chars, from}} ->
        send(group, {:reply, from, :ok})
        driver(group)

      {^group, _request} ->
        driver(group)

      {:EXIT, ^group, _reason} ->
        :ok
    end
  end

  setup do
    test = self()

    driver =
      spawn_link(fn ->
        Process.flag(:trap_exit, true)
        shell = fn -> spawn_link(fn -> Process.sleep(:infinity) end) end
        # An attach turns echo off first.
        group = :group.start(self(), shell, echo: false)
        send(test, {:group, group})
        driver(group)
      end)

    assert_receive {:group, group}
    {:ok, group: group, driver: driver}
  end

  defp attached(%{group: group, driver: driver}) do
    keyboard = Keyboard.start(group, driver, self(), 1)
    Keyboard.want(keyboard)
    send(driver, {:type, "x"})
    assert_receive {:linx_tty, 1, {:data, "x"}}
    keyboard
  end

  # As Linx.Tty.Hold ends an attach.
  defp stop(keyboard) do
    held = Keyboard.held(keyboard)
    Keyboard.halt(keyboard)
    :ok = Keyboard.give_back(keyboard, held, :alive, "")
  end

  defp ask_for_line(group) do
    ref = make_ref()
    send(group, {:io_request, self(), ref, {:get_line, :unicode, "> "}})
    ref
  end

  # Behind everything that was sent to it before.
  defp settle(group) do
    send(group, {:driver_id, self()})
    assert_receive {^group, :driver_id, _driver}
  end

  defp line(driver, ref) do
    send(driver, {:type, "1 + 41\r"})
    assert_receive {:io_reply, ^ref, line}
    IO.chardata_to_string(line)
  end

  test "what is typed after the end is the shell's", %{group: group, driver: driver} = context do
    keyboard = attached(context)
    stop(keyboard)
    assert line(driver, ask_for_line(group)) == "1 + 41\n"
  end

  test "a line that was asked for before the end has nothing of ours in it",
       %{group: group, driver: driver} = context do
    keyboard = attached(context)
    ref = ask_for_line(group)
    settle(group)
    stop(keyboard)
    # Behind the shell's request there is none.
    {_, state} = :sys.get_state(group)
    assert :queue.is_empty(elem(state, 12))
    assert line(driver, ref) == "1 + 41\n"
  end

  # The state of the group leader: input that is typed and not read stays in its mailbox, or with
  # it, until there is a reader.
  defp state(group) do
    {name, state} = :sys.get_state(group)
    {name, elem(state, 3), elem(state, 6), elem(state, 12), elem(state, 14)}
  end

  test "after the end the group leader is as it was", %{group: group} = context do
    before = state(group)
    keyboard = attached(context)
    refute state(group) == before
    stop(keyboard)
    assert state(group) == before
  end

  test "what was typed and not delivered is the shell's, before what is typed next",
       %{group: group, driver: driver} = context do
    keyboard = attached(context)
    for key <- ["a", "b\u0107", "c"], do: send(driver, {:type, key})
    send(driver, {:typed?, self()})
    assert_receive :typed
    stop(keyboard)
    assert line(driver, ask_for_line(group)) == "ab\u0107c1 + 41\n"
  end

  test "and behind a line that was asked for before the end as well",
       %{group: group, driver: driver} = context do
    keyboard = attached(context)
    send(driver, {:type, "a"})
    settle(group)
    ref = ask_for_line(group)
    settle(group)
    stop(keyboard)
    assert line(driver, ref) == "a1 + 41\n"
  end

  test "the reader killed, and nobody to put anything back: the next reader has every key",
       %{group: group, driver: driver} = context do
    keyboard = attached(context)
    ref = Process.monitor(keyboard)
    Process.exit(keyboard, :kill)
    assert_receive {:DOWN, ^ref, _, _, _}
    ask = ask_for_line(group)
    assert line(driver, ask) == "1 + 41\n"
    # Also when the line is asked for after the first key.
    send(driver, {:type, "4"})
    send(driver, {:typed?, self()})
    assert_receive :typed
    settle(group)
    ask = ask_for_line(group)
    send(driver, {:type, "2\r"})
    assert_receive {:io_reply, ^ask, line}
    assert IO.chardata_to_string(line) == "42\n"
  end

  test "ctrl-c as often as anybody likes is the attach's",
       %{group: group, driver: driver} = context do
    shell = :sys.get_state(group) |> elem(1) |> elem(6)
    ref = Process.monitor(shell)
    keyboard = attached(context)
    :erlang.suspend_process(keyboard)
    # As ssh_cli and user_drv do it. The reader makes no new request meanwhile.
    for _ <- 1..1_000, do: send(driver, {:interrupt, group})
    send(driver, {:typed?, self()})
    assert_receive :typed
    settle(group)
    :erlang.resume_process(keyboard)
    for _ <- 1..1_000, do: assert_receive({:linx_tty, 1, :interrupt})
    refute_received {:DOWN, ^ref, _, _, _}
    stop(keyboard)
    # And again the shell's.
    send(driver, {:interrupt, group})
    assert_receive {:DOWN, ^ref, _, _, :interrupt}
  end

  test "the shell's end during an attach is its group leader's end", %{group: group} = context do
    shell = :sys.get_state(group) |> elem(1) |> elem(6)
    keyboard = attached(context)
    ref = Process.monitor(group)
    Process.exit(shell, :kill)
    settle(group)
    held = Keyboard.held(keyboard)
    Keyboard.halt(keyboard)
    Keyboard.give_back(keyboard, held, {:died, :killed}, "")
    assert_receive {:DOWN, ^ref, _, _, _}
  end

  test "every code point arrives as its UTF-8, and none as a control character",
       %{group: group, driver: driver} = context do
    keyboard = attached(context)
    points = Enum.concat([4..0xD7FF, 0xE000..0x10FFFF])

    for chunk <- Enum.chunk_every(points, 20_000) do
      text = List.to_string(chunk)
      send(driver, {:type, text})
      assert read(keyboard, byte_size(text), "") == text
    end

    # In any order: what once switched the reader to bytes is a character like others.
    for _ <- 1..200 do
      text = for(_ <- 1..20, do: Enum.random(points)) |> List.insert_at(3, 0x10FFFF)
      text = List.to_string(text)
      send(driver, {:type, text})
      assert read(keyboard, byte_size(text), "") == text
    end

    stop(keyboard)
    assert line(driver, ask_for_line(group)) == "1 + 41\n"
  end

  test "where the driver passes bytes, what is no byte is not cut to one",
       %{driver: driver} = context do
    keyboard = attached(context)
    send(keyboard, {:bytes, true})
    send(driver, {:type, <<0xE9::utf8, 0x172::utf8, 0x10D::utf8, 0x103::utf8>>})
    text = <<0xE9, 0x172::utf8, 0x10D::utf8, 0x103::utf8>>
    assert read(keyboard, byte_size(text), "") == text
  end

  defp read(_keyboard, 0, read), do: read

  defp read(keyboard, left, read) do
    Keyboard.want(keyboard)
    assert_receive {:linx_tty, 1, {:data, bytes}}
    read(keyboard, left - byte_size(bytes), read <> bytes)
  end

  test "nor has it at whatever moment it is asked for, and what was typed is in it",
       %{group: group, driver: driver} = context do
    for round <- 1..300 do
      keyboard = attached(context)
      test = self()

      asker =
        spawn_link(fn ->
          # Somewhere around the end.
          for _ <- 1..:rand.uniform(300), do: :erlang.yield()
          ref = ask_for_line(group)
          send(test, {:asked, self()})
          assert_receive {:io_reply, ^ref, line}
          send(test, {:line, self(), IO.chardata_to_string(line)})
        end)

      # Before the end begins: a key in the microseconds between the marks and their erasing is
      # erased in their place.
      if rem(round, 2) == 0, do: send(driver, {:type, "7"})
      send(driver, {:typed?, self()})
      assert_receive :typed
      stop(keyboard)
      assert_receive {:asked, ^asker}
      settle(group)
      send(driver, {:type, "\r"})
      assert_receive {:line, ^asker, line}
      assert line == if(rem(round, 2) == 0, do: "7\n", else: "\n")
    end
  end
end
