defmodule Linx.Netfilter.Datum do
  @moduledoc false
  # Values of nft's datatypes and their bytes in a register. What the values look like is in
  # Datum.Form.

  alias Linx.Netfilter.Datatype

  @type type :: atom() | {atom(), pos_integer()} | {:concat, [type()]} | {:interval, type()}

  # -- types -------------------------------------------------------------------------------------

  @doc "Whether Linx knows the type."
  @spec type?(term()) :: boolean()
  def type?({:concat, [_, _ | _] = types}), do: Enum.all?(types, &simple_type?/1)
  def type?(type), do: simple_type?(type)

  # The registers of meta, ct and the like are in the host's order: {:integer, 32, :host}.
  defp simple_type?({name, bits, :host}), do: simple_type?({name, bits})

  defp simple_type?({name, bits}) when is_atom(name) and is_integer(bits) and bits in 1..512,
    do: match?({:ok, _}, Datatype.fetch(name))

  defp simple_type?(name) when is_atom(name) and name not in [:verdict, nil],
    do: match?({:ok, _}, Datatype.fetch(name))

  defp simple_type?(_other), do: false

  @doc "NFTA_SET_KEY_TYPE: nft's number, six bits a component."
  @spec type_id(type()) :: non_neg_integer()
  def type_id({:concat, types}),
    do: Enum.reduce(types, 0, &Bitwise.bor(Bitwise.bsl(&2, 6), type_id(&1)))

  def type_id({:interval, type}), do: type_id(type)
  def type_id({name, bits}) when is_integer(bits), do: Datatype.type_id(name)
  def type_id({name, _bits, :host}), do: Datatype.type_id(name)
  def type_id(name), do: Datatype.type_id(name)

  @doc "Bytes of a value, without padding."
  @spec size(type()) :: non_neg_integer()
  def size({:concat, types}), do: Enum.reduce(types, 0, &(padded(size(&1)) + &2))
  def size({:interval, {:concat, _} = type}), do: 2 * size(type)
  # Both ends stand in registers of their own.
  def size({:interval, type}), do: 2 * padded(size(type))
  def size({_name, bits}) when is_integer(bits), do: div(bits + 7, 8)
  def size({_name, bits, :host}), do: div(bits + 7, 8)
  def size(name), do: div(Datatype.fetch!(name).size + 7, 8)

  @doc "nft's `enum byteorder` of the type, as set userdata has it: 0 none, 1 host, 2 big endian."
  @spec byteorder(type()) :: 0..2
  def byteorder({:concat, _types}), do: 0
  def byteorder({:interval, type}), do: byteorder(type)
  def byteorder(:verdict), do: 0
  # nft's string type is in host order.
  def byteorder({:string, _bits}), do: 1

  def byteorder(type) do
    case order(type) do
      :big -> 2
      :host -> 1
      nil -> 0
    end
  end

  @doc """
  Bits of a value. A field of part of a byte is compared where it stands: its values take the
  whole byte.
  """
  @spec bits(type()) :: non_neg_integer()
  def bits({_name, bits}), do: 8 * div(bits + 7, 8)
  def bits({_name, bits, :host}), do: 8 * div(bits + 7, 8)
  def bits(name), do: 8 * div(Datatype.fetch!(name).size + 7, 8)

  @doc "Bits and byte order of a part of a concatenation, for Linx's own record of it."
  @spec width(type()) :: {pos_integer(), :host | :big}
  def width({_name, bits, :host}), do: {bits, :host}
  def width({_name, bits}), do: {bits, :big}
  def width(name), do: {Datatype.fetch!(name).size, :big}

  @spec padded(non_neg_integer()) :: non_neg_integer()
  def padded(size), do: div(size + 3, 4) * 4

  # A typeof integer without an order of its own is big endian, as nft takes header fields.
  defp order({_name, _bits, :host}), do: :host
  defp order({name, _bits}), do: Datatype.fetch!(name).order || :big
  defp order(name), do: Datatype.fetch!(name).order

  # -- bytes -------------------------------------------------------------------------------------

  @doc """
  The bytes of one value in its one form; a range or prefix gives its first value. Raises
  `ArgumentError` for a value that the type cannot hold.
  """
  @spec to_bytes(type(), term()) :: binary()
  def to_bytes(:ipv4_addr, {a, b, c, d})
      when a in 0..255 and b in 0..255 and c in 0..255 and d in 0..255,
      do: <<a, b, c, d>>

  # An element that its types do not describe is kept as its bytes.
  def to_bytes({:concat, _types}, bytes) when is_binary(bytes), do: bytes
  def to_bytes({:concat, _types}, {:range, first, _last}) when is_binary(first), do: first

  def to_bytes({:concat, types}, value) do
    types
    |> Enum.zip_with(Tuple.to_list(value), &fill_up(to_bytes(&1, &2)))
    |> IO.iodata_to_binary()
  end

  def to_bytes({:interval, {:concat, _} = type}, value),
    do: to_bytes(type, value) <> last_bytes(type, value)

  def to_bytes({:interval, type}, value) do
    pad = 8 * (padded(size(type)) - size(type))
    <<to_bytes(type, value)::binary, 0::size(pad), last_bytes(type, value)::binary, 0::size(pad)>>
  end

  def to_bytes(type, {:range, first, _last}), do: to_bytes(type, first)
  def to_bytes(type, {:prefix, first, _bits}), do: to_bytes(type, first)

  def to_bytes(:ipv6_addr, {a, b, c, d, e, f, g, h} = address) do
    if :inet.is_ipv6_address(address),
      do: <<a::16, b::16, c::16, d::16, e::16, f::16, g::16, h::16>>,
      else: misfit(:ipv6_addr, address)
  end

  def to_bytes(:inet_service, value) when value in 0..0xFFFF, do: <<value::16>>

  def to_bytes(type, name) when type in [:ifname] and is_binary(name),
    do: <<name::binary, 0::size(8 * (16 - byte_size(name)))>>

  def to_bytes({:string, bits}, text) when is_binary(text),
    do: <<text::binary, 0::size(bits - 8 * byte_size(text))>>

  def to_bytes(_type, bytes) when is_binary(bytes), do: bytes

  def to_bytes(type, value) when is_integer(value) do
    size =
      if bits(type) == 0, do: max(1, byte_size(:binary.encode_unsigned(value))), else: size(type)

    cond do
      Bitwise.bsr(value, 8 * size) != 0 -> misfit(type, value)
      order(type) == :host -> <<value::native-size(8 * size)>>
      true -> <<value::size(8 * size)>>
    end
  end

  def to_bytes(type, value), do: misfit(type, value)

  @spec misfit(type(), term()) :: no_return()
  defp misfit(type, value),
    do: raise(ArgumentError, "#{inspect(value)} is no value of type #{inspect(type)}")

  # Each part of a concatenation has registers of its own.
  defp fill_up(bytes) when rem(byte_size(bytes), 4) == 0, do: bytes
  defp fill_up(bytes), do: fill(bytes, padded(byte_size(bytes)))

  @doc "The bytes of the last value that a range or prefix takes in."
  @spec last_bytes(type(), term()) :: binary()
  def last_bytes({:concat, _types}, bytes) when is_binary(bytes), do: bytes
  def last_bytes({:concat, _types}, {:range, _first, last}) when is_binary(last), do: last

  def last_bytes({:concat, types}, value) do
    types
    |> Enum.zip_with(Tuple.to_list(value), &fill_up(last_bytes(&1, &2)))
    |> IO.iodata_to_binary()
  end

  def last_bytes(type, {:range, _first, last}), do: to_bytes(type, last)

  def last_bytes(:ifname, {:prefix, stem, _bits}),
    do: <<stem::binary, -1::size(8 * (16 - byte_size(stem)))>>

  def last_bytes(type, {:prefix, first, bits}) do
    span = Bitwise.bsl(1, 8 * size(type) - bits) - 1
    to_bytes(type, unsortable(type, sortable(type, first) + span))
  end

  def last_bytes(type, value), do: to_bytes(type, value)

  @doc """
  Turns the bytes of a host-order number round; others stay. The kernel compares the keys of
  interval sets as `memcmp` does, so nft sends numbers in network order there.
  """
  @spec flip(type(), binary()) :: binary()
  def flip({:concat, types} = type, bytes) do
    if byte_size(bytes) == size(type), do: flip_parts(types, bytes), else: bytes
  end

  def flip(type, bytes) when type in [:ifname, :string], do: bytes
  def flip({:string, _bits}, bytes), do: bytes

  def flip(type, bytes) do
    if order(type) == :host and native() == :little, do: reverse(bytes), else: bytes
  end

  defp flip_parts([], _rest), do: <<>>

  defp flip_parts([type | types], bytes) do
    size = size(type)
    pad = padded(size) - size
    <<part::binary-size(^size), zero::binary-size(^pad), rest::binary>> = bytes
    <<flip(type, part)::binary, zero::binary, flip_parts(types, rest)::binary>>
  end

  defp reverse(bytes),
    do:
      bytes
      |> :binary.decode_unsigned()
      |> :binary.encode_unsigned(:little)
      |> fill(byte_size(bytes))

  defp fill(bytes, size), do: <<bytes::binary, 0::size(8 * (size - byte_size(bytes)))>>

  @doc "The value whose bytes these are; bytes of another length stay bytes."
  @spec from_bytes(type(), binary()) :: term()
  def from_bytes(:ipv4_addr, <<a, b, c, d>>), do: {a, b, c, d}
  def from_bytes(:ipv6_addr, <<_::128>> = bytes), do: words(bytes)
  def from_bytes(:inet_service, <<value::16>>), do: value
  def from_bytes(:ether_addr, bytes), do: bytes

  def from_bytes({:string, _bits}, bytes), do: from_bytes(:string, bytes)

  # Text ends in NULs alone; other bytes behind one would be lost.
  def from_bytes(type, bytes) when type in [:ifname, :string] do
    [text | _] = :binary.split(bytes, <<0>>)
    size = byte_size(text)
    pad = 8 * (byte_size(bytes) - size)
    if match?(<<_::binary-size(^size), 0::size(^pad)>>, bytes), do: text, else: bytes
  end

  def from_bytes({:concat, types} = type, bytes) do
    if byte_size(bytes) == size(type), do: parts(types, bytes, []) || bytes, else: bytes
  end

  def from_bytes({:interval, type}, bytes) do
    half = div(byte_size(bytes), 2)
    size = size(type)

    if byte_size(bytes) == size({:interval, type}) do
      <<first::binary-size(^half), last::binary>> = bytes
      between(type, binary_part(first, 0, size), binary_part(last, 0, size))
    else
      bytes
    end
  end

  def from_bytes(type, bytes) do
    size = size(type)

    cond do
      size == 0 or byte_size(bytes) != size -> bytes
      order(type) == :host -> :binary.decode_unsigned(bytes, native())
      true -> :binary.decode_unsigned(bytes)
    end
  end

  @doc "The value that stands for everything from `first` to `last`, both bytes."
  @spec between(type(), binary(), binary()) :: term()
  def between(type, same, same), do: from_bytes(type, same)

  def between({:concat, types} = type, first, last) do
    if byte_size(first) == size(type) and byte_size(last) == size(type),
      do: spans(types, first, last, []) || {:range, first, last},
      else: {:range, first, last}
  end

  def between(:ifname, <<_::128>> = first, <<_::128>> = last) do
    stem = :binary.longest_common_prefix([first, last])

    if binary_part(last, stem, 16 - stem) == :binary.copy(<<255>>, 16 - stem),
      do: {:prefix, binary_part(first, 0, stem), 8 * stem},
      else: {:range, from_bytes(:ifname, first), from_bytes(:ifname, last)}
  end

  def between(type, first, last) when type in [:ipv4_addr, :ipv6_addr],
    do: folded(type, from_bytes(type, first), from_bytes(type, last))

  def between(type, first, last), do: {:range, from_bytes(type, first), from_bytes(type, last)}

  @doc """
  The range `first..last`. One of addresses that is a prefix is kept as one, so that equal sets
  are equal values.
  """
  @spec folded(type(), term(), term()) :: term()
  def folded(type, first, last) when type in [:ipv4_addr, :ipv6_addr] do
    low = sortable(type, first)
    count = sortable(type, last) - low + 1
    width = 8 * size(type)

    if Bitwise.band(count, count - 1) == 0 and rem(low, count) == 0,
      do: {:prefix, first, width - log2(count, 0)},
      else: {:range, first, last}
  end

  def folded(_type, first, last), do: {:range, first, last}

  defp log2(1, n), do: n
  defp log2(count, n), do: log2(Bitwise.bsr(count, 1), n + 1)

  # Bytes in the padding belong to no value: nil.
  defp parts([], _rest, acc), do: acc |> Enum.reverse() |> List.to_tuple()

  defp parts([type | types], bytes, acc) do
    size = size(type)
    pad = 8 * (padded(size) - size)

    case bytes do
      <<part::binary-size(^size), 0::size(^pad), rest::binary>> ->
        parts(types, rest, [from_bytes(type, part) | acc])

      _ ->
        nil
    end
  end

  defp spans([], _first, _last, acc), do: acc |> Enum.reverse() |> List.to_tuple()

  defp spans([type | types], first, last, acc) do
    size = size(type)
    pad = 8 * (padded(size) - size)

    with <<a::binary-size(^size), 0::size(^pad), first::binary>> <- first,
         <<b::binary-size(^size), 0::size(^pad), last::binary>> <- last,
         do: spans(types, first, last, [between(type, a, b) | acc]),
         else: (_ -> nil)
  end

  defp words(<<a::16, b::16, c::16, d::16, e::16, f::16, g::16, h::16>>),
    do: {a, b, c, d, e, f, g, h}

  @doc "The number by which values sort: as nft sorts, not as host-endian bytes would."
  @spec sortable(type(), term()) :: non_neg_integer()
  def sortable(type, value), do: sort_key(type, to_bytes(type, value))

  @doc "Bytes as the number by which the type's values sort."
  @spec sort_key(type(), binary()) :: non_neg_integer()
  def sort_key(type, bytes) when type in [:ifname, :string], do: :binary.decode_unsigned(bytes)
  def sort_key({:string, _bits}, bytes), do: :binary.decode_unsigned(bytes)
  def sort_key({:concat, _types}, bytes), do: :binary.decode_unsigned(bytes)
  def sort_key(type, bytes), do: sort_number(order(type), bytes)

  defp sort_number(:host, bytes), do: :binary.decode_unsigned(bytes, native())
  defp sort_number(_order, bytes), do: :binary.decode_unsigned(bytes)

  @doc "The value of that number."
  @spec unsortable(type(), non_neg_integer()) :: term()
  def unsortable(:ipv4_addr, n), do: from_bytes(:ipv4_addr, <<n::32>>)
  def unsortable(:ipv6_addr, n), do: words(<<n::128>>)
  def unsortable(type, n) when type in [:ether_addr], do: <<n::48>>
  def unsortable(_type, n), do: n

  defp native, do: System.endianness()
end
