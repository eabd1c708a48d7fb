defmodule Linx.Tty.AttachLoop do
  @moduledoc false
  # The loop of an attach, in the attaching process: each message of the attach becomes an event
  # for Linx.Tty.Attach, each effect is carried out. Other messages stay where they are, the
  # events of other sessions among them.

  alias Linx.Process, as: Session
  alias Linx.Tty.{Answers, Attach, Error, Hold, Keyboard, Native, Otp, Relay}

  # The session's last events have come within this time of its end.
  @last_events 500
  # A session that cannot take more input for now is asked again after this time.
  @retry 20
  # The bound of input that the workload does not take.
  @max_unsent 65_536
  # The time limit of a terminal's reply.
  @answer 1_000

  # `trap` is whether the process traps exits for our sake only; `unsent` is input that the
  # session could not take yet, and `want` whether keys are asked for when it has. `asked`: the
  # workload's output may have asked the terminal something.
  defstruct [
    :session,
    :bracket,
    :leader,
    :attach,
    :relay,
    :watch,
    :guards,
    :waiter,
    :closed,
    :timer,
    :retry,
    :options,
    trap: false,
    unsent: "",
    want: false,
    asked: false
  ]

  @type options :: %{key: binary(), answers: :discard | :keep, reset: boolean()}

  @spec run(:controlling | :group_leader, pid(), options()) ::
          Attach.result() | {:error, term()}
  def run(target, session, options) do
    leader = Process.group_leader()
    id = System.unique_integer([:positive])

    # The session first: one that ends while the terminal is being taken is shown to its end.
    with {:ok, relay} <- Relay.start(session, id) do
      case Hold.acquire({target, leader}, id) do
        {:ok, bracket} ->
          shown(start(target, session, options, bracket, leader, relay), Relay.earlier(relay))

        error ->
          Relay.stop(relay)
          error
      end
    end
  end

  defp shown(state, earlier) do
    :ok = first(state.bracket)
    earlier |> Enum.reduce_while(measured(state), &early/2) |> loop()
  else
    {result, rest, state} ->
      finish(state, rest)
      result
  catch
    kind, reason ->
      finish(state, "")
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  # The workload gets the terminal's size before the first output: an OTP group leader replies at
  # once.
  defp measured(%{bracket: %{keyboard: keyboard, raw: true, id: id}} = state)
       when keyboard != nil do
    receive do
      {:linx_tty, ^id, {:size, size}} -> handle(state, {:size, size})
    after
      @answer -> state
    end
  end

  defp measured(state), do: state

  defp early(bytes, state) do
    case handle(state, {:output, bytes}) do
      {:stop, _, _, _} = stop -> {:halt, stop}
      state -> {:cont, state}
    end
  end

  defp start(target, session, options, bracket, leader, relay) do
    bytes? = bracket.keyboard == nil

    %__MODULE__{
      session: session,
      bracket: bracket,
      leader: leader,
      attach: Attach.new(options.key, if(bytes?, do: :bytes, else: :characters)),
      relay: relay,
      watch: Process.monitor(relay.pid),
      guards: {Process.monitor(bracket.hold), Process.monitor(bracket.guard)},
      waiter: wait_for(session, bracket.id),
      closed: if(target == :controlling, do: :hangup, else: :gl_eof),
      options: options,
      # ssh_cli and user_drv end a shell's read with ctrl-c; between two reads they signal the
      # shell process instead.
      trap: not bytes? and not Process.flag(:trap_exit, true)
    }
  end

  # The relay has the session's end, unless somebody made another process the owner meanwhile: so
  # the session is asked as well. What it sends after the attach is over goes nowhere: the alias
  # is gone.
  defp wait_for(session, id) do
    attacher = self()
    address = Process.alias()

    spawn(fn ->
      Process.monitor(attacher)

      {waiter, _} =
        spawn_monitor(fn ->
          outcome = with {:ok, outcome} <- Session.wait(session, :infinity), do: outcome
          receive after: (@last_events -> send(address, {:linx_tty, id, {:ended, outcome}}))
        end)

      receive do
        {:DOWN, _, _, ^attacher, _} -> Process.exit(waiter, :kill)
        {:DOWN, _, _, ^waiter, _} -> :ok
        {:stop, ^address} -> Process.exit(waiter, :kill)
      end
    end)
    |> then(&{&1, address})
  end

  defp first(%{keyboard: nil} = bracket) do
    with {:ok, size} <- Native.terminal_window_size(bracket.terminal),
         do: send(self(), {:linx_tty, bracket.id, {:size, size}})

    if bracket.typed != "", do: send(self(), {:linx_tty, bracket.id, {:data, bracket.typed}})

    with :ok <- Native.terminal_start(bracket.terminal, self(), bracket.id),
         do: Native.terminal_want(bracket.terminal)
  end

  defp first(bracket), do: Keyboard.want(bracket.keyboard)

  defp loop({:stop, result, rest, state}), do: {result, rest, state}
  defp loop(state), do: state |> next() |> loop()

  # -- messages to events ------------------------------------------------------------------------

  defp next(%{bracket: %{id: id}, watch: watch, leader: leader} = state) do
    {hold, guard} = state.guards

    receive do
      {:linx_tty, ^id, {:output, bytes}} -> output(state, bytes)
      {:linx_tty, ^id, {:ended, outcome}} -> handle(state, {:ended, outcome})
      {:linx_tty, ^id, :gone} -> handle(state, {:ended, {:error, :no_process}})
      {:linx_tty, ^id, {:data, bytes}} -> handle(state, {:input, bytes})
      {:linx_tty, ^id, :interrupt} -> handle(state, {:input, <<3>>})
      {:linx_tty, ^id, {:size, size}} -> handle(state, {:size, size})
      {:linx_tty, ^id, :held} -> handle(state, :held_too_long)
      {:linx_tty, ^id, :again} -> unsent(state)
      {:linx_tty, ^id, :eof} -> handle(state, {:closed, state.closed})
      {:linx_tty, :sigwinch} -> resized(state)
      {:linx_tty, :sigcont} -> continued(state)
      {:EXIT, ^leader, :interrupt} -> handle(state, {:input, <<3>>})
      {:EXIT, _pid, :normal} when state.trap -> state
      {:EXIT, _pid, reason} when state.trap -> exit(reason)
      {:DOWN, ^watch, _, _, _} -> handle(state, {:closed, :guard_died})
      {:DOWN, ^hold, _, _, _} -> handle(state, {:closed, :guard_died})
      {:DOWN, ^guard, _, _, _} -> handle(state, {:closed, :guard_died})
    end
  end

  defp output(state, bytes) do
    Relay.took(state.relay)
    handle(state, {:output, bytes})
  end

  # Group-leader mode polls; the signal, where there is one, comes sooner.
  defp resized(%{bracket: %{terminal: nil}} = state), do: state

  defp resized(state) do
    case Native.terminal_window_size(state.bracket.terminal) do
      {:ok, size} -> handle(state, {:size, size})
      {:error, _} -> state
    end
  end

  # After a stop the shell that continued us has set its own modes, and OTP's driver sets its own
  # again.
  defp continued(%{bracket: %{terminal: nil}} = state), do: state

  defp continued(state) do
    Otp.settle()
    Native.terminal_reapply(state.bracket.terminal)
    state
  end

  # -- effects -----------------------------------------------------------------------------------

  defp handle(state, event) do
    {attach, effects} = Attach.handle(state.attach, event)

    Enum.reduce_while(effects, %{state | attach: attach}, fn effect, state ->
      case act(effect, state) do
        {:stop, _, _, _} = stop -> {:halt, stop}
        state -> {:cont, state}
      end
    end)
  end

  defp act({:workload, bytes}, %{unsent: ""} = state), do: unsent(%{state | unsent: bytes})

  defp act({:workload, bytes}, %{unsent: unsent} = state)
       when byte_size(unsent) < @max_unsent,
       do: %{state | unsent: unsent <> bytes}

  defp act({:workload, _bytes}, state), do: state

  defp act({:terminal, bytes}, state) do
    case write_terminal(state, bytes) do
      :ok -> %{state | asked: state.asked or Answers.asks?(bytes)}
      {:error, reason} -> stop(state, {:error, reason}, "")
    end
  end

  defp act({:resize, size}, state) do
    resize(state.session, size)
    state
  end

  defp act({:hold, milliseconds}, state) do
    timer = Process.send_after(self(), {:linx_tty, state.bracket.id, :held}, milliseconds)
    %{state | timer: timer}
  end

  defp act(:release, state) do
    if state.timer, do: Process.cancel_timer(state.timer)
    id = state.bracket.id

    receive do
      {:linx_tty, ^id, :held} -> :ok
    after
      0 -> :ok
    end

    %{state | timer: nil}
  end

  # Input that the workload cannot take stays in the terminal, which stops taking more in the end.
  defp act(:want, %{unsent: unsent} = state) when unsent != "", do: %{state | want: true}

  defp act(:want, state) do
    want(state.bracket)
    %{state | want: false}
  end

  defp act({:stop, result, rest}, state), do: stop(state, result, rest)

  defp stop(state, result, rest) do
    for timer <- [state.timer, state.retry], timer, do: Process.cancel_timer(timer)
    {:stop, result, last(state, result, rest), state}
  end

  defp want(%{keyboard: nil, terminal: terminal}), do: Native.terminal_want(terminal)
  defp want(%{keyboard: keyboard}), do: Keyboard.want(keyboard)

  defp write_terminal(%{attach: %{output: :bytes}} = state, bytes) do
    with {:error, {step, errno}} <- Native.terminal_write(state.bracket.terminal, bytes),
         do: {:error, Error.from_nif(step, errno)}
  end

  defp write_terminal(state, characters) do
    # Over ssh each byte goes as a character.
    characters =
      if state.bracket.bytes,
        do: :unicode.characters_to_binary(characters, :latin1),
        else: characters

    with {:error, _} <- :io.request(state.leader, {:put_chars, :unicode, characters}),
         do: {:error, :gl_eof}
  end

  # -- the last of the terminal ------------------------------------------------------------------

  # A terminal that is gone, or of which we do not know that what is written reaches it, is not
  # asked.
  defp last(%{bracket: %{raw: false}}, _result, rest), do: rest

  defp last(_state, {:error, reason}, rest)
       when reason in [:gl_eof, :hangup, :guard_died] or is_struct(reason, Error),
       do: rest

  defp last(%{options: options} = state, _result, rest) do
    if options.reset, do: write_terminal(state, Answers.reset())
    if state.asked and options.answers == :discard, do: answered(state), else: rest
  end

  # Input before the reply to the query was not typed at the shell.
  defp answered(state) do
    {query, answer} = Answers.query(state.attach.size)

    case write_terminal(state, query) do
      :ok -> answered(state, answer, "", System.monotonic_time(:millisecond) + @answer)
      {:error, _} -> ""
    end
  end

  defp answered(%{bracket: %{id: id}} = state, answer, seen, deadline) do
    {hold, guard} = state.guards
    want(state.bracket)

    receive do
      {:linx_tty, ^id, {:data, bytes}} ->
        seen = seen <> bytes

        case Answers.typed(seen, answer) do
          {:ok, typed} -> typed
          :none -> answered(state, answer, ending(seen, byte_size(answer)), deadline)
        end

      {:linx_tty, ^id, :eof} ->
        ""

      {:DOWN, ref, _, _, _} when ref in [hold, guard] ->
        ""
    after
      max(deadline - System.monotonic_time(:millisecond), 0) -> ""
    end
  end

  defp ending(seen, size) when byte_size(seen) <= size, do: seen
  defp ending(seen, size), do: binary_part(seen, byte_size(seen), -size)

  # -- input -------------------------------------------------------------------------------------

  defp unsent(state) do
    case write(state.session, state.unsent) do
      {:error, :busy} ->
        again = {:linx_tty, state.bracket.id, :again}
        %{state | retry: Process.send_after(self(), again, @retry)}

      # An error here is the session's end, whose event is on the way.
      _ ->
        if state.want, do: want(state.bracket)
        %{state | unsent: "", want: false}
    end
  end

  defp write(session, bytes) do
    Session.pty_write(session, bytes)
  catch
    :exit, _ -> {:error, :no_process}
  end

  defp resize(session, size) do
    Session.pty_set_winsize(session, size)
  catch
    :exit, _ -> {:error, :no_process}
  end

  # -- the end -----------------------------------------------------------------------------------

  # Keys that arrived and were not used are the shell's: all that came before goes with the
  # terminal.
  defp finish(state, rest) do
    state.guards |> Tuple.to_list() |> Enum.each(&Process.demonitor(&1, [:flush]))
    Process.demonitor(state.watch, [:flush])
    quiet(state.bracket)
    Relay.stop(state.relay)
    Hold.release(state.bracket, rest <> leftover(state.bracket.id, ""))
    {waiter, address} = state.waiter
    Process.unalias(address)
    send(waiter, {:stop, address})
    # Later messages are a size, or the end of the reader.
    _ = leftover(state.bracket.id, "")
    if state.trap, do: untrap(state.leader)
  end

  # No more keys come after this.
  defp quiet(%{keyboard: nil, terminal: terminal}), do: Native.terminal_close(terminal)
  defp quiet(%{keyboard: keyboard}), do: Keyboard.halt(keyboard)

  # An exit signal that came while we trapped would have ended this process.
  defp untrap(leader) do
    Process.flag(:trap_exit, false)

    receive do
      {:EXIT, ^leader, :interrupt} -> untrap(leader)
      {:EXIT, _pid, :normal} -> untrap(leader)
      {:EXIT, _pid, reason} -> exit(reason)
    after
      0 -> :ok
    end
  end

  defp leftover(id, typed) do
    receive do
      {:linx_tty, ^id, {:data, bytes}} -> leftover(id, typed <> bytes)
      {:linx_tty, ^id, _} -> leftover(id, typed)
      {:linx_tty, signal} when signal in [:sigwinch, :sigcont] -> leftover(id, typed)
    after
      0 -> typed
    end
  end
end
