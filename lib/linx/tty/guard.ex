defmodule Linx.Tty.Guard do
  @moduledoc false
  # The one process that changes terminals for attaches and puts them back: at the end of the attach, and when the
  # attaching process dies, of :kill too. Named, so that a terminal has one attach at a time; it runs while there is one.
  #
  # A change and its undoing are one entry of a list, undone from the last to the first. If the guard itself is killed,
  # the attaching process undoes the list; if both are, the terminal's own settings come back with the resource.

  use GenServer

  alias Linx.Tty.{Error, Keyboard, Native, Otp, SigwinchHandler}

  defmodule Bracket do
    @moduledoc false
    # One terminal taken over, by its resource (`terminal`) or by the process that reads its group leader (`keyboard`).
    # `id` marks its messages; `typed` are keys that came before. `bytes`: the driver takes the characters 0 to 255 for bytes.
    defstruct [
      :id,
      :key,
      :owner,
      :monitor,
      :leader,
      :driver,
      :terminal,
      :keyboard,
      typed: "",
      bytes: false,
      undo: []
    ]
  end

  @doc """
  Takes a terminal over for the calling process. `:busy` when somebody has it.
  """
  @spec acquire({:controlling | :group_leader, pid()}) ::
          {:ok, %Bracket{}} | {:error, :busy | Error.t()}
  def acquire(target), do: acquire(target, 5)

  # The guard ends when its last attach does, which may be now.
  defp acquire(target, tries) do
    guard =
      case GenServer.start(__MODULE__, nil, name: __MODULE__) do
        {:ok, guard} -> guard
        {:error, {:already_started, guard}} -> guard
      end

    GenServer.call(guard, {:acquire, target, self()}, :infinity)
  catch
    :exit, {reason, {GenServer, :call, _}} when reason in [:noproc, :normal] and tries > 0 ->
      acquire(target, tries - 1)
  end

  @doc "Gives the terminal back. Also when the guard is dead."
  @spec release(%Bracket{}) :: :ok
  def release(bracket) do
    GenServer.call(__MODULE__, {:release, bracket.id}, :infinity)
  catch
    :exit, _ -> undo(bracket)
  end

  @impl true
  def init(nil) do
    # Before the shell, which also learns of the attaching process's death and would read a terminal not yet put back.
    Process.flag(:priority, :high)
    Process.flag(:trap_exit, true)
    {:ok, %{}}
  end

  @impl true
  def handle_call({:acquire, {_, leader} = target, owner}, _from, brackets) do
    bracket = %Bracket{id: System.unique_integer([:positive]), owner: owner, leader: leader}
    bracket = identify(bracket, target)

    with false <- Map.has_key?(brackets, bracket.key),
         {:ok, bracket} <- take(target, bracket) do
      bracket = %{bracket | monitor: Process.monitor(owner)}
      {:reply, {:ok, bracket}, Map.put(brackets, bracket.key, bracket)}
    else
      true -> reply({:error, :busy}, brackets)
      {:error, reason} -> reply({:error, reason}, brackets)
    end
  end

  def handle_call({:release, id}, _from, brackets) do
    reply(:ok, drop(brackets, &(&1.id == id)))
  end

  @impl true
  def handle_info({:DOWN, ref, _, _, _}, brackets) do
    case drop(brackets, &(&1.monitor == ref)) do
      none when none == %{} -> {:stop, :normal, none}
      brackets -> {:noreply, brackets}
    end
  end

  def handle_info(_exit, brackets), do: {:noreply, brackets}

  @impl true
  def terminate(_reason, brackets), do: Enum.each(brackets, fn {_, bracket} -> undo(bracket) end)

  defp reply(answer, none) when none == %{}, do: {:stop, :normal, answer, none}
  defp reply(answer, brackets), do: {:reply, answer, brackets}

  defp drop(brackets, which) do
    {gone, kept} = Map.split_with(brackets, fn {_, bracket} -> which.(bracket) end)

    Enum.each(gone, fn {_, bracket} ->
      undo(bracket)
      Process.demonitor(bracket.monitor, [:flush])
    end)

    kept
  end

  # The VM's own terminal is one, by whichever way it is reached. The driver is that of the shell on it, if there is one.
  defp identify(bracket, {:controlling, leader}) do
    driver = Otp.driver(leader)
    %{bracket | key: :own, driver: if(Otp.user_drv?(driver), do: driver)}
  end

  defp identify(bracket, {:group_leader, leader}) do
    driver = Otp.driver(leader)
    key = if Otp.user_drv?(driver), do: :own, else: driver || leader
    %{bracket | key: key, driver: driver}
  end

  # -- taking ----------------------------------------------------------------------------------------------------------

  defp take({:controlling, _leader}, bracket), do: take_raw(bracket, false)

  # The shell on the VM's own terminal: the same terminal is behind /dev/tty, where no key is the Erlang shell's
  # (ctrl-g, and ctrl-c with all that came with it) and every byte passes.
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
      {:ok, tty} -> bracket |> did({:reader, tty}) |> open(standard)
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
        undo(bracket)
        {:error, Error.from_nif(step, errno)}
    end
  end

  # What iex's reader has read already of what was typed behind the attach's own line.
  defp take_typed(%{driver: nil} = bracket), do: bracket

  defp take_typed(%{leader: leader} = bracket) do
    if Enum.any?(for {:reader, tty} <- bracket.undo, do: Otp.reads_ahead?(tty)) do
      before = echo(leader, false)
      typed = Keyboard.typed(leader, bracket.driver)
      if before, do: echo(leader, true)
      %{bracket | typed: typed}
    else
      # Without a shell the reader reads a line when it is asked to, and nothing ahead. Asked by us it would go on
      # waiting for that line in read(2), deaf to being disabled, long after the attach is over.
      bracket
    end
  end

  defp take_leader(leader, bracket) do
    bracket =
      case echo(leader, false) do
        true -> did(bracket, {:echo, leader})
        _ -> bracket
      end

    keyboard = Keyboard.start(leader, bracket.driver, bracket.owner, bracket.id)
    bracket = did(%{bracket | keyboard: keyboard}, {:keyboard, keyboard})

    bracket =
      case Otp.output(bracket.driver, :raw) do
        {:ok, before} -> did(bracket, {:output, bracket.driver, before})
        :none -> bracket
      end

    # While the keyboard reads, at both ends: it is what the marks are for.
    case Otp.bytes(bracket.driver, leader, Keyboard.switch()) do
      {:ok, before} ->
        {:ok, did(%{bracket | bytes: true}, {:bytes, bracket.driver, leader, before})}

      :none ->
        {:ok, bracket}
    end
  end

  # OTP's driver handles SIGWINCH where a shell runs; elsewhere nobody has asked for it.
  defp watch_signals(bracket) do
    :ok = :os.set_signal(:sigwinch, :handle)
    :ok = :os.set_signal(:sigcont, :handle)
    handler = {SigwinchHandler, make_ref()}
    # Supervised: the handler goes when the guard does.
    :ok = :gen_event.add_sup_handler(:erl_signal_server, handler, bracket.owner)
    did(bracket, {:handler, handler})
  end

  defp did(bracket, change), do: %{bracket | undo: [change | bracket.undo]}

  # -- putting back ----------------------------------------------------------------------------------------------------

  defp undo(bracket), do: Enum.each(bracket.undo, &put_back/1)

  defp put_back({:terminal, terminal}), do: Native.terminal_close(terminal)
  defp put_back({:reader, tty}), do: Otp.enable_reader(tty)
  defp put_back({:output, driver, before}), do: Otp.output(driver, before)

  defp put_back({:bytes, driver, leader, before}),
    do: Otp.characters(driver, leader, before, Keyboard.switch())

  defp put_back({:echo, leader}), do: echo(leader, true)
  defp put_back({:keyboard, keyboard}), do: Keyboard.stop(keyboard)

  defp put_back({:handler, handler}),
    do: :gen_event.delete_handler(:erl_signal_server, handler, :done)

  # The I/O protocol has no timeouts. Answers how it was before.
  defp echo(leader, on) do
    task =
      Task.async(fn ->
        with options when is_list(options) <- :io.getopts(leader),
             before when is_boolean(before) and before != on <- options[:echo],
             :ok <- :io.setopts(leader, echo: on),
             do: before
      end)

    case Task.yield(task, 3_000) || Task.shutdown(task, :brutal_kill) do
      {:ok, before} -> before
      _ -> nil
    end
  end
end
