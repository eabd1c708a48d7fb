defmodule Linx.NFT.HostileTest do
  # Text that nobody means well by: every one ends in an error or a ruleset, soon, in bounded
  # memory, and makes no atom.
  use ExUnit.Case, async: true

  alias Linx.NFT
  alias Linx.NFT.ParseError

  @size 100_000

  defp rule(text), do: "table ip t {\n chain c {\n#{text}\n }\n}\n"
  defp many(text, n \\ @size), do: String.duplicate(text, n)

  # In a process whose heap may hold some hundred times the text, no more: 128 MB.
  defp parse(text) do
    words = div(128_000_000, :erlang.system_info(:wordsize))

    task =
      Task.async(fn ->
        Process.flag(:max_heap_size, %{size: words, kill: true, error_logger: false})
        NFT.parse(text)
      end)

    Task.await(task, :infinity)
  end

  defp refused(text) do
    assert {:error, %ParseError{message: message, line: line, column: column}} = parse(text)
    assert line >= 1 and column >= 1
    assert byte_size(message) <= 2_000
    message
  end

  test "nesting without end" do
    assert refused(many("{")) =~ "nested"
    assert refused(rule("meta mark " <> many("("))) =~ "nested"
    assert refused("table ip t { " <> many("chain c { ")) =~ "nested"
    refused("define x = " <> many("{"))
  end

  test "what is never closed" do
    assert refused("/* " <> many("x ")) =~ "unterminated comment"
    assert refused(many("/*")) =~ "unterminated comment"
    assert refused(rule("log prefix \"" <> many("a"))) =~ "unterminated string"
    refused("table ip t { chain c {")
  end

  test "numbers of a hundred thousand digits" do
    for digits <- [many("9"), "0x" <> many("f"), "0b" <> many("1"), "0" <> many("7")] do
      refused(rule("tcp dport " <> digits))
      refused(rule("ip saddr 10.0.0.0/" <> digits))
      refused(rule("limit rate " <> digits <> "/second"))
      refused("table ip t { set s { type ipv4_addr; timeout #{digits}s; } }")
      refused("table ip t { chain c { type filter hook input priority #{digits}; } }")
    end

    refused(rule("tcp dport 22-" <> many("9", 500)))
    refused(rule("meta mark set 1 << 4000000000"))
  end

  test "a time that no counter holds" do
    refused("table ip t { set s { type ipv4_addr; timeout 999999999999999999999s; } }")
    refused("table ip t { set s { type ipv4_addr; timeout #{many("1d", 50)}; } }")
  end

  test "words and strings of any length" do
    refused("table ip " <> many("a") <> " {}")
    refused(rule(many("a")))
    refused(rule("iifname \"" <> many("*") <> "\""))
    refused(rule("log prefix \"" <> many("a") <> "\""))
    refused(rule("counter comment \"" <> many("a") <> "\""))
    refused(rule("meta time \"" <> many("2") <> "\""))
    refused(rule("ip saddr " <> many("1.")))
    refused(rule("ip6 saddr " <> many("a:")))
    assert {:ok, _} = parse("# " <> many("x"))
  end

  test "separators and signs" do
    for sign <- ["\n", ";", "\\\n"], do: assert({:ok, _} = parse(many(sign)))
    for sign <- ["$", "@", "}", ")", ",", "-", "\"", "#\n{"], do: refused(rule(many(sign)))
  end

  test "bytes that are no text" do
    assert refused(<<255, 254, 253>>) =~ "UTF-8"
    assert refused(rule("log prefix \"" <> <<0xFF>> <> "\"")) =~ "UTF-8"
    refused(<<0>>)
    refused("table ip \"a\0b\" {}")
  end

  test "variables that refer to themselves or grow without end" do
    assert refused("define a = $a\n" <> rule("tcp dport $a")) =~ "$a"
    assert refused("define a = $b\ndefine b = $a\n") =~ "$b"

    doubling = for n <- 1..60, do: "define a#{n} = { $a#{n - 1}, $a#{n - 1} }\n"
    text = "define a0 = { 1, 2 }\n#{doubling}" <> rule("tcp dport $a60")
    assert refused(text) =~ "holds more than"

    # One after the other they are as many as there are lines.
    chain = for n <- 1..5_000, do: "define a#{n} = $a#{n - 1}\n"
    assert {:ok, _} = parse("define a0 = 1\n#{chain}" <> rule("tcp dport $a5000"))
  end

  test "operators and parts in a row" do
    assert {:ok, _} = parse(rule("meta mark set meta mark" <> many(" | 1", 10_000)))
    refused(rule("ip saddr" <> many(" . ip daddr", 10_000) <> " @x"))
  end

  test "no word of a text becomes an atom" do
    text = fn prefix ->
      for n <- 1..200 do
        w = "#{prefix}#{n}"

        "table ip #{w} { set #{w} { type ipv4_addr; }\n chain #{w} { jump #{w}a\n ip saddr " <>
          "@#{w} iifname \"#{n}#{prefix}\" counter comment \"#{w}\"\n }\n counter #{w} { }\n }\n"
      end
      |> IO.iodata_to_binary()
    end

    wrong = fn prefix ->
      for word <- [
            "#{prefix}x 1",
            "tcp #{prefix}y 1",
            "meta #{prefix}z 1",
            "tcp dport #{prefix}w"
          ],
          do: rule(word)
    end

    words = fn prefix ->
      assert {:ok, ruleset} = NFT.parse(text.(prefix))
      assert {:ok, ^ruleset} = NFT.parse(NFT.format(ruleset))
      for text <- wrong.(prefix), do: assert({:error, _} = NFT.parse(text))
    end

    # The first run loads modules, which has atoms of its own.
    words.("hostile")
    prefix = "unseen#{System.unique_integer([:positive])}"
    words.(prefix)

    for n <- [1, 200], suffix <- ["", "a"] do
      assert_raise ArgumentError, fn -> String.to_existing_atom("#{prefix}#{n}#{suffix}") end
    end

    for suffix <- ~w(x y z w) do
      assert_raise ArgumentError, fn -> String.to_existing_atom(prefix <> suffix) end
    end
  end

  test "scripts of many commands read in the order that they give" do
    n = 20_000
    head = "add table ip t\nadd chain ip t c\nadd set ip t s { type inet_service; }\n"
    inserts = for port <- 1..n, do: "insert rule ip t c tcp dport #{port}\n"
    elements = for port <- 1..n, do: "add element ip t s { #{port} }\n"
    last = "add rule ip t c accept\ninsert rule ip t c index 1 drop\n"
    assert {:ok, ruleset} = NFT.parse(IO.iodata_to_binary([head, inserts, elements, last]))
    table = ruleset.tables[{:ip, "t"}]
    assert table.sets["s"].elements == Enum.to_list(1..n)
    rules = table.chains["c"].rules
    assert length(rules) == n + 2
    ports = for %{expressions: [_, %{data: %{data: <<port::16>>}}]} <- rules, do: port
    assert ports == Enum.to_list(n..1//-1)
    assert Linx.Netfilter.Rule.verdict(Enum.at(rules, 1)).kind == :drop
    assert Linx.Netfilter.Rule.verdict(List.last(rules)).kind == :accept
  end
end
