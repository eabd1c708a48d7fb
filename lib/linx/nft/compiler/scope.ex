defmodule Linx.NFT.Compiler.Scope do
  @moduledoc false
  # The scope of a statement: the table and its family, the sets declared so far, the variables,
  # and the rule's protocol context.

  alias Linx.Netfilter.Dependencies.ProtocolContext

  defstruct family: nil,
            table: nil,
            chain: nil,
            variables: %{},
            sets: %{},
            layers: nil,
            pending: [],
            expect: nil,
            typeof?: false,
            head: [],
            origin: nil,
            lazy?: false,
            file: "nofile"

  @type t :: %__MODULE__{}

  @doc false
  # A rule begins: nothing is known but the family.
  def rule(%__MODULE__{} = scope),
    do: %{scope | layers: ProtocolContext.new(scope.family), pending: [], head: []}

  @doc false
  # The value of a variable, and of the variables in it: a node of the tree.
  def resolve(%__MODULE__{} = scope, node) do
    case value(scope, node) do
      {:element_text, text, meta} -> Linx.NFT.Compiler.ElementText.node(text, meta)
      node -> node
    end
  end

  @doc false
  # The same, a long list of elements as its text.
  def value(%__MODULE__{} = scope, node), do: resolve(scope, node, 0)

  defp resolve(scope, {:variable, name, meta}, depth) do
    case scope.variables do
      %{^name => _} when depth > 32 ->
        Linx.NFT.Compiler.Fault.fail(meta, "$#{name} refers to itself")

      %{^name => value} ->
        resolve(scope, value, depth + 1)

      variables ->
        hint = Linx.NFT.ParseError.suggestion(name, Map.keys(variables))
        Linx.NFT.Compiler.Fault.fail(meta, "unknown variable $#{name}#{hint}")
    end
  end

  defp resolve(_scope, node, _depth), do: node
end
