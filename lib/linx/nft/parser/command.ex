defmodule Linx.NFT.Parser.Command do
  @moduledoc false
  # The commands of a script that describe a ruleset: add, create, insert, and the deletes and
  # flushes that take from what the same text described. Each becomes {:command, verb, object,
  # meta}.

  import Linx.NFT.Parser.Tokens

  alias Linx.NFT.{Object, Parser}
  alias Linx.NFT.Parser.{Block, Chain, Expression, Set, Statement}

  @verbs ~w(add create insert delete destroy flush)
  @others ~w(list reset monitor describe export import rename replace get)
  @objects ~w(chain rule set map element flowtable) ++ Object.Kinds.words()
  @families ~w(ip ip6 inet arp bridge netdev)
  @all @verbs ++ ~w(table include define redefine undefine)

  @doc false
  def command([{:identifier, verb, meta} | rest]) when verb in ["add", "create"] do
    {object, rest} = described(rest)
    {{:command, known(verb), object, meta}, rest}
  end

  def command([{:identifier, "insert", meta} | rest]) do
    {_, rest} = optional(rest, "rule")
    {object, rest} = rule(rest)
    {{:command, :insert, object, meta}, rest}
  end

  def command([{:identifier, verb, meta} | rest]) when verb in ["delete", "destroy"] do
    {object, rest} = named(rest)
    {{:command, known(verb), object, meta}, rest}
  end

  def command([{:identifier, "flush", meta}, {:identifier, "ruleset", _} | rest]) do
    {family, rest} =
      case rest do
        [{:identifier, word, _} | rest] when word in ~w(ip ip6 inet arp bridge netdev) ->
          {known(word), rest}

        rest ->
          {nil, rest}
      end

    {{:command, :flush, {:ruleset, family, meta}, meta}, rest}
  end

  def command([{:identifier, "flush", meta} | rest]) do
    {object, rest} = named(rest)
    {{:command, :flush, object, meta}, rest}
  end

  def command([{:identifier, verb, meta} | _]) when verb in @others,
    do:
      fail(
        meta,
        "#{verb} does not describe a ruleset: only add, create, insert, delete and flush do"
      )

  # Without a verb, add is meant.
  def command([{:identifier, word, meta}, {kind, _, _} | _] = tokens)
      when word in @objects and kind in [:identifier, :string, :elixir_expr] do
    {object, rest} = described(tokens)
    {{:command, :add, object, meta}, rest}
  end

  # "filter input tcp dport 22 accept", with or without a family, is a rule to add.
  def command([{:identifier, word, meta}, {:identifier, _, _}, {kind, _, _} | _] = tokens)
      when kind in [:identifier, :at, :variable] do
    if word in @families or Linx.NFT.ParseError.suggestion(word, @all) == "" do
      {object, rest} = rule(tokens)
      {{:command, :add, object, meta}, rest}
    else
      unexpected(tokens, "table, include, define or a command", @all)
    end
  end

  def command(tokens), do: unexpected(tokens, "table, include, define or a command", @all)

  # {:table | :chain | ..., family, table, item, meta}
  defp described([{:identifier, "table", meta} | rest]) do
    {family, rest} = Parser.family(rest)
    {name, rest} = name(rest, "table")

    {items, rest} = Parser.contents(rest, meta)
    {{:table, family, name, items, meta}, rest}
  end

  defp described([{:identifier, "chain", meta} | rest]) do
    {family, table, rest} = table_of(rest)
    {name, rest} = name(rest, "chain")

    {opts, rules, rest} =
      case rest do
        [{:lbrace, _} | _] -> Chain.body(rest)
        rest -> {[], [], rest}
      end

    {{:in_table, family, table, {:chain, name, opts, rules, meta}, meta}, rest}
  end

  defp described([{:identifier, kind, meta} | rest]) when kind in ["set", "map", "vmap"] do
    {family, table, rest} = table_of(rest)
    {name, rest} = name(rest, kind)
    {opts, rest} = Set.body(rest)
    {{:in_table, family, table, {known(kind), name, opts, meta}, meta}, rest}
  end

  defp described([{:identifier, "element", meta} | rest]) do
    {family, table, rest} = table_of(rest)
    {name, rest} = name(rest, "set")

    {elements, rest} =
      case rest do
        [{kind, _, _} = token | rest] when kind in [:variable, :elixir_expr, :element_text] ->
          {token, rest}

        rest ->
          Expression.set(rest)
      end

    {{:elements, family, table, name, elements, meta}, rest}
  end

  defp described([{:identifier, "flowtable", meta} | rest]) do
    {family, table, rest} = table_of(rest)
    {name, rest} = name(rest, "flowtable")
    {opts, rest} = Block.flowtable(rest)
    {{:in_table, family, table, {:flowtable, name, opts, meta}, meta}, rest}
  end

  defp described([{:identifier, "rule", _} | rest]), do: rule(rest)

  defp described(tokens) do
    case Object.declared(tokens) do
      {kind, rest} -> object(kind, rest, meta(tokens))
      nil -> described_rule(tokens)
    end
  end

  # "rule" may be left out.
  defp described_rule([{:identifier, _, _}, {kind, _, _}, {_, _, _} | _] = tokens)
       when kind in [:identifier, :string, :elixir_expr],
       do: rule(tokens)

  defp described_rule(tokens),
    do:
      unexpected(
        tokens,
        "table, chain, rule, set, map, element, flowtable or an object",
        ~w(table chain rule set map element flowtable)
      )

  defp object(kind, tokens, meta) do
    {family, table, rest} = table_of(tokens)
    {name, rest} = name(rest, "object")

    {opts, rest} =
      case rest do
        [{:lbrace, _} | _] -> Object.body(kind, rest)
        # add quota t q over 100 mbytes
        [{end_kind, _} | _] when end_kind in [:stmt_sep, :eof, :rbrace] -> {[], rest}
        rest -> Object.body(kind, [{:lbrace, meta} | close_line(rest)])
      end

    {{:in_table, family, table, {:object, kind, name, opts, meta}, meta}, rest}
  end

  defp close_line(tokens) do
    {line, rest} = Enum.split_while(tokens, &(elem(&1, 0) not in [:stmt_sep, :eof]))
    line ++ [{:rbrace, meta(rest)} | rest]
  end

  defp rule(tokens) do
    meta = meta(tokens)
    {family, table, rest} = table_of(tokens)
    {chain, rest} = name(rest, "chain")

    {place, rest} =
      case rest do
        [{:identifier, word, _}, {:integer, n, _} | rest]
        when word in ["index", "handle", "position"] ->
          {{known(word), n}, rest}

        rest ->
          {nil, rest}
      end

    {rule, rest} = Statement.rule(rest)
    {{:rule, family, table, chain, place, rule, meta}, rest}
  end

  defp table_of(tokens) do
    {family, rest} = optional_family(tokens)
    {table, rest} = name(rest, "table")
    {family, table, rest}
  end

  defp optional_family([{:identifier, word, _}, {kind, _, _} | _] = tokens)
       when word in ~w(ip ip6 inet arp bridge netdev) and
              kind in [:identifier, :string, :elixir_expr],
       do: {known(word), tl(tokens)}

  defp optional_family(tokens), do: {:ip, tokens}

  # The object of delete and flush: {:table, family, name, meta}, {kind, family, table, name,
  # meta}
  defp named([{:identifier, "table", meta} | rest]) do
    {family, rest} = optional_family(rest)
    {name, rest} = name(rest, "table")
    {{:table, family, name, meta}, rest}
  end

  defp named([{:identifier, "element", meta} | rest]) do
    {family, table, rest} = table_of(rest)
    {name, rest} = name(rest, "set")
    {elements, rest} = Expression.set(rest)
    {{:elements, family, table, name, elements, meta}, rest}
  end

  defp named([{:identifier, kind, meta} | rest]) when kind in ~w(chain set map flowtable) do
    {family, table, rest} = table_of(rest)
    {name, rest} = name(rest, kind)
    {{known(kind), family, table, name, meta}, rest}
  end

  defp named([{:identifier, "rule", meta} | _]),
    do: fail(meta, "a rule has no handle before it is loaded: leave it out of the text instead")

  defp named(tokens) do
    case Object.declared(tokens) do
      {kind, rest} -> named_object(kind, rest, meta(tokens))
      nil -> no_object(tokens)
    end
  end

  defp named_object(kind, tokens, meta) do
    {family, table, rest} = table_of(tokens)
    {:ok, word} = Object.word(kind)
    {name, rest} = name(rest, word)
    {{kind, family, table, name, meta}, rest}
  end

  defp no_object(tokens),
    do:
      unexpected(
        tokens,
        "table, chain, set, map, element or an object",
        ~w(table chain set map element)
      )
end
