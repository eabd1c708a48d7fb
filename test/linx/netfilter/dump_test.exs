defmodule Linx.Netfilter.DumpTest do
  # Inconsistent dumps of set elements.
  use ExUnit.Case, async: true

  alias Linx.Netfilter.Decoder.Elements
  alias Linx.Netfilter.{Map, Set}

  @set Set.new!("s", key_type: :ipv4_addr)
  @map Map.new!("m", key_type: :ipv4_addr, data_type: :verdict)

  test "an element that comes twice is a dump that missed another" do
    assert Elements.whole(@set, [<<2>>, <<1>>, <<3>>]) == {:ok, [<<1>>, <<2>>, <<3>>]}
    assert Elements.whole(@set, [<<2>>, <<1>>, <<2>>]) == :inconsistent
    assert Elements.whole(@set, []) == {:ok, []}
  end

  test "the key decides, whatever else the element has" do
    rich = {:raw, %{key: <<1>>, expires: 7}}
    assert Elements.whole(@set, [rich, <<1>>]) == :inconsistent
    assert Elements.whole(@map, [{<<1>>, <<5>>}, {<<1>>, <<6>>}]) == :inconsistent
    assert {:ok, [_, _]} = Elements.whole(@map, [{<<1>>, <<5>>}, {<<2>>, <<5>>}])
  end

  test "the catch-all is none of the others" do
    catch_all = {:raw, %{flags: 2}}
    assert Elements.whole(@set, [catch_all, <<255>>]) == {:ok, [<<255>>, catch_all]}
  end

  test "an interval's end has the key of the next one's start, and the order means something" do
    set = Set.new!("s", key_type: :ipv4_addr, flags: [:interval])
    raw = [{:raw, %{key: <<2>>, flags: 1}}, <<2>>, <<1>>]
    assert Elements.whole(set, raw) == {:ok, raw}
  end
end
