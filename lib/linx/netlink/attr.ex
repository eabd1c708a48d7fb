defmodule Linx.Netlink.Attr do
  @moduledoc """
  Netlink attributes: the type-length-value elements after a message's fixed header.

      0      2      4
      +------+------+------ ... ------+- ... -+
      | len  | type |     payload     |  pad  |
      +------+------+------ ... ------+- ... -+

  Both numbers are in native byte order. `len` counts the four bytes of the header and the payload, not the zeros that
  fill it up to a multiple of four.

  An attribute is the pair `{type, payload}`. What a type means, and whether a payload is a number or again a list of
  attributes, depends on the message: `Linx.Netlink.Codec` describes that. To nest, encode the inner list and use the
  result as the outer payload; to read a nest, decode the payload.

  Types come back as they stand on the wire, the two flag bits at the top included (`NLA_F_NESTED` 0x8000,
  `NLA_F_NET_BYTEORDER` 0x4000).

  Source: include/uapi/linux/netlink.h, `struct nlattr`.
  """

  @type attr :: {type :: 0..65535, value :: binary()}

  @header 4
  @longest 0xFFFF - @header

  @doc """
  The bytes of a list of attributes, in its order.

  Raises `ArgumentError` for a payload of more than 65 531 bytes, which a 16-bit length cannot say, and for what is no pair
  of a 16-bit type and iodata.

      iex> Linx.Netlink.Attr.encode([{3, "lo\\0"}])
      <<7::native-16, 3::native-16, "lo", 0, 0>>
  """
  @spec encode([{0..65535, iodata()}]) :: binary()
  def encode(attrs) when is_list(attrs) do
    IO.iodata_to_binary(Enum.map(attrs, &one/1))
  end

  defp one({type, value}), do: put(type, value, [])
  defp one(other), do: raise(ArgumentError, "not a netlink attribute: #{inspect(other)}")

  # One attribute before `tail`. Every length that is not known beforehand passes here.
  @doc false
  @spec put(0..65535, iodata(), iodata()) :: iodata()
  def put(type, value, tail) when type in 0..0xFFFF and is_binary(value) do
    size = byte_size(value)

    if size > @longest do
      raise ArgumentError,
            "netlink attribute #{type} of #{size} bytes; a 16-bit length holds #{@longest}"
    end

    head = <<@header + size::native-16, type::native-16>>

    case Bitwise.band(size, 3) do
      0 -> [head, value | tail]
      _ -> [head, value, padding(size) | tail]
    end
  end

  def put(type, value, tail) when type in 0..0xFFFF,
    do: put(type, IO.iodata_to_binary(value), tail)

  def put(type, _value, _tail),
    do: raise(ArgumentError, "not a netlink attribute type: #{inspect(type)}")

  @doc """
  The attributes in a binary, in order, each payload without header and padding.

  A tail too short for a header is padding. Raises `ArgumentError` when an attribute claims more bytes than there are,
  or fewer than its header has.
  """
  @spec decode(binary()) :: [attr()]
  def decode(<<length::native-16, type::native-16, rest::binary>>) do
    case take(length, rest) do
      {value, rest} ->
        [{type, value} | decode(rest)]

      :error ->
        raise ArgumentError,
              "netlink attribute #{type} of length #{length} in #{byte_size(rest) + @header} bytes"
    end
  end

  def decode(tail) when is_binary(tail), do: []

  # The same, ending at the first attribute that does not fit instead of raising, and with the flag bits off the types.
  # What came before it is sound, so a message with a broken tail is not lost whole.
  @doc false
  @spec scan(binary()) :: [attr()]
  def scan(<<length::native-16, type::native-16, rest::binary>>) do
    case take(length, rest) do
      {value, rest} -> [{Bitwise.band(type, 0x3FFF), value} | scan(rest)]
      :error -> []
    end
  end

  def scan(tail) when is_binary(tail), do: []

  defp take(length, rest) when length >= @header and length - @header <= byte_size(rest) do
    size = length - @header
    padded = min(size + byte_size(padding(size)), byte_size(rest))
    {binary_part(rest, 0, size), binary_part(rest, padded, byte_size(rest) - padded)}
  end

  defp take(_length, _rest), do: :error

  defp padding(size), do: elem({<<>>, <<0, 0, 0>>, <<0, 0>>, <<0>>}, rem(size, 4))
end
