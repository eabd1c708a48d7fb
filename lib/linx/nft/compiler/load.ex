defmodule Linx.NFT.Compiler.Load do
  @moduledoc false
  # Loads: a node of the tree to a typed term. Concatenations and variables are compiled here, the
  # load expressions by Linx.NFT.Expr.Kinds. The scope collects the implicit dependencies of
  # header fields, in the order of evaluation.

  alias Linx.NFT.Compiler.{Arithmetic, Fault, Interpolated, MapTerm, Scope, Term}
  alias Linx.NFT.Expr.{Ct, Kinds}

  @doc false
  # {term, scope}; the scope's `pending` has the dependencies.
  @spec load(tuple(), Scope.t()) :: {Term.t(), Scope.t()}
  def load({:concat, nodes, meta}, scope) do
    {parts, scope} = Enum.map_reduce(nodes, scope, &load/2)

    for part <- parts, do: Ct.named_address!(part)

    for part <- parts,
        part.type == nil or part.len == 0,
        do: Fault.fail(part.meta, "a part of a concatenation needs a type")

    len = Enum.reduce(parts, 0, &(&2 + 32 * div(&1.len + 31, 32)))

    if len > 512,
      do: Fault.fail(meta, "a concatenation has at most 64 bytes, this one #{div(len, 8)}")

    {%Term{kind: :concat, type: :concat, len: len, data: parts, meta: meta}, scope}
  end

  def load({:binop, _, _, _, _} = node, scope), do: Arithmetic.load(node, scope)

  def load({:map, key, map, meta}, scope), do: MapTerm.load(key, map, meta, scope)

  def load({:variable, _, meta} = node, scope) do
    case Scope.resolve(scope, node) do
      {kind, _, _} = value when kind in [:integer, :string, :identifier] ->
        Fault.fail(meta, "#{inspect(elem(value, 1))} is a constant: nothing is loaded")

      value ->
        load(value, scope)
    end
  end

  def load({:elixir_value, value, meta}, _scope), do: Interpolated.no_load!(value, meta)

  def load(node, scope) do
    Kinds.compile(node, scope) ||
      Fault.fail(node, "a constant stands where something must be loaded")
  end
end
