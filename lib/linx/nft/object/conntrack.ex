defmodule Linx.NFT.Object.Conntrack do
  @moduledoc false
  # The options that conntrack's helpers, timeouts and expectations share: `protocol tcp` and
  # `l3proto ip`.

  import Linx.NFT.Parser.Tokens

  alias Linx.NFT.Formatter.{Text, Value}
  alias Linx.NFT.Object

  @doc "The option `l3proto` or `protocol`, nil where neither begins."
  @spec option([tuple()]) :: {{atom(), atom()}, [tuple()]} | nil
  def option([{:identifier, "l3proto", _} | rest]) do
    case rest do
      [{:identifier, family, _} | rest] when family in ~w(ip ip6 inet arp bridge netdev) ->
        {{:l3proto, known(family)}, rest}

      rest ->
        unexpected(rest, "ip, ip6 or inet", ~w(ip ip6 inet))
    end
  end

  def option([{:identifier, "protocol", _} | rest]) do
    {protocol, rest} = protocol(rest)
    {{:protocol, protocol}, rest}
  end

  def option(_tokens), do: nil

  @doc "A transport protocol of nft's grammar for these objects."
  @spec protocol([tuple()]) :: {atom(), [tuple()]}
  def protocol([{:identifier, word, _} | rest]) when word in ["tcp", "udp"],
    do: {known(word), rest}

  def protocol(tokens), do: unexpected(tokens, "tcp or udp", ~w(tcp udp))

  @doc "The text of a protocol, by name or number."
  @spec protocol_text(atom() | non_neg_integer()) :: iodata()
  def protocol_text(number) when is_integer(number), do: Value.number(:inet_proto, number, 8)
  def protocol_text(name), do: Text.word(name)

  @doc "The line of the protocol, none where the object has none."
  @spec protocol_line(map()) :: [iodata()]
  def protocol_line(data),
    do: if(data[:protocol], do: [["protocol ", protocol_text(data.protocol)]], else: [])

  @doc "The line of the family. A table of one family does not need it, but takes it."
  @spec l3proto_line(map()) :: [iodata()]
  def l3proto_line(data), do: Object.line("l3proto", data[:l3proto])
end
