defmodule Linx.Process.Inlet do
  @moduledoc false
  # Input on its way to the workload's terminal or standard input. The agent gets at most a window that it has not
  # confirmed as written: less than its pipe holds, so that the port is never busy. The rest waits here, up to a limit
  # that counts the memory of a piece too, so that many small ones are bounded like few large ones.

  @window 48 * 1024
  @limit 64 * 1024 * 1024

  # What a piece costs beside its bytes: a queue's cell, a term and its binary.
  @overhead 64

  # Below this much the next piece of a long input is asked for.
  @low 256 * 1024

  defstruct queue: :queue.new(), waiting: 0, unconfirmed: 0, closing?: false

  @type t() :: %__MODULE__{}

  @spec new() :: t()
  def new, do: %__MODULE__{}

  @spec push(t(), binary()) :: {:ok, t()} | {:error, :busy | :closed}
  def push(%{closing?: closing}, _bytes) when closing != false, do: {:error, :closed}
  def push(inlet, <<>>), do: {:ok, inlet}

  def push(inlet, bytes) do
    waiting = inlet.waiting + cost(bytes)

    # An input that alone is as large as the limit is taken when nothing else waits.
    if waiting > @limit + @overhead,
      do: {:error, :busy},
      else: {:ok, %{inlet | queue: :queue.in(own(bytes), inlet.queue), waiting: waiting}}
  end

  defp cost(bytes), do: byte_size(bytes) + @overhead

  # A small part of a large binary would keep all of that.
  defp own(bytes) do
    if :binary.referenced_byte_size(bytes) > 2 * byte_size(bytes),
      do: :binary.copy(bytes),
      else: bytes
  end

  @doc "Whether little enough waits for a long input to go on."
  @spec low?(t()) :: boolean()
  def low?(inlet), do: inlet.waiting <= @low

  @doc "Close once everything is through."
  @spec close(t()) :: t()
  def close(inlet), do: %{inlet | closing?: true}

  @doc "The agent has written `count` bytes."
  @spec done(t(), non_neg_integer()) :: t()
  def done(inlet, count), do: %{inlet | unconfirmed: max(inlet.unconfirmed - count, 0)}

  @doc "What to send now."
  @spec take(t()) :: {[term()], t()}
  def take(inlet), do: take(inlet, [])

  defp take(%{unconfirmed: unconfirmed} = inlet, commands) when unconfirmed >= @window,
    do: {Enum.reverse(commands), inlet}

  defp take(inlet, commands) do
    room = @window - inlet.unconfirmed

    case :queue.out(inlet.queue) do
      {:empty, _queue} when inlet.closing? == true ->
        {Enum.reverse([:close_stdin | commands]), %{inlet | closing?: :sent}}

      {:empty, _queue} ->
        {Enum.reverse(commands), inlet}

      {{:value, bytes}, queue} when byte_size(bytes) <= room ->
        inlet = %{inlet | queue: queue, waiting: inlet.waiting - @overhead}
        take(sent(inlet, bytes), [{:write, bytes} | commands])

      {{:value, bytes}, queue} ->
        <<now::binary-size(^room), later::binary>> = bytes
        take(sent(%{inlet | queue: :queue.in_r(later, queue)}, now), [{:write, now} | commands])
    end
  end

  defp sent(inlet, bytes) do
    size = byte_size(bytes)
    %{inlet | waiting: inlet.waiting - size, unconfirmed: inlet.unconfirmed + size}
  end
end
