defmodule Linx.Netlink.Codec.Scalar do
  @moduledoc false
  # The number types of a codec: how many bits they have, which numbers fit, and how they stand in
  # a binary. A header may also have bytes of a fixed length, `{:binary, length}`.

  # {bits, least, greatest, modifiers}
  @types %{
    u8: {8, 0, 0xFF, [:native]},
    u16: {16, 0, 0xFFFF, [:native]},
    u32: {32, 0, 0xFFFFFFFF, [:native]},
    u64: {64, 0, 0xFFFFFFFFFFFFFFFF, [:native]},
    s8: {8, -0x80, 0x7F, [:native, :signed]},
    s16: {16, -0x8000, 0x7FFF, [:native, :signed]},
    s32: {32, -0x80000000, 0x7FFFFFFF, [:native, :signed]},
    s64: {64, -0x8000000000000000, 0x7FFFFFFFFFFFFFFF, [:native, :signed]},
    u16_be: {16, 0, 0xFFFF, [:big]},
    u32_be: {32, 0, 0xFFFFFFFF, [:big]},
    u64_be: {64, 0, 0xFFFFFFFFFFFFFFFF, [:big]},
    s16_be: {16, -0x8000, 0x7FFF, [:big, :signed]},
    s32_be: {32, -0x80000000, 0x7FFFFFFF, [:big, :signed]},
    s64_be: {64, -0x8000000000000000, 0x7FFFFFFFFFFFFFFF, [:big, :signed]}
  }

  @type name ::
          :u8
          | :u16
          | :u32
          | :u64
          | :s8
          | :s16
          | :s32
          | :s64
          | :u16_be
          | :u32_be
          | :u64_be
          | :s16_be
          | :s32_be
          | :s64_be

  @type field :: name() | {:binary, pos_integer()}

  @doc "Whether it is the name of a number type, for guards."
  defguard is_scalar(type) when is_map_key(@types, type)

  @spec scalar?(term()) :: boolean()
  def scalar?(type), do: is_scalar(type)

  @spec bytes(field()) :: pos_integer()
  def bytes({:binary, bytes}), do: bytes
  def bytes(type), do: div(elem(@types[type], 0), 8)

  @doc "A field of a header where nothing is given."
  @spec zero(field()) :: 0 | binary()
  def zero({:binary, bytes}), do: <<0::size(bytes * 8)>>
  def zero(_type), do: 0

  @spec fits?(field(), term()) :: boolean()
  def fits?({:binary, bytes}, value), do: is_binary(value) and byte_size(value) == bytes

  def fits?(type, value) do
    {_bits, least, greatest, _modifiers} = @types[type]
    is_integer(value) and value >= least and value <= greatest
  end

  @doc "The guard, as code, that `value` fits."
  @spec guard(Macro.t(), field()) :: Macro.t()
  def guard(value, {:binary, bytes}),
    do: quote(do: is_binary(unquote(value)) and byte_size(unquote(value)) == unquote(bytes))

  def guard(value, type) do
    {_bits, least, greatest, _modifiers} = @types[type]

    quote do
      is_integer(unquote(value)) and unquote(value) >= unquote(least) and
        unquote(value) <= unquote(greatest)
    end
  end

  @doc "The segment, as code, that reads or writes `value`."
  @spec segment(Macro.t(), field()) :: Macro.t()
  def segment(value, {:binary, bytes}),
    do: quote(do: unquote(value) :: binary - size(unquote(bytes)))

  def segment(value, type) do
    {bits, _least, _greatest, modifiers} = @types[type]

    modifiers =
      Enum.reduce(modifiers, quote(do: size(unquote(bits))), fn modifier, sized ->
        {:-, [], [{modifier, [], nil}, sized]}
      end)

    quote(do: unquote(value) :: unquote(modifiers))
  end

  @doc "The bytes of a number that fits."
  @spec encode(name(), integer()) :: binary()
  def encode(type, number) do
    {bits, _least, _greatest, modifiers} = @types[type]
    if :big in modifiers, do: <<number::size(bits)>>, else: <<number::native-size(bits)>>
  end
end
