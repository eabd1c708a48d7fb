defmodule Linx.NFT.ParserTest do
  use ExUnit.Case, async: true

  alias Linx.NFT.{ParseError, Parser, Tokenizer}

  defp parse(text) do
    with {:ok, tokens} <- Tokenizer.tokenize(text), do: Parser.parse(tokens, source: text)
  end

  defp statements(rule) do
    {:ok, [{:table, :ip, "t", [{:chain, "c", [], [{:rule, statements, _, _}], _}], _}]} =
      parse("table t { chain c { #{rule} } }")

    statements
  end

  test "a table without a family is ip's" do
    assert {:ok, [{:table, :ip, "t", [], %{line: 1, column: 1}}]} = parse("table t { }")
  end

  test "newlines and semicolons separate alike" do
    strip = fn {:ok, [{:table, _, _, [{:chain, _, opts, rules, _}], _}]} ->
      {length(opts), length(rules)}
    end

    text =
      "table ip t { chain c { type filter hook input priority 0; policy drop; accept; drop; }; }"

    assert strip.(parse(text)) == strip.(parse(String.replace(text, "; ", "\n")))
  end

  test "operators have C's precedence" do
    [{:match, lhs, :eq, {:integer, 1, _}, _}] = statements("meta mark & 0xff | 1 ^ 2 == 1")
    assert {:binop, :pipe, {:binop, :amp, _, _, _}, {:binop, :caret, _, _, _}, _} = lhs
  end

  test "words of comparison are operators" do
    assert [{:match, _, :neq, _, _}, {:match, _, :lte, _, _}] =
             statements("tcp dport ne 22 tcp sport le 1024")
  end

  test "the same word is a header left of a match and a constant right of it" do
    assert [
             {:match, {:meta, :protocol, _}, :implicit, {:identifier, "ip", _}, _},
             {:match, {:payload, :ip, "saddr", _}, _, _, _}
           ] =
             statements("meta protocol ip ip saddr 10.0.0.1")
  end

  test "nat targets have an address, a port, or both" do
    assert [{:nat, :dnat, [addr: {:address, :ipv4, _, _}, port: {:integer, 80, _}], _, _}] =
             statements("dnat to 10.0.0.1:80")

    assert [{:nat, :redirect, [addr: nil, port: {:range, _, _, _}], _, _}] =
             statements("redirect to :80-90")

    assert [{:nat, :masquerade, [addr: nil, port: nil], [flags: [:random]], _}] =
             statements("masquerade random")
  end

  test "the catch-all, mappings and options of elements" do
    [{:vmap, _, {:set_inline, elements, _}, _}] =
      statements("ip saddr vmap { 10.0.0.1 timeout 1m : accept, * : drop }")

    assert [
             {:mapping, {:element, _, [timeout: 60_000], _}, {:verdict, :accept, _}, _},
             {:mapping, {:wildcard, _}, _, _}
           ] = elements
  end

  test "times are milliseconds" do
    alias Linx.NFT.Parser.Tokens
    assert Tokens.time("1d2h3m4s5ms") == {:ok, 93_784_005}
    assert Tokens.time("500ms") == {:ok, 500}
    assert Tokens.time("5x") == :error
  end

  test "errors say what was expected and what may be meant" do
    for {text, column, message} <- [
          {"table ip t { chain c { tcp dprt 22 } }", 28, "dport"},
          {"table ip t { chian c { } }", 14, "chain"},
          {"table inte t { }", 7, "inet"},
          {"table ip t { chain c { type filter hook input priority 0; policy dorp } }", 66,
           "drop"},
          {"table ip t { chain c { meta iifnam \"x\" } }", 29, "iifname"},
          {"table ip t { chain c { log level wran } }", 34, "warn"}
        ] do
      assert {:error, %ParseError{line: 1, column: ^column, message: found}} = parse(text)
      assert found =~ "did you mean #{message}?", found
    end
  end

  test "an unfinished text ends in an error at its end" do
    assert {:error, %ParseError{message: "unexpected end of input" <> _}} = parse("table ip t {")
    assert {:error, %ParseError{}} = parse("table ip t { chain c { tcp dport } }")
  end

  test "commands that describe no ruleset say so" do
    for verb <- ~w(list monitor rename reset) do
      assert {:error, %ParseError{message: message}} = parse("#{verb} ruleset")
      assert message =~ "does not describe a ruleset"
    end
  end

  test "nesting is bounded" do
    assert {:error, %ParseError{message: "nested more than" <> _}} =
             parse(String.duplicate("{", 100_000))

    assert {:error, %ParseError{message: "nested more than" <> _}} =
             parse("table ip t { chain c { meta mark " <> String.duplicate("(", 100_000))
  end
end
