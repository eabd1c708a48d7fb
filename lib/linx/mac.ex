defmodule Linx.MAC do
  @moduledoc """
  A 48-bit link-layer address.

  `~MAC` builds one at compile time, and a bad literal fails the build:

      iex> import Linx.MAC
      iex> ~MAC"02:00:5E:10:00:FF"
      ~MAC"02:00:5e:10:00:ff"

  As with `Linx.IP`, `import Linx.MAC, only: [sigil_MAC: 2]` leaves Kernel's `to_string/1` alone.

  Links whose link-layer address has another length (an IPv4 tunnel's 4 bytes, InfiniBand's 20)
  are not MAC addresses: rtnetlink reads give those as plain binaries.

  Source: IEEE 802, `struct ethhdr` in linux/if_ether.h.
  """

  import Kernel, except: [to_string: 1]

  @type t :: %__MODULE__{bytes: <<_::48>>}

  @enforce_keys [:bytes]
  defstruct [:bytes]

  @doc """
  Reads six hexadecimal bytes of two digits each with colons between them.

      iex> Linx.MAC.parse("02:00:5e:10:00:ff")
      {:ok, %Linx.MAC{bytes: <<2, 0, 0x5E, 0x10, 0, 0xFF>>}}
      iex> Linx.MAC.parse("2:0:5e:10:0:ff")
      {:error, {:invalid_mac, "2:0:5e:10:0:ff"}}
  """
  @spec parse(binary()) :: {:ok, t()} | {:error, {:invalid_mac, term()}}
  def parse(
        <<a::binary-size(2), ?:, b::binary-size(2), ?:, c::binary-size(2), ?:, d::binary-size(2),
          ?:, e::binary-size(2), ?:, f::binary-size(2)>> = string
      ) do
    case Base.decode16(a <> b <> c <> d <> e <> f, case: :mixed) do
      {:ok, bytes} -> {:ok, %__MODULE__{bytes: bytes}}
      :error -> {:error, {:invalid_mac, string}}
    end
  end

  def parse(other), do: {:error, {:invalid_mac, other}}

  # An address where a verb takes text or the struct.
  @doc false
  @spec cast(term()) :: {:ok, t()} | {:error, {:invalid_mac, term()}}
  def cast(%__MODULE__{bytes: <<_::48>>} = mac), do: {:ok, mac}
  def cast(other), do: parse(other)

  @doc """
  Builds an address at compile time; a bad literal raises `ArgumentError` there. It may stand in a
  pattern.
  """
  defmacro sigil_MAC({:<<>>, _, [string]}, []) when is_binary(string) do
    case parse(string) do
      {:ok, mac} -> Macro.escape(mac)
      {:error, _} -> raise ArgumentError, "not a MAC address: #{inspect(string)}"
    end
  end

  defmacro sigil_MAC(_string, modifiers) do
    raise ArgumentError, "~MAC takes no modifiers, got: #{inspect(modifiers)}"
  end

  @doc """
  Lower-case hexadecimal with colons.
  """
  @spec to_string(t()) :: binary()
  def to_string(%__MODULE__{bytes: <<_::48>> = bytes}) do
    for <<byte <- bytes>>, reduce: "" do
      "" -> hex(byte)
      text -> text <> ":" <> hex(byte)
    end
  end

  defp hex(byte), do: Base.encode16(<<byte>>, case: :lower)

  @doc """
  The six bytes.
  """
  @spec encode(t()) :: binary()
  def encode(%__MODULE__{bytes: bytes}), do: bytes

  @doc """
  An address from its six bytes, `nil` for any other length.
  """
  @spec decode(binary()) :: t() | nil
  def decode(<<_::48>> = bytes), do: %__MODULE__{bytes: bytes}
  def decode(bytes) when is_binary(bytes), do: nil

  defimpl String.Chars do
    def to_string(mac), do: Linx.MAC.to_string(mac)
  end

  defimpl Inspect do
    def inspect(mac, _opts), do: ~s(~MAC"#{Linx.MAC.to_string(mac)}")
  end
end
