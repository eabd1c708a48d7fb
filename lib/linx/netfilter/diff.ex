defmodule Linx.Netfilter.Diff do
  @moduledoc """
  The changes that turn one ruleset into another, as few as possible.

  Tables, chains, sets, maps, objects and flowtables are the same when they have the same name, a rule when it has the same `:tag`, an
  element when it has the same value. What the two sides say in different words (an address as text, a guard spelled out, a priority by
  name) is no difference, nor is what traffic changes: counters, used quotas, the rest of a timeout.

    * A changed rule with a tag is replaced in place; one that moved is deleted and made again at its new place. Rules between stay
      untouched, with their handles and counters.
    * A chain that has rules without tags and differs is rebuilt whole.
    * A changed chain, set declaration, object or flowtable is deleted and made again, and with it the rules and map elements that refer to it: the
      kernel does not delete what is in use.
    * Table flags are not compared, nor is the order of chains, sets, maps, objects and flowtables: the kernel appends what is new and moves
      nothing.
    * Of a `:dynamic` set only elements that are missing are added: the others were put there by traffic.

      iex> alias Linx.Netfilter.{Diff, Ruleset}
      iex> Diff.diff(Ruleset.new(), Ruleset.add_table!(Ruleset.new(), :inet, "t")).ops |> Enum.map(&elem(&1, 0))
      [:create_table]

  Nothing is sent here; `Linx.Netfilter.push/3` does that.

  Source: net/netfilter/nf_tables_api.c, for what may be replaced and what is busy.
  """

  alias Linx.Netfilter.{Canonical, Patch, Rule, Ruleset, Set, Table}
  alias Linx.Netfilter.Encoder.Elements
  alias Linx.Netfilter.Table.Order

  @doc """
  The patch from `from` to `to`. Rules of `from` need their handles: it should be a pulled ruleset.

  The patch is sorted (`Linx.Netfilter.Patch.sort/1`) and empty when the two are equal. Raises `ArgumentError` for values that have no
  form on the wire.
  """
  @spec diff(Ruleset.t(), Ruleset.t()) :: Patch.t()
  def diff(%Ruleset{tables: from}, %Ruleset{tables: to}) do
    gone =
      for {{family, name} = key, _} <- Enum.sort_by(from, &elem(&1, 0)),
          not is_map_key(to, key),
          do: {:delete_table, family, name}

    changed =
      for {key, table} <- Enum.sort_by(to, &elem(&1, 0)) do
        case from do
          %{^key => current} ->
            table_ops(current, table)

          _ ->
            [
              {:create_table, table.family, bare(table)}
              | table_ops(Table.new!(table.family, table.name), table)
            ]
        end
      end

    ops = List.flatten([gone | changed])
    Patch.sort(%Patch{ops: ops, sets: declarations(ops, from, to)})
  end

  @doc """
  Whether every rule of `ruleset` can be recognised again: in a chain of more than one rule all must have tags.

  Answers `{:error, {:tag_required, {family, table, chain}}}` for the first chain where that is not so.
  """
  @spec validate_for_reconcile(Ruleset.t()) ::
          :ok | {:error, {:tag_required, {atom(), String.t(), String.t()}}}
  def validate_for_reconcile(%Ruleset{} = ruleset) do
    untagged =
      for {family, name, table} <- Ruleset.tables(ruleset),
          {chain_name, chain} <- Enum.sort_by(table.chains, &elem(&1, 0)),
          match?([_, _ | _], chain.rules),
          Enum.any?(chain.rules, &(&1.tag == nil)),
          do: {family, name, chain_name}

    case untagged do
      [] -> :ok
      [first | _] -> {:error, {:tag_required, first}}
    end
  end

  defp bare(table),
    do: %{table | chains: %{}, sets: %{}, maps: %{}, objects: %{}, flowtables: %{}, order: %{}}

  # Elements in an op do not say their encoding.
  defp declarations(ops, from, to) do
    for op <- ops, elem(op, 0) in [:add_set_elements, :delete_set_elements], into: %{} do
      {_, family, table, name, _} = op

      {{family, table, name},
       declared(from, family, table, name) || declared(to, family, table, name)}
    end
  end

  defp declared(tables, family, table, name) do
    with %{} = table <- tables[{family, table}],
         %{} = set <- table.sets[name] || table.maps[name],
         do: %{set | elements: []}
  end

  # -- one table -------------------------------------------------------------------------------------------------------

  defp table_ops(%Table{family: family, name: name} = from, to) do
    sets = {all_sets(from), all_sets(to)}
    same_set = fn a, b -> Canonical.same_set?(a, b, family) end
    same_chain = fn a, b -> Canonical.same_chain?(a, b, family) end
    same_object = fn a, b -> Canonical.same_object?(a, b, family) end
    chains = compare({from.chains, to.chains}, Order.names(to, :chains), same_chain)
    objects = compare({from.objects, to.objects}, Order.names(to, :objects), same_object)

    flowtables =
      compare(
        {from.flowtables, to.flowtables},
        Order.names(to, :flowtables),
        &Canonical.same_flowtable?/2
      )

    set_changes = compare(sets, Order.names(to, :sets) ++ Order.names(to, :maps), same_set)

    # Whatever is deleted or made again must lose its references first.
    lost =
      MapSet.new(
        Enum.map(chains.delete, &{:chain, &1}) ++
          Enum.map(objects.delete, &{:object, &1}) ++
          Enum.map(flowtables.delete, &{:flowtable, &1}) ++
          Enum.map(set_changes.delete, &{:set, &1})
      )

    [
      for(chain <- chains.delete, do: {:delete_chain, family, name, chain}),
      for(
        chain <- chains.create,
        do: {:create_chain, family, name, %{chain | rules: [], table: name}}
      ),
      for({kind, object} <- objects.delete, do: {:delete_object, family, name, kind, object}),
      for(object <- objects.create, do: {:create_object, family, %{object | table: name}}),
      for(ft <- flowtables.delete, do: {:delete_flowtable, family, name, ft}),
      for(ft <- flowtables.create, do: {:create_flowtable, family, %{ft | table: name}}),
      for(set <- set_changes.delete, do: {:delete_set, family, name, set}),
      for(
        set <- set_changes.create,
        do: {:create_set, family, %{set | elements: [], table: name}}
      ),
      for(
        %{elements: [_ | _]} = set <- set_changes.create,
        do: {:add_set_elements, family, name, set.name, set.elements}
      ),
      for({a, b} <- set_changes.kept, do: element_ops(family, name, a, b, lost)),
      # A map that goes is deleted after the chains its elements jump to.
      for(set <- set_changes.delete, do: lost_elements(family, name, elem(sets, 0)[set], lost)),
      for(chain <- chains.create, do: new_rules(family, name, chain.name, chain.rules)),
      for({a, b} <- chains.kept, do: rule_ops(family, name, a, b, lost)),
      # Rules of a chain that goes may hold other things that go.
      for(
        chain <- chains.delete,
        rule <- from.chains[chain].rules,
        loses?(rule, lost),
        do: {:delete_rule, family, name, chain, rule.handle}
      )
    ]
  end

  defp all_sets(table), do: Map.merge(table.sets, table.maps)

  # Names to delete, values to create in the order of `names`, pairs that stay.
  defp compare({from, to}, names, same?) do
    {kept, changed} =
      from
      |> Enum.filter(fn {key, _} -> is_map_key(to, key) end)
      |> Enum.sort_by(&elem(&1, 0))
      |> Enum.split_with(fn {key, value} -> value == to[key] or same?.(value, to[key]) end)

    changed = Enum.map(changed, &elem(&1, 0))
    gone = from |> Map.keys() |> Enum.reject(&is_map_key(to, &1)) |> Enum.sort()
    again = MapSet.new(changed)

    %{
      delete: gone ++ changed,
      create: for(n <- names, n in again or not is_map_key(from, n), do: Map.fetch!(to, n)),
      kept: Enum.map(kept, fn {key, value} -> {value, to[key]} end)
    }
  end

  # -- elements --------------------------------------------------------------------------------------------------------

  defp element_ops(family, table, from, to, lost) do
    if from.elements == to.elements and MapSet.size(lost) == 0 do
      []
    else
      {delete, add} = element_changes(from, to, lost)

      [
        if(delete != [], do: [{:delete_set_elements, family, table, to.name, delete}], else: []),
        if(add != [], do: [{:add_set_elements, family, table, to.name, add}], else: [])
      ]
    end
  end

  defp lost_elements(family, table, set, lost) do
    case Enum.filter(set.elements, &refers?(set, &1, lost)) do
      [] -> []
      elements -> {:delete_set_elements, family, table, set.name, elements}
    end
  end

  defp refers?(set, element, lost),
    do: set |> Canonical.element_references(element) |> Enum.any?(&(&1 in lost))

  defp element_changes(from, to, lost) do
    old = Canonical.elements(from, from.elements)
    new = Canonical.elements(to, to.elements)
    old_set = MapSet.new(old)
    new_set = MapSet.new(new)

    touched =
      if MapSet.size(lost) == 0,
        do: MapSet.new(),
        else: MapSet.new(Enum.filter(old, &refers?(from, &1, lost)))

    add = Enum.filter(new, &(&1 not in old_set or &1 in touched))

    delete =
      if :dynamic in to.flags do
        # A changed element gives way to the new one; what traffic has added stays.
        keys = MapSet.new(add, &Elements.key(to, &1))
        Enum.filter(old, &(Elements.key(from, &1) in keys))
      else
        Enum.filter(old, &(&1 not in new_set or &1 in touched))
      end

    {given(from, delete), given(to, add)}
  end

  # In the order and form in which the caller wrote them, where that can be told.
  defp given(%Set{} = set, canonical) do
    wanted = MapSet.new(canonical)
    form = Canonical.element(set)
    found = Enum.filter(set.elements, &(form.(&1) in wanted))
    if length(found) == length(canonical), do: found, else: canonical
  end

  defp given(_map, canonical), do: canonical

  # -- rules -----------------------------------------------------------------------------------------------------------

  defp new_rules(family, table, chain, rules),
    do: for(rule <- rules, do: {:create_rule, family, table, chain, rule, :append})

  defp rule_ops(family, table, from, to, lost) do
    cond do
      MapSet.size(lost) == 0 and same_tags?(from.rules, to.rules) ->
        replaced(family, table, from, to)

      tagged?(from.rules) and tagged?(to.rules) ->
        tagged(family, table, from, to, lost)

      untouched?(from.rules, to.rules, family, lost) ->
        []

      true ->
        rebuild(family, table, from, to)
    end
  end

  # The same rules in the same order, as most chains are found: nothing moves, and no rule need be looked for.
  defp same_tags?([%{tag: tag} | from], [%{tag: tag} | to]) when tag != nil,
    do: same_tags?(from, to)

  defp same_tags?([], []), do: true
  defp same_tags?(_from, _to), do: false

  defp replaced(family, table, from, to) do
    for {current, rule} <- Enum.zip(from.rules, to.rules),
        not same?(current, rule, family),
        do: {:replace_rule, family, table, to.name, current.handle, rule}
  end

  defp tagged?(rules),
    do: Enum.all?(rules, & &1.tag) and length(Enum.uniq_by(rules, & &1.tag)) == length(rules)

  defp untouched?(from, to, family, lost) do
    length(from) == length(to) and
      Enum.all?(Enum.zip(from, to), fn {a, b} -> same?(a, b, family) and not loses?(a, lost) end)
  end

  defp same?(a, b, family), do: Canonical.same_rule?(a, b, family)

  defp loses?(rule, lost),
    do: MapSet.size(lost) > 0 and Enum.any?(Canonical.references(rule), &(&1 in lost))

  defp rebuild(family, table, from, to) do
    for(rule <- from.rules, do: {:delete_rule, family, table, from.name, rule.handle}) ++
      new_rules(family, table, to.name, to.rules)
  end

  # A rule of `to` either stays (a rule of `from` in the right order has its tag) or is made anew before the next rule that stays as it
  # is. The kernel gives a replaced rule a new handle, so behind a new rule a changed one cannot be replaced: nothing could name it.
  defp tagged(family, table, from, to, lost) do
    old = Map.new(from.rules, &{&1.tag, &1})
    index = from.rules |> Enum.with_index() |> Map.new(fn {rule, i} -> {rule.tag, i} end)

    staying =
      to.rules
      |> Enum.filter(&(is_map_key(old, &1.tag) and not loses?(old[&1.tag], lost)))
      |> in_order(index)

    plan =
      for rule <- to.rules do
        current = old[rule.tag]

        cond do
          rule.tag not in staying -> {:create, rule, current}
          same?(current, rule, family) -> {:keep, rule, current}
          true -> {:replace, rule, current}
        end
      end

    place = {family, table, to.name}
    tags = MapSet.new(to.rules, & &1.tag)
    deletes = for rule <- from.rules, rule.tag not in tags, do: delete(place, rule)
    deletes ++ segments(plan, place)
  end

  # From one rule that stays to the next.
  defp segments(plan, place) do
    {segment, rest} = Enum.split_while(plan, &(elem(&1, 0) != :keep))

    position =
      case rest do
        [{:keep, _rule, current} | _] -> {:before, current.handle}
        [] -> :append
      end

    ops = segment_ops(segment, false, position, place)
    if rest == [], do: ops, else: ops ++ segments(tl(rest), place)
  end

  defp segment_ops([], _created?, _position, _place), do: []

  defp segment_ops(
         [{:replace, rule, current} | rest],
         false,
         position,
         {family, table, chain} = place
       ),
       do: [
         {:replace_rule, family, table, chain, current.handle, rule}
         | segment_ops(rest, false, position, place)
       ]

  defp segment_ops(
         [{_kind, rule, current} | rest],
         _created?,
         position,
         {family, table, chain} = place
       ) do
    deletes = if current, do: [delete(place, current)], else: []

    deletes ++
      [
        {:create_rule, family, table, chain, rule, position}
        | segment_ops(rest, true, position, place)
      ]
  end

  defp delete({family, table, chain}, %Rule{handle: handle}),
    do: {:delete_rule, family, table, chain, handle}

  # The longest run of rules whose order has not changed, as a set of tags.
  defp in_order(rules, index) do
    places = Enum.map(rules, &index[&1.tag])

    if increasing?(places),
      do: MapSet.new(rules, & &1.tag),
      else: rules |> Enum.zip(places) |> patience()
  end

  defp increasing?([a, b | rest]), do: a < b and increasing?([b | rest])
  defp increasing?(_rest), do: true

  # Patience sorting: the top card of each pile is the smallest end of a run of that length.
  defp patience(rules) do
    {piles, links} =
      Enum.reduce(rules, {[], %{}}, fn {rule, at}, {piles, links} ->
        {before, from} = Enum.split_while(piles, fn {top, _tag} -> top < at end)

        {before ++ [{at, rule.tag} | Enum.drop(from, 1)],
         Map.put(links, rule.tag, last_tag(before))}
      end)

    piles |> last_tag() |> walk(links, []) |> MapSet.new()
  end

  defp last_tag([]), do: nil
  defp last_tag(piles), do: piles |> List.last() |> elem(1)

  defp walk(nil, _links, acc), do: acc
  defp walk(tag, links, acc), do: walk(links[tag], links, [tag | acc])
end
