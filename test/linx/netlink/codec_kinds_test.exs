defmodule Linx.Netlink.CodecKindsTest do
  use ExUnit.Case, async: true

  # Enumerations, flags, defaults, lists and the widths of Linx.Netlink.Codec.

  alias Linx.Netlink.Attr
  alias Linx.Netlink.Codec.Place
  alias Linx.Test.BadCodec

  defmodule Stone do
    use Linx.Netlink.Codec

    codec do
      enum(:colour, :u16_be, red: 1, green: 2)
      attr(1, :size, :u8)
      attr(2, :colour, {:enum, :colour})
    end
  end

  defmodule Tree do
    use Linx.Netlink.Codec

    codec do
      enum(:season, :u8, winter: 0, spring: 1, autumn: 3)
      flags(:trait, :u16, tall: 0x1, old: 0x4, hollow: 0x8000)
      enum(:height, :s32, low: -1)

      header do
        field(:family, :u8, default: 7)
        field(:season, {:enum, :season})
        field(:traits, {:flags, :trait})
        field(:label, {:binary, 3})
        pad(1)
        field(:next, {:enum, :season}, default: :spring)
      end

      attr(1, :state, {:enum, :season})
      attr(2, :how, {:flags, :trait}, default: [])
      attr(3, :colour, {:enum, {Stone, :colour}})
      attr(4, :height, {:enum, :height})
      attr(5, :weight, :u32, default: 1)
      attr(6, :stones, {:multi, Stone})
      attr(7, :names, {:multi, :string})
      attr(8, :seasons, {:multi, {:enum, :season}})
      attr(9, :nested, {:multi, {:nested, Stone}})
      attr(10, :count, :uint)
      attr(11, :u64_be, :u64_be)
      attr(12, :s16_be, :s16_be)
      attr(13, :s32_be, :s32_be)
      attr(14, :s64_be, :s64_be)
      attr(15, :s64, :s64)
      attr(16, :kind, :string)
      attr(17, :data, {:nested, {:dispatch, :kind, %{"stone" => Stone}}})
      rest(:extra)
    end
  end

  defmodule Left do
    def decode(<<0>>), do: :none
    def decode(<<n>>), do: n
    def decode(_), do: nil
  end

  defmodule Cake do
    use Linx.Netlink.Codec

    codec do
      attr(1, :left, :u32)
      also(2, :left, Left)
      rest(:extra)
    end
  end

  defmodule Names do
    def colours, do: [red: 1, green: 2]
    defmacro basket, do: 7
  end

  defmodule Basket do
    use Linx.Netlink.Codec

    import Names

    codec do
      enum(:colour, :u32_be, Names.colours())
      attr(basket(), :colour, {:enum, :colour}, required: true)
      attr(2, :names, {:nested, {:list, 1, :string}})
      attr(3, :stones, {:list, basket(), {:nested, Stone}})
      attr(4, :raw, {:nested, :binary})
      rest(:extra)
    end
  end

  defmodule Bag do
    use Linx.Netlink.Codec

    codec as: :map do
      attr(1, :size, :u8)
      attr(2, :names, {:multi, :string})
      attr(3, :stone, {:nested, Stone})
      attr(4, :weight, :u16_be, required: true)
    end
  end

  test "numbers by macro, names by call" do
    assert {7, :colour, {:enum, :colour}} = hd(Basket.__codec__().attrs)
    assert Attr.decode(Basket.encode(%Basket{colour: :green})) == [{7, <<2::32>>}]
    assert Basket.decode(Attr.encode([{7, <<1::32>>}])).colour == :red
  end

  test "a required attribute that is not given is refused by name" do
    assert_raise ArgumentError, ~r/no :colour is given/, fn -> Basket.encode(%Basket{}) end
    assert_raise ArgumentError, ~r/no :weight is given/, fn -> Bag.encode(%{size: 1}) end
  end

  test "a nest of one number is a list: nil is none, [] an empty one" do
    basket = %Basket{colour: :red, names: ["a", "bc"], stones: [%Stone{size: 3}], raw: "1234"}
    assert [{7, _}, {0x8002, names}, {3, stones}, {0x8004, "1234"}] = attrs_of(basket)
    assert Attr.decode(names) == [{1, "a\0"}, {1, "bc\0"}]
    assert [{0x8007, _}] = Attr.decode(stones)
    assert Basket.decode(Basket.encode(basket)) == basket

    assert [{7, _}, {0x8002, ""}] = attrs_of(%Basket{colour: :red, names: []})
    assert Basket.decode(Attr.encode([{2, ""}])).names == []

    # Elements of another number, and those that cannot be read, are passed over.
    odd = Attr.encode([{1, "x\0"}, {2, "y\0"}])
    assert Basket.decode(Attr.encode([{2, odd}])).names == ["x"]

    assert_raise ArgumentError, ~r/:names/, fn ->
      Basket.encode(%Basket{colour: :red, names: ["a", :b]})
    end
  end

  defp attrs_of(basket), do: Attr.decode(Basket.encode(basket))

  test "a codec of maps has the keys of the message and no others" do
    bag = %{size: 1, names: ["a", "b"], stone: %Stone{size: 2}, weight: 5}
    assert Bag.decode(Bag.encode(bag)) == bag
    assert Bag.decode(Bag.encode(%{weight: 5})) == %{weight: 5}
    assert Bag.decode(Attr.encode([{1, ""}, {9, "new"}])) == %{}

    assert_raise ArgumentError, ~r/no such field: :wieght/, fn ->
      Bag.encode(%{weight: 5, wieght: 1})
    end

    body = Bag.encode(bag)
    for n <- 0..byte_size(body), do: assert(is_map(Bag.decode(binary_part(body, 0, n))))
  end

  test "a map has no header" do
    BadCodec.refused!("header do\n field :a, :u8\nend", ~r/no header as :map/, "as: :map")
  end

  test "text that was read does not keep its message" do
    body =
      Attr.encode([
        {7, <<1::32>>},
        {2, Attr.encode([{1, "name\0"}])},
        {9, :binary.copy("x", 5_000)}
      ])

    assert %Basket{names: [name]} = Basket.decode(body)
    assert :binary.referenced_byte_size(name) == 4
  end

  test "an attribute that is only read, into another's field" do
    assert Attr.decode(Cake.encode(%Cake{left: 7})) == [{1, <<7::native-32>>}]
    assert Cake.decode(Attr.encode([{2, <<7>>}])) == %Cake{left: 7}
    assert Cake.decode(Attr.encode([{2, <<0>>}])) == %Cake{left: nil}
    assert Cake.decode(Attr.encode([{2, <<1, 2>>}])) == %Cake{extra: [{2, <<1, 2>>}]}
  end

  @header 9

  defp attrs(struct), do: struct |> Tree.encode() |> binary_part_from(@header) |> Attr.scan()
  defp binary_part_from(bytes, at), do: binary_part(bytes, at, byte_size(bytes) - at)

  test "a new struct has the defaults, and they read back" do
    assert %Tree{family: 7, season: :winter, traits: [], label: <<0, 0, 0>>, next: :spring} =
             tree = %Tree{}

    assert %Tree{state: nil, how: [], weight: 1, stones: [], count: nil} = tree
    assert Tree.decode(Tree.encode(tree)) == tree
    assert <<7, 0, 0, 0, 0, 0, 0, 0, 1, _::binary>> = Tree.encode(tree)
  end

  test "an attribute that is not there reads as its default, and nil leaves it out" do
    assert {5, <<1::native-32>>} in attrs(%Tree{})
    refute List.keymember?(attrs(%Tree{weight: nil}), 5, 0)
    assert %Tree{weight: 1, how: []} = Tree.decode(<<0::size(@header * 8)>>)
  end

  test "names are written as their numbers, in the width of the kind" do
    tree = %Tree{
      season: :autumn,
      traits: [:tall, :hollow],
      state: :spring,
      how: [:old],
      colour: :green,
      height: :low
    }

    assert <<7, 3, 0x8001::native-16, _::binary>> = Tree.encode(tree)
    attrs = attrs(tree)
    assert {1, <<1>>} in attrs
    assert {2, <<4::native-16>>} in attrs
    assert {3, <<0, 2>>} in attrs
    assert {4, <<-1::native-signed-32>>} in attrs
    assert Tree.decode(Tree.encode(tree)) == tree
  end

  test "a value or a flag of a newer kernel reads as a number and is written again" do
    body =
      <<7, 2, 0x4012::native-16, "abc", 0, 200>> <>
        Attr.encode([
          {1, <<9>>},
          {2, <<0x8005::native-16>>},
          {3, <<1, 0>>},
          {5, <<1::native-32>>}
        ])

    assert %Tree{
             season: 2,
             traits: [0x2, 0x10, 0x4000],
             next: 200,
             state: 9,
             how: [:tall, :old, :hollow],
             colour: 256
           } = tree = Tree.decode(body)

    assert Tree.encode(tree) == body
  end

  test "flags may be given as a number, and a number that has a name" do
    assert Tree.decode(Tree.encode(%Tree{traits: 5, how: 0, state: 3})) ==
             %Tree{traits: [:tall, :old], how: [], state: :autumn}
  end

  test "an attribute that is too short for its kind is kept aside" do
    body = <<0::size(@header * 8)>> <> Attr.encode([{3, <<1>>}, {10, <<1, 2>>}, {8, ""}])

    assert %Tree{
             colour: nil,
             count: nil,
             seasons: [],
             extra: [{3, <<1>>}, {10, <<1, 2>>}, {8, ""}]
           } =
             Tree.decode(body)
  end

  test "the elements of a list keep their order, between other attributes too" do
    stones = [{6, <<5::native-16, 1::native-16, 1, 0::24>>}, {6, ""}]

    body =
      <<0::size(@header * 8)>> <>
        Attr.encode([
          hd(stones),
          {7, "a\0"},
          {5, <<3::native-32>>},
          {7, "b\0"},
          {6, ""},
          {7, "c\0"}
        ])

    assert %Tree{names: ["a", "b", "c"], stones: [%Stone{size: 1}, %Stone{}], weight: 3} =
             Tree.decode(body)

    names = for n <- 1..5_000, do: "n#{n}"
    assert Tree.decode(Tree.encode(%Tree{names: names})).names == names
    assert [{5, _}, {0x8009, _}, {0x8009, _}] = raw(%Tree{nested: [%Stone{}, %Stone{size: 1}]})
  end

  test "a dispatched payload may have NLA_F_NESTED" do
    tree = %Tree{kind: "stone", data: %Stone{size: 1}}
    assert {0x8011, _} = List.last(raw(tree))
    assert same?(tree)

    assert Place.locate(Tree, Tree.encode(tree), byte_size(Tree.encode(tree)) - 8) == [
             :data,
             :size
           ]

    assert same?(%Tree{kind: "pebble", data: "bytes"})
  end

  defp raw(tree), do: tree |> Tree.encode() |> binary_part_from(@header) |> Attr.decode() |> tl()

  test "a :uint takes 32 bits where they suffice" do
    assert {10, <<0xFFFFFFFF::native-32>>} in attrs(%Tree{count: 0xFFFFFFFF})
    assert {10, <<0x100000000::native-64>>} in attrs(%Tree{count: 0x100000000})
    for n <- [0, 0xFFFFFFFF, 0x100000000, 0xFFFFFFFFFFFFFFFF], do: assert(same?(%Tree{count: n}))
  end

  test "network byte order" do
    tree = %Tree{u64_be: 1, s16_be: -2, s32_be: -3, s64_be: -4, s64: -5}
    attrs = attrs(tree)
    assert {11, <<1::64>>} in attrs
    assert {12, <<-2::16>>} in attrs
    assert {13, <<-3::32>>} in attrs
    assert {14, <<-4::64>>} in attrs
    assert {15, <<-5::native-64>>} in attrs
    assert same?(tree)
  end

  defp same?(tree), do: Tree.decode(Tree.encode(tree)) == tree

  test "random structs read back" do
    :rand.seed(:exsss, {7, 8, 9})

    for _ <- 1..3_000 do
      tree = random()
      assert Tree.decode(Tree.encode(tree)) == tree
    end
  end

  defp random do
    %Tree{
      family: :rand.uniform(256) - 1,
      season: season(),
      traits: traits(),
      label: :rand.bytes(3),
      next: season(),
      state: maybe(&season/0),
      how: traits(),
      colour: maybe(fn -> Enum.random([:red, :green, 0, 3, 0xFFFF]) end),
      height: maybe(fn -> Enum.random([:low, 0, -0x80000000, 0x7FFFFFFF]) end),
      weight: :rand.uniform(0x100000000) - 1,
      stones: list(fn -> %Stone{size: maybe(fn -> 5 end), colour: maybe(fn -> :red end)} end),
      names: list(fn -> Base.encode16(:rand.bytes(:rand.uniform(5))) end),
      seasons: list(&season/0),
      count: maybe(fn -> Enum.random([0, 0xFFFFFFFF, 0x1234567890]) end),
      s64_be: maybe(fn -> :rand.uniform(1_000_000) - 500_000 end)
    }
  end

  defp maybe(value), do: if(:rand.uniform(2) == 1, do: value.())
  defp list(value), do: for(_ <- 1..:rand.uniform(4)//1, do: value.())
  defp season, do: Enum.random([:winter, :spring, :autumn, 2, 4, 255])

  defp traits do
    for(name <- [:tall, :old, :hollow], :rand.uniform(2) == 1, do: name) ++
      for(bit <- [0x2, 0x8, 0x4000], :rand.uniform(4) == 1, do: bit)
  end

  test "a value that its kind cannot hold raises" do
    for bad <- [
          %{season: :summer},
          %{season: nil},
          %{season: 256},
          %{traits: [:short]},
          %{traits: nil},
          %{traits: 0x10000},
          %{traits: :tall, how: :short},
          %{label: "ab"},
          %{label: 0},
          %{state: "spring"},
          %{how: [-1]},
          %{colour: :blue},
          %{stones: [%Stone{colour: :blue}]},
          %{names: [1]},
          %{seasons: [:summer]},
          %{count: -1},
          %{count: 0x10000000000000000},
          %{s16_be: 0x8000}
        ] do
      assert_raise ArgumentError, fn -> Tree.encode(struct(Tree, bad)) end
    end
  end

  test "every truncation and any bytes give a struct" do
    :rand.seed(:exsss, {1, 2, 3})

    for _ <- 1..200 do
      body = Tree.encode(random())
      for n <- 0..byte_size(body)//7, do: assert(%Tree{} = Tree.decode(binary_part(body, 0, n)))
      at = :rand.uniform(byte_size(body)) - 1
      <<head::binary-size(^at), _, tail::binary>> = body
      assert %Tree{} = Tree.decode(<<head::binary, :rand.uniform(256) - 1, tail::binary>>)
    end
  end

  test "the schema has the kinds, the types as declared, and the size of the header" do
    schema = Tree.__codec__()
    assert {1, :state, {:enum, :season}} in schema.attrs
    assert {3, :colour, {:enum, {Stone, :colour}}} in schema.attrs
    assert {:field, :traits, {:flags, :trait}} in schema.header
    assert schema.size == @header
    assert schema.kinds.season.numbers == %{winter: 0, spring: 1, autumn: 3}
  end

  test "an offset is found as the name of a field, in a list too" do
    body = Tree.encode(%Tree{weight: nil, stones: [%Stone{size: 1}, %Stone{colour: :red}]})
    {at, _} = :binary.match(body, <<6::native-16, 2::native-16, 0, 1>>)
    assert Place.locate(Tree, body, @header + 4) == [:how]
    assert Place.locate(Tree, body, at) == [:stones, :colour]
  end

  test "a declaration that makes no sense does not compile" do
    for {block, reason} <- [
          {"enum :a, :u8, b: 256", ~r/no enum/},
          {"enum :a, :u8, b: 1, c: 1", ~r/no enum/},
          {"enum :a, :u8, b: 1, b: 2", ~r/no enum/},
          {"enum :a, :string, b: 1", ~r/no enum/},
          {"enum :a, :u8, [:b]", ~r/no enum/},
          {"flags :a, :u8, b: 3", ~r/no flags/},
          {"flags :a, :u8, b: 0", ~r/no flags/},
          {"enum :a, :u8, b: 1\nenum :a, :u8, b: 1", ~r/not part of a codec/},
          {"attr 1, :a, {:enum, :b}", ~r/no enum :b is declared/},
          {"flags :b, :u8, c: 1\nattr 1, :a, {:enum, :b}", ~r/no enum :b is declared/},
          {"attr 1, :a, {:enum, {#{inspect(Stone)}, :b}}", ~r/no enum .* is declared/},
          {"enum :b, :u8, c: 1\nattr 1, :a, {:enum, :b}, default: :d", ~r/no default/},
          {"attr 1, :a, {:multi, :flag}", ~r/cannot be a list/},
          {"attr 1, :a, {:multi, {:multi, :u8}}", ~r/cannot be a list/},
          {"attr 1, :a, {:multi, :strnig}", ~r/unknown type/},
          {"header do\n field :a, {:binary, 0}\nend", ~r/header/}
        ],
        do: BadCodec.refused!(block, reason)
  end
end
