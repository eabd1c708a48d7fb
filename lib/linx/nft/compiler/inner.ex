defmodule Linx.NFT.Compiler.Inner do
  @moduledoc false
  # Matches in the packet that a tunnel carries: `vxlan tcp dport 80`, and in the tunnel's own
  # header: `vxlan vni 10`.
  #
  # The rule's knowledge of the inner packet is kept apart from that of the packet itself, one for
  # each tunnel (Guard.Layers).

  alias Linx.Netfilter.Expr
  alias Linx.Netfilter.Guard.{Layers, Tunnel}
  alias Linx.NFT.Compiler.{Fault, Load, Scope, Term}

  @doc false
  # {term, scope}, as Load.load/2.
  @spec load(atom(), tuple(), map(), Scope.t()) :: {Term.t(), Scope.t()}
  def load(tunnel, node, meta, scope) do
    scope = carried(scope, tunnel, meta)

    inside = %{
      scope
      | layers: Layers.inner(scope.layers, tunnel),
        pending: [],
        expect: nil
    }

    {term, inside} = Load.load(node, inside)
    guards = Enum.map(inside.pending, &Tunnel.wrap(&1, tunnel))
    layers = Layers.put_inner(scope.layers, tunnel, inside.layers)
    {wrapped(term, tunnel), %{scope | layers: layers, pending: scope.pending ++ guards}}
  end

  # GRE is a protocol of its own; VXLAN and GENEVE are UDP at a port that the rule has to name.
  defp carried(scope, tunnel, meta) when tunnel in [:gre, :gretap],
    do: Load.guard(scope, :gre, :transport, meta)

  defp carried(%Scope{typeof?: true} = scope, _tunnel, _meta), do: scope
  defp carried(%Scope{layers: %{transport: :udp}} = scope, _tunnel, _meta), do: scope

  defp carried(_scope, tunnel, meta),
    do: Fault.fail(meta, "#{tunnel} needs a match of its UDP port before it: udp dport ...")

  defp wrapped(%Term{kind: :load, data: source} = term, tunnel),
    do: %{term | data: source(source, tunnel), source: inside(term.source, tunnel)}

  defp wrapped(%Term{kind: :part, data: {source, mask, count}} = term, tunnel),
    do: %{term | data: {source(source, tunnel), mask, count}, source: inside(term.source, tunnel)}

  defp wrapped(%Term{meta: meta}, tunnel),
    do: Fault.fail(meta, "only header fields are matched inside #{tunnel}")

  defp source({name, data}, tunnel), do: {:inner, Tunnel.data(tunnel, Expr.new(name, data))}

  defp inside(%Expr{} = expr, tunnel), do: Tunnel.inner(expr, tunnel)
  defp inside(nil, _tunnel), do: nil
end
