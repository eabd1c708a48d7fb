defmodule Linx.Process.Credit do
  @moduledoc false
  # How much output the port program may send. It reads the workload's terminal or pipes only against credit, so that an
  # owner that does not take its messages stops the workload, as a full pipe would, and the VM stays small.
  #
  # The documented events have no acknowledgement, so credit is granted by a look at the owner's mailbox: at once while
  # it is short, otherwise when little of what is in it is output. An owner on another node is granted at once: the
  # distribution's own limit slows the session down.

  # What may be on its way, and how much of it must be used up before more is granted: half, so that a grant is in time,
  # and one write of ours and one wake-up of the port program serve two full frames.
  @initial 256 * 1024
  @step 128 * 1024

  # A frame counts for at least this much (c_src_replacement/src/output.rs).
  @least 4096

  @short_mailbox 16
  @first_delay 5
  @longest_delay 500

  defstruct spent: 0, delay: nil

  @type t() :: %__MODULE__{}

  @spec new() :: t()
  def new, do: %__MODULE__{}

  @spec initial() :: pos_integer()
  def initial, do: @initial

  @doc "`bytes` of output have arrived."
  @spec spend(t(), non_neg_integer()) :: t()
  def spend(credit, bytes), do: %{credit | spent: credit.spent + max(bytes, @least)}

  @doc "The timer that was asked for has fired."
  @spec woken(t()) :: t()
  def woken(credit), do: %{credit | delay: {:elapsed, credit.delay}}

  @doc "How much to grant now that `owner` is as it is."
  @spec grant(t(), pid() | port() | nil) ::
          {:grant, pos_integer(), t()} | {:ask_again, pos_integer(), t()} | {:nothing, t()}
  # A timer is running.
  def grant(%{delay: delay} = credit, _owner) when is_integer(delay), do: {:nothing, credit}

  def grant(%{spent: spent} = credit, _owner) when spent < @step,
    do: {:nothing, %{credit | delay: nil}}

  def grant(credit, owner) do
    if keeps_up?(owner, credit.delay != nil) do
      {:grant, credit.spent, %{credit | spent: 0, delay: nil}}
    else
      delay = next(credit.delay)
      {:ask_again, delay, %{credit | delay: delay}}
    end
  end

  defp next(nil), do: @first_delay
  defp next({:elapsed, delay}), do: min(delay * 2, @longest_delay)

  # Nobody reads.
  defp keeps_up?(owner, _closer?) when not is_pid(owner), do: true
  defp keeps_up?(owner, _closer?) when node(owner) != node(), do: true

  defp keeps_up?(owner, closer?) do
    case Process.info(owner, :message_queue_len) do
      nil -> true
      {:message_queue_len, length} when length <= @short_mailbox -> true
      {:message_queue_len, _length} -> closer? and unread(owner) < @initial
    end
  end

  # A mailbox may be long for reasons of its own. Copying it to look inside is worth it only when the owner has had time
  # to read; large binaries are not copied.
  defp unread(owner) do
    case Process.info(owner, :messages) do
      nil -> 0
      {:messages, messages} -> messages |> Enum.map(&cost/1) |> Enum.sum()
    end
  end

  defp cost({:linx_process, stream, bytes})
       when stream in [:pty_out, :stdout, :stderr] and is_binary(bytes),
       do: max(byte_size(bytes), @least)

  defp cost(_message), do: 0
end
