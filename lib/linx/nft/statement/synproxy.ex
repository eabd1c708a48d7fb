defmodule Linx.NFT.Statement.Synproxy do
  @moduledoc false
  # `synproxy [mss N] [wscale N] [timestamp] [sack-perm]`. A synproxy object has the same options.
  #
  # Source: nft(8), "SYNPROXY STATEMENT"; net/netfilter/nft_synproxy.c.

  @behaviour Linx.NFT.Statement

  import Linx.NFT.Parser.Tokens, only: [integer: 1]

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.Value

  # -- parser ------------------------------------------------------------------------------------

  @impl true
  def parse([{:identifier, "synproxy", meta} | rest]), do: options(rest, [], meta)

  defp options(tokens, opts, meta) do
    case option(tokens) do
      {option, rest} -> options(rest, [option | opts], meta)
      nil -> {{:synproxy, Enum.reverse(opts), meta}, tokens}
    end
  end

  @doc "One option: `{{key, value}, rest}`, or nil where none begins."
  @spec option([tuple()]) :: {{atom(), term()}, [tuple()]} | nil
  def option([{:identifier, "mss", _} | rest]), do: number(:mss, rest)
  def option([{:identifier, "wscale", _} | rest]), do: number(:wscale, rest)
  def option([{:identifier, "timestamp", _} | rest]), do: {{:timestamp, true}, rest}
  def option([{:identifier, "sack-perm", _} | rest]), do: {{:sack_perm, true}, rest}
  def option(_tokens), do: nil

  defp number(key, tokens) do
    {n, rest} = integer(tokens)
    {{key, n}, rest}
  end

  # -- compiler ----------------------------------------------------------------------------------

  @impl true
  def compile({:synproxy, opts, meta}, scope),
    do: {[{:fixed, [Expr.synproxy(data(opts, meta, scope))]}], scope}

  @doc """
  The options checked: `mss` and `wscale` where given, `flags` in the order of the kernel's bits.
  """
  @spec data(keyword(), map(), Linx.NFT.Compiler.Scope.t()) :: keyword()
  def data(opts, meta, scope) do
    [
      mss: Value.number_within(opts[:mss], 0xFFFF, "mss", meta, scope),
      wscale: Value.number_within(opts[:wscale], 0xFF, "wscale", meta, scope),
      flags: Enum.filter([:sack_perm, :timestamp], &opts[&1])
    ]
  end

  # -- formatter ---------------------------------------------------------------------------------

  @impl true
  def text(%Expr{data: data}, _context) do
    data = data || %{}
    flags = for word <- flags(data), do: [" ", word]

    {:ok, ["synproxy", written(" mss ", data[:mss]), written(" wscale ", data[:wscale]), flags]}
  end

  defp written(_words, n) when n in [nil, 0], do: ""
  defp written(words, n), do: [words, Integer.to_string(n)]

  @doc "nft's words for the flags."
  @spec flags(map()) :: [String.t()]
  def flags(data) do
    given = List.wrap(data[:flags])
    for {flag, word} <- [timestamp: "timestamp", sack_perm: "sack-perm"], flag in given, do: word
  end
end
