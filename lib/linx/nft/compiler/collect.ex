defmodule Linx.NFT.Compiler.Collect do
  @moduledoc false
  # The items and commands of a text in their order, to a plan: what each table holds, with
  # nothing compiled yet. Rules and elements keep the variables that were in reach where they
  # stand.

  import Linx.NFT.Compiler.Symbols

  alias Linx.NFT.Compiler.{
    Declare,
    ElementText,
    Fault,
    Include,
    Redeclared,
    RuleList,
    Scope,
    Value
  }

  # `outer` has the variables of the block around, and their weights: what an `undefine` uncovers.
  # A chain has its rules in two lists, each with the latest first: `inserted` before the first
  # rule, `rules` after it. The elements of a set have the latest first too. `weights` counts what
  # the variables hold, the variables in them followed.
  defstruct tables: %{},
            order: [],
            variables: %{},
            weights: %{},
            outer: {%{}, %{}},
            file: "nofile",
            including: [],
            # From how many bytes on the lists of included files stay text, as Linx.NFT.Tokenizer
            # has it.
            element_text: nil,
            # Whether the elements of long lists are left as text in their sets.
            lazy?: false,
            origin: nil

  @doc false
  def run(items, opts) do
    file = Keyword.get(opts, :file, "nofile")

    plan = %__MODULE__{
      file: file,
      including: [Path.expand(file)],
      element_text: Keyword.get(opts, :element_text),
      lazy?: Keyword.get(opts, :lazy, false)
    }

    Enum.reduce(items, plan, &item/2)
  end

  defp item({:table, family, name, items, meta}, plan), do: table(family, name, items, meta, plan)

  defp item({:include, path, meta}, plan),
    do:
      Include.include(
        path,
        meta,
        nil,
        plan,
        &Enum.reduce(&1, &2, fn item, plan -> item(item, plan) end)
      )

  defp item({:define, name, value, meta}, plan) do
    if Map.has_key?(plan.variables, name),
      do: Fault.fail(meta, "$#{name} is defined already: use redefine")

    put_variable(plan, name, value)
  end

  defp item({:redefine, name, value, _meta}, plan), do: put_variable(plan, name, value)

  # A block takes back its own definitions only; one that is not there is no mistake, as for nft.
  defp item({:undefine, name, _meta}, %{outer: {variables, weights}} = plan) do
    %{
      plan
      | variables: uncovered(plan.variables, variables, name),
        weights: uncovered(plan.weights, weights, name)
    }
  end

  defp item({:command, verb, object, meta}, plan), do: command(verb, object, meta, plan)

  defp uncovered(inner, outer, name) do
    case Map.fetch(outer, name) do
      {:ok, value} -> Map.put(inner, name, value)
      :error -> Map.delete(inner, name)
    end
  end

  # Variables defined in the braces of a table or chain end with them. A set, object or flowtable
  # has no scope of its own.
  defp block(plan, fun) do
    %{variables: variables, weights: weights, outer: outer} = plan
    plan = fun.(%{plan | outer: {variables, weights}})
    %{plan | variables: variables, weights: weights, outer: outer}
  end

  # Sixty variables, each of them the one before twice, are a line of text each and more than fits
  # any memory.
  @heaviest 4_000_000

  # A value may use the variables before it, the one that it redefines among them.
  defp put_variable(plan, name, value) do
    weight = weight(value, plan.weights)

    if weight > @heaviest do
      Fault.fail(value, "$#{name} holds more than #{@heaviest} values by way of other variables")
    end

    variables = Map.put(plan.variables, name, substitute(value, plan.variables))
    %{plan | variables: variables, weights: Map.put(plan.weights, name, weight)}
  end

  defp weight({:element_text, text, _meta}, _weights), do: ElementText.weight(text)
  defp weight({:variable, name, _meta}, weights), do: Map.get(weights, name, 1)
  defp weight(%{}, _weights), do: 0
  defp weight([], _weights), do: 0
  defp weight([head | tail], weights), do: weight(head, weights) + weight(tail, weights)

  defp weight({kind, nodes, _meta}, weights) when kind in [:set_inline, :list, :concat],
    do: weight(nodes, weights)

  defp weight(node, weights) when is_tuple(node),
    do: max(1, node |> Tuple.to_list() |> Enum.filter(&is_tuple/1) |> weight(weights))

  defp weight(_leaf, _weights), do: 0

  defp substitute({:variable, name, meta}, variables) do
    case Map.fetch(variables, name) do
      {:ok, value} ->
        value

      :error ->
        Fault.fail(
          meta,
          "unknown variable $#{name}#{Linx.NFT.ParseError.suggestion(name, Map.keys(variables))}"
        )
    end
  end

  defp substitute(%{} = map, _variables), do: map

  defp substitute(list, variables) when is_list(list),
    do: Enum.map(list, &substitute(&1, variables))

  defp substitute(node, variables) when is_tuple(node),
    do: node |> Tuple.to_list() |> Enum.map(&substitute(&1, variables)) |> List.to_tuple()

  defp substitute(other, _variables), do: other

  # -- tables ------------------------------------------------------------------------------------

  defp table(family, name, items, meta, plan) do
    family = family(family, meta)
    key = {family, name(name, "table", plan)}

    plan
    |> awake(key)
    |> ensure_table(key, meta)
    |> block(fn plan -> Enum.reduce(items, plan, &in_table(&1, key, &2)) end)
  end

  # Each block is a NEWTABLE with its own flags: the last one decides whether the table is
  # dormant.
  defp awake(%{tables: tables} = plan, key) when is_map_key(tables, key),
    do: update(plan, key, &%{&1 | flags: &1.flags -- [:dormant]})

  defp awake(plan, _key), do: plan

  defp ensure_table(plan, key, meta) do
    if Map.has_key?(plan.tables, key) do
      plan
    else
      table = %{
        flags: [],
        comment: nil,
        chains: %{},
        sets: %{},
        objects: %{},
        flowtables: %{},
        order: [],
        meta: Include.marked(meta, plan.origin)
      }

      %{plan | tables: Map.put(plan.tables, key, table), order: [key | plan.order]}
    end
  end

  defp in_table({:options, opts, meta}, key, plan) do
    Redeclared.once!(opts, meta)
    flags = Keyword.get_values(opts, :flags) |> List.flatten()
    comment = Value.comment_of(opts[:comment], scope(plan, key))

    update(
      plan,
      key,
      &%{&1 | flags: Enum.uniq(&1.flags ++ flags), comment: &1.comment || comment}
    )
  end

  defp in_table({:chain, node, opts, rules, meta}, key, plan) do
    name = name(node, "chain", plan)

    block(plan, fn plan ->
      {opts, rules, plan} = Enum.reduce(rules, {opts, [], plan}, &in_chain/2)

      plan
      |> add_chain(key, name, opts, meta)
      |> update_in_table(key, :chains, name, &%{&1 | rules: rules ++ &1.rules})
    end)
  end

  defp in_table({kind, node, opts, meta}, key, plan) when kind in [:set, :map, :vmap] do
    name = name(node, "set", plan)
    {opts, plan} = options(opts, :set, plan)
    Redeclared.once!(opts, meta)
    scope = scope(plan, key)
    signature = Declare.signature(kind, opts, meta, scope)
    nodes = for {:elements, nodes} <- opts, do: {nodes, scope}

    given = %{signature: signature, elements: Enum.reverse(nodes), scope: scope}

    declare(plan, key, :sets, name, given, fn there ->
      Redeclared.set(name, there, given)
      %{there | elements: Enum.reverse(nodes, there.elements)}
    end)
  end

  defp in_table({:object, kind, node, opts, meta}, key, plan) do
    name = name(node, "object", plan)
    {opts, plan} = options(opts, {:object, kind}, plan)
    Redeclared.once!(opts, meta)
    given = %{opts: opts, meta: meta, scope: scope(plan, key)}
    declare(plan, key, :objects, {kind, name}, given, &Redeclared.object(kind, &1, given))
  end

  defp in_table({:flowtable, node, opts, meta}, key, plan) do
    name = name(node, "flowtable", plan)
    {opts, plan} = options(opts, :flowtable, plan)
    Redeclared.once!(opts, meta)
    given = %{opts: opts, meta: meta, scope: scope(plan, key)}
    declare(plan, key, :flowtables, name, given, &Redeclared.flowtable(name, &1, given))
  end

  defp in_table({:include, path, meta}, key, plan) do
    Include.include(
      path,
      meta,
      :table,
      plan,
      &Enum.reduce(&1, &2, fn item, plan -> in_table(item, key, plan) end)
    )
  end

  defp in_table(definition, _key, plan), do: item(definition, plan)

  # {options, rules with the last first, plan}
  defp in_chain({:rule, _, _, _} = rule, {opts, rules, plan}),
    do: {opts, [{rule, plan.variables, plan.origin} | rules], plan}

  defp in_chain({:rule_text, _, _} = text, {opts, rules, plan}),
    do: {opts, [{text, plan.variables, plan.origin} | rules], plan}

  defp in_chain({:chain_option, option, _meta}, {opts, rules, plan}),
    do: {opts ++ [settled(option, plan)], rules, plan}

  defp in_chain({:include, path, meta}, {opts, rules, plan}) do
    # The plan of the include has the chain's options and rules with it.
    run = fn {more, items}, {plan, {opts, rules}} ->
      opts = opts ++ Enum.map(more, &settled(&1, plan))
      {opts, rules, plan} = Enum.reduce(items, {opts, rules, plan}, &in_chain/2)
      {plan, {opts, rules}}
    end

    {plan, {opts, rules}} = Include.include_with(path, meta, :chain, plan, {opts, rules}, run)
    {opts, rules, plan}
  end

  defp in_chain(definition, {opts, rules, plan}), do: {opts, rules, item(definition, plan)}

  # The options of a set, object or flowtable without the definitions among them.
  defp options(opts, block, plan) do
    if List.keymember?(opts, :definition, 0) do
      {opts, plan} = options(opts, block, plan, [])
      {Enum.reverse(opts), plan}
    else
      {opts, plan}
    end
  end

  defp options(opts, block, plan, acc) do
    Enum.reduce(opts, {acc, plan}, fn
      {:definition, {:include, path, meta}}, {acc, plan} ->
        run = fn opts, {plan, acc} ->
          {acc, plan} = options(opts, block, plan, acc)
          {plan, acc}
        end

        {plan, acc} = Include.include_with(path, meta, block, plan, acc, run)
        {acc, plan}

      {:definition, definition}, {acc, plan} ->
        {acc, item(definition, plan)}

      option, {acc, plan} ->
        {[settled(option, plan) | acc], plan}
    end)
  end

  # An option as it is where it stands: its variables replaced, its file noted.
  defp settled(option, plan),
    do: option |> substitute(plan.variables) |> Include.marked(plan.origin)

  defp add_chain(plan, key, name, opts, meta) do
    scope = scope(plan, key)
    given = %{opts: opts, inserted: [], rules: [], meta: meta, scope: scope}

    declare(plan, key, :chains, name, given, &Redeclared.chain(name, &1, given))
  end

  # Puts the declaration `given` into its table, or what `again` makes of the one that is there.
  defp declare(plan, key, field, name, given, again) do
    update(plan, key, fn table ->
      value =
        case Map.fetch!(table, field) do
          %{^name => there} -> again.(there)
          _ -> given
        end

      declared(table, field, name, value)
    end)
  end

  # The order of a table has a name where it was declared first, the last first. One that was
  # deleted and declared again stands twice: the last place counts.
  defp declared(table, field, name, value) do
    there = Map.fetch!(table, field)

    order =
      if is_map_key(there, name), do: table.order, else: [{field, name} | table.order]

    Map.replace!(%{table | order: order}, field, Map.put(there, name, value))
  end

  defp scope(plan, {family, name}),
    do: %Scope{
      family: family,
      table: name,
      variables: plan.variables,
      file: plan.file,
      origin: plan.origin,
      lazy?: plan.lazy?
    }

  defp update(plan, key, fun), do: %{plan | tables: Map.update!(plan.tables, key, fun)}

  defp update_in_table(plan, key, field, name, fun),
    do: update(plan, key, fn table -> Map.update!(table, field, &Map.update!(&1, name, fun)) end)

  # -- commands ----------------------------------------------------------------------------------

  defp command(verb, {:table, family, name, items, meta}, _meta, plan) do
    key = {family(family, meta), name(name, "table", plan)}
    if verb == :create, do: absent(Map.has_key?(plan.tables, key), "table", elem(key, 1), meta)
    table(family, name, items, meta, plan)
  end

  defp command(verb, {:in_table, family, name, item, meta}, _meta, plan) do
    key = existing(plan, family, name, meta)
    if verb == :create, do: created(item, plan.tables[key], plan, meta)
    in_table(item, key, plan)
  end

  defp command(verb, {:elements, family, table, name, nodes, meta}, _meta, plan)
       when verb in [:add, :create] do
    key = existing(plan, family, table, meta)
    name = existing_item(plan, key, :sets, name, "set", meta)
    scope = scope(plan, key)
    update_in_table(plan, key, :sets, name, &%{&1 | elements: [{nodes, scope} | &1.elements]})
  end

  defp command(verb, {:rule, family, table, chain, place, rule, meta}, _meta, plan) do
    key = existing(plan, family, table, meta)
    chain = existing_item(plan, key, :chains, chain, "chain", meta)
    entry = {rule, plan.variables, plan.origin}

    update_in_table(
      plan,
      key,
      :chains,
      chain,
      &RuleList.place(verb, place, entry, &1, meta)
    )
  end

  defp command(verb, {:elements, family, table, name, nodes, meta}, _meta, plan)
       when verb in [:delete, :destroy] do
    key = existing(plan, family, table, meta)
    name = existing_item(plan, key, :sets, name, "set", meta)
    gone = {verb, nodes, scope(plan, key), meta}
    update_in_table(plan, key, :sets, name, &%{&1 | elements: [gone | &1.elements]})
  end

  defp command(:flush, {:ruleset, nil, _}, _meta, plan), do: %{plan | tables: %{}, order: []}

  defp command(:flush, {:ruleset, family, _}, _meta, plan) do
    {gone, kept} = Enum.split_with(plan.order, fn {f, _} -> f == family end)
    %{plan | tables: Map.drop(plan.tables, gone), order: kept}
  end

  # A table that the text does not describe may be there in the kernel: deleting it first is how
  # scripts begin.
  defp command(verb, {:table, family, name, meta}, _meta, plan) do
    key = {family, name(name, "table", plan)}

    case {verb, Map.has_key?(plan.tables, key)} do
      {:flush, true} ->
        update(plan, key, fn table ->
          %{table | chains: Map.new(table.chains, fn {n, c} -> {n, RuleList.flushed(c)} end)}
        end)

      {verb, true} when verb in [:delete, :destroy] ->
        %{plan | tables: Map.delete(plan.tables, key), order: List.delete(plan.order, key)}

      {:delete, false} ->
        Fault.fail(meta, "no such table in this text: #{elem(key, 0)} #{elem(key, 1)}")

      {_, false} ->
        plan
    end
  end

  defp command(:flush, {:chain, family, table, name, meta}, _meta, plan) do
    key = existing(plan, family, table, meta)
    chain = existing_item(plan, key, :chains, name, "chain", meta)
    update_in_table(plan, key, :chains, chain, &RuleList.flushed/1)
  end

  defp command(:flush, {kind, family, table, name, meta}, _meta, plan)
       when kind in [:set, :map] do
    key = existing(plan, family, table, meta)
    set = existing_item(plan, key, :sets, name, "set", meta)
    update_in_table(plan, key, :sets, set, &%{&1 | elements: []})
  end

  defp command(verb, {kind, family, table, node, meta}, _meta, plan)
       when verb in [:delete, :destroy] do
    key = existing(plan, family, table, meta)
    name = name(node, "object", plan)

    {field, item} =
      case kind do
        :chain -> {:chains, name}
        kind when kind in [:set, :map] -> {:sets, name}
        :flowtable -> {:flowtables, name}
        kind -> {:objects, {kind, name}}
      end

    if verb == :delete and not Map.has_key?(Map.fetch!(plan.tables[key], field), item),
      do: Fault.fail(meta, "no such #{kind} in this text: #{name}")

    update(plan, key, fn table -> Map.update!(table, field, &Map.delete(&1, item)) end)
  end

  defp command(verb, _object, meta, _plan),
    do: Fault.fail(meta, "#{verb} of this does not describe a ruleset")
end
