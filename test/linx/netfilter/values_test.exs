defmodule Linx.Netfilter.ValuesTest do
  use ExUnit.Case, async: true

  alias Linx.NFT

  alias Linx.Netfilter.{
    Chain,
    Datum,
    Element,
    Encoder,
    Expr,
    Flowtable,
    Object,
    Patch,
    Rule,
    Ruleset,
    Set,
    Table,
    Verdict,
    Vmap,
    Wire
  }

  alias Linx.Netfilter.Map, as: NMap

  doctest Linx.Netfilter.Chain
  doctest Linx.Netfilter.Diff
  doctest Linx.Netfilter.Element
  doctest Linx.Netfilter.Encoder
  doctest Linx.Netfilter.Decoder
  doctest Linx.Netfilter.Error
  doctest Linx.Netfilter.Expr
  doctest Linx.Netfilter.Flowtable
  doctest Linx.Netfilter.Map
  doctest Linx.Netfilter.Object
  doctest Linx.Netfilter.Patch
  doctest Linx.Netfilter.Rule
  doctest Linx.Netfilter.Ruleset
  doctest Linx.Netfilter.Set
  doctest Linx.Netfilter.Table
  doctest Linx.Netfilter.Verdict
  doctest Linx.Netfilter.Vmap
  doctest Linx.Netfilter.Wire

  describe "names" do
    test "that the kernel cannot hold are refused" do
      for name <- ["", String.duplicate("x", 256), "a\0b", :atom, nil] do
        assert {:error, {:bad_table, {:bad_name, ^name}}} = Table.new(:inet, name)
        assert {:error, {:bad_chain, {:bad_name, ^name}}} = Chain.new(name)
        assert {:error, {:bad_set, {:bad_name, ^name}}} = Set.new(name, key_type: :mark)
        assert {:error, {:bad_object, {:bad_name, ^name}}} = Object.new(:counter, name)
        assert {:error, {:bad_flowtable, {:bad_name, ^name}}} = Flowtable.new(name)
        refute Verdict.valid?(%Verdict{kind: :jump, target: name})
      end

      assert {:ok, _} = Table.new(:inet, String.duplicate("x", 255))
    end

    test "an unknown hook comes with a suggestion" do
      assert {:error, {:bad_chain, {:bad_hook, :imput, {:did_you_mean, :input}}}} =
               Chain.new("c", type: :filter, hook: :imput, priority: 0)
    end
  end

  describe "route chains" do
    test "are for ip and ip6 by the check, and an inet table takes one as the kernel does" do
      chain = Chain.new!("c", type: :route, hook: :output, priority: 0)
      assert Chain.validate_for_family(chain, :ip6) == :ok

      refused = {:type_not_valid_for_family, %{type: :route, family: :inet}}
      assert Chain.validate_for_family(chain, :inet) == {:error, {:bad_chain, refused}}

      assert {:ok, _} = Table.add_chain(Table.new!(:inet, "t"), chain)
      assert {:error, {:bad_chain, _}} = Table.add_chain(Table.new!(:arp, "t"), chain)
    end
  end

  describe "elements" do
    test "ranges and prefixes need a set of intervals" do
      for {type, element, kept} <- [
            {:ipv4_addr, "10.0.0.0/8", {:prefix, {10, 0, 0, 0}, 8}},
            {:inet_service, 1..9, {:range, 1, 9}},
            {:ifname, "eth*", {:prefix, "eth", 24}},
            {{:concat, [:ipv4_addr, :inet_service]}, {{10, 0, 0, 1}, 1..9},
             {{10, 0, 0, 1}, {:range, 1, 9}}}
          ] do
        assert {:error, {:bad_set, {:bad_element, ^kept, :needs_interval_flag}}} =
                 Set.new("s", key_type: type, elements: [element])

        assert {:error, {:bad_set_element, {^kept, :needs_interval_flag}}} =
                 "s" |> Set.new!(key_type: type) |> Set.add_elements([%Element{key: element}])

        assert {:error, {:bad_map, {:bad_element, {^element, :accept}, :needs_interval_flag}}} =
                 Vmap.new("v", key_type: type, elements: [{element, :accept}])

        assert {:ok, %{elements: [^kept]}} =
                 Set.new("s", key_type: type, flags: [:interval], elements: [element])

        # A struct that somebody changed by hand does not lose the rest of the range on its way
        # either.
        set = %{Set.new!("s", key_type: type) | elements: [kept], table: "t"}
        assert_raise ArgumentError, ~r/many values/, fn -> Encoder.set_elements(set, :inet) end
      end
    end

    test "what an element carries is checked with it" do
      for {field, value, reason} <- [
            {:timeout, -1, {:bad_option, {:timeout, -1}}},
            {:timeout, "1", {:bad_option, {:timeout, "1"}}},
            {:expires, 1.5, {:bad_option, {:expires, 1.5}}},
            {:comment, :why, {:bad_comment, :why}},
            {:comment, "a\0b", {:bad_comment, "a\0b"}},
            {:exprs, [:counter], {:bad_exprs, [:counter]}}
          ] do
        element = Map.replace!(%Element{key: 1}, field, value)

        assert {:error, {:bad_set, {:bad_element, ^element, ^reason}}} =
                 Set.new("s", key_type: :mark, elements: [element])

        element = %{element | data: :accept}

        assert {:error, {:bad_map, {:bad_element, ^element, ^reason}}} =
                 Vmap.new("v", key_type: :mark, elements: [element])
      end

      pair = %Element{key: 1, data: 2}

      assert {:error, {:bad_set, {:bad_element, ^pair, :data_in_a_set}}} =
               Set.new("s", key_type: :mark, elements: [pair])
    end

    test "digits are no bytes" do
      for {type, text} <- [{:inet_service, "22"}, {:inet_proto, "6"}, {:mark, "1234"}] do
        assert {:error, {:bad_set, {:bad_element, ^text, {:bad_value, ^text}}}} =
                 Set.new("s", key_type: type, elements: [text])
      end

      assert Set.new!("s", key_type: :inet_service, elements: [<<0, 22>>, "ssh"]).elements == [
               22,
               22
             ]

      for length <- ["+8", "08", "-8", "8 ", ""] do
        assert {:error, {:bad_set, {:bad_element, _, _}}} =
                 Set.new("s",
                   key_type: :ipv4_addr,
                   flags: [:interval],
                   elements: ["10.0.0.0/" <> length]
                 )
      end
    end

    test "text is never taken for the bytes of a value" do
      texts = [
        {:ipv4_addr, ["1::2", "abcd", "eth0", "10.1", "    "]},
        {:ipv6_addr, ["abcdefghijklmnop", "10.0.0.1-10.0.0.", "2001:db8:::::::7"]},
        {:inet_service, ["ab", "8 ", "-1"]},
        {:inet_proto, ["x", "/"]},
        {:ether_type, ["zz"]},
        {:mark, ["abcd", "0x12"]},
        {:ct_label, ["abcdefghijklmnop"]},
        {{:integer, 32}, ["abcd"]},
        {{:integer, 32, :host}, ["abcd"]},
        {:iface_index, ["a/b1", "1234"]},
        {{:concat, [:ipv4_addr, :inet_service]}, ["10.0.0.7", "1.2.3.4 "]},
        {{:concat, [:ipv4_addr, :ipv4_addr]}, ["10.0.0.7"]},
        {{:concat, [:ether_addr, :mark]}, ["aa:bb:cc:dd:"]},
        {{:concat, [:ifname, :inet_service]}, ["eth0 . 22 0123456789"]}
      ]

      for {type, values} <- texts, text <- values do
        bad = {:error, {:bad_value, text}}
        assert {type, bad} == {type, Datum.Form.normalise(type, text)}

        range = {:range, text, text}
        assert {type, {:error, {:bad_value, range}}} == {type, Datum.Form.normalise(type, range)}
      end

      assert {:error, _} = Datum.Form.normalise(:ipv4_addr, "1::2/24")
      assert {:error, _} = Datum.Form.normalise({:concat, [:ipv4_addr, :mark]}, {"1::2", 1})

      assert {:error, {:bad_map, _}} =
               Linx.Netfilter.Map.new("m",
                 key_type: :mark,
                 data_type: :ipv4_addr,
                 elements: [{1, "abcd"}]
               )
    end

    test "bytes that are no text stand for the value, and kept forms for themselves" do
      pair = {:concat, [:ipv4_addr, :inet_service]}

      for {type, bytes, kept} <- [
            {:ipv4_addr, <<10, 10, 10, 10>>, {10, 10, 10, 10}},
            {:ipv4_addr, "abc" <> <<0>>, {97, 98, 99, 0}},
            {:ipv4_addr, <<192, 168, 0, 1>>, {192, 168, 0, 1}},
            {:ipv6_addr, <<0x20010DB8::32, 0::95, 1::1>>, {0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}},
            {:ipv6_addr, "2001:db8::1:2:34", {0x2001, 0xDB8, 0, 0, 0, 1, 2, 0x34}},
            {pair, <<10, 0, 0, 7, 0, 22, 0, 0>>, {{10, 0, 0, 7}, 22}},
            {:ether_addr, "ABCDEF", "ABCDEF"},
            {:ipv4_addr, {97, 98, 99, 100}, {97, 98, 99, 100}}
          ] do
        assert {bytes, {:ok, kept}} == {bytes, Datum.Form.normalise(type, bytes)}
        assert {bytes, {:ok, kept}} == {bytes, Datum.Form.normalise(type, kept)}
      end
    end

    test "come in many forms and stay in one" do
      forms = [
        {:ipv4_addr, {10, 0, 0, 1}, [<<10, 0, 0, 1>>, "10.0.0.1"]},
        {:ipv6_addr, {0xFE80, 0, 0, 0, 0, 0, 0, 1}, [<<0xFE80::16, 0::96, 1::16>>, "fe80::1"]},
        {:ether_addr, <<2, 0, 0, 0, 0, 1>>, ["02:00:00:00:00:01", {2, 0, 0, 0, 0, 1}]},
        {:inet_service, 22, ["ssh", :ssh, <<0, 22>>]},
        {:inet_proto, 6, ["tcp", :tcp]},
        {:mark, 5, [<<5::native-32>>]},
        {:ipv4_addr, {:prefix, {10, 0, 0, 0}, 8},
         [
           "10.0.0.0/8",
           "10.1.2.3/8",
           {:prefix, "10.0.0.0", 8},
           {:range, "10.0.0.0", "10.255.255.255"}
         ]},
        {:inet_service, {:range, 1, 9}, [1..9, {:range, 1, 9}]},
        {:ipv4_addr, {10, 0, 0, 1}, ["10.0.0.1/32", {:range, "10.0.0.1", "10.0.0.1"}]},
        {:ifname, {:prefix, "eth", 24}, ["eth*"]},
        {{:concat, [:ipv4_addr, :inet_service]}, {{10, 0, 0, 1}, 22},
         [["10.0.0.1", "ssh"], {"10.0.0.1", 22}]}
      ]

      for {type, kept, given} <- forms, value <- [kept | given] do
        assert {type, {:ok, kept}} == {type, Datum.Form.normalise(type, value)}
      end
    end

    test "that do not fit are named" do
      bad = [
        {:ipv4_addr, {256, 0, 0, 1}},
        {:ipv4_addr, "10.0.0"},
        {:ipv4_addr, "fe80::1"},
        {:ipv4_addr, "10.0.0.0/33"},
        {:ipv4_addr, "10.0.0.0/-1"},
        {:inet_service, 65_536},
        {:inet_service, -1},
        {:inet_service, "no-such-service"},
        {:inet_service, 9..1//-1},
        {:ifname, "sixteen-and-more-"},
        {:ifname, ""},
        {:ether_addr, "02:00"},
        {:mark, 0x100000000},
        {{:concat, [:ipv4_addr, :mark]}, {"10.0.0.1"}},
        {:ipv4_addr, {:range, "10.0.0.9", "10.0.0.1"}},
        {:ipv4_addr, nil},
        {:ipv4_addr, 5}
      ]

      for {type, value} <- bad do
        assert {type, {:error, {:bad_value, value}}} == {type, Datum.Form.normalise(type, value)}

        assert {:error, {:bad_set, {:bad_element, ^value, _}}} =
                 Set.new("s", key_type: type, elements: [value])
      end
    end

    test "every value that is kept goes to bytes and back" do
      for {type, value} <- [
            {:ipv4_addr, {1, 2, 3, 4}},
            {:ipv6_addr, {1, 2, 3, 4, 5, 6, 7, 8}},
            {:mark, 0xDEADBEEF},
            {:inet_proto, 17},
            {:ct_state, 8},
            {:ifname, "eth0"},
            {:ether_addr, <<1, 2, 3, 4, 5, 6>>},
            {{:concat, [:ifname, :mark, :inet_service, :ipv6_addr]},
             {"lo", 7, 80, {0, 0, 0, 0, 0, 0, 0, 1}}}
          ] do
        bytes = Datum.to_bytes(type, value)
        assert byte_size(bytes) == Datum.size(type)
        assert Datum.from_bytes(type, bytes) == value
        assert Datum.flip(type, Datum.flip(type, bytes)) == bytes
      end
    end

    test "an element that carries more is kept whole, and deleted by its key" do
      set =
        Set.new!("s",
          key_type: :ipv4_addr,
          elements: [%Element{key: "10.0.0.1", comment: "x"}, %Element{key: "10.0.0.2"}]
        )

      assert [%Element{key: {10, 0, 0, 1}, comment: "x"}, {10, 0, 0, 2}] = set.elements
      assert {:ok, %{elements: [{10, 0, 0, 2}]}} = Set.delete_elements(set, ["10.0.0.1"])

      map =
        NMap.new!("m",
          key_type: {:concat, [:mark, :mark]},
          data_type: :mark,
          elements: [{{1, 2}, 3}]
        )

      assert {:ok, %{elements: []}} = NMap.delete_elements(map, [{1, 2}])
      assert {:ok, %{elements: []}} = NMap.delete_elements(map, [{{1, 2}, 3}])
    end

    test "of a map are checked on both sides" do
      assert {:error, {:bad_map, {:bad_element, {1, :x}, _}}} =
               NMap.new("m", key_type: :mark, data_type: :ipv4_addr, elements: [{1, :x}])

      assert {:error, {:bad_map, {:bad_element, 1, :not_a_pair}}} =
               NMap.new("m", key_type: :mark, data_type: :mark, elements: [1])

      assert {:ok, %NMap{elements: [{1, "cnt"}]}} =
               NMap.new("m",
                 key_type: :mark,
                 data_type: {:object, :counter},
                 elements: [{1, "cnt"}]
               )

      assert %NMap{elements: [{22, %Verdict{kind: :drop}}]} =
               Vmap.new!("v", key_type: :inet_service, elements: [{"ssh", :drop}])
    end
  end

  describe "numbers" do
    test "that do not fit are not cut to size" do
      for {fun, values} <- [
            {&Wire.u32_be/1, [-1, 0x1_0000_0000, nil]},
            {&Wire.u64_be/1, [-1, 0x1_0000_0000_0000_0000, "1"]},
            {&Wire.s32_be/1, [0x80000000, -0x80000001, 1.0]}
          ],
          value <- values,
          do: assert_raise(ArgumentError, fn -> fun.(value) end)

      # Each part of it fits.
      chain =
        Chain.new!("c",
          type: :nat,
          hook: :postrouting,
          priority: {:srcnat, 0x7FFFFFFF},
          table: "t"
        )

      assert_raise ArgumentError, ~r/2147483747/, fn -> Encoder.chain(chain, :inet) end
    end
  end

  describe "expressions" do
    test "name whole things" do
      for expr <- [
            Expr.lookup("a\0b"),
            %Expr{name: :immediate, data: %Verdict{kind: :jump, target: "a\0b"}}
          ] do
        assert_raise ArgumentError, ~r/NUL/, fn ->
          Encoder.rule(%Rule{expressions: [expr]}, :inet, "t", "c")
        end
      end
    end

    test "leave defaults out, so that equal ones are equal" do
      assert Expr.limit(5, type: :packets, flags: []) == Expr.limit(5)
      assert Expr.queue(3, total: 1) == Expr.queue(3)
      assert Expr.quota(5, consumed: 0) == Expr.quota(5)
    end

    test "take no option they do not have" do
      for bad <- [
            fn -> Expr.cmp(:eq, <<1>>, nope: 1) end,
            fn -> Expr.meta(:mark, direction: :original) end,
            fn -> Expr.payload(:nope) end,
            fn -> Expr.payload(:frag_id) end,
            fn -> Expr.nat(:dnat, reg_addr_min: 1) end,
            fn -> Expr.dnat_to("nowhere") end,
            fn -> Expr.dnat_to({1, 2, 3, 400}) end,
            fn -> Expr.dnat_to("10.0.0.1", 70_000) end,
            fn -> Expr.log(prefix: String.duplicate("x", 128)) end,
            fn -> Expr.immediate(:nope) end
          ] do
        assert_raise ArgumentError, bad
      end
    end

    test "NAT to ranges" do
      assert [
               %{data: %{dreg: 1}},
               %{data: %{dreg: 3}},
               %{data: %{dreg: 2}},
               %{data: %{dreg: 4}},
               nat
             ] =
               Expr.dnat_to("10.0.0.1", 80, addr_max: "10.0.0.9", port_max: 90, flags: [:random])

      assert nat.data == %{
               type: :dnat,
               family: :ip,
               reg_addr_min: 1,
               reg_addr_max: 3,
               reg_proto_min: 2,
               reg_proto_max: 4,
               flags: [:random]
             }

      assert [_, _, %{data: %{reg_proto_min: 1, reg_proto_max: 2}}] =
               Expr.masquerade(port_min: 1, port_max: 2)
    end

    test "constants, groups and prefixes that have no place in a message raise" do
      assert Expr.immediate(-1).data.data == <<0xFFFFFFFF::32>>
      assert Expr.immediate(0xFFFFFFFF) == Expr.immediate(-1)

      for fun <- [
            fn -> Expr.immediate(0x1_0000_0000) end,
            fn -> Expr.immediate(-0x80000001) end,
            fn -> Expr.log(group: 65_536) end,
            fn -> Expr.log(group: -1) end,
            fn -> Expr.log(prefix: "a\0b") end,
            fn -> Expr.log(prefix: :text) end,
            fn -> Expr.log(prefix: String.duplicate("x", 128)) end
          ],
          do: assert_raise(ArgumentError, fun)
    end

    test "a literal set keeps its elements as a named set does" do
      assert Expr.set_literal(["10.0.0.0/8", "10.0.0.1"], :ipv4_addr).data.elements == [
               {:prefix, {10, 0, 0, 0}, 8},
               {10, 0, 0, 1}
             ]
    end
  end

  describe "flowtables" do
    test "keep the hook that is given, and the push knows one" do
      ft = Flowtable.new!("f", hook: :forward, table: "t")
      assert ft.hook == :forward

      assert {:error, {:bad_flowtable, {:bad_hook, "forward"}}} =
               Flowtable.new("f", hook: "forward")

      assert_raise ArgumentError, ~r/ingress hook, not at forward/, fn ->
        Encoder.flowtable(ft, :inet)
      end
    end
  end

  describe "objects" do
    test "a tunnel's addresses are one form, whatever they are given as" do
      for {src, dst, given} <- [
            {{192, 0, 2, 1}, {192, 0, 2, 2},
             [{"192.0.2.1", <<192, 0, 2, 2>>}, {nil, "192.0.2.2"}]},
            {{0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}, {0xFE80, 0, 0, 0, 0, 0, 0, 1},
             [{"2001:db8::1", "fe80::1"}, {elem(Linx.IP.parse("2001:db8::1"), 1), "fe80::1"}]}
          ],
          {a, b} <- given,
          form <- [&Map.new/1, & &1] do
        object = Object.new!(:tunnel, "t", form.(id: 1, src: a, dst: b))
        written = Object.new!(:tunnel, "t", %{id: 1, src: a && src, dst: dst})
        bytes = for o <- [object, written], do: Encoder.object(%{o | table: "t"}, :ip).payload
        assert [same, same] = Enum.map(bytes, &IO.iodata_to_binary/1)

        text =
          NFT.format(
            Ruleset.new()
            |> Ruleset.add_table!(:ip, "t")
            |> Ruleset.add_object!("t", object)
          )

        assert {:ok, %{tables: %{{:ip, "t"} => table}}} = NFT.parse(text)
        assert table.objects[{:tunnel, "t"}].data[:dst] == dst
      end

      for {key, value, other} <- [
            {:dst, "nowhere", nil},
            {:dst, {1, 2, 3}, nil},
            {:dst, {1, 2, 3, 256}, nil},
            {:src, 7, "192.0.2.1"},
            {:src, {0xFE80, 0, 0, 0, 0, 0, 0, 1}, "192.0.2.1"}
          ] do
        data = Map.put(%{id: 1, dst: other}, key, value)

        assert {:error, {:bad_object, {:bad_option, {^key, ^value}}}} =
                 Object.new(:tunnel, "t", data)
      end

      assert {:error, {:bad_object, {:bad_data, 5}}} = Object.new(:tunnel, "t", 5)
    end

    test "whose data are no fields are refused in words" do
      for data <- [:any, 5, "text", [1], {:a, 1}] do
        object = %{Object.new!(:counter, "c", data) | table: "t"}

        assert_raise ArgumentError, ~r/object data is a map/, fn ->
          Encoder.object(object, :inet)
        end
      end
    end
  end

  describe "rules" do
    test "compare conntrack states in either byte order" do
      for states <- [:invalid, [:established, :related], [:new, :untracked]] do
        bits = Wire.ct_state_bits(states)

        [native, network] =
          for order <- [<<bits::native-32>>, <<bits::big-32>>] do
            {Rule.build!([Expr.ct(:state), Expr.cmp(:neq, order)]),
             Rule.build!([
               Expr.ct(:state),
               Expr.bitwise(order, <<0::32>>),
               Expr.cmp(:neq, <<0::32>>),
               :accept
             ])}
          end

        assert native == network
      end

      # Other loads and other registers are what they are.
      for exprs <- [
            [Expr.ct(:mark), Expr.cmp(:eq, <<6::big-32>>)],
            [Expr.ct(:state), Expr.cmp(:eq, <<6::big-32>>, sreg: 2)],
            [Expr.ct(:state), Expr.meta(:mark), Expr.cmp(:eq, <<6::big-32>>)]
          ] do
        assert Rule.build!(exprs).expressions == exprs
      end
    end

    test "that are built take no options where they are added" do
      rs =
        Ruleset.new() |> Ruleset.add_table!(:inet, "t") |> Ruleset.add_chain!("t", "c")

      rule = Rule.build!([:accept])

      assert {:error, {:bad_rule, {:options_for_a_built_rule, [tag: :late]}}} =
               Ruleset.add_rule(rs, "t", "c", rule, tag: :late)

      assert {:ok, _} = Ruleset.add_rule(rs, "t", "c", rule, [])
      assert {:error, {:bad_rule, {:bad_options, :late}}} = Rule.build([:accept], :late)
    end

    test "are appended at once as one after the other" do
      empty =
        Ruleset.new() |> Ruleset.add_table!(:inet, "t") |> Ruleset.add_chain!("t", "c")

      rules = [
        [:accept],
        {[:drop], tag: :one, comment: "c"},
        Rule.build!([:accept], tag: :two),
        {[:continue], []}
      ]

      one_by_one =
        Enum.reduce(rules, empty, fn
          {exprs, opts}, rs -> Ruleset.add_rule!(rs, "t", "c", exprs, opts)
          rule, rs -> Ruleset.add_rule!(rs, "t", "c", rule)
        end)

      assert Ruleset.add_rules(empty, "t", "c", rules) == {:ok, one_by_one}
      assert Ruleset.add_rules(one_by_one, "t", "c", []) == {:ok, one_by_one}

      {:ok, twice} = Ruleset.add_rules(one_by_one, "t", "c", [[:drop], [:accept]])
      rules = twice.tables[{:inet, "t"}].chains["c"].rules
      assert for(rule <- rules, do: rule.tag) == [nil, :one, :two, nil, nil, nil]
      assert Enum.all?(rules, &(&1.chain == "c"))
    end

    test "are refused together, for the chain's tags and their own" do
      rs =
        Ruleset.new()
        |> Ruleset.add_table!(:inet, "t")
        |> Ruleset.add_chain!("t", "c")
        |> Ruleset.add_rule!("t", "c", [:accept], tag: :there)

      for {rules, reason} <- [
            {[[:drop], {[:drop], tag: :there}], {:bad_rule, {:duplicate_tag, :there}}},
            {[{[:drop], tag: :new}, {[:accept], tag: :new}], {:bad_rule, {:duplicate_tag, :new}}},
            {[[:drop], :accept], {:bad_rule, {:not_a_rule, :accept}}},
            {[[:drop], {Rule.build!([:accept]), tag: :late}],
             {:bad_rule, {:not_a_rule, {Rule.build!([:accept]), tag: :late}}}},
            {[{[:accept], nope: 1}], {:bad_rule, {:unknown_option, :nope}}}
          ] do
        assert Ruleset.add_rules(rs, "t", "c", rules) == {:error, reason}
        assert_raise ArgumentError, fn -> Ruleset.add_rules!(rs, "t", "c", rules) end
      end

      assert {:error, {:bad_rule, {:duplicate_tag, :there}}} =
               Ruleset.add_rule(rs, "t", "c", [:drop], tag: :there)

      assert Ruleset.add_rules(rs, "t", "nope", [[:drop]]) ==
               Ruleset.add_rule(rs, "t", "nope", [:drop])
    end

    test "say what is wrong" do
      assert {:error, {:bad_rule, {:bad_expression, :nope}}} = Rule.build([:accept, :nope])
      assert {:error, {:bad_rule, {:bad_tag, "text"}}} = Rule.build([:accept], tag: "text")

      assert {:error, {:bad_rule, {:bad_comment, _}}} =
               Rule.build([:accept], comment: String.duplicate("x", 129))

      assert {:error, {:bad_rule, {:unknown_option, :nope}}} = Rule.build([:accept], nope: 1)
      assert {:error, {:bad_rule, {:not_a_list, :accept}}} = Rule.build(:accept)
    end
  end

  test "a patch counts what it holds" do
    assert inspect(Patch.new()) == "#Linx.Netfilter.Patch<0 ops>"

    assert inspect(
             Patch.new([
               {:add_set_elements, :inet, "t", "s", [1]},
               {:delete_chain, :inet, "t", "c"}
             ])
           ) ==
             "#Linx.Netfilter.Patch<2 ops: 1 add, 1 delete>"
  end

  test "rulesets refuse what is there already and what is not" do
    rs = Ruleset.new() |> Ruleset.add_table!(:inet, "t") |> Ruleset.add_chain!("t", "c")
    assert {:error, {:bad_table, {:duplicate_chain, "c"}}} = Ruleset.add_chain(rs, "t", "c")
    assert {:error, {:bad_rule, {:not_a_rule, :x}}} = Ruleset.add_rule(rs, "t", "c", :x)
    ft = Flowtable.new!("f", hook: :ingress, priority: 0, devices: ["lo"])

    assert {:error, {:bad_table, {:duplicate_flowtable, "f"}}} =
             rs |> Ruleset.add_flowtable!("t", ft) |> Ruleset.add_flowtable("t", ft)
  end
end
