defmodule Linx.NFT.Expr.Tunnel do
  @moduledoc false
  # `tunnel id`: the metadata of the tunnel that a packet came from or goes to.
  #
  #     {:tunnel, :id | :path, meta}
  #
  # Source: nft's grammar, `tunnel_expr`; nft_tunnel.c.

  @behaviour Linx.NFT.Expr

  import Linx.NFT.Parser.Tokens, only: [unexpected: 3]

  alias Linx.Netfilter.Keys
  alias Linx.NFT.{Compiler, Formatter}

  @keys %{"id" => :id, "path" => :path}

  @impl true
  def parse([{:identifier, "tunnel", meta}, {:identifier, word, _} | rest])
      when is_map_key(@keys, word),
      do: {{:tunnel, Map.fetch!(@keys, word), meta}, rest}

  def parse([{:identifier, "tunnel", _} | tokens]),
    do: unexpected(tokens, "id or path", Map.keys(@keys))

  @impl true
  def compile({:tunnel, key, meta}, scope),
    do: {Compiler.Term.load({:tunnel, %{key: key}}, Keys.type(:tunnel, key), meta), scope}

  @impl true
  def term(%{data: %{key: key}}, _context), do: Formatter.Term.keyed(:tunnel, key, "tunnel ")
  def term(_expr, _context), do: :error
end
