defmodule Linx.Netfilter.Codec.Object.Layer4 do
  @moduledoc false
  # The transport protocol of a conntrack object: an `IPPROTO_*` in one byte, by name where it has
  # one.

  alias Linx.Netfilter.Protocol

  @spec encode(atom() | 0..255) :: binary()
  def encode(number) when number in 0..255, do: <<number>>

  def encode(name) do
    case Protocol.number(name, :inet) do
      nil -> raise ArgumentError, "unknown protocol #{inspect(name)}"
      number -> <<number>>
    end
  end

  @spec decode(binary()) :: atom() | 0..255 | nil
  def decode(<<number, _::binary>>), do: Protocol.by_number(:inet, number) || number
  def decode(_short), do: nil
end
