defmodule Linx.NFT.Parser.Primary do
  @moduledoc false
  # The expressions that load something: header fields, options and extension headers, metadata, conntrack, routing, sockets,
  # generated numbers. A word that begins none of them is a constant.

  import Linx.NFT.Parser.Tokens

  alias Linx.Netfilter.Field
  alias Linx.NFT.Parser.Expression

  @payload ~w(ether vlan arp ip icmp igmp ip6 icmpv6 tcp udp udplite sctp dccp th ah esp comp gre vxlan geneve)
  @payload_protocols Map.new(@payload, &{&1, String.to_atom(&1)})
  @extension Map.new(~w(hbh rt rt0 rt2 srh frag dst mh), &{&1, String.to_atom(&1)})
  @tunnels ~w(gre vxlan geneve gretap)

  # Without "meta" in front only those that nft's grammar has always taken so.
  @meta_short ~w(mark iif iifname iiftype iifgroup oif oifname oiftype oifgroup skuid skgid nftrace rtclassid ibriport ibrname
                 obriport obrname pkttype cpu cgroup ipsec time day hour)
  @meta_keys %{
    "length" => :len,
    "protocol" => :protocol,
    "priority" => :priority,
    "mark" => :mark,
    "iif" => :iif,
    "oif" => :oif,
    "iifname" => :iifname,
    "oifname" => :oifname,
    "iiftype" => :iiftype,
    "oiftype" => :oiftype,
    "skuid" => :skuid,
    "skgid" => :skgid,
    "nftrace" => :nftrace,
    "rtclassid" => :rtclassid,
    "secmark" => :secmark,
    "nfproto" => :nfproto,
    "l4proto" => :l4proto,
    "ibriport" => :bri_iifname,
    "ibrname" => :bri_iifname,
    "obriport" => :bri_oifname,
    "obrname" => :bri_oifname,
    "pkttype" => :pkttype,
    "cpu" => :cpu,
    "iifgroup" => :iifgroup,
    "oifgroup" => :oifgroup,
    "cgroup" => :cgroup,
    "random" => :prandom,
    "ipsec" => :secpath,
    "secpath" => :secpath,
    "iifkind" => :iifkind,
    "oifkind" => :oifkind,
    "ibrpvid" => :bri_iifpvid,
    "ibrvproto" => :bri_iifvproto,
    "ibrhwaddr" => :bri_iifhwaddr,
    "broute" => :bri_broute,
    "time" => :time_ns,
    "day" => :time_day,
    "hour" => :time_hour,
    "sdif" => :sdif,
    "sdifname" => :sdifname
  }

  @ct_keys %{
    "state" => :state,
    "direction" => :direction,
    "status" => :status,
    "mark" => :mark,
    "secmark" => :secmark,
    "expiration" => :expiration,
    "helper" => :helper,
    "l3proto" => :l3proto,
    "saddr" => :src,
    "daddr" => :dst,
    "protocol" => :protocol,
    "proto-src" => :proto_src,
    "proto-dst" => :proto_dst,
    "label" => :labels,
    "packets" => :pkts,
    "bytes" => :bytes,
    "avgpkt" => :avgpkt,
    "zone" => :zone,
    "event" => :eventmask,
    "id" => :id
  }

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
  # The words that can begin a match, for suggestions.
  def words,
    do:
      Map.keys(@payload_protocols) ++
        Map.keys(@extension) ++ @meta_short ++ ~w(meta ct fib rt socket osf numgen jhash symhash)

  @doc false
  def load([{:identifier, "meta", meta} | rest]), do: meta_key(rest, meta)
  def load([{:identifier, "ct", meta} | rest]), do: ct(rest, meta)
  def load([{:identifier, "fib", meta} | rest]), do: fib(rest, meta)
  def load([{:identifier, "socket", meta} | rest]), do: socket(rest, meta)
  def load([{:identifier, "osf", meta} | rest]), do: osf(rest, meta)
  def load([{:identifier, "numgen", meta} | rest]), do: numgen(rest, meta)
  def load([{:identifier, "jhash", meta} | rest]), do: jhash(rest, meta)
  def load([{:identifier, "symhash", meta} | rest]), do: symhash(rest, meta)

  def load([{:identifier, "ipsec", meta}, {:identifier, dir, _} | rest])
      when dir in ["in", "out"], do: ipsec(dir, rest, meta)

  def load([{:identifier, "tunnel", meta} | rest]), do: tunnel(rest, meta)
  def load([{:identifier, "exthdr", meta} | rest]), do: exthdr_exists(rest, meta)

  def load([{:identifier, "rt", meta}, {:identifier, key, _} | rest])
      when key in ["classid", "nexthop", "mtu", "ipsec"],
      do: {{:rt, route_key(key), nil, meta}, rest}

  def load([
        {:identifier, "rt", meta},
        {:identifier, family, _},
        {:identifier, "nexthop", _} | rest
      ])
      when family in ["ip", "ip6"],
      do: {{:rt, :nexthop, family(family), meta}, rest}

  def load([{:identifier, "tcp", meta}, {:identifier, "option", _} | rest]),
    do: tcp_option(rest, meta)

  def load([{:identifier, "ip", meta}, {:identifier, "option", _} | rest]),
    do: ip_option(rest, meta)

  def load([{:identifier, "sctp", meta}, {:identifier, "chunk", _} | rest]), do: chunk(rest, meta)

  def load([{:identifier, "dccp", meta}, {:identifier, "option", _}, {:integer, n, _} | rest]),
    do: {{:option_exists, :dccp, n, meta}, rest}

  # A tunnel's inner packet: "vxlan tcp dport". Its own fields come first.
  def load([{:identifier, tunnel, meta}, {:identifier, inner, _} | rest] = tokens)
      when tunnel in @tunnels and is_map_key(@payload_protocols, inner) do
    {_, after_tunnel} = List.pop_at(tokens, 0)

    case {tunnel, rest} do
      _ ->
        {expr, rest} = load(after_tunnel)
        {{:inner, known(tunnel), expr, meta}, rest}
    end
  end

  def load([{:identifier, protocol, meta}, {:identifier, field, _} | rest] = tokens)
      when is_map_key(@payload_protocols, protocol) do
    payload(Map.fetch!(@payload_protocols, protocol), field, rest, meta, tokens)
  end

  def load([{:identifier, header, meta}, {:identifier, _, _} | _] = tokens)
      when is_map_key(@extension, header) do
    [_ | rest] = tokens
    extension(Map.fetch!(@extension, header), rest, meta)
  end

  # "ip saddr" where "ip" stands for itself is a constant only if no field follows; a keyword alone is one too.
  def load([{:identifier, word, meta} | rest]) when word in @meta_short,
    do: {{:meta, Map.fetch!(@meta_keys, word), meta}, rest}

  def load([{:identifier, word, meta} | rest]), do: {{:identifier, word, meta}, rest}

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

  defp meta_key([{:identifier, word, meta2} | rest], meta) do
    case Map.fetch(@meta_keys, word) do
      {:ok, key} -> {{:meta, key, meta}, rest}
      :error -> unexpected([{:identifier, word, meta2}], "a meta key", Map.keys(@meta_keys))
    end
  end

  defp meta_key(tokens, _meta), do: unexpected(tokens, "a meta key")

  defp ct([{:identifier, dir, _} | rest], meta) when dir in ["original", "reply"] do
    dir = if dir == "original", do: :original, else: :reply

    case rest do
      [{:identifier, family, _}, {:identifier, key, _} | rest]
      when family in ["ip", "ip6"] and key in ["saddr", "daddr"] ->
        {{:ct, {ct_address(family, key), dir}, meta}, rest}

      [{:identifier, key, _} | rest] when is_map_key(@ct_keys, key) ->
        {{:ct, {Map.fetch!(@ct_keys, key), dir}, meta}, rest}

      tokens ->
        unexpected(tokens, "a ct key", Map.keys(@ct_keys))
    end
  end

  defp ct([{:identifier, key, _} | rest], meta) when is_map_key(@ct_keys, key),
    do: {{:ct, Map.fetch!(@ct_keys, key), meta}, rest}

  defp ct(tokens, _meta), do: unexpected(tokens, "a ct key", Map.keys(@ct_keys))

  defp ct_address("ip", "saddr"), do: :src_ip
  defp ct_address("ip", "daddr"), do: :dst_ip
  defp ct_address("ip6", "saddr"), do: :src_ip6
  defp ct_address("ip6", "daddr"), do: :dst_ip6

  @fib_flags ~w(saddr daddr mark iif oif)

  defp fib(tokens, meta) do
    {flags, rest} = fib_flags(tokens, [])

    case rest do
      [{:identifier, "oifname", _} | rest] -> {{:fib, :oifname, flags, meta}, rest}
      [{:identifier, "oif", _} | rest] -> {{:fib, :oif, flags, meta}, rest}
      [{:identifier, "type", _} | rest] -> {{:fib, :addrtype, flags, meta}, rest}
      [{:identifier, "check", _} | rest] -> {{:fib, :check, flags, meta}, rest}
      tokens -> unexpected(tokens, "oif, oifname or type", ~w(oif oifname type))
    end
  end

  defp fib_flags([{:identifier, flag, _}, {:dot, _} | rest], acc) when flag in @fib_flags,
    do: fib_flags(rest, [known(flag) | acc])

  defp fib_flags([{:identifier, flag, _} | rest], acc) when flag in @fib_flags,
    do: {Enum.reverse([known(flag) | acc]), rest}

  defp fib_flags(tokens, _acc),
    do: unexpected(tokens, "what to look up: saddr, daddr, mark, iif or oif", @fib_flags)

  defp socket([{:identifier, "transparent", _} | rest], meta),
    do: {{:socket, :transparent, nil, meta}, rest}

  defp socket([{:identifier, "mark", _} | rest], meta), do: {{:socket, :mark, nil, meta}, rest}

  defp socket([{:identifier, "wildcard", _} | rest], meta),
    do: {{:socket, :wildcard, nil, meta}, rest}

  defp socket([{:identifier, "cgroupv2", _}, {:identifier, "level", _} | rest], meta) do
    {level, rest} = integer(rest)
    {{:socket, :cgroupv2, level, meta}, rest}
  end

  defp socket(tokens, _meta),
    do:
      unexpected(
        tokens,
        "transparent, mark, wildcard or cgroupv2 level",
        ~w(transparent mark wildcard cgroupv2)
      )

  defp osf([{:identifier, "ttl", _}, {:identifier, ttl, _} | rest], meta)
       when ttl in ["loose", "skip"],
       do: osf_key(rest, if(ttl == "loose", do: :loose, else: :skip), meta)

  defp osf(rest, meta), do: osf_key(rest, :strict, meta)

  defp osf_key([{:identifier, "name", _} | rest], ttl, meta), do: {{:osf, :name, ttl, meta}, rest}

  defp osf_key([{:identifier, "version", _} | rest], ttl, meta),
    do: {{:osf, :version, ttl, meta}, rest}

  defp osf_key(tokens, _ttl, _meta),
    do: unexpected(tokens, "name or version", ~w(name version ttl))

  defp numgen([{:identifier, type, _}, {:identifier, "mod", _} | rest], meta)
       when type in ["inc", "random"] do
    {modulus, rest} = integer(rest)
    {offset, rest} = offset(rest)
    {{:numgen, if(type == "inc", do: :incremental, else: :random), modulus, offset, meta}, rest}
  end

  defp numgen(tokens, _meta), do: unexpected(tokens, "inc mod N or random mod N", ~w(inc random))

  defp jhash(tokens, meta) do
    {key, rest} = Expression.load(tokens)
    rest = word(rest, "mod")
    {modulus, rest} = integer(rest)

    {seed, rest} =
      case rest do
        [{:identifier, "seed", _} | rest] -> integer(rest)
        rest -> {nil, rest}
      end

    {offset, rest} = offset(rest)
    {{:jhash, key, modulus, seed, offset, meta}, rest}
  end

  defp symhash(tokens, meta) do
    {modulus, rest} = tokens |> word("mod") |> integer()
    {offset, rest} = offset(rest)
    {{:symhash, modulus, offset, meta}, rest}
  end

  defp offset([{:identifier, "offset", _} | rest]), do: integer(rest)
  defp offset(rest), do: {0, rest}

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

  defp route_key("classid"), do: :classid
  defp route_key("nexthop"), do: :nexthop
  defp route_key("mtu"), do: :tcpmss
  defp route_key("ipsec"), do: :xfrm

  @doc false
  def family("ip"), do: :ip
  def family("ip6"), do: :ip6

  @bases %{"ll" => :link, "nh" => :network, "th" => :transport, "ih" => :inner}

  @doc false
  # @th,16,16
  def raw_payload([{:at, meta}, {:identifier, base, meta2}, {:comma, _} | rest]) do
    base =
      Map.get(@bases, base) ||
        unexpected([{:identifier, base, meta2}], "ll, nh, th or ih", Map.keys(@bases))

    {offset, rest} = integer(rest)
    {len, rest} = rest |> expect(:comma) |> integer()
    {{:raw_payload, base, offset, len, meta}, rest}
  end

  def raw_payload([{:at, meta} | _]),
    do: fail(meta, "a set has no value here: @name stands right of a match")

  @doc false
  # accept, jump NAME, ...
  def verdict([{:identifier, word, meta} | rest])
      when word in ["accept", "drop", "continue", "return"],
      do: {{:verdict, known(word), meta}, rest}

  def verdict([{:identifier, word, meta} | rest]) when word in ["jump", "goto"] do
    {name, rest} = name(rest, "chain")
    {{:verdict, {known(word), name}, meta}, rest}
  end

  def verdict([{:identifier, "queue", meta} | rest]) do
    case rest do
      [{:identifier, "to", _}, {:integer, n, _} | rest] -> {{:verdict, {:queue, n}, meta}, rest}
      rest -> {{:verdict, {:queue, 0}, meta}, rest}
    end
  end

  def verdict(tokens),
    do: unexpected(tokens, "a verdict", ~w(accept drop continue return jump goto))
end
