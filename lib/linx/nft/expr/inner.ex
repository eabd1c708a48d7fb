defmodule Linx.NFT.Expr.Inner do
  @moduledoc false
  # Fields of the packet that a tunnel carries: `vxlan tcp dport`, and of the tunnel's own header:
  # `vxlan vni`.
  #
  #     {:inner, tunnel, node of the field, meta}
  #
  # The rule's knowledge of the inner packet is kept apart from that of the packet itself, one for
  # each tunnel (Dependencies.ProtocolContext).
  #
  # Source: nft(8), "PAYLOAD EXPRESSIONS"; nft_inner.c.

  @behaviour Linx.NFT.Expr

  import Linx.NFT.Parser.Tokens, only: [unexpected: 2]

  alias Linx.Netfilter.{Expr, Protocol}
  alias Linx.Netfilter.Dependencies.{ProtocolContext, Tunnel}
  alias Linx.NFT.Compiler.{Dependencies, Fault, Scope, Term}
  alias Linx.NFT.Expr.{Exthdr, Kinds, Payload}

  @tunnels for row <- Protocol.all(), row.tunnel, into: %{}, do: {row.text, row.name}
  @carried Map.keys(Protocol.words(:payload)) -- Map.keys(@tunnels)

  # -- parser ------------------------------------------------------------------------------------

  @impl true
  def parse([{:identifier, word, meta}, {:identifier, next, _} | _] = tokens) do
    tunnel = Map.fetch!(@tunnels, word)

    cond do
      next in @carried -> inner(tunnel, field(tl(tokens)), meta)
      # The header of GRE is one of the packet's own.
      Tunnel.protocol(tunnel) == nil -> inner(tunnel, Payload.parse(tokens), meta)
      true -> nil
    end
  end

  def parse(_tokens), do: nil

  defp field([{:identifier, protocol, _} | rest] = tokens) do
    Exthdr.parse(tokens) || Payload.parse(tokens) ||
      unexpected(rest, "a field of #{protocol}")
  end

  defp inner(tunnel, {node, rest}, meta), do: {{:inner, tunnel, node, meta}, rest}

  # -- compiler ----------------------------------------------------------------------------------

  @impl true
  def compile({:inner, tunnel, node, meta}, scope) do
    scope = carried(scope, tunnel, Tunnel.protocol(tunnel), meta)

    inside = %{
      scope
      | layers: ProtocolContext.inner(scope.layers, tunnel),
        pending: [],
        expect: nil
    }

    {term, inside} = Kinds.compile(node, inside)
    dependencies = Enum.map(inside.pending, &Tunnel.wrap(&1, tunnel))
    layers = ProtocolContext.put_inner(scope.layers, tunnel, inside.layers)
    {wrapped(term, tunnel), %{scope | layers: layers, pending: scope.pending ++ dependencies}}
  end

  # GRE is a protocol of its own; VXLAN and GENEVE are UDP at a port that the rule has to name.
  defp carried(scope, _tunnel, protocol, meta) when protocol != nil,
    do: Dependencies.header(scope, protocol, :transport, meta)

  defp carried(%Scope{typeof?: true} = scope, _tunnel, nil, _meta), do: scope
  defp carried(%Scope{layers: %{transport: :udp}} = scope, _tunnel, nil, _meta), do: scope

  defp carried(_scope, tunnel, nil, meta),
    do: Fault.fail(meta, "#{tunnel} needs a match of its UDP port before it: udp dport ...")

  defp wrapped(%Term{kind: kind, data: data, source: source} = term, tunnel) do
    data =
      case {kind, data} do
        {:part, {load, mask, count}} -> {load(load, tunnel), mask, count}
        {:load, load} -> load(load, tunnel)
      end

    %{term | data: data, source: source && Tunnel.inner(source, tunnel)}
  end

  defp load({name, data}, tunnel), do: {:inner, Tunnel.data(tunnel, Expr.new(name, data))}

  # -- formatter ---------------------------------------------------------------------------------

  @impl true
  def term(%{data: %{expr: %Expr{} = expr, type: tunnel}}, context) when is_atom(tunnel) do
    with {:ok, term} <- Kinds.term(expr, context), do: {:ok, inside(term, Atom.to_string(tunnel))}
  end

  def term(_expr, _context), do: :error

  # `vxlan tcp dport`; `vxlan vni` is the tunnel's own header and names it already. The source
  # tells the inner packet's fields from those of the packet itself: neither says anything of the
  # other.
  defp inside(%{text: text, source: source} = term, tunnel) do
    text = IO.iodata_to_binary(text)
    text = if String.starts_with?(text, tunnel <> " "), do: text, else: [tunnel, " ", text]

    mask =
      with {bits, shift, whole} <- term.mask, do: {bits, shift, inside(whole, tunnel)}

    %{term | text: text, source: Map.put(source || %{}, :inside, tunnel), mask: mask}
  end
end
