defmodule Linx.NFT.ExprTest do
  use ExUnit.Case, async: true

  alias Linx.Netfilter.Ruleset
  alias Linx.NFT.{Expr, Parser, Tokenizer}
  alias Linx.NFT.Expr.Kinds

  @folder Path.expand("../../../lib/linx/nft/expr", __DIR__)

  # The kinds of load expression: the modules of the folder that keep the behaviour.
  defp kinds do
    for path <- Path.wildcard(Path.join(@folder, "*.ex")),
        module = Module.concat(Expr, path |> Path.basename(".ex") |> Macro.camelize()),
        Code.ensure_loaded?(module),
        Expr in Keyword.get(module.module_info(:attributes), :behaviour, []),
        do: module
  end

  # A text for each word that begins a kind. Kinds are called at run time: only a text that comes
  # back shows that the list reaches all three callbacks.
  @texts %{
    Expr.Fib => ["fib saddr . iif oif"],
    Expr.Osf => ["osf name"],
    Expr.Socket => ["socket mark"],
    Expr.Numgen => ["numgen inc mod 3"],
    Expr.Hash => ["jhash ip saddr mod 3", "symhash mod 3"],
    Expr.Xfrm => ["ipsec in reqid"],
    Expr.Tunnel => ["tunnel id"],
    Expr.Rt => ["rt classid"],
    Expr.Meta => ["meta mark", "meta cpu"],
    Expr.Ct => ["ct mark", "ct original packets"],
    Expr.Exthdr => ["tcp option maxseg size", "frag id", "ip option ra value"],
    Expr.Inner => ["gre ip saddr"],
    Expr.Payload => ["tcp dport", "ip saddr", "@nh,8,16"]
  }

  test "the dispatch reaches all three callbacks of every kind" do
    assert Enum.sort(Map.keys(@texts)) == Enum.sort(kinds())

    for {kind, texts} <- @texts, text <- texts do
      assert {_node, [{:eof, _}]} = parsed_by(kind, text)
      {:ok, ruleset} = Linx.NFT.parse("table inet t { chain c { meta mark set #{text} map @m } }")
      assert ruleset |> Linx.NFT.format() |> IO.iodata_to_binary() =~ " #{text} map @m\n"
    end
  end

  defp parsed_by(kind, text) do
    {:ok, tokens} = Tokenizer.tokenize(text)
    tokens = tokens ++ [{:eof, %{line: 1, column: 1}}]
    assert {kind, Kinds.parse(tokens)} == {kind, kind.parse(tokens)}
    Kinds.parse(tokens)
  end

  # nft(8), "META EXPRESSIONS": the unqualified keys, with those of nft's grammar that it leaves
  # out.
  @bare ~w(mark iif iifname iiftype iifgroup oif oifname oiftype oifgroup skuid skgid nftrace
           rtclassid ibriport ibrname obriport obrname pkttype cpu cgroup ipsec time day hour)

  test "a key of meta that nft takes alone is the one behind the word meta" do
    for word <- @bare do
      assert {{:meta, key, _}, _rest} = parsed_by(Expr.Meta, word)
      assert {{:meta, ^key, _}, _rest} = parsed_by(Expr.Meta, "meta #{word}")
    end
  end

  test "no word that begins a load expression is taken for a name" do
    for word <- Kinds.words() do
      ruleset = Ruleset.add_table!(Ruleset.new(), :inet, word)
      assert_raise ArgumentError, ~r/word of nft's grammar/, fn -> Linx.NFT.format(ruleset) end
    end
  end

  test "the words of a header without a field are refused where a tunnel stands before them" do
    for {words, message} <- [
          {"vxlan tcp", "unexpected '}', expected a field of tcp"},
          {"vxlan icmp 5", "unexpected 5, expected a field of icmp"},
          {"gre ip", "unexpected '}', expected a field of ip"},
          {"geneve foo 1", "unexpected foo, expected a field of geneve"},
          {"gre foo 1", "unexpected foo, expected a field of gre"},
          {"vxlan tcp option 5 6", nil}
        ] do
      text = "table ip t { chain c { udp dport 4789 #{words} } }"

      case Linx.NFT.parse(text) do
        {:error, error} -> assert {words, error.message} == {words, message}
        {:ok, _ruleset} -> assert {words, nil} == {words, message}
      end
    end
  end

  test "a value of another shape than the place takes is refused, and nothing raised" do
    several = "one value is needed, not several"
    number = "a prefix needs a number or an address"
    pair = "addr . port takes one address and one port"

    for {words, message} <- [
          {"iif \"eth0\"/3", number},
          {"iif { \"eth0\"/3 }", number},
          {"fib saddr . iif oif \"eth0\"/3", number},
          {"fwd to 1-2", several},
          {"fwd to 1/2", several},
          {"fwd ip to 192.0.2.1 device 1-2", several},
          {"fwd ip6 to 2001:db8::/32 device lo", several},
          {"udp dport 5 dnat ip addr . port to 192.0.2.1", nil},
          {"udp dport 5 dnat ip addr . port to 1-2", pair},
          {"udp dport 5 dnat ip addr . port to 192.0.2.1-192.0.2.9", nil},
          {"udp dport 5 dnat ip addr . port to ip saddr", nil},
          {"(foo) 1", "unexpected foo, expected a statement"},
          {"((ip)) 1", "unexpected ip, expected a statement"},
          {"(foo . 5) 1", nil},
          {"tcp flags 1-2 / syn", "flags / mask takes one value on either side"},
          {"tcp flags syn / *", "flags / mask takes one value on either side"},
          {"tcp flags * / syn", "flags / mask takes one value on either side"},
          {"tcp flags syn / 1/2", "flags / mask takes one value on either side"},
          {"ct status 1/2 / 1", "flags / mask takes one value on either side"},
          {"ip saddr . tcp dport 192.0.2.1-192.0.2.9 . 5",
           "a range or a prefix in a concatenation stands in sets only"},
          {"ip saddr . tcp dport != 192.0.2.0/24 . 5",
           "a range or a prefix in a concatenation stands in sets only"},
          {"ip saddr . tcp dport 192.0.2.1 . *",
           "a range or a prefix in a concatenation stands in sets only"},
          {"meter m { ip saddr : 1 counter }", "a meter has keys alone, no values"},
          {"meter m { ip saddr counter : tcp dport }", "a meter has keys alone, no values"}
        ] do
      assert {:error, error} = Linx.NFT.parse("table inet t { chain c { #{words} } }"), words
      if message, do: assert({words, error.message} == {words, message})
    end

    for words <- ["192.0.2.0/24", "192.0.2.1-192.0.2.9", "192.0.2.1 device 1-2"] do
      text = "table ip t { chain c { dup to #{words} } }"
      assert {:error, %{message: ^several}} = Linx.NFT.parse(text), words
    end
  end

  test "a word that begins no load expression is a constant where one is loaded" do
    {:ok, tokens} = Tokenizer.tokenize("table ip t { chain c { meta mark set nonesuch } }")
    {:ok, [{:table, :ip, "t", [chain], _}]} = Parser.parse(tokens)
    {:chain, "c", _opts, [{:rule, [statement], _, _}], _} = chain
    assert {:meta_set, :mark, {:identifier, "nonesuch", _}, _} = statement
  end

  test "a fib that looks up nothing, or a result that nft has no word for, has no text" do
    for data <- [
          %{result: :addrtype, flags: []},
          %{result: :oif},
          %{result: 9, flags: [:saddr]},
          %{result: 9, flags: [:iif]},
          %{flags: [:saddr]},
          %{result: :oif, flags: [:present]}
        ],
        do: assert(Kinds.term(%Linx.Netfilter.Expr{name: :fib, data: data}, nil) == :error)
  end

  # Userdata of sets that nft 1.0.6 made of these words, on a little-endian machine.
  @records %{
    "socket cgroupv2 level 0" => "00040A0000000106000403000000",
    "fib saddr . iif oifname" => "00041A000000010C000402000000010409000000",
    "ipsec in spnum 3 reqid" => "00041B0000000112000405000000010403000000020400000000",
    "symhash mod 3 offset 1" =>
      "000418000000011E000401000000010401000000020403000000030400000000040400000000",
    "numgen inc mod 3 offset 1" => "0004170000000112000400000000010403000000020401000000",
    "ct original ip saddr . ct mark . osf name . rt mtu" =>
      "00040D0000000146001400040C000000010C000413000000010400000000011400040C000000" <>
        "010C0004030000000104FFFFFFFF020800040B0000000100030E0004190000000106000403000000"
  }

  # nft 1.1.7 gives fib and xfrm other numbers.
  @newer_records %{
    "fib saddr . iif oifname" => "00041B000000010C000402000000010409000000",
    "ipsec in spnum 3 reqid" => "00041C0000000112000405000000010403000000020400000000"
  }

  if <<1::native-16>> == <<1::little-16>> do
    test "the record of a set's expression is nft's own" do
      for {words, hex} <- @records do
        {_text, set} = parsed(words)
        assert {words, Base.encode16(set.typeof.key)} == {words, hex}
      end
    end

    test "nft's record of a set, old or new, is written as the words it was made of" do
      for {words, hex} <- Enum.concat(@records, @newer_records) do
        {text, set} = parsed(words)
        set = %{set | typeof: %{key: Base.decode16!(hex)}}
        assert set |> Linx.NFT.format() |> IO.iodata_to_binary() =~ "typeof #{words}\n", text
      end
    end
  end

  defp parsed(words) do
    text = "table ip t { set s { typeof #{words}; } }"
    {:ok, ruleset} = Linx.NFT.parse(text)
    [{:ip, "t", table}] = Ruleset.tables(ruleset)
    {text, table.sets["s"]}
  end

  test "the name of an interface stands alone where its index is compared" do
    rule = &Linx.NFT.parse("table inet t { chain c { #{&1} accept; } }")

    for text <- [
          "iif 5-eth0",
          "iif != 1-eth0",
          "iif eth0-5 iif \"a\"-\"b\"",
          "iif > eth0",
          "meta sdif <= eth0",
          "fib saddr oif 1-eth0",
          "iif { 1-eth0 }",
          "iif { \"a\"-\"b\", 5 }",
          "iif . tcp dport { \"a\"-\"b\" . 5 }",
          "iif . tcp dport eth0 . 5",
          "iif vmap { 1-eth0 : accept }",
          "meta mark set iif map { 1-eth0 : 5 }"
        ] do
      assert {:error, %{message: message}} = rule.(text), text
      assert message =~ ~r/the index of (eth0|a) is not known here/, text
    end

    for text <- ["iif eth0", "iif != eth0", "iif { eth0, 5-7 }", "iif 1-5", "oif > lo"],
        do: assert({:ok, _} = rule.(text), text)

    set = &Linx.NFT.parse("table inet t { set s { type iface_index; #{&1} } }")
    assert {:error, _} = set.("flags interval; elements = { 1-eth0 };")
    assert {:ok, ruleset} = set.("flags interval; auto-merge; elements = { eth0, 5-7, 8, eth0 };")

    assert [table] = Map.values(ruleset.tables)

    assert table.sets["s"].elements ==
             [{:range, 5, 8}, {:iface, "eth0"}]
  end
end
