defmodule Linx.Netfilter.StatementFormsTest do
  # The options of statements against nft itself, many rules a table: what nft loads Linx loads
  # alike, and writes so that both read it.
  use ExUnit.Case, async: true

  alias Linx.NFT
  alias Linx.Test.{NewerNft, NftDifferential}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  setup do: NftDifferential.namespaces()

  @log [
         "",
         "prefix \"a\"",
         "level debug",
         "level audit",
         "level err flags all",
         "flags tcp sequence,options",
         "flags ip options"
       ] ++
         [
           "flags ip options flags ether flags skuid",
           "level warn prefix \"a\"",
           "group 0",
           "group 65535 prefix \"x \""
         ] ++
         [
           "group 5 snaplen 100",
           "group 5 queue-threshold 10",
           "prefix \"a\" group 1 snaplen 5 queue-threshold 4"
         ]
  @limit [
           "rate 1/second",
           "rate over 1/second",
           "rate 10/hour burst 3 packets",
           "rate 1 / second"
         ] ++
           [
             "rate 1 mbytes/second burst 5 kbytes",
             "rate over 10 mbytes/minute burst 100 bytes",
             "rate 1kbytes/second"
           ] ++
           ["rate over 5 mbytes/second burst 10kbytes", "rate 10/second burst 7packets"]
  @quota [
    "100 bytes",
    "over 100 bytes",
    "until 1 kbytes",
    "over 1 mbytes used 5 kbytes",
    "over 25kbytes",
    "until 5kbytes used 1bytes"
  ]
  @synproxy ["", "mss 1460", "wscale 7", "mss 1460 wscale 7 timestamp sack-perm", "timestamp"]

  test "log, limit, quota, synproxy", context do
    rules =
      for(
        {word, forms} <- [log: @log, limit: @limit, quota: @quota],
        form <- forms,
        do: "#{word} #{form}"
      ) ++
        for before <- [
              "",
              "tcp dport 80 ",
              "udp dport 80 ",
              "meta l4proto " <>
                "sctp ",
              "icmp type 8 "
            ],
            form <- @synproxy,
            do: "#{before}synproxy #{form}"

    same!(context, "inet", "filter hook input priority 0", rules, "nft")
  end

  test "addresses of a connection without their family", context do
    for {family, address} <- [{"ip", "10.0.0.1"}, {"ip6", "2001:db8::1"}] do
      rules =
        for dir <- ~w(original reply),
            side <- ~w(saddr daddr),
            op <- ["", "!= "],
            do: "ct #{dir} #{side} #{op}#{address}"

      same!(context, family, "filter hook input priority 0", rules, "nft")
    end
  end

  @tag :newer_nft
  test "tproxy, with a family told by a map's key", context do
    rules =
      for target <- [
            "to :80",
            "ip to 127.0.0.1:80",
            "ip to :80",
            "ip6 to [::1]:80",
            "to ip daddr map { 10.0.0.1 : 127.0.0.1 }:80",
            "to ip6 daddr map { 2001:db8::1 : ::1 }"
          ],
          do: "tcp dport 80 tproxy #{target}"

    same!(context, "inet", "filter hook prerouting priority -150", rules, NewerNft.path!())

    for target <- [":80-90", "127.0.0.1-127.0.0.3", "127.0.0.1-127.0.0.3:80"] do
      text =
        table("ip", "filter hook prerouting priority -150", ["tcp dport 80 tproxy to #{target}"])

      assert {:error, error} = NFT.parse(text)
      assert error.message =~ "range"
    end
  end

  defp table(family, hook, rules),
    do: "table #{family} t {\n chain c { type #{hook};\n#{Enum.map(rules, &"  #{&1}\n")} }\n}\n"

  defp same!(context, family, hook, rules, nft),
    do: NftDifferential.same!(context, table(family, hook, rules), nft)
end
