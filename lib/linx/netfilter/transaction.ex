defmodule Linx.Netfilter.Transaction do
  @moduledoc false
  # One nf_tables batch: all of it takes effect or none. What the kernel refused becomes an error
  # that names the place in the ruleset.

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.Decoder.Expressions
  alias Linx.Netfilter.Encoder.Frames
  alias Linx.Netfilter.{Error, References}
  alias Linx.Netfilter.Wire.Constants
  alias Linx.Netlink.{Nfnl, Socket}

  @doc """
  Commits the messages. Option `:genid`: only if nobody has committed since that generation.
  """
  @spec commit(Socket.t(), Frames.t(), keyword()) :: :ok | {:error, Error.t() | term()}
  def commit(_sock, %Frames{count: 0}, _opts), do: :ok

  def commit(sock, %Frames{count: count} = frames, opts) do
    case Nfnl.transact(sock, Frames.parts(frames), count, :nftables, opts) do
      {:ok, []} -> :ok
      {:ok, failures} -> {:error, refusal(failures, frames, sock)}
      {:error, error} -> {:error, Error.from_netlink(error, :push, sock)}
    end
  end

  defp refusal(failures, frames, sock) do
    [first | others] = Enum.map(failures, &refused(&1, frames, sock))
    %{first | others: others}
  end

  defp refused({0, error}, _frames, sock), do: Error.from_netlink(error, :batch_begin, sock)

  defp refused({position, error}, %Frames{count: count}, _sock) when position > count,
    do: Error.from_netlink(error, :batch_end)

  defp refused({position, error}, frames, _sock) do
    {message, at} = Frames.at(frames, position)
    type = Bitwise.band(message.type, 0xFF)

    refused = Error.from_netlink(error, Constants.atom(:message, type))
    {place, name} = expression(message, error.offset)

    %{
      refused
      | msg_type: type,
        batch_seq: position,
        at: at ++ place,
        message: refused.message || reason(refused.errno, name)
    }
  end

  # nft_table_lookup: a table with an owner is only that socket's.
  defp reason(:eperm, _name), do: "the table is owned by another socket"
  defp reason(_errno, nil), do: nil
  defp reason(_errno, name), do: "the expression names #{name}"

  # The offset counts from the header; which expression of the rule does it lie in, and what does
  # that name?
  defp expression(%{type: 0x0A06, payload: <<_header::32, attrs::binary>>}, offset)
       when is_integer(offset) do
    with {nfta_rule_expressions(), list, inside} <- within(attrs, offset - 20),
         index when index != nil <- nth(list, inside, 0) do
      {[expr: index], list |> Expressions.list() |> Enum.slice(index, 1) |> References.named()}
    else
      _ -> {[], nil}
    end
  end

  defp expression(_message, _offset), do: {[], nil}

  # The attribute that holds a byte, its inside, and the byte's place in there.
  defp within(<<size::native-16, type::native-16, _::binary>> = attrs, offset)
       when size >= 4 and offset >= 0 do
    padded = Bitwise.band(size + 3, 0xFFFC)

    cond do
      offset < padded and size <= byte_size(attrs) ->
        {Bitwise.band(type, 0x3FFF), binary_part(attrs, 4, size - 4), offset - 4}

      padded < byte_size(attrs) ->
        within(binary_part(attrs, padded, byte_size(attrs) - padded), offset - padded)

      true ->
        nil
    end
  end

  defp within(_attrs, _offset), do: nil

  defp nth(<<size::native-16, _type::native-16, _::binary>> = list, offset, index)
       when size >= 4 and offset >= 0 do
    padded = Bitwise.band(size + 3, 0xFFFC)

    cond do
      offset < padded ->
        index

      padded < byte_size(list) ->
        nth(binary_part(list, padded, byte_size(list) - padded), offset - padded, index + 1)

      true ->
        nil
    end
  end

  defp nth(_list, _offset, _index), do: nil
end
