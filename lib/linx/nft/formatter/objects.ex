defmodule Linx.NFT.Formatter.Objects do
  @moduledoc false
  # Declarations of named objects.

  alias Linx.Netfilter.{Datum, Object, TunnelOptions}
  alias Linx.NFT.Formatter.{Statement, Text, Value}
  alias Linx.NFT.Statement.Synproxy

  @words %{
    counter: "counter",
    quota: "quota",
    limit: "limit",
    ct_helper: "ct helper",
    ct_timeout: "ct timeout",
    ct_expectation: "ct expectation",
    secmark: "secmark",
    synproxy: "synproxy",
    tunnel: "tunnel"
  }

  @doc "nft's word for a kind of objects, or `:error` for a kind that nft has none for."
  @spec word(atom()) :: {:ok, String.t()} | :error
  def word(kind), do: Map.fetch(@words, kind)

  @doc "An object as a block of its table; a comment for a kind that nft has no words for."
  @spec text(Object.t(), atom()) :: iodata()
  def text(%Object{kind: kind, name: name} = object, family) do
    data = data(object.data)

    case word(kind) do
      {:ok, word} ->
        comment =
          if object.comment, do: line(["comment ", Text.comment(object.comment)]), else: []

        ["  ", word, " ", Text.name(name), " {\n", comment, body(kind, data, family), "  }\n"]

      :error ->
        ["  # <unsupported object: ", to_string(kind), ">\n"]
    end
  end

  defp data(nil), do: %{}
  defp data(data) when is_map(data), do: data
  defp data(data) when is_list(data), do: Map.new(data)

  defp line(text), do: ["    ", text, "\n"]

  defp body(:counter, data, _family),
    do: line(["packets ", number(data[:packets] || 0), " bytes ", number(data[:bytes] || 0)])

  defp body(:quota, data, _family), do: line(Statement.quota(data))
  defp body(:limit, data, _family), do: if(data[:rate], do: line(Statement.limit(data)), else: [])

  defp body(:secmark, data, _family),
    do: if(data[:context], do: line(Text.quoted(data.context)), else: [])

  defp body(:synproxy, data, _family) do
    words = Synproxy.flags(data)

    [
      if(data[:mss], do: line(["mss ", number(data.mss)]), else: []),
      if(data[:wscale], do: line(["wscale ", number(data.wscale)]), else: []),
      if(words == [], do: [], else: line(Enum.intersperse(words, " ")))
    ]
  end

  defp body(:ct_helper, data, family) do
    protocol = if data[:protocol], do: [" protocol ", protocol(data.protocol)], else: ""

    [
      if(data[:type], do: line(["type ", helper(data.type), protocol]), else: []),
      l3proto(data, family)
    ]
  end

  defp body(:ct_timeout, data, family) do
    policy =
      for {state, seconds} <- Enum.sort(data[:policy] || %{}),
          do: [Text.word(state), " : ", number(seconds)]

    [
      if(data[:protocol], do: line(["protocol ", protocol(data.protocol)]), else: []),
      l3proto(data, family),
      if(policy == [], do: [], else: line(["policy = { ", Enum.intersperse(policy, ", "), " }"]))
    ]
  end

  defp body(:ct_expectation, data, family) do
    [
      if(data[:protocol], do: line(["protocol ", protocol(data.protocol)]), else: []),
      if(data[:dport], do: line(["dport ", number(data.dport)]), else: []),
      if(data[:timeout], do: line(["timeout ", Value.duration(data.timeout)]), else: []),
      if(data[:size], do: line(["size ", number(data.size)]), else: []),
      l3proto(data, family)
    ]
  end

  defp body(:tunnel, data, _family) do
    [
      line(["id ", number(data.id)]),
      for({side, word} <- [src: "saddr ", dst: "daddr "], data[side], do: ends(word, data[side])),
      for(
        key <- [:sport, :dport, :tos, :ttl],
        data[key],
        do: line([to_string(key), " ", number(data[key])])
      ),
      if(data[:opts], do: options(TunnelOptions.decode(data.opts)), else: [])
    ]
  end

  defp ends(word, address) when tuple_size(address) == 4,
    do: line(["ip ", word, Value.address(Datum.to_bytes(:ipv4_addr, address))])

  defp ends(word, address),
    do: line(["ip6 ", word, Value.address(Datum.to_bytes(:ipv6_addr, address))])

  defp options({:vxlan, opts}), do: options("vxlan", [["gbp ", number(opts[:gbp])]])

  defp options({:erspan, opts}),
    do: options("erspan", for({key, value} <- opts, do: [to_string(key), " ", Text.word(value)]))

  defp options({:geneve, options}) do
    options(
      "geneve",
      for {class, type, data} <- options do
        hex = Base.encode16(data, case: :lower)
        ["class ", number(class), " opt-type ", number(type), " data \"0x", hex, "\""]
      end
    )
  end

  defp options(word, lines),
    do: [line([word, " {"]), Enum.map(lines, &line(["  ", &1])), line("}")]

  # NF_CT_HELPER_NAME_LEN is 16 with the terminating NUL.
  defp helper(type) when byte_size(type) in 1..15, do: Text.quoted(type)

  defp helper(type) when is_binary(type),
    do: Text.unwritable("the helper's type has #{byte_size(type)} bytes, not 1 to 15")

  defp protocol(number) when is_integer(number), do: Value.number(:inet_proto, number, 8)
  defp protocol(name), do: Text.word(name)

  # A table of one family needs no word for it, but takes it.
  defp l3proto(data, _family) do
    if data[:l3proto], do: line(["l3proto ", Text.word(data.l3proto)]), else: []
  end

  defp number(n), do: Text.word(n)
end
