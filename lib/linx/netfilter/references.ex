defmodule Linx.Netfilter.References do
  @moduledoc false
  # The names that rules and map elements have for chains, sets, objects and flowtables of their
  # table. The kernel says of one that is not there ENOENT and a place, not which; a ruleset that
  # is pushed is whole, so that what is missing is known before anything is sent.

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.{Dependencies, Element, Error, Expr, Name, Rule, Ruleset, Set, Verdict}
  alias Linx.Netfilter.Map, as: NMap

  @type t :: {:chain | :set | :object | :flowtable, term()}

  @doc """
  Whether everything that the tables of `ruleset` name is declared in them.

  The error is the kernel's of the first message that would fail, with the others of the batch in
  `:others`, and names what is missing and the nearest name that there is.
  """
  @spec check(Ruleset.t()) :: :ok | {:error, Error.t()}
  def check(%Ruleset{} = ruleset) do
    missing = for {_family, _name, table} <- Ruleset.tables(ruleset), do: missing(table)

    case Enum.concat(missing) do
      [] -> :ok
      [first | others] -> {:error, %{first | others: others}}
    end
  end

  defp missing(table) do
    at = [family: table.family, table: table.name]
    in_maps(table, at) ++ in_chains(table, at)
  end

  # -- maps --------------------------------------------------------------------------------------

  defp in_maps(table, at) do
    for {name, %NMap{data_type: type} = map} <- Enum.sort(table.maps),
        type == :verdict or match?({:object, _}, type),
        at = at ++ [set: name, elements: length(map.elements)],
        element <- map.elements,
        reference <- of_element(map, element),
        not there?(table, reference),
        uniq: true,
        do: error(:newsetelem, nft_msg_newsetelem(), at, table, reference)
  end

  # -- rules -------------------------------------------------------------------------------------

  defp in_chains(table, at) do
    for {name, chain} <- Enum.sort_by(table.chains, &elem(&1, 0)),
        {rule, index} <- broken(chain.rules, table, 0),
        error <- in_rule(rule.expressions, at ++ [chain: name, rule: index], table),
        do: error
  end

  # Most rules name nothing: nothing is built for them.
  defp broken([rule | rest], table, index) do
    if whole?(rule.expressions, table),
      do: broken(rest, table, index + 1),
      else: [{rule, index} | broken(rest, table, index + 1)]
  end

  defp broken([], _table, _index), do: []

  defp whole?([%Expr{name: :payload}, %Expr{name: :cmp} | rest], table), do: whole?(rest, table)

  defp whole?([%Expr{name: name} | rest], table)
       when name in [:cmp, :payload, :meta, :counter, :ct, :bitwise, :limit, :log, :range],
       do: whole?(rest, table)

  defp whole?([%Expr{name: :immediate, data: %Verdict{target: nil}} | rest], table),
    do: whole?(rest, table)

  defp whole?([%Expr{} = expr | rest], table),
    do: Enum.all?(of(expr), &there?(table, &1)) and whole?(rest, table)

  defp whole?([_other | rest], table), do: whole?(rest, table)
  defp whole?([], _table), do: true

  # The kernel counts the expressions with the dependencies that the fields of a rule imply.
  defp in_rule(expressions, at, table) do
    for {%Expr{} = expr, index} <-
          expressions |> Dependencies.expand(table.family) |> Enum.with_index(),
        reference <- Enum.uniq(of(expr)),
        not there?(table, reference) do
      if expr.name == :__anon_set and not match?({:set, _}, reference),
        do: error(:newsetelem, nft_msg_newsetelem(), at, table, reference),
        else: error(:newrule, nft_msg_newrule(), at ++ [expr: index], table, reference)
    end
  end

  # -- names -------------------------------------------------------------------------------------

  # A number is the id of a set or chain of the same batch.
  defp there?(_table, {_kind, name}) when not is_binary(name) and not is_tuple(name), do: true
  defp there?(table, {:chain, name}), do: is_map_key(table.chains, name)

  defp there?(table, {:set, name}),
    do: is_map_key(table.sets, name) or is_map_key(table.maps, name)

  defp there?(table, {:object, key}), do: is_map_key(table.objects, key)
  defp there?(table, {:flowtable, name}), do: is_map_key(table.flowtables, name)

  defp error(operation, type, at, table, reference) do
    Error.from_posix(:enoent, operation,
      subsys: :nftables,
      msg_type: type,
      at: at,
      message: "no #{text(reference)} in this table#{nearest(table, reference)}"
    )
  end

  # `chain "input"`
  defp text({:object, {kind, name}}),
    do: "#{kind |> Atom.to_string() |> String.replace("_", " ")} #{quoted(name)}"

  defp text({kind, name}), do: "#{kind} #{quoted(name)}"

  defp quoted(name), do: inspect(name, limit: :infinity)

  defp nearest(table, reference) do
    names =
      case reference do
        {:chain, _} -> Map.keys(table.chains)
        {:set, _} -> Map.keys(table.sets) ++ Map.keys(table.maps)
        {:object, {kind, _}} -> for {^kind, name} <- Map.keys(table.objects), do: name
        {:flowtable, _} -> Map.keys(table.flowtables)
      end

    Name.suggestion(name(reference), names)
  end

  defp name({:object, {_kind, name}}), do: name
  defp name({_kind, name}), do: name

  @doc "What the expressions of one rule name, for the kernel's own error at one of them."
  @spec named([Expr.t()]) :: String.t() | nil
  def named(expressions) do
    case Enum.flat_map(expressions, &of/1) do
      # A set of the rule's own has the pattern of a name in the batch.
      [{:set, "__" <> _} | _] -> nil
      [{_kind, name} = reference | _] when is_binary(name) or is_tuple(name) -> text(reference)
      _ -> nil
    end
  end

  # -- of values ---------------------------------------------------------------------------------

  @doc """
  What a rule, or one expression, names in its table:
  `{:chain | :set | :object | :flowtable, name}`.
  """
  @spec of(Rule.t() | Expr.t()) :: [t()]
  def of(%Rule{expressions: exprs}), do: Enum.flat_map(exprs, &of/1)

  def of(%Expr{name: :immediate, data: %Verdict{} = verdict}), do: verdict_refs(verdict)
  def of(%Expr{name: :lookup, data: %{set: name}}), do: [{:set, name}]

  def of(%Expr{name: :dynset, data: %{set: name} = data}),
    do: [{:set, name} | stateful(data)]

  def of(%Expr{name: :objref, data: %{imm_type: kind, imm_name: name}}),
    do: [{:object, {kind, name}}]

  def of(%Expr{name: :objref, data: %{set_name: name}}), do: [{:set, name}]
  def of(%Expr{name: :flow_offload, data: %{table_name: name}}), do: [{:flowtable, name}]

  def of(%Expr{
        name: :__anon_set,
        data: %{data_type: {:object, kind}, elements: elements}
      }),
      do: Enum.map(elements, &{:object, {kind, value(&1)}})

  def of(%Expr{name: :__anon_set, data: %{data_type: :verdict, elements: elements}}),
    do: Enum.flat_map(elements, &verdict_refs(value(&1)))

  def of(_expr), do: []

  defp stateful(%{exprs: exprs}), do: Enum.flat_map(exprs, &of/1)
  defp stateful(_data), do: []

  @doc "What an element of a map names in its table."
  @spec of_element(NMap.t() | Set.t(), term()) :: [t()]
  def of_element(%NMap{data_type: :verdict}, element), do: verdict_refs(value(element))

  def of_element(%NMap{data_type: {:object, kind}}, element),
    do: [{:object, {kind, value(element)}}]

  def of_element(_set, _element), do: []

  defp verdict_refs(%Verdict{target: rules}) when is_list(rules),
    do: Enum.flat_map(rules, &of/1)

  defp verdict_refs(%Verdict{kind: kind, target: chain}) when kind in [:jump, :goto],
    do: [{:chain, chain}]

  defp verdict_refs({kind, chain}) when kind in [:jump, :goto], do: [{:chain, chain}]
  defp verdict_refs(_other), do: []

  defp value(%Element{data: data}), do: data
  defp value({_key, data}), do: data
  defp value(_key), do: nil
end
