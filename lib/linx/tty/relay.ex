defmodule Linx.Tty.Relay do
  @moduledoc false
  # Owns the session for the time of an attach and passes its events on with the attach's number,
  # so that an attach shows its own session and no other of the same owner. The session is
  # borrowed from its owner, whoever that is (Linx.Process.Loan), and goes back at the end, also
  # when the attaching process is killed.
  #
  # To the attaching process, each with `id`:
  #   {:linx_tty, id, {:output, bytes}}   answered with took/1
  #   {:linx_tty, id, {:ended, outcome}}
  #   {:linx_tty, id, :gone}              the session's process has ended
  #
  # Every other event goes to the owner as it is. So does the end, unless the owner is the
  # attaching process.
  #
  # Few events are on their way to the attaching process at once: the rest stays in this process's
  # mailbox, by which the session sees that its output is not taken.

  alias Linx.Process, as: Session
  alias Linx.Process.Error

  @ahead 64

  defstruct [:pid, :attacher, :session, :id, :owner, :own?, sent: [], ahead: 0, held: false]

  @type t :: %__MODULE__{}

  @doc """
  Borrows `session` for the calling process.
  """
  @spec start(pid(), non_neg_integer()) :: {:ok, t()} | {:error, atom()}
  def start(session, id) do
    attacher = self()
    relay = %__MODULE__{attacher: attacher, session: session, id: id}
    {pid, ref} = spawn_monitor(fn -> borrow(relay) end)

    receive do
      {^pid, {:ok, relay}} ->
        Process.demonitor(ref, [:flush])
        {:ok, %{relay | pid: pid}}

      {^pid, {:error, reason}} ->
        Process.demonitor(ref, [:flush])
        {:error, reason}

      {:DOWN, ^ref, _, _, _} ->
        {:error, :no_process}
    end
  end

  @doc """
  The session's output before the attach that has not been read, taken out of the caller's mailbox
  if the caller owns the session.
  """
  @spec earlier(t()) :: [binary()]
  def earlier(%{own?: true, sent: sent}), do: unread(sent, [])
  def earlier(_relay), do: []

  # Newest first: what has been read is older than what has not.
  defp unread([], earlier), do: earlier

  defp unread([bytes | older], earlier) do
    receive do
      {:linx_process, :pty_out, ^bytes} -> unread(older, [bytes | earlier])
    after
      0 -> unread(older, earlier)
    end
  end

  @doc "An output has been shown."
  @spec took(t()) :: :ok
  def took(relay) do
    send(relay.pid, :took)
    :ok
  end

  @doc "Gives the session back. What was not shown is the owner's."
  @spec stop(t()) :: :ok
  def stop(relay) do
    ref = Process.monitor(relay.pid)
    send(relay.pid, {:hold, self(), ref})

    receive do
      {^ref, :held} -> returned(relay, ref)
      {:DOWN, ^ref, _, _, _} -> :ok
    end
  end

  defp returned(relay, ref) do
    send(relay.pid, {:unshown, unshown(relay.id)})
    _ = Session.take_back(relay.session, relay.pid)
    # The relay stops even if the session has not asked it: the session has another owner, or is
    # gone.
    send(relay.pid, :stop)

    receive do
      {:DOWN, ^ref, _, _, _} -> :ok
    end
  end

  defp unshown(id) do
    receive do
      {:linx_tty, ^id, {:output, bytes}} -> [bytes | unshown(id)]
    after
      0 -> []
    end
  end

  defp borrow(%{attacher: attacher, session: session} = relay) do
    Process.monitor(attacher)
    Process.monitor(session)

    case Session.lend(session, self()) do
      {:ok, {owner, sent}} ->
        relay = %{relay | pid: self(), owner: owner, own?: pid(owner) == attacher}
        send(attacher, {self(), {:ok, %{relay | sent: sent}}})
        loop(relay)

      {:error, reason} ->
        send(attacher, {self(), {:error, reason}})
    end
  end

  defp pid(owner) when is_pid(owner), do: owner
  defp pid(name), do: Process.whereis(name)

  defp loop(%{ahead: ahead, held: false} = relay) when ahead < @ahead do
    %{attacher: attacher, session: session} = relay

    receive do
      {:linx_process, :pty_out, bytes} ->
        tell(relay, {:output, bytes})
        loop(%{relay | ahead: ahead + 1})

      event when is_tuple(event) and elem(event, 0) == :linx_process ->
        loop(event(relay, event))

      {:DOWN, _, _, ^session, _} ->
        tell(relay, :gone)
        loop(relay)

      {:DOWN, _, _, ^attacher, _} ->
        deserted(relay)

      message ->
        control(relay, message)
    end
  end

  # The attacher has enough, or is leaving: events stay where they are.
  defp loop(%{attacher: attacher} = relay) do
    receive do
      {:DOWN, _, _, ^attacher, _} -> deserted(relay)
      :took -> control(relay, :took)
      :stop -> control(relay, :stop)
      {:hold, _, _} = message -> control(relay, message)
      {:unshown, _} = message -> control(relay, message)
      {:take_back, _, _} = message -> control(relay, message)
    end
  end

  defp control(relay, :took), do: loop(%{relay | ahead: relay.ahead - 1})
  defp control(relay, :stop), do: leave(relay, [])

  defp control(relay, {:hold, from, ref}) do
    send(from, {ref, :held})
    loop(%{relay | held: true})
  end

  defp control(relay, {:unshown, outputs}) do
    Enum.each(outputs, &to_owner(relay, {:linx_process, :pty_out, &1}))
    loop(%{relay | held: Enum.reverse(outputs)})
  end

  defp control(%{held: held} = relay, {:take_back, session, ref}) do
    sent = leave(relay, if(is_list(held), do: held, else: []))
    send(session, {ref, sent})
  end

  defp control(relay, _message), do: loop(relay)

  # The attaching process was killed. The session waits for this process's answer, so another one
  # asks it.
  defp deserted(%{session: session} = relay) do
    me = self()

    spawn(fn ->
      _ = Session.take_back(session, me)
      send(me, :stop)
    end)

    loop(%{relay | held: true, own?: false})
  end

  # All that is still in the mailbox is the owner's. Gives the outputs among it, newest first.
  defp leave(relay, outputs) do
    receive do
      {:linx_process, :pty_out, bytes} = event ->
        to_owner(relay, event)
        leave(relay, [bytes | outputs])

      event when is_tuple(event) and elem(event, 0) == :linx_process ->
        to_owner(relay, event)
        leave(relay, outputs)
    after
      0 -> outputs
    end
  end

  defp event(relay, event) do
    case outcome(event) do
      nil ->
        to_owner(relay, event)

      outcome ->
        if not relay.own?, do: to_owner(relay, event)
        tell(relay, {:ended, outcome})
    end

    relay
  end

  defp outcome({:linx_process, :exited, code}), do: {:exited, code}
  defp outcome({:linx_process, :signaled, signal}), do: {:signaled, signal}
  defp outcome({:linx_process, :aborted}), do: :aborted

  defp outcome({:linx_process, :error, errno, stage}),
    do: {:error, Error.from_agent(errno, stage)}

  defp outcome(_event), do: nil

  defp to_owner(%{owner: owner} = relay, event) when is_atom(owner),
    do: send({owner, node(relay.session)}, event)

  defp to_owner(%{owner: owner}, event), do: send(owner, event)

  defp tell(relay, what), do: send(relay.attacher, {:linx_tty, relay.id, what})
end
