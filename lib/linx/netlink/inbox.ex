defmodule Linx.Netlink.Inbox do
  @moduledoc false
  # A netlink socket that listens on behalf of an owner, for a process that waits for other
  # messages too.
  #
  #     # in the process that will wait
  #     {:ok, inbox} = Inbox.open(protocol, netns, groups, rcvbuf, owner)
  #     {:ok, messages, lost?, inbox} = Inbox.read(inbox, :raw | :rtnl)
  #
  # After a read the process is sent one `{:linx_netlink_readable, _}` when it is to read again:
  # by way of its mailbox, so that a flood keeps nobody waiting who asks for something else. A
  # read takes at most 64 datagrams, so a burst is one wake-up. `lost?`: after `messages` the
  # kernel dropped some (ENOBUFS), and the owner has to look for itself.
  #
  # Messages that were read count as sent to the owner; while many of them are unread no more are
  # read (Linx.Netlink.Inbox.Flow). The kernel drops those that its buffer does not hold, and
  # reports the loss.
  #
  # A thread of the native library waits for all such sockets. No descriptor leaves the library: a
  # duplicate of it, which OTP's :socket needs to wait, would be closed by a scheduler when the
  # process is killed.

  alias Linx.Native
  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Inbox.Flow

  @type t :: %__MODULE__{
          socket: Socket.t(),
          owner: pid(),
          reference: reference(),
          flow: Flow.t()
        }

  @enforce_keys [:socket, :owner, :reference, :flow]
  defstruct [:socket, :owner, :reference, :flow]

  @spec open(non_neg_integer(), Socket.netns(), [pos_integer()], pos_integer(), pid()) ::
          {:ok, t()} | {:error, term()}
  def open(protocol, netns, groups, rcvbuf, owner) do
    with {:ok, socket} <- Socket.open(protocol, netns) do
      with :ok <- Socket.set_rcvbuf(socket, rcvbuf),
           :ok <- join(socket, groups) do
        inbox = %__MODULE__{
          socket: socket,
          owner: owner,
          reference: make_ref(),
          flow: Flow.new()
        }

        {:ok, inbox}
      else
        error ->
          Socket.close(socket)
          error
      end
    end
  end

  defp join(socket, groups) do
    Enum.reduce_while(groups, :ok, fn group, :ok ->
      case Socket.add_membership(socket, group) do
        :ok -> {:cont, :ok}
        error -> {:halt, error}
      end
    end)
  end

  @doc "The messages that are there now and that the owner has room for."
  @spec read(t(), Native.netlink_form()) :: {:ok, [tuple()], boolean(), t()} | {:error, term()}
  def read(%__MODULE__{} = inbox, form) do
    case Flow.room(inbox.flow, inbox.owner) do
      {:read, most, flow} ->
        read(%{inbox | flow: flow}, form, most)

      {:wait, milliseconds, flow} ->
        Process.send_after(self(), readable(inbox), milliseconds)
        {:ok, [], false, %{inbox | flow: flow}}
    end
  end

  defp read(%__MODULE__{socket: %Socket{socket: socket}} = inbox, form, most) do
    with {:ok, messages, state, bytes} <- Native.netlink_drain(socket, form, most),
         :ok <- again(inbox, state) do
      flow = Flow.spend(inbox.flow, length(messages), bytes)
      {:ok, messages, state == :overrun, %{inbox | flow: flow}}
    else
      {:error, fault} -> {:error, Error.from_fault(fault)}
    end
  end

  defp again(inbox, :empty), do: Native.netlink_watch(inbox.socket.socket, inbox.reference)

  defp again(inbox, _more) do
    send(self(), readable(inbox))
    :ok
  end

  defp readable(inbox), do: {:linx_netlink_readable, inbox.reference}

  @doc "The estimated cost of events on a heap, in bytes."
  @spec cost(non_neg_integer(), non_neg_integer()) :: non_neg_integer()
  defdelegate cost(events, bytes), to: Flow

  @spec close(t()) :: :ok
  def close(%__MODULE__{socket: socket}), do: Socket.close(socket)
end
