defmodule Linx.Tty.Pump do
  @moduledoc false
  # The loop of an attach, in the attaching process, because the session's events come to its mailbox: each message
  # becomes an event for Linx.Tty.Attach, each effect is carried out. Other messages stay where they are.

  alias Linx.Process, as: Session
  alias Linx.Tty.{Attach, Error, Guard, Keyboard, Native, Otp}

  # The session's last events are in the mailbox within this time of its end.
  @last_events 500
  # A session that cannot take more input for now is asked again after this time.
  @retry 20

  # `trap` is whether the process traps exits for our sake only; `unsent` is input that the session could not take yet.
  defstruct [
    :session,
    :bracket,
    :leader,
    :attach,
    :monitor,
    :guard,
    :waiter,
    :closed,
    :timer,
    :retry,
    trap: false,
    unsent: ""
  ]

  @spec run(:controlling | :group_leader, pid(), binary()) ::
          Attach.result() | {:error, term()}
  def run(target, session, key) do
    leader = Process.group_leader()

    with {:ok, bracket} <- Guard.acquire({target, leader}) do
      pump = start(target, session, key, bracket, leader)

      try do
        :ok = first(bracket)
        loop(pump)
      after
        finish(pump)
      end
      |> give_back(bracket, leader)
    end
  end

  defp start(target, session, key, bracket, leader) do
    bytes? = bracket.keyboard == nil

    %__MODULE__{
      session: session,
      bracket: bracket,
      leader: leader,
      attach: Attach.new(key, if(bytes?, do: :bytes, else: :characters)),
      monitor: Process.monitor(session),
      guard: Process.monitor(Guard),
      waiter: wait_for(session, bracket.id),
      closed: if(target == :controlling, do: :hangup, else: :gl_eof),
      # ssh_cli and user_drv end a shell's read with ctrl-c; between two reads they signal the shell process instead.
      trap: not bytes? and not Process.flag(:trap_exit, true)
    }
  end

  # The owner's event is the end. It cannot be told from one of an earlier session, and goes elsewhere when somebody
  # else is the owner: so the session is asked as well.
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

  defp loop({:stop, result, rest}), do: {result, rest}
  defp loop(pump), do: pump |> next() |> loop()

  # -- messages to events ----------------------------------------------------------------------------------------------

  defp next(%{bracket: %{id: id}, monitor: monitor, guard: guard, leader: leader} = pump) do
    receive do
      {:linx_process, :pty_out, bytes} -> handle(pump, {:output, bytes})
      {:linx_process, :exited, code} -> ended(pump, {:exited, code})
      {:linx_process, :signaled, signal} -> ended(pump, {:signaled, signal})
      {:linx_process, :aborted} -> ended(pump, :aborted)
      {:linx_process, :error, errno, stage} -> ended(pump, {:error, {stage, errno}})
      {:linx_tty, ^id, {:data, bytes}} -> handle(pump, {:input, bytes})
      {:linx_tty, ^id, :interrupt} -> handle(pump, {:input, <<3>>})
      {:linx_tty, ^id, {:size, size}} -> handle(pump, {:size, size})
      {:linx_tty, ^id, :held} -> handle(pump, :held_too_long)
      {:linx_tty, ^id, :again} -> unsent(pump)
      {:linx_tty, ^id, {:ended, outcome}} -> handle(pump, {:ended, outcome})
      {:linx_tty, ^id, :eof} -> handle(pump, {:closed, pump.closed})
      {:linx_tty, :sigwinch} -> resized(pump)
      {:linx_tty, :sigcont} -> continued(pump)
      {:EXIT, ^leader, :interrupt} -> handle(pump, {:input, <<3>>})
      {:EXIT, _pid, reason} when pump.trap -> if(reason == :normal, do: pump, else: exit(reason))
      {:DOWN, ^monitor, _, _, _} -> handle(pump, {:ended, {:error, :no_process}})
      {:DOWN, ^guard, _, _, _} -> handle(pump, {:closed, :guard_died})
    end
  end

  # An event of another session of ours that ended earlier is not this one's end.
  defp ended(pump, event) do
    case info(pump.session) do
      {:ok, %{result: nil}} -> pump
      {:ok, %{result: result}} -> handle(pump, {:ended, result})
      # It ended and did not linger; this is what it said.
      {:error, _} -> handle(pump, {:ended, event})
    end
  end

  defp info(session) do
    Session.info(session)
  catch
    :exit, _ -> {:error, :no_process}
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
        {:stop, _, _} = stop -> {:halt, stop}
        pump -> {:cont, pump}
      end
    end)
  end

  defp act({:workload, bytes}, %{unsent: ""} = pump), do: unsent(%{pump | unsent: bytes})
  defp act({:workload, bytes}, pump), do: %{pump | unsent: pump.unsent <> bytes}

  defp act({:terminal, bytes}, %{attach: %{output: :bytes}} = pump) do
    case Native.terminal_write(pump.bracket.terminal, bytes) do
      :ok -> pump
      {:error, {step, errno}} -> stop(pump, {:error, Error.from_nif(step, errno)}, "")
    end
  end

  defp act({:terminal, characters}, pump) do
    # Over ssh each byte goes as a character.
    characters =
      if pump.bracket.bytes,
        do: :unicode.characters_to_binary(characters, :latin1),
        else: characters

    case :io.request(pump.leader, {:put_chars, :unicode, characters}) do
      :ok -> pump
      {:error, _} -> stop(pump, {:error, :gl_eof}, "")
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

  defp act(:want, %{bracket: %{keyboard: nil, terminal: terminal}} = pump) do
    Native.terminal_want(terminal)
    pump
  end

  defp act(:want, pump) do
    Keyboard.want(pump.bracket.keyboard)
    pump
  end

  defp act({:stop, result, rest}, pump), do: stop(pump, result, rest)

  defp stop(pump, result, rest) do
    for timer <- [pump.timer, pump.retry], timer, do: Process.cancel_timer(timer)
    {:stop, result, rest}
  end

  defp unsent(pump) do
    case write(pump.session, pump.unsent) do
      {:error, :busy} ->
        %{pump | retry: Process.send_after(self(), {:linx_tty, pump.bracket.id, :again}, @retry)}

      # An error here is the session's end, whose event is on the way.
      _ ->
        %{pump | unsent: ""}
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

  defp finish(pump) do
    Guard.release(pump.bracket)
    {waiter, address} = pump.waiter
    Process.unalias(address)
    send(waiter, {:stop, address})
    Process.demonitor(pump.monitor, [:flush])
    Process.demonitor(pump.guard, [:flush])
    if pump.trap, do: untrap(pump.leader)
  end

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

  # Keys that arrived and were not used are the shell's.
  defp give_back({result, rest}, bracket, leader) do
    typed = rest <> leftover(bracket.id, "")
    if String.valid?(typed), do: Otp.typed(leader, bracket.driver, typed)
    result
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
