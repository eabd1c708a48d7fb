defmodule Linx.NFT.Expr.Socket do
  @moduledoc false
  # `socket transparent`, `socket cgroupv2 level 2`: the local socket that a packet belongs to.
  #
  #     {:socket, :transparent | :mark | :wildcard, nil, meta}
  #     {:socket, :cgroupv2, level, meta}
  #
  # Source: nft(8), "SOCKET EXPRESSION"; nft_socket.c.

  @behaviour Linx.NFT.Expr

  import Linx.NFT.Parser.Tokens, only: [integer: 1, unexpected: 3]

  alias Linx.Netfilter.Keys
  alias Linx.NFT.Compiler.Value
  alias Linx.NFT.{Compiler, Formatter}

  @keys %{"transparent" => :transparent, "mark" => :mark, "wildcard" => :wildcard}

  @impl true
  def parse([{:identifier, "socket", meta}, {:identifier, word, _} | rest])
      when is_map_key(@keys, word),
      do: {{:socket, Map.fetch!(@keys, word), nil, meta}, rest}

  def parse([
        {:identifier, "socket", meta},
        {:identifier, "cgroupv2", _},
        {:identifier, "level", _} | rest
      ]) do
    {level, rest} = integer(rest)
    {{:socket, :cgroupv2, level, meta}, rest}
  end

  def parse([{:identifier, "socket", _} | tokens]) do
    wanted = "transparent, mark, wildcard or cgroupv2 level"
    unexpected(tokens, wanted, ~w(transparent mark wildcard cgroupv2))
  end

  @impl true
  def compile({:socket, key, level, meta}, scope) do
    # nft_socket_init refuses a level above 255.
    level = Value.number_within(level, 255, "the level", meta, scope)
    data = if level, do: %{key: key, level: level}, else: %{key: key}
    max = if key in [:transparent, :wildcard], do: 1
    term = Compiler.Term.load({:socket, data}, Keys.type(:socket, key), meta)
    {%{term | max: max}, scope}
  end

  @impl true
  def term(%{data: %{key: :cgroupv2} = data}, _context) do
    with {:ok, term} <- Formatter.Term.keyed(:socket, :cgroupv2, "socket ") do
      level = Integer.to_string(data[:level] || 0)
      {:ok, %{term | text: [term.text, " level ", level]}}
    end
  end

  def term(%{data: %{key: key}}, _context), do: Formatter.Term.keyed(:socket, key, "socket ")
  def term(_expr, _context), do: :error
end
