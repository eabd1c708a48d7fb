defmodule Linx.NFT.Expr.Hash do
  @moduledoc false
  # `jhash ip saddr mod 2 seed 1`, `symhash mod 2`: hashes of what is loaded, and of the flow
  # alike in both directions.
  #
  #     {:jhash, key, modulus, seed | nil, offset, meta}
  #     {:symhash, modulus, offset, meta}
  #
  # Source: nft(8), "HASH EXPRESSIONS"; nft_hash.c.

  @behaviour Linx.NFT.Expr

  import Linx.NFT.Parser.Tokens, only: [integer: 1]

  alias Linx.NFT.Compiler.{Load, Value}
  alias Linx.NFT.Expr.Modulus
  alias Linx.NFT.Formatter.{Lookup, Registers}
  alias Linx.NFT.Parser.Expression

  @impl true
  def parse([{:identifier, "jhash", meta} | tokens]) do
    {key, rest} = Expression.load(tokens)
    {modulus, rest} = Modulus.modulus(rest)

    {seed, rest} =
      case rest do
        [{:identifier, "seed", _} | rest] -> integer(rest)
        rest -> {nil, rest}
      end

    {offset, rest} = Modulus.offset(rest)
    {{:jhash, key, modulus, seed, offset, meta}, rest}
  end

  def parse([{:identifier, "symhash", meta} | tokens]) do
    {modulus, rest} = Modulus.modulus(tokens)
    {offset, rest} = Modulus.offset(rest)
    {{:symhash, modulus, offset, meta}, rest}
  end

  @impl true
  def compile({:jhash, key, modulus, seed, offset, meta}, scope) do
    {key, scope} = Load.load(key, %{scope | expect: nil})
    data = Map.put(Modulus.data(modulus, offset, meta, scope), :type, :jenkins)
    seed = Value.number_within(seed, 0xFFFFFFFF, "the seed", meta, scope)
    data = if seed, do: Map.put(data, :seed, seed), else: data
    {%{Modulus.load(:hash, data, :hashed, meta) | kind: :hash, data: {data, key}}, scope}
  end

  def compile({:symhash, modulus, offset, meta}, scope) do
    data = Map.put(Modulus.data(modulus, offset, meta, scope), :type, :sym)
    {Modulus.load(:hash, data, :hashed, meta), scope}
  end

  @impl true
  def term(%{data: %{type: :jenkins, sreg: sreg, len: len} = data}, %{registers: registers}) do
    with {:ok, terms} <- Registers.filling(registers, sreg, len),
         do: {:ok, Modulus.term(["jhash ", Lookup.joined(terms)], data, seed(data[:seed]))}
  end

  def term(%{data: %{type: :sym, modulus: _} = data}, _context),
    do: {:ok, Modulus.term("symhash", data)}

  def term(_expr, _context), do: :error

  defp seed(nil), do: ""
  defp seed(seed), do: [" seed 0x", seed |> Integer.to_string(16) |> String.downcase()]
end
