defmodule Linx.NFT.StringsTest do
  # Strings and names: what Linx.NFT.parse/1 and nft(8) read alike is written, the rest is refused
  # with its place, and nothing else.
  use ExUnit.Case, async: true

  alias Linx.Netfilter.{Element, Expr, Object, Rule, Ruleset, Set}
  alias Linx.NFT
  alias Linx.NFT.{Formatter, ParseError, Tokenizer}
  alias Linx.Test.NftStrings

  doctest Formatter.Text

  describe "strings: :nft" do
    test "a backslash is a byte, a string goes on over the end of its line" do
      text = ~S(table ip t { chain c { accept comment "a\nb\"; }; })
      assert {:ok, ruleset} = NFT.parse(text, strings: :nft)
      assert comment(ruleset) == ~S(a\nb) <> "\\"
      assert {:error, %ParseError{message: "unterminated string" <> _}} = NFT.parse(text)

      assert {:ok, ruleset} =
               NFT.parse("table ip t { chain c { log prefix \"a\nb\" accept; }; }", strings: :nft)

      assert [%{data: %{prefix: "a\nb"}} | _] = hd(chain(ruleset).rules).expressions

      {:ok, tokens} = Tokenizer.tokenize("\"a\nbc\" x", strings: :nft)
      assert [{:string, "a\nbc", %{line: 1, column: 1}}, {:identifier, "x", meta}] = tokens
      assert meta == %{line: 2, column: 5}
    end

    test "bytes that are not UTF-8 stand in strings and comments, and nowhere else" do
      latin = "# caf\xE9\ntable ip t { chain c { accept comment \"\xE9\"; }; }"
      assert {:ok, ruleset} = NFT.parse(latin, strings: :nft)
      assert comment(ruleset) == "\xE9"

      assert {:error, %ParseError{line: 1, column: 7, message: message} = error} =
               NFT.parse("table \xE9 { }", strings: :nft)

      assert message == "the text is not valid UTF-8"
      assert Exception.message(error) =~ ~S(| table \xE9 { })
    end

    test "the byte that is not UTF-8 has a place" do
      text = "table ip t {\n  # caf\xE9\n}\n"
      assert {:error, %ParseError{line: 2, column: 8, message: message}} = NFT.parse(text)
      assert message == "the text is not valid UTF-8"
    end

    test "a NUL has no string" do
      for place <- ["comment \"a\0b\"", "log prefix \"a\0\""] do
        text = "table ip t { chain c { accept #{place}; }; }"

        assert {:error, %ParseError{message: "a string cannot hold a NUL byte"}} =
                 NFT.parse(text, strings: :nft)
      end
    end

    test "another value of an option is refused" do
      assert_raise ArgumentError, ~r/:escapes or :nft for :strings/, fn ->
        NFT.parse("", strings: :c)
      end

      assert_raise ArgumentError, ~r/:any or :declared for :names/, fn ->
        NFT.parse("", names: true)
      end

      assert_raise ArgumentError, fn -> NFT.parse("", string: :nft) end
      assert_raise ArgumentError, fn -> NFT.parse_file("/nonexistent", strings: :escapes) end
    end

    @tag :tmp_dir
    test "files, and what they include, are nft's own text", %{tmp_dir: dir} do
      path = Path.join(dir, "a.nft")
      File.write!(path, ~S(table ip t { chain c { include "b.nft"; }; }))
      File.write!(Path.join(dir, "b.nft"), ~S(accept comment "C:\new\") <> "\n")
      assert {:ok, ruleset} = NFT.parse_file(path)
      assert comment(ruleset) == ~S(C:\new) <> "\\"

      text = ~s(table ip t { chain c { include "#{dir}/b.nft"; }; })
      assert NFT.parse(text) == {:ok, ruleset}
    end
  end

  describe "the plugin" do
    test "keeps the strings of a file, and a table without a block" do
      for {text, laid_out} <- [
            {~S(table ip t{chain c{accept comment "a\";drop comment "b"}}),
             "table ip t {\n  chain c {\n    accept comment \"a\\\"\n    drop comment " <>
               "\"b\"\n  }\n}\n"},
            {"table inet t\ndelete  table inet t;table inet t{chain c{accept}}",
             "table inet t\ndelete table inet t\n\ntable inet t {\n  chain c {\n    " <>
               "accept\n  }\n}\n"},
            {"table  t", "table t\n"},
            {"table ip t{set s{type mark;include \"x.nft\"}}",
             "table ip t {\n  set s {\n    type mark\n    include \"x.nft\"\n  }\n}\n"},
            {"table ip t { comment \"a\nb\"; }\n", "table ip t {\n  comment \"a\nb\"\n}\n"}
          ] do
        assert Formatter.format(text, extension: ".nft") == laid_out
        assert Formatter.format(laid_out, extension: ".nft") == laid_out
      end
    end
  end

  describe "an interpolation inside quotes" do
    test "is an error at its place that says how" do
      for {text, column} <- [
            {~S(log prefix "pre #{name} post"), 17},
            {~S(accept comment "#{c}"), 17},
            {~S(jump "x#{y}"), 8},
            {~S(include "/etc/#{x}.nft"), 15},
            {~S(iifname "eth#{n}"), 13}
          ] do
        assert {:error, %ParseError{line: 1, column: ^column, message: message}} =
                 Tokenizer.tokenize(text, interpolation?: true)

        assert message =~ "without the quotes"
        assert message =~ ~S(\#{)
        assert {:ok, _} = Tokenizer.tokenize(text)
      end
    end

    test "is the two characters behind a backslash" do
      assert {:ok, [{:string, ~S(a #{b}), _}]} =
               Tokenizer.tokenize(~S("a \#{b}"), interpolation?: true)

      assert {:ok, [{:string, ~S(a \#{b}), _}]} = Tokenizer.tokenize(~S("a \#{b}"))
    end

    test "stops the compilation of a sigil" do
      code = ~S'''
      import Linx.NFT
      name = "x"
      ~NFT"""
      table inet t {
        chain c {
          log prefix "pre #{name} post"
        }
      }
      """
      '''

      error = assert_raise ParseError, fn -> Code.eval_string(code, [], file: "fw.ex") end
      assert {error.line, error.column} == {6, 21}
    end

    test "the whole string may be interpolated, dollars and all" do
      import NFT, only: [sigil_NFT: 2]
      name = "a$b #{1 + 1}"

      ruleset = ~NFT"""
      table ip t { chain c { log prefix #{"pre " <> name} } }
      """

      assert [%{data: %{prefix: "pre a$b 2"}}] = hd(chain(ruleset).rules).expressions
    end
  end

  test "a $ in a literal prefix names a variable, as for nft" do
    prefix = fn text ->
      NFT.parse(~s(define b = "q"\ntable ip t { chain c { log prefix "#{text}" } }))
    end

    assert {:ok, ruleset} = prefix.("a$b")
    assert [%{data: %{prefix: "aq"}}] = hd(chain(ruleset).rules).expressions

    for text <- ["a$c", "$", "$ b", "5$5", "$$b"] do
      assert {:error, %ParseError{line: 2}} = prefix.(text)
    end
  end

  describe "format/1" do
    test "says table, chain, rule and byte of what it cannot write" do
      for {comment, byte, offset} <- [
            {~S(x"y), "a quote (byte 0x22", 1},
            {"x\ny", "a control character (byte 0x0A", 1},
            {"\r", "a control character (byte 0x0D", 0},
            {"ab\e", "a control character (byte 0x1B", 2},
            {"\d", "a control character (byte 0x7F", 0},
            {~S(a\n), "a backslash (byte 0x5C", 1},
            {~S(a\\b), "a backslash (byte 0x5C", 1},
            {~S(a) <> "\\", "a backslash (byte 0x5C", 1},
            {"é\xE9", "a byte (byte 0xE9", 2}
          ] do
        message = refused(rules([[:accept], {[:drop], comment: comment}]))

        assert message =~
                 "table inet t, chain c, rule 1: the comment holds #{byte} at offset #{offset})"
      end
    end

    test "writes what both read alike" do
      texts = ["", "plain", ~S(C:\dir \x), "é – 漢", "#not a comment; {}", "$x \#{y}", "'"]

      for comment <- texts do
        ruleset = rules([{[:accept], comment: comment}])
        text = NFT.format(ruleset)
        assert NFT.parse(text) == {:ok, ruleset}
        assert NFT.parse(text, strings: :nft) == {:ok, ruleset}
      end
    end

    test "refuses a name that is no word of its own in nft" do
      for name <- [
            "a b",
            "1a",
            "-a",
            "é",
            "a\"b",
            "accept",
            "counter",
            "type",
            "a*",
            ".x",
            "last",
            ""
          ] do
        message = refused(chain_named(name))
        assert message =~ "table inet t, chain "
      end

      for name <- ~w(in input a-b a.b a/b _x A9) do
        ruleset = chain_named(name)
        assert NFT.parse(NFT.format(ruleset)) == {:ok, ruleset}
      end
    end

    test "of a part says what it cannot write, and inspect/2 shows the reason" do
      ruleset = rules([{[:accept], comment: ~S(a"b)}])

      for part <- [chain(ruleset), hd(chain(ruleset).rules)] do
        assert_raise ArgumentError, ~r/the comment holds a quote/, fn -> NFT.format(part) end
        assert is_binary(inspect(part))
      end

      assert inspect(ruleset) =~ "the comment holds a quote"
    end

    test "writes the strings of a set as long as they are" do
      for text <- [
            ~S(table ip t { chain c { osf version { "Windows:XP", "MacOs:Sierra" } accept; }; }),
            ~S(table inet t { map m { typeof osf name : ct mark; elements = { "Linux" : 5 }; }; })
          ] do
        assert {:ok, ruleset} = NFT.parse(text)
        assert NFT.parse(NFT.format(ruleset)) == {:ok, ruleset}
      end
    end

    test "a name that ends in an asterisk has no backslash, as in nft" do
      rule = fn name ->
        Rule.build!([
          Expr.meta(:iifname),
          Expr.cmp(:eq, name <> String.duplicate(<<0>>, 16 - byte_size(name))),
          :accept
        ])
      end

      for {text, name} <- [
            {"a\\*", "a*"},
            {"\\*\\*", "**"},
            {"a\\b\\*", "ab*"},
            {"a\\*b", "a\\*b"}
          ] do
        {:ok, parsed} =
          NFT.parse(~s(table ip t { chain c { iifname "#{text}" accept; }; }), strings: :nft)

        assert parsed.tables[{:ip, "t"}].chains["c"].rules == [%{rule.(name) | chain: "c"}]
      end

      assert NFT.format(rule.("**")) == ~S(meta iifname "*\*" accept)

      for name <- ["\\*", "\\**", "a\\b*"],
          do: assert_raise(ArgumentError, ~r/backslash/, fn -> NFT.format(rule.(name)) end)
    end

    test "counts the asterisk of an interface pattern as nft does" do
      for {length, ok?} <- [{14, true}, {15, false}] do
        stem = String.duplicate("e", length)
        ruleset = rules([[Expr.meta(:iifname), Expr.cmp(:eq, stem), :accept]])
        if ok?, do: assert(NFT.format(ruleset) =~ stem <> "*"), else: refused(ruleset)
      end
    end

    test "names where it is not a rule that cannot be written" do
      evil = ~S(a"b)
      base = Ruleset.add_table!(Ruleset.new(), :ip, "t")
      element = %Element{key: 5, comment: evil}
      helper = Object.new!(:ct_helper, "h", %{type: evil, protocol: :tcp, l3proto: :ip})

      for {ruleset, place} <- [
            {Ruleset.add_table!(Ruleset.new(), :ip, "t", comment: evil),
             "table ip t: the comment"},
            {Ruleset.add_chain!(base, "t", "c", comment: evil),
             "table ip t, chain c: the comment"},
            {Ruleset.add_set!(base, "t", Set.new!("s", key_type: :mark, comment: evil)),
             "table ip t, set s: the comment"},
            {Ruleset.add_set!(base, "t", Set.new!("s", key_type: :mark, elements: [element])),
             "table ip t, set s: the comment"},
            {Ruleset.add_object!(base, "t", Object.new!(:counter, "n", %{}, comment: evil)),
             "table ip t, counter n: the comment"},
            {Ruleset.add_object!(base, "t", helper), "table ip t, ct helper h: holds a quote"},
            {Ruleset.add_object!(base, "t", Object.new!(:secmark, "m", %{context: evil})),
             "table ip t, secmark m: holds a quote"},
            {rules([[Expr.log(prefix: evil)]]), "table inet t, chain c, rule 0: the log prefix"},
            {rules([[Expr.log(prefix: "5$")]]), "rule 0: the log prefix holds a dollar sign"},
            {rules([[Expr.objref(:counter, evil)]]), "table inet t, chain c, rule 0: holds"},
            {rules([[{:jump, "a b"}]]), "table inet t, chain c, rule 0: the name"},
            {rules([[Expr.flow_offload("a b")]]), "table inet t, chain c, rule 0: the name"},
            {rules([[Expr.meta(:iifname), Expr.cmp(:eq, <<"a\"b", 0::104>>), :accept]]),
             "table inet t, chain c, rule 0: the interface name"},
            {rules([[Expr.meta(:iifname), Expr.cmp(:eq, <<"a\\">>), :accept]]),
             "table inet t, chain c, rule 0: the interface name"},
            {rules([[Expr.meta(:iifname), Expr.cmp(:eq, <<"a", 0, "b", 0::104>>), :accept]]),
             "table inet t, chain c, rule 0: \"a\" has bytes behind its end"}
          ] do
        assert refused(ruleset) =~ place
      end
    end

    test "makes one rule of a comment that would be two, or raises" do
      evil = ~S(x"; tcp dport 23 accept #)
      text = "table inet t { chain c { tcp dport 22 drop comment #{inspect(evil)}; }; }"
      {:ok, ruleset} = NFT.parse(text)
      assert comment(ruleset) == evil

      assert refused(ruleset) =~
               "chain c, rule 0: the comment holds a quote (byte 0x22 at offset 1)"
    end

    test "random strings in every place: parse(format(x)) == {:ok, x}, or it is refused" do
      count = if Linx.Test.Host.slow?(), do: 100_000, else: 4_000
      :rand.seed(:exsss, {14, 3, 2026})
      tally = NftStrings.check(count)
      assert tally.written + tally.refused == count
      # Both happen often enough to mean something.
      assert tally.written > div(count, 10)
      assert tally.refused > div(count, 10)
    end
  end

  defp chain(ruleset),
    do: ruleset.tables |> Map.values() |> hd() |> Map.fetch!(:chains) |> Map.fetch!("c")

  defp comment(ruleset), do: hd(chain(ruleset).rules).comment

  defp refused(ruleset),
    do: assert_raise(ArgumentError, fn -> NFT.format(ruleset) end).message

  defp chain_named(name) do
    chain = struct!(Linx.Netfilter.Chain, name: name, table: "t")
    table = %{Linx.Netfilter.Table.new!(:inet, "t") | chains: %{name => chain}}
    Ruleset.put_table(Ruleset.new(), table)
  end

  defp rules(list) do
    ruleset = Ruleset.new() |> Ruleset.add_table!(:inet, "t") |> Ruleset.add_chain!("t", "c")

    Enum.reduce(list, ruleset, fn
      {exprs, opts}, ruleset -> Ruleset.add_rule!(ruleset, "t", "c", exprs, opts)
      exprs, ruleset -> Ruleset.add_rule!(ruleset, "t", "c", exprs)
    end)
  end

  test "a place is made for what cannot be written alone" do
    alias Linx.NFT.Formatter.Text
    place = fn -> throw(:made) end

    assert Text.at(place, fn -> Text.quoted("eth0") end) == ["\"", "eth0", "\""]
    assert catch_throw(Text.at(place, fn -> Text.quoted("\n") end)) == :made

    assert {:unwritable, ["here"], _} =
             catch_throw(Text.at(fn -> "here" end, fn -> Text.quoted("\n") end))
  end
end
