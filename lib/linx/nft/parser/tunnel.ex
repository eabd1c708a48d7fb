defmodule Linx.NFT.Parser.Tunnel do
  @moduledoc false
  # What stands in the braces of a tunnel object.

  import Linx.NFT.Parser.Tokens

  alias Linx.NFT.Parser.Expression

  @words ~w(id sport dport tos ttl ip ip6 vxlan erspan geneve)
  @numbers %{"id" => :id, "sport" => :sport, "dport" => :dport, "tos" => :tos, "ttl" => :ttl}

  @doc false
  # {option, rest}
  def entry([{:identifier, word, _} | rest]) when is_map_key(@numbers, word) do
    {n, rest} = integer(rest)
    {{Map.fetch!(@numbers, word), n}, rest}
  end

  def entry([{:identifier, family, meta}, {:identifier, side, _} | rest])
      when family in ["ip", "ip6"] and side in ["saddr", "daddr"] do
    {node, rest} = Expression.single(rest)
    {{if(side == "saddr", do: :src, else: :dst), {known(family), node, meta}}, rest}
  end

  def entry([{:identifier, "vxlan", _}, {:lbrace, _} | rest]) do
    {gbp, rest} = rest |> skip_separators() |> word("gbp") |> integer()
    {{:options, {:vxlan, [gbp: gbp]}}, close(rest)}
  end

  def entry([{:identifier, "erspan", meta}, {:lbrace, _} | rest]) do
    {opts, rest} = erspan(skip_separators(rest), [])
    {{:options, {:erspan, opts, meta}}, rest}
  end

  def entry([{:identifier, "geneve", _}, {:lbrace, _} | rest]) do
    {options, rest} = geneve(skip_separators(rest), [])
    {{:options, {:geneve, options}}, rest}
  end

  def entry(tokens), do: unexpected(tokens, "an attribute of a tunnel", @words)

  defp close(tokens), do: tokens |> skip_separators() |> expect(:rbrace)

  defp erspan([{:rbrace, _} | rest], opts), do: {opts, rest}

  defp erspan([{:identifier, "direction", _}, {:identifier, word, _} | rest], opts)
       when word in ["ingress", "egress"] do
    direction = if word == "ingress", do: :ingress, else: :egress
    erspan(skip_separators(rest), [{:direction, direction} | opts])
  end

  defp erspan([{:identifier, word, _} | rest], opts) when word in ["version", "index", "id"] do
    key = Map.fetch!(%{"version" => :version, "index" => :index, "id" => :id}, word)
    {n, rest} = integer(rest)
    erspan(skip_separators(rest), [{key, n} | opts])
  end

  defp erspan(tokens, _opts),
    do: unexpected(tokens, "version, index, direction or id", ~w(version index direction id))

  defp geneve([{:rbrace, _} | rest], acc), do: {Enum.reverse(acc), rest}

  defp geneve([{:identifier, "class", meta} | rest], acc) do
    {class, rest} = integer(rest)
    {type, rest} = rest |> word("opt-type") |> integer()
    {data, rest} = rest |> word("data") |> string("bytes such as \"0x1234\"")
    geneve(skip_separators(rest), [{class, type, data, meta} | acc])
  end

  defp geneve(tokens, _acc),
    do: unexpected(tokens, "class N opt-type N data \"0x...\"", ["class"])
end
