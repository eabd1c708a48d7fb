defmodule Linx.NFT.Parser.Header do
  @moduledoc false
  # Fields of packet headers, of IPv6 extension headers, and of the options of IP, TCP, SCTP and DCCP.

  import Linx.NFT.Parser.Tokens

  alias Linx.Netfilter.Field

  @payload ~w(ether vlan arp ip icmp igmp ip6 icmpv6 tcp udp udplite sctp dccp th ah esp comp gre vxlan geneve)
  @payload_protocols Map.new(@payload, &{&1, String.to_atom(&1)})
  @extension Map.new(~w(hbh rt rt0 rt2 srh frag dst mh), &{&1, String.to_atom(&1)})

  @tcp_options %{
    "eol" => {:tcpopt_eol, 0},
    "nop" => {:tcpopt_nop, 1},
    "noop" => {:tcpopt_nop, 1},
    "maxseg" => {:tcpopt_maxseg, 2},
    "mss" => {:tcpopt_maxseg, 2},
    "window" => {:tcpopt_window, 3},
    "sack-perm" => {:tcpopt_sack_perm, 4},
    "sack-permitted" => {:tcpopt_sack_perm, 4},
    "sack" => {:tcpopt_sack, 5},
    "sack0" => {:tcpopt_sack0, 5},
    "sack1" => {:tcpopt_sack1, 5},
    "sack2" => {:tcpopt_sack2, 5},
    "sack3" => {:tcpopt_sack3, 5},
    "timestamp" => {:tcpopt_timestamp, 8},
    "md5sig" => {:tcpopt_md5sig, 19},
    "mptcp" => {:tcpopt_mptcp, 30},
    "fastopen" => {:tcpopt_fastopen, 34}
  }

  @ip_options %{
    "lsrr" => {:ipopt_lsrr, 131},
    "ra" => {:ipopt_ra, 148},
    "rr" => {:ipopt_rr, 7},
    "ssrr" => {:ipopt_ssrr, 137}
  }

  @chunks Map.new(
            [
              {"data", 0},
              {"init", 1},
              {"init-ack", 2},
              {"sack", 3},
              {"heartbeat", 4},
              {"heartbeat-ack", 5},
              {"abort", 6},
              {"shutdown", 7},
              {"shutdown-ack", 8},
              {"error", 9},
              {"cookie-echo", 10},
              {"cookie-ack", 11},
              {"ecne", 12},
              {"cwr", 13},
              {"shutdown-complete", 14},
              {"asconf-ack", 128},
              {"forward-tsn", 192},
              {"asconf", 193}
            ],
            fn {name, n} ->
              {name, {String.to_atom("chunk_" <> String.replace(name, "-", "_")), n}}
            end
          )

  @ipv6_headers %{
    "hbh" => {:hbh, 0},
    "rt" => {:rt, 43},
    "frag" => {:frag, 44},
    "dst" => {:dst, 60},
    "mh" => {:mh, 135}
  }

  @doc false
  def tcp_options, do: @tcp_options

  @doc false
  # The words that begin a field.
  def words, do: Map.keys(@payload_protocols) ++ Map.keys(@extension)

  @doc false
  # {node, rest}, or nil where the tokens name no header.
  def load([{:identifier, "exthdr", meta} | rest]), do: exthdr_exists(rest, meta)

  def load([{:identifier, "tcp", meta}, {:identifier, "option", _} | rest]),
    do: tcp_option(rest, meta)

  def load([{:identifier, "ip", meta}, {:identifier, "option", _} | rest]),
    do: ip_option(rest, meta)

  def load([{:identifier, "sctp", meta}, {:identifier, "chunk", _} | rest]), do: chunk(rest, meta)

  def load([{:identifier, "dccp", meta}, {:identifier, "option", _}, {:integer, n, _} | rest]),
    do: {{:option_exists, :dccp, n, meta}, rest}

  def load([{:identifier, protocol, meta}, {:identifier, field, _} | rest] = tokens)
      when is_map_key(@payload_protocols, protocol) do
    payload(Map.fetch!(@payload_protocols, protocol), field, rest, meta, tokens)
  end

  def load([{:identifier, header, meta}, {:identifier, _, _} | _] = tokens)
      when is_map_key(@extension, header) do
    [_ | rest] = tokens
    extension(Map.fetch!(@extension, header), rest, meta)
  end

  def load(_tokens), do: nil

  defp payload(:arp, side, [{:identifier, kind, _} | rest], meta, _tokens)
       when side in ["saddr", "daddr"] and kind in ["ip", "ether"],
       do: {{:payload, :arp, "#{side} #{kind}", meta}, rest}

  defp payload(protocol, field, rest, meta, [_, field_token | _]) do
    case Field.fetch(protocol, field) do
      {:ok, _field} ->
        {{:payload, protocol, field, meta}, rest}

      :error ->
        unexpected([field_token], "a field of #{protocol}", Field.fields(protocol))
    end
  end

  defp extension(header, [{:identifier, field, meta2} | rest], meta) do
    {name, rest} =
      case rest do
        [{:lbracket, _}, {:integer, n, _}, {:rbracket, _} | rest] -> {"#{field}[#{n}]", rest}
        rest -> {field, rest}
      end

    case Field.fetch(header, name) do
      {:ok, _} ->
        {{:exthdr, header, name, meta}, rest}

      :error ->
        unexpected([{:identifier, name, meta2}], "a field of #{header}", Field.fields(header))
    end
  end

  defp exthdr_exists([{:identifier, name, meta2} | rest], meta) do
    case Map.fetch(@ipv6_headers, name) do
      {:ok, {_header, n}} ->
        {{:option_exists, :ipv6, n, meta}, rest}

      :error ->
        unexpected([{:identifier, name, meta2}], "an extension header", Map.keys(@ipv6_headers))
    end
  end

  defp exthdr_exists(tokens, _meta), do: unexpected(tokens, "an extension header")

  defp tcp_option(
         [
           {:at, _},
           {:integer, kind, _},
           {:comma, _},
           {:integer, offset, _},
           {:comma, _},
           {:integer, len, _} | rest
         ],
         meta
       ),
       do: {{:raw_option, :tcpopt, kind, offset, len, meta}, rest}

  defp tcp_option([{:identifier, name, meta2} | rest], meta) do
    case Map.fetch(@tcp_options, name) do
      {:ok, {header, n}} -> option_field(:tcpopt, header, n, rest, meta)
      :error -> unexpected([{:identifier, name, meta2}], "a TCP option", Map.keys(@tcp_options))
    end
  end

  defp tcp_option([{:integer, n, _} | rest], meta) do
    case rest do
      [{:identifier, "kind", _} | rest] -> {{:raw_option, :tcpopt, n, 0, 8, meta}, rest}
      [{:identifier, "length", _} | rest] -> {{:raw_option, :tcpopt, n, 8, 8, meta}, rest}
      rest -> {{:option_exists, :tcpopt, n, meta}, rest}
    end
  end

  defp tcp_option(tokens, _meta), do: unexpected(tokens, "a TCP option")

  defp option_field(op, header, n, [{:identifier, field, _} | more] = rest, meta) do
    case Field.fetch(header, field) do
      {:ok, _} -> {{:exthdr, header, field, meta}, more}
      :error -> {{:option_exists, op, n, meta}, rest}
    end
  end

  defp option_field(op, _header, n, rest, meta), do: {{:option_exists, op, n, meta}, rest}

  defp ip_option([{:identifier, name, meta2} | rest], meta) do
    case Map.fetch(@ip_options, name) do
      {:ok, {header, n}} -> option_field(:ipv4, header, n, rest, meta)
      :error -> unexpected([{:identifier, name, meta2}], "an IP option", Map.keys(@ip_options))
    end
  end

  defp ip_option(tokens, _meta), do: unexpected(tokens, "an IP option")

  defp chunk([{:identifier, name, meta2} | rest], meta) do
    case Map.fetch(@chunks, name) do
      {:ok, {header, n}} -> option_field(:sctp, header, n, rest, meta)
      :error -> unexpected([{:identifier, name, meta2}], "an SCTP chunk", Map.keys(@chunks))
    end
  end

  defp chunk(tokens, _meta), do: unexpected(tokens, "an SCTP chunk")
end
