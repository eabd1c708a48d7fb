defmodule Linx.Netfilter.Codec.Object.Layer3 do
  @moduledoc false
  # The network protocol of a conntrack object, an `NFPROTO_*` in 16 bits.

  alias Linx.Netfilter.Wire

  @spec encode(atom() | 0..0xFFFF) :: binary()
  def encode(number) when number in 0..0xFFFF, do: <<number::16>>
  def encode(family), do: <<Wire.family_num(family)::16>>

  @spec decode(binary()) :: atom() | 0..0xFFFF | nil
  def decode(<<number::16, _::binary>>) do
    case Wire.family_atom(number) do
      :unknown -> number
      family -> family
    end
  end

  def decode(_short), do: nil
end
