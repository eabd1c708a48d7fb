defmodule Linx.NFT.Statement.Verdict do
  @moduledoc false
  # `accept`, `drop`, `continue`, `return`, and `jump` or `goto` to a chain, or to rules in
  # braces, a chain that the rule has for itself.
  #
  # Source: nft(8), "VERDICT STATEMENT"; net/netfilter/nft_immediate.c.

  @behaviour Linx.NFT.Statement

  import Linx.NFT.Parser.Tokens, only: [known: 1, skip_separators: 1, statement_end: 1]

  alias Linx.Netfilter.{Expr, Verdict}
  alias Linx.NFT.Compiler.{Chains, Fault, Value}
  alias Linx.NFT.Formatter.Text
  alias Linx.NFT.Parser
  alias Linx.NFT.Parser.Statement

  # -- parser ------------------------------------------------------------------------------------

  @impl true
  def parse([{:identifier, word, meta}, {:lbrace, _} | rest]) when word in ["jump", "goto"] do
    {rules, rest} = inner_chain(skip_separators(rest), [])
    {{:verdict, {known(word), {:block, rules}}, meta}, rest}
  end

  def parse(tokens), do: Parser.Verdict.parse(tokens)

  defp inner_chain([{:rbrace, _} | rest], acc), do: {Enum.reverse(acc), rest}

  defp inner_chain(tokens, acc) do
    {rule, rest} = Statement.rule(tokens)
    inner_chain(rest |> statement_end() |> skip_separators(), [rule | acc])
  end

  # -- compiler ----------------------------------------------------------------------------------

  @impl true
  def compile({:verdict, kind, meta}, scope),
    do: {[{:fixed, [verdict(kind, scope, meta)]}], scope}

  # A chain of the rule's own; what the rule has found of the packet is not known in it. The
  # kernel binds none to a rule that is in one already (nf_tables_bind_chain).
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

  # -- formatter ---------------------------------------------------------------------------------

  # A chain that belongs to the rule alone is written where the rule jumps to it.
  @impl true
  def text(%Expr{data: %Verdict{kind: kind, target: rules}}, _context) when is_list(rules),
    do: {:ok, {:block, Atom.to_string(kind), rules}}

  def text(%Expr{data: %Verdict{} = verdict}, _context), do: {:ok, written(verdict)}
  def text(%Expr{data: %{value: %Verdict{} = verdict}}, _context), do: {:ok, written(verdict)}
  def text(%Expr{data: %{data: %Verdict{} = verdict}}, _context), do: {:ok, written(verdict)}
  def text(_expr, _context), do: :error

  @doc "The text of a verdict, as an element of a verdict map has it too."
  @spec written(Verdict.t()) :: iodata()
  def written(%Verdict{kind: kind, target: target}) when kind in [:jump, :goto],
    do: [Atom.to_string(kind), " ", Text.name(target)]

  def written(%Verdict{kind: :queue, target: num}), do: ["queue to ", Integer.to_string(num || 0)]
  def written(%Verdict{kind: kind}), do: Atom.to_string(kind)
end
