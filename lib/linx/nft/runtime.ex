defmodule Linx.NFT.Runtime do
  @moduledoc """
  Elixir values as the bytes that a rule compares with: the checks behind `\#{...}` in `~NFT`, for
  use by hand.

  | kind | takes | gives |
  |---|---|---|
  | `{:int, width}` | a non-negative integer that fits `width` bytes (1, 2, 4, 8) | `width` bytes, big endian |
  | `:ipv4` | `"10.0.0.1"`, `{10, 0, 0, 1}`, 4 bytes, `%Linx.IP{}` | 4 bytes |
  | `:ipv6` | `"fe80::1"`, an 8-tuple, 16 bytes, `%Linx.IP{}` | 16 bytes |
  | `:ifname` | a binary | 16 bytes, padded with zeros or cut |

      iex> Linx.NFT.Runtime.encode!(443, {:int, 2})
      <<1, 187>>

  A value that does not fit raises `ArgumentError` naming the kind and the value. Source:
  `Linx.Netfilter.Expr.cmp/3` for the byte order.
  """

  alias Linx.IP
  alias Linx.Netfilter.Expr

  @type kind :: {:int, 1 | 2 | 4 | 8} | :ipv4 | :ipv6 | :ifname

  @doc """
  A comparison of register 1 with `value`, which must be of `kind`.

      iex> Linx.NFT.Runtime.cmp!(:eq, 22, {:int, 2}) == Linx.Netfilter.Expr.cmp(:eq, <<22::16>>)
      true
  """
  @spec cmp!(atom(), term(), kind()) :: Expr.t()
  def cmp!(op, value, kind), do: Expr.cmp(op, encode!(value, kind))

  @doc "The bytes of `value` as `kind`; raises `ArgumentError` when it does not fit."
  @spec encode!(term(), kind()) :: binary()
  def encode!(value, {:int, width}) when width in [1, 2, 4, 8], do: encode_int!(value, width)
  def encode!(value, :ipv4), do: encode_ipv4!(value)
  def encode!(value, :ipv6), do: encode_ipv6!(value)
  def encode!(value, :ifname), do: encode_ifname!(value)
  def encode!(_value, kind), do: raise(ArgumentError, "unknown kind #{inspect(kind)}")

  @doc """
  A non-negative integer as `width` bytes, big endian; raises `ArgumentError` when it does not
  fit.
  """
  @spec encode_int!(integer(), 1 | 2 | 4 | 8) :: binary()
  def encode_int!(n, width) when is_integer(n) and n >= 0 do
    if Bitwise.bsr(n, 8 * width) == 0,
      do: <<n::size(8 * width)>>,
      else: mismatch("an integer of #{width} bytes", n)
  end

  def encode_int!(value, width), do: mismatch("a non-negative integer of #{width} bytes", value)

  @doc """
  An IPv4 address, in any of its forms, as 4 bytes; raises `ArgumentError` for anything else.
  """
  @spec encode_ipv4!(term()) :: <<_::32>>
  def encode_ipv4!({a, b, c, d}) when a in 0..255 and b in 0..255 and c in 0..255 and d in 0..255,
    do: <<a, b, c, d>>

  def encode_ipv4!(%IP{bytes: <<_::32>> = bytes}), do: bytes
  def encode_ipv4!(<<_::32>> = bytes), do: bytes
  def encode_ipv4!(value), do: parsed(value, 4, "an IPv4 address")

  @doc """
  An IPv6 address, in any of its forms, as 16 bytes; raises `ArgumentError` for anything else.
  """
  @spec encode_ipv6!(term()) :: <<_::128>>
  def encode_ipv6!(%IP{bytes: <<_::128>> = bytes}), do: bytes

  def encode_ipv6!(words) when is_tuple(words) and tuple_size(words) == 8 do
    list = Tuple.to_list(words)

    if Enum.all?(list, &(&1 in 0..0xFFFF)),
      do: for(w <- list, into: <<>>, do: <<w::16>>),
      else: mismatch("an IPv6 address", words)
  end

  # Sixteen bytes may be the address or text of that length.
  def encode_ipv6!(<<_::128>> = bytes) do
    case String.printable?(bytes) && IP.parse(bytes) do
      {:ok, %IP{bytes: <<_::128>> = parsed}} -> parsed
      _ -> bytes
    end
  end

  def encode_ipv6!(value), do: parsed(value, 16, "an IPv6 address")

  @doc "An interface name as 16 bytes (IFNAMSIZ), padded with zeros, cut when longer."
  @spec encode_ifname!(binary()) :: <<_::128>>
  def encode_ifname!(name) when is_binary(name) do
    size = min(byte_size(name), 16)
    <<binary_part(name, 0, size)::binary, 0::size(8 * (16 - size))>>
  end

  def encode_ifname!(value), do: mismatch("an interface name", value)

  defp parsed(text, size, what) when is_binary(text) do
    case IP.parse(text) do
      {:ok, %IP{bytes: bytes}} when byte_size(bytes) == size -> bytes
      _ -> mismatch(what, text)
    end
  end

  defp parsed(value, _size, what), do: mismatch(what, value)

  @spec mismatch(String.t(), term()) :: no_return()
  defp mismatch(what, value), do: raise(ArgumentError, "expected #{what}, got: #{inspect(value)}")
end
