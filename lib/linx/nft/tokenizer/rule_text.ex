defmodule Linx.NFT.Tokenizer.RuleText do
  @moduledoc false
  # Lines of a chain that stay text: a run of whole lines with one rule each becomes one token,
  # and Linx.NFT.Compiler.RuleText compiles it line by line. `cut/2` finds such a run, `next/1`
  # takes its first line apart.
  #
  # A run has no backslash, block comment or option of the chain in it, braces only in pairs on
  # one line, and a `;` only at the end of a line. The compiler checks the rest: a line that is no
  # rule makes the whole text be read token by token.

  alias Linx.NFT.Tokenizer.Literal

  # -- runs --------------------------------------------------------------------------------------

  @doc """
  The lines at the start of `text`, from `min_bytes` bytes on, and the rest behind them; `:error`
  when there are fewer. `text` begins with a line.
  """
  @spec cut(binary(), non_neg_integer()) :: {binary(), binary()} | :error
  def cut(text, min_bytes) do
    case first(text, 0) do
      0 ->
        :error

      size when size < min_bytes ->
        :error

      size ->
        <<lines::binary-size(^size), rest::binary>> = text
        {lines, rest}
    end
  end

  # `first` is at the first character of a line, `n` the bytes before it. The words begin an
  # option of the chain or a definition.
  defp first(<<c, rest::binary>>, n) when c in [?\s, ?\t, ?\r], do: blank(rest, n, n + 1)
  defp first(rest, n), do: word(rest, n, n)

  defp blank(<<c, rest::binary>>, last, n) when c in [?\s, ?\t, ?\r],
    do: blank(rest, last, n + 1)

  defp blank(rest, last, n), do: word(rest, last, n)

  for option <- ~w(type policy flags devices comment include define redefine undefine) do
    defp word(<<unquote(option), c, _::binary>>, last, _n) when c in [?\s, ?\t, ?=], do: last
  end

  defp word(rest, last, n), do: line(rest, last, n)

  # `last` is the end of the last whole line.
  defp line(<<?\n, rest::binary>>, _last, n), do: first(rest, n + 1)
  defp line(<<?;, rest::binary>>, last, n), do: line_end(rest, last, n + 1)
  defp line(<<?{, rest::binary>>, last, n), do: braces(rest, last, n + 1)
  defp line(<<"/*", _::binary>>, last, _n), do: last
  defp line(<<c, _::binary>>, last, _n) when c in [?}, ?\\], do: last
  defp line(<<_, rest::binary>>, last, n), do: line(rest, last, n + 1)
  defp line(<<>>, last, _n), do: last

  defp line_end(<<?\n, rest::binary>>, _last, n), do: first(rest, n + 1)

  defp line_end(<<c, rest::binary>>, last, n) when c in [?\s, ?\t, ?\r],
    do: line_end(rest, last, n + 1)

  defp line_end(_rest, last, _n), do: last

  defp braces(<<?}, rest::binary>>, last, n), do: line(rest, last, n + 1)
  defp braces(<<"/*", _::binary>>, last, _n), do: last
  defp braces(<<c, _::binary>>, last, _n) when c in [?\n, ?;, ?{, ?\\], do: last
  defp braces(<<_, rest::binary>>, last, n), do: braces(rest, last, n + 1)
  defp braces(<<>>, last, _n), do: last

  # -- lines -------------------------------------------------------------------------------------

  @typedoc """
  The kind of a literal between spaces: a number, an IPv4 address, an IPv4 prefix by its length, a
  string in quotes, or another kind of the tokenizer.
  """
  @type kind :: :integer | :ipv4 | 0..32 | :string | :ipv6 | :mac | {:cidr_v6, binary()}

  @typedoc "A number, also for an IPv4 address and for that of a prefix; else the text."
  @type value :: non_neg_integer() | binary()

  @doc """
  The first line of a run and the rest behind it.

  `{shape, values, size, rest}` is a line of `size` bytes whose literals stand apart: `shape` is
  its text with the kinds of the literals in their places, `values` the literals, both with the
  last first. `{:other, line, rest}` is a line for the tokenizer.
  """
  @spec next(binary()) ::
          {[kind() | binary()], [value()], pos_integer(), binary()}
          | {:other, binary(), binary()}
          | {:blank, binary()}
          | :done
  def next(text), do: start(text, text, 0)

  defguardp space?(c) when c in [?\s, ?\t, ?\r]
  defguardp end?(c) when c in [?\s, ?\n, ?;, ?\t, ?\r]

  defp start(<<c, rest::binary>>, text, n) when space?(c), do: start(rest, text, n + 1)
  defp start(<<?\n, rest::binary>>, _text, _n), do: {:blank, rest}
  defp start(<<?#, rest::binary>>, _text, _n), do: {:blank, comment(rest)}
  defp start(<<>>, _text, _n), do: :done
  defp start(rest, text, n), do: chunk(rest, text, n, n, [], [])

  # A chunk begins behind a space; `from` is where the text behind the last literal begins.
  defp chunk(<<c, rest::binary>>, text, n, from, shape, values) when space?(c),
    do: chunk(rest, text, n + 1, from, shape, values)

  defp chunk(<<c, rest::binary>>, text, n, from, shape, values) when c in ?1..?9,
    do: integer(rest, text, n + 1, n, from, shape, values, c - ?0)

  defp chunk(<<?", rest::binary>>, text, n, from, shape, values),
    do: string(rest, text, n + 1, n, from, shape, values)

  defp chunk(<<?0, c, _::binary>> = rest, text, n, from, shape, values) when end?(c) do
    <<_, rest::binary>> = rest
    literal(rest, text, n + 1, n, from, :integer, 0, shape, values)
  end

  defp chunk(<<c, _::binary>> = rest, text, n, from, shape, values)
       when c == ?0 or c in ?a..?f or c in ?A..?F or c == ?:,
       do: mixed(rest, text, n, n, from, shape, values)

  defp chunk(rest, text, n, from, shape, values), do: word(rest, text, n, from, shape, values)

  defp word(<<c, rest::binary>>, text, n, from, shape, values)
       when c in ?a..?z or c in ?0..?9 or c in ?A..?Z,
       do: word(rest, text, n + 1, from, shape, values)

  defp word(<<c, rest::binary>>, text, n, from, shape, values) when space?(c),
    do: chunk(rest, text, n + 1, from, shape, values)

  defp word(<<?\n, rest::binary>>, text, n, from, shape, values),
    do: done(rest, text, n, n, from, shape, values)

  defp word(<<?;, rest::binary>>, text, n, from, shape, values),
    do: done(comment(rest), text, n, n, from, shape, values)

  # A comment takes the rest of its line.
  defp word(<<?#, rest::binary>>, text, n, from, shape, values) do
    case :binary.at(text, n - 1) do
      c when space?(c) -> done(comment(rest), text, n, n, from, shape, values)
      _ -> other(text, n)
    end
  end

  defp word(<<c, _::binary>>, text, n, _from, _shape, _values)
       when c in [?", ?\\] or c < ?\s or c > ?~,
       do: other(text, n)

  defp word(<<_, rest::binary>>, text, n, from, shape, values),
    do: word(rest, text, n + 1, from, shape, values)

  defp word(<<>>, text, n, from, shape, values),
    do: done(<<>>, text, n, n, from, shape, values)

  # The literal is at `at`, and `rest` begins at its end, `n`.
  defp literal(rest, text, n, at, from, kind, value, shape, values) when at == from,
    do: behind(rest, text, n, n, [kind | shape], [value | values])

  defp literal(rest, text, n, at, from, kind, value, shape, values) do
    behind(rest, text, n, n, [kind, part(text, from, at) | shape], [value | values])
  end

  defp behind(<<c, rest::binary>>, text, n, from, shape, values) when space?(c),
    do: chunk(rest, text, n + 1, from, shape, values)

  defp behind(<<?\n, rest::binary>>, text, n, from, shape, values),
    do: done(rest, text, n, n, from, shape, values)

  defp behind(<<?;, rest::binary>>, text, n, from, shape, values),
    do: done(comment(rest), text, n, n, from, shape, values)

  defp behind(<<>>, text, n, from, shape, values), do: done(<<>>, text, n, n, from, shape, values)

  defp done(rest, text, n, last, from, shape, values) do
    shape = if last == from, do: shape, else: [part(text, from, last) | shape]
    {shape, values, n, rest}
  end

  # -- literals ----------------------------------------------------------------------------------

  # More digits than a small number has.
  @max_digits 17

  defp integer(<<c, rest::binary>>, text, n, at, from, shape, values, value) when c in ?0..?9,
    do: integer(rest, text, n + 1, at, from, shape, values, value * 10 + c - ?0)

  defp integer(<<c, _::binary>> = rest, text, n, at, from, shape, values, value)
       when end?(c) and n - at < @max_digits,
       do: literal(rest, text, n, at, from, :integer, value, shape, values)

  defp integer(<<?., rest::binary>>, text, n, at, from, shape, values, value) when value < 256,
    do: address(rest, text, n + 1, at, from, shape, values, value, 3)

  defp integer(rest, text, n, at, from, shape, values, _value),
    do: mixed(rest, text, n, at, from, shape, values)

  # The octets that are left: no zero before another digit.
  defp address(<<?0, c, _::binary>> = rest, text, n, at, from, shape, values, _value, _left)
       when c in ?0..?9,
       do: mixed(rest, text, n, at, from, shape, values)

  defp address(<<c, rest::binary>>, text, n, at, from, shape, values, value, left)
       when c in ?0..?9,
       do: octet(rest, text, n + 1, at, from, shape, values, value, left, c - ?0)

  defp address(rest, text, n, at, from, shape, values, _value, _left),
    do: mixed(rest, text, n, at, from, shape, values)

  defp octet(<<c, rest::binary>>, text, n, at, from, shape, values, value, left, octet)
       when c in ?0..?9 and octet < 256,
       do: octet(rest, text, n + 1, at, from, shape, values, value, left, octet * 10 + c - ?0)

  defp octet(<<?., rest::binary>>, text, n, at, from, shape, values, value, left, octet)
       when left > 1 and octet < 256,
       do: address(rest, text, n + 1, at, from, shape, values, value * 256 + octet, left - 1)

  defp octet(<<c, _::binary>> = rest, text, n, at, from, shape, values, value, 1, octet)
       when end?(c) and octet < 256,
       do: literal(rest, text, n, at, from, :ipv4, value * 256 + octet, shape, values)

  defp octet(<<?/, a, c, _::binary>> = rest, text, n, at, from, shape, values, value, 1, octet)
       when a in ?0..?9 and end?(c) and octet < 256 do
    <<_, _, rest::binary>> = rest
    literal(rest, text, n + 2, at, from, a - ?0, value * 256 + octet, shape, values)
  end

  defp octet(<<?/, a, b, c, _::binary>> = rest, text, n, at, from, shape, values, value, 1, octet)
       when a in ?1..?3 and b in ?0..?9 and end?(c) and octet < 256 and
              (a - ?0) * 10 + b - ?0 <= 32 do
    bits = (a - ?0) * 10 + b - ?0
    <<_, _, _, rest::binary>> = rest
    literal(rest, text, n + 3, at, from, bits, value * 256 + octet, shape, values)
  end

  defp octet(rest, text, n, at, from, shape, values, _value, _left, _octet),
    do: mixed(rest, text, n, at, from, shape, values)

  @kinds [:integer, :ipv4, :ipv6, :mac]

  # The tokenizer knows the other literals: addresses with colons, hexadecimal numbers.
  defp mixed(rest, text, n, at, from, shape, values) do
    size = size(rest, 0)
    chunk = part(text, at, n + size)

    with true <- :binary.match(chunk, ":") != :nomatch or match?("0x" <> _, chunk),
         {{kind, value, nil}, width, ""} <- Literal.word(chunk, nil),
         true <- width == byte_size(chunk),
         kind when kind != nil <- kind(kind, value) do
      <<_::binary-size(^size), behind::binary>> = rest
      literal(behind, text, n + size, at, from, kind, value, shape, values)
    else
      _ -> word(rest, text, n, from, shape, values)
    end
  end

  defp kind(kind, _value) when kind in @kinds and kind != :ipv4, do: kind
  defp kind(:cidr_v6, value), do: {:cidr_v6, value |> :binary.split("/") |> tl() |> hd()}
  defp kind(_kind, _value), do: nil

  # No literal has a quote or a character beyond ASCII.
  defp size(<<c, rest::binary>>, n)
       when not end?(c) and c > ?\s and c < 127 and c not in [?", ?#, ?\\],
       do: size(rest, n + 1)

  defp size(<<c, _::binary>>, n) when end?(c), do: n
  defp size(_rest, _n), do: 0

  defp string(<<?", c, _::binary>> = rest, text, n, at, from, shape, values) when end?(c) do
    <<_, rest::binary>> = rest
    literal(rest, text, n + 1, at, from, :string, part(text, at + 1, n), shape, values)
  end

  defp string(<<c, rest::binary>>, text, n, at, from, shape, values)
       when c >= ?\s and c not in [?", ?\\, 127],
       do: string(rest, text, n + 1, at, from, shape, values)

  defp string(_rest, text, n, _at, _from, _shape, _values), do: other(text, n)

  # -- small -------------------------------------------------------------------------------------

  defp part(text, from, to), do: binary_part(text, from, to - from)

  # The text behind the end of the line.
  defp comment(<<?\n, rest::binary>>), do: rest
  defp comment(<<_, rest::binary>>), do: comment(rest)
  defp comment(<<>>), do: <<>>

  defp other(text, n) do
    case :binary.match(text, "\n", scope: {n, byte_size(text) - n}) do
      {at, 1} -> {:other, part(text, 0, at), part(text, at + 1, byte_size(text))}
      :nomatch -> {:other, text, <<>>}
    end
  end
end
