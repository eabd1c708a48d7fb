defmodule Linx.NFT.Compiler.Statement do
  @moduledoc false
  # One statement of a rule to its segments: what the kernel runs for it, with the dependencies
  # before it.

  alias Linx.Netfilter.Dependencies.ProtocolContext
  alias Linx.NFT.Compiler.{Fault, Generate, Load, MapTerm, Match, Scope, Term}
  alias Linx.NFT.Statement.Kinds

  @doc false
  # {segments, scope}. A segment in {:fixed, _} is never joined with another.
  def statement(node, scope) do
    {segments, scope} = compile(node, %{scope | pending: []})
    layers = Enum.reduce(segments, scope.layers, &ProtocolContext.observe(&2, plain(&1)))
    {scope.pending ++ segments, %{scope | pending: [], layers: layers}}
  end

  defp plain({:fixed, segment}), do: segment
  defp plain(segment), do: segment

  defp compile({:match, _, _, _, _} = node, scope), do: Match.match(node, scope)

  defp compile({:vmap, key, map, meta}, scope) do
    {key, scope} = Load.load(key, scope)
    {key, lookup, _} = MapTerm.lookup(key, Scope.resolve(scope, map), :verdict, meta, scope)
    lookup = %{lookup | data: Map.merge(lookup.data, %{sreg: 1, dreg: 0})}

    {[
       {:fixed,
        Generate.load(key, 0, not Generate.transferred?(lookup, key_part(key))) ++ [lookup]}
     ], scope}
  end

  defp compile(node, scope),
    do: Kinds.compile(node, scope) || Fault.fail(node, "this statement is not supported")

  defp key_part(%Term{kind: :order, data: term}), do: term
  defp key_part(term), do: term
end
