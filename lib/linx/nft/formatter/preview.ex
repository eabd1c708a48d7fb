defmodule Linx.NFT.Formatter.Preview do
  @moduledoc false
  # The beginning of a value's nft text, for `inspect/2`: as many lines as the limit says, made
  # from as much of the value as they can show, so that a set of a million elements costs no more
  # than one of fifty.

  alias Linx.Netfilter.{Chain, Expr, Rule, Ruleset, Set, Table}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.NFT.Formatter
  alias Linx.NFT.Formatter.Context
  alias Linx.NFT.Formatter.Rule, as: RuleText

  # Inside other values `limit` runs out; a block's first lines say what it is.
  @min_lines 4
  # Elements of one set.
  @max_elements 16

  @type value :: Ruleset.t() | Table.t() | Chain.t() | Set.t() | NMap.t()

  @doc "The text's first lines; the last one counts what the value holds if that was not all."
  @spec lines(value(), non_neg_integer() | :infinity) :: [String.t()]
  def lines(value, :infinity), do: value |> text() |> String.split("\n", trim: true)

  def lines(value, limit) do
    limit = max(limit, @min_lines)
    lines = value |> cut(limit) |> text() |> String.split("\n", trim: true)

    if length(lines) > limit or counts(value) != counts(cut(value, limit)),
      do: Enum.take(lines, limit) ++ ["... #{counted(counts(value))}"],
      else: lines
  end

  # A value with a string that nft cannot say has no text: the reason stands for it.
  defp text(value) do
    written(value)
  rescue
    error in ArgumentError -> "# " <> error.message
  end

  defp written(%Table{} = table), do: Formatter.format(Ruleset.put_table(Ruleset.new(), table))
  defp written(%Ruleset{} = ruleset), do: Formatter.format(ruleset)
  defp written(other), do: Formatter.text(other, [])

  @doc "The statements of a rule on one line, its comment aside; `:error` where one has no words."
  @spec rule(Rule.t(), non_neg_integer() | :infinity) :: {:ok, String.t()} | :error
  def rule(%Rule{} = rule, limit) do
    %{expressions: exprs} = cut(rule, limit)

    case RuleText.statements(exprs, Context.new(%Table{family: :inet, name: ""})) do
      {:ok, [_ | _] = pieces} ->
        {:ok, Enum.map_join(pieces, " ", &piece(&1, limit)) <> more(rule, limit)}

      _none ->
        :error
    end
  catch
    {:unwritable, _path, _fault} -> :error
  end

  defp more(rule, limit), do: if(cut(rule, limit) == rule, do: "", else: " ...")

  defp piece({:block, verdict, rules}, limit) do
    inside =
      for rule <- rules do
        case rule(rule, limit) do
          {:ok, text} -> text
          :error -> "?"
        end
      end

    "#{verdict} { #{Enum.join(inside, "; ")} }"
  end

  defp piece(text, _limit), do: text |> IO.iodata_to_binary() |> String.replace(~r/\s*\n\s*/, " ")

  # -- what there is of a value ------------------------------------------------------------------

  defp cut(value, :infinity), do: value

  defp cut(%Ruleset{tables: tables} = ruleset, limit) do
    kept = tables |> Enum.sort_by(&elem(&1, 0)) |> Enum.take(limit)
    %{ruleset | tables: Map.new(kept, fn {key, table} -> {key, cut(table, limit)} end)}
  end

  defp cut(%Table{} = table, limit) do
    [:chains, :sets, :maps]
    |> Enum.reduce(table, fn field, table ->
      Map.update!(table, field, &Map.new(&1, fn {name, value} -> {name, cut(value, limit)} end))
    end)
  end

  defp cut(%Chain{rules: rules} = chain, limit),
    do: %{chain | rules: for(rule <- Enum.take(rules, limit), do: cut(rule, limit))}

  defp cut(%Rule{expressions: exprs} = rule, limit),
    do: %{rule | expressions: Enum.map(exprs, &cut(&1, limit))}

  defp cut(%Expr{name: :__anon_set, data: %{elements: elements} = data} = expr, limit),
    do: %{expr | data: %{data | elements: first(elements, limit)}}

  defp cut(%_{elements: elements} = set, limit), do: %{set | elements: first(elements, limit)}
  defp cut(other, _limit), do: other

  defp first(elements, limit), do: Enum.take(elements, min(limit, @max_elements))

  # {tables, chains, rules, sets, elements}
  defp counts(%Ruleset{tables: tables}) do
    for {_key, table} <- tables, reduce: {0, 0, 0, 0, 0} do
      {tables, chains, rules, sets, elements} ->
        {_, c, r, s, e} = counts(table)
        {tables + 1, chains + c, rules + r, sets + s, elements + e}
    end
  end

  defp counts(%Table{} = table) do
    sets = Map.values(table.sets) ++ Map.values(table.maps)
    rules = for {_name, chain} <- table.chains, reduce: 0, do: (n -> n + length(chain.rules))
    elements = for set <- sets, reduce: 0, do: (n -> n + length(set.elements))
    {0, map_size(table.chains), rules, length(sets), elements}
  end

  defp counts(%Chain{rules: rules}), do: {0, 0, length(rules), 0, 0}
  defp counts(%_{elements: elements}), do: {0, 0, 0, 0, length(elements)}

  @words ~w(table chain rule set element)

  defp counted(counts) do
    for {n, word} <- Enum.zip(Tuple.to_list(counts), @words), n > 0 do
      "#{n} #{word}#{if n > 1, do: "s"}"
    end
    |> Enum.join(", ")
  end
end
