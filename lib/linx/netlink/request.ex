defmodule Linx.Netlink.Request do
  @moduledoc """
  One request, and everything the kernel answers to it.

  `talk/4` serves the three shapes of answer alike: an acknowledgement, a single message, and a
  dump of many. The sequence number is drawn from the socket; answers to other requests and
  multicast events are passed over.

      # The interface with index 1, as an undecoded RTM_NEWLINK.
      {:ok, [message]} = Linx.Netlink.Request.talk(socket, 18, 0, <<0::32, 1::native-32, 0::64>>)

  Two things that the kernel leaves to its callers are done here:

    * A dump during which the objects changed is marked by the kernel (`NLM_F_DUMP_INTR`):
      something may be missing from it or be in it twice. It is read again, up to ten times with
      growing pauses. If it never comes out whole the error is `errno: :eintr`, and what the last
      try read is in its `partial`.
    * An answer longer than the receive buffer is cut by the kernel. The buffer grows and the read
      is repeated.

  The process that calls waits; no scheduler does.
  """

  import Bitwise
  import Linx.Netlink.Constants

  alias Linx.Native
  alias Linx.Netlink.{Error, Message, Socket}

  @retries 10

  @doc """
  Sends a message of `type` with the given flags and payload, and collects the answer.

  `NLM_F_REQUEST` and `NLM_F_ACK` are added: with the latter every request has a final answer.
  Returns the data messages, none for a bare acknowledgement. An error of the kernel or of the
  socket is a `Linx.Netlink.Error`.

  Source: netlink(7), rtnetlink(7).
  """
  @spec talk(Socket.t(), 0..65535, non_neg_integer(), iodata()) ::
          {:ok, [Message.t()]} | {:error, Error.t()}
  def talk(%Socket{} = socket, type, flags, payload \\ <<>>)
      when type in 0..0xFFFF and flags in 0..0xFFFF do
    case run(socket, type, flags, IO.iodata_to_binary(payload), :raw) do
      {:ok, messages} -> {:ok, messages(socket, messages)}
      {:error, %{partial: nil} = error} -> {:error, error}
      {:error, error} -> {:error, %{error | partial: messages(socket, error.partial)}}
    end
  end

  # The same, with rtnetlink's messages as native tuples (Linx.Netlink.Rtnl.Objects), or where to
  # take them from. `partial` of an error holds the like.
  @doc false
  @spec run(Socket.t(), 0..65535, non_neg_integer(), binary(), Native.netlink_form()) ::
          {:ok, [tuple()] | {Native.netlink_dump(), pos_integer()}} | {:error, Error.t()}
  def run(socket, type, flags, payload, form), do: run(socket, type, flags, payload, form, 0)

  defp run(socket, type, flags, payload, form, tries) do
    case Socket.call(socket, [{type, flags, payload}], Socket.next_seq(socket), form) do
      {:ok, messages, [], false} ->
        {:ok, messages}

      {:ok, _messages, [failure | _], _interrupted?} ->
        {:error, error(failure)}

      {:ok, _messages, [], true} when tries < @retries ->
        pause(tries)
        run(socket, type, flags, payload, form, tries + 1)

      {:ok, messages, [], true} ->
        {:error, interrupted(messages)}

      {:error, %Error{stage: :recv, errno: :emsgsize} = error} ->
        if read?(socket, type, flags) and tries < @retries,
          do: run(socket, type, flags, payload, form, tries + 1),
          else: {:error, error}

      {:error, error} ->
        {:error, error}
    end
  end

  # The next messages of a long dump; none at the end.
  @doc false
  @spec take(Native.netlink_dump()) :: [tuple()]
  def take(dump), do: Native.netlink_take(dump)

  # Several GETs of one object each, in one send: `{:ok, body}` or `{:error, error}` for each, in
  # order.
  @doc false
  @spec lookup(Socket.t(), [{0..65535, non_neg_integer(), binary()}]) ::
          {:ok, [{:ok, binary()} | {:error, Error.t()}]} | {:error, Error.t()}
  def lookup(socket, requests) do
    # An answer is charged up to ten times what an error is.
    lookup(socket, requests, max(div(Socket.batch_size(socket), 16), 1), 0)
  end

  defp lookup(_socket, [], _most, _tries), do: {:ok, []}

  defp lookup(socket, requests, most, tries) do
    {now, later} = Enum.split(requests, most)
    count = length(now)
    first = Socket.next_seqs(socket, count)

    case Socket.call(socket, now, first, :raw) do
      {:ok, messages, failures, _interrupted?} ->
        with {:ok, rest} <- lookup(socket, later, most, 0),
             do: {:ok, answers(first, count, messages, failures) ++ rest}

      # The buffer has grown to the answer by now.
      {:error, %Error{stage: :recv, errno: :emsgsize}} when tries < @retries ->
        lookup(socket, requests, most, tries + 1)

      # Answers that are long are too many for the receive buffer.
      {:error, %Error{stage: :recv, errno: :enobufs}} when count > 1 ->
        lookup(socket, requests, div(count, 2), tries)

      {:error, error} ->
        {:error, error}
    end
  end

  defp answers(first, count, messages, failures) do
    failed = Map.new(failures, &{elem(&1, 0), {:error, error(&1)}})
    found = Map.new(messages, fn {_type, _flags, seq, body} -> {seq, {:ok, body}} end)
    empty = {:error, Error.from_errno(61, "the kernel answered without data")}
    for seq <- first..(first + count - 1), do: failed[seq] || found[seq] || empty
  end

  # A failure of `Socket.exchange/4` as an error.
  @doc false
  @spec error(Socket.failure()) :: Error.t()
  def error({_seq, errno, offset, text, missing}) do
    %{Error.from_errno(errno, text || missing_text(missing)) | offset: offset}
  end

  defp missing_text(nil), do: nil
  defp missing_text(type), do: "attribute #{type} is missing"

  defp interrupted(messages) do
    # EINTR: what the kernel's own libraries report for NLM_F_DUMP_INTR.
    text = "the objects changed during each of #{@retries + 1} dumps"
    %{Error.from_errno(4, text) | partial: messages}
  end

  # 1 ms, 2, 4, ... up to 100: the change that interrupted it is usually one of a few.
  defp pause(tries), do: Process.sleep(min(1 <<< tries, 100))

  # Only what reads may be repeated. In rtnetlink the last two bits of the type say what is done,
  # 2 being GET.
  defp read?(_socket, _type, flags) when (flags &&& nlm_f_dump()) == nlm_f_dump(), do: true
  defp read?(%Socket{protocol: 0}, type, _flags), do: (type &&& 3) == 2
  defp read?(_socket, _type, _flags), do: false

  defp messages(_socket, []), do: []

  defp messages(socket, messages) do
    port =
      case Native.netlink_port(socket.socket) do
        {:ok, port} -> port
        {:error, _} -> 0
      end

    for {type, flags, seq, payload} <- messages,
        do: %Message{type: type, flags: flags, seq: seq, pid: port, payload: payload}
  end
end
