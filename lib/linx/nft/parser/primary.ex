defmodule Linx.NFT.Parser.Primary do
  @moduledoc false
  # Load expressions: tunnels here, headers in Parser.Header, the rest in Linx.NFT.Expr.Kinds. A
  # word that begins none of them is a constant.

  import Linx.NFT.Parser.Tokens

  alias Linx.Netfilter.Protocol
  alias Linx.NFT.Expr.Kinds
  alias Linx.NFT.Parser.Header

  # The protocols that may be matched inside a tunnel.
  @tunnels for row <- Protocol.all(), row.tunnel, do: row.text
  @inner Map.keys(Protocol.words(:payload)) -- @tunnels

  @doc false
  # The words that can begin a match, for suggestions.
  def words, do: Header.words() ++ Kinds.words()

  @doc false
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
  defp plain([{:identifier, word, meta} | rest]), do: {{:identifier, word, meta}, rest}

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
