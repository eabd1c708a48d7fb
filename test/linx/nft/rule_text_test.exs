defmodule Linx.NFT.RuleTextTest do
  # Rules as lines of text and token by token: one value, or one error at one place.
  use ExUnit.Case, async: true

  alias Linx.NFT
  alias Linx.NFT.{Compiler, Parser, Tokenizer}
  alias Linx.NFT.Tokenizer.RuleText

  defp fast(source, strings \\ :nft), do: read(source, strings: strings, element_text: 1)
  defp slow(source, strings \\ :nft), do: read(source, strings: strings)

  defp read(source, options) do
    context = [file: "nofile", source: source] ++ Keyword.take(options, [:element_text])

    with {:ok, tokens} <- Tokenizer.tokenize(source, options),
         {:ok, items} <- Parser.parse(tokens, context),
         do: Compiler.compile(items, context)
  end

  defp runs(source) do
    {:ok, tokens} = Tokenizer.tokenize(source, element_text: 1, strings: :nft)
    for {:rule_text, text, _} <- tokens, do: text
  end

  defp chain(lines, family \\ "inet") do
    """
    define port = 443
    table #{family} t {
      set ports { type inet_service; elements = { 1, 2 }; }
      chain other {
      }
      chain c {
    #{lines}
      }
    }
    """
  end

  # {family, a rule with its values in angle brackets}
  @shapes [
    inet: "tcp dport <p> accept",
    inet: "tcp dport != <p> counter accept;",
    inet: "\ttcp dport > <p> accept # <s>",
    inet: "udp sport <p> udp dport <p> counter drop",
    inet: "meta l4proto <b> th dport <p> accept",
    inet: "ip protocol <b> ip saddr <a> accept",
    inet: "ip saddr <a> ip daddr <a> tcp dport <p> counter accept",
    inet: "ip ttl <b> ip saddr <a> accept",
    inet: "ip saddr <c> counter accept",
    inet: "ip saddr != <c> ip daddr <c> accept",
    inet: "ip dscp <b> tcp dport <p> accept",
    inet: "ip6 saddr <6> ip6 hoplimit <b> log prefix \"<s>\" drop",
    inet: "tcp flags <b> tcp dport <p> accept",
    inet: "tcp flags & (syn | ack) == syn tcp dport <p> accept",
    inet: "tcp sequence <m> accept",
    inet: "icmp type <t> icmp code <b> accept",
    inet: "meta mark <m> ip daddr <a> log prefix \"<s> \" accept",
    inet: "log prefix <i> iifname \"<i>\" accept",
    inet: "log prefix \"<s>\" group <b> accept",
    inet: "meta mark set <m> accept",
    inet: "ct state new,established meta mark <m> accept",
    inet: "ct mark <m> tcp dport <p> accept",
    inet: "iifname \"<i>\" oifname <i> udp sport 1024-65535 drop",
    inet: "iifname \"<i>*\" accept",
    inet: "iif \"<i>\" comment <i>",
    inet: "iif \"<i>\" accept comment \"<s>\"",
    inet: "tcp dport <p> limit rate <b>/second burst <b> packets accept",
    inet: "tcp dport { <p>, 22 } ip saddr <a> accept",
    inet: "tcp dport @ports ip saddr <a> accept",
    inet: "tcp dport <p> accept comment \"<s>\"",
    inet: "udp dport 4789 vxlan ip saddr <a> accept",
    inet: "tcp option maxseg size <p> accept",
    inet: "tcp dport <p> jump other",
    inet: "tcp dport $port ip saddr <a> accept",
    inet: "add @ports { tcp dport }  ip saddr <a>",
    ip: "ip saddr <a> ip protocol tcp dnat to 10.0.0.1:<p>",
    ip: "ip saddr <a> tcp dport <p> snat to 10.0.0.1",
    ip6: "ip6 saddr <6> tcp dport <p> accept",
    bridge: "ether saddr <x> ether daddr <x> ip saddr <a> accept",
    bridge: "vlan id <b> vlan pcp 3 ip daddr <a> accept",
    netdev: "ip daddr <a> udp dport <p> drop",
    arp: "arp operation <b> arp saddr ip <a> accept"
  ]

  @letters %{
    "p" => ~w(22 0 65535 0x8100 ssh 8 2054 65536 0x0800 022 00 12345678901234567890 1: 2:3),
    "a" =>
      ~w(10.0.0.1 192.168.7.255 0.0.0.0 10.0.0.0/8 1.2.3.4/32 010.0.0.1 1.2.3.256 1.2.3 1.2.3.4.5
         9.9.9.9/0 1.2.3.4/),
    "c" => ~w(10.0.0.0/8 10.1.0.0/16 10.128.0.0/9 11.128.0.0/9 1.2.3.4/32 1.2.3.4/33 9.8.7.6/08
         9.8.7.6/24),
    "b" => ~w(6 17 1 58 0 255 132 256 "no" 0x1f),
    "m" => ~w(1 0xffffffff 77 4294967296 0),
    "i" => ~w(eth0 wan a-very-long-name lo w* eth0.5),
    "x" => ~w(00:11:22:33:44:55 ff:ff:ff:ff:ff:ff 0:1:2:3:4:5 aa:bb),
    "6" => ~w(2001:db8::1 :: fe80::/10 2001:db8::/32 ::ffff:1.2.3.4 dead:beef::1 a::b ::1/128),
    "s" => ["one", "two three", "a $port b", "a $ b", "x # y", "é", "", "a;b", "a\tb"],
    "t" => ~w(8 0 echo-request echo-reply 135 3)
  }

  defp values(shape) do
    Regex.replace(~r/<(.)>/, shape, fn _, letter -> Enum.random(@letters[letter]) end)
  end

  defp rules({:ok, ruleset}) do
    [table] = Map.values(ruleset.tables)
    table.chains["c"].rules
  end

  test "lines of one shape are the rules that their tokens give" do
    :rand.seed(:exsss, {4, 5, 6})

    for {family, shape} <- @shapes do
      family = Atom.to_string(family)
      texts = for _ <- 1..16, uniq: true, do: values(shape)
      {good, bad} = Enum.split_with(texts, &match?({:ok, _}, &1 |> chain(family) |> slow()))
      assert good != [], shape

      # Each line behind templates of its shape, in another order each time.
      source =
        Enum.map_join(1..3, "\n", fn _ ->
          Enum.map_join(Enum.shuffle(good), "\n", &("    " <> &1))
        end)

      source = chain(source, family)
      assert fast(source) == slow(source), shape
      assert NFT.parse(source, strings: :nft) == slow(source), shape

      # A mistake behind them has its own message and place.
      for line <- bad do
        source = chain(Enum.join(good ++ good ++ good ++ [line], "\n"), family)
        assert {:error, _} = fast(source)
        assert NFT.parse(source, strings: :nft) == slow(source), line
      end
    end
  end

  test "lines of all shapes among each other" do
    :rand.seed(:exsss, {7, 8, 9})
    shapes = for {:inet, shape} <- @shapes, do: shape

    lines =
      for(_ <- 1..800, do: values(Enum.random(shapes)))
      |> Enum.filter(&match?({:ok, _}, slow(chain(&1))))

    source = chain(Enum.join(lines, "\n"))
    assert length(lines) > 250
    assert rules(fast(source)) == rules(slow(source))
    assert length(rules(fast(source))) == length(lines)
  end

  test "a value at its edge behind two lines of its shape" do
    long = String.duplicate("x", 128)

    for {lines, edges} <- [
          {["iifname \"a\" drop", "iifname \"b\" drop"],
           ["\"c*\"", "\"*\"", "\"abcdefghijklmno\"", "\"abcdefghijklmnop\"", "\"\"", "\"c d\""]},
          {["log prefix \"a\" drop", "log prefix \"b\" drop"],
           ["\"to $port \"", "\"$none\"", "\"#{long}\"", "\"\"", "\"{x}\"", "\"c # d\""]},
          {["tcp dport 1 comment \"a\"", "tcp dport 1 comment \"b\""],
           ["\"#{long}\"", "\"x#{long}\"", "\"$port\"", "\"\"", "\"é\""]},
          {["tcp dport 1 drop", "tcp dport 2 drop"],
           ["65535", "65536", "99999999999999999", "184467440737095516160", "3#x", "3 # x"]},
          {["ip saddr 1.2.3.0/24 drop", "ip saddr 1.2.4.9/24 drop"],
           [
             "1.2.3.4/32",
             "1.2.3.4/33",
             "1.2.3.4/0",
             "1.2.3.4/16",
             "1.2.3.256/24",
             "1.2.3.1000/24"
           ]},
          {["ip saddr 1.2.3.4 drop", "ip saddr 1.2.3.5 drop"],
           ["1.2.3.256", "1.2.3.300", "01.2.3.4", "1.02.3.4", "1.2.3.04", "1.2.3.4.5", "7"]}
        ] do
      [first | _] = lines
      [value] = Regex.run(~r/"a"|1\.2\.3\.[04](?:\/24)?|(?<=dport )1(?= drop)/, first)

      for edge <- edges do
        edge = String.replace(first, value, edge, global: false)
        source = chain(Enum.join(lines ++ lines ++ [edge, first], "\n"))

        case {fast(source), slow(source)} do
          {{:error, _}, {:error, _}} -> :ok
          {found, wanted} -> assert found == wanted, edge
        end
      end
    end

    # An open value behind one of a set, which is closed.
    lines = for n <- ~w(1 2 3 4), do: "tcp dport { #{n}, 9 } tcp sport #{n} drop"
    source = chain(Enum.join(lines ++ lines, "\n"))
    assert fast(source) == slow(source)
  end

  test "a word in the place of a literal is no value of the template" do
    for lines <- [
          [
            "iif \"a\" accept comment a",
            "iif \"b\" accept comment a",
            "iif \"c\" accept comment a"
          ],
          ["log prefix a iif \"a\"", "log prefix a iif \"b\"", "log prefix a iif \"c\""],
          ["log prefix a queue-threshold 4", "log prefix a group 4", "log prefix a group 5"],
          [
            "tcp dport 1 limit rate 1/second",
            "tcp dport 2 limit rate 2/second",
            "tcp dport 2 limit rate 3/second"
          ],
          [
            "ip saddr 1.2.3.4 tcp dport { 1 }",
            "ip saddr 1.2.3.4 tcp dport { 2 }",
            "ip saddr 1.2.3.5 tcp dport { 2 }"
          ],
          ["quota 1 mbytes accept", "quota 2 mbytes accept", "quota 3 mbytes accept"]
        ] do
      source = chain(Enum.join(lines ++ lines ++ lines, "\n"))
      assert fast(source) == slow(source)
    end
  end

  test "the lines that stay text" do
    rule = "    tcp dport 22 accept\n"

    for {lines, runs} <- [
          {rule <> rule, [rule <> rule]},
          {"    type filter hook input priority 0; policy drop;\n" <> rule, [rule]},
          {"    type filter hook input priority 0\n    policy drop\n" <> rule, [rule]},
          {"    comment \"x\"\n" <> rule, [rule]},
          {rule <> "    define x = 1\n" <> rule, [rule, rule]},
          {rule <> "    tcp dport {\n 22,\n 23 } accept\n" <> rule, [rule, rule]},
          {rule <> "    ct state new,\n established accept\n" <> rule, nil},
          {rule <> "    tcp dport 22 \\\n accept\n" <> rule, [rule, rule]},
          {rule <> "    /* tcp */ accept\n" <> rule, [rule, rule]},
          {rule <> "    jump { accept; }\n" <> rule, [rule, rule]},
          {rule <> "    log prefix \"a\n b\"\n" <> rule, nil},
          {rule <> "    # }\n" <> rule, [rule, rule]},
          {rule <> "    tcp dport { 22 } accept;  \r\n\n" <> rule, nil}
        ] do
      source = "table inet t {\n  chain c {\n" <> lines <> "  }\n}\n"
      if runs, do: assert(runs(source) == runs, source)
      assert NFT.parse(source, strings: :nft) == slow(source), source
      assert NFT.parse(source) == slow(source, :escapes), source
      # Long enough for the lines to be text in parse/1 too.
      long = String.replace(source, rule, String.duplicate(rule, 40))
      assert NFT.parse(long, strings: :nft) == slow(long), long
      assert NFT.parse(long) == slow(long, :escapes), long
    end
  end

  test "a rule placed by index counts the rules of a chain of text" do
    source = """
    table inet t {
      chain c {
    #{Enum.map_join(1..40, "\n", &"    tcp dport #{&1} accept")}
      }
    }
    insert rule inet t c index 3 udp dport 1 drop
    """

    assert {:ok, _} = slow(source)
    assert NFT.parse(source, strings: :nft) == slow(source)
  end

  test "variables of a chain of text are those of its place" do
    line = fn n -> "    tcp dport $p ip saddr 10.0.0.#{n} log prefix \"to $p \" accept\n" end
    lines = Enum.map_join(1..40, line)

    source =
      "table inet t {\n  chain c {\n    define p = 1\n#{lines}    redefine p = 2\n#{lines}  " <>
        "}\n}\n"

    assert length(runs(source)) == 2
    assert fast(source) == slow(source)
  end

  test "an included file of rules" do
    dir = Path.join(System.tmp_dir!(), "linx-rule-text-#{System.unique_integer([:positive])}")
    File.mkdir_p!(dir)
    on_exit(fn -> File.rm_rf!(dir) end)
    lines = Enum.map_join(1..60, "\n", &"    ip saddr 10.0.0.#{&1} tcp dport #{&1} accept")
    table = "table inet t {\n  chain c {\n#{lines}\n  }\n}\n"
    main = Path.join(dir, "main.nft")
    File.write!(main, "include \"rules.nft\"\n")
    File.write!(Path.join(dir, "rules.nft"), table)
    assert NFT.parse_file(main) == slow(table)

    File.write!(Path.join(dir, "rules.nft"), String.replace(table, "dport 50 ", "dprt 50 "))
    assert {:error, error} = NFT.parse_file(main)
    assert {Path.basename(error.file), error.line} == {"rules.nft", 52}
  end

  test "random lines are taken apart as the tokenizer has them" do
    :rand.seed(:exsss, {1, 2, 3})

    words =
      ~w[tcp dport accept 22 0 007 10.0.0.1 10.0.0.0/8 ::1 fe80::/64 "a" "b c" "" { } ( ) , ; :
         . / - != 1-2 0x1f #x aa:bb:cc:dd:ee:ff a:b 1: @s $v é "é" * eth* \t]

    for _ <- 1..1500 do
      line =
        Enum.map_join(1..:rand.uniform(8), fn _ ->
          Enum.random(words) <> Enum.random(["", " ", " "])
        end)

      case RuleText.next(line <> "\nrest") do
        {shape, values, size, "rest"} -> assert_tokens(binary_part(line, 0, size), shape, values)
        {:other, ^line, "rest"} -> :ok
        {:blank, "rest"} -> assert line =~ ~r/^\s*(#.*)?$/u
      end
    end
  end

  # Each literal of the shape is a token of the line.
  defp assert_tokens(line, shape, values) do
    case Tokenizer.tokenize(line, strings: :nft) do
      {:error, _} ->
        :ok

      {:ok, tokens} ->
        kinds = Enum.reject(shape, &is_binary/1)
        assert length(kinds) == length(values)

        for {kind, value} <- Enum.zip(kinds, values) do
          assert Enum.any?(tokens, &token?(&1, kind, value)), "#{line}: #{inspect({kind, value})}"
        end
    end
  end

  defp token?({:ipv4, raw, _}, :ipv4, n), do: number(raw) == n

  defp token?({:cidr_v4, raw, _}, bits, n) when is_integer(bits) do
    [address, length] = String.split(raw, "/")
    {number(address), String.to_integer(length)} == {n, bits}
  end

  defp token?({:cidr_v6, raw, _}, {:cidr_v6, _bits}, value), do: raw == value
  defp token?({kind, value, _}, kind, value), do: true
  defp token?(_token, _kind, _value), do: false

  defp number(raw) do
    case :inet.parse_strict_address(String.to_charlist(raw)) do
      {:ok, {a, b, c, d}} -> a * 0x1000000 + b * 0x10000 + c * 0x100 + d
      {:error, :einval} -> nil
    end
  end
end
