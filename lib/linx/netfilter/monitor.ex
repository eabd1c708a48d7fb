defmodule Linx.Netfilter.Monitor do
  @moduledoc """
  A process that reports the changes of a network namespace's ruleset to its owner.

      {:ok, monitor} = Linx.Netfilter.subscribe(self())
      # {:linx_netfilter, :event, %Linx.Netfilter.Event{}}   for each change
      # {:linx_netfilter, :resync_needed}                    some were lost: pull again
      :ok = Linx.Netfilter.unsubscribe(monitor)

  The kernel sends the changes of a commit first and closes it with the new generation. The
  monitor holds them until that comes, and then delivers `:new_gen` followed by the changes, all
  stamped with the generation and with who committed.

  When changes come faster than they are read the kernel drops some. Then the commit that was
  being read is given up, the owner is told `:resync_needed` once, and delivery goes on with the
  next whole commit. A larger `:rcvbuf` makes that rarer.

  To have a snapshot and every change after it without a gap, subscribe first and pull with
  `subscribe_first: monitor`.

  The monitor reads no faster than its owner: beyond about 8 MiB of events that the owner has not
  read, the kernel drops those that its buffer does not hold. A commit of more than about 16 MiB
  of events (20 000 elements of a set) is not delivered either, but told as a loss.

  The monitor ends when its owner does, and it is linked to the process that started it: what
  relies on its events should not outlive it. It never changes a ruleset.

  Source: include/uapi/linux/netfilter/nfnetlink.h, `NFNLGRP_NFTABLES`;
  net/netfilter/nf_tables_api.c, `nf_tables_commit`.
  """

  use Linx.Netlink.Listener, form: :raw

  import Linx.Netlink.Constants

  alias Linx.Netfilter.{Decoder, Error}
  alias Linx.Netlink.{Inbox, Listener, Message, Socket}

  @nfnlgrp_nftables 7
  @newgen 0x0A0F
  @rcvbuf 4 * 1024 * 1024

  # Bytes of an open commit, and of the commits that a pull holds back; estimated as the inbox
  # does.
  @max_held 16 * 1024 * 1024

  @type opt ::
          {:owner, pid()}
          | {:netns, Socket.netns()}
          | {:since_gen, non_neg_integer()}
          | {:rcvbuf, pos_integer()}

  @doc """
  Starts a monitor linked to the caller.

  Options: `:owner` (required; the process that gets the messages), `:netns` (default `:host`),
  `:since_gen` (generations up to this one are not delivered, default 0), `:rcvbuf` (bytes,
  default 4 MiB). A bad option raises `ArgumentError`; a socket that cannot be had is
  `{:error, reason}`.
  """
  @spec start_link([opt()]) :: GenServer.on_start()
  def start_link(opts), do: GenServer.start_link(__MODULE__, checked(opts))

  @doc """
  Keeps events of generations up to `gen` back from now on; those of earlier calls stay kept back.
  """
  @spec set_min_gen(pid(), non_neg_integer()) :: :ok
  def set_min_gen(monitor, gen) when is_integer(gen) and gen >= 0,
    do: GenServer.call(monitor, {:set_min_gen, gen})

  # A pull takes time, and what is committed meanwhile may be in its answer or not: the monitor
  # keeps commits until it is told, or until the caller is gone.
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

  @impl Listener
  def open(opts) do
    owner = Keyword.fetch!(opts, :owner)
    netns = Keyword.get(opts, :netns, :host)
    rcvbuf = Keyword.get(opts, :rcvbuf, @rcvbuf)

    with {:ok, inbox} <-
           Inbox.open(netlink_netfilter(), netns, [@nfnlgrp_nftables], rcvbuf, owner) do
      state = %{
        owner: owner,
        min_gen: Keyword.get(opts, :since_gen, 0),
        held: [],
        held_cost: 0,
        lost?: false,
        holds: [],
        kept: [],
        kept_cost: 0
      }

      {:ok, inbox, state}
    else
      {:error, %Linx.Netlink.Error{} = error} ->
        {:error,
         Error.from_posix(error.errno, :subscribe, code: error.code, message: error.message)}

      {:error, reason} ->
        {:error, reason}
    end
  end

  @impl Listener
  def handle_request({:set_min_gen, gen}, _from, state),
    do: {:reply, :ok, raise_floor(state, gen)}

  def handle_request(:hold, {pid, _tag}, state) do
    hold = Process.monitor(pid)
    {:reply, hold, %{state | holds: [hold | state.holds]}}
  end

  def handle_request({:release, hold, gen}, _from, state) do
    Process.demonitor(hold, [:flush])
    {:reply, :ok, state |> raise_floor(gen) |> let_go(hold)}
  end

  # The process that held commits back has ended.
  @impl Listener
  def handle_down(hold, state), do: let_go(state, hold)

  @impl Listener
  def handle_messages(messages, state), do: Enum.reduce(messages, state, &message/2)

  # Drops the held messages of an open commit: they are incomplete, and so are those up to the
  # next closing message.
  @impl Listener
  def handle_loss(state),
    do: news(%{state | held: [], held_cost: 0, lost?: true}, :resync_needed, 0)

  @doc false
  # A message, and what it does: a value in, a value out but for the sends.
  @spec message(tuple(), map()) :: map()
  # The commit that the loss cut into: its events are not all here.
  def message({@newgen, _flags, _seq, _payload}, %{lost?: true} = state),
    do: %{state | lost?: false}

  def message({@newgen, _flags, _seq, payload}, state) do
    closing = Decoder.event(%Message{type: @newgen, payload: payload})
    by = Map.take(closing, [:gen_id, :proc_pid, :proc_name])
    events = [closing | for(event <- Enum.reverse(state.held), do: Map.merge(event, by))]
    cost = state.held_cost
    news(%{state | held: [], held_cost: 0}, {:commit, closing.gen_id, events}, cost)
  end

  def message({type, _flags, _seq, payload}, %{lost?: false} = state)
      when Bitwise.bsr(type, 8) == 10 do
    event = Decoder.event(%Message{type: type, payload: payload})
    cost = state.held_cost + Inbox.cost(1, byte_size(payload))

    # A commit of any size would fill memory: such a one is lost like one that the kernel dropped.
    if cost > @max_held,
      do: handle_loss(state),
      else: %{state | held: [event | state.held], held_cost: cost}
  end

  def message(_other, state), do: state

  # -- to the owner ------------------------------------------------------------------------------

  defp raise_floor(state, gen), do: %{state | min_gen: max(gen, state.min_gen)}

  defp news(%{holds: []} = state, news, _cost) do
    deliver(state, news)
    state
  end

  # Commits that do not fit are lost, also for whoever holds them back.
  defp news(%{kept_cost: kept} = state, _news, cost) when kept + cost > @max_held,
    do: %{state | kept: [:resync_needed], kept_cost: 0}

  defp news(state, news, cost),
    do: %{state | kept: [news | state.kept], kept_cost: state.kept_cost + cost}

  defp let_go(state, hold) do
    case List.delete(state.holds, hold) do
      [] ->
        state.kept |> Enum.reverse() |> Enum.each(&deliver(state, &1))
        %{state | holds: [], kept: [], kept_cost: 0}

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
