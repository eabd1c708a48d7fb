defmodule Linx.Tty.Pump do
  @moduledoc false
  # The loop of an attach, in the attaching process: each message of the attach becomes an event for Linx.Tty.Attach, each
  # effect is carried out. Other messages stay where they are, the events of other sessions among them.

  alias Linx.Process, as: Session
  alias Linx.Tty.{Answers, Attach, Error, Hold, Keyboard, Native, Otp, Relay}

  # The session's last events have come within this time of its end.
  @last_events 500
  # A session that cannot take more input for now is asked again after this time.
  @retry 20
  # Input of a person who goes on typing ctrl-c at a workload that takes nothing.
  @most_unsent 65_536
  # How long a terminal may take to answer.
  @answer 1_000

  # `trap` is whether the process traps exits for our sake only; `unsent` is input that the session could not take yet, and
  # `want` whether keys are asked for when it has. `asked`: the workload's output may have asked the terminal something.
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

  defp shown(pump, earlier) do
    :ok = first(pump.bracket)
    earlier |> Enum.reduce_while(measured(pump), &early/2) |> loop()
  else
    {result, rest, pump} ->
      finish(pump, rest)
      result
  catch
    kind, reason ->
      finish(pump, "")
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  # The workload has the terminal's size before anybody sees it: an OTP group leader tells it at once.
  defp measured(%{bracket: %{keyboard: keyboard, raw: true, id: id}} = pump)
       when keyboard != nil do
    receive do
      {:linx_tty, ^id, {:size, size}} -> handle(pump, {:size, size})
    after
      @answer -> pump
    end
  end

  defp measured(pump), do: pump

  defp early(bytes, pump) do
    case handle(pump, {:output, bytes}) do
      {:stop, _, _, _} = stop -> {:halt, stop}
      pump -> {:cont, pump}
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
      # ssh_cli and user_drv end a shell's read with ctrl-c; between two reads they signal the shell process instead.
      trap: not bytes? and not Process.flag(:trap_exit, true)
    }
  end

  # The relay has the session's end, unless somebody made another process the owner meanwhile: so the session is asked as
  # well.
  # What it sends after the attach is over goes nowhere: the alias is gone.
  defp wait_for(session, id) do
    pump = self()
    address = Process.alias()

    spawn(fn ->
      Process.monitor(pump)

      {waiter, _} =
        spawn_monitor(fn ->
          outcome = with {:ok, outcome} <- Session.wait(session, :infinity), do: outcome
          receive after: (@last_events -> send(address, {:linx_tty, id, {:ended, outcome}}))
        end)

      receive do
        {:DOWN, _, _, ^pump, _} -> Process.exit(waiter, :kill)
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

  defp loop({:stop, result, rest, pump}), do: {result, rest, pump}
  defp loop(pump), do: pump |> next() |> loop()

  # -- messages to events ----------------------------------------------------------------------------------------------

  defp next(%{bracket: %{id: id}, watch: watch, leader: leader} = pump) do
    {hold, guard} = pump.guards

    receive do
      {:linx_tty, ^id, {:output, bytes}} -> output(pump, bytes)
      {:linx_tty, ^id, {:ended, outcome}} -> handle(pump, {:ended, outcome})
      {:linx_tty, ^id, :gone} -> handle(pump, {:ended, {:error, :no_process}})
      {:linx_tty, ^id, {:data, bytes}} -> handle(pump, {:input, bytes})
      {:linx_tty, ^id, :interrupt} -> handle(pump, {:input, <<3>>})
      {:linx_tty, ^id, {:size, size}} -> handle(pump, {:size, size})
      {:linx_tty, ^id, :held} -> handle(pump, :held_too_long)
      {:linx_tty, ^id, :again} -> unsent(pump)
      {:linx_tty, ^id, :eof} -> handle(pump, {:closed, pump.closed})
      {:linx_tty, :sigwinch} -> resized(pump)
      {:linx_tty, :sigcont} -> continued(pump)
      {:EXIT, ^leader, :interrupt} -> handle(pump, {:input, <<3>>})
      {:EXIT, _pid, reason} when pump.trap -> if(reason == :normal, do: pump, else: exit(reason))
      {:DOWN, ^watch, _, _, _} -> handle(pump, {:closed, :guard_died})
      {:DOWN, ^hold, _, _, _} -> handle(pump, {:closed, :guard_died})
      {:DOWN, ^guard, _, _, _} -> handle(pump, {:closed, :guard_died})
    end
  end

  defp output(pump, bytes) do
    Relay.took(pump.relay)
    handle(pump, {:output, bytes})
  end

  # Group-leader mode polls; the signal, where there is one, comes sooner.
  defp resized(%{bracket: %{terminal: nil}} = pump), do: pump

  defp resized(pump) do
    case Native.terminal_window_size(pump.bracket.terminal) do
      {:ok, size} -> handle(pump, {:size, size})
      {:error, _} -> pump
    end
  end

  # After a stop the shell that continued us has set its own modes, and OTP's driver sets its own again.
  defp continued(%{bracket: %{terminal: nil}} = pump), do: pump

  defp continued(pump) do
    Otp.settle()
    Native.terminal_reapply(pump.bracket.terminal)
    pump
  end

  # -- effects ---------------------------------------------------------------------------------------------------------

  defp handle(pump, event) do
    {attach, effects} = Attach.handle(pump.attach, event)

    Enum.reduce_while(effects, %{pump | attach: attach}, fn effect, pump ->
      case act(effect, pump) do
        {:stop, _, _, _} = stop -> {:halt, stop}
        pump -> {:cont, pump}
      end
    end)
  end

  defp act({:workload, bytes}, %{unsent: ""} = pump), do: unsent(%{pump | unsent: bytes})

  defp act({:workload, bytes}, %{unsent: unsent} = pump)
       when byte_size(unsent) < @most_unsent,
       do: %{pump | unsent: unsent <> bytes}

  defp act({:workload, _bytes}, pump), do: pump

  defp act({:terminal, bytes}, pump) do
    case write_terminal(pump, bytes) do
      :ok -> %{pump | asked: pump.asked or Answers.asks?(bytes)}
      {:error, reason} -> stop(pump, {:error, reason}, "")
    end
  end

  defp act({:resize, size}, pump) do
    resize(pump.session, size)
    pump
  end

  defp act({:hold, milliseconds}, pump) do
    timer = Process.send_after(self(), {:linx_tty, pump.bracket.id, :held}, milliseconds)
    %{pump | timer: timer}
  end

  defp act(:release, pump) do
    if pump.timer, do: Process.cancel_timer(pump.timer)
    id = pump.bracket.id

    receive do
      {:linx_tty, ^id, :held} -> :ok
    after
      0 -> :ok
    end

    %{pump | timer: nil}
  end

  # What the workload cannot take stays with the terminal, where typing stops in the end.
  defp act(:want, %{unsent: unsent} = pump) when unsent != "", do: %{pump | want: true}

  defp act(:want, pump) do
    want(pump.bracket)
    %{pump | want: false}
  end

  defp act({:stop, result, rest}, pump), do: stop(pump, result, rest)

  defp stop(pump, result, rest) do
    for timer <- [pump.timer, pump.retry], timer, do: Process.cancel_timer(timer)
    {:stop, result, last(pump, result, rest), pump}
  end

  defp want(%{keyboard: nil, terminal: terminal}), do: Native.terminal_want(terminal)
  defp want(%{keyboard: keyboard}), do: Keyboard.want(keyboard)

  defp write_terminal(%{attach: %{output: :bytes}} = pump, bytes) do
    with {:error, {step, errno}} <- Native.terminal_write(pump.bracket.terminal, bytes),
         do: {:error, Error.from_nif(step, errno)}
  end

  defp write_terminal(pump, characters) do
    # Over ssh each byte goes as a character.
    characters =
      if pump.bracket.bytes,
        do: :unicode.characters_to_binary(characters, :latin1),
        else: characters

    with {:error, _} <- :io.request(pump.leader, {:put_chars, :unicode, characters}),
         do: {:error, :gl_eof}
  end

  # -- the last of the terminal ----------------------------------------------------------------------------------------

  # A terminal that is gone, or of which we do not know that what is written reaches it, is not asked.
  defp last(%{bracket: %{raw: false}}, _result, rest), do: rest

  defp last(_pump, {:error, reason}, rest)
       when reason in [:gl_eof, :hangup, :guard_died] or is_struct(reason, Error),
       do: rest

  defp last(%{options: options} = pump, _result, rest) do
    if options.reset, do: write_terminal(pump, Answers.reset())
    if pump.asked and options.answers == :discard, do: answered(pump), else: rest
  end

  # What came before the answer to our query was not typed at the shell.
  defp answered(pump) do
    {query, answer} = Answers.query(pump.attach.size)

    case write_terminal(pump, query) do
      :ok -> answered(pump, answer, "", System.monotonic_time(:millisecond) + @answer)
      {:error, _} -> ""
    end
  end

  defp answered(%{bracket: %{id: id}} = pump, answer, seen, deadline) do
    {hold, guard} = pump.guards
    want(pump.bracket)

    receive do
      {:linx_tty, ^id, {:data, bytes}} ->
        seen = seen <> bytes

        case Answers.typed(seen, answer) do
          {:ok, typed} -> typed
          :none -> answered(pump, answer, ending(seen, byte_size(answer)), deadline)
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

  # -- input -----------------------------------------------------------------------------------------------------------

  defp unsent(pump) do
    case write(pump.session, pump.unsent) do
      {:error, :busy} ->
        %{pump | retry: Process.send_after(self(), {:linx_tty, pump.bracket.id, :again}, @retry)}

      # An error here is the session's end, whose event is on the way.
      _ ->
        if pump.want, do: want(pump.bracket)
        %{pump | unsent: "", want: false}
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

  # -- the end ---------------------------------------------------------------------------------------------------------

  # Keys that arrived and were not used are the shell's: all that came before goes with the terminal.
  defp finish(pump, rest) do
    pump.guards |> Tuple.to_list() |> Enum.each(&Process.demonitor(&1, [:flush]))
    Process.demonitor(pump.watch, [:flush])
    quiet(pump.bracket)
    Relay.stop(pump.relay)
    Hold.release(pump.bracket, rest <> leftover(pump.bracket.id, ""))
    {waiter, address} = pump.waiter
    Process.unalias(address)
    send(waiter, {:stop, address})
    # What came after that is a size, or the end of what was read.
    _ = leftover(pump.bracket.id, "")
    if pump.trap, do: untrap(pump.leader)
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
