defmodule Linx.NFT.Parser.Tokens do
  @moduledoc false
  # Taking tokens off the front of the list, and what is said when the wrong one is there. A
  # mismatch throws {:syntax, meta, message}: Linx.NFT.Parser.parse/2 knows the file and turns it
  # into the exception.

  alias Linx.Netfilter.Protocol
  alias Linx.NFT.ParseError

  @text %{
    eq: "==",
    neq: "!=",
    lte: "<=",
    gte: ">=",
    lshift: "<<",
    rshift: ">>",
    lt: "<",
    gt: ">",
    assign: "=",
    not: "!",
    amp: "&",
    pipe: "|",
    caret: "^",
    plus: "+",
    dash: "-",
    star: "*",
    slash: "/",
    lbrace: "{",
    rbrace: "}",
    lparen: "(",
    rparen: ")",
    lbracket: "[",
    rbracket: "]",
    comma: ",",
    colon: ":",
    dot: ".",
    at: "@",
    stmt_sep: "end of statement"
  }

  @known ~w(ip ip6 inet arp bridge netdev accept drop continue return jump goto add create insert
            update delete destroy flush map vmap redefine define packets bytes saddr daddr mark
            iif oif icmpx set chain flowtable performance memory index handle position)a
  @protocols for row <- Protocol.all(), row.header == nil, do: row.name
  @known_words Map.new(@known ++ @protocols, &{Atom.to_string(&1), &1})

  @doc false
  # Whether a token begins a definition. They may stand in every block.
  defguard definition?(token)
           when tuple_size(token) == 3 and elem(token, 0) == :identifier and
                  elem(token, 1) in ["include", "define", "redefine", "undefine"]

  @doc false
  # The atom of a keyword that a clause has already recognised: none is ever made from the text.
  @spec known(String.t()) :: atom()
  def known(word), do: Map.fetch!(@known_words, word)

  @doc false
  @spec fail(map(), String.t()) :: no_return()
  def fail(meta, message), do: throw({:syntax, meta, message})

  @doc false
  @spec unexpected([tuple()], String.t()) :: no_return()
  @spec unexpected([tuple()], String.t(), [String.t()]) :: no_return()
  def unexpected(tokens, wanted, candidates \\ [])

  def unexpected([{:eof, meta} | _], wanted, _candidates),
    do: fail(meta, "unexpected end of input, expected #{wanted}")

  def unexpected([{:identifier, word, meta} | _], wanted, candidates) do
    hint = ParseError.suggestion(word, candidates)
    fail(meta, "unexpected #{show(word)}, expected #{wanted}#{hint}")
  end

  def unexpected([token | _], wanted, _candidates),
    do: fail(meta(token), "unexpected #{describe(token)}, expected #{wanted}")

  @doc false
  def meta([token | _]), do: meta(token)
  def meta(token), do: elem(token, tuple_size(token) - 1)

  defp describe({:eof, _}), do: "end of input"
  defp describe({:string, value, _}), do: show(inspect(value))
  defp describe({:elixir_expr, _, _}), do: "interpolation"
  defp describe({:variable, name, _}), do: "$" <> show(name)
  defp describe({_kind, value, _}) when is_binary(value), do: show(value)
  defp describe({_kind, value, _}), do: show(inspect(value))
  defp describe({:stmt_sep, _}), do: "end of statement"
  defp describe({kind, _}), do: "'#{Map.get(@text, kind, kind)}'"

  defp show(word) when byte_size(word) > 60, do: String.slice(word, 0, 57) <> "..."
  defp show(word), do: word

  @doc false
  def expect([{kind, _meta} | rest], kind), do: rest
  def expect(tokens, kind), do: unexpected(tokens, "'#{Map.get(@text, kind, kind)}'")

  @doc false
  def word([{:identifier, word, _meta} | rest], word), do: rest
  def word(tokens, word), do: unexpected(tokens, word, [word])

  @doc false
  # True or false with the rest: an optional word.
  def optional([{:identifier, word, _meta} | rest], word), do: {true, rest}
  def optional(tokens, _word), do: {false, tokens}

  @doc false
  def skip_separators([{:stmt_sep, _} | rest]), do: skip_separators(rest)
  def skip_separators(tokens), do: tokens

  @doc false
  # A statement ends at a separator, at the brace that closes its block, or with the input.
  # `candidates` are words that may stand here instead.
  def statement_end(tokens, candidates \\ [])
  def statement_end([{:stmt_sep, _} | rest], _candidates), do: rest
  def statement_end([{:rbrace, _} | _] = tokens, _candidates), do: tokens
  def statement_end([{:eof, _}] = tokens, _candidates), do: tokens
  def statement_end(tokens, candidates), do: unexpected(tokens, "end of statement", candidates)

  @doc false
  def integer([{:integer, n, _} | rest]), do: {n, rest}
  def integer([{:elixir_expr, _, _} = token | rest]), do: {token, rest}
  def integer([{:variable, _, _} = token | rest]), do: {token, rest}
  def integer([{:dash, _}, {:integer, n, _} | rest]), do: {-n, rest}
  def integer(tokens), do: unexpected(tokens, "a number")

  @doc false
  # The name of a table, chain, set or object; what = its kind, for the message.
  def name([{:identifier, name, meta} | rest], what) do
    if String.ends_with?(name, "*"),
      do: fail(meta, "#{name} is not a name for a #{what}"),
      else: {sized_name(name, what, meta), rest}
  end

  def name([{:string, name, meta} | rest], what), do: {sized_name(name, what, meta), rest}

  def name([{kind, _, _} = token | rest], _what) when kind in [:elixir_expr, :variable],
    do: {token, rest}

  def name(tokens, what), do: unexpected(tokens, "the name of a #{what}")

  # NFT_NAME_MAXLEN is 256 with the terminating NUL.
  defp sized_name(name, what, meta) do
    cond do
      name == "" ->
        fail(meta, "the name of a #{what} must not be empty")

      byte_size(name) > 255 ->
        fail(meta, "the name of a #{what} has at most 255 bytes, this one #{byte_size(name)}")

      String.contains?(name, <<0>>) ->
        fail(meta, "the name of a #{what} cannot hold a NUL byte")

      true ->
        name
    end
  end

  @doc false
  # A comment: "text" or a bare word, checked where it stands.
  def comment([{kind, text, meta} | rest]) when kind in [:string, :identifier] do
    case comment_fault(text) do
      nil -> {text, rest}
      fault -> fail(meta, fault)
    end
  end

  def comment(tokens), do: string(tokens, "a comment")

  @doc false
  # The fault of a comment's text, or nil. nft's limit is 128 bytes: the userdata of an entity has
  # 256 in all.
  @spec comment_fault(binary()) :: String.t() | nil
  def comment_fault(text) do
    cond do
      byte_size(text) > 128 ->
        "a comment has at most 128 bytes, this one #{byte_size(text)}"

      String.contains?(text, <<0>>) ->
        "a comment cannot hold a NUL byte"

      true ->
        nil
    end
  end

  @doc false
  # "text" or a bare word.
  def string([{kind, text, _} | rest], _what) when kind in [:string, :identifier],
    do: {text, rest}

  def string([{kind, _, _} = token | rest], _what) when kind in [:elixir_expr, :variable],
    do: {token, rest}

  def string(tokens, what), do: unexpected(tokens, what)

  @doc false
  # A time such as 1d2h30m, 90s or 500ms; a bare number is seconds. In milliseconds.
  def duration([{:integer, n, _}, {:identifier, unit, _} | rest] = tokens)
      when unit in ["s", "m", "h", "d", "ms"],
      do: {bounded(n * unit_ms(unit), tokens), rest}

  def duration([{:integer, n, _} | rest] = tokens), do: {bounded(n * 1000, tokens), rest}

  def duration([{kind, _, _} = token | rest]) when kind in [:elixir_expr, :variable],
    do: {token, rest}

  def duration([{kind, text, _} | rest] = tokens) when kind in [:identifier, :string] do
    case time(text) do
      {:ok, ms} -> {bounded(ms, tokens), rest}
      :error -> unexpected(tokens, "a time such as 1h30m")
    end
  end

  def duration(tokens), do: unexpected(tokens, "a time such as 1h30m")

  # The kernel counts milliseconds in 64 bits.
  defp bounded(ms, _tokens) when ms <= 0xFFFFFFFFFFFFFFFF, do: ms
  defp bounded(_ms, tokens), do: fail(meta(tokens), "a time longer than the kernel can count")

  @doc false
  @spec time(String.t()) :: {:ok, non_neg_integer()} | :error
  def time(text) when byte_size(text) > 64, do: :error

  def time(text) do
    case Regex.run(~r/^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?$/, text) do
      [_ | parts] when parts != [] ->
        units = [86_400_000, 3_600_000, 60_000, 1000, 1]

        {:ok,
         parts
         |> Enum.zip(units)
         |> Enum.reduce(0, fn {n, ms}, sum ->
           if(n == "", do: 0, else: String.to_integer(n)) * ms + sum
         end)}

      _ ->
        :error
    end
  end

  defp unit_ms("ms"), do: 1
  defp unit_ms("s"), do: 1000
  defp unit_ms("m"), do: 60_000
  defp unit_ms("h"), do: 3_600_000
  defp unit_ms("d"), do: 86_400_000

  @doc false
  # `one` repeated between commas; separators may stand around commas.
  def commas(tokens, one) do
    {first, rest} = one.(tokens)
    commas_rest(rest, one, [first])
  end

  defp commas_rest([{:comma, _} | rest], one, acc) do
    {next, rest} = one.(skip_separators(rest))
    commas_rest(rest, one, [next | acc])
  end

  defp commas_rest(tokens, _one, acc), do: {Enum.reverse(acc), tokens}

  @flag_atoms Map.new(
                ~w(constant interval timeout dynamic dormant owner persist),
                &{&1, String.to_atom(&1)}
              )

  @doc false
  # A flag, out of those that are allowed here.
  def flag([{:identifier, word, _} | rest] = tokens, allowed) do
    if word in allowed,
      do: {Map.fetch!(@flag_atoms, word), rest},
      else: unexpected(tokens, Enum.join(allowed, ", "), allowed)
  end

  def flag(tokens, allowed), do: unexpected(tokens, Enum.join(allowed, ", "), allowed)
end
