defmodule Linx.Netfilter.FieldTest do
  use ExUnit.Case, async: true

  alias Linx.Netfilter.{Datatype, Field}

  doctest Field
  doctest Datatype

  test "every field has a type of the datatype table" do
    for field <- Field.all() do
      assert {:ok, _type} = Datatype.fetch(field.type), "#{field.name}"
    end
  end

  test "a typed field is as wide as its type" do
    for field <- Field.all(), {:ok, %{size: size}} = Datatype.fetch(field.type), size > 0 do
      assert field.length == size, "#{field.name}"
    end
  end

  test "names are unique" do
    names = Enum.map(Field.all(), & &1.name)
    assert names -- Enum.uniq(names) == []
  end

  test "a field is found by the bits it occupies, the first of two names winning" do
    assert Field.at(:vlan, 115, 1).field == "dei"
    assert Field.at(:tcp, 16, 16).name == :tcp_dport
    assert Field.at(:tcp, 3, 16) == nil
    assert Field.at(:tcpopt, 2, 16, 16).name == :tcpopt_maxseg_size
  end

  test "a mask covers the field's bits in the bytes that are loaded" do
    for {name, bytes, mask} <- [
          {:ip_dscp, {1, 1}, {0xFC, 2}},
          {:ip6_flowlabel, {1, 3}, {0xFFFFF, 0}},
          {:ip6_dscp, {0, 2}, {0x0FC0, 6}},
          {:vlan_id, {14, 2}, {0x0FFF, 0}},
          {:dccp_type, {8, 1}, {0x1E, 1}},
          {:frag_frag_off, {2, 2}, {0xFFF8, 3}}
        ] do
      {:ok, field} = Field.fetch(name)
      assert {Field.bytes(field), Field.mask(field)} == {bytes, mask}
    end
  end

  test "concatenated type numbers go both ways" do
    types = {:concat, [:ipv4_addr, :inet_proto, :inet_service]}
    assert types |> Datatype.type_id() |> Datatype.from_id() == {:ok, types}
    assert Datatype.from_id(Datatype.type_id(:mark)) == {:ok, :mark}
    assert Datatype.from_id(63) == :error
  end

  test "a symbol that is another's alias is not printed" do
    assert Datatype.value(:pkt_type, "unicast") == {:ok, 0}
    assert Datatype.symbol(:pkt_type, 0) == "host"
    assert Datatype.value(:icmp_type, "ping") == :error
    assert Datatype.value(:ipv4_addr, "localhost") == :error
  end
end
