defmodule Linx.NFT.Expr.Xfrm do
  @moduledoc false
  # `ipsec in reqid`, `ipsec out spnum 1 ip saddr`: the IPsec state that a packet came or goes
  # with.
  #
  #     {:xfrm, key, :in | :out, spnum, meta}
  #
  # Source: nft(8), "IPSEC EXPRESSION"; nft_xfrm.c.

  @behaviour Linx.NFT.Expr

  import Linx.NFT.Parser.Tokens, only: [integer: 1, unexpected: 3]

  alias Linx.Netfilter.Keys
  alias Linx.NFT.Compiler.{Fault, Value}
  alias Linx.NFT.{Compiler, Formatter}

  @directions %{"in" => :in, "out" => :out}
  @keys %{"reqid" => :reqid, "spi" => :spi}
  @addresses %{
    {"ip", "saddr"} => :saddr_ip4,
    {"ip", "daddr"} => :daddr_ip4,
    {"ip6", "saddr"} => :saddr_ip6,
    {"ip6", "daddr"} => :daddr_ip6
  }

  @impl true
  def parse([{:identifier, "ipsec", meta}, {:identifier, direction, _} | rest])
      when is_map_key(@directions, direction) do
    {spnum, rest} =
      case rest do
        [{:identifier, "spnum", _} | rest] -> integer(rest)
        rest -> {0, rest}
      end

    {key, rest} = key(rest)
    {{:xfrm, key, Map.fetch!(@directions, direction), spnum, meta}, rest}
  end

  # `ipsec` alone is a meta key.
  def parse(_tokens), do: nil

  defp key([{:identifier, word, _} | rest]) when is_map_key(@keys, word),
    do: {Map.fetch!(@keys, word), rest}

  defp key([{:identifier, family, _}, {:identifier, side, _} | rest])
       when is_map_key(@addresses, {family, side}),
       do: {Map.fetch!(@addresses, {family, side}), rest}

  defp key(tokens),
    do: unexpected(tokens, "reqid, spi, or ip|ip6 saddr|daddr", ~w(reqid spi ip ip6))

  @impl true
  def compile({:xfrm, key, direction, spnum, meta}, scope) do
    spnum = Value.number_of(spnum, scope)
    if spnum not in 0..255, do: Fault.fail(meta, "spnum is a number from 0 to 255")
    data = %{key: key, dir: direction}
    data = if spnum == 0, do: data, else: Map.put(data, :spnum, spnum)
    {Compiler.Term.load({:xfrm, data}, Keys.type(:xfrm, key), meta), scope}
  end

  @impl true
  def term(%{data: %{key: key} = data}, _context) do
    direction = Atom.to_string(data[:dir] || :in)

    spnum =
      if data[:spnum] in [nil, 0], do: "", else: ["spnum ", Integer.to_string(data.spnum), " "]

    Formatter.Term.keyed(:xfrm, key, ["ipsec ", direction, " ", spnum])
  end

  def term(_expr, _context), do: :error
end
