defmodule Linx.Tty.Hold do
  @moduledoc false
  # The process that changes one terminal for one attach and puts it back: at the end of the
  # attach, and when the attaching process dies, of :kill too. Slow questions to a terminal are
  # its own affair; another terminal's hold does not wait.
  #
  # A change and its undoing are one entry of a list, undone from the last to the first. If the
  # hold itself is killed, the attaching process undoes the list; if both are, the terminal's own
  # settings come back with the resource.
  #
  # A group leader on another node is put back by a watcher there when this node goes away.

  use GenServer

  alias Linx.Tty.{Error, Group, Guard, Keyboard, Native, Otp, SigwinchHandler}

  defmodule Bracket do
    @moduledoc false
    # One terminal taken over, by its resource (`terminal`) or by the process that reads its group
    # leader (`keyboard`). `id` marks its messages; `typed` are keys that came before. `bytes`:
    # the driver takes the characters 0 to 255 for bytes; `raw`: what is written reaches the
    # terminal as it is.
    defstruct [
      :id,
      :key,
      :owner,
      :hold,
      :guard,
      :leader,
      :driver,
      :terminal,
      :keyboard,
      typed: "",
      bytes: false,
      raw: true,
      undo: []
    ]
  end

  # The I/O protocol has no timeouts.
  @patience 3_000

  @doc "Takes a terminal over for the calling process. `:busy` if another process has it."
  @spec acquire({:controlling | :group_leader, pid()}, pos_integer()) ::
          {:ok, %Bracket{}} | {:error, :busy | Error.t()}
  def acquire({_, leader} = target, id) do
    # Asked by the caller: it is its terminal that may be slow to answer.
    driver = Otp.driver(leader)
    {:ok, hold} = GenServer.start(__MODULE__, self())
    GenServer.call(hold, {:acquire, target, driver, id}, :infinity)
  end

  @doc """
  Gives the terminal back, with `rest` before its next input. Also when the hold is dead.
  """
  @spec release(%Bracket{}, String.t()) :: :ok
  def release(bracket, rest \\ "") do
    GenServer.call(bracket.hold, {:release, rest}, :infinity)
  catch
    :exit, _ ->
      undo(bracket, :alive, rest)
      Guard.drop(bracket.guard, bracket.key)
  end

  # `shell` is that of a group leader that was taken, `watcher` the process on its node.
  defstruct [:owner, :bracket, :shell, :watcher, died: :alive]

  @impl true
  def init(owner) do
    # Before the shell, which also learns of the attaching process's death and would read a
    # terminal not yet put back.
    Process.flag(:priority, :high)
    Process.flag(:trap_exit, true)
    Process.monitor(owner)
    {:ok, %__MODULE__{owner: owner}}
  end

  @impl true
  def handle_call({:acquire, {_, leader} = target, driver, id}, _from, state) do
    bracket = %Bracket{
      id: id,
      owner: state.owner,
      hold: self(),
      leader: leader
    }

    bracket = identify(bracket, target, driver)

    with {:ok, guard} <- Guard.claim(bracket.key),
         {:ok, bracket} <- take(target, %{bracket | guard: guard}) do
      {:reply, {:ok, bracket}, watch(%{state | bracket: bracket})}
    else
      {:error, reason} ->
        drop(bracket)
        {:stop, :normal, {:error, reason}, state}
    end
  end

  def handle_call({:release, rest}, _from, state) do
    back(state, rest)
    {:stop, :normal, :ok, state}
  end

  @impl true
  def handle_info({:DOWN, _, _, owner, _}, %{owner: owner} = state) do
    back(state, "")
    {:stop, :normal, state}
  end

  # The group leader is told of its shell's death when it is put back, and that is now.
  def handle_info({:DOWN, _, _, shell, reason}, %{shell: shell} = state) do
    with %Group{} = held <- held(state.bracket) do
      Keyboard.halt(held.keyboard)
      Group.give_back(held, {:died, reason})
    end

    {:noreply, %{state | shell: nil, died: {:died, reason}}}
  end

  # Its reader of keys need not live to say it: the group leader ends it in place of the shell.
  def handle_info({:DOWN, _, _, leader, _}, %{bracket: %{leader: leader} = bracket} = state) do
    send(state.owner, {:linx_tty, bracket.id, :eof})
    {:noreply, state}
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp back(%{bracket: nil}, _rest), do: :ok

  defp back(%{bracket: bracket} = state, rest) do
    undo(bracket, state.died, rest)
    if state.watcher, do: send(state.watcher, {:released, self()})
    drop(bracket)
  end

  defp drop(%{guard: nil, key: key}), do: Guard.drop(Guard, key)
  defp drop(%{guard: guard, key: key}), do: Guard.drop(guard, key)

  # The VM's own terminal is one, by whichever way it is reached. The driver is that of the shell
  # on it, if there is one.
  defp identify(bracket, {:controlling, _leader}, driver) do
    %{bracket | key: :own, driver: if(Otp.user_drv?(driver), do: driver)}
  end

  defp identify(bracket, {:group_leader, leader}, driver) do
    key = if Otp.user_drv?(driver), do: :own, else: driver || leader
    %{bracket | key: key, driver: driver}
  end

  # -- taking ------------------------------------------------------------------------------------

  defp take({:controlling, _leader}, bracket), do: take_raw(bracket, false)

  # The shell on the VM's own terminal: the same terminal is behind /dev/tty, where no key is the
  # Erlang shell's (ctrl-g, and ctrl-c with all that came with it) and every byte passes.
  defp take({:group_leader, leader}, %{key: :own} = bracket) do
    case take_raw(bracket, true) do
      {:error, %Error{operation: :open}} -> take_leader(leader, bracket)
      taken -> taken
    end
  end

  defp take({:group_leader, leader}, bracket), do: take_leader(leader, bracket)

  # The reader first: what is typed from now on stays in the kernel until we read it.
  defp take_raw(bracket, standard) do
    case Otp.disable_reader() do
      {:ok, tty} -> bracket |> did({:reader, tty}) |> did(:typed) |> open(standard)
      :none -> open(bracket, standard)
      :busy -> {:error, :busy}
    end
  end

  defp open(bracket, standard) do
    case Native.terminal_open(standard) do
      {:ok, terminal} ->
        bracket = did(%{bracket | terminal: terminal}, {:terminal, terminal})
        {:ok, bracket |> take_typed() |> watch_signals()}

      {:error, {step, errno}} ->
        undo(bracket, :alive, "")
        {:error, Error.from_nif(step, errno)}
    end
  end

  # The part of the input behind the attach's own line that iex's reader has read already.
  defp take_typed(%{driver: nil} = bracket), do: bracket

  defp take_typed(%{leader: leader} = bracket) do
    if Enum.any?(for {:reader, tty} <- bracket.undo, do: Otp.reads_ahead?(tty)) do
      # The driver has passed on what the reader read.
      Otp.settle()
      %{bracket | typed: Keyboard.typed(leader, bracket.driver)}
    else
      # Without a shell the reader reads a line when it is asked to, and nothing ahead. Asked by
      # us it would go on waiting for that line in read(2), deaf to being disabled, long after the
      # attach is over.
      bracket
    end
  end

  defp take_leader(leader, bracket) do
    keyboard = Keyboard.start(leader, bracket.driver, bracket.owner, bracket.id)
    held = Keyboard.held(keyboard)
    bracket = did(%{bracket | keyboard: keyboard}, {:keyboard, keyboard, held})
    {:ok, if(held, do: raw(bracket, held), else: unknown(bracket))}
  end

  defp raw(bracket, held) do
    bracket =
      case Otp.output(bracket.driver, :raw) do
        {:ok, before} -> did(bracket, {:output, bracket.driver, before})
        :none -> %{bracket | raw: false}
      end

    case Otp.bytes(bracket.driver, bracket.leader, bracket.keyboard) do
      {:ok, before} ->
        [output, {:keyboard, keyboard, ^held}] = bracket.undo
        undo = [output, {:bytes, keyboard, held, before}]
        %{bracket | bytes: true, undo: undo}

      :none ->
        bracket
    end
  end

  defp unknown(bracket) do
    case echo(bracket.leader, false) do
      true -> did(%{bracket | raw: false}, {:echo, bracket.leader})
      _ -> %{bracket | raw: false}
    end
  end

  # OTP's driver handles SIGWINCH where a shell runs; elsewhere nobody has asked for it.
  defp watch_signals(bracket) do
    bracket = Enum.reduce([:sigwinch, :sigcont], bracket, &handled/2)
    handler = {SigwinchHandler, make_ref()}
    # Supervised: the handler goes when the guard does.
    :ok = :gen_event.add_sup_handler(:erl_signal_server, handler, bracket.owner)
    did(bracket, {:handler, handler})
  end

  defp handled(signal, bracket) do
    before = Native.signal_disposition(signal)
    :ok = :os.set_signal(signal, :handle)
    if before == :handle, do: bracket, else: did(bracket, {:signal, signal, before})
  end

  defp did(bracket, change), do: %{bracket | undo: [change | bracket.undo]}

  # -- watching ----------------------------------------------------------------------------------

  defp watch(%{bracket: bracket} = state) do
    case held(bracket) do
      nil ->
        state

      %Group{before: {_, shell}} = held ->
        Process.monitor(bracket.leader)
        if is_pid(shell), do: Process.monitor(shell)
        %{state | shell: shell, watcher: Linx.Tty.Watcher.start(bracket.driver, held)}
    end
  end

  defp held(bracket) do
    Enum.find_value(bracket.undo, fn
      {:keyboard, _, held} -> held
      {:bytes, _, held, _} -> held
      _ -> nil
    end)
  end

  # -- putting back ------------------------------------------------------------------------------

  defp undo(bracket, died, rest) do
    Enum.each(bracket.undo, fn
      # Before the reader of the driver is, that what it reads comes after.
      :typed -> Otp.typed(bracket.leader, bracket.driver, String.replace_invalid(rest))
      change -> put_back(change, died, rest)
    end)
  end

  defp put_back({:terminal, terminal}, _, _), do: Native.terminal_close(terminal)
  defp put_back({:output, driver, before}, _, _), do: Otp.write(driver, before)
  defp put_back({:echo, leader}, _, _), do: echo(leader, true)
  defp put_back({:signal, signal, before}, _, _), do: :os.set_signal(signal, before)

  defp put_back({:reader, tty}, _, _), do: Otp.enable_reader(tty)

  defp put_back({:keyboard, keyboard, held}, died, rest) do
    Keyboard.halt(keyboard)
    Keyboard.give_back(keyboard, held, died, rest)
  end

  defp put_back({:bytes, keyboard, held, before}, died, rest) do
    Keyboard.halt(keyboard)
    also = fn -> Keyboard.give_back(keyboard, held, died, rest) end
    Otp.characters(held.driver, held.leader, keyboard, before, also)
  end

  defp put_back({:handler, handler}, _, _),
    do: :gen_event.delete_handler(:erl_signal_server, handler, :done)

  # Answers how it was before.
  defp echo(leader, on) do
    task =
      Task.async(fn ->
        with options when is_list(options) <- :io.getopts(leader),
             before when is_boolean(before) and before != on <- options[:echo],
             :ok <- :io.setopts(leader, echo: on),
             do: before
      end)

    case Task.yield(task, @patience) || Task.shutdown(task, :brutal_kill) do
      {:ok, before} -> before
      _ -> nil
    end
  end
end
