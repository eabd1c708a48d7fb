defmodule Linx.NFT.Statement.Flow do
  @moduledoc false
  # `flow add @FLOWTABLE`, or the older word `flow offload`.
  #
  # Source: nft(8), "FLOW STATEMENT"; net/netfilter/nft_flow_offload.c.

  @behaviour Linx.NFT.Statement

  import Linx.NFT.Parser.Tokens, only: [unexpected: 3]

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.Value
  alias Linx.NFT.Formatter.Text
  alias Linx.NFT.Parser.Expression

  @impl true
  def parse([{:identifier, "flow", meta}, {:identifier, op, _} | rest])
      when op in ["add", "offload"] do
    {{:set_ref, name, _}, rest} = Expression.set_ref(rest)
    {{:flow_offload, name, meta}, rest}
  end

  def parse([{:identifier, "flow", _} | rest]), do: unexpected(rest, "add @flowtable", ["add"])

  @impl true
  def compile({:flow_offload, name, _meta}, scope),
    do: {[{:fixed, [Expr.flow_offload(Value.text_of(name, scope))]}], scope}

  @impl true
  def text(%Expr{data: %{table_name: name}}, _context), do: {:ok, ["flow add @", Text.name(name)]}
  def text(_expr, _context), do: :error
end
