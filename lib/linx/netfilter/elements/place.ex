defmodule Linx.Netfilter.Elements.Place do
  @moduledoc false
  # Where in a set an error of the kernel is: the set, and the element among those that were sent.

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.Encoder.Elements, as: Encoded
  alias Linx.Netfilter.Encoder.Frames
  alias Linx.Netfilter.Error

  @type ref :: {atom(), String.t(), String.t()}

  @doc "The set as the place of an error."
  @spec at(ref()) :: keyword()
  def at({family, table, set}), do: [family: family, table: table, set: set]

  @doc "An error with the set as its place."
  @spec place(Error.t() | term(), ref()) :: Error.t() | term()
  def place(%Error{} = error, ref), do: %{error | at: at(ref)}
  def place(other, _ref), do: other

  @doc "A refusal with the element at whose attribute the kernel points."
  @spec located(:ok | {:error, Error.t() | term()}, Frames.t(), ref(), struct(), [term()]) ::
          :ok | {:error, Error.t() | term()}
  def located(
        {:error, %Error{batch_seq: seq, attr_offset: offset} = error},
        frames,
        ref,
        set,
        all
      )
      when is_integer(seq) and is_integer(offset) do
    {message, _at} = Frames.at(frames, seq)

    with bytes when is_binary(bytes) <- attribute_at(message.payload, offset - 16),
         {:ok, element} <- find(set, all, bytes) do
      {:error, %{error | at: at(ref) ++ [element: element]}}
    else
      _ -> {:error, error}
    end
  end

  def located(result, _frames, _ref, _set, _elements), do: result

  defp find(set, elements, bytes) do
    Enum.find_value(elements, :error, fn element ->
      encoded = set |> Encoded.chunks([element]) |> IO.iodata_to_binary()
      if :binary.match(encoded, bytes) != :nomatch, do: {:ok, element}
    end)
  end

  # The attribute of one element that holds the byte at `offset` of the payload.
  defp attribute_at(<<_nfgenmsg::binary-4, attrs::binary>>, offset),
    do: within(attrs, offset - 4, &list_of/3)

  defp list_of(type, attr, offset) do
    if Bitwise.band(type, 0x3FFF) == nfta_set_elem_list_elements() and offset >= 4,
      do: within(binary_part(attr, 4, byte_size(attr) - 4), offset - 4, fn _, elem, _ -> elem end)
  end

  defp within(<<size::native-16, type::native-16, _::binary>> = attrs, offset, fun)
       when size >= 4 and offset >= 0 and size <= byte_size(attrs) do
    padded = min(Bitwise.band(size + 3, 0x1FFFC), byte_size(attrs))

    if offset < padded,
      do: fun.(type, binary_part(attrs, 0, size), offset),
      else: within(binary_part(attrs, padded, byte_size(attrs) - padded), offset - padded, fun)
  end

  defp within(_attrs, _offset, _fun), do: nil
end
