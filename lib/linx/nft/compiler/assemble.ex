defmodule Linx.NFT.Compiler.Assemble do
  @moduledoc false
  # The plan of a text to the ruleset: all sets first, since rules look at what they hold, then
  # the chains.

  alias Linx.Netfilter.{Expr, Object, Rule, Ruleset, Table, Verdict}
  alias Linx.Netfilter.Table.Order
  alias Linx.NFT

  alias Linx.NFT.Compiler.{
    Chains,
    Declare,
    Fault,
    Flowtable,
    Include,
    Reason,
    RuleList,
    RuleText,
    Template,
    Value
  }

  @doc false
  def ruleset(plan) do
    plan.order
    |> Enum.reverse()
    |> Enum.reduce(Ruleset.new(), fn key, ruleset ->
      Ruleset.put_table(ruleset, table(key, plan.tables[key]))
    end)
  end

  defp table({family, name}, plan) do
    opts = [flags: plan.flags] ++ if(plan.comment, do: [comment: plan.comment], else: [])
    table = checked(Table.new(family, name, opts), plan.meta)
    signatures = Map.new(plan.sets, fn {name, set} -> {name, set.signature} end)

    table
    |> Order.open()
    |> add_sets(plan)
    |> add_objects(plan)
    |> add_flowtables(plan)
    |> add_chains(plan, signatures)
    |> Order.put(plan.order)
    |> filled_by_rules()
  end

  # The size that nft assumes for a set that rules fill.
  @dynamic_size 65_535

  defp filled_by_rules(table) do
    names =
      for {_, chain} <- table.chains, reduce: [] do
        names -> filled(chain.rules, names)
      end

    names = names |> Enum.reverse() |> Enum.uniq()

    Enum.reduce(names, table, fn name, table ->
      %{table | sets: dynamic(table.sets, name), maps: dynamic(table.maps, name)}
    end)
  end

  # The names of the sets that the rules fill, the last first. Most rules fill none, and nothing
  # is built for them.
  defp filled([%Rule{expressions: exprs} | rules], names), do: filled(rules, filled(exprs, names))

  defp filled([%Expr{name: :dynset, data: %{set: name}} | rest], names),
    do: filled(rest, [name | names])

  defp filled([%Expr{data: %Verdict{target: rules}} | rest], names)
       when is_list(rules),
       do: filled(rest, filled(rules, names))

  defp filled([_expr | rest], names), do: filled(rest, names)
  defp filled([], names), do: names

  @flag_order [:constant, :interval, :timeout, :dynamic, :auto_merge]

  defp dynamic(sets, name) when is_map_key(sets, name) do
    Map.update!(sets, name, fn set ->
      flags = Enum.filter(@flag_order, &(&1 in [:dynamic | set.flags]))
      %{set | flags: flags, size: set.size || @dynamic_size}
    end)
  end

  defp dynamic(sets, _name), do: sets

  defp add_sets(table, plan) do
    plan.sets
    |> Enum.sort()
    |> Enum.reduce(table, fn {name, set}, table ->
      case Include.at(set.scope.origin, fn ->
             Declare.build(name, set.signature, Enum.reverse(set.elements), set.scope)
           end) do
        {:set, value} -> checked(Table.add_set(table, value), set.signature.meta)
        {:map, value} -> checked(Table.add_map(table, value), set.signature.meta)
      end
    end)
  end

  defp add_objects(table, plan) do
    Enum.reduce(Enum.sort_by(plan.objects, &elem(&1, 0)), table, fn {{kind, name}, object},
                                                                    table ->
      %{opts: opts, meta: meta, scope: scope} = object

      Include.at(scope.origin, fn ->
        checked(Table.add_object(table, object(kind, name, opts, meta, scope)), meta)
      end)
    end)
  end

  defp object(kind, name, opts, meta, scope) do
    comment = Value.comment_of(opts[:comment], scope)
    comment = if comment, do: [comment: comment], else: []
    checked(Object.new(kind, name, NFT.Object.data(kind, opts, meta, scope), comment), meta)
  end

  defp add_flowtables(table, plan) do
    Enum.reduce(plan.flowtables, table, fn {name, flowtable}, table ->
      %{opts: opts, meta: meta, scope: scope} = flowtable

      Include.at(scope.origin, fn ->
        checked(Table.add_flowtable(table, Flowtable.value(name, opts, meta, scope)), meta)
      end)
    end)
  end

  defp add_chains(table, plan, signatures) do
    {table, _memo} =
      plan.chains
      |> Enum.sort_by(&elem(&1, 0))
      |> Enum.reduce({table, Template.new()}, &add_chain(&1, &2, signatures))

    table
  end

  defp add_chain({name, chain}, {table, memo}, signatures) do
    origin = chain.scope.origin
    opts = Include.at(origin, fn -> Chains.options(chain.opts, chain.meta, chain.scope) end)

    {rules, memo} =
      Enum.flat_map_reduce(RuleList.all(chain), memo, fn {rule, variables, origin}, memo ->
        scope = %{chain.scope | variables: variables, sets: signatures, chain: opts}
        Include.at(origin, fn -> rules(rule, name, scope, memo) end)
      end)

    table =
      Include.at(origin, fn ->
        checked(Table.add_chain(table, Chains.chain(name, opts, rules, chain.meta)), chain.meta)
      end)

    {table, memo}
  end

  defp rules({:rule_text, text, meta}, name, scope, memo),
    do: RuleText.rules(text, meta, name, scope, memo)

  defp rules(node, name, scope, memo) do
    {rule, memo} = Template.rule(node, name, scope, memo)
    {[rule], memo}
  end

  defp checked({:ok, value}, _meta), do: value

  defp checked({:error, reason}, meta), do: Fault.fail(meta, Reason.text(reason))
end
