defmodule Linx.NFT.TemplateTest do
  # Rules of one shape with other values: each is what it is alone, and a mistake is the one that
  # it is alone.
  use ExUnit.Case, async: true

  alias Linx.Netfilter.Rule
  alias Linx.NFT
  alias Linx.NFT.ParseError

  # {family, a rule with its values as letters}: p port, a address, c prefix, b byte, m mark, i
  # interface, x MAC, 6 IPv6, s text, t type
  @shapes [
    inet: "tcp dport <p> accept",
    inet: "tcp dport != <p> accept",
    inet: "tcp dport > <p> accept",
    inet: "udp sport <p> udp dport <p> counter drop",
    inet: "th sport <p> accept",
    inet: "meta l4proto icmp th sport <p> accept",
    inet: "meta l4proto <b> th dport <p> accept",
    inet: "ip protocol <b> ip saddr <a> accept",
    inet: "ip protocol <b> tcp dport <p> accept",
    inet: "ip6 nexthdr <b> ip6 daddr <6> accept",
    inet: "ip saddr <a> ip daddr <a> tcp dport <p> counter accept",
    inet: "ip saddr <a> ip protocol udp udp dport <p>",
    inet: "ip ttl <b> ip protocol tcp ip saddr <a> accept",
    inet: "ip saddr <c> counter accept",
    inet: "ip saddr != <c> ip daddr <c> accept",
    inet: "ip dscp <b> tcp dport <p> accept",
    inet: "ip version <b> accept",
    inet: "ip6 saddr <6> ip6 hoplimit <b> log prefix \"<s>\" drop",
    inet: "ip6 flowlabel <p> accept",
    inet: "tcp flags <b> tcp dport <p> accept",
    inet: "tcp sport <p> tcp dport <p> tcp sequence <m> accept",
    inet: "icmp type <t> icmp code <b> accept",
    inet: "icmp id <p> accept",
    inet: "icmp type <t> icmp id <p> accept",
    inet: "icmpv6 type <t> icmpv6 code <b> accept",
    inet: "meta mark <m> ip daddr <a> log prefix \"<s> \" accept",
    inet: "meta mark set <m> accept",
    inet: "ct state new,established meta mark <m> accept",
    inet: "ct mark <m> tcp dport <p> accept",
    inet: "iifname \"<i>\" oifname <i> udp sport 1024-65535 drop",
    inet: "iifname \"<i>*\" accept",
    inet: "iif <i> tcp dport <p>",
    inet: "tcp dport <p>-65535 accept",
    inet: "tcp dport { <p>, 22 } accept",
    inet: "tcp dport @ports ip saddr <a> accept",
    inet: "ip saddr <a> limit rate 10/second burst 5 packets accept",
    inet: "tcp dport <p> accept comment \"<s>\"",
    inet: "udp dport 4789 vxlan ip saddr <a> accept",
    inet: "tcp option maxseg size <p> accept",
    inet: "tcp dport <p> jump other",
    inet: "tcp dport $port ip saddr <a> accept",
    ip: "ip saddr <a> ip protocol tcp dnat to 10.0.0.1:<p>",
    ip6: "ip6 saddr <6> tcp dport <p> accept",
    bridge: "ether saddr <x> ether daddr <x> ip saddr <a> accept",
    bridge: "ether type <p> accept",
    bridge: "vlan id <b> vlan pcp 3 ip daddr <a> accept",
    netdev: "ip daddr <a> udp dport <p> drop",
    arp: "arp operation <b> arp saddr ip <a> accept"
  ]

  @letters %{
    "p" => ["22", "0", "65535", "0x8100", "ssh", "8", "2054", "65536", "0x0800"],
    "a" => ["10.0.0.1", "192.168.7.255", "0.0.0.0", "10.0.0.0/8", "1.2.3.4/32", "010.0.0.1"],
    "c" => [
      "10.0.0.0/8",
      "10.1.0.0/16",
      "10.128.0.0/9",
      "11.128.0.0/9",
      "1.2.3.4/32",
      "1.2.3.4/33"
    ],
    "b" => ["6", "17", "1", "58", "0", "255", "132", "256", "\"no\""],
    "m" => ["1", "0xffffffff", "77", "4294967296", "0"],
    "i" => ["eth0", "wan", "a-very-long-name", "lo", "w*"],
    "x" => ["00:11:22:33:44:55", "ff:ff:ff:ff:ff:ff", "0:1:2:3:4:5"],
    "6" => ["2001:db8::1", "::", "fe80::/10", "2001:db8::/32", "::ffff:1.2.3.4"],
    "s" => ["one", "two three", "a $port b", "a $ b", String.duplicate("x", 127)],
    "t" => ["8", "0", "echo-request", "echo-reply", "135", "3"]
  }

  defp values(shape) do
    Regex.replace(~r/<(.)>/, shape, fn _, letter -> Enum.random(@letters[letter]) end)
  end

  defp text(family, rules) do
    body = Enum.map_join(rules, "\n", &"    #{&1}")

    """
    define port = 443
    table #{family} t {
      set ports { type inet_service; elements = { 1, 2 }; }
      chain other {
      }
      chain c {
    #{body}
      }
    }
    """
  end

  defp rules({:ok, ruleset}) do
    [table] = Map.values(ruleset.tables)
    {:ok, table.chains["c"].rules}
  end

  defp rules({:error, error}), do: {:error, error}

  test "a rule among many of its shape is what it is alone" do
    :rand.seed(:exsss, {1, 2, 3})

    filled =
      for {family, shape} <- @shapes do
        alone = for _ <- 1..20, uniq: true, do: values(shape)

        read =
          for text <- alone,
              do: {text, family |> text([text]) |> NFT.parse(names: :declared) |> rules()}

        good = for {text, {:ok, [rule]}} <- read, do: {text, rule}

        {texts, wanted} = Enum.unzip(good ++ good ++ Enum.shuffle(good))
        {:ok, found} = family |> text(texts) |> NFT.parse(names: :declared) |> rules()

        for {text, rule, other} <- Enum.zip([texts, wanted, found]),
            do: assert(rule == other, "#{family}: #{text}\n#{inspect(rule)}\n#{inspect(other)}")

        # The same mistake, as many lines further down.
        {texts, _} = Enum.unzip(good ++ good)

        for {text, {:error, %ParseError{} = error}} <- read do
          assert {:error, found} = NFT.parse(text(family, texts ++ [text]), names: :declared)

          assert {found.message, found.line, found.column} ==
                   {error.message, error.line + length(texts), error.column},
                 text
        end

        good != []
      end

    # Some templates have hardly any values that may stand together.
    assert Enum.count(filled, & &1) > 40
  end

  test "the variables of a rule are those of its place" do
    {:ok, rules} =
      """
      define p = 1
      table inet t {
        chain c {
          tcp dport $p ip saddr 10.0.0.1
          tcp dport $p ip saddr 10.0.0.2
          tcp dport $p ip saddr 10.0.0.3
          redefine p = 2
          tcp dport $p ip saddr 10.0.0.4
          tcp dport $p ip saddr 10.0.0.5
          tcp dport $p ip saddr 10.0.0.6
        }
      }
      """
      |> NFT.parse(names: :declared)
      |> rules()

    ports = for %Rule{expressions: [_, cmp | _]} <- rules, do: cmp.data.data
    assert ports == List.duplicate(<<1::16>>, 3) ++ List.duplicate(<<2::16>>, 3)
  end

  test "a variable in a string that is part of the shape is that of its place" do
    rule = fn n -> "ip saddr 10.0.0.#{n} log prefix \"to $p \" group 1 accept" end

    {:ok, rules} =
      """
      define p = one
      table inet t {
        chain c {
          #{Enum.map_join(1..4, "\n", rule)}
          redefine p = two
          #{Enum.map_join(1..4, "\n", rule)}
        }
      }
      """
      |> NFT.parse(names: :declared)
      |> rules()

    prefixes = for rule <- rules, %{name: :log, data: log} <- rule.expressions, do: log.prefix
    assert prefixes == List.duplicate("to one ", 4) ++ List.duplicate("to two ", 4)
  end

  test "from the third rule of a shape on nothing is compiled but its values" do
    texts = for n <- 1..50, do: "ip saddr 10.0.#{n}.0/24 tcp dport #{n} counter accept"

    {:ok, [_first, _second | rules]} =
      :inet |> text(texts) |> NFT.parse(names: :declared) |> rules()

    # The part that a rule has in common with the others of its shape is the same term, not an
    # equal one.
    [shared | _] = for %Rule{expressions: [load | _]} <- rules, do: load

    for %Rule{expressions: [load | _]} <- rules,
        do: assert(:erts_debug.same(load, shared))
  end

  test "more shapes than are kept are compiled all the same" do
    texts = for n <- 1..1000, do: "tcp dport #{n}-#{n + 1} accept"

    {:ok, rules} =
      :inet |> text(texts ++ texts ++ texts) |> NFT.parse(names: :declared) |> rules()

    assert length(rules) == 3000
    assert Enum.slice(rules, 0, 1000) == Enum.slice(rules, 2000, 1000)

    for n <- [1, 255, 256, 257, 1000] do
      {:ok, [alone]} =
        :inet |> text([Enum.at(texts, n - 1)]) |> NFT.parse(names: :declared) |> rules()

      assert Enum.at(rules, n - 1) == alone
      assert Enum.at(rules, n + 1999) == alone
    end
  end
end
