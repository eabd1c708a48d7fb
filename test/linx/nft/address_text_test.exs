defmodule Linx.NFT.AddressTextTest do
  # IPv4 elements in one pass, and their points in one binary, against the general ways.
  use ExUnit.Case, async: true

  alias Linx.Netfilter.Encoder.{Elements, Intervals}
  alias Linx.Netfilter.Set
  alias Linx.NFT
  alias Linx.NFT.{Compiler, Parser, Tokenizer}
  alias Linx.NFT.Compiler.AddressText

  defp slow(source) do
    with {:ok, tokens} <- Tokenizer.tokenize(source),
         {:ok, items} <- Parser.parse(tokens, source: source),
         do: Compiler.compile(items, source: source)
  end

  defp set(elements),
    do:
      "table ip t {\n set s {\n type ipv4_addr\n flags interval\n elements = { #{elements} " <>
        "}\n }\n}\n"

  # More bytes than a list needs to stay text.
  @filler Enum.map_join(1..60, ", ", &"1.0.#{&1}.1")

  @good ~w(10.0.0.1 0.0.0.0 10.0.0.0/8 11.0.0.7/24 12.0.0.0-12.0.0.255 12.0.1.0-12.0.1.9
           14.0.0.1/32 200.0.0.0/31 100.1.2.3-101.2.3.4 255.255.255.255 199.9.9.9)
  @odd [
    "13.0.0.1-13.0.0.1",
    "0.0.0.0/0",
    "010.0.0.1",
    "10.0.0.1-9.0.0.1",
    "1.2.3.256",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.4/33",
    "1.2.3.4/08",
    "1.2.3.4/",
    "1.2.3.4 comment \"x\"",
    "$a",
    "1.2.3.4-",
    "::1",
    "x",
    "1.2.3.4 5.6.7.8",
    "10.0.0.1-10.0.0.2-10.0.0.3",
    "4.3.2.1-4.3.2.9/32"
  ]

  test "each form among others is what its tokens say" do
    for form <- @good ++ @odd,
        list <- [
          "#{form}, #{@filler}",
          "#{@filler}, #{form}",
          "#{@filler}\n# x\n,#{form}  ,# y\n 3.3.3.3,"
        ] do
      source = set(list)
      assert NFT.parse(source) == slow(source), source
    end
  end

  test "random lists" do
    :rand.seed(:exsss, {3, 1, 4})

    for _ <- 1..200 do
      forms = for _ <- 1..:rand.uniform(8), do: Enum.random(@good)
      source = set(Enum.join(Enum.shuffle(forms) ++ [@filler], Enum.random([",", " , ", ",\n"])))
      assert NFT.parse(source) == slow(source), source
    end
  end

  test "an element twice, and a prefix of all bits without flags interval" do
    for list <- ["1.2.3.4, 1.2.3.4, #{@filler}", "#{@filler}, 9.0.0.0/8, 9.1.1.1/8"] do
      assert NFT.parse(set(list)) == slow(set(list))
    end

    assert {"", :infinity, :unordered, _, false} =
             AddressText.take("1.1.1.1,1.1.1.1", :infinity, nil, [], false)

    source = String.replace(set("#{@filler}, 9.0.0.1/32"), "flags interval", "")
    assert {:error, %{message: message}} = NFT.parse(source)
    assert message =~ "flags interval"
    assert NFT.parse(source) == slow(source)
  end

  test "a number of elements at a time" do
    text = "1.1.1.1, 2.2.2.2/16,\n3.3.3.3-3.3.3.9,1.1.1.1"
    assert {rest, 0, {2, 2, 0, 0}, acc, true} = AddressText.take(text, 2, nil, [], false)
    assert acc == [{:prefix, {2, 2, 0, 0}, 16}, {1, 1, 1, 1}]
    assert rest == "3.3.3.3-3.3.3.9,1.1.1.1"

    assert {"1.1.1.1", 0, {3, 3, 3, 3}, _, true} =
             AddressText.take(rest, 1, {2, 2, 0, 0}, [], false)

    assert {"", 4, :unordered, [_, _], true} = AddressText.take(rest, 6, {3, 3, 3, 3}, [], false)

    assert {"", :infinity, {1, 1, 1, 1}, [{1, 1, 1, 1}], false} =
             AddressText.take("1.1.1.1", :infinity, nil, [], false)

    # The flag does not come from an element that is left.
    assert {"1.1.1.0/24 x", 9, nil, [], false} =
             AddressText.take("1.1.1.0/24 x", 9, nil, [], false)
  end

  # The points of a set whose elements carry nothing, by the general way: an element with a
  # structure of its own takes it.
  defp general(set, elements, opts) do
    set
    |> Elements.chunks(Enum.map(elements, &%Linx.Netfilter.Element{key: &1}), opts)
    |> IO.iodata_to_binary()
  end

  test "points in one binary are those of the general way" do
    :rand.seed(:exsss, {2, 7, 1})
    assert Intervals.chunks(Set.new!("s", key_type: :ipv4_addr), [{1, 2, 3, 4}], []) == nil

    kinds =
      for _ <- 1..300 do
        count = Enum.random([1, 2, 5, 40])

        elements =
          for n <- Enum.sort(Enum.take_random(1..2000, count)) do
            case :rand.uniform(3) do
              1 ->
                {10, div(n, 256), rem(n, 256), 7}

              2 ->
                {:prefix, {10, div(n, 256), rem(n, 256), 0}, Enum.random(24..31)}

              3 ->
                {:range, {10, div(n, 256), rem(n, 256), 1},
                 {10, div(n, 256), rem(n, 256), Enum.random(3..255)}}
            end
          end

        elements =
          Enum.random([
            elements,
            Enum.reverse(elements),
            [{:prefix, {0, 0, 0, 0}, 9} | elements],
            elements ++ [{:prefix, {224, 0, 0, 0}, 3}]
          ])

        set = Set.new!("s", key_type: :ipv4_addr, flags: [:interval])

        for opts <- [[], [initial: true]] do
          assert set |> Elements.chunks(elements, opts) |> IO.iodata_to_binary() ==
                   general(set, elements, opts)
        end

        Intervals.chunks(set, elements, []) != nil
      end

    assert Enum.uniq(kinds) |> length() == 2

    # Neighbours are merged where the set says so.
    merging = Set.new!("s", key_type: :ipv4_addr, flags: [:interval, :auto_merge])
    assert Intervals.chunks(merging, [{:prefix, {10, 0, 0, 0}, 24}, {10, 0, 1, 0}], []) == nil
    assert Intervals.chunks(merging, [{:prefix, {10, 0, 0, 0}, 24}, {10, 0, 1, 1}], []) != nil
    assert Intervals.chunks(merging, [{0, 0, 0, 0}, {0, 0, 0, 2}], initial: true) != nil
    anonymous = %{merging | flags: [:interval, :anonymous]}
    assert Intervals.chunks(anonymous, [{:prefix, {10, 0, 0, 0}, 24}, {10, 0, 1, 0}], []) == nil

    # Neither a prefix with bits behind its length nor a range that ends before it begins is
    # written here.
    for element <- [
          {:prefix, {10, 0, 0, 1}, 24},
          {:prefix, {10, 0, 0, 0}, 33},
          {:range, {10, 0, 0, 2}, {10, 0, 0, 1}},
          {:range, {10, 0, 0, 0}, {255, 255, 255, 255}},
          {256, 0, 0, 0}
        ],
        do: assert(Intervals.chunks(merging, [element], []) == nil)
  end

  test "many points fill messages of their size" do
    set = Set.new!("s", key_type: :ipv4_addr, flags: [:interval])

    for count <- [1498, 1499, 1500, 1501, 3000] do
      elements = for n <- 1..count, do: {10, div(n, 256), rem(n, 256), 0}
      chunks = Elements.chunks(set, elements, initial: true)
      assert Enum.all?(chunks, &(IO.iodata_length(&1) in 1..60_000))
      assert IO.iodata_to_binary(chunks) == general(set, elements, initial: true)
    end

    assert_raise ArgumentError, ~r/overlap/, fn ->
      Elements.chunks(set, [{:prefix, {10, 0, 0, 0}, 8}, {10, 0, 0, 1}], [])
    end
  end
end
