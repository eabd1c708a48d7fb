defmodule Linx.NFT.Compiler.Names do
  @moduledoc false
  # The names that a text uses and does not declare, for `names: :declared`: chains that are
  # jumped to, sets and maps, objects, flowtables.

  alias Linx.NFT.Compiler.{Fault, Include, RuleList, Scope, Value}
  alias Linx.NFT.ParseError

  @doc false
  # The plan itself; a name that its table lacks is a fault at its place, the first of the text.
  @spec check(map()) :: map()
  def check(plan) do
    missing = for {key, table} <- plan.tables, fault <- faults(key, table), do: fault

    case Enum.min_by(missing, &place/1, fn -> nil end) do
      nil -> plan
      {origin, meta, message} -> Include.at(origin, fn -> Fault.fail(meta, message) end)
    end
  end

  defp place({origin, meta, _message}),
    do: {if(origin, do: elem(origin, 0), else: ""), meta.line, meta.column}

  defp faults(key, table) do
    uses = for {origin, {kind, name, meta}} <- uses(table), do: {origin, kind, name, meta}
    {meters, uses} = Enum.split_with(uses, &(elem(&1, 1) == :meter))
    declared = declared(table, for({_, _, name, _} <- meters, do: name))

    for {origin, kind, name, meta} <- uses,
        names = Map.get(declared, kind, []),
        name not in names,
        do: {origin, meta, message(kind, name, names, key)}
  end

  defp message(kind, name, names, {family, table}) do
    "no #{word(kind)} #{name} in table #{family} #{table}#{ParseError.suggestion(name, names)}"
  end

  defp word(kind), do: kind |> Atom.to_string() |> String.replace("_", " ")

  defp declared(table, meters) do
    objects = Enum.group_by(Map.keys(table.objects), &elem(&1, 0), &elem(&1, 1))

    Map.merge(objects, %{
      chain: Map.keys(table.chains),
      set: Map.keys(table.sets) ++ meters,
      flowtable: Map.keys(table.flowtables)
    })
  end

  # [{origin, {kind, name, meta}}]
  defp uses(table) do
    rules =
      for {_, chain} <- table.chains, {rule, variables, origin} <- RuleList.all(chain) do
        {origin, rule, nil, %Scope{variables: variables}}
      end

    elements =
      for {_, set} <- table.sets, {nodes, scope} <- set.elements do
        {scope.origin, nodes, object(set.signature.data), scope}
      end

    for {origin, tree, object, scope} <- rules ++ elements,
        use <- used(tree, object, scope, []) do
      {origin, use}
    end
  end

  defp object({:object, kind}), do: kind
  defp object(_data), do: nil

  # `object` is the kind of the objects that the values of a map are.
  defp used({:verdict, {kind, {:block, rules}}, _meta}, _object, scope, acc)
       when kind in [:jump, :goto],
       do: used(rules, nil, scope, acc)

  defp used({:verdict, {kind, name}, meta}, _object, scope, acc) when kind in [:jump, :goto],
    do: [{:chain, Value.text_of(name, scope), Map.get(meta, :name, meta)} | acc]

  defp used({:set_ref, name, meta}, _object, scope, acc),
    do: [{:set, Value.text_of(name, scope), meta} | acc]

  defp used({:dynset, _op, name, key, data, opts, meta}, _object, scope, acc) do
    acc = [{:set, Value.text_of(name, scope), meta} | acc]
    used([key, data, opts], nil, scope, acc)
  end

  defp used({:meter, name, _size, key, opts, meta}, _object, scope, acc),
    do: used([key, opts], nil, scope, [{:meter, Value.text_of(name, scope), meta} | acc])

  defp used({:flow_offload, name, meta}, _object, scope, acc),
    do: [{:flowtable, Value.text_of(name, scope), meta} | acc]

  defp used({:objref, kind, {word, name, meta}, _}, _object, _scope, acc)
       when word in [:string, :identifier],
       do: [{kind, name, meta} | acc]

  defp used({:objref, kind, value, _meta}, _object, scope, acc),
    do: used(value, kind, scope, acc)

  defp used({:mapping, key, {word, name, meta}, _}, object, scope, acc)
       when word in [:string, :identifier] and object != nil,
       do: used(key, nil, scope, [{object, name, meta} | acc])

  defp used({:variable, name, _meta}, object, scope, acc) do
    case scope.variables do
      %{^name => value} -> used(value, object, scope, acc)
      _ -> acc
    end
  end

  defp used([head | tail], object, scope, acc),
    do: used(tail, object, scope, used(head, object, scope, acc))

  defp used(tuple, object, scope, acc) when is_tuple(tuple),
    do: tuple |> Tuple.to_list() |> used(object, scope, acc)

  defp used(_other, _object, _scope, acc), do: acc
end
