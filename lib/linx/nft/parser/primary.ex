defmodule Linx.NFT.Parser.Primary do
  @moduledoc false
  # Load expressions: meta, ct and tunnels here, headers in Parser.Header, the rest in
  # Linx.NFT.Expr.Kinds. A word that begins none of them is a constant.

  import Linx.NFT.Parser.Tokens

  alias Linx.Netfilter.Protocol
  alias Linx.NFT.Expr.Kinds
  alias Linx.NFT.Keys
  alias Linx.NFT.Parser.Header

  # The protocols that may be matched inside a tunnel.
  @tunnels for row <- Protocol.all(), row.tunnel, do: row.text
  @inner Map.keys(Protocol.words(:payload)) -- @tunnels

  # Without "meta" in front only those that nft's grammar has always taken so.
  @meta_short ~w(mark iif iifname iiftype iifgroup oif oifname oiftype oifgroup skuid skgid
                 nftrace rtclassid ibriport ibrname obriport obrname pkttype cpu cgroup ipsec time
                 day hour)
  @meta_keys Keys.words(:meta)
  @ct_keys Keys.words(:ct)

  @doc false
  # The words that can begin a match, for suggestions.
  def words,
    do:
      Header.words() ++
        @meta_short ++ Kinds.words() ++ ~w(meta ct)

  @doc false
  def load([{:identifier, "meta", meta} | rest]), do: meta_key(rest, meta)
  def load([{:identifier, "ct", meta} | rest]), do: ct(rest, meta)

  # In a tunnel's packet: "vxlan tcp dport", or its own header: "vxlan vni". GRE's own header is
  # one of the packet.
  def load([{:identifier, tunnel, meta}, {:identifier, inner, _} | _] = tokens)
      when tunnel in @tunnels do
    cond do
      inner in @inner -> inner(tunnel, Header.load(tl(tokens)), meta)
      tunnel in ["vxlan", "geneve"] -> inner(tunnel, Header.load(tokens), meta)
      true -> word(tokens)
    end
  end

  def load(tokens), do: word(tokens)

  defp inner(tunnel, {expr, rest}, meta), do: {{:inner, known(tunnel), expr, meta}, rest}

  defp word(tokens),
    do: Kinds.parse(tokens) || Header.load(tokens) || plain(tokens)

  # "ip saddr" where "ip" stands for itself is a constant only if no field follows; a keyword
  # alone is one too.
  defp plain([{:identifier, word, meta} | rest]) when word in @meta_short,
    do: {{:meta, Map.fetch!(@meta_keys, word), meta}, rest}

  defp plain([{:identifier, word, meta} | rest]), do: {{:identifier, word, meta}, rest}

  defp meta_key([{:identifier, word, meta2} | rest], meta) do
    case Map.fetch(@meta_keys, word) do
      {:ok, key} -> {{:meta, key, meta}, rest}
      :error -> unexpected([{:identifier, word, meta2}], "a meta key", Map.keys(@meta_keys))
    end
  end

  defp meta_key(tokens, _meta), do: unexpected(tokens, "a meta key")

  defp ct([{:identifier, dir, _} | rest], meta) when dir in ["original", "reply"] do
    dir = if dir == "original", do: :original, else: :reply

    case rest do
      [{:identifier, family, _}, {:identifier, key, _} | rest]
      when family in ["ip", "ip6"] and key in ["saddr", "daddr"] ->
        {{:ct, {ct_address(family, key), dir}, meta}, rest}

      [{:identifier, key, _} | rest] when is_map_key(@ct_keys, key) ->
        {{:ct, {Map.fetch!(@ct_keys, key), dir}, meta}, rest}

      tokens ->
        unexpected(tokens, "a ct key", Map.keys(@ct_keys))
    end
  end

  defp ct([{:identifier, key, _} | rest], meta) when is_map_key(@ct_keys, key),
    do: {{:ct, Map.fetch!(@ct_keys, key), meta}, rest}

  defp ct(tokens, _meta), do: unexpected(tokens, "a ct key", Map.keys(@ct_keys))

  defp ct_address("ip", "saddr"), do: :src_ip
  defp ct_address("ip", "daddr"), do: :dst_ip
  defp ct_address("ip6", "saddr"), do: :src_ip6
  defp ct_address("ip6", "daddr"), do: :dst_ip6

  @doc false
  def family("ip"), do: :ip
  def family("ip6"), do: :ip6

  @bases %{"ll" => :link, "nh" => :network, "th" => :transport, "ih" => :inner}

  @doc false
  # @th,16,16
  def raw_payload([{:at, meta}, {:identifier, base, meta2}, {:comma, _} | rest]) do
    base =
      Map.get(@bases, base) ||
        unexpected([{:identifier, base, meta2}], "ll, nh, th or ih", Map.keys(@bases))

    {offset, rest} = integer(rest)
    {len, rest} = rest |> expect(:comma) |> integer()
    {{:raw_payload, base, offset, len, meta}, rest}
  end

  def raw_payload([{:at, meta} | _]),
    do: fail(meta, "a set has no value here: @name stands right of a match")

  @doc false
  # accept, jump NAME, ...
  def verdict([{:identifier, word, meta} | rest])
      when word in ["accept", "drop", "continue", "return"],
      do: {{:verdict, known(word), meta}, rest}

  def verdict([{:identifier, word, meta} | rest]) when word in ["jump", "goto"] do
    # The name has a place of its own, for what is wrong with it alone.
    meta = Map.put(meta, :name, meta(rest))
    {name, rest} = name(rest, "chain")
    {{:verdict, {known(word), name}, meta}, rest}
  end

  def verdict([{:identifier, "queue", meta} | rest]) do
    case rest do
      [{:identifier, "to", _}, {:integer, n, _} | rest] -> {{:verdict, {:queue, n}, meta}, rest}
      rest -> {{:verdict, {:queue, 0}, meta}, rest}
    end
  end

  def verdict(tokens),
    do: unexpected(tokens, "a verdict", ~w(accept drop continue return jump goto))
end
