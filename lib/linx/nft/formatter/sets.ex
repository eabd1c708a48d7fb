defmodule Linx.NFT.Formatter.Sets do
  @moduledoc false
  # Declarations of sets and maps.

  alias Linx.Netfilter.Datatype
  alias Linx.NFT.Formatter.{Element, Layout, Text, Typeof, Value}
  alias Linx.NFT.{Object, Statement}

  @flags [:constant, :dynamic, :interval, :timeout]
  @doc "A set or map as a block of its table."
  @spec text(struct()) :: iodata()
  def text(set) do
    data_type = Map.get(set, :data_type)
    word = if data_type == nil, do: "set", else: "map"

    [
      "  #{word} ",
      Text.name(set.name),
      " {\n",
      line(type(set, data_type)),
      for(
        expr <- set.exprs || [],
        {:ok, text} <- [Statement.Kinds.stateful_text(expr)],
        do: line(text)
      ),
      flags(set.flags),
      if(:auto_merge in set.flags, do: line("auto-merge"), else: []),
      if(set.timeout, do: line(["timeout ", Value.duration(set.timeout)]), else: []),
      if(set.gc_interval, do: line(["gc-interval ", Value.duration(set.gc_interval)]), else: []),
      if(set.size, do: line(["size ", Integer.to_string(set.size)]), else: []),
      if(set.policy == :memory, do: line("policy memory"), else: []),
      if(set.comment, do: line(["comment ", Text.comment(set.comment)]), else: []),
      elements(set, data_type),
      "  }\n"
    ]
  end

  defp line(text), do: ["    ", text, "\n"]

  defp flags(flags) do
    case for(flag <- @flags, flag in flags, do: Atom.to_string(flag)) do
      [] -> []
      words -> line(["flags ", Enum.intersperse(words, ",")])
    end
  end

  defp elements(%{elements: []}, _data_type), do: []

  defp elements(set, data_type) do
    texts =
      Element.texts(
        set.elements,
        set.key_type,
        data_type,
        Typeof.term(set, :key),
        Typeof.term(set, :data)
      )

    flat = ["elements = ", Element.braces(texts)]

    if IO.iodata_length(flat) + 4 <= Layout.width() do
      line(flat)
    else
      style = if data_type == nil, do: :fill, else: :lines
      line(["elements = ", Layout.broken(texts, style, 2, Layout.width())])
    end
  end

  ## Types

  defp type(set, data_type) do
    key = Typeof.text(set, :key)
    data = data_type && data(Typeof.text(set, :data), data_type)

    cond do
      data_type == nil and key != nil -> ["typeof ", key]
      data_type == nil -> declared(set.key_type)
      key != nil -> ["typeof ", key, " : ", data]
      true -> [declared(set.key_type), " : ", data]
    end
  end

  defp data(nil, type), do: names(type)
  defp data(text, {:interval, _type}), do: ["interval ", text]
  defp data(text, _type), do: text

  # nft wants an expression for a key that no type name describes.
  defp declared(type),
    do: if(sized?(type), do: ["typeof ", expressions(type)], else: ["type ", names(type)])

  defp sized?({:concat, types}), do: Enum.any?(types, &sized?/1)
  defp sized?(type) when is_tuple(type), do: name(type) == nil
  defp sized?(_type), do: false

  defp names({:concat, types}), do: types |> Enum.map(&names/1) |> Enum.intersperse(" . ")
  defp names({:interval, type}), do: ["interval ", names(type)]

  defp names({:object, kind}) do
    case Object.word(kind) do
      {:ok, word} -> word
      :error -> to_string(kind)
    end
  end

  defp names(type) when is_tuple(type), do: name(type) || expression(type)
  defp names(type), do: Atom.to_string(type)

  # A type with a size of its own needs no other said.
  defp name(type) do
    with {:ok, %{size: size}} when size > 0 <- Datatype.fetch(elem(type, 0)),
         true <- div(size + 7, 8) == div(elem(type, 1) + 7, 8),
         do: Atom.to_string(elem(type, 0)),
         else: (_ -> nil)
  end

  defp expressions({:concat, types}),
    do: types |> Enum.map(&expression/1) |> Enum.intersperse(" . ")

  defp expressions(type), do: expression(type)

  # Expressions whose values have these types.
  @expressions %{
    ipv4_addr: "ip saddr",
    ipv6_addr: "ip6 saddr",
    ether_addr: "ether saddr",
    ether_type: "ether type",
    inet_proto: "meta l4proto",
    inet_service: "th dport",
    nf_proto: "meta nfproto",
    mark: "meta mark",
    ifname: "meta iifname",
    iface_index: "meta iif",
    iface_type: "meta iiftype",
    uid: "meta skuid",
    gid: "meta skgid",
    classid: "meta priority",
    devgroup: "meta iifgroup",
    pkt_type: "meta pkttype",
    ct_state: "ct state",
    ct_status: "ct status",
    ct_dir: "ct direction",
    icmp_type: "icmp type",
    icmp_code: "icmp code",
    icmpv6_type: "icmpv6 type",
    icmpv6_code: "icmpv6 code",
    tcp_flag: "tcp flags",
    dscp: "ip dscp",
    ecn: "ip ecn",
    string: "osf name"
  }
  @host %{8 => "socket transparent", 16 => "ct zone", 32 => "meta length", 64 => "ct bytes"}

  defp expression({:integer, bits, :host}) when is_map_key(@host, bits), do: @host[bits]
  defp expression({:integer, bits}), do: ["@nh,0,", Integer.to_string(bits)]
  defp expression(type) when is_tuple(type), do: expression(elem(type, 0))
  defp expression(type), do: Map.get(@expressions, type) || Atom.to_string(type)
end
