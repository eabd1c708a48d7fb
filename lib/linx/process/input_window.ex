defmodule Linx.Process.InputWindow do
  @moduledoc false
  # The window of input to the workload's terminal or standard input. The agent gets at most a
  # window of unconfirmed bytes, fewer than its pipe holds, so that the port is never busy. The
  # rest waits here, up to a limit that counts the memory of each piece too, so that many small
  # pieces are bounded like few large ones.

  @window 48 * 1024
  @limit 64 * 1024 * 1024

  # The memory of a piece beside its bytes: a queue's cell, a term and its binary.
  @overhead 64

  # The amount of waiting input below which the next piece of a long input is requested.
  @low 256 * 1024

  defstruct queue: :queue.new(), waiting: 0, unconfirmed: 0, closing?: false

  @type t() :: %__MODULE__{}

  @spec new() :: t()
  def new, do: %__MODULE__{}

  @spec push(t(), binary()) :: {:ok, t()} | {:error, :busy | :closed}
  def push(%{closing?: closing}, _bytes) when closing != false, do: {:error, :closed}
  def push(input, <<>>), do: {:ok, input}

  def push(input, bytes) do
    waiting = input.waiting + cost(bytes)

    # A single input of the limit's size is accepted if no other input waits.
    if waiting > @limit + @overhead,
      do: {:error, :busy},
      else: {:ok, %{input | queue: :queue.in(own(bytes), input.queue), waiting: waiting}}
  end

  defp cost(bytes), do: byte_size(bytes) + @overhead

  # Copies a small part of a large binary, which would keep the whole binary alive.
  defp own(bytes) do
    if :binary.referenced_byte_size(bytes) > 2 * byte_size(bytes),
      do: :binary.copy(bytes),
      else: bytes
  end

  @doc "Whether a long input may go on, because little input waits."
  @spec low?(t()) :: boolean()
  def low?(input), do: input.waiting <= @low

  @doc "Closes the standard input after the last waiting byte."
  @spec close(t()) :: t()
  def close(input), do: %{input | closing?: true}

  @doc "The agent has written `count` bytes."
  @spec done(t(), non_neg_integer()) :: t()
  def done(input, count), do: %{input | unconfirmed: max(input.unconfirmed - count, 0)}

  @doc "The commands to send now."
  @spec take(t()) :: {[term()], t()}
  def take(input), do: take(input, [])

  defp take(%{unconfirmed: unconfirmed} = input, commands) when unconfirmed >= @window,
    do: {Enum.reverse(commands), input}

  defp take(input, commands) do
    room = @window - input.unconfirmed

    case :queue.out(input.queue) do
      {:empty, _queue} when input.closing? == true ->
        {Enum.reverse([:close_stdin | commands]), %{input | closing?: :sent}}

      {:empty, _queue} ->
        {Enum.reverse(commands), input}

      {{:value, bytes}, queue} when byte_size(bytes) <= room ->
        input = %{input | queue: queue, waiting: input.waiting - @overhead}
        take(sent(input, bytes), [{:write, bytes} | commands])

      {{:value, bytes}, queue} ->
        <<now::binary-size(^room), later::binary>> = bytes
        take(sent(%{input | queue: :queue.in_r(later, queue)}, now), [{:write, now} | commands])
    end
  end

  defp sent(input, bytes) do
    size = byte_size(bytes)
    %{input | waiting: input.waiting - size, unconfirmed: input.unconfirmed + size}
  end
end
