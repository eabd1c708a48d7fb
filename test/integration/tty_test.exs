defmodule Linx.Integration.TtyTest do
  # The calls on descriptors, in a VM that has a controlling terminal of its own: an iex on a
  # terminal of ours.
  use ExUnit.Case, async: true

  import Linx.Test.Terminal

  alias Linx.Tty
  alias Linx.Tty.{Error, Saved, WindowSize}

  @moduletag :tty

  test "a VM without a controlling terminal is told so" do
    code = "IO.inspect(Linx.Tty.open_controlling_raw())"
    ebin = Application.app_dir(:linx, "ebin")
    elixir = System.find_executable("elixir")
    {output, 0} = System.cmd("setsid", ["-w", elixir, "-pa", ebin, "-e", code])
    assert output =~ "%Linx.Tty.Error{operation: :open, errno: :enxio, code: 6}"
  end

  test "the size of what is no terminal is an error" do
    {:ok, file} = :file.open("/dev/null", [:read, :raw])
    assert {:error, %Error{operation: :ioctl, errno: :ebadf}} = Tty.window_size(9_999)
    :file.close(file)

    assert_raise ArgumentError, ":rows is 0 to 65535, got: 65536", fn ->
      Tty.set_window_size(9_999, %WindowSize{rows: 65_536, cols: 1})
    end

    assert_raise FunctionClauseError, fn -> Tty.window_size(-1) end

    # More than a descriptor can be: none that is open.
    for fd <- [0x80000000, 0x100000000] do
      assert {:error, %Error{operation: :ioctl, errno: :ebadf}} = Tty.window_size(fd)

      assert {:error, %Error{operation: :ioctl, errno: :ebadf}} =
               Tty.set_window_size(fd, %WindowSize{rows: 1, cols: 1})

      assert :ok = Tty.restore_and_close(fd, %Saved{termios: ""})
    end
  end

  test "saved settings of another size are refused, whatever they hold" do
    for n <- [0, 1, 43, 44, 60, 200] do
      saved = %Saved{termios: :crypto.strong_rand_bytes(n)}
      assert_raise ArgumentError, fn -> Tty.restore_and_close(0, saved) end
      # Closed already: nothing is put back.
      assert :ok = Tty.restore_and_close(9_999, saved)
    end
  end

  test "raw and back: the settings are what they were, the size is read and set" do
    t = iex(rows: 31, cols: 97)
    before = settings(t)

    assert run(
             t,
             "{:ok, fd, saved} = Linx.Tty.open_controlling_raw(); " <>
               "Linx.Tty.window_size(fd)"
           ) =~
             "{:ok, %Linx.Tty.WindowSize<97x31>}"

    assert settings(t) != before

    size = "%Linx.Tty.WindowSize{rows: 40, cols: 100}"

    assert run(t, "{Linx.Tty.set_window_size(fd, #{size}), Linx.Tty.window_size(fd)}") =~
             "{:ok, {:ok, %Linx.Tty.WindowSize<100x40>}}"

    assert run(t, "Linx.Tty.restore_and_close(fd, saved)") =~ ":ok"
    assert settings(t) == before
    # Again, and with the number in use by another file: neither closes it.
    assert run(t, "Linx.Tty.restore_and_close(fd, saved)") =~ ":ok"

    assert run(
             t,
             "port = Port.open({:spawn, ~c\"cat\"}, []); File.exists?(\"/proc/self/fd/\#{fd}\")"
           ) =~ "true"

    assert run(
             t,
             "Linx.Tty.restore_and_close(fd, saved); " <>
               "File.exists?(\"/proc/self/fd/\#{fd}\")"
           ) =~
             "true"
  end
end
