defmodule Linx.NFT.Expr.Rt do
  @moduledoc false
  # `rt classid`, `rt ip nexthop`: the route that a packet has. `rt` before a field of the IPv6
  # routing header is that header.
  #
  #     {:rt, :classid | :nexthop | :tcpmss | :xfrm, :ip | :ip6 | nil, meta}
  #
  # Source: nft(8), "ROUTING EXPRESSIONS"; nft_rt.c.

  @behaviour Linx.NFT.Expr

  alias Linx.Netfilter.Keys
  alias Linx.NFT.Compiler.Fault
  alias Linx.NFT.{Compiler, Formatter}

  @keys %{"classid" => :classid, "nexthop" => :nexthop, "mtu" => :tcpmss, "ipsec" => :xfrm}
  @families %{"ip" => :ip, "ip6" => :ip6}

  @impl true
  def parse([{:identifier, "rt", meta}, {:identifier, key, _} | rest])
      when is_map_key(@keys, key),
      do: {{:rt, Map.fetch!(@keys, key), nil, meta}, rest}

  def parse([
        {:identifier, "rt", meta},
        {:identifier, family, _},
        {:identifier, key, _} | rest
      ])
      when is_map_key(@families, family) and is_map_key(@keys, key),
      do: {{:rt, Map.fetch!(@keys, key), Map.fetch!(@families, family), meta}, rest}

  def parse(_tokens), do: nil

  @impl true
  def compile({:rt, key, family, meta}, scope) do
    key = if key == :nexthop, do: nexthop(family(family, scope, meta), meta), else: key
    {Compiler.Term.load({:rt, %{key: key}}, Keys.type(:rt, key), meta), scope}
  end

  defp nexthop(:ip, _meta), do: :nexthop4
  defp nexthop(:ip6, _meta), do: :nexthop6

  defp nexthop(_family, meta),
    do: Fault.fail(meta, "which protocol? write rt ip nexthop or rt ip6 nexthop")

  defp family(nil, scope, _meta), do: scope.layers.network

  defp family(family, scope, meta) do
    if scope.family in [:ip, :ip6] and scope.family != family,
      do: Fault.fail(meta, "a route of #{family} has no place in a table of #{scope.family}"),
      else: family
  end

  @impl true
  def term(%{data: %{key: key}}, _context), do: Formatter.Term.keyed(:rt, key, "rt ")
  def term(_expr, _context), do: :error
end
