defmodule Linx.NFT.Parser.Statement do
  @moduledoc false
  # The statements of a rule, one after the other up to the end of the line: matches, verdicts,
  # actions.

  import Linx.NFT.Parser.Tokens

  alias Linx.NFT.Expr
  alias Linx.NFT.Parser.Expression
  alias Linx.NFT.Statement.{Assign, Kinds, Log}

  @comparisons %{"eq" => :eq, "ne" => :neq, "lt" => :lt, "gt" => :gt, "le" => :lte, "ge" => :gte}

  @doc false
  # {:rule, statements, options, meta}, up to but without its separator. `others` are words that
  # may stand in a rule's place: a misspelt one may be meant.
  def rule(tokens, others \\ []) do
    meta = meta(tokens)
    {statements, opts, rest} = statements(tokens, [])
    {{:rule, statements, opts, meta}, rest}
  catch
    {:no_statement, [{:identifier, _, place} | _] = wrong} ->
      others = if place == meta(tokens), do: others, else: ["comment" | Log.words()]
      unexpected(wrong, "a statement", others ++ words())
  end

  defp statements([{:identifier, "comment", _} | rest], [_ | _] = acc) do
    {text, rest} = comment(rest)
    {Enum.reverse(acc), [comment: text], rest}
  end

  defp statements([{kind, _} | _] = tokens, acc)
       when kind in [:stmt_sep, :rbrace, :eof] and acc != [],
       do: {Enum.reverse(acc), [], tokens}

  defp statements(tokens, acc) do
    {statement, rest} = statement(tokens)
    statements(rest, [statement | acc])
  end

  @doc false
  def statement(tokens), do: Kinds.parse(tokens) || other(tokens)

  defp other([{:identifier, "xt", meta} | _]),
    do: fail(meta, "xtables extensions have no text form that can be loaded")

  defp other([{:identifier, _, meta} | _] = tokens), do: expression(tokens, meta)

  defp other([{kind, meta} | _] = tokens) when kind in [:at, :lparen],
    do: expression(tokens, meta)

  defp other([{kind, _, meta} | _] = tokens) when kind in [:integer, :variable],
    do: expression(tokens, meta)

  # A constant may begin a concatenation.
  defp other([{kind, _, meta}, {:dot, _} | _] = tokens)
       when kind in [:ipv4, :ipv6, :mac, :string],
       do: expression(tokens, meta)

  defp other([{:eof, _}] = tokens), do: unexpected(tokens, "a statement or '}'")
  defp other(tokens), do: unexpected(tokens, "a statement")

  defp expression(tokens, meta) do
    {lhs, rest} = Expression.load(tokens)
    after_load(lhs, rest, tokens, meta)
  end

  # A constant alone is no statement: the word is misspelt, or its field is.
  defp after_load({:identifier, _word, _} = token, _rest, _tokens, _meta),
    do: throw({:no_statement, [token]})

  defp after_load(lhs, [{:identifier, "vmap", _} | rest], _tokens, meta) do
    {map, rest} = Expression.map_target(rest)
    {{:vmap, lhs, map, meta}, rest}
  end

  defp after_load(lhs, [{:identifier, "set", _} | rest], _tokens, meta) do
    Assign.value(lhs, rest, meta)
  end

  defp after_load(lhs, [{:identifier, word, _} | rest], _tokens, meta)
       when is_map_key(@comparisons, word),
       do: right(lhs, Map.fetch!(@comparisons, word), rest, meta)

  defp after_load(lhs, [{op, _} | rest], _tokens, meta)
       when op in [:eq, :neq, :lt, :gt, :lte, :gte],
       do: right(lhs, op, rest, meta)

  defp after_load(lhs, [{:not, _} | rest], _tokens, meta), do: right(lhs, :not, rest, meta)

  defp after_load(lhs, [{:identifier, "not", _} | rest], _tokens, meta),
    do: right(lhs, :not, rest, meta)

  defp after_load(lhs, rest, _tokens, meta), do: right(lhs, :implicit, rest, meta)

  defp right(_lhs, _op, [{kind, _} | _] = tokens, _meta) when kind in [:stmt_sep, :rbrace, :eof],
    do: unexpected(tokens, "a value to compare with")

  defp right(lhs, op, tokens, meta) do
    {rhs, rest} = Expression.value(tokens)

    case rest do
      [{:slash, _} | rest] ->
        {mask, rest} = Expression.value(rest)
        {{:match, lhs, op, {:flags, rhs, mask, meta(tokens)}, meta}, rest}

      _ ->
        {{:match, lhs, op, rhs, meta}, rest}
    end
  end

  defp words, do: Expr.Kinds.words() ++ Kinds.words()
end
