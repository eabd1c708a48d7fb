defmodule Linx.Process.Tee do
  @moduledoc false
  # The further listeners of a session's output and end, beside its owner. The credit of each is
  # what it may leave unread: beyond that the session waits for it, and drops it when it has not
  # come back after a while.

  alias Linx.Mailbox

  # Listeners of one session; bytes that may be unread; milliseconds that the session waits.
  @max_listeners 16
  @unread 256 * 1024
  @patience 500

  # As for the owner (Linx.Process.Credit): this few messages are no backlog.
  @short_mailbox 16
  @min_cost 4096

  @outputs [:pty_out, :stdout, :stderr]
  @ends [:exited, :signaled, :aborted, :error]

  defstruct listeners: %{}

  @typep listener() :: %{
           monitor: reference(),
           unread: non_neg_integer(),
           behind_since: integer() | nil
         }
  @type t() :: %__MODULE__{listeners: %{pid() => listener()}}

  @spec new() :: t()
  def new, do: %__MODULE__{}

  @doc "Adding one again changes nothing."
  @spec add(t(), pid()) :: {:ok, t()} | {:error, :too_many_listeners}
  def add(%{listeners: listeners} = tee, pid) when is_map_key(listeners, pid), do: {:ok, tee}

  def add(%{listeners: listeners}, _pid) when map_size(listeners) == @max_listeners,
    do: {:error, :too_many_listeners}

  def add(tee, pid) do
    listener = %{monitor: Process.monitor(pid), unread: 0, behind_since: nil}
    {:ok, put_in(tee.listeners[pid], listener)}
  end

  @spec remove(t(), pid()) :: t()
  def remove(tee, pid) do
    case Map.pop(tee.listeners, pid) do
      {nil, _listeners} ->
        tee

      {listener, listeners} ->
        Process.demonitor(listener.monitor, [:flush])
        %{tee | listeners: listeners}
    end
  end

  @doc "Sends the part of the owner's `message` that listeners get: output and ends."
  @spec tell(t(), tuple()) :: :ok
  def tell(%{listeners: listeners}, _message) when listeners == %{}, do: :ok

  def tell(tee, message) when elem(message, 1) in @outputs or elem(message, 1) in @ends do
    tagged = {:linx_process, :tee, self(), Tuple.delete_at(message, 0)}
    Enum.each(tee.listeners, fn {pid, _listener} -> send(pid, tagged) end)
  end

  def tell(_tee, _message), do: :ok

  @doc "`bytes` of output were sent."
  @spec spend(t(), non_neg_integer()) :: t()
  def spend(%{listeners: listeners} = tee, _bytes) when listeners == %{}, do: tee

  def spend(tee, bytes) do
    update(tee, fn _pid, listener ->
      %{listener | unread: listener.unread + max(bytes, @min_cost)}
    end)
  end

  @doc """
  Whether the session has to wait for a listener. Drops the listeners whose wait was too long, and
  sends them `:tee_dropped`.
  """
  @spec look(t(), integer()) :: {:go | :wait, t()}
  def look(%{listeners: listeners} = tee, _now) when listeners == %{}, do: {:go, tee}

  def look(tee, now) do
    tee = update(tee, &look_at(&1, &2, now))

    late =
      for {pid, %{behind_since: since}} when since != nil <- tee.listeners,
          now - since >= @patience,
          do: pid

    for pid <- late, do: send(pid, {:linx_process, :tee_dropped, self()})
    tee = Enum.reduce(late, tee, &remove(&2, &1))
    behind? = Enum.any?(tee.listeners, fn {_pid, listener} -> listener.behind_since != nil end)
    {if(behind?, do: :wait, else: :go), tee}
  end

  defp look_at(_pid, %{unread: unread} = listener, _now) when unread < @unread, do: listener

  defp look_at(pid, listener, now) do
    if Mailbox.length_of(pid) > @short_mailbox,
      do: %{listener | behind_since: listener.behind_since || now},
      else: %{listener | unread: 0, behind_since: nil}
  end

  defp update(tee, change) do
    %{tee | listeners: Map.new(tee.listeners, fn {pid, each} -> {pid, change.(pid, each)} end)}
  end
end
