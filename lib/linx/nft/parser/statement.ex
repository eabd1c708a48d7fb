defmodule Linx.NFT.Parser.Statement do
  @moduledoc false
  # The statements of a rule, one after the other up to the end of the line: matches, verdicts, actions.

  import Linx.NFT.Parser.Tokens

  alias Linx.NFT.Parser.{Action, Expression, Primary}

  @verdicts ~w(accept drop continue return)
  @comparisons %{"eq" => :eq, "ne" => :neq, "lt" => :lt, "gt" => :gt, "le" => :lte, "ge" => :gte}
  @actions ~w(reject snat dnat masquerade redirect dup fwd tproxy notrack flow reset xt)

  # Words that stand behind a rule's first statement: its comment, and the options of `log`, which come in any order.
  @later ~w(comment prefix level group flags snaplen queue-threshold)

  @doc false
  # {:rule, statements, options, meta}, up to but without its separator. `others` are words that may stand in a rule's place: a misspelt
  # one may be meant.
  def rule(tokens, others \\ []) do
    meta = meta(tokens)
    {statements, opts, rest} = statements(tokens, [])
    {{:rule, statements, opts, meta}, rest}
  catch
    {:no_statement, [{:identifier, _, place} | _] = wrong} ->
      others = if place == meta(tokens), do: others, else: @later
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
  def statement(tokens), do: Linx.NFT.Statement.parse(tokens) || other(tokens)

  defp other([{:identifier, word, _} | _] = tokens) when word in @verdicts,
    do: Primary.verdict(tokens)

  defp other([{:identifier, word, meta}, {:lbrace, _} | rest]) when word in ["jump", "goto"] do
    {rules, rest} = inner_chain(skip_separators(rest), [])
    {{:verdict, {known(word), {:block, rules}}, meta}, rest}
  end

  defp other([{:identifier, word, _} | _] = tokens) when word in ["jump", "goto"],
    do: Primary.verdict(tokens)

  defp other([{:identifier, word, _} | _] = tokens) when word in @actions,
    do: Action.action(tokens)

  defp other([{:identifier, op, meta}, {:at, _} | rest])
       when op in ["add", "update", "delete"] do
    {name, rest} = name(rest, "set")
    {key, data, opts, rest} = Action.dynamic_element(rest)
    {{:dynset, known(op), name, key, data, opts, meta}, rest}
  end

  # The older form: set add ip saddr @s
  defp other([{:identifier, kind, meta}, {:identifier, op, _} | rest])
       when kind in ["set", "map"] and op in ["add", "update", "delete"] do
    {key, rest} = Expression.operand(rest)
    {opts, rest} = Action.dynamic_options(rest)

    {data, rest} =
      case rest do
        [{:colon, _} | rest] -> Expression.operand(rest)
        rest -> {nil, rest}
      end

    {{:set_ref, name, _}, rest} = Expression.set_ref(rest)
    {{:dynset, known(op), name, key, data, opts, meta}, rest}
  end

  defp other([{:identifier, "meter", meta} | rest]) do
    {name, rest} = name(rest, "meter")

    {size, rest} =
      case rest do
        [{:identifier, "size", _} | rest] -> integer(rest)
        rest -> {nil, rest}
      end

    {key, nil, opts, rest} = Action.dynamic_element(rest)
    {{:meter, name, size, key, opts, meta}, rest}
  end

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
  defp after_load({:identifier, word, _}, _rest, [token | _], _meta) when is_binary(word),
    do: throw({:no_statement, [token]})

  defp after_load(lhs, [{:identifier, "vmap", _} | rest], _tokens, meta) do
    {map, rest} = Expression.map_target(rest)
    {{:vmap, lhs, map, meta}, rest}
  end

  defp after_load(lhs, [{:identifier, "set", _} | rest], _tokens, meta) do
    {value, rest} = assigned(rest)
    {set_statement(lhs, value, meta), rest}
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

  # What `set` assigns may be a list of flags.
  defp assigned(tokens) do
    meta = meta(tokens)
    {first, rest} = Expression.operand(tokens)

    case rest do
      [{:comma, _} | more] ->
        {others, rest} = commas(more, &Expression.operand/1)
        {{:list, [first | others], meta}, rest}

      _ ->
        {first, rest}
    end
  end

  defp set_statement({:meta, :secmark, _}, value, meta) when elem(value, 0) != :ct,
    do: {:objref, :secmark, value, meta}

  defp set_statement({:meta, key, _}, value, meta), do: {:meta_set, key, value, meta}
  defp set_statement({:ct, key, _}, value, meta), do: {:ct_set, key, value, meta}
  defp set_statement(lhs, value, meta), do: {:assign, lhs, value, meta}

  defp inner_chain([{:rbrace, _} | rest], acc), do: {Enum.reverse(acc), rest}

  defp inner_chain(tokens, acc) do
    {rule, rest} = rule(tokens)
    inner_chain(rest |> statement_end() |> skip_separators(), [rule | acc])
  end

  defp words,
    do:
      Primary.words() ++
        Linx.NFT.Statement.words() ++
        @verdicts ++ @actions ++ ~w(jump goto add update delete meter)
end
