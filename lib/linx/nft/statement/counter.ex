defmodule Linx.NFT.Statement.Counter do
  @moduledoc false
  # `counter [packets N bytes N]`
  #
  # Source: nft(8), "COUNTER STATEMENT"; net/netfilter/nft_counter.c.

  @behaviour Linx.NFT.Statement

  import Linx.NFT.Parser.Tokens, only: [integer: 1, known: 1]

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.Value

  @impl true
  def parse([{:identifier, "counter", meta} | rest]), do: counts(rest, [], meta)

  defp counts(tokens, opts, meta) do
    case count(tokens) do
      {count, rest} -> counts(rest, [count | opts], meta)
      nil -> {{:counter, Enum.reverse(opts), meta}, tokens}
    end
  end

  @doc "`packets N` or `bytes N`: `{{key, n}, rest}`, or nil where neither begins."
  @spec count([tuple()]) :: {{atom(), term()}, [tuple()]} | nil
  def count([{:identifier, word, _} | rest]) when word in ["packets", "bytes"] do
    {n, rest} = integer(rest)
    {{known(word), n}, rest}
  end

  def count(_tokens), do: nil

  @impl true
  def compile({:counter, opts, meta}, scope),
    do: {[{:fixed, [Expr.counter(data(opts, meta, scope))]}], scope}

  @doc "Both counts, 0 where not given."
  @spec data(keyword(), map(), Linx.NFT.Compiler.Scope.t()) :: keyword()
  def data(opts, meta, scope),
    do: for(key <- [:packets, :bytes], do: {key, Value.count_of(opts[key] || 0, meta, scope)})

  @impl true
  def text(%Expr{data: data}, _context) do
    case counts(data) do
      {0, 0} ->
        {:ok, "counter"}

      {packets, bytes} ->
        {:ok,
         ["counter packets ", Integer.to_string(packets), " bytes ", Integer.to_string(bytes)]}
    end
  end

  defp counts(%{} = data), do: {data[:packets] || 0, data[:bytes] || 0}
  defp counts(_none), do: {0, 0}
end
