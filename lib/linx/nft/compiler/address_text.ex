defmodule Linx.NFT.Compiler.AddressText do
  @moduledoc false
  # IPv4 addresses, prefixes and ranges of a list that is text, in one pass over the binary:
  # between two elements nothing is built. Linx.NFT.Compiler.ElementText reads the elements of any
  # other form.

  alias Linx.Netfilter.Datum

  @type order :: nil | :unordered | :inet.ip4_address()

  defguardp blank?(c) when c in [?\s, ?\t, ?\r, ?\n]
  defguardp digit?(c) when c in ?0..?9

  @doc """
  At most `count` elements from the front of `text` on top of `acc`:
  `{rest, count, last, acc, spans?}`.

  The rest is empty, or begins with an element that is not read here, unless the count is 0.
  `last` is the first address of the last element, `:unordered` when one was not above the one
  before; `spans?` tells of a prefix or range among them.
  """
  @spec take(binary(), non_neg_integer() | :infinity, order(), [term()], boolean()) ::
          {binary(), non_neg_integer() | :infinity, order(), [term()], boolean()}
  def take(text, count, last, acc, spans?) do
    left = if count == :infinity, do: -1, else: count
    {rest, left, last, acc, spans?} = element(text, text, 0, left, number(last), acc, spans?)
    {rest, if(left < 0, do: :infinity, else: left), order(last), acc, spans?}
  end

  defp number(nil), do: -1
  defp number({a, b, c, d}), do: a * 0x1000000 + b * 0x10000 + c * 0x100 + d
  defp number(:unordered), do: :unordered

  defp order(-1), do: nil
  defp order(n) when is_integer(n), do: address(n)
  defp order(:unordered), do: :unordered

  # A negative number of elements that are left never ends.
  defp element(<<>>, _text, _n, left, last, acc, spans?), do: {<<>>, left, last, acc, spans?}

  defp element(_rest, text, n, 0, last, acc, spans?), do: stop(text, n, 0, last, acc, spans?)

  defp element(rest, text, n, left, last, acc, spans?),
    do: octet(rest, text, n, n, left, last, acc, spans?, 0, 3, nil)

  defp stop(text, at, left, last, acc, spans?),
    do: {binary_part(text, at, byte_size(text) - at), left, last, acc, spans?}

  # `at` is where the element begins, `value` the octets before, `more` the number of those
  # behind, `first` the first address of a range.
  defp octet(<<?0, c, _::binary>>, text, _n, at, left, last, acc, spans?, _v, _more, _first)
       when digit?(c),
       do: stop(text, at, left, last, acc, spans?)

  defp octet(<<c, rest::binary>>, text, n, at, left, last, acc, spans?, value, more, first)
       when digit?(c),
       do: digits(rest, text, n + 1, at, left, last, acc, spans?, value, more, first, c - ?0)

  defp octet(_rest, text, _n, at, left, last, acc, spans?, _value, _more, _first),
    do: stop(text, at, left, last, acc, spans?)

  # `o` is the octet as far as it is read.
  defp digits(<<c, rest::binary>>, text, n, at, left, last, acc, spans?, value, more, first, o)
       when digit?(c) and o < 100 do
    o = o * 10 + c - ?0
    digits(rest, text, n + 1, at, left, last, acc, spans?, value, more, first, o)
  end

  defp digits(<<?., rest::binary>>, text, n, at, left, last, acc, spans?, value, more, first, o)
       when more > 0 and o < 256 do
    value = value * 256 + o
    octet(rest, text, n + 1, at, left, last, acc, spans?, value, more - 1, first)
  end

  defp digits(<<?-, rest::binary>>, text, n, at, left, last, acc, spans?, value, 0, nil, octet)
       when octet < 256,
       do: octet(rest, text, n + 1, at, left, last, acc, spans?, 0, 3, value * 256 + octet)

  defp digits(<<?/, rest::binary>>, text, n, at, left, last, acc, spans?, value, 0, nil, octet)
       when octet < 256,
       do: prefix(rest, text, n + 1, at, left, last, acc, spans?, value * 256 + octet)

  defp digits(<<c, _::binary>>, text, _n, at, left, last, acc, spans?, _value, _more, _first, _o)
       when not blank?(c) and c != ?, and c != ?#,
       do: stop(text, at, left, last, acc, spans?)

  defp digits(rest, text, n, at, left, last, acc, spans?, value, 0, nil, octet)
       when octet < 256 do
    value = value * 256 + octet
    comma(rest, text, n, at, left, last, acc, spans?, address(value), value, spans?)
  end

  defp digits(rest, text, n, at, left, last, acc, spans?, value, 0, first, octet)
       when octet < 256 and value * 256 + octet > first do
    range = range(first, value * 256 + octet)
    comma(rest, text, n, at, left, last, acc, true, range, first, spans?)
  end

  defp digits(_rest, text, _n, at, left, last, acc, spans?, _value, _more, _first, _octet),
    do: stop(text, at, left, last, acc, spans?)

  defp prefix(<<a, b, rest::binary>>, text, n, at, left, last, acc, spans?, value)
       when a in ?1..?3 and digit?(b) and (a - ?0) * 10 + b - ?0 <= 32 do
    bits = (a - ?0) * 10 + b - ?0
    prefixed(rest, text, n + 2, at, left, last, acc, spans?, value, bits)
  end

  defp prefix(<<a, rest::binary>>, text, n, at, left, last, acc, spans?, value) when digit?(a),
    do: prefixed(rest, text, n + 1, at, left, last, acc, spans?, value, a - ?0)

  defp prefix(_rest, text, _n, at, left, last, acc, spans?, _value),
    do: stop(text, at, left, last, acc, spans?)

  defp prefixed(<<c, _::binary>>, text, _n, at, left, last, acc, spans?, _value, _bits)
       when not blank?(c) and c != ?, and c != ?#,
       do: stop(text, at, left, last, acc, spans?)

  # A prefix of all bits is one value, and asks for `flags interval` as any other does.
  defp prefixed(rest, text, n, at, left, last, acc, spans?, value, 32),
    do: comma(rest, text, n, at, left, last, acc, true, address(value), value, spans?)

  defp prefixed(rest, text, n, at, left, last, acc, spans?, value, bits) do
    value = value |> Bitwise.bsr(32 - bits) |> Bitwise.bsl(32 - bits)
    found = {:prefix, address(value), bits}
    comma(rest, text, n, at, left, last, acc, true, found, value, spans?)
  end

  # A comma behind the element, or the end of the list; `before?` is `spans?` without the element.
  defp comma(<<c, rest::binary>>, text, n, at, left, last, acc, spans?, found, first, before?)
       when blank?(c),
       do: comma(rest, text, n + 1, at, left, last, acc, spans?, found, first, before?)

  defp comma(<<?,, rest::binary>>, text, n, _at, left, last, acc, spans?, found, first, _before?),
    do: blank(rest, text, n + 1, left - 1, next(last, first), [found | acc], spans?)

  defp comma(<<>>, _text, _n, _at, left, last, acc, spans?, found, first, _before?),
    do: {<<>>, left - 1, next(last, first), [found | acc], spans?}

  defp comma(_rest, text, _n, at, left, last, acc, _spans?, _found, _first, before?),
    do: stop(text, at, left, last, acc, before?)

  defp blank(<<c, rest::binary>>, text, n, left, last, acc, spans?) when blank?(c),
    do: blank(rest, text, n + 1, left, last, acc, spans?)

  defp blank(<<?#, rest::binary>>, text, n, left, last, acc, spans?),
    do: comment(rest, text, n + 1, left, last, acc, spans?)

  defp blank(rest, text, n, left, last, acc, spans?),
    do: element(rest, text, n, left, last, acc, spans?)

  defp comment(<<?\n, rest::binary>>, text, n, left, last, acc, spans?),
    do: blank(rest, text, n + 1, left, last, acc, spans?)

  defp comment(<<_, rest::binary>>, text, n, left, last, acc, spans?),
    do: comment(rest, text, n + 1, left, last, acc, spans?)

  defp comment(<<>>, _text, _n, left, last, acc, spans?), do: {<<>>, left, last, acc, spans?}

  # An atom is above all numbers: what is unordered stays so.
  defp next(last, first) when first > last, do: first
  defp next(_last, _first), do: :unordered

  # Few ranges are prefixes.
  defp range(first, last) do
    count = last - first + 1

    if Bitwise.band(count, count - 1) == 0,
      do: Datum.folded(:ipv4_addr, address(first), address(last)),
      else: {:range, address(first), address(last)}
  end

  defp address(n) do
    {Bitwise.bsr(n, 24), Bitwise.band(Bitwise.bsr(n, 16), 255),
     Bitwise.band(Bitwise.bsr(n, 8), 255), Bitwise.band(n, 255)}
  end
end
