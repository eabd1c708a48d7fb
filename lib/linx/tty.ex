defmodule Linx.Tty do
  @moduledoc """
  Terminals: the window size, raw mode and back, and a workload's terminal on the user's.

  A terminal in the kernel is a line discipline with settings (`termios(3)`), a size, and a
  session of processes that it controls. `Linx.Process` gives a workload one of its own with
  `stdio: :pty`; `attach/3` connects that to the terminal in front of the person at the keyboard
  until the workload ends, as `docker attach` does:

      {:ok, session} = Linx.Process.spawn(argv: ["/bin/sh"], stdio: :pty)
      :ok = Linx.Process.proceed(session)
      Linx.Tty.attach(:controlling, session)

  This module draws nothing, knows no terminal types and edits no lines.

  ## Which terminal

  `/dev/tty` is the terminal that controls the VM, whatever its standard input is: that is what
  `open_controlling_raw/0` and `attach(:controlling, ...)` use. It need not be the one that the
  caller types into. Over ssh and with `--remsh` the shell's group leader is an Erlang process
  that speaks to a terminal somewhere else, and `/dev/tty` is the device's console:
  `attach(:controlling, ...)` refuses there (`:no_local_tty`), and `attach(:group_leader, ...)`
  goes through that process.

  A VM without a controlling terminal has none to open:
  `{:error, %Linx.Tty.Error{operation: :open, errno: :enxio}}`.

  ## Putting it back

  A terminal left raw is useless to its user. `open_controlling_raw/0` gives what
  `restore_and_close/2` needs. For an attach one process of its own holds all that was changed
  (settings, iex's reader, echo, output mode, signal handlers) and puts it back however the attach
  ends, also when the attaching process is killed. With `--remsh` a process on the terminal's node
  does so when this node goes away.

  The modes that a workload sets in the terminal itself by escape sequences (the alternate screen,
  reports of the mouse and of pastes, a hidden cursor) are the workload's to end. One that dies
  amid them leaves them on: see `reset: true`.
  """

  alias Linx.Process, as: Session
  alias Linx.Tty.{AttachLoop, Error, Native, Otp, Saved, WindowSize}

  @typedoc "An open descriptor of a terminal, as the kernel numbers it."
  @type fd :: non_neg_integer()

  @typedoc "A `Linx.Process` session that was started with `stdio: :pty`."
  @type session :: pid()

  # Ctrl-P Ctrl-Q.
  @detach_key <<16, 17>>

  @doc """
  Connects `session`'s terminal to the caller's until the workload ends or the detach key is
  typed.

  `target` says how the caller's terminal is reached:

    * `:controlling` - `/dev/tty`, byte for byte. iex's own reader is stopped meanwhile; resizes
      come by SIGWINCH.
    * `:group_leader` - whatever terminal the caller's group leader has, by the Erlang I/O
      protocol: over ssh, with `--remsh`, any other. Text passes as UTF-8 (a byte of output that
      is part of no character is shown as U+FFFD); the size is asked for four times a second.
      Where the group leader turns out to be the shell on the VM's own terminal, this is the same
      as `:controlling`.

  The workload's terminal gets the size of the caller's at once and follows it. Ctrl-c, ctrl-z and
  the like are the workload's.

  The attach shows this session and no other. For its time it borrows the session from its owner,
  whoever that is: the output of the terminal comes to the attach, every other event goes to the
  owner, and so does the last one when the owner is another process than the caller. Of a session
  that the caller owns, output that is still in its mailbox is shown first; events of other
  sessions stay there. Output that comes after a detach is the owner's again.
  `Linx.Process.set_owner/2` during an attach ends the loan, and the attach shows nothing more.

  Over a group leader the caller traps exits meanwhile, and still exits on a signal that would
  have ended it.

  ## Options

    * `:detach_key` - the bytes that end the attach and leave the workload running,
      `#{inspect(@detach_key)}` (ctrl-p ctrl-q) unless given; `nil` or `""` for none. What has
      been typed of it is held back until the next key, or for a second.
    * `:answers` - what happens to what the terminal sends of its own accord when the attach ends:
      answers to queries of the workload, which would be typed at the shell. `:discard` (the
      default) asks the terminal for the cursor's place at the end, where the workload may have
      asked for something (an escape sequence, ENQ), and drops what comes before the answer; keys
      typed in that moment are dropped too. A terminal that does not answer is waited for one
      second. `:keep` gives everything to the shell.
    * `:reset` - `true` ends, with the attach, the modes that a full-screen program may leave on.
      `false` is the default.

  ## Result

    * `{:ok, {:exited, code}}`, `{:ok, {:signaled, number}}` - the workload's end
    * `{:ok, :detached}` - it still runs
    * `{:error, %Linx.Process.Error{}}` - it failed before it ran; `{:error, :aborted}` - it was
      not let run
    * `{:error, :no_process}` - the session has ended, or is no session
    * `{:error, :no_pty}` - it has no terminal
    * `{:error, :no_local_tty}` - `:controlling`, and the caller's shell is not on the VM's
      terminal
    * `{:error, :busy}` - the terminal or the session has an attach already, or the shell's ctrl-g
      menu or editor has it
    * `{:error, :gl_eof}`, `{:error, :hangup}` - the caller's terminal is gone; the workload still
      runs
    * `{:error, %Linx.Tty.Error{}}` - the terminal could not be opened, changed or written

  `format_error/1` explains the atoms. Raises `ArgumentError` for an unknown option or target.

  Source: tty(4), pty(7), termios(3); the Erlang I/O protocol; `docker attach`.
  """
  @spec attach(:controlling | :group_leader, session(), keyword()) ::
          {:ok, {:exited, non_neg_integer()} | {:signaled, pos_integer()} | :detached}
          | {:error, :no_local_tty | :no_process | :gl_eof | term()}
  def attach(target, session, opts \\ [])

  def attach(target, session, opts)
      when target in [:controlling, :group_leader] and is_pid(session) and is_list(opts) do
    options = options(opts)

    with :ok <- reachable(target),
         :ok <- attachable(session),
         do: AttachLoop.run(target, session, options)
  end

  def attach(target, session, _opts) do
    raise ArgumentError,
          "attach takes :controlling or :group_leader and a session, got: " <>
            "#{inspect(target)}, #{inspect(session)}"
  end

  defp options(opts) do
    known = Keyword.validate(opts, detach_key: @detach_key, answers: :discard, reset: false)

    case known do
      {:ok, known} ->
        %{
          key: key(known[:detach_key]),
          answers: one_of(:answers, known[:answers], [:discard, :keep]),
          reset: one_of(:reset, known[:reset], [true, false])
        }

      {:error, unknown} ->
        raise ArgumentError, "unknown options: #{inspect(Keyword.take(opts, unknown))}"
    end
  end

  defp one_of(name, value, values) do
    if value in values,
      do: value,
      else:
        raise(
          ArgumentError,
          "#{inspect(name)} is one of #{inspect(values)}, got: " <> inspect(value)
        )
  end

  defp key(nil), do: ""
  defp key(bytes) when is_binary(bytes), do: bytes

  defp key(other),
    do: raise(ArgumentError, ":detach_key takes bytes or nil, got: #{inspect(other)}")

  defp reachable(:group_leader), do: :ok

  defp reachable(:controlling),
    do: if(Otp.elsewhere?(Process.group_leader()), do: {:error, :no_local_tty}, else: :ok)

  defp attachable(session) do
    case Session.info(session) do
      {:ok, %{result: result}} when result != nil -> {:error, :no_process}
      {:ok, %{pty?: false}} -> {:error, :no_pty}
      {:ok, _running} -> :ok
      {:error, _} -> {:error, :no_process}
    end
  catch
    :exit, _ -> {:error, :no_process}
  end

  @doc """
  Says in words what an error of this module means: the atoms of `attach/3` with what to do about
  them, and `Linx.Tty.Error`. Anything else as `inspect/1` has it.

      iex> Linx.Tty.format_error(:no_process)
      "the session has ended, or is no Linx.Process session"
      iex> Linx.Tty.format_error({:some, "shape"})
      ~S({:some, "shape"})
  """
  @spec format_error(term()) :: String.t()
  def format_error(:no_local_tty) do
    "this shell is not on the VM's own terminal (it came over ssh or --remsh); " <>
      "use Linx.Tty.attach(:group_leader, session)"
  end

  def format_error(:no_process), do: "the session has ended, or is no Linx.Process session"
  def format_error(:no_pty), do: "the session has no terminal; spawn it with stdio: :pty"
  def format_error(:gl_eof), do: "the group leader has no more input, or is gone"
  def format_error(:hangup), do: "the terminal was hung up"

  def format_error(:busy),
    do: "the terminal or the session is in use by another attach, or by the shell's menu"

  def format_error(:aborted), do: "the workload was aborted before it ran"
  def format_error(error) when is_exception(error), do: Exception.message(error)
  def format_error(other), do: inspect(other)

  @doc """
  Opens the VM's controlling terminal and makes it raw: every key comes as typed, nothing is
  echoed, no key is a signal, and output is not touched.

  Gives the descriptor and what `restore_and_close/2` needs. iex goes on reading the same
  terminal: this is for programs that own it, and `attach/3` for use from a shell.

  Returns `errno: :enxio` without a controlling terminal, and `operation: :tcsetattr, errno: :eio`
  when the VM runs in the background of a terminal that its shell uses.

  Source: tty(4); termios(3), "Raw mode".
  """
  @spec open_controlling_raw() :: {:ok, fd(), Saved.t()} | {:error, Error.t()}
  def open_controlling_raw do
    case Native.open_controlling_raw() do
      {:ok, fd, termios} -> {:ok, fd, %Saved{termios: termios}}
      error -> error(error)
    end
  end

  @doc """
  Puts a terminal's settings back as `saved` has them and closes `fd`.

  Doing it again does nothing, also at the same time, and when the number has been given to
  another file meanwhile: the descriptor belongs to the native library until then, and the number
  is a view of it.

  Source: termios(3), tcsetattr with TCSANOW; close(2).
  """
  @spec restore_and_close(fd(), Saved.t()) :: :ok | {:error, Error.t()}
  def restore_and_close(fd, %Saved{termios: termios}) when is_integer(fd) and fd >= 0,
    do: error(Native.restore_and_close(fd, termios))

  @doc """
  Reads the size of the terminal `fd`, in characters.

  Returns `errno: :enotty` when it is none, `:ebadf` when it is not open.

      iex> Linx.Tty.window_size(9_999)
      {:error, %Linx.Tty.Error{operation: :ioctl, errno: :ebadf, code: 9}}

  Source: TIOCGWINSZ(2const).
  """
  @spec window_size(fd()) :: {:ok, WindowSize.t()} | {:error, Error.t()}
  def window_size(fd) when is_integer(fd) and fd >= 0 do
    case Native.window_size(fd) do
      {:ok, {rows, cols, xpixel, ypixel}} ->
        {:ok, %WindowSize{rows: rows, cols: cols, xpixel: xpixel, ypixel: ypixel}}

      error ->
        error(error)
    end
  end

  @doc """
  Sets the size of the terminal `fd`. A change sends SIGWINCH to the processes in its foreground.

  Each field is at most 65535; `ArgumentError` otherwise. For a workload's terminal use
  `Linx.Process.pty_set_winsize/2`.

  Returns `errno: :enotty` when `fd` is no terminal, `:ebadf` when it is not open.

  Source: TIOCSWINSZ(2const).
  """
  @spec set_window_size(fd(), WindowSize.t()) :: :ok | {:error, Error.t()}
  def set_window_size(fd, %WindowSize{} = size) when is_integer(fd) and fd >= 0 do
    for {field, value} <- Map.from_struct(size), value not in 0..0xFFFF do
      raise ArgumentError, "#{inspect(field)} is 0 to 65535, got: #{inspect(value)}"
    end

    error(Native.set_window_size(fd, {size.rows, size.cols, size.xpixel, size.ypixel}))
  end

  @doc """
  The name of the native library's part for terminals: proof that it is loaded.

      iex> Linx.Tty.version()
      "linx_tty"
  """
  @spec version() :: binary()
  def version, do: Native.version()

  defp error({:error, {step, errno}}), do: {:error, Error.from_nif(step, errno)}
  defp error(ok), do: ok
end
