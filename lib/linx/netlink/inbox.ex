defmodule Linx.Netlink.Inbox do
  @moduledoc false
  # A netlink socket that listens, for a process that waits for other messages too.
  #
  #     {:ok, inbox} = Inbox.open(protocol, netns, groups, rcvbuf)     # in the process that will wait
  #     {:ok, messages, lost?} = Inbox.read(inbox, :raw | :rtnl)
  #
  # Whoever has read is sent one {:"$socket", _, :select, _} when there is more, and reads again then: by way of its
  # mailbox, so that a flood keeps nobody waiting who asks for something else. A read takes at most 64 datagrams, so a
  # burst is one wake-up. `lost?`: after `messages` the kernel dropped some (ENOBUFS), and the owner has to look for itself.
  #
  # OTP's :socket waits, on a duplicate of the descriptor: a receive that peeks says whether something is there or has
  # the VM's poll set watch. The bytes are read natively. A blocked receive must not sit in one of the VM's few dirty
  # threads.

  alias Linx.Native
  alias Linx.Netlink.{Error, Socket}

  @af_netlink 16
  @most 64

  @type t :: %__MODULE__{socket: Socket.t(), wait: :socket.socket()}

  @enforce_keys [:socket, :wait]
  defstruct [:socket, :wait]

  @spec open(non_neg_integer(), Socket.netns(), [pos_integer()], pos_integer()) ::
          {:ok, t()} | {:error, term()}
  def open(protocol, netns, groups, rcvbuf) do
    with {:ok, socket} <- Socket.open(protocol, netns) do
      with :ok <- Socket.set_rcvbuf(socket, rcvbuf),
           :ok <- join(socket, groups),
           {:ok, fd} <- Native.netlink_fd(socket.socket),
           {:ok, wait} <- duplicate(fd, protocol) do
        {:ok, %__MODULE__{socket: socket, wait: wait}}
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

  defp duplicate(fd, protocol),
    do: :socket.open(fd, %{dup: true, domain: @af_netlink, type: :raw, protocol: protocol})

  @doc "What is there now; a select message follows when there is more."
  @spec read(t(), Native.netlink_form()) :: {:ok, [tuple()], boolean()} | {:error, term()}
  def read(%__MODULE__{} = inbox, form) do
    case Native.netlink_drain(inbox.socket.socket, form, @most) do
      {:ok, messages, :empty} ->
        with {:ok, lost?} <- arm(inbox), do: {:ok, messages, lost?}

      {:ok, messages, more} ->
        send(self(), {:"$socket", inbox.wait, :select, more})
        {:ok, messages, more == :overrun}

      {:error, fault} ->
        {:error, Error.from_fault(fault)}
    end
  end

  # That messages were dropped is said once, to the next call of whatever kind.
  defp arm(%__MODULE__{wait: wait} = inbox) do
    case :socket.recv(wait, 1, [:peek], :nowait) do
      {:select, _info} ->
        {:ok, false}

      {:ok, _byte} ->
        send(self(), {:"$socket", wait, :select, :more})
        {:ok, false}

      {:error, :enobufs} ->
        with {:ok, _lost?} <- arm(inbox), do: {:ok, true}

      {:error, reason} ->
        {:error, reason}
    end
  end

  @spec close(t()) :: :ok
  def close(%__MODULE__{socket: socket, wait: wait}) do
    _ = :socket.close(wait)
    Socket.close(socket)
  end
end
