defmodule Linx.NFT.Statement.Connlimit do
  @moduledoc false
  # `ct count [over] N`: the connections of a rule, or of an element of a set.
  #
  # Source: nft(8), "CONNECTION LIMIT STATEMENT"; net/netfilter/nft_connlimit.c.

  @behaviour Linx.NFT.Statement

  import Linx.NFT.Parser.Tokens, only: [integer: 1, optional: 2]

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.Value
  alias Linx.NFT.Statement.Amount

  @impl true
  def parse([{:identifier, "ct", meta}, {:identifier, "count", _} | rest]) do
    {over, rest} = optional(rest, "over")
    {count, rest} = integer(rest)
    {{:connlimit, [count: count, over: over], meta}, rest}
  end

  @impl true
  def compile({:connlimit, opts, meta}, scope) do
    flags = if opts[:over], do: [:inv], else: []
    count = Value.number_within(opts[:count], 0xFFFFFFFF, "ct count", meta, scope)
    {[{:fixed, [Expr.connlimit(count, flags: flags)]}], scope}
  end

  @impl true
  def text(%Expr{data: %{count: count} = data}, _context),
    do: {:ok, ["ct count ", Amount.over_text(data), Integer.to_string(count)]}

  def text(_expr, _context), do: :error
end
