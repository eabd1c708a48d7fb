defmodule Linx.NFT.LanguageTest do
  # Text that nft(8) loads in one namespace, parsed and pushed by Linx in another: nft lists the
  # same, our pull of both is the same, what we make of the pull loads as the same again, and
  # parses to what was parsed.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Netfilter.{Expr, Ruleset}
  alias Linx.Test.NftDifferential

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  setup do: NftDifferential.namespaces()

  defp compare(text, context) do
    %{pulled: pulled, loaded: loaded} = NftDifferential.same!(context, text)
    assert records(pulled) == records(loaded), text
  end

  # nft's typeof records of each set, anonymous sets included.
  defp records(ruleset) do
    for {_family, _name, table} <- Ruleset.tables(ruleset) do
      named = for {name, set} <- Map.merge(table.sets, table.maps), do: {name, set.typeof}

      anonymous =
        for {name, chain} <- table.chains,
            rule <- chain.rules,
            %Expr{name: :__anon_set, data: data} <- rule.expressions,
            do: {name, data[:typeof]}

      {Enum.sort(named), Enum.sort(anonymous)}
    end
  end

  @rules [
    {"ip", "input", "meta mark set meta mark & 0xff | 0x10"},
    {"ip", "input", "ct mark set meta mark and 0xff or 0x10"},
    {"ip", "input", "meta mark set meta mark | 1"},
    {"ip", "input", "meta mark set ip ttl & 0xf"},
    {"ip", "input", "meta mark set ct packets"},
    {"ip", "input", "ip saddr set meta cpu"},
    {"ip", "input", "ct zone set ip ttl & 0xf | 0x10"},
    {"ip", "input", "ct state { new }"},
    {"ip", "input", "ct state != { new }"},
    {"ip", "input", "tcp flags == { syn }"},
    {"ip", "input", "tcp flags { 1-3 }"},
    {"ip", "input", ~s(ip saddr { 192.0.2.1 comment "one" } accept)},
    {"inet", "prerouting", "tcp dport 80 tproxy to :50080 accept"},
    {"inet", "prerouting", "tcp dport 80 tproxy ip to 192.0.2.1:50080"},
    {"inet", "input", ~s(meta hour "22:00"-"06:00" drop)},
    {"inet", "input", ~s(meta hour != "22:00"-"06:00" drop)},
    {"inet", "input", ~s(meta hour "23:59:60")},
    {"inet", "input", "log snaplen 100"},
    {"inet", "input", "tcp flags not syn"},
    {"inet", "input", "tcp flags 0"},
    {"inet", "input", "ct original protocol tcp"},
    {"ip", "output", "rt ip mtu 1400"},
    {"ip", "input", "jhash ip saddr mod 2 seed 0 1"},
    {"ip", "input", "@th,16,16 http accept"},
    {"ip", "input", "@th,0,16 { ssh, http } accept"}
  ]

  for {family, hook, rule} <- @rules do
    test "#{family} #{hook}: #{rule}", context do
      compare(
        """
        table #{unquote(family)} t {
          chain c { type filter hook #{unquote(hook)} priority 0; policy accept;
            #{unquote(rule)}
          }
        }
        """,
        context
      )
    end
  end

  @keys [
    "ip saddr",
    "tcp dport",
    "meta mark",
    "@nh,32,32",
    "symhash mod 8 offset 2",
    "igmp mrt",
    "tcp option sack1 left",
    "ip dscp"
  ]
  @value %{"ip saddr" => {"192.0.2.1", "192.0.2.4-192.0.2.9"}}

  test "sets and maps in rules leave the records that nft leaves", context do
    for key <- @keys, {one, many} = @value[key] || {"3", "5-7"} do
      pairs =
        if key != "ip dscp" do
          """
              meta mark . #{key} { 1 . #{one}, 2 . #{many} } accept
              #{key} . meta mark vmap { #{one} . 1 : accept, #{many} . 2 : drop }
              meta mark set #{key} . meta mark map { #{one} . 1 : 3, #{many} . 2 : 4 }
          """
        end

      compare(
        """
        table ip t {
          chain c { type filter hook input priority 0; policy accept;
            #{key} { #{one}, #{many} } accept
            #{key} vmap { #{one} : accept, #{many} : drop }
            meta mark set #{key} map { #{one} : 3, #{many} : 4 }
        #{pairs}
          }
        }
        """,
        context
      )
    end
  end

  test "sets that were made for a field are listed as made for it", context do
    fields = [
      "arp saddr ip",
      "arp daddr ether",
      "igmp mrt",
      "igmp checksum",
      "rt0 addr[2]",
      "ip option lsrr ptr",
      "tcp option sack2 left",
      "tcp option sack3 right",
      "@th,5,3",
      "@nh,4,12 . @th,16,16",
      "symhash mod 4 offset 1",
      "numgen inc mod 4 offset 1",
      "sctp chunk init flags",
      "frag more-fragments",
      "icmpv6 max-delay"
    ]

    sets =
      for {field, n} <- Enum.with_index(fields), do: "  set s#{n} { typeof #{field}; }\n"

    compare("table inet t {\n#{sets}}\n", context)
  end

  test "a raw payload in a concatenation is listed by an nft that knows numbers only by " <>
         "their record",
       context do
    compare(
      """
      table ip t {
        map m { typeof ip saddr . @ih,32,32 : verdict; elements = { 192.0.2.1 . 0x14 : accept }; }
        chain c {
          ip saddr . @nh,32,32 vmap @m
          ip saddr . @nh,32,32 vmap { 192.0.2.1 . 0x34 : accept, 192.0.2.2 . 0x45 : drop }
        }
      }
      """,
      context
    )
  end

  # Objects of conntrack in the chains that assign them, and what has a hook of its own.
  @texts [
    """
    table ip t {
      ct timeout quick { protocol tcp; l3proto ip; policy = { established : 120, close : 20 }; }
      ct timeout brief { protocol udp; l3proto ip; policy = { replied : 30, unreplied : 5 }; }
      ct expectation second { protocol udp; dport 9876; timeout 2m; size 8; l3proto ip; }
      ct helper ftp { type "ftp" protocol tcp; }
      chain c { type filter hook prerouting priority 0; policy accept;
        tcp dport 22 ct timeout set "quick"
        udp dport 53 ct timeout set "brief"
        udp dport 9875 ct expectation set "second"
        tcp dport 21 ct helper set "ftp"
      }
    }
    """,
    """
    table inet t {
      chain pre { type nat hook prerouting priority -100; policy accept;
        tcp dport 22 dnat to :2222
        tcp dport 23 redirect to :2323
      }
      chain post { type nat hook postrouting priority 100; policy accept;
        tcp sport 22 snat to :1024-65535 persistent
      }
      chain reroute { type route hook output priority -150; policy accept; meta mark set 5; }
    }
    """,
    """
    table ip t {
      map pool {
        typeof ip saddr : interval ip daddr . tcp dport
        flags interval
        elements = { 192.0.2.1 : 198.51.100.1-198.51.100.9 . 8080-8090 }
      }
    }
    """,
    """
    add table filter
    chain filter input { type filter hook input priority 0; policy drop; }
    add chain filter input { policy accept; }
    set filter allowed { type ipv4_addr; }
    element filter allowed { 192.0.2.1, 192.0.2.2 }
    delete element filter allowed { 192.0.2.1 }
    filter input ip saddr @allowed accept
    ip filter input tcp dport 22 accept
    """
  ]

  for {text, n} <- Enum.with_index(@texts, 1) do
    test "text #{n} makes what nft makes of it", context do
      compare(unquote(text), context)
    end
  end

  test "commands that find what they should not, or not what they should, are errors" do
    table = "add table ip t; add set ip t s { type mark; }; add chain ip t c; "

    for command <- [
          "create table ip t",
          "create set ip t s { type mark; }",
          "create chain ip t c",
          "delete element ip t s { 5 }",
          "add rule ip t c comment \"alone\"",
          "add rule ip t c log level audit prefix \"x\"",
          "add rule ip t c rt ip6 nexthop 2001:db8::1",
          "add synproxy ip t p { mss 70000; }"
        ],
        do: assert({:error, %NFT.ParseError{}} = NFT.parse(table <> command), command)
  end

  test "a name that is no word is read, and not written: nft has no text for it", %{sock: sock} do
    text = ~s(table ip t { chain "my chain" { }; chain c { jump "my chain"; }; })
    {:ok, ruleset} = NFT.parse(text)
    assert Netfilter.push(sock, ruleset) == :ok
    assert_raise ArgumentError, ~r/"my chain".*byte 0x20/, fn -> NFT.format(ruleset) end
  end

  test "the statements of a set are those of its elements, said or not", context do
    for body <- [
          "set s { type ipv4_addr; counter; elements = { 192.0.2.1, 192.0.2.2 counter " <>
            "packets 5 bytes 6 }; }",
          "set s { type ipv4_addr; counter; flags interval; elements = { 192.0.2.0/24 }; }",
          "map s { type ipv4_addr : verdict; counter; elements = { 192.0.2.1 : drop }; }"
        ],
        do: compare("table inet t { #{body}; }\n", context)
  end

  test "what nft refuses to set is refused" do
    for rule <- [
          "meta priority set meta mark",
          "tcp dport set meta mark & 0xff",
          "meta priority set ip ttl",
          "meta priority set ip saddr",
          "tcp option maxseg size set tcp dport",
          "meta mark set tcp flags",
          "meta mark set ct state",
          "meta mark set tcp dport | 0x10000",
          "meta nfproto ipv4"
        ] do
      text = "table ip t { chain c { #{rule}; }; }"
      assert {:error, %NFT.ParseError{}} = NFT.parse(text), rule
    end
  end
end
