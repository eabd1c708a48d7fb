defmodule Linx.NFT.Parser.Objects do
  @moduledoc false
  # The bodies of named objects: { packets 0 bytes 0 }, { type "ftp" protocol tcp; l3proto ip; }, ...

  import Linx.NFT.Parser.Tokens

  alias Linx.NFT.Parser.{Block, Statement, Tunnel}
  alias Linx.NFT.Statement.Synproxy

  @words %{
    counter: ~w(packets bytes),
    quota: ~w(over until used),
    limit: ~w(rate),
    ct_helper: ~w(type l3proto),
    ct_timeout: ~w(protocol l3proto policy),
    ct_expectation: ~w(protocol dport timeout size l3proto),
    synproxy: ~w(mss wscale timestamp sack-perm)
  }

  @doc false
  def body(kind, [{:lbrace, _} | rest]), do: entries(kind, rest, [])
  # `add counter inet t c` has no body.
  def body(_kind, rest), do: {[], rest}

  defp entries(kind, [{:stmt_sep, _} | rest], opts), do: entries(kind, rest, opts)
  defp entries(_kind, [{:rbrace, _} | rest], opts), do: {Enum.reverse(opts), rest}

  defp entries(kind, [{:identifier, "comment", _} | rest], opts) do
    {text, rest} = comment(rest)
    entries(kind, rest, [{:comment, text} | opts])
  end

  defp entries(kind, [token | _] = tokens, opts) when definition?(token) do
    {item, rest} = Block.definition(tokens)
    entries(kind, rest, [{:definition, item} | opts])
  end

  defp entries(kind, tokens, opts) do
    {entry, rest} = entry(kind, tokens)
    entries(kind, rest, Enum.reverse(List.wrap(entry)) ++ opts)
  end

  defp entry(:counter, [{:identifier, word, _} | rest]) when word in ["packets", "bytes"] do
    {n, rest} = integer(rest)
    {{known(word), n}, rest}
  end

  defp entry(:quota, tokens), do: Statement.quota(tokens)

  defp entry(:limit, [{:identifier, "rate", _} | rest]) do
    {rate, opts, rest} = Statement.limit(rest)
    {[{:rate, rate} | opts], rest}
  end

  defp entry(:ct_helper, [{:identifier, "type", _} | rest]) do
    {type, rest} = string(rest, "the helper's name in quotes")
    {protocol, rest} = rest |> word("protocol") |> protocol()
    {[type: type, protocol: protocol], rest}
  end

  defp entry(kind, [{:identifier, "l3proto", _} | rest])
       when kind in [:ct_helper, :ct_timeout, :ct_expectation] do
    case rest do
      [{:identifier, family, _} | rest] when family in ~w(ip ip6 inet arp bridge netdev) ->
        {{:l3proto, known(family)}, rest}

      rest ->
        unexpected(rest, "ip, ip6 or inet", ~w(ip ip6 inet))
    end
  end

  defp entry(kind, [{:identifier, "protocol", _} | rest])
       when kind in [:ct_timeout, :ct_expectation] do
    {protocol, rest} = protocol(rest)
    {{:protocol, protocol}, rest}
  end

  defp entry(:ct_timeout, [{:identifier, "policy", _}, {:assign, _}, {:lbrace, _} | rest]) do
    {policy, rest} = policy(skip_separators(rest), [])
    {{:policy, policy}, rest}
  end

  defp entry(:ct_expectation, [{:identifier, "dport", _} | rest]) do
    {n, rest} = integer(rest)
    {{:dport, n}, rest}
  end

  defp entry(:ct_expectation, [{:identifier, "timeout", _} | rest]) do
    {ms, rest} = duration(rest)
    {{:timeout, ms}, rest}
  end

  defp entry(:ct_expectation, [{:identifier, "size", _} | rest]) do
    {n, rest} = integer(rest)
    {{:size, n}, rest}
  end

  defp entry(:secmark, tokens) do
    {context, rest} = string(tokens, "a security context in quotes")
    {{:context, context}, rest}
  end

  defp entry(:tunnel, tokens), do: Tunnel.entry(tokens)

  defp entry(:synproxy, tokens), do: Synproxy.option(tokens) || unknown(:synproxy, tokens)
  defp entry(kind, tokens), do: unknown(kind, tokens)

  defp unknown(kind, tokens),
    do:
      unexpected(
        tokens,
        "an attribute of a #{kind |> Atom.to_string() |> String.replace("_", " ")}",
        Map.get(@words, kind, []) ++ ["comment"]
      )

  # nft's grammar has these two.
  defp protocol([{:identifier, word, _} | rest]) when word in ["tcp", "udp"],
    do: {known(word), rest}

  defp protocol(tokens), do: unexpected(tokens, "tcp or udp", ~w(tcp udp))

  defp policy([{:rbrace, _} | rest], acc), do: {Enum.reverse(acc), rest}

  defp policy([{:identifier, state, meta}, {:colon, _} | rest], acc) do
    {ms, rest} = duration(rest)
    acc = [{state, ms, meta} | acc]

    case skip_separators(rest) do
      [{:comma, _} | rest] -> policy(skip_separators(rest), acc)
      [{:rbrace, _} | rest] -> {Enum.reverse(acc), rest}
      other -> unexpected(other, "',' or '}'")
    end
  end

  defp policy(tokens, _acc),
    do: unexpected(tokens, "a connection state and its timeout: established : 120")
end
