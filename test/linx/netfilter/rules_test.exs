defmodule Linx.Netfilter.RulesTest do
  use ExUnit.Case, async: true

  # Dumps and pushes of rules go by templates (Decoder.Rules, Encoder.TemplateCache), single ones
  # do not: two ways to one result.
  alias Linx.Netfilter.{Decoder, Dependencies, Encoder, Expr, Field, Rule}
  alias Linx.Netfilter.Decoder.Rules
  alias Linx.Netfilter.Encoder.{Expressions, TemplateCache}

  @families [:ip, :ip6, :inet, :arp, :bridge, :netdev]

  defp payload(exprs, family, chain \\ "c", opts \\ []),
    do: Encoder.rule(Rule.build!(exprs, opts), family, "t", chain).payload

  defp assert_alike(payloads),
    do: assert(Rules.decode(payloads) == Enum.map(payloads, &Decoder.rule/1))

  defp whole_fields(protocol) do
    for text <- Field.fields(protocol),
        {:ok, %{offset: offset, length: length} = field} = Field.fetch(protocol, text),
        rem(offset, 8) == 0 and rem(length, 8) == 0 and field.header == nil,
        do: field.name
  end

  defp comparison(name, op) do
    %Expr{data: %{len: len}} = load = Expr.payload(name)
    [load, Expr.cmp(op, :rand.bytes(len))]
  end

  defp statement do
    n = :rand.uniform(3)

    Enum.random([
      [],
      Expr.counter(packets: n, bytes: 60 * n),
      [Expr.meta(:l4proto), Expr.cmp(:eq, <<Enum.random([1, 6, 17, 58])>>)],
      [Expr.meta(:nfproto), Expr.cmp(Enum.random([:eq, :neq]), <<Enum.random([2, 10])>>)],
      [Expr.meta(:iifname), Expr.cmp(:eq, "eth#{n}\0")],
      [Expr.payload(:link, 12, 2), Expr.cmp(:eq, <<Enum.random([0x0800, 0x8100, 0x1234])::16>>)],
      [Expr.payload(:network, 8, 2), Expr.cmp(:eq, <<64, Enum.random([6, 17])>>)],
      [Expr.payload(:transport, 0, 2), Expr.cmp(:eq, <<Enum.random([3, 8]), n>>)],
      [
        Expr.payload(:transport, 0, 1),
        Expr.cmp(:eq, <<Enum.random([0, 2, 3, 8, 13, 128, 137])>>)
      ],
      [Expr.payload(:transport, 0, 1), Expr.lookup("__set#{n}")],
      [Expr.payload(:transport, 4, 4), Expr.cmp(:eq, <<n::32>>)],
      [Expr.payload(:transport, 8, 16), Expr.cmp(:eq, <<n::128>>)],
      [Expr.payload(:transport, 0, 4), Expr.cmp(:neq, <<n::16, 80::16>>)],
      [Expr.payload(:transport, 2, 2), Expr.range(:eq, <<n::16>>, <<n + 9::16>>)],
      [Expr.payload(:network, 12, 4), Expr.lookup("__set#{n}")],
      [Expr.payload(:network, 12, 4), Expr.dynset(:add, "d#{n}", exprs: [Expr.counter()])],
      [Expr.load(<<10, 0, 0, n>>), Expr.nat(:dnat, family: :ip, reg_addr_min: 1)],
      [inner(Expr.meta(:l4proto)), Expr.cmp(:eq, <<Enum.random([6, 17])>>)],
      [inner(Expr.payload(:link, 12, 2)), Expr.cmp(:eq, <<0x0800::16>>)],
      [inner(Expr.payload(:transport, 2, 2)), Expr.cmp(:eq, <<n::16>>)],
      Expr.objref(:quota, "q#{n}"),
      Expr.objref_map("m#{n}"),
      Expr.log(prefix: "p#{n}", group: n),
      Expr.immediate({:jump, "c#{n}"}),
      Expr.immediate({:queue, n}),
      Expr.quota(10, consumed: n),
      Expr.new("newer", {:raw, <<8::native-16, 1::native-16, n::32>>}),
      :accept
    ])
  end

  defp inner(expr),
    do: Expr.inner(expr, type: :vxlan, flags: [:hdrsize, :ll, :nh, :th], hdrsize: 8)

  defp rules(count) do
    for _ <- 1..count do
      comment = Enum.random([nil, "why", "because"])
      {exprs, family} = rule()
      payload(exprs, family, Enum.random(["c", "d"]), comment: comment)
    end
  end

  # A field that exists in several ICMP types brings a set of them along; a rule with sets of its
  # own has no template.
  defp rule do
    family = Enum.random(@families)
    exprs = Rule.build!(parts()).expressions

    own? =
      exprs |> Dependencies.expand(family) |> Enum.any?(&match?(%Expr{name: :__anon_set}, &1))

    if own?, do: rule(), else: {exprs, family}
  end

  # A few header fields, and a few statements, in any order.
  defp parts do
    protocols = Enum.take_random([:ether, :ip, :ip6, :tcp, :udp, :icmp, :icmpv6], 2)
    names = protocols |> Enum.flat_map(&whole_fields/1) |> Enum.take_random(:rand.uniform(3))
    fields = Enum.map(names, &comparison(&1, Enum.random([:eq, :eq, :neq])))
    Enum.shuffle(fields ++ for(_ <- 1..3, do: statement()))
  end

  test "rules of a dump are read as they are one by one" do
    :rand.seed(:exsss, {4, 6, 8})
    for _ <- 1..40, do: assert_alike(rules(50))
  end

  test "rules of a push are written as they are one by one" do
    :rand.seed(:exsss, {2, 4, 6})
    rules = for _ <- 1..2_000, do: rule()

    Enum.reduce(rules ++ rules, TemplateCache.new(), fn {exprs, family}, cache ->
      {size, pieces, values, cache} = TemplateCache.find(exprs, family, cache)
      bytes = TemplateCache.fill(pieces, values, "before")
      alone = exprs |> Dependencies.expand(family) |> Expressions.list() |> IO.iodata_to_binary()
      assert {exprs, bytes} == {exprs, "before" <> alone}
      assert size == byte_size(alone)
      cache
    end)
  end

  test "the template of a rule is the one that the module shows" do
    rule = fn port -> [Expr.payload(:tcp_dport), Expr.cmp(:eq, <<port::16>>), :drop] end
    drop = fn port -> Rule.build!(rule.(port)).expressions end

    {_, [head, 0, tail], {<<0, 22>>}, cache} =
      TemplateCache.find(drop.(22), :ip, TemplateCache.new())

    shown =
      <<8, 0, 1, 0, 0, 0, 0, 1, 8, 0, 2, 0, 0, 0, 0, 0, 12, 0, 3, 128, 6, 0, 1, 0>>

    assert binary_part(head, byte_size(head), -byte_size(shown)) == shown
    assert <<0, 0, 48, 0, 1, 128, _::binary>> = tail
    assert {_, [^head, 0, ^tail], {<<0, 80>>}, ^cache} = TemplateCache.find(drop.(80), :ip, cache)

    assert [%Expr{name: :meta}, %Expr{name: :cmp, data: %{data: <<6>>}} | _] =
             [head, <<0, 22>>, tail] |> IO.iodata_to_binary() |> Decoder.Expressions.list()
  end

  test "rules that differ in their values share a template, neighbouring fields joined" do
    rule = fn n ->
      [
        Expr.payload(:tcp_sport),
        Expr.cmp(:eq, <<n::16>>),
        Expr.payload(:tcp_dport),
        Expr.cmp(:eq, <<n + 1::16>>)
      ]
    end

    Enum.reduce(1..50, TemplateCache.new(), fn n, cache ->
      {_size, pieces, values, cache} = TemplateCache.find(rule.(n), :ip, cache)

      assert [_, _, %Expr{data: %{len: 4}}, %Expr{data: %{data: <<^n::16, _::16>>}}] =
               pieces |> TemplateCache.fill(values, <<>>) |> Decoder.Expressions.list()

      assert elem(cache, 0) == 1
      cache
    end)
  end

  test "what a protocol is compared with decides, what an address is does not" do
    rule = fn address, port, protocol ->
      payload(
        [
          Expr.meta(:l4proto),
          Expr.cmp(:eq, <<protocol>>),
          Expr.payload(:network, 12, 4),
          Expr.cmp(:eq, address),
          Expr.payload(:transport, 2, 2),
          Expr.cmp(:eq, <<port::16>>)
        ],
        :ip
      )
    end

    payloads =
      for protocol <- [6, 17, 1, 6, 99], n <- 1..5, do: rule.(<<10, 0, 0, n>>, n, protocol)

    assert_alike(payloads)

    assert [{:ip, "t", "c", %Rule{expressions: expressions}} | _] = Rules.decode(payloads)
    assert %Expr{data: %{field: :tcp_dport}} = Enum.at(expressions, 4)
  end

  test "more templates, and more protocols of one, than are remembered" do
    # Names of other lengths make other templates.
    unlike = for a <- 1..30, b <- 1..40, do: [Expr.lookup(pad(a)), Expr.log(prefix: pad(b))]
    assert_alike(Enum.map(unlike ++ unlike, &payload(&1, :inet)))

    types = for n <- 0..600, do: [Expr.meta(:protocol), Expr.cmp(:eq, <<n::16>>), Expr.counter()]
    assert_alike(Enum.map(types, &payload(&1, :bridge)))
  end

  defp pad(n), do: String.duplicate("x", n)

  test "cut and mutated rules are read alike" do
    :rand.seed(:exsss, {3, 5, 7})
    good = rules(20)

    for payload <- Enum.take(good, 3),
        size <- 0..byte_size(payload),
        do: assert_alike([binary_part(payload, 0, size)])

    for _ <- 1..2_000 do
      payload = Enum.random(good)
      assert_alike([mutated(payload, :rand.uniform(5)), payload | Enum.take_random(good, 2)])
    end
  end

  defp mutated(bytes, 0), do: bytes

  defp mutated(bytes, n) do
    at = :rand.uniform(byte_size(bytes)) - 1
    <<before::binary-size(^at), byte, rest::binary>> = bytes
    other = Enum.random([:rand.uniform(256) - 1, Bitwise.bxor(byte, 1), 0, 255])
    mutated(<<before::binary, other, rest::binary>>, n - 1)
  end

  test "noise is read alike" do
    :rand.seed(:exsss, {9, 9, 9})
    assert_alike(for _ <- 1..2_000, do: :rand.bytes(:rand.uniform(200) - 1))
  end

  test "what is no list of payloads is refused" do
    for bad <- [:rules, [1], [<<>> | <<>>]],
        do: assert_raise(ArgumentError, fn -> Linx.Native.netfilter_rules(bad) end)
  end
end
