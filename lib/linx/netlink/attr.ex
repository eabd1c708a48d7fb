defmodule Linx.Netlink.Attr do
  @moduledoc """
  Netlink attributes: the type-length-value elements after a message's fixed header.

      0      2      4
      +------+------+------ ... ------+- ... -+
      | len  | type |     payload     |  pad  |
      +------+------+------ ... ------+- ... -+

  Both numbers are in native byte order. `len` counts the four bytes of the header and the
  payload, not the zeros that fill it up to a multiple of four.

  An attribute is the pair `{type, payload}`. What a type means, and whether a payload is a number
  or again a list of attributes, depends on the message: `Linx.Netlink.Codec` describes that. To
  nest, encode the inner list and use the result as the outer payload; to read a nest, decode the
  payload.

  Types come back as they stand on the wire, the two flag bits at the top included (`NLA_F_NESTED`
  0x8000, `NLA_F_NET_BYTEORDER` 0x4000).

  Source: include/uapi/linux/netlink.h, `struct nlattr`.
  """

  @type attr :: {type :: 0..65535, value :: binary()}

  @header 4
  @nested 0x8000
  @longest 0xFFFF - @header

  @doc """
  The four bytes before a payload of `size` bytes, as a macro: inside of a larger binary it costs
  nothing. Every attribute that Linx writes has its length and type from here.
  """
  defmacro head(type, size), do: segments(type, size)

  # The same as code, for code that is generated.
  @doc false
  @spec segments(Macro.t(), Macro.t()) :: Macro.t()
  def segments(type, size) when is_integer(size),
    do: quote(do: <<unquote(@header + size)::native-16, unquote(type)::native-16>>)

  def segments(type, size),
    do: quote(do: <<unquote(size) + unquote(@header)::native-16, unquote(type)::native-16>>)

  @doc """
  The bytes of a list of attributes, in its order.

  Raises `ArgumentError` for a payload of more than 65 531 bytes, which a 16-bit length cannot
  say, and for what is no pair of a 16-bit type and iodata.

      iex> Linx.Netlink.Attr.encode([{3, "lo\\0"}])
      <<7::native-16, 3::native-16, "lo", 0, 0>>
  """
  @spec encode([{0..65535, iodata()}]) :: binary()
  def encode(attrs) when is_list(attrs) do
    IO.iodata_to_binary(Enum.map(attrs, &one/1))
  end

  defp one({type, value}), do: put(type, value, [])
  defp one(other), do: raise(ArgumentError, "not a netlink attribute: #{inspect(other)}")

  # One attribute before `tail`.
  @doc false
  @spec put(0..65535, iodata(), iodata()) :: iodata()
  def put(type, value, tail) when type in 0..0xFFFF and is_binary(value) do
    size = byte_size(value)
    if size > @longest, do: too_long(type, size)

    case Bitwise.band(size, 3) do
      0 -> [head(type, size), value | tail]
      _ -> [head(type, size), value, padding(size) | tail]
    end
  end

  def put(type, value, tail) when type in 0..0xFFFF,
    do: put(type, IO.iodata_to_binary(value), tail)

  def put(type, _value, _tail),
    do: raise(ArgumentError, "not a netlink attribute type: #{inspect(type)}")

  @spec too_long(0..65535, non_neg_integer()) :: no_return()
  defp too_long(type, size) do
    raise ArgumentError,
          "netlink attribute #{type} of #{size} bytes; a 16-bit length holds #{@longest}"
  end

  @doc "One attribute as a binary, padding included. Raises as `encode/1`."
  @spec bytes(0..65535, binary()) :: binary()
  def bytes(type, <<value::32>>), do: <<8::native-16, type::native-16, value::32>>

  def bytes(type, value) when is_binary(value) do
    size = byte_size(value)
    if size > @longest, do: too_long(type, size)
    <<head(type, size)::binary, value::binary, padding(size)::binary>>
  end

  def bytes(type, value),
    do: raise(ArgumentError, "attribute #{type} takes bytes, not #{inspect(value)}")

  @doc "A nest, with `NLA_F_NESTED`, of attributes that are encoded already."
  @spec nest(0..0x3FFF, iodata()) :: binary()
  def nest(type, inner) do
    inner = IO.iodata_to_binary(inner)
    size = byte_size(inner)
    if size > @longest, do: too_long(type, size)
    <<head(Bitwise.bor(type, @nested), size)::binary, inner::binary, padding(size)::binary>>
  end

  @doc "As `nest/2` without a copy, for whole attributes inside, which need no padding."
  @spec pieces(0..0x3FFF, iodata()) :: iodata()
  def pieces(type, inner) do
    size = IO.iodata_length(inner)
    if size > @longest, do: too_long(type, size)
    [head(Bitwise.bor(type, @nested), size), inner]
  end

  for {name, bits} <- [u8: 8, u16_be: 16, u32_be: 32, u64_be: 64] do
    @doc "A number of #{bits} bits in network byte order. Raises `ArgumentError` for another."
    @spec unquote(name)(0..65535, non_neg_integer()) :: binary()
    def unquote(name)(type, v) when is_integer(v) and v in 0..unquote(Bitwise.bsl(1, bits) - 1) do
      <<unquote(@header + div(bits, 8))::native-16, type::native-16, v::unquote(bits),
        0::unquote(Bitwise.band(-bits, 31))>>
    end

    def unquote(name)(type, v) do
      raise ArgumentError, "attribute #{type} takes #{unquote(bits)} bits, not #{inspect(v)}"
    end
  end

  @doc """
  A string with the NUL that the kernel wants. Raises `ArgumentError` for what is no binary.
  """
  @spec text(0..65535, String.t()) :: binary()
  def text(type, text) when is_binary(text), do: bytes(type, <<text::binary, 0>>)

  def text(type, text),
    do: raise(ArgumentError, "attribute #{type} takes text, not #{inspect(text)}")

  @doc """
  The attributes in a binary, in order, each payload without header and padding.

  A tail too short for a header is padding. Raises `ArgumentError` when an attribute claims more
  bytes than there are, or fewer than its header has.
  """
  @spec decode(binary()) :: [attr()]
  def decode(<<length::native-16, type::native-16, rest::binary>>) do
    case take(length, rest) do
      {value, rest} ->
        [{type, value} | decode(rest)]

      :error ->
        raise ArgumentError,
              "netlink attribute #{type} of length #{length} in " <>
                "#{byte_size(rest) + @header} bytes"
    end
  end

  def decode(tail) when is_binary(tail), do: []

  # The same, ending at the first attribute that does not fit instead of raising, and with the
  # flag bits off the types. What came before it is sound, so a message with a broken tail is not
  # lost whole.
  @doc false
  @spec scan(binary()) :: [attr()]
  # Most attributes are 32-bit numbers.
  def scan(<<8::native-16, type::native-16, value::binary-4, rest::binary>>),
    do: [{Bitwise.band(type, 0x3FFF), value} | scan(rest)]

  def scan(<<length::native-16, type::native-16, rest::binary>>) when length >= @header do
    size = length - @header
    pad = Bitwise.band(-size, 3)

    case rest do
      <<value::binary-size(^size), _::binary-size(^pad), rest::binary>> ->
        [{Bitwise.band(type, 0x3FFF), value} | scan(rest)]

      <<value::binary-size(^size), _unpadded::binary>> ->
        [{Bitwise.band(type, 0x3FFF), value}]

      _short ->
        []
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
