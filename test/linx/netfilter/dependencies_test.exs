defmodule Linx.Netfilter.DependenciesTest do
  use ExUnit.Case, async: true

  alias Linx.Netfilter.{Dependencies, Expr, Field}

  doctest Dependencies

  @families [:ip, :ip6, :inet, :arp, :bridge, :netdev]

  defp load(name) do
    {:ok, field} = Field.fetch(name)
    {offset, len} = Field.bytes(field)
    Expr.new(:payload, %{base: field.base, offset: offset, len: len, dreg: 1, field: name})
  end

  defp test_of(name, n \\ 1) do
    %Expr{data: %{len: len}} = load = load(name)
    [load, Expr.cmp(:eq, <<n::size(8 * len)>>)]
  end

  defp bare(exprs),
    do:
      Enum.map(exprs, fn %Expr{data: data} = e ->
        if is_map(data) and not is_struct(data),
          do: %{e | data: Map.delete(data, :field)},
          else: e
      end)

  test "the test for a protocol depends on the family" do
    for {family, name, keys} <- [
          {:ip, :ip_saddr, []},
          {:inet, :ip_saddr, [:nfproto]},
          {:bridge, :ip_saddr, [:protocol]},
          {:netdev, :ip_saddr, [:protocol]},
          {:ip, :tcp_dport, [:l4proto]},
          {:inet, :icmp_type, [:nfproto, :l4proto]},
          {:inet, :ether_saddr, [:iiftype]}
        ] do
      found =
        for %Expr{name: :meta, data: %{key: key}} <- Dependencies.expand(test_of(name), family),
            do: key

      assert found == keys, "#{family} #{name}"
    end
  end

  test "a test that the rule has is not added again" do
    protocol = [load(:ip_protocol), Expr.cmp(:eq, <<6>>)]
    full = Dependencies.expand(protocol ++ test_of(:tcp_dport), :ip)
    assert bare(full) == bare(protocol ++ test_of(:tcp_dport))
  end

  test "a test that stands elsewhere in the rule stays" do
    rule = [Expr.meta(:l4proto), Expr.cmp(:eq, <<6>>), Expr.counter()] ++ test_of(:tcp_dport)
    assert Dependencies.fold(bare(rule), :ip) == rule
  end

  test "a raw load implies nothing" do
    raw = [Expr.payload(:transport, 100, 2), Expr.cmp(:eq, <<22::16>>)]
    assert Dependencies.expand(raw, :inet) == raw
    assert Dependencies.fold(raw, :inet) == raw
  end

  test "neighbouring fields are one comparison, and two again" do
    rule = test_of(:tcp_sport, 1) ++ test_of(:tcp_dport, 2)
    full = Dependencies.expand(rule, :ip)

    assert [_, _, %Expr{data: %{offset: 0, len: 4}}, %Expr{data: %{data: <<1::16, 2::16>>}}] =
             full

    assert Dependencies.fold(full, :ip) == rule
  end

  # Rules that nft could send: in every family, of the fields of one protocol a layer.
  test "expand undoes fold, and fold undoes expand" do
    :rand.seed(:exsss, {1, 2, 3})

    for family <- @families, _ <- 1..300 do
      network = Enum.random(if family in [:ip, :ip6, :arp], do: [family], else: [:ip, :ip6])

      transports =
        if network == :arp, do: [], else: [Enum.random([:tcp, :udp, :sctp, :ah, :comp])]

      names =
        Enum.flat_map([:ether, network] ++ transports, &whole_fields/1) --
          [:ether_type, :ip_protocol, :ip6_nexthdr]

      # No field twice: a rule that compares one with two values matches nothing.
      rule =
        Enum.flat_map(Enum.take_random(names, :rand.uniform(4)), fn name ->
          test_of(name, :rand.uniform(200)) ++
            if(:rand.uniform(3) == 1, do: [Expr.counter()], else: [])
        end)

      full = bare(Dependencies.expand(rule, family))
      folded = Dependencies.fold(full, family)

      assert bare(Dependencies.expand(folded, family)) == full,
             inspect({family, rule}, structs: false)

      assert Dependencies.fold(bare(Dependencies.expand(folded, family)), family) == folded
    end
  end

  defp whole_fields(protocol) do
    for text <- Field.fields(protocol),
        {:ok, field} = Field.fetch(protocol, text),
        rem(field.offset, 8) == 0,
        rem(field.length, 8) == 0,
        do: field.name
  end
end
