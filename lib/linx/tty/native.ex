defmodule Linx.Tty.Native do
  @moduledoc """
  The system calls of `Linx.Tty` as the native library makes them: descriptor numbers and bytes
  in, numbers and bytes out, and `{:error, {step, errno}}` when the kernel refuses. `Linx.Tty`
  puts structs around them; use that.

  A machine without the library (a build host, say) raises `{:nif_not_loaded, reason}` on the
  first call.
  """

  alias Linx.{Errno, Native}

  @typedoc """
  The step that failed, and the errno: an atom, or the number when no table has a name for it.
  """
  @type error :: {:error, {atom(), atom() | integer()}}

  # A descriptor is an int; nothing is open under a larger number.
  @max_fd 0x7FFFFFFF

  @type window_size ::
          {non_neg_integer(), non_neg_integer(), non_neg_integer(), non_neg_integer()}

  @doc """
  The library's name for this part of it, `"linx_tty"`: proof that it is loaded.
  """
  @spec version() :: binary()
  def version, do: Native.tty_version()

  @doc """
  Opens `/dev/tty` and makes it raw. Gives the descriptor and the settings to put back.

  Source: tty(4); termios(3), "Raw mode".
  """
  @spec open_controlling_raw() :: {:ok, non_neg_integer(), binary()} | error()
  def open_controlling_raw do
    case Native.tty_open_raw() do
      {:ok, {fd, saved}} -> {:ok, fd, saved}
      error -> named(error)
    end
  end

  @doc """
  Puts `saved` back on `fd` and closes it. A descriptor that is not open, or names another file by
  now, is left alone.

  Raises `ArgumentError` for an open descriptor and a `saved` that is not what
  `open_controlling_raw/0` gave.
  """
  @spec restore_and_close(non_neg_integer(), binary()) :: :ok | error()
  def restore_and_close(fd, saved) when fd <= @max_fd, do: named(Native.tty_restore(fd, saved))
  def restore_and_close(fd, saved) when is_integer(fd) and is_binary(saved), do: :ok

  @doc """
  Sets the window size of `fd`, `{rows, cols, xpixel, ypixel}`, each at most 65535.

  Source: TIOCSWINSZ(2const).
  """
  @spec set_window_size(non_neg_integer(), window_size()) :: :ok | error()
  def set_window_size(fd, size) when fd <= @max_fd,
    do: named(Native.tty_set_window_size(fd, size))

  def set_window_size(fd, _size) when is_integer(fd), do: {:error, {:ioctl, :ebadf}}

  @doc """
  Reads the window size of `fd` as `{rows, cols, xpixel, ypixel}`.

  Source: TIOCGWINSZ(2const).
  """
  @spec window_size(non_neg_integer()) :: {:ok, window_size()} | error()
  def window_size(fd) when fd <= @max_fd, do: named(Native.tty_window_size(fd))
  def window_size(fd) when is_integer(fd), do: {:error, {:ioctl, :ebadf}}

  @doc false
  @spec signal_disposition(:sigwinch | :sigcont) :: :default | :ignore | :handle
  def signal_disposition(signal), do: Native.tty_signal_disposition(signal)

  # A terminal taken over: a resource that reads on a thread of its own and restores the terminal
  # when it is collected.

  @doc false
  def terminal_open(standard), do: named(Native.terminal_open(standard))

  @doc false
  def terminal_start(terminal, pid, id), do: named(Native.terminal_start(terminal, pid, id))

  @doc false
  defdelegate terminal_want(terminal), to: Native

  @doc false
  def terminal_write(terminal, bytes), do: named(Native.terminal_write(terminal, bytes))

  @doc false
  def terminal_window_size(terminal), do: named(Native.terminal_window_size(terminal))

  @doc false
  def terminal_reapply(terminal), do: named(Native.terminal_reapply(terminal))

  @doc false
  def terminal_close(terminal), do: named(Native.terminal_close(terminal))

  defp named({:error, {step, code}}), do: {:error, {step, Errno.name_or_code(code)}}
  defp named(ok), do: ok
end
