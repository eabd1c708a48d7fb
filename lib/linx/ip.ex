defmodule Linx.IP do
  @moduledoc """
  An IP address, version 4 or 6, as the bytes the kernel sees plus their family.

  `parse/1` takes the text forms that `inet_pton(3)` takes and no others: four decimal numbers for
  IPv4, hexadecimal groups (with at most one `::`, and a dotted quad at the end if wanted) for
  IPv6. Names are not resolved, and a zone (`fe80::1%eth0`) is refused: an interface is not part
  of an address here.

  `~IP` builds the same value at compile time, so that a mistyped literal fails the build. With a
  `/` in it the literal is a `Linx.IP.Subnet`:

      iex> import Linx.IP
      iex> ~IP"192.0.2.7".bytes
      <<192, 0, 2, 7>>
      iex> ~IP"2001:db8:0:0:0:0:0:1"
      ~IP"2001:db8::1"
      iex> ~IP"192.0.2.0/24".prefix
      24

  `inspect/1` gives the sigil back; `to_string/1` and interpolation give the bare text.

  A plain `import Linx.IP` brings `parse/1` and `to_string/1` along, and the latter then hides
  Kernel's. Where that is in the way, `import Linx.IP, only: [sigil_IP: 2]`.
  """

  import Bitwise
  import Kernel, except: [to_string: 1]

  alias Linx.IP.Subnet

  @type family :: :inet | :inet6
  @type t :: %__MODULE__{bytes: binary(), family: family()}

  @enforce_keys [:bytes, :family]
  defstruct [:bytes, :family]

  @doc """
  Reads an address from text. Anything else than a complete address is
  `{:error, {:invalid_ip, text}}`.

      iex> Linx.IP.parse("192.0.2.7")
      {:ok, %Linx.IP{bytes: <<192, 0, 2, 7>>, family: :inet}}
      iex> Linx.IP.parse("192.0.2")
      {:error, {:invalid_ip, "192.0.2"}}

  Source: inet_pton(3).
  """
  @spec parse(binary()) :: {:ok, t()} | {:error, {:invalid_ip, term()}}
  def parse(string) when is_binary(string) do
    case inet(string) || inet6(string) do
      nil -> {:error, {:invalid_ip, string}}
      ip -> {:ok, ip}
    end
  end

  def parse(other), do: {:error, {:invalid_ip, other}}

  # An address where a verb takes text or the struct.
  @doc false
  @spec cast(term()) :: {:ok, t()} | {:error, {:invalid_ip, term()}}
  def cast(%__MODULE__{family: :inet, bytes: <<_::32>>} = ip), do: {:ok, ip}
  def cast(%__MODULE__{family: :inet6, bytes: <<_::128>>} = ip), do: {:ok, ip}
  def cast(other), do: parse(other)

  @doc """
  Builds an address, or with a `/` a `Linx.IP.Subnet`, at compile time. A bad literal raises
  `ArgumentError` there.

  The result is a literal, so it may stand in a pattern.
  """
  defmacro sigil_IP({:<<>>, _, [string]}, []) when is_binary(string) do
    parsed = if String.contains?(string, "/"), do: Subnet.parse(string), else: parse(string)

    case parsed do
      {:ok, value} -> Macro.escape(value)
      {:error, _} -> raise ArgumentError, "not an IP address or subnet: #{inspect(string)}"
    end
  end

  defmacro sigil_IP(_string, modifiers) do
    raise ArgumentError, "~IP takes no modifiers, got: #{inspect(modifiers)}"
  end

  @doc """
  The usual text of an address: dotted quad, or IPv6 in its shortest form with the first longest
  run of zeros left out.

      iex> {:ok, ip} = Linx.IP.parse("2001:DB8::0:7")
      iex> Linx.IP.to_string(ip)
      "2001:db8::7"

  Source: inet_ntop(3), RFC 5952.
  """
  @spec to_string(t()) :: binary()
  def to_string(%__MODULE__{bytes: <<a, b, c, d>>}), do: "#{a}.#{b}.#{c}.#{d}"

  # IPv4-mapped and IPv4-compatible addresses as inet_ntop writes them; the latter unless the last
  # group stands alone.
  def to_string(%__MODULE__{bytes: <<0::80, 0xFFFF::16, quad::binary-size(4)>>}),
    do: "::ffff:" <> dotted(quad)

  def to_string(%__MODULE__{bytes: <<0::96, high::16, _::16>> = bytes}) when high != 0,
    do: "::" <> dotted(binary_part(bytes, 12, 4))

  def to_string(%__MODULE__{bytes: <<_::128>> = bytes}) do
    groups = for <<group::16 <- bytes>>, do: group

    case longest_zero_run(groups) do
      nil ->
        join(groups)

      {start, length} ->
        {head, rest} = Enum.split(groups, start)
        join(head) <> "::" <> join(Enum.drop(rest, length))
    end
  end

  @doc """
  The bytes on the wire: 4 for IPv4, 16 for IPv6, in network byte order.
  """
  @spec encode(t()) :: binary()
  def encode(%__MODULE__{bytes: bytes}), do: bytes

  @doc """
  An address from its bytes; the family follows from the length. `nil` for bytes of any other
  length than 4 or 16.

      iex> Linx.IP.decode(<<192, 0, 2, 7>>)
      %Linx.IP{bytes: <<192, 0, 2, 7>>, family: :inet}
  """
  @spec decode(binary()) :: t() | nil
  def decode(<<_::32>> = bytes), do: %__MODULE__{bytes: bytes, family: :inet}
  def decode(<<_::128>> = bytes), do: %__MODULE__{bytes: bytes, family: :inet6}
  def decode(bytes) when is_binary(bytes), do: nil

  # -- reading -----------------------------------------------------------------------------------

  defp inet(text) do
    case quad(text, nil, 0, 3) do
      nil -> nil
      bytes -> %__MODULE__{bytes: bytes, family: :inet}
    end
  end

  # `octet` is the number so far, nil before its first digit; `done` those before it, as one
  # number; `dots` are still to come. A zero at the front means octal to some programs and nothing
  # to others; inet_pton refuses it.
  defp quad(<<digit, rest::binary>>, nil, done, dots) when digit in ?0..?9,
    do: quad(rest, digit - ?0, done, dots)

  defp quad(<<digit, rest::binary>>, octet, done, dots)
       when digit in ?0..?9 and (octet in 1..24 or (octet == 25 and digit <= ?5)),
       do: quad(rest, octet * 10 + digit - ?0, done, dots)

  defp quad(<<?., rest::binary>>, octet, done, dots) when is_integer(octet) and dots > 0,
    do: quad(rest, nil, done * 256 + octet, dots - 1)

  defp quad(<<>>, octet, done, 0) when is_integer(octet), do: <<done * 256 + octet::32>>
  defp quad(_text, _octet, _done, _dots), do: nil

  defp inet6(text) do
    bits =
      case text do
        "::" -> 0
        <<"::", rest::binary>> -> groups(rest, 0, 0, 0)
        _ -> groups(text, 0, 0, nil)
      end

    bits && %__MODULE__{bytes: <<bits::128>>, family: :inet6}
  end

  # `done` are `count` groups as one number, the first `gap` of them before the `::`; nil if there
  # was none.
  defp groups(text, done, count, gap) when count < 8 do
    case group(text, 0, 0) do
      {group, ""} ->
        spread(done <<< 16 ||| group, count + 1, gap)

      {group, "::"} when gap == nil ->
        spread(done <<< 16 ||| group, count + 1, count + 1)

      {group, <<"::", rest::binary>>} when gap == nil ->
        groups(rest, done <<< 16 ||| group, count + 1, count + 1)

      {group, <<?:, rest::binary>>} ->
        groups(rest, done <<< 16 ||| group, count + 1, gap)

      {_octet, <<?., _::binary>>} ->
        # The last two groups as a dotted quad.
        case quad(text, nil, 0, 3) do
          <<quad::32>> -> spread(done <<< 32 ||| quad, count + 2, gap)
          nil -> nil
        end

      _ ->
        nil
    end
  end

  defp groups(_text, _done, _count, _gap), do: nil

  # The 128 bits. `::` stands for at least one group.
  defp spread(bits, 8, nil), do: bits

  defp spread(bits, count, gap) when is_integer(gap) and count < 8 do
    right = (count - gap) * 16
    left = bits >>> right
    left <<< (128 - gap * 16) ||| (bits &&& (1 <<< right) - 1)
  end

  defp spread(_bits, _count, _gap), do: nil

  # One to four hexadecimal digits, and what follows them.
  defp group(<<digit, rest::binary>>, n, length) when length < 4 and digit in ?0..?9,
    do: group(rest, n * 16 + digit - ?0, length + 1)

  defp group(<<digit, rest::binary>>, n, length) when length < 4 and digit in ?a..?f,
    do: group(rest, n * 16 + digit - ?a + 10, length + 1)

  defp group(<<digit, rest::binary>>, n, length) when length < 4 and digit in ?A..?F,
    do: group(rest, n * 16 + digit - ?A + 10, length + 1)

  defp group(_rest, _n, 0), do: nil
  defp group(rest, n, _length), do: {n, rest}

  # -- writing -----------------------------------------------------------------------------------

  defp dotted(<<a, b, c, d>>), do: "#{a}.#{b}.#{c}.#{d}"

  defp join(groups), do: Enum.map_join(groups, ":", &hex/1)

  defp hex(group), do: group |> Integer.to_string(16) |> String.downcase()

  # {start, length} of the first longest run; a single zero group is written out.
  defp longest_zero_run(groups) do
    groups
    |> Enum.with_index()
    |> Enum.chunk_by(fn {group, _} -> group == 0 end)
    |> Enum.filter(fn [{group, _} | _] = run -> group == 0 and length(run) > 1 end)
    |> Enum.map(fn [{_, start} | _] = run -> {start, length(run)} end)
    |> Enum.max_by(fn {start, length} -> {length, -start} end, fn -> nil end)
  end

  defimpl String.Chars do
    def to_string(ip), do: Linx.IP.to_string(ip)
  end

  defimpl Inspect do
    def inspect(ip, _opts), do: ~s(~IP"#{Linx.IP.to_string(ip)}")
  end
end
