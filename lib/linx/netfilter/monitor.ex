defmodule Linx.Netfilter.Monitor do
  @moduledoc """
  A process that reports the changes of a network namespace's ruleset to its owner.

      {:ok, monitor} = Linx.Netfilter.subscribe(self())
      # {:linx_netfilter, :event, %Linx.Netfilter.Event{}}   for each change
      # {:linx_netfilter, :resync_needed}                    some were lost: pull again
      :ok = Linx.Netfilter.unsubscribe(monitor)

  The kernel sends the changes of a commit first and closes it with the new generation. The monitor holds them until that comes, and then
  delivers `:new_gen` followed by the changes, all stamped with the generation and with who committed.

  When changes come faster than they are read the kernel drops some. Then the commit that was being read is given up, the owner is told
  `:resync_needed` once, and delivery goes on with the next whole commit. A larger `:rcvbuf` makes that rarer.

  To have a snapshot and every change after it without a gap, subscribe first and pull with
  `subscribe_first: monitor`.

  The monitor ends when its owner does. It never changes a ruleset.

  Source: include/uapi/linux/netfilter/nfnetlink.h, `NFNLGRP_NFTABLES`; net/netfilter/nf_tables_api.c, `nf_tables_commit`.
  """

  use GenServer

  alias Linx.Netfilter.{Decoder, Error}
  alias Linx.Netlink.{Inbox, Message, Socket}

  @netlink_netfilter 12
  @nfnlgrp_nftables 7
  @newgen 0x0A0F
  @rcvbuf 4 * 1024 * 1024

  @type opt ::
          {:owner, pid()}
          | {:netns, Socket.netns()}
          | {:since_gen, non_neg_integer()}
          | {:rcvbuf, pos_integer()}

  @doc """
  Starts a monitor linked to the caller.

  Options: `:owner` (required; the process that gets the messages), `:netns` (default `:host`), `:since_gen` (generations up to this one are not
  delivered, default 0), `:rcvbuf` (bytes, default 4 MiB). A bad option raises `ArgumentError`; a socket that cannot be had is `{:error, reason}`.
  """
  @spec start_link([opt()]) :: GenServer.on_start()
  def start_link(opts), do: GenServer.start_link(__MODULE__, checked(opts))

  @doc false
  @spec start([opt()]) :: GenServer.on_start()
  def start(opts), do: GenServer.start(__MODULE__, checked(opts))

  @doc "Keeps events of generations up to `gen` back from now on; those of earlier calls stay kept back."
  @spec set_min_gen(pid(), non_neg_integer()) :: :ok
  def set_min_gen(monitor, gen) when is_integer(gen) and gen >= 0,
    do: GenServer.call(monitor, {:set_min_gen, gen})

  # A pull takes time, and what is committed meanwhile may be in its answer or not: the monitor keeps commits until it is
  # told, or until the caller is gone.
  @doc false
  @spec hold(pid()) :: reference()
  def hold(monitor), do: GenServer.call(monitor, :hold, :infinity)

  # Delivers what was kept and is of a later generation than `gen`.
  @doc false
  @spec release(pid(), reference(), non_neg_integer()) :: :ok
  def release(monitor, hold, gen), do: GenServer.call(monitor, {:release, hold, gen}, :infinity)

  @doc "Stops the monitor and closes its socket."
  @spec stop(pid()) :: :ok
  def stop(monitor), do: GenServer.stop(monitor)

  defp checked(opts) do
    Enum.each(opts, fn
      {:owner, pid} when is_pid(pid) -> :ok
      {:netns, netns} -> Socket.check_netns!(netns)
      {:since_gen, n} when is_integer(n) and n >= 0 -> :ok
      {:rcvbuf, n} when n in 1..0x3FFFFFFF -> :ok
      other -> raise ArgumentError, "not an option of a monitor: #{inspect(other)}"
    end)

    unless opts[:owner], do: raise(ArgumentError, "a monitor needs :owner")
    opts
  end

  @impl true
  def init(opts) do
    owner = Keyword.fetch!(opts, :owner)
    netns = Keyword.get(opts, :netns, :host)

    case Inbox.open(
           @netlink_netfilter,
           netns,
           [@nfnlgrp_nftables],
           Keyword.get(opts, :rcvbuf, @rcvbuf)
         ) do
      {:ok, inbox} ->
        Process.monitor(owner)

        state = %{
          inbox: inbox,
          owner: owner,
          min_gen: Keyword.get(opts, :since_gen, 0),
          held: [],
          lost?: false,
          holds: [],
          kept: []
        }

        {:ok, state, {:continue, :read}}

      {:error, %Linx.Netlink.Error{} = error} ->
        # Not {:stop, _}: that would take the caller with it.
        {:error,
         Error.from_posix(error.errno, :subscribe, code: error.code, message: error.message)}

      {:error, reason} ->
        {:error, reason}
    end
  end

  @impl true
  def handle_continue(:read, state), do: read(state)

  @impl true
  def handle_call({:set_min_gen, gen}, _from, state),
    do: {:reply, :ok, raise_floor(state, gen)}

  def handle_call(:hold, {pid, _tag}, state) do
    hold = Process.monitor(pid)
    {:reply, hold, %{state | holds: [hold | state.holds]}}
  end

  def handle_call({:release, hold, gen}, _from, state) do
    Process.demonitor(hold, [:flush])
    {:reply, :ok, state |> raise_floor(gen) |> let_go(hold)}
  end

  @impl true
  def handle_info({:"$socket", _socket, :select, _info}, state), do: read(state)

  def handle_info({:DOWN, _ref, :process, owner, _reason}, %{owner: owner} = state),
    do: {:stop, :normal, state}

  def handle_info({:DOWN, hold, :process, _puller, _reason}, state),
    do: {:noreply, let_go(state, hold)}

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state), do: Inbox.close(state.inbox)

  defp read(state) do
    case Inbox.read(state.inbox, :raw) do
      {:ok, messages, lost?} ->
        state = Enum.reduce(messages, state, &message/2)
        {:noreply, if(lost?, do: overrun(state), else: state)}

      {:error, reason} ->
        {:stop, reason, state}
    end
  end

  # What was held of an open commit is incomplete, and so is what comes up to the next closing message.
  defp overrun(state), do: news(%{state | held: [], lost?: true}, :resync_needed)

  @doc false
  # A message, and what it does: a value in, a value out but for the sends.
  @spec message(tuple(), map()) :: map()
  # The commit that the loss cut into: its events are not all here.
  def message({@newgen, _flags, _seq, _payload}, %{lost?: true} = state),
    do: %{state | held: [], lost?: false}

  def message({@newgen, _flags, _seq, payload}, state) do
    closing = Decoder.event(%Message{type: @newgen, payload: payload})
    by = Map.take(closing, [:gen_id, :proc_pid, :proc_name])
    events = [closing | for(event <- Enum.reverse(state.held), do: Map.merge(event, by))]
    news(%{state | held: []}, {:commit, closing.gen_id, events})
  end

  def message({type, _flags, _seq, payload}, state) do
    if Bitwise.bsr(type, 8) == 10,
      do: %{state | held: [Decoder.event(%Message{type: type, payload: payload}) | state.held]},
      else: state
  end

  # -- to the owner ----------------------------------------------------------------------------------------------------

  defp raise_floor(state, gen), do: %{state | min_gen: max(gen, state.min_gen)}

  defp news(%{holds: []} = state, news) do
    deliver(state, news)
    state
  end

  defp news(state, news), do: %{state | kept: [news | state.kept]}

  defp let_go(state, hold) do
    case List.delete(state.holds, hold) do
      [] ->
        state.kept |> Enum.reverse() |> Enum.each(&deliver(state, &1))
        %{state | holds: [], kept: []}

      holds ->
        %{state | holds: holds}
    end
  end

  defp deliver(state, :resync_needed), do: send(state.owner, {:linx_netfilter, :resync_needed})

  defp deliver(state, {:commit, gen, events}) do
    if gen == nil or gen > state.min_gen,
      do: Enum.each(events, &send(state.owner, {:linx_netfilter, :event, &1}))
  end
end
