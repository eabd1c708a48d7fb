defmodule Linx.Mailbox do
  @moduledoc false
  # How much is unread, for senders whose messages have no acknowledgement. Only the length is
  # looked at, which costs the same for any mailbox.

  @doc """
  The number of messages in a process's mailbox; 0 for one that has ended, and for one on another
  node, whom the distribution's own limit protects.
  """
  @spec length_of(pid()) :: non_neg_integer()
  def length_of(pid) when node(pid) != node(), do: 0

  def length_of(pid) do
    case Process.info(pid, :message_queue_len) do
      {:message_queue_len, length} -> length
      nil -> 0
    end
  end
end
