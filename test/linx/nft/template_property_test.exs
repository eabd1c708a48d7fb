defmodule Linx.NFT.TemplatePropertyTest do
  # Rules of one shape, or of two, with values from the edges: the text gives what it gives when
  # each rule is compiled in full, its first mistake included. A definition before each rule makes
  # the compiler begin anew; the other text has it as a comment, so that lines and columns are the
  # same.
  use ExUnit.Case, async: true

  alias Linx.Netfilter.Rule
  alias Linx.NFT
  alias Linx.NFT.ParseError

  @families [:ip, :ip6, :inet, :inet, :inet, :bridge, :netdev, :arp]
  @rules 8
  @rounds 4_000

  # Statements with their values as letters; the letters are @values' keys.
  @any [
    "meta mark <m>",
    "meta mark != <m>",
    "meta mark <m>-<m>",
    "meta mark and <m> == <m>",
    "meta mark set <m>",
    "iifname <i>",
    "oifname != <i>",
    "iif <i>",
    "meta l4proto <n>",
    "meta nfproto <n>",
    "meta protocol <t>",
    "meta length <n>",
    "meta priority <m>",
    "meta hour <h>",
    "meta cpu <n>",
    "meta pkttype <w>",
    "ct state <w>",
    "ct mark <m>",
    "ct mark set <m>",
    "ct status <w>",
    "fib daddr type <w>",
    "fib saddr . iif oif <f>",
    "th sport <p>",
    "th dport <p>",
    "th dport != <p>",
    "@th,0,16 <p>",
    "@nh,96,32 <a>",
    "tcp sport <p>",
    "tcp dport <p>",
    "tcp dport != <p>",
    "tcp dport > <p>",
    "tcp dport <p>-<p>",
    "tcp dport { <p> }",
    "tcp dport { <p>, <p> }",
    "tcp dport @ports",
    "tcp dport $port",
    "tcp flags <w>",
    "tcp sequence <m>",
    "tcp window <p>",
    "tcp urgptr <p>",
    "udp dport <p>",
    "udp length <p>",
    "udplite checksum <p>",
    "sctp dport <p>",
    "sctp vtag <m>",
    "dccp dport <p>",
    "ip saddr <a>",
    "ip saddr != <a>",
    "ip daddr <a>",
    "ip daddr <a>-<a>",
    "ip saddr . tcp dport { <a> . <p> }",
    "ip protocol <n>",
    "ip ttl <n>",
    "ip id <p>",
    "ip length <p>",
    "ip checksum <p>",
    "ip dscp <n>",
    "ip version <n>",
    "ip frag-off & <m> == <m>",
    "ip6 saddr <6>",
    "ip6 daddr <6>",
    "ip6 length <p>",
    "ip6 nexthdr <n>",
    "icmp type <y>",
    "icmp code <n>",
    "icmp id <p>",
    "icmp mtu <p>",
    "icmpv6 type <y>",
    "icmpv6 id <p>",
    "icmpv6 taddr <6>",
    "ether saddr <x>",
    "ether daddr <x>",
    "ether type <t>",
    "vlan id <n>",
    "vlan type <t>",
    "arp operation <n>",
    "arp daddr ip <a>",
    "ah spi <m>",
    "frag id <m>",
    "limit rate <n>/second burst <n> packets",
    "limit rate over <n> kbytes/second",
    "log prefix \"<s>\"",
    "log prefix \"<s>\" level <w>",
    "log prefix \"<s>\" group <n>",
    "counter",
    "counter packets <m> bytes <m>",
    "quota over <m> bytes",
    "queue num <n>"
  ]

  @ends ["accept", "drop", "jump <j>", "return", "reject", "dnat ip to <a>:<p>", ""]
  @comments ["", "", "", " comment \"<s>\""]

  @long String.duplicate("x", 128)

  # For each letter its values, those of one spelling in a list; then those hardly ever right.
  @values %{
    ?a =>
      {[
         ~w(10.0.0.1 0.0.0.0 255.255.255.255 192.168.7.0),
         ~w(10.1.2.3/8 11.0.0.0/8 0.0.0.0/8),
         ~w(10.128.0.1/9 11.0.0.0/9),
         ~w(0.0.0.0/0 8.0.0.0/0 10.1.2.3/0),
         ~w(1.2.3.4/32 4.3.2.1/32),
         ~w(167772161 0 4294967295),
         ~w($addr)
       ], ~w(1.2.3.4/33 010.0.0.1 :: 4294967296 1:2:3:4:5:6)},
    ?6 =>
      {[
         ~w(:: ::1 2001:db8::1 ::ffff:1.2.3.4 1:2:3:4:5:6:7:8),
         ~w(2001:db8::/32 ::/32 1:2:3::4/32),
         ~w(fe80::1/10 ff00::/10),
         ~w(::/0 ::1/0),
         ~w(2001:db8::1/128 ::/128)
       ], ~w(::/129 10.0.0.1 1:2:3:4:5:6 5)},
    ?f => {[~w(exists missing), ~w(0 1), ~w("lo" "eth0")], ~w(lo "" -1)},
    ?h => {[~w("10:00" "23:59:59"), ~w(10:00 00:00), ~w(0 86399)], ~w(86400 "24:00")},
    ?i =>
      {[
         ~w("eth0" "wan" "a-very-long-nam" "w\\*" "5" "w*"),
         ~w("w*" "x*"),
         ~w("ab*" "w*"),
         ~w(eth0 lo),
         ~w(5 6),
         ~w(wan* lan*),
         ~w($dev)
       ], ~w("a-very-long-name" "" "*" @x)},
    ?j => {[~w(one two)], ~w(none "one" $dev)},
    ?m =>
      {[~w(0 1 77 0x4d 0xffffffff 4294967295 010), ~w("7" "77"), ~w($port)],
       ~w(4294967296 "no" no "4294967296")},
    ?n =>
      {[
         ~w(0 1 2 4 6 10 17 50 51 58 132 136),
         ~w(tcp udp icmp sctp),
         ~w("tcp" "17" "ipv6-icmp"),
         ~w(ipv4 ipv6),
         ~w(64 255 63),
         ~w($port)
       ], ~w(256 4095 4096 nope)},
    ?p =>
      {[
         ~w(0 8 22 0x16 026 443 2048 2054 0x8100 65535),
         ~w("ssh" "https" "22"),
         ~w(ssh http),
         ~w($port)
       ], ~w(65536 "65536" "nosuch" nosuch 10.0.0.1)},
    ?s =>
      {[["a", "one two", "*", "xx: ", @long], ["$port b", "a $port"]],
       ["a $none", "a $ b", "", @long <> "x"]},
    ?t =>
      {[~w(ip ip6 arp vlan), ~w(0x0800 2048 0x86dd 0x8100 0x88a8 0 65535), ~w("ip" "ip6")],
       ~w(65536 nope)},
    ?w =>
      {[
         ~w(new established),
         ~w(1 2 8 0),
         ~w(syn ack syn,ack),
         ~w(local unicast),
         ~w(host broadcast),
         ~w(debug warn emerg),
         ~w(dnat snat),
         ~w("new" "syn")
       ], ~w(audit 4294967296 nope)},
    ?x =>
      {[~w(00:11:22:33:44:55 ff:ff:ff:ff:ff:ff 0:1:2:3:4:5 00:00:00:00:00:00), ~w(5 0)],
       ~w(1:2:3:4:5:6:7:8 ::)},
    ?y =>
      {[
         ~w(0 3 5 8 13 128 133 135 136 255),
         ~w(echo-request echo-reply redirect),
         ~w("echo-request" "8" "redirect")
       ], ~w(256 nope)}
  }

  # Those of which a template leaves the value open, unless what surrounds them forbids it.
  @open for statement <- @any,
            String.starts_with?(statement, ["tcp dport", "udp dport", "ip saddr", "ip daddr"]) or
              String.starts_with?(statement, ["ip checksum", "ether saddr", "ip6 daddr"]) or
              String.starts_with?(statement, ["meta mark", "iifname", "log"]),
            do: statement

  # Those where the value of the first decides what the second is, or needs before it.
  @deciding [
    "meta l4proto <n> th dport <p>",
    "meta l4proto <n> tcp dport <p>",
    "meta l4proto <n> icmp id <p>",
    "meta l4proto icmp th sport <p> icmp id <p>",
    "meta l4proto icmp tcp sport <p> icmp id <p>",
    "meta l4proto ipv6-icmp th sport <p> icmpv6 id <p>",
    "meta nfproto <n> ip saddr <a>",
    "meta nfproto <n> tcp dport <p>",
    "meta protocol <t> ip saddr <a>",
    "meta protocol <t> ip6 length <p>",
    "ip protocol <n> tcp dport <p>",
    "ip protocol <n> th dport <p>",
    "ip6 nexthdr <n> udp dport <p>",
    "ip ttl <n> ip protocol <n> ip checksum <p> tcp dport <p>",
    "ether type <t> ip saddr <a>",
    "ether saddr <x> ether type <t> ip saddr <a>",
    "ether type <t> vlan id <n> vlan type <t> ip saddr <a>",
    "icmp type <y> icmp id <p>",
    "icmp type <y> icmp code <n> icmp checksum <p>",
    "icmpv6 type <y> icmpv6 taddr <6>",
    "tcp dport <p> dnat ip to <a>:<p>"
  ]

  defp shape do
    body =
      for _ <- 1..:rand.uniform(3),
          do: Enum.random(Enum.random([@any, @deciding, @open, @open]))

    Enum.join(body ++ [Enum.random(@ends)], " ")
  end

  # Another shape that a careless comparison takes for the first.
  defp sibling(shape) do
    {from, to} =
      Enum.random([
        {" <", " != <"},
        {" != <", " == <"},
        {" sport", " dport"},
        {" dport", " sport"},
        {" saddr", " daddr"},
        {" daddr", " saddr"},
        {"tcp ", "udp "},
        {"mark", "priority"},
        {"iifname", "oifname"},
        {"\"<s>\"", "\"<s>\" level debug"},
        {" accept", " drop"},
        {"<n>", "17"},
        {"<p>", "22"},
        {"icmp th", "igmp th"}
      ])

    String.replace(shape, from, to, global: :rand.uniform(2) == 1)
  end

  # Most values of a shape are spelled alike.
  defp filled(shape, spelled) do
    Regex.replace(~r/<(.)>/, shape, fn _, <<letter>> ->
      {good, bad} = @values[letter]

      case :rand.uniform(50) do
        1 -> Enum.random(bad)
        2 -> good |> Enum.random() |> Enum.random()
        _ -> Enum.random(spelled[letter])
      end
    end)
  end

  # The first spelling is the one that fits most places.
  defp spelled do
    Map.new(@values, fn {letter, {[first | _] = good, _bad}} ->
      {letter, Enum.random([first, Enum.random(good)])}
    end)
  end

  defp text(family, rules, between) do
    body =
      rules
      |> Enum.with_index()
      |> Enum.map_join("\n", fn {rule, n} ->
        "    #{between}define zz#{n} = #{n}\n    #{rule}"
      end)

    """
    define port = 443
    define addr = 10.0.0.1
    define dev = "eth7"
    table #{family} t {
      set ports { type inet_service; elements = { 1, 2 }; }
      chain one {
      }
      chain two {
      }
      chain c {
    #{body}
      }
    }
    """
  end

  defp parsed(text) do
    case NFT.parse(text) do
      {:ok, ruleset} -> {:ok, ruleset}
      {:error, %ParseError{} = error} -> {:error, {error.message, error.line, error.column}}
    end
  end

  defp rules({:ok, %{tables: tables}}) do
    [table] = Map.values(tables)
    table.chains["c"].rules
  end

  # The common part of the rules of a template is the same term.
  defp shared?(rules) do
    case Enum.drop(rules, 2) do
      [%Rule{expressions: [a | _]}, %Rule{expressions: [b | _]} | _] -> :erts_debug.same(a, b)
      _ -> false
    end
  end

  test "rules of a shape are what each is when compiled in full" do
    :rand.seed(:exsss, {14, 15, 9})

    seen =
      for _ <- 1..@rounds, reduce: %{good: 0, late: 0, shared: 0} do
        seen ->
          family = Enum.random(@families)
          {shape, spelled} = {shape(), spelled()}
          shapes = Enum.random([[shape], [shape], [shape, sibling(shape)]])

          rules =
            for _ <- 1..@rules, do: filled(Enum.random(shapes) <> Enum.random(@comments), spelled)

          once = family |> text(rules, "# ") |> parsed()
          full = family |> text(rules, "") |> parsed()

          assert once == full, "#{family}: #{shape}\n#{Enum.join(rules, "\n")}"

          case once do
            {:ok, _} ->
              refute shared?(rules(full))
              shared = if shared?(rules(once)), do: 1, else: 0
              %{seen | good: seen.good + 1, shared: seen.shared + shared}

            {:error, {_, line, _}} ->
              if line > 14, do: %{seen | late: seen.late + 1}, else: seen
          end
      end

    assert seen.good > 100 and seen.late > 50 and seen.shared > 50, inspect(seen)
  end

  test "an interpolated value is the one that stands in the rules around it" do
    import Linx.NFT, only: [sigil_NFT: 2]
    {port, address} = {443, {10, 0, 0, 3}}

    interpolated = ~NFT"""
    table inet t {
      chain c {
        tcp dport 1 ip saddr 10.0.0.1 accept
        tcp dport 2 ip saddr 10.0.0.2 accept
        tcp dport #{port} ip saddr #{address} accept
        tcp dport 4 ip saddr 10.0.0.4 accept
        tcp dport #{5} ip saddr #{"10.0.0.0/8"} accept
        tcp dport 6 ip saddr 10.0.0.6 accept
      }
    }
    """

    assert {:ok, interpolated} ==
             NFT.parse("""
             table inet t {
               chain c {
                 tcp dport 1 ip saddr 10.0.0.1 accept
                 tcp dport 2 ip saddr 10.0.0.2 accept
                 tcp dport 443 ip saddr 10.0.0.3 accept
                 tcp dport 4 ip saddr 10.0.0.4 accept
                 tcp dport 5 ip saddr 10.0.0.0/8 accept
                 tcp dport 6 ip saddr 10.0.0.6 accept
               }
             }
             """)
  end
end
