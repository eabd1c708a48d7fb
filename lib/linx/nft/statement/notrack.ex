defmodule Linx.NFT.Statement.Notrack do
  @moduledoc false
  # `notrack`: conntrack leaves the packet alone.
  #
  # Source: nft(8), "NOTRACK STATEMENT"; net/netfilter/nft_ct.c.

  @behaviour Linx.NFT.Statement

  alias Linx.Netfilter.Expr

  @impl true
  def parse([{:identifier, "notrack", meta} | rest]), do: {{:notrack, meta}, rest}

  @impl true
  def compile({:notrack, _meta}, scope), do: {[{:fixed, [Expr.notrack()]}], scope}

  @impl true
  def text(_expr, _context), do: {:ok, "notrack"}
end
