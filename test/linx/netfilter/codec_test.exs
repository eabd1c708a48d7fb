defmodule Linx.Netfilter.CodecTest do
  use ExUnit.Case, async: true

  alias Linx.Netfilter.{
    Chain,
    Decoder,
    Diff,
    Element,
    Encoder,
    Event,
    Expr,
    Flowtable,
    Object,
    Rule,
    Ruleset,
    Set,
    Table,
    Verdict,
    Vmap
  }

  alias Linx.Netfilter.Log
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Netlink.{Attr, Message}

  doctest Linx.Netlink.Nfnl.Codec

  # An expression of each kind, with every key.
  defp exprs do
    [
      Expr.payload(:transport, 2, 2),
      Expr.payload(:network, 8, 2,
        sreg: 1,
        csum_type: :inet,
        csum_offset: 10,
        csum_flags: [:pseudohdr]
      ),
      Expr.payload(:tunnel, 0, 4),
      Expr.cmp(:gte, <<1, 2, 3>>, sreg: 2),
      Expr.range(:neq, <<1>>, <<9>>),
      Expr.bitwise(<<255, 0>>, <<0, 1>>),
      Expr.shift(:lshift, 8),
      Expr.shift(:rshift, 1, sreg: 2, dreg: 3),
      Expr.bool(:or, sreg2: 2),
      Expr.bool(:xor, data: <<1, 2, 3, 4>>),
      Expr.byteorder(:hton, size: 2, len: 2),
      Expr.meta(:iifname),
      Expr.meta(:mark, sreg: 1),
      Expr.meta(:bri_iifhwaddr),
      Expr.ct(:state),
      Expr.ct(:mark, sreg: 1),
      Expr.ct(:src_ip, direction: :reply),
      Expr.lookup("s", flags: [:inv]),
      Expr.lookup("m", dreg: 0),
      Expr.dynset(:update, "s", timeout: 5, sreg_data: 2, flags: [:inv], exprs: [Expr.limit(1)]),
      Expr.dynset(:add, "s", exprs: [Expr.counter(), Expr.limit(1)]),
      Expr.counter(packets: 1, bytes: 2),
      Expr.limit(10, unit: :week, type: :bytes, burst: 3, flags: [:inv]),
      Expr.quota(10, consumed: 3, flags: [:inv]),
      Expr.connlimit(3, flags: [:inv]),
      Expr.last(),
      Expr.log(prefix: "x", group: 3, snaplen: 1, qthreshold: 2),
      Expr.log(level: :debug, flags: [:uid]),
      Expr.reject(:tcp_reset),
      Expr.reject(:icmp_unreach, icmp_code: 1),
      Expr.nat(:snat,
        family: :ip6,
        reg_addr_min: 1,
        reg_addr_max: 2,
        reg_proto_min: 3,
        reg_proto_max: 4,
        flags: [:netmap]
      ),
      Expr.masquerade(flags: [:random]),
      Expr.redirect(flags: [:persistent]),
      Expr.tproxy(family: :ip, reg_addr: 1, reg_port: 2),
      Expr.synproxy(mss: 1460, wscale: 7, flags: [:timestamp]),
      Expr.dup(sreg_addr: 1, sreg_dev: 2),
      Expr.fwd(sreg_dev: 1, sreg_addr: 2, nfproto: :ip),
      Expr.queue(1, total: 3, flags: [:bypass]),
      Expr.queue(nil, sreg_qnum: 1),
      Expr.notrack(),
      Expr.fib(:oif, [:saddr, :iif]),
      Expr.numgen(:random, 10, offset: 5),
      Expr.hash(:jenkins, 10, len: 4, seed: 1, offset: 2),
      Expr.hash(:sym, 2),
      Expr.rt(:tcpmss),
      Expr.exthdr(:tcpopt, 2, offset: 2, len: 2, sreg: 1),
      Expr.exthdr(:ipv6, 44, flags: [:present]),
      Expr.socket(:cgroupv2, level: 2),
      Expr.osf(ttl: :loose, flags: [:version]),
      Expr.objref(:quota, "q"),
      Expr.objref_map("om"),
      Expr.flow_offload("ft"),
      Expr.inner(Expr.payload(:network, 12, 4), type: :geneve, flags: [:nh], hdrsize: 8),
      Expr.xfrm(:reqid, dir: :out, spnum: 1),
      Expr.tunnel(:id, mode: :rx),
      Expr.new(:match, %{name: "comment", rev: 0, info: <<1, 2, 3>>}),
      Expr.new(:target, %{name: "LOG", rev: 0, info: <<4>>}),
      Expr.new("newer", {:raw, <<8::native-16, 1::native-16, 5::32>>}),
      Expr.load(<<1, 2, 3, 4>>, 9),
      Expr.immediate({:goto, "c"}),
      Expr.immediate(:drop)
    ]
  end

  defp rule(exprs, opts \\ []), do: Rule.build!(exprs, opts)

  defp through(rule, family),
    do: rule |> Encoder.rule(family, "t", "c") |> Map.fetch!(:payload) |> Decoder.rule()

  test "every expression comes back as it went" do
    for expr <- exprs() do
      assert {:netdev, "t", "c", %Rule{expressions: [^expr]}} = through(rule([expr]), :netdev)
    end
  end

  test "expressions that are written in one go are written as the others are" do
    alias Linx.Netfilter.Encoder.Expressions

    for expr <-
          exprs() ++
            [
              Expr.payload(:tcp_dport),
              Expr.cmp(:eq, <<1, 2, 3, 4, 5>>),
              Expr.immediate(:return),
              Expr.meta(:l4proto)
            ] do
      assert {expr, Expressions.element(expr)} == {expr, Attr.nest(1, Expressions.expr(expr))}
    end
  end

  test "what the kernel says in its own words is one with what we say" do
    # The same register by two names; a maximum that equals its minimum; flags that follow from
    # registers; the default log level.
    assert {_, _, _, %{expressions: [%{data: %{dreg: 1}}]}} =
             through(rule([Expr.meta(:mark, dreg: 8)]), :ip)

    nat = Expr.nat(:snat, family: :ip, reg_addr_min: 1)
    dumped = Expr.nat(:snat, family: :ip, reg_addr_min: 1, reg_addr_max: 1, flags: [:map_ips])
    assert {_, _, _, %{expressions: [^nat]}} = through(rule([dumped]), :ip)

    assert {_, _, _, %{expressions: [%{data: %{prefix: "x"} = log}]}} =
             through(rule([Expr.log(prefix: "x", level: :warn)]), :ip)

    refute is_map_key(log, :level)

    assert {_, _, _, %{expressions: [%{name: :queue, data: %{num: 3}}]}} =
             through(rule([{:queue, 3}]), :ip)
  end

  test "a rule's tag becomes an atom only if there is one, and is never lost" do
    named = rule([:accept], tag: :try_ssh, comment: "why")
    assert {_, _, _, %{tag: :try_ssh, comment: "why", userdata: []}} = through(named, :ip)

    text = "tag_nobody_#{System.unique_integer([:positive])}_knows"
    foreign = %{named | tag: nil, userdata: [{76, text}]}
    assert {_, _, _, %{tag: nil, userdata: [{76, ^text}]} = back} = through(foreign, :ip)

    assert Encoder.rule(back, :ip, "t", "c").payload ==
             Encoder.rule(foreign, :ip, "t", "c").payload
  end

  # nft 1.0.6: nft add rule ip t c ip saddr 10.0.0.1 tcp dport 22 accept; the rule's expressions
  # as sent.
  test "a capture of nft" do
    capture =
      Base.decode16!(
        "34000180" <>
          "0c0001007061796c6f6164002400028008000100000000010800020000000001" <>
          "080003000000000c0800040000000004" <>
          "2c00018008000100636d70002000028008000100000000010800020000000000" <>
          "0c0003800800010" <> "00a000001",
        case: :mixed
      )

    assert [
             %Expr{name: :payload, data: %{base: :network, offset: 12, len: 4, dreg: 1}},
             %Expr{name: :cmp, data: %{op: :eq, data: <<10, 0, 0, 1>>}}
           ] =
             Decoder.Expressions.list(capture)
  end

  # nft 1.0.6: set c { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.1 . 80,
  # 10.0.0.0/8 . 1-1024 } }
  test "the elements of a concatenation, both ends padded" do
    set =
      Set.new!("c",
        key_type: {:concat, [:ipv4_addr, :inet_service]},
        flags: [:interval],
        elements: [{"10.0.0.1", 80}, {"10.0.0.0/8", 1..1024}]
      )

    message = Encoder.set_elements(%{set | table: "t"}, :inet)

    for bytes <- ["0a00000100500000", "0a00000000010000", "0affffff04000000"] do
      assert :binary.match(message.payload, Base.decode16!(bytes, case: :lower)) != :nomatch
    end

    {:inet, "t", "c", raw} = Decoder.set_elements(message.payload)

    assert Decoder.materialize_elements(raw, set.key_type, nil) |> Enum.sort() ==
             Enum.sort(set.elements)
  end

  # nft 1.0.6: set i { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 255.255.0.0/16 } }
  test "an interval ends behind its last value, and one to the top does not end" do
    set = %{
      Set.new!("i",
        key_type: :ipv4_addr,
        flags: [:interval],
        elements: ["10.0.0.0/8", "255.255.0.0/16"]
      )
      | table: "t"
    }

    {_, _, _, raw} = Decoder.set_elements(Encoder.set_elements(set, :inet).payload)

    assert [
             {:raw, %{key: <<0, 0, 0, 0>>, flags: 1}},
             <<10, 0, 0, 0>>,
             {:raw, %{key: <<11, 0, 0, 0>>, flags: 1}},
             {:raw, %{key: <<255, 255, 0, 0>>, userdata: [{1, <<1::native-32>>}]}}
           ] = raw
  end

  test "overlapping elements are refused, or merged where the set says so" do
    elements = ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"]

    set = %{
      Set.new!("i", key_type: :ipv4_addr, flags: [:interval], elements: elements)
      | table: "t"
    }

    assert_raise ArgumentError, ~r/overlap/, fn -> Encoder.set_elements(set, :inet) end

    {_, _, _, raw} =
      Decoder.set_elements(
        Encoder.set_elements(%{set | flags: [:interval, :auto_merge]}, :inet).payload
      )

    assert Decoder.materialize_elements(raw, :ipv4_addr, nil) == [{:prefix, {10, 0, 0, 0}, 7}]
  end

  test "elements are split over messages of less than 64 KiB" do
    elements = for n <- 1..20_000, do: {10, 0, div(n, 256), rem(n, 256)}

    rs =
      Ruleset.new()
      |> Ruleset.add_table!(:ip, "t")
      |> Ruleset.add_set!("t", Set.new!("s", key_type: :ipv4_addr, elements: elements))

    messages = for %{type: 0x0A0C} = m <- Encoder.to_batch(rs), do: m
    assert length(messages) > 4
    assert Enum.all?(messages, &(byte_size(&1.payload) < 65_000))

    back =
      for m <- messages,
          {_, _, _, raw} = Decoder.set_elements(m.payload),
          e <- Decoder.materialize_elements(raw, :ipv4_addr, nil),
          do: e

    assert back == elements
    [table] = for {_, _, t} <- Ruleset.tables(rs), do: t

    assert_raise ArgumentError, fn ->
      Encoder.set_elements(%{table.sets["s"] | table: "t"}, :ip)
    end
  end

  test "an attribute longer than sixteen bits can say is refused" do
    expr = Expr.new(:match, %{name: "x", rev: 0, info: :binary.copy(<<0>>, 70_000)})

    assert_raise ArgumentError, ~r/16-bit length/, fn ->
      Encoder.rule(rule([expr]), :ip, "t", "c")
    end
  end

  test "a name that the kernel would cut, and data that an object does not have, are refused" do
    alias Linx.Netfilter.{Chain, Object, Table}

    for message <- [
          fn -> Encoder.table(%Table{family: :ip, name: "a\0b"}) end,
          fn -> Encoder.chain(%Chain{name: "c", table: "a\0b"}, :ip) end,
          fn -> Encoder.chain(%Chain{name: "c", table: nil}, :ip) end,
          fn -> object(:secmark, %{context: "a", nope: 1}) end,
          fn -> object(:ct_helper, %{type: "ftp", protocol: :tcp, port: 21}) end,
          fn -> object(:ct_expectation, %{protocol: :tcp, dport: 1, timeout: 1}) end,
          fn -> object(:ct_helper, %{type: "ftp", protocol: :tcp, l3proto: 0x10000}) end,
          fn -> object(:ct_helper, %{type: "ftp", protocol: :tcp, l3proto: -1}) end,
          fn -> object(:tunnel, %{id: 1, dst: {192, 0, 2, 256}}) end,
          fn -> object(:tunnel, %{id: 1, dst: {0x2001, 0xDB8, 0, 0, 0, 0, 0, 0x10000}}) end,
          fn -> object(:tunnel, %{id: 1, dst: "2001:db8::1"}) end,
          fn -> object(:tunnel, %{id: 1, dst: {192, 0, 2, 1}, src: {0, 0, 0, 0, 0, 0, 0, 1}}) end
        ] do
      assert_raise ArgumentError, message
    end

    assert %Object{} = elem(Decoder.object(object(:secmark, %{context: "a"}).payload), 1)
  end

  defp object(kind, data) do
    object = %Linx.Netfilter.Object{kind: kind, name: "o", table: "t", data: data}
    Encoder.object(object, :ip)
  end

  test "an element of a struct made by hand that its type cannot hold is refused" do
    for {type, value} <- [
          ipv4_addr: {192, 0, 2, 256},
          ipv4_addr: {192, 0, 2, -1},
          ipv4_addr: {:range, {192, 0, 2, 1}, {192, 0, 2, 256}},
          ipv6_addr: {0x2001, 0xDB8, 0, 0, 0, 0, 0, 0x10000},
          inet_service: 0x10000,
          inet_service: -1,
          inet_proto: 256,
          mark: 0x100000000,
          mark: -1,
          mark: {1, 2}
        ] do
      set = %Set{name: "s", table: "t", key_type: type, flags: [:interval], elements: [value]}
      assert_raise ArgumentError, fn -> Encoder.set_elements(set, :ip) end
      set = %{set | flags: [], elements: [value]}
      assert_raise ArgumentError, fn -> Encoder.set_elements(set, :ip) end
    end
  end

  test "an address that is given as its bytes is written among others" do
    set = &%Set{name: "s", table: "t", key_type: :ipv4_addr, elements: &1}
    payload = &IO.iodata_to_binary(Encoder.set_elements(set.(&1), :ip).payload)
    tuples = [{192, 0, 2, 1}, {192, 0, 2, 2}, {192, 0, 2, 3}]
    assert payload.(List.replace_at(tuples, 1, <<192, 0, 2, 2>>)) == payload.(tuples)
    assert_raise ArgumentError, fn -> payload.([{192, 0, 2, 1}, <<192, 0, 2>>]) end
  end

  test "data that has no form on the wire is refused" do
    for bad <- [
          Expr.new(:cmp, %{op: :nope, data: <<1>>, sreg: 1}),
          Expr.new(:cmp, %{op: :eq, data: 5, sreg: 1}),
          Expr.new(:meta, %{key: :nope, dreg: 1}),
          Expr.new(:meta, %{key: :mark, dreg: "x"}),
          Expr.new(:meta, %{key: :mark, nope: 1}),
          Expr.new(:nope, %{}),
          Expr.new(:limit, %{rate: -1, unit: :second}),
          Expr.new(:limit, %{rate: 1, unit: :fortnight})
        ] do
      assert_raise ArgumentError, fn -> Encoder.rule(rule([bad]), :ip, "t", "c") end
    end
  end

  # -- hostile input -----------------------------------------------------------------------------

  defp messages do
    all =
      Ruleset.new()
      |> Ruleset.add_table!(:inet, "t", comment: "c")
      |> Ruleset.add_chain!("t", "in", type: :filter, hook: :input, priority: 0, policy: :drop)
      |> Ruleset.put_chain!(
        "t",
        Chain.new!("ingress", type: :filter, hook: :ingress, priority: 0, devices: ["a", "b"])
      )
      |> Ruleset.add_object!(
        "t",
        Object.new!(:ct_timeout, "o", protocol: :tcp, policy: %{close: 4})
      )
      |> Ruleset.add_object!("t", Object.new!(:quota, "q", %{bytes: 5}))
      |> Ruleset.add_object!(
        "t",
        Object.new!(:tunnel, "tn", %{id: 5, src: {1, 2, 3, 4}, dst: {4, 3, 2, 1}})
      )
      |> Ruleset.add_flowtable!(
        "t",
        Flowtable.new!("f", hook: :ingress, priority: 0, devices: ["lo"])
      )
      |> Ruleset.add_set!(
        "t",
        Set.new!("s",
          key_type: :ipv4_addr,
          flags: [:interval],
          exprs: [Expr.counter()],
          elements: ["10.0.0.0/8"]
        )
      )
      |> Ruleset.add_set!(
        "t",
        Set.new!("d",
          key_type: :mark,
          timeout: 5,
          elements: [%Element{key: 5, comment: "x", timeout: 4, exprs: [Expr.counter()]}]
        )
      )
      |> Ruleset.add_map!(
        "t",
        Vmap.new!("v", key_type: :inet_service, elements: [{22, {:jump, "in"}}])
      )
      |> Ruleset.add_map!(
        "t",
        NMap.new!("m",
          key_type: {:concat, [:mark, :ifname]},
          data_type: {:interval, :ipv4_addr},
          elements: [{{1, "lo"}, "10.0.0.0/8"}]
        )
      )
      |> Ruleset.add_rule!("t", "in", exprs(), comment: "c", tag: :accept)
      |> Ruleset.add_rule!("t", "in", [
        Expr.set_literal([{1, :accept}], :mark, data_type: :verdict)
      ])

    for m <- Encoder.to_batch(all), do: {m.type, m.payload}
  end

  # Whatever comes of it must not raise, and must be fit to be put together and compared.
  defp decode_all(messages) do
    events =
      for {type, payload} <- messages, do: Decoder.event(%Message{type: type, payload: payload})

    assert Enum.all?(events, &is_struct(&1, Event))

    pick = fn op -> for %Event{op: ^op, entity: e} <- events, do: e end

    rs =
      Decoder.from_msgs(
        pick.(:new_table),
        pick.(:new_chain),
        pick.(:new_rule),
        pick.(:new_set),
        pick.(:new_set_element)
      )

    assert is_struct(rs, Ruleset)
    assert is_binary(inspect(events))
    rs
  end

  test "a ruleset comes back from its messages" do
    rs = decode_all(messages())

    assert %Table{
             chains: %{
               "in" => %Chain{rules: [_, _], policy: :drop},
               "ingress" => %Chain{devices: ["a", "b"]}
             }
           } = rs.tables[{:inet, "t"}]

    assert rs.tables[{:inet, "t"}].sets["s"].elements == [{:prefix, {10, 0, 0, 0}, 8}]

    assert [%Element{key: 5, comment: "x", timeout: 4, exprs: [%Expr{name: :counter}]}] =
             rs.tables[{:inet, "t"}].sets["d"].elements

    assert rs.tables[{:inet, "t"}].maps["v"].elements == [{22, Verdict.jump("in")}]

    assert rs.tables[{:inet, "t"}].maps["m"].elements == [
             {{1, "lo"}, {:prefix, {10, 0, 0, 0}, 8}}
           ]

    assert Diff.diff(rs, rs).ops == []
  end

  test "every decoder is total on messages cut at every length" do
    for {type, payload} <- messages(), size <- 0..byte_size(payload) do
      decode_all([{type, binary_part(payload, 0, size)}])
    end
  end

  test "every decoder is total on mutated messages" do
    :rand.seed(:exsss, {6, 2, 1})
    messages = messages()

    for _ <- 1..3_000 do
      {type, payload} = Enum.random(messages)

      decode_all(
        messages
        |> Enum.take_random(3)
        |> List.insert_at(0, {type, mutated(payload, :rand.uniform(6))})
      )
    end
  end

  test "every decoder is total on noise" do
    :rand.seed(:exsss, {1, 1, 1})

    for _ <- 1..2_000 do
      bytes = :rand.bytes(:rand.uniform(200))
      decode_all([{0x0A00 + :rand.uniform(36) - 1, bytes}])
      assert is_struct(Log.Event.decode(bytes), Log.Event)
    end
  end

  defp mutated(bytes, 0), do: bytes

  defp mutated(bytes, n) do
    at = :rand.uniform(byte_size(bytes)) - 1
    <<before::binary-size(^at), byte, rest::binary>> = bytes

    bytes =
      case :rand.uniform(4) do
        1 -> <<before::binary, :rand.uniform(256) - 1, rest::binary>>
        2 -> <<before::binary, Bitwise.bxor(byte, 1)::8, rest::binary>>
        3 -> <<before::binary, rest::binary, byte>>
        4 -> <<before::binary, 255, 255, rest::binary>>
      end

    mutated(bytes, n - 1)
  end
end
