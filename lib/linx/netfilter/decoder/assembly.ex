defmodule Linx.Netfilter.Decoder.Assembly do
  @moduledoc false
  # A ruleset from the pieces of its dumps. Anonymous sets and bound chains become part of the
  # rules that use them.

  alias Linx.Netfilter.Decoder.Elements
  alias Linx.Netfilter.{Dependencies, Element, Expr, Object, Ruleset, Set, Verdict}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Netfilter.Table.Order

  @doc "Pieces whose parent is not among them are left out."
  @spec ruleset(map()) :: Ruleset.t()
  def ruleset(parts) do
    elements =
      parts.set_elements
      |> Enum.group_by(fn {family, table, set, _} -> {family, table, set} end, &elem(&1, 3))
      |> Map.new(fn {key, lists} -> {key, Enum.concat(lists)} end)

    {anonymous, named} =
      parts.sets
      |> Enum.map(fn {family, set} ->
        {family, filled(set, Map.get(elements, {family, set.table, set.name}, []))}
      end)
      |> Enum.split_with(fn {_family, set} -> :anonymous in set.flags end)

    anonymous = Map.new(anonymous, fn {family, set} -> {{family, set.table, set.name}, set} end)
    rules = Enum.group_by(parts.rules, fn {f, t, c, _} -> {f, t, c} end, &placed(&1, anonymous))
    {bound, chains} = Enum.split_with(parts.chains, fn {_, chain} -> :binding in chain.flags end)
    rules = owned(rules, bound)

    Map.new(parts.tables, fn table -> {{table.family, table.name}, table} end)
    |> put_all(chains, &chain_in(&1, &2, &3, rules))
    |> put_all(named, &set_in/3)
    |> put_all(parts.objects, fn table, _family, o ->
      put_in(table.objects[{o.kind, o.name}], o)
    end)
    |> put_all(parts.flowtables, fn table, _family, f -> put_in(table.flowtables[f.name], f) end)
    |> ordered(chains: chains, sets: named, objects: parts.objects, flowtables: parts.flowtables)
    |> then(&%Ruleset{tables: &1})
  end

  # A dump lists things in the order in which they were made.
  defp ordered(tables, parts) do
    names =
      for {field, entities} <- parts, {family, entity} <- entities, reduce: %{} do
        names ->
          at = {family, entity.table}
          Map.update(names, at, [{field, key(entity)}], &[{field, key(entity)} | &1])
      end

    Map.new(tables, fn {at, table} -> {at, Order.put(table, Map.get(names, at, []))} end)
  end

  defp key(%Object{kind: kind, name: name}), do: {kind, name}
  defp key(%{name: name}), do: name

  # A chain that belongs to a rule stands in its verdict, where the kernel has a name that it made
  # up.
  defp owned(rules, []), do: rules

  defp owned(rules, bound) do
    names = MapSet.new(bound, fn {family, chain} -> {family, chain.table, chain.name} end)

    Map.new(Map.drop(rules, MapSet.to_list(names)), fn {{family, table, _} = key, list} ->
      {key, Enum.map(list, &own(&1, {family, table}, rules, names))}
    end)
  end

  defp own(rule, {family, table} = place, rules, names) do
    exprs =
      Enum.map(rule.expressions, fn
        %Expr{name: :immediate, data: %Verdict{kind: kind, target: name} = verdict} = expr
        when kind in [:jump, :goto] ->
          key = {family, table, name}

          # Taken out on the way down: what a broken dump says must end.
          if key in names do
            names = MapSet.delete(names, key)

            inside =
              for r <- Map.get(rules, key, []), do: own(%{r | chain: nil}, place, rules, names)

            %{expr | data: %{verdict | target: inside}}
          else
            expr
          end

        expr ->
          expr
      end)

    %{rule | expressions: exprs}
  end

  defp put_all(tables, entities, fun) do
    Enum.reduce(entities, tables, fn {family, entity}, tables ->
      key = {family, entity.table}

      case tables do
        %{^key => table} -> %{tables | key => fun.(table, family, entity)}
        _orphan -> tables
      end
    end)
  end

  defp chain_in(table, family, chain, rules) do
    rules = Map.get(rules, {family, table.name, chain.name}, [])
    put_in(table.chains[chain.name], %{chain | rules: chain.rules ++ rules})
  end

  defp set_in(table, _family, %Set{} = set), do: put_in(table.sets[set.name], set)
  defp set_in(table, _family, %NMap{} = map), do: put_in(table.maps[map.name], map)

  defp filled(set, []), do: set
  defp filled(set, raw), do: %{set | elements: Elements.values(set, raw)}

  defp placed({family, _table, chain, rule}, anonymous) when map_size(anonymous) == 0 do
    rule = named(rule, family)
    if rule.chain == chain, do: rule, else: %{rule | chain: chain}
  end

  defp placed({family, table, chain, rule}, anonymous) do
    named(
      %{
        rule
        | chain: chain,
          expressions: Enum.map(rule.expressions, &folded(&1, family, table, anonymous))
      },
      family
    )
  end

  # A field that exists in some ICMP types only was named after any look-up of the type.
  defp named(rule, family) do
    if Dependencies.sets?(rule.expressions),
      do: %{rule | expressions: Dependencies.unname(rule.expressions, family)},
      else: rule
  end

  defp folded(%Expr{name: :lookup, data: %{set: name} = data} = expr, family, table, anonymous) do
    case anonymous do
      %{{^family, ^table, ^name} => set} -> literal(set, data)
      _ -> expr
    end
  end

  defp folded(
         %Expr{name: :objref, data: %{set_name: name, set_sreg: sreg}} = expr,
         family,
         table,
         anonymous
       ) do
    case anonymous do
      %{{^family, ^table, ^name} => set} -> set |> literal(%{sreg: sreg}) |> via(:objref)
      _ -> expr
    end
  end

  defp folded(%Expr{name: :dynset, data: %{set: name} = data} = expr, family, table, anonymous) do
    case anonymous do
      %{{^family, ^table, ^name} => set} ->
        %Expr{data: data_of_set} = literal = literal(set, %{})
        via = {:dynset, Map.delete(data, :set)}
        data_of_set = data_of_set |> Map.delete(:sreg) |> Map.put(:via, via)
        # A meter was given its name by whoever made it.
        %{
          literal
          | data:
              if(name =~ ~r/^__\w+\d+$/, do: data_of_set, else: Map.put(data_of_set, :name, name))
        }

      _ ->
        expr
    end
  end

  defp folded(expr, _family, _table, _anonymous), do: expr

  defp via(%Expr{data: data} = literal, how), do: %{literal | data: Map.put(data, :via, how)}

  defp literal(set, lookup) do
    data = %{
      elements: set.elements,
      key_type: set.key_type,
      flags: literal_flags(set),
      sreg: Map.get(lookup, :sreg, 1)
    }

    extra =
      [
        data_type: if(is_struct(set, NMap), do: set.data_type),
        dreg: lookup[:dreg],
        lookup_flags: lookup[:flags],
        typeof: set.typeof,
        timeout: set.timeout,
        size: if(:dynamic in set.flags, do: set.size)
      ]

    Expr.new(
      :__anon_set,
      Enum.reduce(extra, data, fn {k, v}, d -> if(v == nil, do: d, else: Map.put(d, k, v)) end)
    )
  end

  # As Expr.set_literal/3 has them: :interval goes without saying where an element is a range.
  defp literal_flags(set) do
    spans? = Enum.any?(set.elements, &spans?(Element.key_of(set, &1)))
    known = [:anonymous, :constant, :dynamic, :timeout | if(spans?, do: [], else: [:interval])]
    Enum.filter(known, &(&1 in set.flags))
  end

  defp spans?({kind, _, _}) when kind in [:range, :prefix], do: true
  defp spans?(key) when is_tuple(key), do: key |> Tuple.to_list() |> Enum.any?(&spans?/1)
  defp spans?(_key), do: false
end
