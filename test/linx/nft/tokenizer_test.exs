defmodule Linx.NFT.TokenizerTest do
  use ExUnit.Case, async: true

  alias Linx.NFT.{ParseError, Tokenizer}

  doctest Tokenizer

  defp tokens(text, opts \\ []) do
    {:ok, tokens} = Tokenizer.tokenize(text, opts)

    Enum.map(tokens, fn
      {kind, value, _} -> {kind, value}
      {kind, _} -> kind
    end)
  end

  test "numbers are decimal, hexadecimal, binary and octal" do
    assert tokens("10 0x1F 0b11 017 0") == for(n <- [10, 31, 3, 15, 0], do: {:integer, n})
  end

  test "a range and a rate are three tokens, a word with a dash is one" do
    assert tokens("22-25") == [{:integer, 22}, :dash, {:integer, 25}]
    assert tokens("5/minute") == [{:integer, 5}, :slash, {:identifier, "minute"}]
    assert tokens("echo-request") == [{:identifier, "echo-request"}]
    assert tokens("kbytes/second") == [{:identifier, "kbytes/second"}]
  end

  test "addresses end where they end" do
    assert tokens("10.0.0.1:80") == [{:ipv4, "10.0.0.1"}, :colon, {:integer, 80}]
    assert tokens("10.0.0.1-10.0.0.9") == [{:ipv4, "10.0.0.1"}, :dash, {:ipv4, "10.0.0.9"}]

    assert tokens("[fe80::1]:80") == [
             :lbracket,
             {:ipv6, "fe80::1"},
             :rbracket,
             :colon,
             {:integer, 80}
           ]

    assert tokens("::/0") == [{:cidr_v6, "::/0"}]
    assert tokens("::ffff:1.2.3.4") == [{:ipv6, "::ffff:1.2.3.4"}]
    assert tokens("300.1.1.1") |> hd() != {:ipv4, "300.1.1.1"}
  end

  test "words that look like the beginning of an address stay words" do
    assert tokens("fe80 add dead-beef cafe.x") ==
             for(w <- ~w(fe80 add dead-beef cafe.x), do: {:identifier, w})
  end

  test "handles, times, wildcards and variables" do
    assert tokens("1:aa 1d2h eth* $lan") ==
             [
               {:classid, "1:aa"},
               {:identifier, "1d2h"},
               {:identifier, "eth*"},
               {:variable, "lan"}
             ]
  end

  test "positions count lines and columns, across comments and continuations" do
    {:ok, tokens} = Tokenizer.tokenize("a /* x\n y */ b \\\n  c # z\n\"s\" d")

    places =
      for {kind, value, meta} <- tokens,
          kind in [:identifier, :string],
          do: {value, meta.line, meta.column}

    assert places == [{"a", 1, 1}, {"b", 2, 7}, {"c", 3, 3}, {"s", 4, 1}, {"d", 4, 5}]
  end

  test "comments are kept when asked for" do
    assert tokens("a # one\n/* two */ b", comments: true) ==
             [
               {:identifier, "a"},
               {:comment, "# one"},
               :stmt_sep,
               {:comment, "/* two */"},
               {:identifier, "b"}
             ]
  end

  test "an interpolation ends at its own brace" do
    for source <- ["%{a: 1}[:a]", ~S|"}" <> "{"|, ~S|f("#{x}")|, "?}", "'}'", "[1, {2}]"] do
      assert tokens("a \#{" <> source <> "} b", interpolation?: true) ==
               [{:identifier, "a"}, {:elixir_expr, source}, {:identifier, "b"}]
    end
  end

  test "without interpolation #\{ begins a comment" do
    assert tokens("a \#{b}") == [{:identifier, "a"}]
  end

  test "what does not end is an error where it begins" do
    for {text, column} <- [{"ab \"cd", 4}, {"ab /* cd", 4}, {"ab \#{cd", 4}] do
      assert {:error, %ParseError{line: 1, column: ^column, message: "unterminated" <> _}} =
               Tokenizer.tokenize(text, interpolation?: true)
    end
  end

  test "bytes that are no text are refused" do
    assert {:error, %ParseError{message: "the text is not valid UTF-8"}} =
             Tokenizer.tokenize(<<"tcp ", 0xFF>>)
  end
end
