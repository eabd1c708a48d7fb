defmodule Linx.Netlink.Nfnl do
  @moduledoc """
  nfnetlink, the netlink family of netfilter: nf_tables, NFLOG, conntrack, NFQUEUE behind one
  protocol number.

  A socket from `open/1` belongs to one network namespace for life, and with it everything that is
  done through it.

      {:ok, nfnl} = Linx.Netlink.Nfnl.open({:pid, container_pid})
      :ok = Linx.Netfilter.push(nfnl, ruleset)

  This module opens sockets and carries batches; what the messages say is the subsystem's affair
  (`Linx.Netfilter`). Headers and message types are in `Linx.Netlink.Nfnl.Codec`.

  Source: include/uapi/linux/netfilter/nfnetlink.h, net/netfilter/nfnetlink.c.
  """

  import Linx.Netlink.Constants

  alias Linx.Netlink.{Error, Message, Request, Socket}
  alias Linx.Netlink.Nfnl.Codec

  @doc """
  Opens an nfnetlink socket in a network namespace; forms and errors as for
  `Linx.Netlink.Socket.open/2`.

  Needs no privilege by itself; nearly every request does.
  """
  @spec open(Socket.netns()) :: {:ok, Socket.t()} | {:error, term()}
  def open(netns \\ :host), do: Socket.open(netlink_netfilter(), netns)

  @doc """
  Sends messages as one transaction: all of them take effect, or none.

  They are wrapped in BATCH_BEGIN and BATCH_END, numbered, and sent in one `sendmsg(2)`. Option
  `:genid` makes the kernel refuse the batch (`:erestart`) when the ruleset's generation is
  another one.

  Answers `{:error, {position, %Linx.Netlink.Error{}}}` for the first message that the kernel
  refused, counted from 1; 0 is the envelope (`:eperm`, `:erestart`, an unsupported subsystem). A
  failure of the socket itself is `{:error, %Linx.Netlink.Error{}}`.
  """
  @spec batch(Socket.t(), [Message.t()], atom() | 0..255, keyword()) ::
          :ok | {:error, {non_neg_integer(), Error.t()} | term()}
  def batch(%Socket{} = socket, inner_messages, subsys \\ :nftables, opts \\ []) do
    bytes = for m <- inner_messages, into: <<>>, do: Message.encode(m)

    case transact(socket, [bytes], length(inner_messages), subsys, opts) do
      {:ok, []} -> :ok
      {:ok, [first | _]} -> {:error, first}
      {:error, error} -> {:error, error}
    end
  end

  # All refusals of a batch of `count` messages, by position. Messages are not acknowledged one by
  # one: errors come back all the same, and thousands of acknowledgements would overrun the
  # receive buffer. The kernel has queued every answer when the send returns.
  @doc false
  @spec transact(Socket.t(), [binary()], non_neg_integer(), atom() | 0..255, keyword()) ::
          {:ok, [{non_neg_integer(), Error.t()}]} | {:error, Error.t()}
  def transact(%Socket{} = socket, inner, count, subsys, opts) do
    first = Socket.next_seqs(socket, count + 2)
    opening = Message.encode(Codec.batch_begin(subsys, opts))
    parts = [opening | inner] ++ [Message.encode(Codec.batch_end(subsys))]

    with {:ok, _messages, failures, _interrupted?} <-
           Socket.transact(socket, parts, {first, first + count + 1}) do
      {:ok,
       failures
       |> Enum.map(&{elem(&1, 0) - first, Request.error(&1)})
       |> Enum.sort_by(&elem(&1, 0))}
    end
  end
end
