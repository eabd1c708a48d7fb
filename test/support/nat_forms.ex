defmodule Linx.Test.NatForms do
  @moduledoc false
  # The NAT statements of nft's grammar: kind by family, by address, by port, by flags, with and
  # without `to`. Each is a rule that nft 1.1 loads.

  @maps """
  map ports { type inet_service : inet_service; elements = { 80 : 8080, 443 : 8443 } }
  map addr4 { type ipv4_addr : ipv4_addr; elements = { 192.0.2.1 : 198.51.100.1 } }
  map addr6 { type ipv6_addr : ipv6_addr; elements = { 2001:db8::1 : 2001:db8:1::1 } }
  map i4 { type ipv4_addr : interval ipv4_addr; flags interval; elements = { 192.0.2.0/24 : \
  198.51.100.0/24 } }
  map i6 { type ipv6_addr : interval ipv6_addr; flags interval; elements = { 2001:db8::/64 : \
  2001:db8:1::/64 } }
  map p4 { type ipv4_addr . inet_service : ipv4_addr . inet_service; elements = { 192.0.2.1 . 80 \
  : 198.51.100.1 . 81 } }
  map p6 { type ipv6_addr . inet_service : ipv6_addr . inet_service; elements = { 2001:db8::1 . \
  80 : 2001:db8::2 . 81 } }
  map q4 { type inet_proto . inet_service : ipv4_addr . inet_service; elements = { tcp . 80 : \
  198.51.100.1 . 81, udp . 53 : 198.51.100.2 . 5353 } }
  map q6 { type inet_proto . inet_service : ipv6_addr . inet_service; elements = { tcp . 80 : \
  2001:db8::2 . 81 } }
  map r4 { type inet_proto . inet_service : interval ipv4_addr . inet_service; flags interval; \
  elements = { tcp . 80-89 : 198.51.100.1-198.51.100.9 . 8000-8010 } }
  """

  @doc "The maps that the rules of a table name."
  def maps, do: @maps

  @doc "`[{family, chain, rule}]`, chain `pre` or `post`."
  def rules do
    for family <- [:ip, :ip6, :inet],
        {kind, chain} <- [dnat: "pre", snat: "post"],
        network <- if(family == :inet, do: [:ip, :ip6], else: [family]),
        rule <- targets(kind, family, network) ++ ports(kind, family),
        do: {family, chain, rule}
  end

  @doc "Rules without an address of their own: masquerade and redirect."
  def local do
    for family <- [:ip, :ip6, :inet],
        {kind, chain} <- [redirect: "pre", masquerade: "post"],
        rule <- local(kind),
        do: {family, chain, rule}
  end

  # -- an address --------------------------------------------------------------------------------

  defp targets(kind, family, network) do
    word = if family == :inet, do: "#{network} ", else: ""

    alone =
      for {addr, at} <- Enum.with_index(addresses(network)),
          to <- tos(word),
          do: "#{kind} #{to}#{addr}#{flags(at)}"

    with_port =
      for {addr, at} <- Enum.with_index(addresses(network)),
          {port, by} <- Enum.with_index(port_values()),
          to <- Enum.take(tos(word), 1 + rem(at + by, 2)),
          do: "meta l4proto tcp #{kind} #{to}#{bracketed(addr, network)}:#{port}#{flags(at + by)}"

    shaped =
      for {shape, addr} <- shapes(network), w <- Enum.uniq([word, "#{network} "]) do
        "#{kind} #{w}#{shape} to #{addr}"
      end

    alone ++ with_port ++ shaped ++ pairs(kind, word, network) ++ inferred(kind, family, network)
  end

  # Without a family word `to` is optional.
  defp tos(""), do: ["to ", ""]
  defp tos(word), do: [word <> "to "]

  defp addresses(:ip) do
    [
      "198.51.100.1",
      "198.51.100.1-198.51.100.9",
      "ip saddr",
      "ip saddr map { 192.0.2.1 : 198.51.100.1, 192.0.2.2 : 198.51.100.2 }",
      "ip daddr map { 192.0.2.0/24 : 198.51.100.1, 192.0.3.1-192.0.3.9 : 198.51.100.2 }",
      "ip saddr map @addr4",
      "meta mark map { 1 : 198.51.100.1, 2 : 198.51.100.2 }",
      "numgen inc mod 2 map { 0 : 198.51.100.1, 1 : 198.51.100.2 }",
      "jhash ip saddr mod 2 map { 0 : 198.51.100.1, 1 : 198.51.100.2 }",
      "iifname map { \"lo\" : 198.51.100.1 }",
      "ip saddr & 0.0.0.255 | 10.0.0.0"
    ]
  end

  defp addresses(:ip6) do
    [
      "2001:db8:1::1",
      "2001:db8:1::1-2001:db8:1::9",
      "[2001:db8:1::1]",
      "[2001:db8:1::1]-[2001:db8:1::9]",
      "ip6 saddr",
      "ip6 saddr map { 2001:db8::1 : 2001:db8:1::1, 2001:db8::2 : 2001:db8:1::2 }",
      "ip6 daddr map { 2001:db8::/64 : 2001:db8:1::1 }",
      "ip6 saddr map @addr6",
      "numgen random mod 2 map { 0 : 2001:db8:1::1, 1 : 2001:db8:1::2 }"
    ]
  end

  defp port_values,
    do: ["8080", "8080-8089", "tcp dport map { 80 : 8080, 443 : 8443 }", "tcp sport map @ports"]

  # An address beside a port stands in brackets, or cannot be told from it.
  defp bracketed(<<c, _::binary>> = addr, :ip6) when c in ?0..?9,
    do: addr |> String.split("-") |> Enum.map_join("-", &"[#{&1}]")

  defp bracketed(addr, _network), do: addr

  defp shapes(:ip) do
    [
      {"prefix", "198.51.100.0/24"},
      {"prefix", "ip saddr map { 192.0.2.0/24 : 198.51.100.0/24 }"},
      {"prefix", "ip daddr map @i4"},
      {"interval", "ip saddr map { 192.0.2.1 : 198.51.100.1-198.51.100.9 }"},
      {"interval", "ip daddr map @i4"}
    ]
  end

  defp shapes(:ip6) do
    [
      {"prefix", "2001:db8:1::/64"},
      {"prefix", "ip6 saddr map { 2001:db8::/64 : 2001:db8:1::/64 }"},
      {"prefix", "ip6 daddr map @i6"},
      {"interval", "ip6 saddr map { 2001:db8::1 : 2001:db8:1::1-2001:db8:1::9 }"}
    ]
  end

  # -- an address and a port ---------------------------------------------------------------------

  defp pairs(kind, word, network) do
    constants =
      for {pair, at} <- Enum.with_index(constants(network)),
          do: "tcp dport 80 #{kind} #{network} addr . port to #{pair}#{flags(at)}"

    loads =
      for pair <- loads(network), do: "#{kind} #{network} addr . port to #{pair}"

    mapped =
      for {map, at} <- Enum.with_index(pair_maps(network)),
          to <- ["#{network} addr . port to " | tos(word)],
          do: "#{kind} #{to}#{map}#{flags(at)}"

    constants ++ loads ++ mapped
  end

  defp constants(:ip),
    do: [
      "198.51.100.1 . 8080",
      "198.51.100.1 . http-alt",
      "198.51.100.1 . tcp sport",
      "ip saddr . 81"
    ]

  defp constants(:ip6),
    do: ["2001:db8:1::1 . 8080", "[2001:db8:1::1] . 8080", "ip6 saddr . tcp sport"]

  defp loads(:ip), do: ["ip saddr . tcp sport", "198.51.100.1 . udp sport"]
  defp loads(:ip6), do: ["ip6 saddr . tcp sport", "2001:db8:1::1 . udp dport"]

  # The key matches the transport: by its port, or by the protocol in the concatenation.
  defp pair_maps(:ip) do
    [
      "tcp dport map { 80 : 198.51.100.1 . 81, 443 : 198.51.100.2 . 8443 }",
      "ip saddr . tcp dport map { 192.0.2.1 . 80 : 198.51.100.1 . 81 }",
      "ip saddr . tcp dport map { 192.0.2.0/24 . 80-89 : 198.51.100.1 . 81 }",
      "ip saddr . tcp dport map { 192.0.2.1 . 80 : 198.51.100.1-198.51.100.9 . 8000-8009 }",
      "ip saddr . tcp dport map @p4",
      "meta l4proto . th dport map { tcp . 80 : 198.51.100.1 . 81, udp . 53 : 198.51.100.2 " <>
        ". 53 }",
      "meta l4proto . th dport map { tcp . 80 : 198.51.100.1 . 8000-8009 }",
      "meta l4proto . th dport map { tcp . 80-89 : 198.51.100.1-198.51.100.9 . 8000-8009 }",
      "meta l4proto . th dport map @q4",
      "meta l4proto . th dport map @r4",
      "ip protocol . th dport map { udp . 53 : 198.51.100.1 . 5353 }",
      "ip protocol . th dport map @q4",
      "th dport . meta l4proto map { 80 . tcp : 198.51.100.1 . 81 }",
      "ip daddr . meta l4proto . th dport map { 192.0.2.1 . tcp . 80 : 198.51.100.1 . 81 }",
      "ip daddr . ip protocol . th dport map { 192.0.2.0/24 . udp . 53 : 198.51.100.1 . 54-60 }",
      "meta mark . meta l4proto map { 1 . tcp : 198.51.100.1 . 81 }"
    ]
  end

  defp pair_maps(:ip6) do
    [
      "tcp dport map { 80 : 2001:db8:1::1 . 81 }",
      "ip6 saddr . udp dport map { 2001:db8::1 . 53 : 2001:db8:1::1 . 5353 }",
      "ip6 saddr . tcp dport map @p6",
      "meta l4proto . th dport map { tcp . 80 : 2001:db8:1::1 . 81, udp . 53 : " <>
        "2001:db8:1::2 . 53 }",
      "meta l4proto . th dport map @q6",
      "ip6 nexthdr . th dport map { tcp . 80 : 2001:db8:1::1 . 81 }",
      "th dport . ip6 nexthdr map { 53 . udp : 2001:db8:1::1 . 5353 }",
      "ip6 daddr . meta l4proto . th dport map { 2001:db8::1 . tcp . 80 : 2001:db8:1::1 . 81 }"
    ]
  end

  # In an inet table the key of a map to addresses tells the family, and so does a match before
  # it.
  defp inferred(kind, :inet, :ip) do
    [
      "#{kind} to ip saddr map { 192.0.2.1 : 198.51.100.1, 192.0.2.2 : 198.51.100.2 }",
      "#{kind} ip saddr map { 192.0.2.1 : 198.51.100.1-198.51.100.9 }",
      "#{kind} to ip saddr map @addr4",
      "#{kind} ip saddr . tcp dport map { 192.0.2.1 . 80 : 198.51.100.1 }",
      "tcp dport 80 #{kind} to ip saddr map { 192.0.2.1 : 198.51.100.1 }:8080",
      "#{kind} prefix to ip saddr map { 192.0.2.0/24 : 198.51.100.0/24 }",
      "ip saddr 192.0.2.1 #{kind} 198.51.100.1 random",
      "meta nfproto ipv4 tcp dport 80 #{kind} 198.51.100.1:8080"
    ]
  end

  defp inferred(kind, :inet, :ip6) do
    [
      "#{kind} to ip6 saddr map { 2001:db8::1 : 2001:db8:1::1 }",
      "#{kind} ip6 saddr map @addr6",
      "ip6 saddr 2001:db8::1 tcp dport 80 #{kind} [2001:db8:1::1]:8080",
      "meta nfproto ipv6 #{kind} 2001:db8:1::1"
    ]
  end

  defp inferred(_kind, _family, _network), do: []

  # -- ports alone -------------------------------------------------------------------------------

  defp ports(kind, _family) do
    matched =
      for {port, at} <- Enum.with_index(port_values()),
          to <- tos(""),
          do: "udp dport 53 #{kind} #{to}:#{String.replace(port, "tcp", "udp")}#{flags(at)}"

    matched ++ ["#{kind} to :tcp dport map { 80 : 8080 }", "#{kind} :udp sport map @ports"]
  end

  defp local(kind) do
    matched =
      for {port, at} <- Enum.with_index(port_values()),
          do: "tcp dport 80 #{kind} to :#{port}#{flags(at)}"

    bare = for flags <- ["", " random", " fully-random,persistent"], do: "#{kind}#{flags}"

    redirected =
      if kind == :redirect,
        do: ["tcp dport 80 redirect to 8080", "tcp dport 80 redirect to tcp dport map @ports"],
        else: []

    matched ++ bare ++ redirected
  end

  @flags ["", " random", "", " persistent", " fully-random,persistent", "", " random, persistent"]
  defp flags(at), do: Enum.at(@flags, rem(at, length(@flags)))
end
