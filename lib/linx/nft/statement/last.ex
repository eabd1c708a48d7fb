defmodule Linx.NFT.Statement.Last do
  @moduledoc false
  # `last`, which keeps the time of the last packet. nft lists it as `last used TIME` or `last
  # used never`; the time is the kernel's to set.
  #
  # Source: nft(8), "LAST STATEMENT"; net/netfilter/nft_last.c.

  @behaviour Linx.NFT.Statement

  import Linx.NFT.Parser.Tokens, only: [duration: 1]

  alias Linx.Netfilter.Expr

  @impl true
  def parse([
        {:identifier, "last", meta},
        {:identifier, "used", _},
        {:identifier, "never", _} | rest
      ]),
      do: {{:last, [], meta}, rest}

  def parse([{:identifier, "last", meta}, {:identifier, "used", _} | rest]) do
    {ms, rest} = duration(rest)
    {{:last, [used: ms], meta}, rest}
  end

  def parse([{:identifier, "last", meta} | rest]), do: {{:last, [], meta}, rest}

  @impl true
  def compile({:last, _opts, _meta}, scope), do: {[{:fixed, [Expr.last()]}], scope}

  @impl true
  def text(_expr, _context), do: {:ok, "last"}
end
