defmodule Linx.Process.Inlet do
  @moduledoc false
  # What is on its way to the workload's terminal or standard input. The port program gets at most a window that it has
  # not confirmed as written: less than its pipe holds, so that the port is never busy. The rest waits here, up to a
  # limit.

  @window 48 * 1024
  @limit 64 * 1024 * 1024

  defstruct queue: :queue.new(), waiting: 0, unconfirmed: 0, closing?: false

  @type t() :: %__MODULE__{}

  @spec new() :: t()
  def new, do: %__MODULE__{}

  @spec push(t(), binary()) :: {:ok, t()} | {:error, :busy | :closed}
  def push(%{closing?: closing}, _bytes) when closing != false, do: {:error, :closed}
  def push(inlet, <<>>), do: {:ok, inlet}

  def push(%{waiting: waiting}, bytes) when waiting + byte_size(bytes) > @limit,
    do: {:error, :busy}

  def push(inlet, bytes) do
    {:ok,
     %{inlet | queue: :queue.in(bytes, inlet.queue), waiting: inlet.waiting + byte_size(bytes)}}
  end

  @doc "Close once everything is through."
  @spec close(t()) :: t()
  def close(inlet), do: %{inlet | closing?: true}

  @doc "The port program has written `count` bytes."
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
        take(sent(%{inlet | queue: queue}, bytes), [{:write, bytes} | commands])

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
