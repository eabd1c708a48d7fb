defmodule Linx.Netfilter.Diff do
  @moduledoc """
  The changes that turn one ruleset into another, as few as possible.

  Tables, chains, sets, maps, objects and flowtables are the same when they have the same name, a
  rule when it has the same `:tag`, an element when it has the same value. What the two sides say
  in different words (an address as text, a dependency spelled out, a priority by name) is no
  difference, nor is what traffic changes: counters, used quotas, the rest of a timeout. Nor is
  what the kernel rounds or chooses itself:

    * A timeout of a set, an element or an `add @set` statement is kept in ticks (4 ms where HZ is
      250): up to 10 ms less than wanted is the wanted one, and so is one tick where less than a
      tick was wanted.
    * A conntrack helper of an inet table whose `:l3proto` is nil or `:inet` is attached to the
      protocols that it exists for.
    * Elements are compared by their bytes, so that neither side needs the other's record of how
      wide the parts of a key are.

  What changes is changed so:

    * A changed rule with a tag is replaced in place; one that moved is deleted and made again at
      its new place. Rules between stay untouched, with their handles and counters.
    * A chain that has rules without tags and differs is rebuilt whole.
    * A changed chain, set declaration, object or flowtable is deleted and made again, and with it
      the rules and map elements that refer to it: the kernel does not delete what is in use.
    * Table flags are not compared, nor is the order of chains, sets, maps, objects and
      flowtables: the kernel appends what is new and moves nothing.
    * Of a `:dynamic` set only elements that are missing are added: the others were put there by
      traffic.

      iex> alias Linx.Netfilter.{Diff, Ruleset}
      iex> Diff.diff(Ruleset.new(), Ruleset.add_table!(Ruleset.new(), :inet, "t")).ops
      ...> |> Enum.map(&elem(&1, 0))
      [:create_table]

  Nothing is sent here; `Linx.Netfilter.push/3` does that.

  Source: net/netfilter/nf_tables_api.c, for what may be replaced and what is busy.
  """

  alias Linx.Netfilter.{Canonical, Patch, References, Ruleset, Set, Table}
  alias Linx.Netfilter.Diff.Rules
  alias Linx.Netfilter.Element
  alias Linx.Netfilter.Table.Order

  @doc """
  The patch from `from` to `to`. Rules of `from` need their handles: it should be a pulled
  ruleset.

  Option `by: :comment` knows rules again by their comments in the place of their tags (default
  `:tag`).

  The patch is sorted (`Linx.Netfilter.Patch.sort/1`) and empty when the two are equal. Raises
  `ArgumentError` for values that have no form on the wire.
  """
  @spec diff(Ruleset.t(), Ruleset.t(), keyword()) :: Patch.t()
  def diff(%Ruleset{tables: from}, %Ruleset{tables: to}, opts \\ []) do
    by = Keyword.get(opts, :by, :tag)

    gone =
      for {{family, name} = key, _} <- Enum.sort_by(from, &elem(&1, 0)),
          not is_map_key(to, key),
          do: {:delete_table, family, name}

    changed =
      for {key, table} <- Enum.sort_by(to, &elem(&1, 0)) do
        case from do
          %{^key => current} ->
            table_ops(current, table, by)

          _ ->
            [
              {:create_table, table.family, bare(table)}
              | table_ops(Table.new!(table.family, table.name), table, by)
            ]
        end
      end

    ops = List.flatten([gone | changed])
    Patch.sort(%Patch{ops: ops, sets: declarations(ops, from, to)})
  end

  @doc """
  Whether every rule of `ruleset` can be recognised again: in a chain of more than one rule all
  must have tags, or with `by: :comment` comments, no two alike.

  Answers `{:error, {:tag_required, {family, table, chain}}}` for the first chain where that is
  not so, and `{:error, {:duplicate_comment, {family, table, chain, comment}}}` for one with two
  rules of one comment.
  """
  @spec validate_for_reconcile(Ruleset.t(), keyword()) ::
          :ok
          | {:error, {:tag_required, {atom(), String.t(), String.t()}}}
          | {:error, {:duplicate_comment, {atom(), String.t(), String.t(), String.t()}}}
  def validate_for_reconcile(%Ruleset{} = ruleset, opts \\ []) do
    by = Keyword.get(opts, :by, :tag)

    Enum.find_value(Ruleset.tables(ruleset), :ok, fn {family, name, table} ->
      table.chains
      |> Enum.sort_by(&elem(&1, 0))
      |> Enum.find_value(fn {chain_name, chain} ->
        unknown(chain, {family, name, chain_name}, by)
      end)
    end)
  end

  defp unknown(%{rules: [_, _ | _] = rules}, {family, table, chain} = place, by) do
    cond do
      keyless?(rules, by) ->
        {:error, {:tag_required, place}}

      by == :comment ->
        keys = Enum.map(rules, &Rules.key(by, &1))

        with [twice | _] <- keys -- Enum.uniq(keys),
             do: {:error, {:duplicate_comment, {family, table, chain, twice}}},
             else: ([] -> nil)

      true ->
        nil
    end
  end

  defp unknown(_chain, _place, _by), do: nil

  defp keyless?([%{tag: tag} | rules], :tag), do: tag == nil or keyless?(rules, :tag)
  defp keyless?([%{comment: c} | rules], :comment), do: c == nil or keyless?(rules, :comment)
  defp keyless?([], _by), do: false

  defp bare(table),
    do: %{table | chains: %{}, sets: %{}, maps: %{}, objects: %{}, flowtables: %{}, order: %{}}

  # Elements in an op do not say their encoding. Those of a set that stays are as `to` declares
  # it; elements of a set that goes are deleted as `from` has it, and a set that is made again has
  # its new declaration in its own op.
  defp declarations(ops, from, to) do
    gone =
      for {:delete_set, family, table, name} <- ops, into: MapSet.new(), do: {family, table, name}

    for op <- ops, elem(op, 0) in [:add_set_elements, :delete_set_elements], into: %{} do
      {_, family, table, name, _} = op
      key = {family, table, name}
      {first, second} = if key in gone, do: {from, to}, else: {to, from}
      {key, declared(first, family, table, name) || declared(second, family, table, name)}
    end
  end

  defp declared(tables, family, table, name) do
    with %{} = table <- tables[{family, table}],
         %{} = set <- table.sets[name] || table.maps[name],
         do: %{set | elements: []}
  end

  # -- one table ---------------------------------------------------------------------------------

  defp table_ops(%Table{family: family, name: name} = from, to, by) do
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

    place = %{
      family: family,
      table: name,
      lost: lost,
      by: by,
      carried: Canonical.carriers(to)
    }

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
      for(chain <- chains.create, do: Rules.create(family, name, chain.name, chain.rules)),
      for(
        {a, b} <- chains.kept,
        do: Rules.changes(place, a, b)
      ),
      # Rules of a chain that goes may hold other things that go.
      for(
        chain <- chains.delete,
        rule <- from.chains[chain].rules,
        Rules.loses?(rule, lost),
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

  # -- elements ----------------------------------------------------------------------------------

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
    do: set |> References.of_element(element) |> Enum.any?(&(&1 in lost))

  defp element_changes(from, to, lost) do
    from = Canonical.retyped(from, to)
    new = Canonical.elements(to, to.elements)
    old = from |> Canonical.elements(from.elements) |> Canonical.settled(new)
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
        keys = MapSet.new(add, &Element.key_of(to, &1))
        Enum.filter(old, &(Element.key_of(from, &1) in keys))
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
end
