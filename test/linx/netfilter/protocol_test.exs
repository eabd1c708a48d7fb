defmodule Linx.Netfilter.ProtocolTest do
  use ExUnit.Case, async: true

  alias Linx.Netfilter.{
    Canonical,
    Datatype,
    Datum,
    Dependencies,
    Expr,
    Field,
    Protocol,
    Rule,
    Ruleset,
    Typeof
  }

  alias Linx.NFT

  doctest Protocol

  defp exprs(rule, family), do: rule |> parse!(family) |> Dependencies.expand(atom(family))

  defp parse!(rule, family) do
    {:ok, ruleset} = NFT.parse("table #{family} t { chain c { #{rule}; }; }")
    [{_family, _name, table}] = Ruleset.tables(ruleset)
    [%Rule{expressions: exprs}] = table.chains["c"].rules
    exprs
  end

  defp atom("ip"), do: :ip
  defp atom("ip6"), do: :ip6

  defp error(rule, family) do
    {:error, error} = NFT.parse("table #{family} t { chain c { #{rule}; }; }")
    Exception.message(error)
  end

  defp family(:icmp), do: "ip"
  defp family(:icmpv6), do: "ip6"

  defp value(%{type: :ipv6_addr}), do: "2001:db8::1"
  defp value(_field), do: "5"

  defp typed, do: Enum.filter(Field.all(), & &1.types)

  describe "the subtypes of MPTCP" do
    test "are named, and written as the numbers that nft 1.0 reads too" do
      assert parse!("tcp option mptcp subtype { mp-join, dss }", "ip") ==
               parse!("tcp option mptcp subtype { 1, 2 }", "ip")

      {:ok, rule} = NFT.parse_rule("tcp option mptcp subtype mp-capable accept")
      assert rule |> NFT.format() |> IO.iodata_to_binary() =~ "tcp option mptcp subtype 0 accept"
    end

    test "make the same set as the kernel gives back, which knows an integer of one byte" do
      [_load, _mask, %Expr{name: :__anon_set, data: data}] =
        Enum.take(parse!("tcp option mptcp subtype { mp-join, dss }", "ip"), 3)

      assert Datum.type_id(data.key_type) == Datum.type_id({:integer, 8})
      assert Datum.size(data.key_type) == 1
      read = %{data | key_type: {:integer, 8}}
      rule = &%Rule{expressions: [%Expr{name: :__anon_set, data: &1}]}
      assert Canonical.same_rule?(rule.(data), rule.(read), :ip)
    end

    test "come with the nearest name where one is misspelt" do
      assert error("tcp option mptcp subtype mp-jion", "ip") =~ "did you mean mp-join?"
    end

    test "are no type that a set could declare, as in nft" do
      assert {:ok, :integer} = Datatype.from_id(Datatype.type_id(:mptcpopt_subtype))
      assert Datatype.by_text("mptcpopt_subtype") == :error

      {:ok, ruleset} =
        NFT.parse(
          "table ip t { set s { typeof tcp option mptcp subtype; elements = { dss }; }; }"
        )

      assert NFT.parse(NFT.format(ruleset)) == {:ok, ruleset}
    end
  end

  describe "the table" do
    test "a field is found by nft's record of it, and the other way round" do
      for field <- Field.all(), field.field != "cfi" do
        {space, id, place} = Protocol.record(field)
        found = Protocol.recorded(space, id, place)

        assert {found.header, found.offset, found.length} ==
                 {field.header, field.offset, field.length}

        assert found.field == field.field
      end
    end

    test "no two fields of a protocol share a place in nft's record" do
      for row <- Protocol.all() do
        places = Enum.map(row.fields, & &1.place)
        assert places == Enum.uniq(places), "#{row.name}"
      end
    end

    test "a number over a lower layer names one protocol" do
      for layer <- [:inet, :ether, :family], name <- Protocol.over(layer) do
        assert Protocol.by_number(layer, Protocol.number(name, layer)) == name
      end
    end

    test "a checksum is a field of its own protocol" do
      for %{checksum: {_kind, text}} = row <- Protocol.all(),
          do: assert({:ok, _field} = Field.fetch(row.name, text))
    end

    test "a word of a space names one protocol, whose text is read as the same" do
      for space <- [:payload, :ipv6, :ipv4, :tcpopt, :sctp],
          {word, name} <- Protocol.words(space) do
        assert word in Protocol.fetch!(name).words
      end
    end
  end

  describe "a field that exists in some ICMP types only" do
    test "asks for them, as a match and as what is set" do
      for field <- typed(), set <- ["", "set "] do
        family = family(field.protocol)
        exprs = exprs("#{field.protocol} #{field.field} #{set}#{value(field)}", family)
        assert tested(exprs) == Enum.sort(field.types), "#{field.name}"
      end
    end

    test "asks for nothing after a type that it exists in" do
      for field <- typed(), type <- field.types, set <- ["", "set "] do
        words =
          "#{field.protocol} type #{type} #{field.protocol} #{field.field} #{set}#{value(field)}"

        exprs = exprs(words, family(field.protocol))
        assert tested(exprs) == [type], words
        assert Enum.count(exprs, &match?(%Expr{data: %{base: :transport, offset: 0}}, &1)) == 1
      end
    end

    test "is refused after another type, which names both" do
      for field <- typed(), set <- ["", "set "] do
        protocol = field.protocol
        words = "#{protocol} type 200 #{protocol} #{field.field} #{set}#{value(field)}"

        assert error(words, family(protocol)) =~
                 "#{protocol} #{field.field} does not exist in #{protocol} type 200"
      end
    end

    test "is refused after a test of another field's type, in a tunnel too" do
      assert error("icmp mtu 5 icmp gateway 6", "ip") =~ "does not exist in icmp type 3"

      assert error("udp dport 4789 vxlan icmp type 8 vxlan icmp mtu 5", "ip") =~
               "does not exist in icmp type 8"

      exprs = exprs("udp dport 4789 vxlan icmp type 8 vxlan icmp id 5", "ip")
      refute Enum.any?(exprs, &match?(%Expr{name: :__anon_set}, &1))
    end

    test "asks for them where the rule was built by hand" do
      for field <- typed(), family <- [:ip, :ip6, :inet, :bridge, :netdev] do
        {_offset, len} = Field.bytes(field)
        load = Expr.payload(field.name)
        exprs = Dependencies.expand([load, Expr.cmp(:eq, <<5::size(8 * len)>>)], family)
        assert tested(exprs) == Enum.sort(field.types), "#{family} #{field.name}"

        write = [Expr.load(<<5::size(8 * len)>>), Expr.payload(field.name, sreg: 1)]
        assert tested(Dependencies.expand(write, family)) == Enum.sort(field.types)
      end
    end

    test "matches nothing after another type, where the rule was built by hand" do
      type = [Expr.payload(:icmpv6_type), Expr.cmp(:eq, <<128>>)]
      rule = type ++ [Expr.payload(:icmpv6_taddr), Expr.cmp(:eq, <<1::128>>)]
      exprs = Dependencies.expand(rule, :ip6)
      assert [%Expr{data: %{elements: [130 | _]}}] = for(%{name: :__anon_set} = e <- exprs, do: e)
      assert Enum.any?(exprs, &match?(%Expr{name: :cmp, data: %{data: <<128>>}}, &1))
    end

    test "has its name back after the set of a dump is known, and only if the set fits" do
      load = [Expr.payload(:transport, 8, 16), Expr.cmp(:eq, <<1::128>>)]
      l4 = [Expr.meta(:l4proto), Expr.cmp(:eq, <<58>>)]
      type = Expr.payload(:transport, 0, 1)

      [_type, lookup | named] =
        Dependencies.fold(l4 ++ [type, Expr.lookup("__set0")] ++ load, :ip6)

      assert lookup.name == :lookup
      assert [%Expr{data: %{field: :icmpv6_taddr}}, _cmp] = named

      for {types, known?} <- [{[135, 136], true}, {[1, 2], false}] do
        rule = [Expr.payload(:icmpv6_type), Expr.set_literal(types, :icmpv6_type) | named]
        [_, _, load, _] = Dependencies.unname(rule, :ip6)
        assert is_map_key(load.data, :field) == known?
      end
    end
  end

  # The ICMP types that a rule tests for.
  defp tested(exprs) do
    exprs
    |> Enum.chunk_every(2, 1, :discard)
    |> Enum.find_value(fn
      [
        %Expr{data: %{base: :transport, offset: 0, len: 1}},
        %Expr{name: :__anon_set, data: set}
      ] ->
        Enum.sort(set.elements)

      [
        %Expr{data: %{base: :transport, offset: 0, len: 1}},
        %Expr{name: :cmp, data: %{data: <<n>>}}
      ] ->
        [n]

      _ ->
        nil
    end)
  end

  test "a field that contradicts the rule gets its test all the same" do
    for {before, field, key, value} <- [
          {[Expr.meta(:l4proto), Expr.cmp(:eq, <<17>>)], :tcp_dport, :l4proto, <<6>>},
          {[], :ip6_saddr, :protocol, <<0x86DD::16>>},
          {[], :icmpv6_type, :l4proto, <<58>>},
          {[], :frag_id, :protocol, <<0x86DD::16>>}
        ] do
      {:ok, found} = Field.fetch(field)
      {offset, len} = Field.bytes(found)

      load =
        if found.header,
          do: Expr.exthdr(found.base, found.header, offset: offset, len: len),
          else: Expr.payload(field)

      load = %{load | data: Map.put(load.data, :field, field)}
      exprs = Dependencies.expand(before ++ [load, Expr.cmp(:eq, <<0::size(8 * len)>>)], :ip)
      pairs = Enum.chunk_every(exprs, 2, 1, :discard)

      assert Enum.any?(
               pairs,
               &match?([%Expr{data: %{key: ^key}}, %Expr{data: %{data: ^value}}], &1)
             ),
             "#{field}"
    end
  end

  describe "a write mends" do
    defp write(rule, family) do
      Enum.find_value(exprs(rule, family), fn
        %Expr{name: :payload, data: %{sreg: _} = data} ->
          Map.take(data, [:csum_type, :csum_offset, :csum_flags])

        _ ->
          nil
      end)
    end

    test "the checksum of the header, whole fields and single bits alike" do
      for {protocol, family, keys} <- [
            {"sctp dport", "ip", %{csum_type: :sctp, csum_offset: 8}},
            {"sctp sport", "ip6", %{csum_type: :sctp, csum_offset: 8}},
            {"sctp vtag", "ip", %{csum_type: :sctp, csum_offset: 8}},
            {"udp dport", "ip", %{csum_flags: [:pseudohdr]}},
            {"udp length", "ip6", %{csum_flags: [:pseudohdr]}},
            {"udplite dport", "ip", %{csum_type: :inet, csum_offset: 6}},
            {"tcp dport", "ip", %{csum_type: :inet, csum_offset: 16}},
            {"tcp window", "ip6", %{csum_type: :inet, csum_offset: 16}},
            {"dccp dport", "ip", %{}},
            {"ip length", "ip", %{csum_type: :inet, csum_offset: 10, csum_flags: [:pseudohdr]}},
            {"ip protocol", "ip", %{csum_type: :inet, csum_offset: 10, csum_flags: [:pseudohdr]}},
            {"ip ttl", "ip", %{csum_type: :inet, csum_offset: 10}},
            {"ip6 nexthdr", "ip6", %{csum_flags: [:pseudohdr]}},
            {"ip6 length", "ip6", %{csum_flags: [:pseudohdr]}},
            {"ip6 hoplimit", "ip6", %{}}
          ],
          value <- ["1", "#{protocol} | 1", "#{protocol} & 1", "#{protocol} ^ 1"] do
        assert write("#{protocol} set #{value}", family) == keys, "#{protocol} set #{value}"
      end
    end

    test "the same where it was built by hand" do
      for field <- Field.all(),
          field.header == nil and field.base in [:network, :transport],
          rem(field.offset, 16) == 0 and rem(field.length, 16) == 0 do
        data = Expr.payload(field.name, sreg: 1).data
        keys = Map.take(data, [:csum_type, :csum_offset, :csum_flags])
        assert keys == Protocol.mends(field), "#{field.name}"
      end

      assert Expr.payload(:tcp_dport, sreg: 1, csum_type: :none).data[:csum_offset] == nil
      assert_raise ArgumentError, ~r/16-bit words/, fn -> Expr.payload(:ip_ttl, sreg: 1) end
      assert Expr.payload(:ip6_hoplimit, sreg: 1).data.len == 1
    end
  end

  test "fields that nft loads at once are loaded at once" do
    for {family, rule, loads} <- [
          {"arp", "arp saddr ether 02:00:00:00:00:01 arp saddr ip 192.0.2.1", [{8, 10}]},
          {"arp", "arp saddr ip 192.0.2.1 arp daddr ether 02:00:00:00:00:01", [{14, 10}]},
          {"arp", "arp operation 1 arp saddr ether 02:00:00:00:00:01", [{6, 8}]},
          {"arp",
           "arp saddr ether 02:00:00:00:00:01 arp saddr ip 192.0.2.1 " <>
             "arp daddr ether 02:00:00:00:00:02 arp daddr ip 192.0.2.2", [{8, 16}, {24, 4}]},
          {"arp", "arp hlen 6 arp plen 4 arp operation 1", [{4, 4}]},
          {"ip", "ip saddr 192.0.2.1 ip daddr 192.0.2.2", [{12, 4}, {16, 4}]},
          {"ip6", "ip6 hoplimit 1 ip6 saddr ::1", [{7, 1}, {8, 16}]}
        ] do
      exprs = parse!(rule, family)
      full = Dependencies.expand(exprs, String.to_existing_atom(family))
      found = for %Expr{name: :payload, data: data} <- full, do: {data.offset, data.len}
      assert found == loads, rule
      bare = Enum.map(full, &%{&1 | data: Map.delete(&1.data, :field)})
      assert Dependencies.fold(bare, String.to_existing_atom(family)) == exprs
    end
  end

  test "both words for a field are read, nft's is written" do
    assert parse!("icmpv6 parameter-problem 1", "ip6") == parse!("icmpv6 param-problem 1", "ip6")
    {:ok, ruleset} = NFT.parse("table ip6 t { chain c { icmpv6 parameter-problem 1; }; }")
    assert NFT.format(ruleset) =~ "icmpv6 param-problem 1"
    assert Expr.payload(:icmpv6_parameter_problem) == Expr.payload(:icmpv6_param_problem)
  end

  test "a typed field keeps its record" do
    for field <- Field.all(), field.header == nil, field.base != :tunnel, field.field != "cfi" do
      expr = Expr.payload(field.name)
      {:ok, record} = Typeof.encode([expr])
      assert Typeof.decode(record) == {:ok, [expr]}, "#{field.name}"
    end
  end

  test "existence of a route is one byte, and the four of nft 1.0 are the same rule" do
    for {word, n} <- [{"exists", 1}, {"missing", 0}], op <- ["", "!= "] do
      rule = parse!("fib saddr . iif oif #{op}#{word}", "ip")
      assert [%Expr{name: :fib}, %Expr{name: :cmp, data: %{data: <<^n>>}} = cmp] = rule
      assert parse!("fib saddr . iif check #{op}#{word}", "ip") == rule

      four = [hd(rule), %{cmp | data: %{cmp.data | data: <<n::native-32>>}}]
      rule = Rule.build!(rule)
      assert Linx.Netfilter.Canonical.same_rule?(rule, Rule.build!(four), :ip)

      for exprs <- [rule.expressions, four] do
        table = %{chain: Rule.build!(exprs)}

        text =
          Ruleset.new()
          |> Ruleset.add_table!(:ip, "t")
          |> Ruleset.add_chain!("t", "c")
          |> Ruleset.add_rule!("t", "c", table.chain.expressions)
          |> NFT.format()

        assert text =~ "fib saddr . iif oif #{op}#{word}\n"
      end
    end
  end
end
