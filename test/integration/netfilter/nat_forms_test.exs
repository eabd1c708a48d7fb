defmodule Linx.Netfilter.NatFormsTest do
  # NAT statements over the whole of nft's grammar (Linx.Test.NatForms), many rules a table: text
  # loaded by nft in one namespace and by Linx in another, listed alike; what nft loaded, pulled
  # and formatted by Linx, loads to the same listing again.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Test.{Firewall, NatForms, NewerNft, NftDifferential}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  setup do: NftDifferential.namespaces()

  defp tables(rules) do
    for {family, rules} <- Enum.group_by(rules, &elem(&1, 0)), into: "" do
      chains =
        for {chain, hook} <- [
              {"pre", "prerouting priority -100"},
              {"post", "postrouting priority 100"}
            ] do
          lines = for {_, ^chain, rule} <- rules, do: "    #{rule}\n"
          "  chain #{chain} { type nat hook #{hook}; policy accept;\n#{lines}  }\n"
        end

      "table #{family} t {\n#{NatForms.maps()}#{chains}}\n"
    end
  end

  @tag :newer_nft
  test "every kind, family, address, port and flag", context do
    NftDifferential.same!(context, tables(NatForms.rules() ++ NatForms.local()), NewerNft.path!())
  end

  @tag :newer_nft
  test "a port behind a map whose name reads as hexadecimal", context do
    text = """
    table ip t {
      map a4 { type ipv4_addr : ipv4_addr; }
      map beef { type ipv4_addr : ipv4_addr; }
      chain c { type nat hook prerouting priority -100; policy accept;
        tcp dport 1 dnat to ip saddr map @a4:8080; tcp dport 2 dnat to ip saddr map @beef:443;
        tcp dport 3 dnat to ip saddr map @a4 : 8080-8089
      }
    }
    """

    NftDifferential.same!(context, text, NewerNft.path!())
  end

  # nft 1.0 looks a port up by a port only behind a match of the protocol, which the look-up
  # itself implies: what is written names it, for every statement that takes a port.
  test "a port that is looked up by a port names its protocol", context do
    text = """
    table inet t {
      map ports { type inet_service : inet_service; }
      chain pre { type nat hook prerouting priority dstnat; policy accept;
        meta l4proto tcp redirect to :tcp dport map { 8022 : 22, 8023 : 23 }
        iifname "lo" meta l4proto udp redirect to :udp dport map @ports random
        meta l4proto tcp counter redirect to :tcp dport map @ports
        tcp dport 1-9 redirect to :tcp dport map { 1 : 2 }
        tcp flags syn redirect to :tcp dport map { 1 : 2 }
        meta l4proto sctp dnat ip to 198.51.100.1:sctp dport map { 1 : 2 }
        meta l4proto tcp dnat ip to ip saddr map { 192.0.2.1 : 198.51.100.1 }:tcp dport map @ports
        meta l4proto { tcp, udp } redirect to :th dport map { 1 : 2 }
      }
      chain post { type nat hook postrouting priority srcnat; policy accept;
        meta l4proto udp masquerade to :udp sport map { 1 : 2 }
        oifname "lo" meta l4proto tcp snat ip to 198.51.100.1:tcp sport map @ports persistent
      }
      chain proxy { type filter hook prerouting priority mangle; policy accept;
        meta l4proto tcp tproxy ip to :tcp dport map { 80 : 8080 }
        meta l4proto udp meta mark 5 tproxy to :udp dport map @ports accept
      }
    }
    """

    %{parsed: parsed} = NftDifferential.same!(context, text)
    assert NFT.format(parsed) =~ "\n    meta l4proto tcp redirect to :tcp dport map {"
    assert NFT.format(parsed) =~ "\n    tcp dport 1-9 redirect to :tcp dport map {"
  end

  test "what the distribution's nft loads too", context do
    rules = [
      {:ip, "pre", "ip protocol tcp th dport 8080 dnat ip addr . port to 198.51.100.1 . 10081"},
      {:inet, "pre", "udp dport 53 dnat ip addr . port to 198.51.100.1 . 5353 persistent"},
      {:ip, "pre", "dnat to meta l4proto . th dport map { tcp . 80 : 198.51.100.1 . 81 }"},
      {:ip, "pre", "dnat tcp dport map { 80 : 198.51.100.1 }"},
      {:ip, "pre", "dnat ip saddr map @addr4"},
      {:ip6, "pre", "tcp dport 80 dnat [2001:db8:1::1]:8080"},
      {:ip6, "post", "snat [2001:db8:1::1]-[2001:db8:1::9] random"},
      {:inet, "pre", "dnat ip to ip saddr map { 192.0.2.1 : 198.51.100.1 }"},
      {:inet, "pre", "tcp dport 80 dnat :8080"},
      {:ip, "pre", "dnat to ip saddr map { 192.0.2.1 : 198.51.100.1/32 }"},
      {:ip, "pre", "dnat prefix to ip saddr map { 192.0.2.1/32 : 198.51.100.2/32 }"},
      {:ip6, "post", "snat to ip6 saddr map { ::1 : 2001:db8::1/128, ::2 : 2001:db8::/64 }"}
    ]

    NftDifferential.same!(
      context,
      tables(rules) |> String.replace(~r/^map (r4|i4|i6) .*\n/m, ""),
      "nft"
    )
  end

  test "a range of one is the one" do
    for {range, one} <- [
          {"dnat to 10.0.0.1-10.0.0.1", "dnat to 10.0.0.1"},
          {"tcp dport 1 dnat to 10.0.0.1:80-80", "tcp dport 1 dnat to 10.0.0.1:80"},
          {"tcp dport 1 redirect to :80-80", "tcp dport 1 redirect to :80"}
        ] do
      [a, b] =
        for rule <- [range, one],
            do:
              NFT.parse(
                "table ip t { chain c { type nat hook prerouting priority -100\n#{rule}\n} }"
              )

      assert a == b
    end
  end

  test "ports of masquerade are in force", %{ours: ours, sock: sock} do
    text = """
    table ip t { chain c { type nat hook postrouting priority 100;
      meta l4proto udp masquerade to :4000-4009 random
      meta l4proto tcp masquerade to :5000
    } }
    """

    {:ok, ruleset} = NFT.parse(text)
    assert Netfilter.push(sock, ruleset) == :ok
    code = Firewall.run!(ours, ["nft", "--debug=netlink", "list", "ruleset"])
    # NF_NAT_RANGE_PROTO_SPECIFIED, without which nft_masq_eval ignores the ports.
    assert code =~ "masq proto_min reg 1 proto_max reg 2 flags 0x6"
    assert code =~ "masq proto_min reg 1 proto_max reg 1 flags 0x2"
    {:ok, pulled} = Netfilter.pull(sock)
    assert Netfilter.diff(pulled, ruleset).ops == []
  end

  test "hours without quotes", context do
    lines = [
      "meta hour 18:00",
      "meta hour 18:00-19:00 accept",
      "meta hour 8:00-9:05",
      "meta hour != 18:00-06:00 drop",
      "meta hour { 08:00-09:00, 10:30, 23:59 } accept",
      "meta hour 1:2",
      "meta hour >= 18:00",
      "hour 07:30-08:30",
      "meta hour \"18:00:30\"-\"23:59:30\"",
      "meta hour vmap { 18:00-19:00 : accept, 20:00 : drop }",
      "meta mark set meta hour map { 08:00-12:00 : 1, 12:01-13:00 : 2 }"
    ]

    text =
      "table ip t {\n set s { typeof meta hour; flags interval; elements = { 06:00-07:00, " <>
        "9:30 }; }\n" <>
        " chain c {\n#{Enum.map(lines, &"  #{&1}\n")}  meta hour @s\n }\n}\n"

    NftDifferential.same!(context, text, "nft")
  end

  @tag :nft_byte_ranges
  test "days and hours without quotes in one element", context do
    text =
      "table ip t {\n chain c {\n  meta day . meta hour " <>
        "{ \"Monday\" . 08:00-12:00, \"Friday\" . 13:00-14:30 } accept\n }\n}\n"

    NftDifferential.same!(context, text, "nft")
  end

  test "refused, as nft refuses it", %{theirs: theirs} do
    refused = [
      "dnat to ip saddr map { 192.0.2.1 : 198.51.100.1 . 80 }",
      "dnat to meta l4proto map { tcp : 198.51.100.1 . 80 }",
      "dnat to ct protocol . th dport map { tcp . 80 : 198.51.100.1 . 80 }",
      "dnat ip addr . port to 198.51.100.1 . 80",
      "tcp dport 80 dnat ip addr . port to 198.51.100.1:80",
      "tcp dport 80 dnat ip addr . port to 198.51.100.1",
      "tcp dport 80 dnat ip addr . port to 198.51.100.1-198.51.100.9 . 80",
      "tcp dport 80 dnat ip addr . port to 198.51.100.1 . 80 . 81",
      "dnat ip 198.51.100.1",
      "dnat prefix 198.51.100.0/24",
      "redirect to :tcp dport map { 80 : 8080-8090 }",
      "dnat to : meta l4proto . th dport map { tcp . 80 : 8080 }",
      "meta hour 24:00",
      "meta hour 18:60",
      "tcp dport 18:00"
    ]

    for rule <- refused do
      text = "table ip t { chain c { type nat hook prerouting priority -100;\n#{rule}\n}\n}\n"
      assert {:error, %NFT.ParseError{}} = NFT.parse(text), rule
      assert_raise RuntimeError, fn -> Firewall.load!(theirs, text) end
    end
  end
end
