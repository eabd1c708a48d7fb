defmodule Linx.Netfilter.Encoder.Frames do
  @moduledoc false
  # The messages of a batch, written one behind the other, and where in the ruleset each comes
  # from.
  #
  # Ten thousand rules in one binary that grows leave nothing for the collector to copy, which as
  # a list of messages costs more than to write them. Sequence numbers are 0: a batch is numbered
  # when it is sent.

  alias Linx.Netlink.Message

  # `places` has the first message of each run, the last run first: `{position, at, index}`,
  # counted from 1. With an index the messages of the run are the rules from that one on, each one
  # message. `tail` has messages that were written apart, `{bytes, count}`, the last first.
  defstruct bytes: <<>>, count: 0, places: [], tail: []

  @type place :: {pos_integer(), keyword(), non_neg_integer() | nil}
  @type t :: %__MODULE__{
          bytes: binary(),
          count: non_neg_integer(),
          places: [place()],
          tail: [{binary(), pos_integer()}]
        }

  @spec new() :: t()
  def new, do: %__MODULE__{}

  @doc "With one more message, which comes from `at`."
  @spec add(t(), Message.t(), keyword()) :: t()
  def add(%__MODULE__{} = frames, %Message{payload: payload} = message, at) do
    bytes = Message.append(frames.bytes, message.type, message.flags, 0, payload)
    frames |> run(at, nil) |> grown(bytes, 1)
  end

  @doc "From here on come the rules from `index` on, or with nil all from `at`."
  @spec run(t(), keyword(), non_neg_integer() | nil) :: t()
  def run(%__MODULE__{places: [{_position, at, nil} | _]} = frames, at, nil), do: frames

  def run(%__MODULE__{count: count, places: places} = frames, at, index),
    do: %{frames | places: [{count + 1, at, index} | places]}

  @doc "With `more` messages that have been written behind the others."
  @spec grown(t(), binary(), non_neg_integer()) :: t()
  def grown(%__MODULE__{count: count} = frames, bytes, more),
    do: %{frames | bytes: bytes, count: count + more}

  @doc """
  With messages that were written apart, behind all others: elements of a large set, of which one
  binary that grows would be twice as large. Nothing else can be added after them.
  """
  @spec part(t(), binary(), non_neg_integer(), keyword()) :: t()
  def part(frames, _bytes, 0, _at), do: frames

  def part(%__MODULE__{} = frames, bytes, more, at) do
    frames = run(frames, at, nil)
    %{frames | tail: [{bytes, more} | frames.tail], count: frames.count + more}
  end

  @doc "All bytes, in their order."
  @spec parts(t()) :: [binary()]
  def parts(%__MODULE__{bytes: bytes, tail: tail}),
    do: [bytes | Enum.reduce(tail, [], fn {part, _count}, parts -> [part | parts] end)]

  @doc "The messages."
  @spec messages(t()) :: [Message.t()]
  def messages(%__MODULE__{} = frames), do: Enum.flat_map(parts(frames), &Message.decode/1)

  @doc "The message at a position, counted from 1, and where it comes from."
  @spec at(t(), pos_integer()) :: {Message.t(), keyword()}
  def at(%__MODULE__{places: places} = frames, position) do
    {_first, _at, _index} =
      place = Enum.find(places, fn {first, _at, _index} -> first <= position end)

    {within(frames, position), resolved(place, position)}
  end

  defp within(%__MODULE__{bytes: bytes, tail: tail, count: count}, position) do
    first = count - Enum.sum_by(tail, &elem(&1, 1))

    if position <= first,
      do: message(bytes, position),
      else: in_part(Enum.reverse(tail), position - first)
  end

  defp in_part([{bytes, count} | _], position) when position <= count,
    do: message(bytes, position)

  defp in_part([{_bytes, count} | parts], position), do: in_part(parts, position - count)

  defp resolved({_first, at, nil}, _position), do: at
  defp resolved({first, at, index}, position), do: at ++ [rule: index + position - first]

  defp message(<<length::native-32, _::binary>> = bytes, 1),
    do: bytes |> binary_part(0, length) |> Message.decode() |> hd()

  defp message(<<length::native-32, _::binary>> = bytes, position) do
    padded = length + Bitwise.band(-length, 3)
    message(binary_part(bytes, padded, byte_size(bytes) - padded), position - 1)
  end
end
