defmodule Linx.Netlink.CodecTest do
  use ExUnit.Case, async: true

  alias Linx.Netlink.Attr
  alias Linx.Netlink.Codec.Place
  alias Linx.Test.BadCodec

  defmodule Pair do
    # A value that no type can say: two bytes as {a, b}.
    def encode({a, b}), do: <<a, b>>
    def decode(<<a, b>>), do: {a, b}
    def decode(_), do: nil
  end

  defmodule Plum do
    use Linx.Netlink.Codec

    codec do
      attr(1, :stones, :u8)
    end
  end

  defmodule Apple do
    use Linx.Netlink.Codec

    codec do
      attr(1, :colour, :string)
    end
  end

  defmodule All do
    use Linx.Netlink.Codec

    codec do
      header do
        field(:a, :u8)
        pad(1)
        field(:b, :u16)
        field(:c, :s32)
      end

      attr(1, :u8, :u8)
      attr(2, :u16, :u16)
      attr(3, :u32, :u32)
      attr(4, :u64, :u64)
      attr(5, :s8, :s8)
      attr(6, :s16, :s16)
      attr(7, :s32, :s32)
      attr(8, :u16_be, :u16_be)
      attr(9, :u32_be, :u32_be)
      attr(10, :text, :string)
      attr(11, :bytes, :binary)
      attr(12, :flag, :flag)
      attr(13, :pair, Pair)
      attr(14, :plum, {:nested, Plum})
      attr(15, :kind, :string)
      attr(16, :data, {:dispatch, :kind, %{"plum" => Plum, "apple" => Apple}})
      rest(:extra, skip: [20, 22..24])
    end
  end

  defp full do
    %All{
      a: 1,
      b: 2,
      c: -3,
      u8: 255,
      u16: 0xFFFF,
      u32: 0xFFFFFFFF,
      u64: 0xFFFFFFFFFFFFFFFF,
      s8: -1,
      s16: -2,
      s32: -3,
      u16_be: 0x0102,
      u32_be: 0x01020304,
      text: "hello",
      bytes: <<0, 1>>,
      flag: true,
      pair: {7, 8},
      plum: %Plum{stones: 1},
      kind: "apple",
      data: %Apple{colour: "red"},
      extra: [{300, "new"}]
    }
  end

  test "every type reads back" do
    assert All.decode(All.encode(full())) == full()
    assert All.decode(All.encode(%All{})) == %All{}
  end

  test "network byte order and NLA_F_NESTED are on the wire" do
    assert All.encode(%All{u16_be: 0x0102}) =~ <<6::native-16, 8::native-16, 1, 2>>
    assert All.encode(%All{plum: %Plum{}}) =~ <<4::native-16, 0x800E::native-16>>
  end

  test "a dispatched payload is read whatever the order, and as bytes when its kind is unknown" do
    data = Attr.encode([{1, <<9>>}])
    swapped = <<0::64>> <> Attr.encode([{16, data}, {15, "plum\0"}])
    assert %All{kind: "plum", data: %Plum{stones: 9}} = All.decode(swapped)

    unknown = <<0::64>> <> Attr.encode([{15, "pear\0"}, {16, data}])
    assert %All{kind: "pear", data: ^data} = message = All.decode(unknown)
    assert All.encode(message) == unknown
  end

  test "odd attributes are kept aside, skipped ones are not, the last of two counts" do
    body =
      <<0::64>> <>
        Attr.encode([
          {3, <<1, 2>>},
          {20, "x"},
          {22, "x"},
          {24, "x"},
          {13, <<1, 2, 3>>},
          {1, <<5>>},
          {1, <<6, 0, 0, 0>>}
        ])

    assert %All{u32: nil, pair: nil, u8: 6, extra: [{3, <<1, 2>>}, {13, <<1, 2, 3>>}]} =
             All.decode(body)
  end

  test "a value that its field cannot hold raises" do
    for bad <- [
          %{a: 256},
          %{a: -1},
          %{a: nil},
          %{c: 0x80000000},
          %{u8: 256},
          %{u16: -1},
          %{u32: "1"},
          %{s8: 128},
          %{text: "a\0b"},
          %{text: :atom},
          %{bytes: 1},
          %{flag: 1},
          %{kind: "pear", data: %Plum{}},
          %{bytes: :binary.copy("x", 70_000)}
        ] do
      assert_raise ArgumentError, fn -> All.encode(struct(All, bad)) end
    end
  end

  test "every truncation of a message gives a struct" do
    body = All.encode(full())
    for n <- 0..byte_size(body), do: assert(%All{} = All.decode(binary_part(body, 0, n)))
    assert %All{a: 1, b: 0, c: 0} = All.decode(<<1>>)
  end

  test "any bytes give a struct" do
    :rand.seed(:exsss, {4, 5, 6})
    body = All.encode(full())

    for _ <- 1..5_000 do
      at = :rand.uniform(byte_size(body)) - 1
      head = binary_part(body, 0, at)
      tail = binary_part(body, at + 1, byte_size(body) - at - 1)
      assert %All{} = All.decode(<<head::binary, :rand.uniform(256) - 1, tail::binary>>)
    end
  end

  test "the schema is data" do
    schema = All.__codec__()
    assert {:field, :a, :u8} = hd(schema.header)
    assert {13, :pair, Pair} in schema.attrs
    assert {16, :data, {:dispatch, :kind, %{"plum" => Plum, "apple" => Apple}}} in schema.attrs
    assert schema.rest == {:extra, [20, 22, 23, 24]}
  end

  test "an offset is found as the name of a field" do
    body =
      All.encode(%All{u8: 1, plum: %Plum{stones: 3}, kind: "apple", data: %Apple{colour: "x"}})

    at = fn bytes -> elem(:binary.match(body, bytes), 0) end

    assert Place.locate(All, body, 8) == [:u8]
    assert Place.locate(All, body, at.(<<0x800E::native-16>>) - 2) == [:plum]
    assert Place.locate(All, body, at.(<<5::native-16, 1::native-16, 3>>)) == [:plum, :stones]
    assert Place.locate(All, body, 2) == []
    assert Place.locate(All, body, 4000) == []
    assert Place.locate(Linx.IP, body, 4000) == []
  end

  test "a declaration that makes no sense does not compile" do
    for {block, reason} <- [
          {"attr 1, :a, :u8\nattr 2, :a, :u8", ~r/twice/},
          {"field :a, :u8", ~r/not part of a codec/},
          {"header do\n attr 1, :a, :u8\nend", ~r/header/},
          {"attr 1, :a, :u8\nattr 1, :b, :u8", ~r/attribute 1 twice/},
          {"attr 1, :a, :strnig", ~r/unknown type :strnig/},
          {"attr 1, :a, {:dispatch, :kind, %{}}", ~r/depends on :kind/},
          {"attr 1, :a, {:dispatch, :kind, %{}}\nattr 2, :kind, :string", ~r/depends on :kind/}
        ],
        do: BadCodec.refused!(block, reason)
  end
end
