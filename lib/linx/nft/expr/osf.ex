defmodule Linx.NFT.Expr.Osf do
  @moduledoc false
  # `osf ttl loose name`: the operating system that a SYN looks like.
  #
  #     {:osf, :name | :version, :strict | :loose | :skip, meta}
  #
  # Source: nft(8), "OSF EXPRESSION"; nft_osf.c.

  @behaviour Linx.NFT.Expr

  import Linx.NFT.Parser.Tokens, only: [unexpected: 3]

  alias Linx.NFT.{Compiler, Formatter}

  @checks %{"loose" => :loose, "skip" => :skip}

  @impl true
  def parse([{:identifier, "osf", meta}, {:identifier, "ttl", _}, {:identifier, check, _} | rest])
      when is_map_key(@checks, check),
      do: key(rest, Map.fetch!(@checks, check), meta)

  def parse([{:identifier, "osf", meta} | rest]), do: key(rest, :strict, meta)

  defp key([{:identifier, "name", _} | rest], ttl, meta), do: {{:osf, :name, ttl, meta}, rest}

  defp key([{:identifier, "version", _} | rest], ttl, meta),
    do: {{:osf, :version, ttl, meta}, rest}

  defp key(tokens, _ttl, _meta), do: unexpected(tokens, "name or version", ~w(name version ttl))

  @impl true
  def compile({:osf, key, ttl, meta}, scope) do
    data = if key == :version, do: %{ttl: ttl, flags: [:version]}, else: %{ttl: ttl}
    {Compiler.Term.load({:osf, data}, {:string, 128, nil}, meta), scope}
  end

  @impl true
  def term(%{data: data}, _context) do
    ttl = if data[:ttl] in [:loose, :skip], do: ["ttl ", Atom.to_string(data.ttl), " "], else: ""
    key = if :version in List.wrap(data[:flags]), do: "version", else: "name"
    {:ok, %Formatter.Term{text: ["osf ", ttl, key], type: :string, size: 16, order: :host}}
  end
end
