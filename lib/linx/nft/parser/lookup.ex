defmodule Linx.NFT.Parser.Lookup do
  @moduledoc false
  # What the kernel looks up or makes for a packet: routes, sockets, fingerprints, numbers, hashes, IPsec states, tunnels.

  import Linx.NFT.Parser.Tokens

  @doc false
  # {node, rest}, or nil where the tokens begin nothing of these.

  def load([{:identifier, "ipsec", meta}, {:identifier, dir, _} | rest])
      when dir in ["in", "out"], do: ipsec(dir, rest, meta)

  def load([{:identifier, "tunnel", meta} | rest]), do: tunnel(rest, meta)
  def load(_tokens), do: nil

  defp ipsec(dir, tokens, meta) do
    dir = if dir == "in", do: :in, else: :out

    {spnum, rest} =
      case tokens do
        [{:identifier, "spnum", _} | rest] -> integer(rest)
        rest -> {0, rest}
      end

    case rest do
      [{:identifier, "reqid", _} | rest] ->
        {{:xfrm, :reqid, dir, spnum, meta}, rest}

      [{:identifier, "spi", _} | rest] ->
        {{:xfrm, :spi, dir, spnum, meta}, rest}

      [{:identifier, "ip", _}, {:identifier, "saddr", _} | rest] ->
        {{:xfrm, :saddr_ip4, dir, spnum, meta}, rest}

      [{:identifier, "ip", _}, {:identifier, "daddr", _} | rest] ->
        {{:xfrm, :daddr_ip4, dir, spnum, meta}, rest}

      [{:identifier, "ip6", _}, {:identifier, "saddr", _} | rest] ->
        {{:xfrm, :saddr_ip6, dir, spnum, meta}, rest}

      [{:identifier, "ip6", _}, {:identifier, "daddr", _} | rest] ->
        {{:xfrm, :daddr_ip6, dir, spnum, meta}, rest}

      tokens ->
        unexpected(tokens, "reqid, spi, or ip|ip6 saddr|daddr", ~w(reqid spi ip ip6))
    end
  end

  defp tunnel([{:identifier, "id", _} | rest], meta), do: {{:tunnel, :id, meta}, rest}
  defp tunnel([{:identifier, "path", _} | rest], meta), do: {{:tunnel, :path, meta}, rest}
  defp tunnel(tokens, _meta), do: unexpected(tokens, "id or path", ~w(id path))
end
