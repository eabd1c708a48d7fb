defmodule Linx.NFT.Expr.Numgen do
  @moduledoc false
  # `numgen inc mod 2`: a number that the kernel counts up or draws for each packet.
  #
  #     {:numgen, :incremental | :random, modulus, offset, meta}
  #
  # Source: nft(8), "NUMGEN EXPRESSION"; nft_numgen.c.

  @behaviour Linx.NFT.Expr

  import Linx.NFT.Parser.Tokens, only: [unexpected: 3]

  alias Linx.NFT.Expr.Modulus

  @types %{"inc" => :incremental, "random" => :random}

  @impl true
  def parse([
        {:identifier, "numgen", meta},
        {:identifier, word, _} | [{:identifier, "mod", _} | _] = rest
      ])
      when is_map_key(@types, word) do
    {modulus, rest} = Modulus.modulus(rest)
    {offset, rest} = Modulus.offset(rest)
    {{:numgen, Map.fetch!(@types, word), modulus, offset, meta}, rest}
  end

  def parse([{:identifier, "numgen", _} | tokens]),
    do: unexpected(tokens, "inc mod N or random mod N", ~w(inc random))

  @impl true
  def compile({:numgen, type, modulus, offset, meta}, scope) do
    data = Map.put(Modulus.data(modulus, offset, meta, scope), :type, type)
    {Modulus.load(:numgen, data, :counted, meta), scope}
  end

  @impl true
  def term(%{data: %{type: type, modulus: _} = data}, _context) do
    words = if type == :random, do: "numgen random", else: "numgen inc"
    {:ok, Modulus.term(words, data)}
  end

  def term(_expr, _context), do: :error
end
