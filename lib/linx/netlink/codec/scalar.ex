defmodule Linx.Netlink.Codec.Scalar do
  @moduledoc false
  # The number types of a codec: how many bits they have, which numbers fit, and how they stand in a binary.

  # {bits, least, greatest, modifiers}
  @types %{
    u8: {8, 0, 0xFF, [:native]},
    u16: {16, 0, 0xFFFF, [:native]},
    u32: {32, 0, 0xFFFFFFFF, [:native]},
    u64: {64, 0, 0xFFFFFFFFFFFFFFFF, [:native]},
    s8: {8, -0x80, 0x7F, [:native, :signed]},
    s16: {16, -0x8000, 0x7FFF, [:native, :signed]},
    s32: {32, -0x80000000, 0x7FFFFFFF, [:native, :signed]},
    u16_be: {16, 0, 0xFFFF, [:big]},
    u32_be: {32, 0, 0xFFFFFFFF, [:big]}
  }

  @type name :: :u8 | :u16 | :u32 | :u64 | :s8 | :s16 | :s32 | :u16_be | :u32_be

  @doc "Whether it is the name of a number type, for guards."
  defguard is_scalar(type) when is_map_key(@types, type)

  @spec bytes(name()) :: 1 | 2 | 4 | 8
  def bytes(type), do: div(elem(@types[type], 0), 8)

  @spec fits?(name(), term()) :: boolean()
  def fits?(type, value) do
    {_bits, least, greatest, _modifiers} = @types[type]
    is_integer(value) and value >= least and value <= greatest
  end

  @doc "The guard, as code, that `value` fits."
  @spec guard(Macro.t(), name()) :: Macro.t()
  def guard(value, type) do
    {_bits, least, greatest, _modifiers} = @types[type]

    quote do
      is_integer(unquote(value)) and unquote(value) >= unquote(least) and
        unquote(value) <= unquote(greatest)
    end
  end

  @doc "The segment, as code, that reads or writes `value`."
  @spec segment(Macro.t(), name()) :: Macro.t()
  def segment(value, type) do
    {bits, _least, _greatest, modifiers} = @types[type]

    modifiers =
      Enum.reduce(modifiers, quote(do: size(unquote(bits))), fn modifier, sized ->
        {:-, [], [{modifier, [], nil}, sized]}
      end)

    quote(do: unquote(value) :: unquote(modifiers))
  end
end
