defmodule Linx.NFT.Parser.Expression do
  @moduledoc false
  # Expressions: what stands left and right of a match, in sets, and as the values of statements.
  #
  # The right-hand side is another language than the left: `ip` and `tcp` are constants there, not
  # headers. `:value` is the side of constants, `:load` that of packet data, where a word that
  # begins no expression is a constant too.

  import Linx.NFT.Parser.Tokens

  alias Linx.NFT.{Expr, Statement}
  alias Linx.NFT.Parser.Verdict
  alias Linx.NFT.Tokenizer.Literal

  @type side :: :load | :value

  @binary_words %{
    "and" => :amp,
    "or" => :pipe,
    "xor" => :caret,
    "lshift" => :lshift,
    "rshift" => :rshift
  }
  # Weakest first, as in C.
  @levels [[:pipe], [:caret], [:amp], [:lshift, :rshift]]

  @doc false
  # A load: a concatenation, with "map" after it a map lookup.
  def load(tokens) do
    {expr, rest} = concat(tokens, :load)
    mapped(expr, rest)
  end

  # `key map { ... }` or `key map @m`.
  defp mapped(expr, [{:identifier, "map", meta} | rest]) do
    {map, rest} = map_target(rest)
    {{:map, expr, map, meta}, rest}
  end

  defp mapped(expr, rest), do: {expr, rest}

  @doc false
  def map_target([{:lbrace, _} | _] = tokens), do: set(tokens)
  def map_target([{:at, _} | _] = tokens), do: set_ref(tokens)

  def map_target([{kind, _, _} = token | rest]) when kind in [:variable, :elixir_expr],
    do: {token, rest}

  def map_target(tokens), do: unexpected(tokens, "a map: { key : value, ... } or @name")

  @doc false
  # The value of a statement (`meta mark set ...`): anything that can be loaded, a constant, a
  # range or prefix.
  def operand(tokens) do
    {expr, rest} = concat_multi(tokens, :load)
    mapped(expr, rest)
  end

  @doc false
  # The right-hand side of a match.
  def value([{:lbrace, _} | _] = tokens), do: set(tokens)
  def value([{:at, _} | _] = tokens), do: set_ref(tokens)

  def value(tokens) do
    meta = meta(tokens)
    {first, rest} = concat_multi(tokens, :value)

    case rest do
      [{:comma, _} | more] -> list(more, [first], meta)
      _ -> {first, rest}
    end
  end

  @doc false
  # One value of a list, or of anything else where a comma has its own meaning.
  def single(tokens), do: concat_multi(tokens, :value)

  defp list(tokens, acc, meta) do
    {next, rest} = concat_multi(skip_separators(tokens), :value)

    case rest do
      [{:comma, _} | more] -> list(more, [next | acc], meta)
      _ -> {{:list, Enum.reverse([next | acc]), meta}, rest}
    end
  end

  @doc false
  # @name
  # @a4:80 before a port: the tokenizer takes hexadecimal digits around a colon for one word.
  def set_ref([{:at, at}, {:classid, raw, meta} | rest]) do
    [name, port] = String.split(raw, ":")
    colon = %{meta | column: meta.column + byte_size(name)}
    {port, _width, ""} = Literal.word(port, %{colon | column: colon.column + 1})
    {{:set_ref, name, at}, [{:colon, colon}, port | rest]}
  end

  def set_ref([{:at, meta} | rest]) do
    {name, rest} = name(rest, "set")
    {{:set_ref, name, meta}, rest}
  end

  def set_ref(tokens), do: unexpected(tokens, "@ and the name of a set")

  # -- operators ---------------------------------------------------------------------------------

  # a . b . c
  defp concat(tokens, side), do: concat_of(tokens, &binary(&1, @levels, side))
  # The same, each part possibly a range, a prefix or a wildcard.
  defp concat_multi(tokens, side), do: concat_of(tokens, &multi(&1, side))

  defp concat_of(tokens, part) do
    meta = meta(tokens)
    {first, rest} = part.(tokens)

    case rest do
      [{:dot, _} | more] -> concat_rest(more, part, [first], meta)
      _ -> {first, rest}
    end
  end

  defp concat_rest(tokens, part, acc, meta) do
    {next, rest} = part.(tokens)

    case rest do
      [{:dot, _} | more] -> concat_rest(more, part, [next | acc], meta)
      _ -> {{:concat, Enum.reverse([next | acc]), meta}, rest}
    end
  end

  defp multi([{:star, meta} | rest], :value), do: {{:wildcard, meta}, rest}

  defp multi(tokens, side) do
    meta = meta(tokens)

    case binary(tokens, @levels, side) do
      {low, [{:dash, _} | rest]} ->
        {high, rest} = binary(rest, @levels, side)
        {{:range, low, high, meta}, rest}

      {base, [{:slash, _}, {:integer, bits, _} | rest]} ->
        {{:prefix, base, bits, meta}, rest}

      {base, [{:slash, _}, {kind, _, _} = bits | rest]} when kind in [:elixir_expr, :variable] ->
        {{:prefix, base, bits, meta}, rest}

      # {0,16} of an interpolated IPv6 address reads as a prefix too; a word after "/" belongs to
      # the caller.
      plain ->
        plain
    end
  end

  # Most operands stand alone: the levels are gone through only where an operator follows.
  defp binary(tokens, levels, side) do
    {left, rest} = primary(tokens, side)
    if operator?(rest), do: binary_from(left, rest, levels, side), else: {left, rest}
  end

  defp binary_from(left, rest, [], _side), do: {left, rest}

  defp binary_from(left, rest, [ops | tighter] = levels, side) do
    {left, rest} = binary_from(left, rest, tighter, side)
    binary_rest(left, rest, ops, levels, side)
  end

  defp operator?([{:identifier, word, _} | _]), do: is_map_key(@binary_words, word)
  defp operator?([{kind, _} | _]), do: kind in [:pipe, :caret, :amp, :lshift, :rshift]
  defp operator?(_tokens), do: false

  defp binary_rest(left, tokens, ops, [_ | tighter] = levels, side) do
    case operator(tokens, ops) do
      {op, meta, rest} ->
        {right, rest} = binary(rest, tighter, side)
        binary_rest({:binop, op, left, right, meta}, rest, ops, levels, side)

      nil ->
        {left, tokens}
    end
  end

  defp operator([{:identifier, word, meta} | rest], ops) when is_map_key(@binary_words, word) do
    op = Map.fetch!(@binary_words, word)
    if op in ops, do: {op, meta, rest}
  end

  defp operator([{kind, meta} | rest], ops), do: if(kind in ops, do: {kind, meta, rest})
  defp operator(_tokens, _ops), do: nil

  defp primary([{:lparen, _} | rest], side) do
    {inner, rest} = binary(rest, @levels, side)
    {inner, expect(rest, :rparen)}
  end

  defp primary([{:integer, n, meta} | rest], _side), do: {{:integer, n, meta}, rest}
  defp primary([{:string, text, meta} | rest], _side), do: {{:string, text, meta}, rest}

  defp primary([{kind, raw, meta} | rest], _side)
       when kind in [:ipv4, :ipv6, :mac, :cidr_v4, :cidr_v6],
       do: {{:address, kind, raw, meta}, rest}

  defp primary([{:classid, raw, meta} | rest], _side), do: {{:classid, raw, meta}, rest}

  defp primary([{kind, _, _} = token | rest], _side) when kind in [:elixir_expr, :variable],
    do: {token, rest}

  defp primary([{:at, _} | _] = tokens, :load), do: Expr.Kinds.parse(tokens)

  # A word that begins no load expression is a constant, also `ip` without a field.
  defp primary([{:identifier, _, _} = word | rest] = tokens, :load),
    do: Expr.Kinds.parse(tokens) || {word, rest}

  defp primary([{:identifier, word, meta} | rest], :value), do: {{:identifier, word, meta}, rest}
  # [2001:db8::1], as nat targets write it.
  defp primary([{:lbracket, _}, {:ipv6, raw, meta} | rest], _side),
    do: {{:address, :ipv6, raw, meta}, expect(rest, :rbracket)}

  defp primary(tokens, _side), do: unexpected(tokens, "a value")

  # -- sets --------------------------------------------------------------------------------------

  @doc false
  # { element, element : data, ... }; a comma may end it.
  def set([{:lbrace, meta} | rest]) do
    {elements, rest} = elements(skip_separators(rest), [])
    {{:set_inline, elements, meta}, rest}
  end

  def set(tokens), do: unexpected(tokens, "'{'")

  defp elements([{:rbrace, _} | rest], acc), do: {Enum.reverse(acc), rest}

  defp elements(tokens, acc) do
    {element, rest} = element(tokens)

    case skip_separators(rest) do
      [{:comma, _} | rest] -> elements(skip_separators(rest), [element | acc])
      [{:rbrace, _} | rest] -> {Enum.reverse([element | acc]), rest}
      other -> unexpected(other, "',' or '}' after an element")
    end
  end

  defp element(tokens) do
    meta = meta(tokens)
    {key, rest} = element_key(tokens)
    {opts, rest} = element_options(rest, [])

    case rest do
      [{:colon, _} | rest] ->
        {data, rest} = element_data(skip_separators(rest))
        {more, rest} = element_options(rest, [])
        {{:mapping, element_node(key, opts ++ more, meta), data, meta}, rest}

      _ ->
        {element_node(key, opts, meta), rest}
    end
  end

  defp element_node(key, [], _meta), do: key
  defp element_node(key, opts, meta), do: {:element, key, opts, meta}

  # The catch-all, else any constant.
  defp element_key([{:star, meta} | rest]) do
    case rest do
      [{:dot, _} | _] -> concat_multi([{:star, meta} | rest], :value)
      _ -> {{:wildcard, meta}, rest}
    end
  end

  # A set in a set is its elements.
  defp element_key([{:lbrace, _} | _] = tokens), do: set(tokens)
  defp element_key(tokens), do: concat_multi(tokens, :value)

  @verdicts ~w(accept drop continue return jump goto queue)

  defp element_data([{:identifier, word, _} | _] = tokens) when word in @verdicts,
    do: Verdict.parse(tokens)

  defp element_data([{:lbrace, meta} | _]),
    do: fail(meta, "a set cannot be the value of an element")

  defp element_data(tokens), do: concat_multi(tokens, :value)

  defp element_options([{:identifier, "timeout", _} | rest], acc) do
    {ms, rest} = duration(rest)
    element_options(rest, [{:timeout, ms} | acc])
  end

  defp element_options([{:identifier, "expires", _} | rest], acc) do
    {ms, rest} = duration(rest)
    element_options(rest, [{:expires, ms} | acc])
  end

  defp element_options([{:identifier, "comment", _} | rest], acc) do
    {text, rest} = comment(rest)
    element_options(rest, [{:comment, text} | acc])
  end

  # An element of a dump may stand on several lines.
  defp element_options([{:stmt_sep, _}, {:identifier, word, _} | _] = tokens, acc)
       when word in ~w(timeout expires comment),
       do: element_options(skip_separators(tokens), acc)

  defp element_options([{:stmt_sep, _}, {:identifier, _, _} | _] = tokens, acc) do
    rest = skip_separators(tokens)

    if Statement.Kinds.stateful?(rest),
      do: element_options(rest, acc),
      else: {Enum.reverse(acc), tokens}
  end

  defp element_options([{:identifier, _, _} | _] = tokens, acc) do
    case Statement.Kinds.stateful(tokens) do
      {statement, rest} -> element_options(rest, [{:stmt, statement} | acc])
      nil -> {Enum.reverse(acc), tokens}
    end
  end

  defp element_options(tokens, acc), do: {Enum.reverse(acc), tokens}
end
