defmodule Linx.Netlink.Inbox do
  @moduledoc false
  # A netlink socket that listens, for a process that waits for other messages too.
  #
  #     {:ok, inbox} = Inbox.open(protocol, netns, groups, rcvbuf)     # in the process that will wait
  #     :ok = Inbox.arm(inbox)      # now, or when something comes, the caller gets {:"$socket", _, :select, _}
  #     {:ok, messages, state} = Inbox.drain(inbox, :raw | :rtnl)
  #
  # `drain/2` takes what is there, at most 64 datagrams: a burst is one wake-up. `state` is
  #
  #   * `:empty`: arm again and wait;
  #   * `:more`: drain again;
  #   * `:overrun`: after `messages` some were dropped (ENOBUFS); tell the owner to look for itself, and drain again.
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

  @doc """
  Asks for one `{:"$socket", _, :select, _}`, sent when something is there. `:overrun` is `:ok` with the news that
  messages were dropped: the kernel says that once, to the next call of whatever kind.
  """
  @spec arm(t()) :: :ok | :overrun | {:error, term()}
  def arm(%__MODULE__{wait: wait} = inbox) do
    case :socket.recv(wait, 1, [:peek], :nowait) do
      {:select, _info} ->
        :ok

      {:ok, _byte} ->
        send(self(), {:"$socket", wait, :select, :ready})
        :ok

      {:error, :enobufs} ->
        with :ok <- arm(inbox), do: :overrun

      {:error, reason} ->
        {:error, reason}
    end
  end

  @spec drain(t(), Native.netlink_form()) ::
          {:ok, [tuple()], :empty | :more | :overrun} | {:error, Error.t()}
  def drain(%__MODULE__{socket: socket}, form) do
    with {:error, fault} <- Native.netlink_drain(socket.socket, form, @most),
         do: {:error, Error.from_fault(fault)}
  end

  @spec close(t()) :: :ok
  def close(%__MODULE__{socket: socket, wait: wait}) do
    _ = :socket.close(wait)
    Socket.close(socket)
  end
end
