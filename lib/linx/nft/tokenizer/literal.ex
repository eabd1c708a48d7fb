defmodule Linx.NFT.Tokenizer.Literal do
  @moduledoc false
  # The tokens of more than one character: words, numbers, addresses, strings, comments,
  # interpolations. Each takes the text from its first character on and gives the rest back.

  @doc false
  # A token that begins with a letter, a digit or an underscore: {token, width, rest}.
  # No address begins with a letter behind f.
  def word(<<c, _::binary>> = text, meta) when c in ?g..?z or c == ?_, do: plain(text, meta)

  def word(text, meta) do
    case address_like(text) do
      nil -> plain(text, meta)
      found -> cidr(found, text, meta)
    end
  end

  @doc false
  # "::1": an address that begins with its colons, or two colons.
  def address(text, meta) do
    case address_like(text) do
      nil -> {{:colon, meta}, 1, binary_part(text, 1, byte_size(text) - 1)}
      found -> cidr(found, text, meta)
    end
  end

  # An address has to end where the word does: "fe80" and "accept" are words, "10.0.0.1:80" an
  # address and a port.
  defp address_like(text) do
    size = hex_run(text, 0)

    case {binary_part(text, 0, size), ends?(text, size)} do
      {run, true} -> classify(run) || before_colon(run) || dotted(text)
      {_run, false} -> dotted(text)
    end
  end

  # An address and the colon of a map: "2001:db8:::1", "::1: accept".
  defp before_colon(run) do
    size =
      case :binary.match(run, ":::") do
        {at, 3} -> at + 2
        :nomatch -> byte_size(run) - 1
      end

    case run do
      <<address::binary-size(^size), ":", _::binary>> when size > 0 -> classify(address)
      _ -> nil
    end
  end

  defp classify(run) do
    cond do
      not String.contains?(run, ":") -> nil
      mac?(run) -> {:mac, run}
      ipv6?(run) -> {:ipv6, run}
      classid?(run) -> {:classid, run}
      true -> nil
    end
  end

  # a.b.c.d, whatever follows but another digit or letter.
  defp dotted(<<c, _::binary>> = text) when c in ?0..?9 do
    size = digits_and_dots(text, 0)
    run = binary_part(text, 0, size)

    case :binary.split(run, ".", [:global]) do
      [_, _, _, _] = parts ->
        if Enum.all?(parts, &octet?/1) and not word_at?(text, size), do: {:ipv4, run}

      _ ->
        nil
    end
  end

  defp dotted(_text), do: nil

  defp octet?(<<a>>), do: a in ?0..?9
  defp octet?(<<a, b>>), do: a in ?0..?9 and b in ?0..?9

  defp octet?(<<a, b, c>>) when a in ?0..?9 and b in ?0..?9 and c in ?0..?9,
    do: (a - ?0) * 100 + (b - ?0) * 10 + c - ?0 < 256

  defp octet?(_part), do: false

  defp cidr({kind, run}, text, meta) when kind in [:ipv4, :ipv6] do
    size = byte_size(run)
    rest = binary_part(text, size, byte_size(text) - size)

    with "/" <> tail <- rest,
         {digits, rest} when digits != "" <- take_digits(tail, 0),
         false <- word_at?(rest, 0) do
      raw = run <> "/" <> digits
      kind = if kind == :ipv4, do: :cidr_v4, else: :cidr_v6
      {{kind, raw, meta}, byte_size(raw), rest}
    else
      _ -> {{kind, run, meta}, size, rest}
    end
  end

  defp cidr({kind, run}, text, meta) do
    size = byte_size(run)
    {{kind, run, meta}, size, binary_part(text, size, byte_size(text) - size)}
  end

  # A number, or a word. What begins with a digit has no "-", "." or "/" in it, so that "22-25"
  # and "400/minute" are three tokens.
  defp plain(<<c, _::binary>> = text, meta) when c in ?0..?9 do
    size = alnum_run(text, 0)
    run = binary_part(text, 0, size)
    rest = binary_part(text, size, byte_size(text) - size)

    # No value has more than 512 bits. What is longer is a word that fits nowhere, and is not made
    # a number at all.
    case if(size <= 514, do: number(run), else: :error) do
      {:ok, n} -> {{:integer, n, meta}, size, rest}
      :error -> {{:identifier, run, meta}, size, rest}
    end
  end

  defp plain(text, meta) do
    {name, rest} = name(text)

    case rest do
      "*" <> rest -> {{:identifier, name <> "*", meta}, byte_size(name) + 1, rest}
      "\\*" <> rest -> {{:identifier, name <> "\\*", meta}, byte_size(name) + 2, rest}
      rest -> {{:identifier, name, meta}, byte_size(name), rest}
    end
  end

  defp number("0x" <> hex), do: parsed(Integer.parse(hex, 16))
  defp number("0X" <> hex), do: parsed(Integer.parse(hex, 16))
  defp number("0b" <> bits), do: parsed(Integer.parse(bits, 2))
  defp number("0B" <> bits), do: parsed(Integer.parse(bits, 2))

  # strtoull of base 0: a leading zero is octal.
  defp number("0" <> octal) when octal != "" do
    case parsed(Integer.parse(octal, 8)) do
      {:ok, n} -> {:ok, n}
      :error -> parsed(Integer.parse("0" <> octal))
    end
  end

  defp number(text), do: parsed(Integer.parse(text))

  defp parsed({n, ""}) when n >= 0, do: {:ok, n}
  defp parsed(_other), do: :error

  @doc false
  # A name as nft's scanner has it: letters, digits, and / - _ . inside.
  def name(text) do
    size = name_run(text, 0)
    {binary_part(text, 0, size), binary_part(text, size, byte_size(text) - size)}
  end

  # "/*" begins a comment, wherever it is.
  defp name_run(<<"/*", _::binary>>, n), do: n

  defp name_run(<<c, rest::binary>>, n)
       when c in ?a..?z or c in ?A..?Z or c in ?0..?9 or c in [?_, ?-, ?., ?/],
       do: name_run(rest, n + 1)

  defp name_run(_text, n), do: n

  # No address is longer than 45 characters.
  defp hex_run(<<c, rest::binary>>, n)
       when c in ?0..?9 or c in ?a..?f or c in ?A..?F or c in [?:, ?.],
       do: if(n < 64, do: hex_run(rest, n + 1), else: 0)

  defp hex_run(_text, n), do: n

  defp digits_and_dots(<<c, rest::binary>>, n) when (c in ?0..?9 or c == ?.) and n < 32,
    do: digits_and_dots(rest, n + 1)

  defp digits_and_dots(_text, n), do: n

  defp alnum_run(<<c, rest::binary>>, n)
       when c in ?a..?z or c in ?A..?Z or c in ?0..?9 or c == ?_,
       do: alnum_run(rest, n + 1)

  defp alnum_run(_text, n), do: n

  defp take_digits(text, n) do
    case text do
      <<_::binary-size(^n), c, _::binary>> when c in ?0..?9 and n < 8 -> take_digits(text, n + 1)
      _ -> {binary_part(text, 0, n), binary_part(text, n, byte_size(text) - n)}
    end
  end

  defp ends?(text, n), do: n > 0 and not word_at?(text, n)

  defp word_at?(text, n) do
    case text do
      <<_::binary-size(^n), c, _::binary>> ->
        c in ?a..?z or c in ?A..?Z or c in ?0..?9 or c in [?_, ?.]

      _ ->
        false
    end
  end

  defp mac?(run) do
    case :binary.split(run, ":", [:global]) do
      [_, _, _, _, _, _] = parts -> Enum.all?(parts, &(byte_size(&1) in 1..2))
      _ -> false
    end
  end

  defp ipv6?(run), do: match?({:ok, _}, :inet.parse_ipv6strict_address(String.to_charlist(run)))

  defp classid?(run) do
    case :binary.split(run, ":", [:global]) do
      [a, b] -> byte_size(a) in 1..4 and byte_size(b) in 1..4 and not String.contains?(run, ".")
      _ -> false
    end
  end

  @doc false
  # The rest of a string after its opening quote: {:ok, value, raw, rest}, {:error,
  # :unterminated}, or {:error, {reason, before}} with the text between the quote and the fault.
  # `form` is :escapes, :sigil (escapes, and an interpolation is refused) or :nft (no escapes).
  @spec string(String.t(), :escapes | :sigil | :nft) ::
          {:ok, binary(), binary(), binary()}
          | {:error, :unterminated | {:nul | :interpolation, binary()}}
  def string(text, :nft) do
    case :binary.match(text, "\"") do
      {at, 1} ->
        <<raw::binary-size(^at), ?", rest::binary>> = text
        plain_string(raw, rest)

      :nomatch ->
        {:error, :unterminated}
    end
  end

  def string(text, form), do: string(text, text, 0, [], form)

  # nft keeps strings as C does: a NUL would end them early.
  defp plain_string(raw, rest) do
    case :binary.match(raw, <<0>>) do
      {at, 1} -> {:error, {:nul, binary_part(raw, 0, at)}}
      :nomatch -> {:ok, raw, raw, rest}
    end
  end

  defp string(<<?", rest::binary>>, whole, n, acc, _form),
    do: {:ok, IO.iodata_to_binary(Enum.reverse(acc)), binary_part(whole, 0, n), rest}

  defp string(<<"\#{", _::binary>>, whole, n, _acc, :sigil),
    do: {:error, {:interpolation, binary_part(whole, 0, n)}}

  defp string(<<"\\\#{", rest::binary>>, whole, n, acc, :sigil),
    do: string(rest, whole, n + 3, ["\#{" | acc], :sigil)

  defp string(<<?\\, c, rest::binary>>, whole, n, acc, form) do
    value =
      case c do
        ?" -> "\""
        ?\\ -> "\\"
        ?n -> "\n"
        ?t -> "\t"
        ?r -> "\r"
        ?0 -> <<0>>
        _ -> <<?\\, c>>
      end

    string(rest, whole, n + 2, [value | acc], form)
  end

  defp string(<<?\n, _::binary>>, _whole, _n, _acc, _form), do: {:error, :unterminated}

  defp string(<<c, rest::binary>>, whole, n, acc, form),
    do: string(rest, whole, n + 1, [c | acc], form)

  defp string(<<>>, _whole, _n, _acc, _form), do: {:error, :unterminated}

  @doc false
  # The rest of a comment after its "/*", nested ones included: {text, rest} or :error.
  def block_comment(text), do: block_comment(text, text, 0, 1)

  defp block_comment("*/" <> rest, whole, n, 1), do: {binary_part(whole, 0, n + 2), rest}

  defp block_comment("*/" <> rest, whole, n, depth),
    do: block_comment(rest, whole, n + 2, depth - 1)

  defp block_comment("/*" <> rest, whole, n, depth),
    do: block_comment(rest, whole, n + 2, depth + 1)

  defp block_comment(<<_, rest::binary>>, whole, n, depth),
    do: block_comment(rest, whole, n + 1, depth)

  defp block_comment(<<>>, _whole, _n, _depth), do: :error

  @doc false
  # The Elixir source after "\#{" up to its own "}": {source, rest} or :error. Braces in strings,
  # charlists, character literals and comments do not count.
  def elixir(text), do: elixir(text, text, 0, [])

  defp elixir(<<?}, rest::binary>>, whole, n, []), do: {binary_part(whole, 0, n), rest}

  defp elixir(<<?}, rest::binary>>, whole, n, [:brace | stack]),
    do: elixir(rest, whole, n + 1, stack)

  # The end of an interpolation inside a string: back into the string.
  defp elixir(<<?}, rest::binary>>, whole, n, [quote | stack]),
    do: quoted(rest, whole, n + 1, quote, stack)

  defp elixir(<<?{, rest::binary>>, whole, n, stack),
    do: elixir(rest, whole, n + 1, [:brace | stack])

  defp elixir(<<??, ?\\, _, rest::binary>>, whole, n, stack),
    do: elixir(rest, whole, n + 3, stack)

  defp elixir(<<??, c, rest::binary>>, whole, n, stack) when c in [?{, ?}, ?", ?', ?#],
    do: elixir(rest, whole, n + 2, stack)

  defp elixir(<<q, rest::binary>>, whole, n, stack) when q in [?", ?'],
    do: quoted(rest, whole, n + 1, q, stack)

  defp elixir(<<?#, rest::binary>>, whole, n, stack) do
    case :binary.match(rest, "\n") do
      {at, 1} -> elixir(binary_part(rest, at, byte_size(rest) - at), whole, n + 1 + at, stack)
      :nomatch -> :error
    end
  end

  defp elixir(<<_, rest::binary>>, whole, n, stack), do: elixir(rest, whole, n + 1, stack)
  defp elixir(<<>>, _whole, _n, _stack), do: :error

  defp quoted(<<?\\, _, rest::binary>>, whole, n, q, stack),
    do: quoted(rest, whole, n + 2, q, stack)

  defp quoted(<<"\#{", rest::binary>>, whole, n, q, stack),
    do: elixir(rest, whole, n + 2, [q | stack])

  defp quoted(<<q, rest::binary>>, whole, n, q, stack), do: elixir(rest, whole, n + 1, stack)
  defp quoted(<<_, rest::binary>>, whole, n, q, stack), do: quoted(rest, whole, n + 1, q, stack)
  defp quoted(<<>>, _whole, _n, _q, _stack), do: :error
end
