defmodule Linx.NFT.Compiler.Statement do
  @moduledoc false
  # One statement of a rule to its segments: what the kernel runs for it, with the guards before it.

  alias Linx.Netfilter.{Expr, Verdict}
  alias Linx.Netfilter.Guard.Layers

  alias Linx.NFT.Compiler.{
    Action,
    Assign,
    Chains,
    Dynamic,
    Fault,
    Generate,
    Load,
    MapTerm,
    Match,
    Nat,
    Scope,
    Term,
    Value
  }

  @doc false
  # {segments, scope}. A segment in {:fixed, _} is never joined with another.
  def statement(node, scope) do
    {segments, scope} = compile(node, %{scope | pending: []})
    layers = Enum.reduce(segments, scope.layers, &Layers.observe(&2, plain(&1)))
    {scope.pending ++ segments, %{scope | pending: [], layers: layers}}
  end

  defp plain({:fixed, segment}), do: segment
  defp plain(segment), do: segment

  defp compile({:match, _, _, _, _} = node, scope), do: Match.match(node, scope)

  defp compile({:verdict, kind, meta}, scope),
    do: {[{:fixed, [verdict(kind, scope, meta)]}], scope}

  defp compile({:vmap, key, map, meta}, scope) do
    {key, scope} = Load.load(key, scope)
    {key, lookup, _} = MapTerm.lookup(key, Scope.resolve(scope, map), :verdict, meta, scope)
    lookup = %{lookup | data: Map.merge(lookup.data, %{sreg: 1, dreg: 0})}

    {[
       {:fixed,
        Generate.load(key, 0, not Generate.transferred?(lookup, key_part(key))) ++ [lookup]}
     ], scope}
  end

  defp compile({:nat, _, _, _, _} = node, scope), do: Nat.nat(node, scope)
  defp compile({:tproxy, _, _, _} = node, scope), do: Nat.tproxy(node, scope)

  defp compile({kind, _, _, _} = node, scope) when kind in [:meta_set, :ct_set, :assign],
    do: Assign.assign(node, scope)

  defp compile({:dynset, _, _, _, _, _, _} = node, scope), do: Dynamic.dynset(node, scope)
  defp compile({:meter, _, _, _, _, _} = node, scope), do: Dynamic.meter(node, scope)

  defp compile(node, scope),
    do: Linx.NFT.Statement.compile(node, scope) || Action.action(node, scope)

  defp key_part(%Term{kind: :order, data: term}), do: term
  defp key_part(term), do: term

  # A chain of the rule's own; what the rule has found of the packet is not known in it. The kernel binds none to a rule that is in
  # one already (nf_tables_bind_chain).
  defp verdict({kind, {:block, rules}}, scope, _meta) do
    for {:rule, statements, _, _} <- rules, {:verdict, {_, {:block, _}}, meta} <- statements do
      Fault.fail(meta, "a chain in braces cannot hold another: give it a name")
    end

    rules = for rule <- rules, do: Chains.rule(rule, nil, scope)
    Expr.new(:immediate, Verdict.new!({kind, rules}))
  end

  defp verdict({kind, target}, scope, _meta) when kind in [:jump, :goto],
    do: Expr.new(:immediate, Verdict.new!({kind, Value.text_of(target, scope)}))

  defp verdict(kind, _scope, _meta), do: Expr.new(:immediate, Verdict.new!(kind))
end
