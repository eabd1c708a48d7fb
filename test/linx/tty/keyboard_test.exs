defmodule Linx.Tty.KeyboardTest do
  # The reader of a group leader, at OTP's own `group` with a driver of ours.
  use ExUnit.Case, async: true

  alias Linx.Tty.Keyboard

  # What user_drv and ssh_cli do for a group leader, as far as a shell that reads lines asks for it.
  defp driver(group) do
    receive do
      {:type, text} ->
        send(group, {self(), {:data, text}})
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
    :ok = Keyboard.stop(keyboard, 60_000)
    assert line(driver, ask_for_line(group)) == "1 + 41\n"
  end

  test "a line that was asked for before the end has nothing of ours in it",
       %{group: group, driver: driver} = context do
    keyboard = attached(context)
    ref = ask_for_line(group)
    settle(group)
    :ok = Keyboard.stop(keyboard, 60_000)
    assert line(driver, ref) == "1 + 41\n"
  end

  test "nor has it when it took the switch back to characters",
       %{group: group, driver: driver} = context do
    keyboard = attached(context)
    send(driver, {:type, [Keyboard.switch()]})
    # A byte shows that the switch has been read.
    send(driver, {:type, <<0xE9::utf8>>})
    Keyboard.want(keyboard)
    assert_receive {:linx_tty, 1, {:data, <<0xE9>>}}
    ref = ask_for_line(group)
    settle(group)
    send(driver, {:type, [Keyboard.switch()]})
    :ok = Keyboard.stop(keyboard, 60_000)
    assert line(driver, ref) == "1 + 41\n"
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

      # Before the end begins: a key in the microseconds between the marks and their erasing is erased in their place.
      if rem(round, 2) == 0, do: send(driver, {:type, "7"})
      send(driver, {:typed?, self()})
      assert_receive :typed
      :ok = Keyboard.stop(keyboard, 60_000)
      assert_receive {:asked, ^asker}
      settle(group)
      send(driver, {:type, "\r"})
      assert_receive {:line, ^asker, line}
      assert line == if(rem(round, 2) == 0, do: "7\n", else: "\n")
    end
  end
end
