defmodule Linx.NFT.NumberRangeTest do
  # A number that the kernel's attribute has no room for is refused where it stands.
  use ExUnit.Case, async: true

  alias Linx.NFT

  @statements [
    {"ct count N", 0xFFFFFFFF},
    {"ct count over N", 0xFFFFFFFF},
    {"meta mark set jhash ip saddr mod 4 seed N", 0xFFFFFFFF},
    {"meta mark set numgen inc mod 1 offset N", 0xFFFFFFFE},
    {"meta mark set symhash mod 1 offset N", 0xFFFFFFFE},
    {"reset tcp option N", 0xFF},
    {"tcp option N exists", 0xFF},
    {"dccp option N missing", 0xFF},
    {"ipsec in spnum N reqid 5", 0xFF},
    {"socket cgroupv2 level N 42", 0xFF},
    {"meter m size N { ip saddr counter }", 0xFFFFFFFF}
  ]

  @objects [
    {"ct expectation", "protocol tcp; dport N; timeout 1m; size 3", 0xFFFF},
    {"ct expectation", "protocol tcp; dport 5; timeout 1m; size N", 0xFF},
    {"ct expectation", "protocol tcp; dport 5; timeout Ns; size 3", div(0xFFFFFFFF, 1000)},
    {"ct timeout", "protocol udp; policy = { replied : N }", 0xFFFFFFFF}
  ]

  test "the numbers of statements and loads" do
    for {words, most} <- @statements,
        do: range!(&"table ip t { chain c { #{&1}; }; }", words, most)
  end

  @counts [
    "limit rate N/second",
    "limit rate over N bytes/second",
    "limit rate 5 bytes/second burst N bytes",
    "quota N bytes",
    "quota 5 bytes used N bytes",
    "counter packets N bytes 1",
    "counter packets 1 bytes N",
    "add @s { ip saddr limit rate N/second }"
  ]

  test "the counts of statements" do
    for words <- @counts, do: count!(&"table ip t { chain c { #{&1}; }; }", words)

    for words <- [
          "limit rate -1 mbytes/second",
          "limit rate 1/second burst -1 packets",
          "limit rate 1 mbytes/second burst -1 kbytes",
          "quota over -1 mbytes"
        ],
        do: assert({:error, _} = NFT.parse("table ip t { chain c { #{words}; }; }"), words)
  end

  test "the counts of objects" do
    for {kind, words} <- [
          {"limit", "rate N/second"},
          {"limit", "rate 5 bytes/second burst N bytes"},
          {"quota", "N bytes"},
          {"quota", "5 bytes used N bytes"},
          {"counter", "packets N bytes 1"}
        ],
        do: count!(&"table ip t { #{kind} x { #{&1}; }; }", words)
  end

  test "the size of a set" do
    range!(&"table ip t { set s { type mark; #{&1}; }; }", "size N", 0xFFFFFFFF)
  end

  test "the numbers of objects" do
    for {kind, words, most} <- @objects,
        do: range!(&"table ip t { #{kind} x { #{&1}; }; }", words, most)
  end

  defp range!(text, words, most) do
    given = fn n -> words |> String.replace("N", Integer.to_string(n)) |> text.() end
    assert {:ok, _} = NFT.parse(given.(most)), words

    for n <- [most + 1, 0x1_0000_0000_0000, -1],
        do: assert({:error, %NFT.ParseError{line: 1}} = NFT.parse(given.(n)), words)
  end

  defp count!(text, words) do
    given = fn n -> words |> String.replace("N", Integer.to_string(n)) |> text.() end
    assert {:ok, _} = NFT.parse(given.(0xFFFFFFFFFFFFFFFF)), words

    for n <- [0x1_0000_0000_0000_0000, -1],
        do: assert({:error, %NFT.ParseError{line: 1}} = NFT.parse(given.(n)), words)
  end
end
