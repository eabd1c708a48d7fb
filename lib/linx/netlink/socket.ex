defmodule Linx.Netlink.Socket do
  @moduledoc """
  A netlink socket in a network namespace of your choice.

      {:ok, socket} = Linx.Netlink.Socket.open(0, {:pid, container_pid})
      :ok = Linx.Netlink.Socket.close(socket)

  A netlink socket belongs to the namespace in which it was made, for life: a namespace stays
  alive as long as a socket in it is open, and no process of it is needed any more. Which one that
  is:

    * `:host` (or `:self`) - the VM's own;
    * `{:pid, pid}` - that of a process;
    * `{:path, path}` - that of a namespace file, such as `/run/netns/blue`;
    * a `Linx.Process` session - that of its process, which cannot be mistaken for another with
      the same pid;
    * a `Linx.Netns` - a namespace that the VM holds, in which there need be no process.

  Any number of processes may share a socket. It carries one request at a time; the others wait
  their turn in order of arrival, and a process that dies while waiting, or while its request
  runs, leaves nothing behind. For requests that should run at the same time open several sockets:
  they are cheap.

  `close/1` may be called at any moment by anyone; requests that come later get `errno: :ebadf`,
  and the descriptor's number cannot be taken by something else while a request still uses it. A
  socket that nobody refers to any more is closed by the garbage collector, some time; one that
  owns a table of nf_tables not before the process ends that made the table.
  """

  # How requests are made, for the modules above this one:
  #
  #     seq = Socket.next_seqs(socket, n)            # n consecutive numbers, first one returned
  #     bytes = for ... Message.append(bytes, type, flags, seq + i, payload)
  #     {:ok, messages, failures, interrupted?} =
  #       Socket.exchange(socket, bytes, {seq, seq + n - 1})
  #
  # The bytes go out in one send(2), for which the send buffer grows as needed (SO_SNDBUFFORCE).
  # The kernel does all the work and queues all answers before that call returns. Answers are
  # taken by sequence number, our port and sender 0.
  #
  #   * `messages` are the data messages: with `form: :raw` `{type, flags, seq, payload}`, with
  #     `form: :rtnl` flat tuples by the native schemas (Linx.Netlink.Rtnl.Objects), or
  #     `{dump, count}` if there are many.
  #   * `failures` are `{seq, errno, offset, text, missing}`; the offset counts from the start of
  #     that message's header. An acknowledgement is not listed.
  #
  # There are three:
  #
  #   * `exchange/3` reads until the final answer of the last sequence number: NLMSG_ERROR or
  #     NLMSG_DONE. So the last message must carry NLM_F_ACK or be a dump. The messages before it
  #     need no NLM_F_ACK: their errors come back all the same, and 2 000 acknowledgements would
  #     overrun the receive buffer.
  #   * `call/4` does the same, and frames the messages itself.
  #   * `transact/3` reads what is there once send(2) has returned, until nothing is left. That
  #     suits a transaction that the kernel may refuse as a whole with one error on its first
  #     message (NFNL_MSG_BATCH_BEGIN), leaving the last one unanswered. Its messages need not be
  #     numbered.
  #
  # To listen, see Linx.Netlink.Inbox.

  alias Linx.{Native, Pool}
  alias Linx.Netlink.Error
  alias Linx.Process.AgentImage
  alias Linx.Target

  @type netns ::
          :host
          | :self
          | {:pid, pos_integer()}
          | {:path, binary()}
          | Linx.Process.t()
          | Linx.Netns.t()

  @type t :: %__MODULE__{
          netns: netns(),
          protocol: non_neg_integer(),
          seq: :atomics.atomics_ref(),
          socket: Native.netlink()
        }

  @typedoc false
  @type failure :: Native.netlink_failure()

  # In the process dictionary.
  @held {__MODULE__, :held}

  @enforce_keys [:netns, :protocol, :seq, :socket]
  defstruct [:netns, :protocol, :seq, :socket]

  @seq_max 0xFFFFFFFF

  @doc """
  Opens a socket of `protocol`: 0 is `NETLINK_ROUTE`, 12 `NETLINK_NETFILTER`, 16
  `NETLINK_GENERIC`.

  The socket is bound, asks for extended acknowledgements and strict checking where the kernel has
  them, and has a receive buffer of 1 MiB where the caller may exceed net.core.rmem_max.

  A VM without root gets one in the network namespace of its own child, named by pid or session,
  that has a user namespace too: the agent joins both and hands the socket out. Who made a user
  namespace may do all that root may in there.

  An open socket keeps its network namespace, and the links in it, beyond the end of every process
  there. Close it when the namespace is to go.

  A namespace or socket that cannot be had is `{:error, %Linx.Netlink.Error{}}` with the failing
  step in `stage`. A session that is not up yet or is over is `{:error, :not_ready}` or
  `{:error, :no_process}`. A `netns` of another shape raises `ArgumentError`.

  Source: netlink(7), network_namespaces(7).
  """
  @spec open(non_neg_integer(), netns()) :: {:ok, t()} | {:error, Error.t() | atom()}
  def open(protocol, netns \\ :host) when protocol in 0..0xFFFF do
    with {:ok, target} <- target(netns),
         {:ok, socket} <-
           target |> agent() |> Native.netlink_open(protocol, target) |> native() do
      seq = :atomics.new(1, signed: false)
      {:ok, %__MODULE__{netns: netns, protocol: protocol, seq: seq, socket: socket}}
    end
  end

  # The agent, for a namespace that a thread of ours may not join.
  defp agent(""), do: ""
  defp agent(_target), do: List.to_string(AgentImage.path())

  defp target(:host), do: {:ok, ""}

  defp target(netns) do
    case Target.resolve(netns) do
      {:error, {:bad_in, _}} ->
        raise ArgumentError, no_netns(netns)

      other ->
        other
    end
  end

  # The socket, if it is one of a protocol: for verbs, whose first argument it is.
  @doc false
  @spec check!(term(), non_neg_integer(), String.t()) :: t()
  def check!(%__MODULE__{protocol: protocol} = socket, protocol, _opener), do: socket

  def check!(other, protocol, opener) do
    raise ArgumentError,
          "not a netlink socket of protocol #{protocol}: #{inspect(other)}" <>
            hint(other, opener)
  end

  defp hint({:ok, %__MODULE__{}}, _opener), do: "; the socket is inside the {:ok, socket}"

  defp hint(%__MODULE__{protocol: other}, opener),
    do: "; this one is of protocol #{other}, and #{opener} opens the other"

  defp hint(_other, opener), do: "; #{opener} opens one"

  @doc false
  @spec no_netns(term()) :: String.t()
  def no_netns(pid) when is_integer(pid) and pid > 0,
    do: "not a network namespace: #{pid}; that of a process is {:pid, #{pid}}"

  def no_netns("/" <> _ = path),
    do: "not a network namespace: #{inspect(path)}; a namespace file is {:path, #{inspect(path)}}"

  def no_netns(other), do: "not a network namespace: #{inspect(other)}"

  # Keeps the socket open as long as the caller lives. The collector closes one that nobody refers
  # to, and with it would go what it owns in the kernel, while the process that made that lives.
  @doc false
  @spec hold(t()) :: :ok
  def hold(%__MODULE__{socket: socket}) do
    # Those that were closed are let go of.
    held =
      for old <- Process.get(@held, []),
          old != socket and match?({:ok, _}, Native.netlink_port(old)),
          do: old

    Process.put(@held, [socket | held])
    :ok
  end

  # For processes that open a socket as they start: a caller's mistake is to raise in the caller.
  @doc false
  @spec check_netns!(term()) :: :ok
  def check_netns!(session) when is_pid(session), do: :ok
  def check_netns!(netns), do: with({:ok, _} <- target(netns), do: :ok)

  @doc """
  Closes the socket. Closing it again does nothing.
  """
  @spec close(t()) :: :ok
  def close(%__MODULE__{socket: socket}), do: native(Native.netlink_close(socket))

  @doc """
  Joins a multicast group by number (RTNLGRP_LINK is 1, NFNLGRP_NFTABLES 7).

  Events then arrive on this socket. Requests pass over them, and events that nobody reads fill
  the receive buffer, so use a socket of its own to listen: `Linx.Netlink.Rtnl.Monitor` does.
  """
  @spec add_membership(t(), pos_integer()) :: :ok | {:error, Error.t()}
  def add_membership(%__MODULE__{socket: socket}, group) when group in 1..@seq_max,
    do: native(Native.netlink_membership(socket, group, true))

  @doc """
  Leaves a multicast group.
  """
  @spec drop_membership(t(), pos_integer()) :: :ok | {:error, Error.t()}
  def drop_membership(%__MODULE__{socket: socket}, group) when group in 1..@seq_max,
    do: native(Native.netlink_membership(socket, group, false))

  @doc """
  Sets the receive buffer, in bytes.

  Tries `SO_RCVBUFFORCE` first, which needs CAP_NET_ADMIN in the first user namespace, and then
  `SO_RCVBUF`, which the kernel silently limits to net.core.rmem_max. An unread event or
  acknowledgement takes about 400 bytes of it.
  """
  @spec set_rcvbuf(t(), pos_integer()) :: :ok | {:error, Error.t()}
  def set_rcvbuf(%__MODULE__{socket: socket}, bytes) when bytes in 1..0x3FFFFFFF,
    do: native(Native.netlink_set_rcvbuf(socket, bytes))

  @doc """
  A fresh sequence number, from 1. The kernel repeats a request's number in its answers; events
  carry 0.
  """
  @spec next_seq(t()) :: pos_integer()
  def next_seq(%__MODULE__{} = socket), do: next_seqs(socket, 1)

  # The first of `count` consecutive sequence numbers. The counter has 64 bits and the wire 32: 0
  # is never given, and a block that would run over the end is left out.
  @doc false
  @spec next_seqs(t(), pos_integer()) :: pos_integer()
  def next_seqs(%__MODULE__{seq: seq} = socket, count) do
    last = :atomics.add_get(seq, 1, count)
    first = last - count + 1

    if div(first - 1, @seq_max) == div(last - 1, @seq_max),
      do: rem(first - 1, @seq_max) + 1,
      else: next_seqs(socket, count)
  end

  # See the comment at the top.
  @doc false
  @spec exchange(t(), binary(), {pos_integer(), pos_integer()}) ::
          {:ok, [tuple()], [failure()], boolean()} | {:error, Error.t()}
  def exchange(%__MODULE__{socket: socket}, bytes, {_first, _last} = seqs) do
    case Native.netlink_request(socket, 0, bytes, seqs) do
      :busy -> native(Native.netlink_request(socket, enter(socket), bytes, seqs))
      answer -> native(answer)
    end
  end

  @doc false
  @spec transact(t(), [binary()], {pos_integer(), pos_integer()}) ::
          {:ok, [tuple()], [failure()], boolean()} | {:error, Error.t()}
  def transact(%__MODULE__{socket: socket}, parts, {_first, _last} = seqs) do
    case Native.netlink_transact(socket, 0, parts, seqs) do
      :busy -> native(Native.netlink_transact(socket, enter(socket), parts, seqs))
      answer -> native(answer)
    end
  end

  # The same for messages that are framed natively: NLM_F_REQUEST on each, NLM_F_ACK on the last,
  # numbered from `first`. The data of a long dump come as `{dump, count}`, for
  # Native.netlink_take/1.
  @doc false
  @spec call(t(), [{0..65535, 0..65535, binary()}], pos_integer(), Native.netlink_form()) ::
          Native.netlink_answer() | {:error, Error.t()}
  def call(%__MODULE__{socket: socket}, requests, first, form) do
    case Native.netlink_call(socket, 0, requests, first, form) do
      :busy -> native(Native.netlink_call(socket, enter(socket), requests, first, form))
      answer -> native(answer)
    end
  end

  # A value below `/proc/sys` as the socket's network namespace has it: `"net/ipv6/..."`.
  @doc false
  @spec sysctl(t(), binary()) :: {:ok, binary()} | {:error, Error.t()}
  def sysctl(%__MODULE__{socket: socket}, path),
    do: native(Native.netlink_sysctl(socket, path))

  # How many messages of one send may fail without their errors overrunning the receive buffer: an
  # error with text is charged less than 2 KiB.
  @doc false
  @spec batch_size(t()) :: pos_integer()
  def batch_size(%__MODULE__{socket: socket}) do
    case Native.netlink_rcvbuf(socket) do
      {:ok, bytes} -> max(div(bytes, 2048), 16)
      {:error, _} -> 16
    end
  end

  defp enter(socket) do
    case Native.netlink_enter(socket) do
      {:ok, ticket} ->
        ticket

      {:wait, ticket} ->
        receive do
          {:linx_netlink_turn, ^ticket} -> ticket
        end
    end
  end

  # A request that may be long, or that comes while long ones run, is answered by a message
  # (native/linx_sys/src/lane.rs).
  defp native({:pending, _reference} = late), do: late |> Pool.Native.await() |> native()

  defp native({:error, {stage, errno}}) when is_integer(errno),
    do: {:error, Error.from_fault({stage, errno})}

  defp native(other), do: other
end
