defmodule Linx.NFT.Expr.Meta do
  @moduledoc false
  # `meta mark`, `iifname`: a datum that the kernel keeps beside the packet. Some keys stand
  # without `meta`; their words are in Linx.NFT.Expr.Kinds.
  #
  #     {:meta, key, meta}
  #
  # Source: nft(8), "META EXPRESSIONS"; nft_meta.c.

  @behaviour Linx.NFT.Expr

  import Linx.NFT.Parser.Tokens, only: [unexpected: 3]

  alias Linx.Netfilter.Keys
  alias Linx.NFT.Compiler.Fault
  alias Linx.NFT.{Compiler, Formatter}

  @keys Keys.words(:meta)

  @impl true
  def parse([{:identifier, "meta", meta}, {:identifier, word, _} | rest])
      when is_map_key(@keys, word),
      do: {{:meta, Map.fetch!(@keys, word), meta}, rest}

  def parse([{:identifier, "meta", _} | tokens]),
    do: unexpected(tokens, "a meta key", Map.keys(@keys))

  def parse([{:identifier, word, meta} | rest]),
    do: {{:meta, Map.fetch!(@keys, word), meta}, rest}

  @impl true
  def compile({:meta, :nfproto, meta}, %{family: family, typeof?: false})
      when family in [:ip, :ip6, :arp, :bridge, :netdev],
      do: Fault.fail(meta, "meta nfproto has a use in inet tables only, this one is #{family}")

  def compile({:meta, key, meta}, scope) do
    term = Compiler.Term.load({:meta, %{key: key}}, Keys.type(:meta, key), meta)
    {%{term | max: max(key)}, scope}
  end

  # The highest value that there can be, where the type has room for more.
  defp max(:nftrace), do: 1
  defp max(:time_day), do: 6
  defp max(_key), do: nil

  @impl true
  def term(%{data: %{key: key}}, _context), do: Formatter.Term.keyed(:meta, key, "meta ")
  def term(_expr, _context), do: :error
end
