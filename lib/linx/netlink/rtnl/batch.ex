defmodule Linx.Netlink.Rtnl.Batch do
  @moduledoc false
  # Many changes, in as few sends as the receive buffer has room for all errors of.
  #
  # All are encoded before the first is sent, so that what raises does so with nothing done. Only
  # the bytes are kept: ten thousand routes as values are 5 MB, which the collector would copy
  # several times over. So an op is made from its item when it is encoded, and once more if it
  # failed.

  import Bitwise
  import Linx.Netlink.Constants

  alias Linx.Netlink.{Error, Heap, Message, Request, Socket}
  alias Linx.Netlink.Rtnl.Call

  # Bytes reserved for a message while a send grows: the buffer is up to twice as large as its
  # content.
  @bytes 256

  @doc """
  Carries out the op of each item. One result each, in order: the kernel does one by one, and goes
  on after one that fails.

  An error of the socket itself ends the batch; what was sent before it may have been done.
  """
  @spec run(Socket.t(), [item], (item -> Call.op())) ::
          {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
        when item: term()
  def run(socket, [], _op) do
    Call.checked!(socket)
    {:ok, []}
  end

  def run(socket, items, op) do
    Call.checked!(socket)
    count = length(items)

    Heap.roomy(0, count * @bytes, fn ->
      socket
      |> portions(items, op, count, Socket.batch_size(socket))
      |> exchange(socket, op)
    end)
  end

  # -- before the first send ---------------------------------------------------------------------

  defp portions(_socket, [], _op, 0, _size), do: []

  defp portions(socket, items, op, left, size) do
    count = min(left, size)
    first = Socket.next_seqs(socket, count)
    {bytes, next, later} = frames(items, op, count, first, <<>>, 0)
    portion = %{items: items, count: count, seqs: {first, next - 1}, bytes: bytes}
    [portion | portions(socket, later, op, left - count, size)]
  end

  # `last` is where the last message begins.
  defp frames(later, _op, 0, seq, bytes, last), do: {acknowledged(bytes, last), seq, later}

  defp frames([item | items], op, count, seq, bytes, last) do
    case op.(item) do
      {:ok, {type, flags, message, _explain}} ->
        flags = flags ||| nlm_f_request() ||| if(count == 1, do: nlm_f_ack(), else: 0)
        grown = Message.append(bytes, type, flags, seq, Call.encode(message))
        frames(items, op, count - 1, seq + 1, grown, byte_size(bytes))

      {:error, _reason} ->
        frames(items, op, count - 1, seq, bytes, last)
    end
  end

  # Errors come back without being asked for, so the last acknowledgement stands for all. The last
  # item's message asks for it, unless that item made none.
  defp acknowledged(<<>>, 0), do: <<>>

  defp acknowledged(bytes, last) do
    message = binary_part(bytes, last, byte_size(bytes) - last)
    <<start::binary-6, flags::native-16, rest::binary>> = message

    case flags ||| nlm_f_ack() do
      ^flags ->
        bytes

      flags ->
        <<binary_part(bytes, 0, last)::binary, start::binary, flags::native-16, rest::binary>>
    end
  end

  # -- sending -----------------------------------------------------------------------------------

  defp exchange([], _socket, _op), do: {:ok, []}

  defp exchange([portion | later], socket, op) do
    with {:ok, failures} <- sent(socket, portion),
         {:ok, rest} <- exchange(later, socket, op),
         do: {:ok, results(portion, op, failures) ++ rest}
  end

  defp sent(_socket, %{bytes: <<>>}), do: {:ok, []}

  defp sent(socket, portion) do
    with {:ok, _messages, failures, _interrupted?} <-
           Socket.exchange(socket, portion.bytes, portion.seqs),
         do: {:ok, failures}
  end

  defp results(%{count: count, seqs: {first, last}}, _op, []) when last - first + 1 == count,
    do: List.duplicate(:ok, count)

  defp results(%{items: items, count: count, seqs: {first, _last}}, op, failures) do
    failed = Map.new(failures, &{elem(&1, 0), Request.error(&1)})
    items |> Enum.take(count) |> results(op, first, failed)
  end

  defp results([], _op, _seq, _failed), do: []

  defp results([item | items], op, seq, failed) do
    case {op.(item), failed} do
      {{:error, _} = unsent, _} ->
        [unsent | results(items, op, seq, failed)]

      {op_sent, %{^seq => error}} ->
        [Call.refused(op_sent, error) | results(items, op, seq + 1, failed)]

      {_op_sent, _} ->
        [:ok | results(items, op, seq + 1, failed)]
    end
  end
end
