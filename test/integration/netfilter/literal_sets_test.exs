defmodule Linx.Netfilter.LiteralSetsTest do
  # Sets in braces that become one element, and what nft merges: nft and Linx make the same of the
  # text, and what Linx writes of it reads back as the same, in both.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Test.{NewerNft, NftDifferential}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  @sets [
    "ip saddr { 10.0.0.0/25, 10.0.0.128/25 } accept",
    "ip saddr != { 10.0.0.0/25, 10.0.0.128/25 } drop",
    "ip saddr { 0.0.0.0/1, 128.0.0.0/1 }",
    "ip saddr { 10.0.0.8/32, 10.0.0.9 }",
    "ip saddr { 10.0.0.7/32, 10.0.0.9/32 }",
    "ip saddr { 10.0.0.7/32 }",
    "ip saddr { 10.0.0.1, 10.0.0.1 }",
    "ip saddr { 10.0.0.0, 10.0.0.1 }",
    "ip saddr { 10.0.0.1-10.0.0.2, 10.0.0.3, 10.0.0.9-10.0.0.9 }",
    "ip6 saddr { 2001:db8::8/128, 2001:db8::9 } counter",
    "ip6 saddr { 2001:db8::/65, 2001:db8:0:0:8000::/65 }",
    "tcp dport { 80-90, 85 } accept",
    "tcp dport { 80-81, 82 } tcp sport { 1-2, 3-65535 }",
    "tcp dport != { 0-100, 101-65535 }",
    "tcp dport { 80, 80 }",
    "meta mark { 1-2, 3 }",
    "ct mark { 0x10-0x1f, 0x20-0x2f } accept",
    "ip dscp { 1-2, 3 }",
    "ip dscp { 1-2, 4 }",
    "tcp doff { 5-6, 7-8 }",
    "ip ttl { 1-2, 3-4 } counter",
    "meta hour { 08:00-09:00, 09:00-10:00 }",
    "iifname { \"eth*\", \"eth0\" }",
    "iifname { \"lo\", \"lo\" } drop",
    "meta l4proto { tcp, tcp }",
    "ether saddr { 02:00:00:00:00:00-02:00:00:00:00:01, 02:00:00:00:00:02 }",
    "tcp dport vmap { 80-81 : accept }",
    "tcp dport vmap { 80 : accept }",
    "meta mark { 5-5, 9-9, 12 }",
    "meta mark . ip saddr { 5 . 10.0.0.1/32 }",
    "meta mark set ip saddr map { 10.0.0.1/32 : 1 }",
    "meta mark set tcp dport map { 80-81 : 1 }",
    "ip saddr . tcp dport { 10.0.0.0/25 . 80 }",
    "ct state { new, new }",
    "tcp flags { syn, syn }",
    "@th,0,16 { 1-2, 3 }",
    "ct expiration { 1s-2s, 2s-3s }",
    "counter name ip dscp map { cs1 : \"web\", cs2 : \"web\" }",
    "counter name tcp doff map { 5-6 : \"web\", 7 : \"web\" }"
  ]

  setup do: NftDifferential.namespaces()

  defp same!(context, rules, nft) do
    lines = Enum.map(rules, &"  #{&1}\n")

    text =
      "table inet t {\n counter web { }\n chain c { type filter hook input priority " <>
        "0;\n#{lines} }\n}\n"

    NftDifferential.same!(context, text, nft)
  end

  test("the distribution's nft", context, do: same!(context, @sets, "nft"))

  test "an object map over a field in two bytes has the field's bytes, which nft's own " <>
         "never match",
       %{
         sock: sock
       } do
    text =
      ~s(table ip6 t { counter web { }; chain c { counter name ip6 dscp map { cs1 : "web" }; }; })

    {:ok, ruleset} = NFT.parse(text)
    [%{expressions: expressions}] = ruleset.tables[{:ip6, "t"}].chains["c"].rules
    assert [:payload, :bitwise, :__anon_set] = Enum.map(expressions, & &1.name)
    assert [{0x0200, "web"}] = List.last(expressions).data.elements
    assert NFT.parse(NFT.format(ruleset)) == {:ok, ruleset}
    assert :ok = Netfilter.push(sock, ruleset)
    {:ok, pulled} = Netfilter.pull(sock)
    assert Netfilter.diff(pulled, ruleset).ops == []
  end

  test "names that begin alike stay apart, written and in the kernel", %{sock: sock} do
    text = """
    table inet t {
      set s { type ifname; flags interval; auto-merge; elements = { "wg*", "wh", "wg0" }; }
      chain c {
        iifname { "eth1*", "eth2*", "eth10", "lo" } accept
        iifname vmap { "a*" : accept, "b*" : drop }
      }
    }
    """

    {:ok, ruleset} = NFT.parse(text)
    assert :ok = Netfilter.push(sock, ruleset)
    formatted = NFT.format(ruleset)
    assert formatted =~ ~s("eth1*", "eth2*", "lo")
    assert NFT.parse(formatted) == {:ok, ruleset}
    {:ok, pulled} = Netfilter.pull(sock)
    assert Netfilter.diff(pulled, ruleset).ops == []
  end

  @tag :newer_nft
  test("nft 1.1", context, do: same!(context, @sets, NewerNft.path!()))

  test "a masked field beside a value, as nft compares it", context do
    same!(
      context,
      [
        "tcp flags & (fin | syn) syn",
        "tcp flags & (fin | syn | rst | ack) syn,ack drop",
        "tcp flags & 3 2",
        "tcp flags and fin fin accept",
        "tcp flags & (fin | syn) fin | syn",
        "ct status & (snat | dnat) snat",
        "ct state & (new | established) new",
        "ct mark & 0xff 1",
        "meta mark & 0xf0 0x10 counter",
        "ip saddr & 255.255.0.0 10.0.0.0",
        "ip frag-off & 0x1fff 0",
        "th dport & 1 1",
        "meta mark & 0xff { 1, 2 }",
        "ether saddr & 01:00:00:00:00:00 01:00:00:00:00:00"
      ],
      "nft"
    )

    assert {:error, error} = parse_rule("tcp flags & (syn | ack) ! syn")
    assert error.message =~ "operation"
  end

  test "an IPv6 address and the colon of a map", context do
    same!(
      context,
      [
        "ip6 saddr vmap { 2001:db8::: drop, fe80::1: accept }",
        "ip6 saddr vmap { ::: drop }",
        "ip6 saddr vmap { ::1: drop, ::2 : accept, 2001:db8:1::/48: drop }",
        "meta mark set ip6 saddr map { 2001:db8::: 1 }",
        "meta mark set ip6 saddr map { 2001:db8:::1 }",
        "meta mark set tcp dport . ip6 saddr map { 80 . 2001:db8::: 1 }",
        "ether saddr vmap { 02:00:00:00:00:01: accept }",
        "meta mark set meta mark map { 1: 2, 0xa:5 }"
      ],
      "nft"
    )
  end

  defp parse_rule(rule), do: NFT.parse("table inet t { chain c {\n#{rule}\n} }")

  # Neighbours, overlaps and repeats of one type, with every operator that takes a set.
  test "what is written of any set of neighbours reads back as itself" do
    :rand.seed(:exsss, {14, 20, 1})

    for _ <- 1..600 do
      {field, element} = Enum.random(fields())
      count = Enum.random(1..5)
      elements = for _ <- 1..count, do: element.()
      op = Enum.random(["", "!= "])
      rule = "#{field} #{op}{ #{Enum.join(elements, ", ")} } accept"

      with {:ok, ruleset} <- parse_rule(rule) do
        text = NFT.format(ruleset)
        assert NFT.parse(text) == {:ok, ruleset}, "#{rule}\n#{text}"
      else
        {:error, error} -> flunk("#{rule}: #{Exception.message(error)}")
      end
    end
  end

  defp fields do
    number = fn max -> fn -> span(Enum.random(0..max), max, &Integer.to_string/1) end end

    [
      {"tcp dport", number.(8)},
      {"tcp dport", fn -> span(65_535 - Enum.random(0..4), 65_535, &Integer.to_string/1) end},
      {"meta mark", number.(6)},
      {"ct mark", number.(6)},
      {"ip ttl", number.(8)},
      {"ip dscp", number.(6)},
      {"tcp doff", number.(6)},
      {"vlan pcp", number.(7)},
      {"@th,0,16", number.(6)},
      {"ip saddr", fn -> address("10.0.0.", 32) end},
      {"ip6 saddr", fn -> address("2001:db8::", 128) end},
      {"iifname",
       fn -> Enum.random(["\"eth*\"", "\"eth0\"", "\"eth1\"", "\"lo\"", "\"e*\""]) end},
      {"meta l4proto", fn -> Enum.random(~w(tcp udp 6 17 5-6 7)) end},
      {"icmp type", fn -> Enum.random(~w(echo-request 8 0-3 4 echo-reply)) end}
    ]
  end

  defp span(n, max, write) do
    case Enum.random(1..3) do
      1 -> write.(n)
      2 -> write.(n) <> "-" <> write.(min(max, n + Enum.random(1..3)))
      3 -> write.(n) <> "-" <> write.(n)
    end
    |> then(&if(String.match?(&1, ~r/^(\d+)-\1$/), do: write.(n), else: &1))
  end

  defp address(stem, bits) do
    n = Enum.random(0..7)

    case Enum.random(1..4) do
      1 -> "#{stem}#{n}"
      2 -> "#{stem}#{n}/#{bits}"
      3 -> "#{stem}#{n - rem(n, 2)}/#{bits - 1}"
      4 -> "#{stem}#{n}-#{stem}#{n + 1}"
    end
  end
end
