defmodule Linx.Netfilter.Dependencies.ProtocolContext do
  @moduledoc false
  # The protocol context at one point of a rule: the protocol of each layer, from the table's
  # family and the tests so far.
  #
  # A layer is nil (nothing known), :inet or :netdev (any link layer), :unknown (tested, but no
  # protocol that has fields), {:one_of, protocols} after a test against a set, or a protocol.
  # `tags` counts the VLAN headers seen.

  alias Linx.Netfilter.{Expr, Field, Protocol, Typeof}
  alias Linx.Netfilter.Dependencies.Tunnel

  # `icmp` holds the ICMP types tested for, in the order of the test, [] where none was; some
  # fields exist in some types only. It is :set after a look-up in a set whose elements are not
  # known, which a fold of a dump meets (`dump?`). `inner` has the layers of the packet inside a
  # tunnel, by tunnel.
  defstruct family: nil,
            link: nil,
            network: nil,
            transport: nil,
            tags: 0,
            icmp: [],
            inner: %{},
            dump?: false

  @type t :: %__MODULE__{}

  # ARPHRD_ETHER
  @ethernet 1

  @doc false
  @spec new(atom()) :: t()
  def new(:ip), do: %__MODULE__{family: :ip, network: :ip}
  def new(:ip6), do: %__MODULE__{family: :ip6, network: :ip6}
  def new(:arp), do: %__MODULE__{family: :arp, network: :arp}
  def new(:inet), do: %__MODULE__{family: :inet, link: :inet}
  def new(:netdev), do: %__MODULE__{family: :netdev, link: :netdev}
  def new(:bridge), do: %__MODULE__{family: :bridge, link: :ether}
  # A table of a family that Linx does not know implies nothing.
  def new(family), do: %__MODULE__{family: family}

  @doc false
  # The context of the packet inside a tunnel. Its link layer is unknown at first: the packet may
  # be an Ethernet frame, or with plain GRE a network packet at once.
  @spec inner(t(), atom()) :: t()
  def inner(%__MODULE__{inner: inner, dump?: dump?}, tunnel) do
    case inner do
      %{^tunnel => layers} -> layers
      _ when tunnel == :gre -> %{new(:netdev) | dump?: dump?}
      _ -> %{new(:bridge) | dump?: dump?}
    end
  end

  @doc false
  @spec put_inner(t(), atom(), t()) :: t()
  def put_inner(%__MODULE__{} = layers, tunnel, inside),
    do: %{layers | inner: Map.put(layers.inner, tunnel, inside)}

  @doc false
  # The dependency segments before a field of `protocol`, and the layers after them; or {:error,
  # {there, wanted}}.
  @spec require(t(), atom(), atom()) :: {:ok, [[Expr.t()]], t()} | {:error, {term(), atom()}}
  def require(layers, protocol, base)

  def require(layers, :th, _base), do: {:ok, [], layers}

  def require(layers, protocol, base) when base in [:ipv6, :ipv4],
    do: exthdr(layers, if(base == :ipv6, do: :ip6, else: :ip), protocol)

  # nft reads TCP options, SCTP and DCCP chunks through instructions that test the transport
  # themselves.
  def require(layers, _protocol, :tcpopt), do: transport_option(layers, :tcp)
  def require(layers, _protocol, :sctp), do: transport_option(layers, :sctp)
  def require(layers, _protocol, :dccp), do: transport_option(layers, :dccp)
  def require(layers, _protocol, :tunnel), do: {:ok, [], layers}
  def require(layers, protocol, :link), do: link(layers, protocol)
  def require(layers, protocol, :network), do: network(layers, protocol)
  def require(layers, protocol, :transport), do: transport(layers, protocol)
  def require(layers, _protocol, _base), do: {:ok, [], layers}

  @doc false
  # The dependency segments before a field that contradicts what the rule has tested before, and
  # the layers after them: the test of the field's protocol all the same, so that the rule matches
  # nothing.
  @spec contradict(t(), atom(), atom()) :: {[[Expr.t()]], t()}
  def contradict(layers, protocol, :network),
    do: {[meta_protocol(protocol)], %{layers | network: protocol, transport: nil, icmp: []}}

  def contradict(layers, protocol, :transport) do
    network = Protocol.fetch!(protocol).network

    {below, layers} =
      case network && network(layers, network) do
        {:ok, dependencies, layers} -> {dependencies, layers}
        {:error, _} -> contradict(layers, network, :network)
        nil -> {[], layers}
      end

    {below ++ [l4_proto(protocol)], %{layers | transport: protocol, icmp: []}}
  end

  def contradict(layers, _protocol, base) when base in [:ipv6, :ipv4],
    do: contradict(layers, if(base == :ipv6, do: :ip6, else: :ip), :network)

  # The kernel looks for options and chunks in a packet of their transport alone; a tag is tested
  # for by its own Ethernet type.
  def contradict(layers, :vlan, :link), do: {[ether_type(:vlan)], layers}
  def contradict(layers, _protocol, _base), do: {[], layers}

  @doc false
  # The dependency segments before a field that exists in some ICMP types only, and the layers
  # after them; or {:error, type}, the type that the rule has tested for instead. Of several types
  # tested for, one has to fit: `:any` of them, or as in nft the `:last`.
  @spec require_type(t(), Field.t(), :any | :last) :: {:ok, [[Expr.t()]], t()} | {:error, byte()}
  def require_type(layers, %Field{types: nil}, _which), do: {:ok, [], layers}
  def require_type(%{icmp: :set} = layers, _field, _which), do: {:ok, [], layers}

  def require_type(%{icmp: []} = layers, field, _which) do
    {dependency, layers} = type_dependency(layers, field)
    {:ok, [dependency], layers}
  end

  def require_type(%{icmp: tested} = layers, %Field{types: types}, which) do
    fits? =
      if which == :last, do: List.last(tested) in types, else: Enum.any?(tested, &(&1 in types))

    if fits?, do: {:ok, [], layers}, else: {:error, List.last(tested)}
  end

  @doc false
  # The test of a field's ICMP types, whatever the rule has tested before.
  @spec type_dependency(t(), Field.t()) :: {[Expr.t()], t()}
  def type_dependency(layers, %Field{protocol: protocol, types: types}) do
    {:ok, field} = Field.fetch(protocol, "type")
    {[Expr.payload(:transport, 0, 1), type_test(field, types)], %{layers | icmp: types}}
  end

  defp type_test(_field, [type]), do: Expr.cmp(:eq, <<type>>)

  # nft's record of the key comes with the set, as with one that stands in a rule.
  defp type_test(field, types) do
    {:ok, record} = Typeof.encode([Expr.payload(field.name)])
    %{data: data} = literal = Expr.set_literal(types, field.type)
    %{literal | data: Map.put(data, :typeof, %{key: record})}
  end

  defp link(%{link: protocol} = layers, protocol), do: {:ok, [], layers}
  defp link(%{link: :vlan} = layers, :ether), do: {:ok, [], layers}

  defp link(%{link: nil} = layers, protocol), do: ethernet(layers, protocol)

  defp link(%{link: dummy} = layers, protocol) when dummy in [:inet, :netdev],
    do: ethernet(layers, protocol)

  defp link(%{link: :ether, network: nil} = layers, :vlan),
    do: {:ok, [ether_type(:vlan)], %{layers | link: :vlan, tags: 1}}

  # In ip, ip6 and arp tables the network layer is known from the start, a tag below it all the
  # same possible.
  defp link(%{link: :ether, family: family} = layers, :vlan) when family in [:ip, :ip6, :arp],
    do: {:ok, [ether_type(:vlan)], %{layers | link: :vlan, tags: 1}}

  defp link(%{link: there}, protocol), do: {:error, {there, protocol}}

  defp ethernet(layers, protocol) do
    dependency = [Expr.meta(:iiftype), Expr.cmp(:eq, <<@ethernet::native-16>>)]

    case link(%{layers | link: :ether}, protocol) do
      {:ok, more, layers} -> {:ok, [dependency | more], layers}
      error -> error
    end
  end

  defp network(%{network: protocol} = layers, protocol), do: {:ok, [], layers}

  defp network(%{network: nil} = layers, protocol) do
    case below(layers, protocol) do
      {:ok, dependency} -> {:ok, [dependency], %{layers | network: protocol}}
      error -> error
    end
  end

  defp network(%{network: there}, protocol), do: {:error, {there, protocol}}

  # The test that the network protocol is `protocol`, in the terms of the layer below.
  defp below(%{link: :inet}, protocol) when protocol in [:ip, :ip6], do: {:ok, nf_proto(protocol)}
  defp below(%{link: :inet}, protocol), do: {:error, {:inet, protocol}}
  defp below(%{link: :netdev}, protocol), do: {:ok, meta_protocol(protocol)}

  defp below(%{link: :ether, family: :bridge}, protocol) when protocol in [:ip, :ip6],
    do: {:ok, meta_protocol(protocol)}

  defp below(%{link: :ether}, protocol), do: {:ok, ether_type(protocol)}
  defp below(%{link: :vlan, tags: tags}, protocol), do: {:ok, vlan_type(protocol, tags)}
  defp below(%{link: there}, protocol), do: {:error, {there, protocol}}

  defp transport(%{transport: protocol} = layers, protocol), do: {:ok, [], layers}

  defp transport(%{transport: nil, network: nil} = layers, protocol) do
    case Protocol.fetch!(protocol).network do
      nil ->
        {:ok, [l4_proto(protocol)], %{layers | transport: protocol}}

      network ->
        with {:ok, dependency} <- special(layers, network) do
          {:ok, [dependency, l4_proto(protocol)],
           %{layers | network: network, transport: protocol}}
        end
    end
  end

  defp transport(%{transport: nil, network: network} = layers, protocol)
       when network in [:ip, :ip6] or (is_tuple(network) and elem(network, 0) == :one_of) do
    {:ok, [l4_proto(protocol)], %{layers | transport: protocol}}
  end

  defp transport(%{transport: nil, network: there}, protocol), do: {:error, {there, protocol}}
  defp transport(%{transport: there}, protocol), do: {:error, {there, protocol}}

  # For ICMP a bridge table asks for the Ethernet type, where for addresses it would ask for meta
  # protocol.
  defp special(%{link: :ether}, network), do: {:ok, ether_type(network)}
  defp special(layers, network), do: below(layers, network)

  defp exthdr(%{network: network} = layers, network, _protocol), do: {:ok, [], layers}

  defp exthdr(%{network: nil} = layers, network, _protocol) do
    case special(layers, network) do
      {:ok, dependency} -> {:ok, [dependency], %{layers | network: network}}
      error -> error
    end
  end

  defp exthdr(%{network: there}, _network, protocol), do: {:error, {there, protocol}}

  defp transport_option(%{transport: there} = layers, protocol)
       when there in [nil, :unknown] or there == protocol,
       do: {:ok, [], layers}

  defp transport_option(%{transport: {:one_of, protocols}} = layers, protocol) do
    if protocol in protocols, do: {:ok, [], layers}, else: {:error, {hd(protocols), protocol}}
  end

  defp transport_option(%{transport: there}, protocol), do: {:error, {there, protocol}}

  defp nf_proto(protocol),
    do: [Expr.meta(:nfproto), Expr.cmp(:eq, <<Protocol.number(protocol, :family)>>)]

  defp meta_protocol(protocol), do: [Expr.meta(:protocol), ether_number(protocol)]

  defp l4_proto(protocol),
    do: [Expr.meta(:l4proto), Expr.cmp(:eq, <<Protocol.number(protocol, :inet)>>)]

  defp ether_type(protocol), do: [Expr.payload(:link, 12, 2), ether_number(protocol)]

  defp vlan_type(protocol, tags),
    do: [Expr.payload(:link, 12 + 4 * tags, 2), ether_number(protocol)]

  defp ether_number(protocol), do: Expr.cmp(:eq, <<Protocol.number(protocol, :ether)::16>>)

  # -- what a segment says -----------------------------------------------------------------------

  @doc false
  # The layers after a segment. Only equality says something: with one value, or with a set of
  # them.
  @spec observe(t(), [Expr.t()]) :: t()
  def observe(layers, [%Expr{name: name} = load, %Expr{name: :cmp, data: %{op: :eq} = data}])
      when is_binary(data.data) and name != :inner do
    value = data.data

    case Linx.Netfilter.Dependencies.Join.parts([load, Expr.cmp(:eq, value)], layers) do
      nil ->
        tested(layers, load, [value])

      parts ->
        Enum.reduce(parts, layers, fn [load, cmp], layers ->
          tested(layers, load, [cmp.data.data])
        end)
    end
  end

  def observe(layers, [%Expr{name: name} = load, %Expr{name: :__anon_set, data: data}])
      when name != :inner and not is_map_key(data, :data_type) and
             not is_map_key(data, :lookup_flags) do
    values = for number <- data.elements, is_integer(number), do: number
    if values == [], do: layers, else: tested(layers, load, Enum.map(values, &{:number, &1}))
  end

  # The elements of a set are not at hand when a dump's rule is read.
  def observe(%{dump?: true} = layers, [
        %Expr{name: :payload} = load,
        %Expr{name: :lookup, data: data}
      ])
      when not is_map_key(data, :dreg) and not is_map_key(data, :flags),
      do: tested(layers, load, :set)

  def observe(layers, [%Expr{name: :inner} | _] = segment) do
    case Tunnel.unwrap(segment) do
      {tunnel, bare} -> put_inner(layers, tunnel, layers |> inner(tunnel) |> observe(bare))
      nil -> layers
    end
  end

  def observe(layers, _segment), do: layers

  @doc false
  # The part of a comparison's value that decides which implicit dependencies follow: all of it
  # (`:whole`), its ICMP type (`:icmp`), or none.
  @spec significant(Expr.t()) :: :whole | :icmp | nil
  def significant(%Expr{name: :meta, data: %{key: key}}),
    do: if(key in [:l4proto, :nfproto, :protocol, :iiftype], do: :whole)

  def significant(%Expr{name: :payload, data: %{base: base, offset: offset, len: len} = data}) do
    case base do
      :link when offset + len > 12 -> :whole
      :network when offset <= 9 and offset + len > 6 -> :whole
      :transport when offset == 0 -> if(type?(data), do: :icmp)
      _other -> nil
    end
  end

  def significant(%Expr{name: :inner, data: %{expr: %Expr{name: name} = load}})
      when name != :inner,
      do: significant(load)

  def significant(_load), do: nil

  # A load without a name may be of an ICMP type, or of one and the fields behind it.
  defp type?(%{field: name}), do: name in [:icmp_type, :icmpv6_type]
  defp type?(_data), do: true

  defp tested(
         %{transport: protocol} = layers,
         %Expr{name: :payload, data: %{base: :transport, offset: 0, len: 1}},
         :set
       )
       when protocol in [:icmp, :icmpv6],
       do: %{layers | icmp: :set}

  defp tested(layers, _load, :set), do: layers

  defp tested(layers, %Expr{name: :meta, data: %{key: :l4proto}}, values),
    do: %{layers | transport: protocols(values, :inet)}

  defp tested(%{family: family} = layers, %Expr{name: :meta, data: %{key: :nfproto}}, values)
       when family in [:inet, :netdev, :bridge],
       do: %{layers | network: protocols(values, :family)}

  defp tested(%{family: family} = layers, %Expr{name: :meta, data: %{key: :protocol}}, values)
       when family in [:bridge, :netdev],
       do: ethertype(layers, protocols(values, :ether))

  defp tested(layers, %Expr{name: :meta, data: %{key: :iiftype}}, [<<@ethernet::native-16>>]),
    do: %{layers | link: :ether}

  defp tested(
         %{link: link} = layers,
         %Expr{name: :payload, data: %{base: :link, offset: 12, len: 2}},
         values
       )
       when link in [:ether, :vlan],
       do: ethertype(%{layers | link: :ether, tags: 0}, protocols(values, :ether))

  defp tested(
         %{link: :vlan, tags: tags} = layers,
         %Expr{name: :payload, data: %{base: :link, offset: o, len: 2}},
         values
       )
       when o == 12 + 4 * tags,
       do: ethertype(layers, protocols(values, :ether))

  defp tested(
         %{network: :ip} = layers,
         %Expr{name: :payload, data: %{base: :network, offset: 9, len: 1}},
         values
       ),
       do: %{layers | transport: protocols(values, :inet)}

  defp tested(
         %{network: :ip6} = layers,
         %Expr{name: :payload, data: %{base: :network, offset: 6, len: 1}},
         values
       ),
       do: %{layers | transport: protocols(values, :inet)}

  defp tested(
         %{transport: protocol} = layers,
         %Expr{name: :payload, data: %{base: :transport, offset: 0, len: 1}},
         values
       )
       when protocol in [:icmp, :icmpv6],
       do: %{layers | icmp: Enum.map(values, &number/1)}

  defp tested(layers, _load, _values), do: layers

  defp ethertype(layers, :vlan), do: %{layers | link: :vlan, tags: layers.tags + 1}

  defp ethertype(%{family: family} = layers, _network) when family in [:ip, :ip6, :arp],
    do: layers

  defp ethertype(layers, network), do: %{layers | network: network}

  defp protocols([value], layer), do: protocol_of(value, layer)
  defp protocols(values, layer), do: {:one_of, Enum.map(values, &protocol_of(&1, layer))}

  defp protocol_of(value, layer), do: Protocol.by_number(layer, number(value)) || :unknown

  defp number({:number, n}), do: n
  defp number(bytes), do: :binary.decode_unsigned(bytes)

  # -- names -------------------------------------------------------------------------------------

  @doc false
  # The segment with `field:` on each load whose protocol is known and whose bits are a field's.
  @spec name(t(), [Expr.t()]) :: [Expr.t()]
  def name(layers, segment), do: name(layers, segment, [])

  defp name(_layers, [], acc), do: Enum.reverse(acc)

  defp name(layers, [%Expr{name: kind, data: data} = expr | rest], acc)
       when kind in [:payload, :exthdr] do
    case field(layers, kind, data, rest) do
      nil -> name(layers, rest, [expr | acc])
      field -> name(layers, rest, [%{expr | data: Map.put(data, :field, field.name)} | acc])
    end
  end

  defp name(layers, [%Expr{name: :inner, data: %{type: tunnel, expr: load}} = expr | rest], acc)
       when is_atom(tunnel) and is_struct(load, Expr) do
    case field(inside(layers, load, tunnel), load.name, load.data, rest) do
      nil ->
        name(layers, rest, [expr | acc])

      field ->
        load = %{load | data: Map.put(load.data, :field, field.name)}
        name(layers, rest, [%{expr | data: %{expr.data | expr: load}} | acc])
    end
  end

  defp name(layers, [expr | rest], acc), do: name(layers, rest, [expr | acc])

  # The tunnel's own header has no layer: it is named by the tunnel.
  defp inside(layers, %Expr{data: %{base: :tunnel}}, tunnel),
    do: %{inner(layers, tunnel) | link: tunnel}

  defp inside(layers, _load, tunnel), do: inner(layers, tunnel)

  @doc false
  def field(layers, kind, data, rest \\ [])

  def field(layers, :payload, %{base: base, offset: offset, len: len}, rest) do
    with protocol when is_atom(protocol) and protocol not in [nil, :unknown, :inet, :netdev] <-
           protocol(layers, base, offset) do
      exact(protocol, offset, len, rest, layers.icmp) ||
        prefix(protocol, offset, len, layers.icmp)
    else
      _ -> nil
    end
  end

  def field(_layers, :exthdr, %{op: :tcpopt}, _rest), do: nil

  def field(layers, :exthdr, %{op: op, type: type} = data, rest) when op in [:ipv6, :ipv4] do
    network = if op == :ipv6, do: :ip6, else: :ip

    if layers.network == network do
      bits = {Map.get(data, :offset, 0) * 8, Map.get(data, :len, 1) * 8}
      option(op, type, bits, rest)
    end
  end

  def field(_layers, _kind, _data, _rest), do: nil

  defp option(op, type, {offset, length}, rest) do
    Field.at(op, type, offset, length) ||
      with {at, width} <- masked(rest, offset, length), do: Field.at(op, type, at, width)
  end

  defp protocol(%{link: link, tags: tags}, :link, offset) when link in [:ether, :vlan] do
    cond do
      offset < 14 -> :ether
      link == :vlan and tags == 1 and offset < 18 -> :vlan
      true -> nil
    end
  end

  defp protocol(%{link: tunnel}, :tunnel, _offset) when tunnel in [:vxlan, :geneve], do: tunnel
  defp protocol(layers, :network, _offset), do: layers.network
  # After `meta l4proto { tcp, udp }` the ports are where all of these have them.
  defp protocol(%{transport: {:one_of, protocols}}, :transport, offset) when offset in [0, 2],
    do: if(Enum.all?(protocols, &Protocol.ports?/1), do: :th)

  defp protocol(layers, :transport, _offset), do: layers.transport
  defp protocol(_layers, _base, _offset), do: nil

  @icmp_types Protocol.icmp_types()

  @doc false
  # The ICMP type that a value begins with, if some field depends on it; nil for any other.
  @spec icmp_type(binary()) :: byte() | nil
  def icmp_type(<<type, _code::binary>>) when type in @icmp_types, do: type
  def icmp_type(_value), do: nil

  defp exact(protocol, offset, len, rest, icmp) do
    fitting(protocol, offset * 8, len * 8, icmp) ||
      with {at, width} <- masked(rest, offset * 8, len * 8),
           do: fitting(protocol, at, width, icmp)
  end

  # A field that exists in some ICMP types is named where the rule has tested for one of them: its
  # name would bring the test along.
  defp fitting(protocol, offset, length, icmp),
    do: protocol |> Field.all_at(offset, length) |> Enum.find(&fits?(&1, icmp))

  defp fits?(%Field{types: nil}, _icmp), do: true
  # The test that one type asks for is no look-up.
  defp fits?(%Field{types: types}, :set), do: match?([_, _ | _], types)
  defp fits?(%Field{types: types}, icmp), do: Enum.any?(icmp, &(&1 in types))

  # A mask of consecutive bits right after the load picks a field of part of the bytes.
  defp masked([%Expr{name: :bitwise, data: %{mask: mask}} | _], offset, length)
       when byte_size(mask) * 8 == length do
    n = :binary.decode_unsigned(mask)

    if n != 0 do
      low = trailing_zeros(n, 0)
      width = bit_length(Bitwise.bsr(n, low), 0)

      if Bitwise.bsr(n, low) == Bitwise.bsl(1, width) - 1,
        do: {offset + length - low - width, width}
    end
  end

  defp masked(_rest, _offset, _length), do: nil

  # A prefix on a byte boundary is compared without a mask, on the bytes that count.
  defp prefix(protocol, offset, len, icmp) do
    with {:ok, %{fields: fields}} <- Protocol.fetch(protocol) do
      Enum.find(fields, fn field ->
        field.type in [:ipv4_addr, :ipv6_addr, :ether_addr] and field.offset == offset * 8 and
          field.length > len * 8 and fits?(field, icmp)
      end)
    else
      :error -> nil
    end
  end

  defp trailing_zeros(n, acc),
    do: if(Bitwise.band(n, 1) == 1, do: acc, else: trailing_zeros(Bitwise.bsr(n, 1), acc + 1))

  defp bit_length(0, acc), do: acc
  defp bit_length(n, acc), do: bit_length(Bitwise.bsr(n, 1), acc + 1)
end
