defmodule Linx.Netlink.Inbox.Flow do
  @moduledoc false
  # How much a listener reads for its owner, whose messages have no acknowledgement. Of the
  # owner's mailbox only the length is looked at, which costs the same for any mailbox.
  #
  #   * Unread are at most the last `length` messages that were sent, and their cost is known. Up
  #     to a window of it the listener reads on; beyond, it looks again soon, and the kernel drops
  #     what does not fit its buffer.
  #   * A mailbox that stays long may be long for reasons of its own: an owner that picks the
  #     events out of others. When its length has not changed for a while a few events are sent as
  #     a trial. If they are gone soon, and nothing else is, then all are read as they come, and
  #     the length counts as that of the others. For few others that is believed until the mailbox
  #     is shorter; for many it is tried again after some windows, because they may be taken out
  #     and events left in their place. After a trial that failed the next waits twice as long,
  #     without a limit.
  #
  # An owner on another node is taken to read: the distribution's own limit slows the listener
  # down.

  alias Linx.Mailbox

  # Bytes on the owner's heap, estimated: a struct and its binaries are a few times what they were
  # in the message.
  @window 8 * 1024 * 1024
  @bucket div(@window, 64)
  @buckets 66
  @per_byte 4
  @per_event 512

  # Datagrams of a read, of a trial, and the events that a trial takes.
  @max_datagrams 64
  @few 16
  @trial 4

  # Milliseconds: between looks, before the first trial, for its events to be read beside that,
  # and at least for a length to be steady.
  @min_delay 2
  @max_delay 100
  @pause 200
  @patience 250
  @settle 10

  # Other messages that are believed in for good, and what is sent on the word of more than these.
  @some 512
  @trusted 4 * @window

  defstruct buckets: [],
            others: 0,
            trusted: 0,
            stage: :open,
            delay: @min_delay,
            pause: @pause

  @typep stage() ::
           :open
           | {:blocked, length :: non_neg_integer(), since :: integer()}
           | {:trial, length :: non_neg_integer(), since :: integer(), sent :: non_neg_integer()}
           | {:settling, length :: non_neg_integer(), until :: integer()}

  @typedoc "`buckets` are `{events, cost}` of what was sent, the newest first."
  @type t() :: %__MODULE__{
          buckets: [{non_neg_integer(), non_neg_integer()}],
          others: non_neg_integer(),
          trusted: non_neg_integer(),
          stage: stage(),
          delay: pos_integer(),
          pause: pos_integer()
        }

  @spec new() :: t()
  def new, do: %__MODULE__{}

  @doc "The estimated cost of events on a heap."
  @spec cost(non_neg_integer(), non_neg_integer()) :: non_neg_integer()
  def cost(events, bytes), do: events * @per_event + bytes * @per_byte

  @doc "So many events in so many bytes have been read, and go to the owner."
  @spec spend(t(), non_neg_integer(), non_neg_integer()) :: t()
  def spend(flow, 0, _bytes), do: flow

  def spend(flow, events, bytes) do
    cost = cost(events, bytes)
    flow = %{flow | trusted: flow.trusted + cost}

    flow =
      case flow.stage do
        {:trial, length, since, sent} -> %{flow | stage: {:trial, length, since, sent + events}}
        _stage -> flow
      end

    case flow.buckets do
      [{held, sum} | older] when sum < @bucket ->
        %{flow | buckets: [{held + events, sum + cost} | older]}

      buckets ->
        %{flow | buckets: Enum.take([{events, cost} | buckets], @buckets)}
    end
  end

  @doc "How many datagrams to read for `owner` now, or the milliseconds after which to ask again."
  @spec room(t(), pid()) :: {:read, pos_integer(), t()} | {:wait, pos_integer(), t()}
  def room(flow, owner),
    do: room(flow, Mailbox.length_of(owner), System.monotonic_time(:millisecond))

  @doc "The same for an owner with so many messages, at a time in milliseconds."
  @spec room(t(), non_neg_integer(), integer()) ::
          {:read, pos_integer(), t()} | {:wait, pos_integer(), t()}
  def room(flow, length, now) do
    flow = %{flow | others: believed(flow, length)}

    if unread(flow.buckets, length - flow.others) <= @window,
      do: {:read, @max_datagrams, %{flow | stage: :open, delay: @min_delay}},
      else: long(flow, length, now)
  end

  defp believed(%{others: others, trusted: trusted}, _length)
       when others > @some and trusted > @trusted,
       do: 0

  defp believed(%{others: others}, length), do: min(others, length)

  # The cost of the last `length` events.
  defp unread(_buckets, length) when length <= 0, do: 0
  defp unread([], _length), do: 0
  defp unread([{events, cost} | older], length), do: cost + unread(older, length - events)

  # -- a long mailbox ----------------------------------------------------------------------------

  defp long(%{stage: {:blocked, length, since}} = flow, length, now)
       when now - since >= flow.pause,
       do: {:read, @few, %{flow | stage: {:trial, length, now, 0}}}

  defp long(%{stage: {:blocked, length, _since}} = flow, length, _now), do: look_again(flow)

  # Too few to say anything.
  defp long(%{stage: {:trial, length, _since, sent}} = flow, length, _now) when sent < @trial,
    do: {:read, @few, flow}

  defp long(%{stage: {:trial, length, since, _sent}} = flow, length, now) do
    steady = max(3 * (now - since), @settle)
    {:wait, steady, %{flow | stage: {:settling, length, now + steady}}}
  end

  defp long(%{stage: {:trial, base, since, sent}} = flow, length, now)
       when length > base and now - since < @pause + @patience do
    if sent < @trial, do: {:read, @few, flow}, else: look_again(flow)
  end

  defp long(%{stage: {:settling, length, until}} = flow, length, now) when now < until,
    do: {:wait, until - now, flow}

  defp long(%{stage: {:settling, length, _until}, pause: pause}, length, _now) do
    pause = max(div(pause, 2), @pause)
    {:read, @max_datagrams, %__MODULE__{others: length, pause: pause}}
  end

  defp long(%{stage: {stage, _base, _since}} = flow, length, now) when stage == :settling,
    do: block(%{flow | pause: flow.pause * 2}, length, now)

  defp long(%{stage: {:trial, _base, _since, _sent}} = flow, length, now),
    do: block(%{flow | pause: flow.pause * 2}, length, now)

  # The owner takes something out.
  defp long(flow, length, now), do: block(flow, length, now)

  defp block(flow, length, now),
    do: look_again(%{flow | stage: {:blocked, length, now}, delay: @min_delay})

  defp look_again(%{delay: delay} = flow),
    do: {:wait, delay, %{flow | delay: min(delay * 2, @max_delay)}}
end
