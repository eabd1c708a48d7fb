defmodule Linx.NFT.Statement.Reset do
  @moduledoc false
  # `reset tcp option NAME`: the option is overwritten with padding.
  #
  # Source: nft(8), "EXTENSION HEADER STATEMENT"; net/netfilter/nft_exthdr.c.

  @behaviour Linx.NFT.Statement

  import Linx.NFT.Parser.Tokens, only: [unexpected: 2]

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.Value
  alias Linx.NFT.Expr.Exthdr

  @impl true
  def parse([
        {:identifier, "reset", meta},
        {:identifier, "tcp", _},
        {:identifier, "option", _} | rest
      ]) do
    {option, rest} = Exthdr.tcp_option(rest)
    {{:reset, option, meta}, rest}
  end

  def parse([{:identifier, "reset", _} | rest]), do: unexpected(rest, "tcp option NAME")

  @impl true
  def compile({:reset, option, meta}, scope) do
    option = Value.number_within(option, 0xFF, "the kind of an option", meta, scope)
    {[{:fixed, [Expr.new(:exthdr, %{op: :tcpopt, type: option})]}], scope}
  end

  @impl true
  def text(%Expr{data: %{op: :tcpopt, type: type} = data}, _context)
      when not is_map_key(data, :dreg) and not is_map_key(data, :sreg) do
    with {:ok, words} <- Exthdr.presence(:tcpopt, type), do: {:ok, ["reset ", words]}
  end

  def text(_expr, _context), do: :error
end
