defmodule Linx.NFT.Parser.Header do
  @moduledoc false
  # Fields of packet headers, of IPv6 extension headers, and of the options of IP, TCP, SCTP and
  # DCCP.

  import Linx.NFT.Parser.Tokens

  alias Linx.Netfilter.{Field, Protocol}

  @payload_protocols Protocol.words(:payload)
  @extension Protocol.words(:ipv6)
  @tcp_options Protocol.words(:tcpopt)
  @ip_options Protocol.words(:ipv4)
  @chunks Protocol.words(:sctp)

  # The headers whose presence can be asked for: of several forms of one header the first.
  @ipv6_headers Map.filter(@extension, fn {_word, name} ->
                  Protocol.by_header(:ipv6, Protocol.fetch!(name).header) == name
                end)

  @doc false
  # The words of TCP options, and the number of one.
  def tcp_options, do: Map.keys(@tcp_options)

  @doc false
  @spec tcp_option(String.t()) :: {:ok, byte()} | :error
  def tcp_option(word) do
    with {:ok, name} <- Map.fetch(@tcp_options, word), do: {:ok, Protocol.fetch!(name).header}
  end

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
      {:ok, header} ->
        {{:option_exists, :ipv6, Protocol.fetch!(header).header, meta}, rest}

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
      {:ok, header} -> option_field(:tcpopt, header, rest, meta)
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

  # A field of the option, or the option's presence.
  defp option_field(op, header, [{:identifier, field, _} | more] = rest, meta) do
    case Field.fetch(header, field) do
      {:ok, _} -> {{:exthdr, header, field, meta}, more}
      :error -> {presence(op, header, meta), rest}
    end
  end

  defp option_field(op, header, rest, meta), do: {presence(op, header, meta), rest}

  defp presence(op, header, meta),
    do: {:option_exists, op, Protocol.fetch!(header).header, meta}

  defp ip_option([{:identifier, name, meta2} | rest], meta) do
    case Map.fetch(@ip_options, name) do
      {:ok, header} -> option_field(:ipv4, header, rest, meta)
      :error -> unexpected([{:identifier, name, meta2}], "an IP option", Map.keys(@ip_options))
    end
  end

  defp ip_option(tokens, _meta), do: unexpected(tokens, "an IP option")

  defp chunk([{:identifier, name, meta2} | rest], meta) do
    case Map.fetch(@chunks, name) do
      {:ok, header} -> option_field(:sctp, header, rest, meta)
      :error -> unexpected([{:identifier, name, meta2}], "an SCTP chunk", Map.keys(@chunks))
    end
  end

  defp chunk(tokens, _meta), do: unexpected(tokens, "an SCTP chunk")
end
