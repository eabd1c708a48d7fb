defmodule Linx.NFT.Compiler.RuleList do
  @moduledoc false
  # The rules of a chain as the commands of a script leave them: those that came to stand in
  # front, and those that were added, the last first.

  alias Linx.NFT.Compiler.Fault

  @doc false
  @spec all(map()) :: [tuple()]
  def all(%{inserted: inserted, rules: rules}), do: inserted ++ Enum.reverse(rules)

  @doc false
  @spec flushed(map()) :: map()
  def flushed(chain), do: %{chain | inserted: [], rules: []}

  @doc false
  # The chain with the rule where `add` or `insert` puts it; `place` is {:index, n} or nil.
  @spec place(atom(), {atom(), term()} | nil, tuple(), map(), map()) :: map()
  def place(:insert, nil, entry, chain, _meta), do: %{chain | inserted: [entry | chain.inserted]}
  def place(:insert, {:index, n}, entry, chain, meta), do: at(chain, n, entry, 0, meta)
  def place(_add, nil, entry, chain, _meta), do: %{chain | rules: [entry | chain.rules]}
  def place(_add, {:index, n}, entry, chain, meta), do: at(chain, n, entry, 1, meta)

  def place(_verb, {kind, _}, _entry, _chain, meta),
    do: Fault.fail(meta, "a rule has no #{kind} before it is loaded: use index")

  defp at(chain, n, entry, after?, meta) do
    rules = all(chain)

    if Enum.any?(rules, &match?({{:rule_text, _, _}, _, _}, &1)),
      do: Fault.fail(meta, "rules that are text have no index")

    if n >= length(rules), do: Fault.fail(meta, "no rule has the index #{n} yet")
    %{chain | inserted: List.insert_at(rules, n + after?, entry), rules: []}
  end
end
