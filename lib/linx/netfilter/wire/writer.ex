defmodule Linx.Netfilter.Wire.Writer do
  @moduledoc false
  # Attributes of nf_tables messages as iodata. A length is written in one place, `attr/2`, which refuses what does not fit in
  # sixteen bits.

  @nested 0x8000
  @pads {<<>>, <<0, 0, 0>>, <<0, 0>>, <<0>>}

  @spec attr(0..0x7FFF, binary()) :: binary()
  def attr(type, <<v::32>>), do: <<8::native-16, type::native-16, v::32>>
  def attr(type, value), do: wrapped(type, value, byte_size(value))

  defp wrapped(type, value, size) when size <= 0xFFFB do
    <<size + 4::native-16, type::native-16, value::binary,
      elem(@pads, Bitwise.band(size, 3))::binary>>
  end

  defp wrapped(type, _value, size),
    do:
      raise(ArgumentError, "attribute #{type} of #{size} bytes; a 16-bit length holds #{0xFFFB}")

  @doc "A nest of what is inside."
  @spec nest(0..0x7FFF, iodata()) :: binary()
  def nest(type, inner) do
    inner = IO.iodata_to_binary(inner)
    wrapped(Bitwise.bor(type, @nested), inner, byte_size(inner))
  end

  @doc "The same without a copy. What is inside has attributes only, so it needs no padding."
  @spec pieces(0..0x7FFF, iodata()) :: iodata()
  def pieces(type, inner) do
    size = IO.iodata_length(inner)

    if size <= 0xFFFB,
      do: [<<size + 4::native-16, type + @nested::native-16>>, inner],
      else: wrapped(type, <<>>, size)
  end

  @spec u32(0..0x7FFF, non_neg_integer()) :: binary()
  def u32(type, v) when is_integer(v) and v in 0..0xFFFFFFFF,
    do: <<8::native-16, type::native-16, v::32>>

  def u32(type, v), do: raise(ArgumentError, "attribute #{type} takes 32 bits, not #{inspect(v)}")

  @spec u64(0..0x7FFF, non_neg_integer()) :: binary()
  def u64(type, v) when is_integer(v) and v in 0..0xFFFFFFFFFFFFFFFF,
    do: <<12::native-16, type::native-16, v::64>>

  def u64(type, v), do: raise(ArgumentError, "attribute #{type} takes 64 bits, not #{inspect(v)}")

  @spec u16(0..0x7FFF, non_neg_integer()) :: binary()
  def u16(type, v) when is_integer(v) and v in 0..0xFFFF,
    do: <<6::native-16, type::native-16, v::16, 0, 0>>

  def u16(type, v), do: raise(ArgumentError, "attribute #{type} takes 16 bits, not #{inspect(v)}")

  @spec u8(0..0x7FFF, non_neg_integer()) :: binary()
  def u8(type, v) when is_integer(v) and v in 0..0xFF,
    do: <<5::native-16, type::native-16, v, 0, 0, 0>>

  def u8(type, v), do: raise(ArgumentError, "attribute #{type} takes 8 bits, not #{inspect(v)}")

  @doc "A string with the NUL that the kernel wants."
  @spec text(0..0x7FFF, String.t()) :: binary()
  def text(type, v) when is_binary(v), do: attr(type, <<v::binary, 0>>)
  def text(type, v), do: raise(ArgumentError, "attribute #{type} takes text, not #{inspect(v)}")
end
