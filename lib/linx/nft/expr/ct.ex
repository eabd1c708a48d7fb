defmodule Linx.NFT.Expr.Ct do
  @moduledoc false
  # `ct state`, `ct original ip saddr`: a datum of the packet's connection, or of one of its
  # directions.
  #
  #     {:ct, key, meta}
  #     {:ct, {key, :original | :reply}, meta}
  #
  # Source: nft(8), "CONNTRACK EXPRESSIONS"; nft_ct.c.

  @behaviour Linx.NFT.Expr

  import Linx.NFT.Parser.Tokens, only: [unexpected: 3]

  alias Linx.Netfilter.Keys
  alias Linx.NFT.Compiler.Fault
  alias Linx.NFT.Formatter.Context
  alias Linx.NFT.{Compiler, Formatter}

  @keys Keys.words(:ct)
  @directions %{"original" => :original, "reply" => :reply}
  @addresses %{
    {"ip", "saddr"} => :src_ip,
    {"ip", "daddr"} => :dst_ip,
    {"ip6", "saddr"} => :src_ip6,
    {"ip6", "daddr"} => :dst_ip6
  }

  # The keys that have a direction always, and those that have one or none.
  @directed [:src, :dst, :src_ip, :dst_ip, :src_ip6, :dst_ip6, :proto_src, :proto_dst]
  @either [:pkts, :bytes, :avgpkt, :zone, :l3proto, :protocol]

  @impl true
  def parse([{:identifier, "ct", meta}, {:identifier, word, _} | rest])
      when is_map_key(@directions, word) do
    {key, rest} = directed(rest)
    {{:ct, {key, Map.fetch!(@directions, word)}, meta}, rest}
  end

  def parse([{:identifier, "ct", meta} | rest]) do
    {key, rest} = key(rest)
    {{:ct, key, meta}, rest}
  end

  defp directed([{:identifier, family, _}, {:identifier, side, _} | rest])
       when is_map_key(@addresses, {family, side}),
       do: {Map.fetch!(@addresses, {family, side}), rest}

  defp directed(tokens), do: key(tokens)

  defp key([{:identifier, word, _} | rest]) when is_map_key(@keys, word),
    do: {Map.fetch!(@keys, word), rest}

  defp key(tokens), do: unexpected(tokens, "a ct key", Map.keys(@keys))

  @impl true
  def compile({:ct, {key, direction}, meta}, scope) do
    unless key in @directed or key in @either,
      do: Fault.fail(meta, "this ct key has no direction")

    # Both directions have one protocol, and the kernel keeps none for it.
    data =
      if key in [:l3proto, :protocol], do: %{key: key}, else: %{key: key, direction: direction}

    {load(data, scope, meta), scope}
  end

  def compile({:ct, key, meta}, scope) do
    if key in @directed and not scope.typeof?,
      do: Fault.fail(meta, "this ct key needs a direction: ct original or ct reply")

    {load(%{key: key}, scope, meta), scope}
  end

  defp load(data, scope, meta),
    do: Compiler.Term.load({:ct, data}, type(data.key, scope, meta), meta)

  defp type(key, scope, meta) when key in [:src, :dst] do
    case scope.layers.network do
      :ip -> {:ipv4_addr, 32, :big}
      :ip6 -> {:ipv6_addr, 128, :big}
      _ -> Fault.fail(meta, "which protocol? write ip saddr or ip6 saddr after the direction")
    end
  end

  defp type(key, _scope, _meta), do: Keys.type(:ct, key)

  @doc """
  The term, refused where it is a bare address: only the rule says of which protocol it is, so
  that no set has a type for it.
  """
  @spec named_address!(Compiler.Term.t()) :: Compiler.Term.t()
  def named_address!(%Compiler.Term{data: {:ct, %{key: key}}, meta: meta})
      when key in [:src, :dst],
      do: Fault.fail(meta, "write ip saddr or ip6 saddr (daddr) after the direction here")

  def named_address!(term), do: term

  @impl true
  def term(%{data: %{key: key} = data}, context) do
    words =
      if direction = data[:direction], do: ["ct ", Atom.to_string(direction), " "], else: "ct "

    with {:ok, term} <- Formatter.Term.keyed(:ct, key, words),
         do: {:ok, address(term, key, context)}
  end

  def term(_expr, _context), do: :error

  # A bare address has the family of the rule.
  defp address(term, key, %Context{} = context) when key in [:src, :dst] do
    case Context.protocol(context, :network) do
      :ip -> %{term | type: :ipv4_addr, size: 4, order: :big}
      :ip6 -> %{term | type: :ipv6_addr, size: 16, order: :big}
      _ -> term
    end
  end

  defp address(term, _key, _context), do: term
end
