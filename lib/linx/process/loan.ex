defmodule Linx.Process.Loan do
  @moduledoc false
  # A session's owner for a while, with the owner to come back to, and the output that the owner
  # may not have read.
  #
  # The documented events do not name their session. The borrower of a session takes its unread
  # output out of the owner's mailbox by comparing each message with the session's last output;
  # another session's output stays.

  alias Linx.Mailbox

  # The most output of a session that an owner without reading can have (Linx.Process.Credit), and
  # the amount after which the owner's mailbox is inspected: an empty mailbox means that all
  # output was read.
  @max_bytes 512 * 1024
  @look 16 * 1024
  @max_events 256

  defstruct [:lent, sent: [], bytes: 0, looked: 0, events: 0]

  @type owner() :: pid() | atom()
  @type t() :: %__MODULE__{
          lent: nil | {monitor :: reference(), to :: pid(), owner()},
          sent: [binary()],
          bytes: non_neg_integer(),
          looked: non_neg_integer(),
          events: non_neg_integer()
        }

  @doc """
  `message` goes to `owner`. Only a terminal's output is kept, and none while the session is lent.
  """
  @spec sent(t(), tuple(), pid() | port() | nil) :: t()
  def sent(%{lent: nil} = loan, {:linx_process, :pty_out, bytes}, owner) do
    loan = look(loan, owner)
    size = byte_size(bytes)

    if loan.bytes + size > @max_bytes or loan.events >= @max_events,
      do: kept(%{loan | sent: [], bytes: 0, looked: 0, events: 0}, bytes, size),
      else: kept(loan, bytes, size)
  end

  def sent(loan, _message, _owner), do: loan

  defp kept(loan, bytes, size) do
    %{
      loan
      | sent: [bytes | loan.sent],
        bytes: loan.bytes + size,
        events: loan.events + 1
    }
  end

  defp look(%{bytes: bytes, looked: looked} = loan, owner)
       when bytes - looked > @look and is_pid(owner) and node(owner) == node() do
    if Mailbox.length_of(owner) > 0,
      do: %{loan | looked: bytes},
      else: %{loan | sent: [], bytes: 0, looked: 0, events: 0}
  end

  defp look(loan, _owner), do: loan

  @doc """
  Lends to the process `to`. Gives the owner, and the output that it may not have read, newest
  first.
  """
  @spec lend(t(), owner(), pid()) :: {:ok, {owner(), [binary()]}, t()} | {:error, :busy}
  def lend(%{lent: nil} = loan, owner, to) do
    lent = {Process.monitor(to), to, owner}
    {:ok, {owner, loan.sent}, %__MODULE__{lent: lent}}
  end

  def lend(_loan, _owner, _to), do: {:error, :busy}

  @doc """
  Takes the session back from `to`, which first sends the owner all events that it has not used,
  and returns their output. The result is the owner; `:none` if `to` has no loan.
  """
  @spec take_back(t(), pid()) :: {owner(), t()} | :none
  def take_back(%{lent: {ref, to, owner}}, to) do
    send(to, {:take_back, self(), ref})

    sent =
      receive do
        {^ref, sent} -> sent
        {:DOWN, ^ref, _, _, _} -> []
      after
        1_000 -> []
      end

    Process.demonitor(ref, [:flush])
    bytes = sent |> Enum.map(&byte_size/1) |> Enum.sum()
    {owner, %__MODULE__{sent: sent, bytes: bytes, events: length(sent)}}
  end

  def take_back(_loan, _to), do: :none

  @doc """
  The owner to come back to when the process that `ref` watches has ended; `:none` when it is not
  the borrower.
  """
  @spec ended(t(), reference()) :: {owner(), t()} | :none
  def ended(%{lent: {ref, _to, owner}}, ref), do: {owner, %__MODULE__{}}
  def ended(_loan, _ref), do: :none

  @doc "The loan is over, since the session has another owner."
  @spec drop(t()) :: t()
  def drop(%{lent: {ref, _to, _owner}}) do
    Process.demonitor(ref, [:flush])
    %__MODULE__{}
  end

  def drop(_loan), do: %__MODULE__{}
end
