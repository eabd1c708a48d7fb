defmodule Linx.NFT.FormatterTest do
  use ExUnit.Case, async: true

  alias Linx.Netfilter.{
    Canonical,
    Chain,
    Element,
    Encoder,
    Expr,
    Ruleset,
    Set,
    Table,
    Typeof,
    Verdict
  }

  alias Linx.Netfilter.Map, as: NMap
  alias Linx.NFT.Formatter
  alias Linx.NFT.Formatter.Source

  doctest Linx.NFT.Formatter

  defp ruleset(exprs, family \\ :inet, opts \\ []) do
    Ruleset.new()
    |> Ruleset.add_table!(family, "t")
    |> Ruleset.add_chain!("t", "c")
    |> Ruleset.add_rule!("t", "c", exprs, opts)
  end

  defp rule(exprs, family \\ :inet) do
    [_table, _chain, rule | _] =
      exprs |> ruleset(family) |> Formatter.format() |> String.split("\n")

    String.trim_leading(rule)
  end

  describe "matches" do
    test "a field and a constant" do
      assert rule([Expr.payload(:tcp_dport), Expr.cmp(:eq, <<22::16>>)]) == "tcp dport 22"
      assert rule([Expr.payload(:tcp_dport), Expr.cmp(:neq, <<22::16>>)]) == "tcp dport != 22"
      assert rule([Expr.payload(:network, 4, 2), Expr.cmp(:gt, <<5::16>>)]) == "@nh,32,16 > 5"
    end

    test "a mask over an address is a prefix, any other a mask" do
      load = Expr.payload(:ip_saddr)

      assert rule([
               load,
               Expr.bitwise(<<255, 128, 0, 0>>, <<0::32>>),
               Expr.cmp(:eq, <<10, 128, 0, 0>>)
             ]) == "ip saddr 10.128.0.0/9"

      assert rule([
               load,
               Expr.bitwise(<<255, 0, 0, 255>>, <<0::32>>),
               Expr.cmp(:eq, <<10, 0, 0, 1>>)
             ]) ==
               "ip saddr & 255.0.0.255 == 10.0.0.1"

      short = Expr.new(:payload, %{base: :network, offset: 12, len: 1, dreg: 1, field: :ip_saddr})
      assert rule([short, Expr.cmp(:neq, <<10>>)]) == "ip saddr != 10.0.0.0/8"
    end

    test "flags are a list when any of them counts, spelled out otherwise" do
      state = fn op, mask, value ->
        [
          Expr.ct(:state),
          Expr.bitwise(<<mask::native-32>>, <<0::32>>),
          Expr.cmp(op, <<value::native-32>>)
        ]
      end

      assert rule(state.(:neq, 6, 0)) == "ct state established,related"
      assert rule(state.(:eq, 6, 2)) == "ct state & (established | related) == established"
      assert rule([Expr.ct(:state), Expr.cmp(:eq, <<2::native-32>>)]) == "ct state == established"
    end

    test "fields that are no whole bytes" do
      load = Expr.new(:payload, %{base: :network, offset: 1, len: 1, dreg: 1, field: :ip_dscp})
      assert rule([load, Expr.bitwise(<<0xFC>>, <<0>>), Expr.cmp(:eq, <<0x20>>)]) == "ip dscp cs1"
    end

    test "ranges, with numbers at a dash" do
      assert rule([Expr.meta(:l4proto), Expr.range(:neq, <<33>>, <<45>>)]) ==
               "meta l4proto != 33-45"

      assert rule([
               Expr.payload(:tcp_dport),
               Expr.cmp(:gte, <<1::16>>),
               Expr.cmp(:lte, <<9::16>>)
             ]) == "tcp dport 1-9"
    end

    test "interface names whole and as prefixes" do
      assert rule([Expr.meta(:iifname), Expr.cmp(:eq, <<"eth0", 0::96>>)]) ==
               ~s(meta iifname "eth0")

      assert rule([Expr.meta(:iifname), Expr.cmp(:eq, "eth")]) == ~s(meta iifname "eth*")
    end

    test "values in the host's order, and after a swap" do
      assert rule([Expr.meta(:len), Expr.cmp(:eq, <<7::native-32>>)]) == "meta length 7"
      swapped = [Expr.meta(:mark), Expr.byteorder(:hton), Expr.cmp(:gt, <<7::32>>)]
      assert rule(swapped) == "meta mark > 0x00000007"
    end
  end

  describe "sets and maps" do
    test "anonymous ones" do
      assert rule([
               Expr.payload(:tcp_dport),
               Expr.set_literal([22, {:range, 80, 90}], :inet_service)
             ]) == "tcp dport { 22, 80-90 }"

      vmap =
        Expr.set_literal([{22, Verdict.jump("c")}, {:catch_all, Verdict.drop()}], :inet_service,
          data_type: :verdict
        )

      assert rule([Expr.payload(:tcp_dport), vmap]) == "tcp dport vmap { 22 : jump c, * : drop }"
    end

    test "concatenations take one register after the other" do
      exprs = [
        Expr.payload(:ip_saddr),
        Expr.payload(:tcp_dport, dreg: 9),
        Expr.set_literal([{{10, 0, 0, 1}, 22}], {:concat, [:ipv4_addr, :inet_service]})
      ]

      assert rule(exprs) == "ip saddr . tcp dport { 10.0.0.1 . 22 }"
    end

    test "declarations, with what their elements carry" do
      set =
        Set.new!("s",
          key_type: :ipv4_addr,
          flags: [:timeout],
          timeout: 90_061_001,
          size: 5,
          comment: "who",
          elements: [{10, 0, 0, 1}, %Element{key: {10, 0, 0, 2}, timeout: 60_000, comment: "x"}]
        )

      text =
        Ruleset.new()
        |> Ruleset.add_table!(:ip, "t")
        |> Ruleset.add_set!("t", set)
        |> Formatter.format()

      assert text == """
             table ip t {
               set s {
                 type ipv4_addr
                 flags timeout
                 timeout 1d1h1m1s1ms
                 size 5
                 comment "who"
                 elements = { 10.0.0.1, 10.0.0.2 timeout 1m comment "x" }
               }
             }
             """
    end

    test "typeof is read from nft's own record and written as such" do
      # nft -f of `typeof ip saddr . vlan id`, NFTNL_UDATA_SET_KEY_TYPEOF.
      load = %{dreg: 1, base: :network, offset: 12, len: 4, field: :ip_saddr}
      {:ok, record} = Typeof.encode([Expr.new(:payload, load), Expr.meta(:mark)])

      assert {:ok, [%Expr{data: %{field: :ip_saddr}}, %Expr{data: %{key: :mark}}]} =
               Typeof.decode(record)

      set = Set.new!("s", key_type: {:concat, [:ipv4_addr, :mark]}, typeof: %{key: record})

      text =
        Ruleset.new()
        |> Ruleset.add_table!(:ip, "t")
        |> Ruleset.add_set!("t", set)
        |> Formatter.format()

      assert text =~ "    typeof ip saddr . meta mark\n"
    end

    test "a record cut anywhere stands for other expressions or none, and raises nothing" do
      {:ok, record} = Typeof.encode([Expr.payload(:ip_saddr), Expr.ct(:mark)])

      for size <- 0..(byte_size(record) - 1) do
        cut = Typeof.decode(binary_part(record, 0, size))
        assert cut == :error or match?({:ok, [%Expr{} | _]}, cut)
      end

      assert Typeof.decode(<<>>) == :error
    end
  end

  describe "sets that are not declared" do
    # The expressions do not say of how many registers their keys are.
    for text <- [
          "ip saddr . tcp dport @s accept",
          "ip saddr . tcp dport vmap @v",
          "meta mark set ip saddr . tcp dport map @m",
          "add @s { ip saddr . tcp dport }",
          "update @s { ip6 saddr . th dport . meta mark timeout 5s }",
          "add @m { ip saddr : ip daddr }",
          "add @m { ip saddr . tcp dport : ip daddr }",
          "update @m { ip saddr . meta mark : ip daddr . tcp dport }",
          "ip saddr & 255.255.255.0 . tcp dport @s drop",
          "ip saddr . tcp dport @a ip daddr @b tcp dport @c update @s { ip saddr }",
          "numgen inc mod 2 . ip saddr @s",
          "udp dport 5 dnat ip addr . port to meta iif map @m",
          "udp dport 5 dnat ip addr . port to meta iif . udp dport map @m",
          "tcp dport 5 dnat ip6 addr . port to ip6 saddr map @m random",
          "tcp dport 5 snat ip addr . port to meta oif map @m",
          "udp dport 5 dnat ip to meta iif map @m",
          "udp dport 5 dnat ip to meta iif map @m:80"
        ] do
      test "have all parts of their keys: #{text}" do
        comes_back(unquote(text))
      end
    end
  end

  # The rule's text is written as it was read, and read as the same rule.
  defp comes_back(text) do
    {:ok, ruleset} = Linx.NFT.parse("table inet t { chain c {\n#{text}\n} }")
    formatted = Linx.NFT.format(ruleset)
    assert formatted =~ "    #{text}\n"
    assert Linx.NFT.parse(formatted) == {:ok, ruleset}
  end

  describe "a map of objects that is not declared" do
    for word <-
          ["counter name", "quota name", "limit name", "synproxy name", "ct helper set"] ++
            ["ct timeout set", "ct expectation set", "meta secmark set"],
        key <- ["tcp dport", "ip saddr . tcp dport", "meta mark"] do
      text = "#{word} #{key} map @m"

      test "has the kind that its statement says: #{text}" do
        comes_back(unquote(text))
      end
    end

    test "is no other rule than the kernel's, which has no kind" do
      {:ok, rule} = Linx.NFT.parse_rule("counter name tcp dport map @m")
      kernel = [Expr.payload(:tcp_dport), Expr.objref_map("m")]
      assert Canonical.same_rule?(%{rule | expressions: kernel}, rule, :inet)

      assert Encoder.rule(rule, :inet, "t", "c") ==
               Encoder.rule(%{rule | expressions: kernel}, :inet, "t", "c")
    end

    test "has no text where nothing says its kind, and stands in none" do
      exprs = [Expr.payload(:tcp_dport), Expr.cmp(:eq, <<22::16>>), Expr.objref_map("m"), :accept]

      assert_raise ArgumentError,
                   "table inet t, chain c, rule 0: the map m is not declared, so that the " <>
                     "kind of its objects is not known",
                   fn -> rule(exprs) end

      {:ok, rule} = Linx.Netfilter.Rule.build(exprs)
      assert_raise ArgumentError, ~r/the map m is not declared/, fn -> Linx.NFT.format(rule) end
      assert inspect(rule) =~ "Rule"
    end
  end

  describe "statements" do
    test "what is set from constants, fields and bit operations" do
      assert rule([Expr.load(<<5::native-32>>), Expr.meta(:mark, sreg: 1)]) ==
               "meta mark set 0x00000005"

      exprs = [
        Expr.meta(:mark),
        Expr.bitwise(<<0xFF::native-32>>, <<0x100::native-32>>),
        Expr.meta(:mark, sreg: 1)
      ]

      assert rule(exprs) == "meta mark set meta mark & 0x000001ff | 0x00000100"
    end

    test "NAT" do
      assert rule([Expr.dnat_to({10, 0, 0, 5}, 80)]) == "dnat ip to 10.0.0.5:80"
      assert rule([Expr.dnat_to({10, 0, 0, 5}, 80)], :ip) == "dnat to 10.0.0.5:80"

      assert rule([Expr.dnat_to("fe80::1", 80, addr_max: "fe80::9")]) ==
               "dnat ip6 to [fe80::1]-[fe80::9]:80"

      assert rule([Expr.redirect(port: 80)]) == "redirect to :80"

      assert rule([Expr.masquerade(flags: [:random, :persistent])]) ==
               "masquerade random,persistent"
    end

    test "logging, limits, quotas" do
      assert rule([Expr.log(prefix: "in: ", group: 2)]) == ~s(log prefix "in: " group 2)
      assert rule([Expr.limit(10, unit: :minute)]) == "limit rate 10/minute burst 5 packets"
      assert rule([Expr.quota(5 * 1024 * 1024, flags: [:inv])]) == "quota over 5 mbytes"
    end
  end

  test "an expression without words makes a comment of the whole rule" do
    assert rule([
             Expr.payload(:tcp_dport),
             Expr.cmp(:eq, <<22::16>>),
             Expr.new("future", {:raw, <<1>>}),
             :accept
           ]) =~
             ~r/^# <unsupported expression: future>.*accept$/
  end

  test "a load that nothing is done with is not left out" do
    assert rule([Expr.payload(:transport, 2, 2)]) == "# <unsupported expression: payload>"
    assert rule([Expr.meta(:mark), Expr.ct(:mark)]) == "# <unsupported expression: meta>"
  end

  test "whatever an expression holds, there is text" do
    junk = [
      nil,
      3,
      %{},
      "x",
      %{dreg: 1},
      %{sreg: 1, dreg: 1},
      %{key: :mark, dreg: "a"},
      %{op: :eq, data: 5, sreg: 1}
    ]

    names =
      ~w(payload cmp meta ct immediate lookup bitwise byteorder range nat masq redir reject log
               counter limit quota connlimit dynset objref fib numgen hash rt exthdr socket osf
               tproxy synproxy dup fwd queue notrack last inner xfrm tunnel flow_offload
               __anon_set)a

    for name <- names, data <- junk do
      assert is_binary(
               Formatter.format(
                 ruleset([Expr.payload(:tcp_dport), Expr.new(name, data), Expr.new(name, data)])
               )
             )
    end
  end

  test "tables, chains and their heads" do
    chain =
      Chain.new!("in",
        type: :filter,
        hook: :input,
        priority: {:filter, -5},
        policy: :drop,
        comment: "c"
      )

    {:ok, table} = Table.add_chain(Table.new!(:inet, "t", flags: [:dormant]), chain)

    assert Formatter.format(%Ruleset{tables: %{{:inet, "t"} => table}}) == """
           table inet t {
             flags dormant

             chain in {
               type filter hook input priority filter - 5
               policy drop
               comment "c"
             }
           }
           """
  end

  # Rules put together at random from pieces that each make sense alone.
  defp random_rule(_seed) do
    pieces = [
      [
        Expr.payload(:tcp_dport),
        Expr.cmp(Enum.random([:eq, :neq, :gt]), <<:rand.uniform(65_535)::16>>)
      ],
      [
        Expr.payload(:tcp_sport),
        Expr.cmp(:gte, <<1::16>>),
        Expr.cmp(:lte, <<:rand.uniform(60_000) + 1::16>>)
      ],
      [Expr.meta(:mark), Expr.cmp(:eq, <<:rand.uniform(1000)::native-32>>)],
      [Expr.meta(:iifname), Expr.cmp(:eq, <<"eth0", 0::96>>)],
      [Expr.ct(:state), Expr.bitwise(<<6::native-32>>, <<0::32>>), Expr.cmp(:neq, <<0::32>>)],
      [
        Expr.payload(:tcp_dport),
        Expr.set_literal([:rand.uniform(100), 100 + :rand.uniform(100)], :inet_service)
      ],
      [Expr.counter()],
      [Expr.limit(:rand.uniform(100))],
      [Expr.log(prefix: "p#{:rand.uniform(9)}")]
    ]

    Enum.flat_map(1..:rand.uniform(3), fn _ -> Enum.random(pieces) end) ++
      [Enum.random([:accept, :drop, :return])]
  end

  # A rule's text says from which field its anonymous set's key comes, and the parser notes it as
  # nft does. A literal that was built from values does not know.
  defp untold(ruleset) do
    expr = fn
      %Expr{name: :__anon_set} = expr -> %{expr | data: Map.delete(expr.data, :typeof)}
      expr -> expr
    end

    rule = fn rule -> Map.update!(rule, :expressions, &Enum.map(&1, expr)) end
    chain = fn {name, chain} -> {name, Map.update!(chain, :rules, &Enum.map(&1, rule))} end
    table = fn {key, table} -> {key, Map.update!(table, :chains, &Map.new(&1, chain))} end
    Map.update!(ruleset, :tables, &Map.new(&1, table))
  end

  test "what is formatted parses back to the same value, formats to the same text, and is " <>
         "laid out already" do
    for seed <- 1..150 do
      :rand.seed(:exsss, {seed, 5, 9})

      value =
        ruleset(random_rule(seed), Enum.random([:ip, :inet, :ip6]),
          comment: Enum.random([nil, "seed #{seed}"])
        )

      text = Formatter.format(value)
      assert {:ok, parsed} = Linx.NFT.parse(text)
      assert untold(parsed) == value, text
      assert Source.format(text) == {:ok, text}
    end
  end

  test "maps with ranges of addresses as values" do
    map =
      NMap.new!("m",
        key_type: :inet_service,
        data_type: {:interval, :ipv4_addr},
        elements: [{80, {:range, {10, 0, 0, 1}, {10, 0, 0, 9}}}]
      )

    text =
      Ruleset.new()
      |> Ruleset.add_table!(:ip, "t")
      |> Ruleset.add_map!("t", map)
      |> Formatter.format()

    assert text =~ "    type inet_service : interval ipv4_addr\n"
    assert text =~ "    elements = { 80 : 10.0.0.1-10.0.0.9 }\n"
  end
end
