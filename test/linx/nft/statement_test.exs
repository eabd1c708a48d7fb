defmodule Linx.NFT.StatementTest do
  use ExUnit.Case, async: true

  alias Linx.NFT
  alias Linx.NFT.Formatter.Source
  alias Linx.NFT.{Object, Statement}

  # An element can hold `ct count` alone of the statements that begin with `ct`.
  test "a ct statement that an element or a set cannot hold is refused where it stands" do
    for {text, column, message} <- [
          {"table ip t { set s { type mark; elements = { 1 ct mark 2 }; }; }", 48,
           "unexpected ct, expected ',' or '}' after an element"},
          {"table ip t { set s { type mark; ct mark; }; }", 33,
           "unexpected ct, expected an attribute of the set"},
          {"table ip t { chain c { mark { 1 ct state }; }; }", 33,
           "unexpected ct, expected ',' or '}' after an element"},
          {"table ip t { set s { type mark; elements = { 1 ct helper set \"h\" }; }; }", 48,
           "an object by name cannot stand here"}
        ] do
      assert {:error, %{line: 1, column: ^column, message: ^message}} = NFT.parse(text)
    end
  end

  test "every kind of object is declared in a block and by a command without a verb" do
    for {words, body} <- [
          {"counter", "packets 1 bytes 2"},
          {"quota", "over 5 bytes"},
          {"limit", "rate 5/second"},
          {"ct helper", ~s(type "ftp" protocol tcp)},
          {"ct timeout", "protocol udp"},
          {"ct expectation", "protocol tcp; dport 5; timeout 1m; size 3"},
          {"secmark", ~s("system_u:object_r:ssh_t")},
          {"synproxy", "mss 1460"},
          {"tunnel", "id 5; ip daddr 192.0.2.1"}
        ] do
      block = "table ip t { #{words} x { #{body}; }; }"
      command = "table ip t\n#{words} ip t x { #{body}; }"
      assert {:ok, %{tables: %{{:ip, "t"} => %{objects: objects}}} = ruleset} = NFT.parse(block)
      assert map_size(objects) == 1
      assert {:ok, ^ruleset} = NFT.parse(command)
      assert {:ok, ^ruleset} = ruleset |> NFT.format() |> NFT.parse()
    end
  end

  test "the source formatter keeps each option of an object on its line" do
    for kind <- Object.Kinds.names() do
      {:ok, words} = Object.word(kind)
      text = "table ip t {\n  #{words} x {\n    id 5\n    ttl 6\n  }\n}\n"
      assert Source.format(text) == {:ok, text}
    end
  end

  test "the words that begin a statement parse to a node of its kind" do
    for {text, kind} <- [
          {"log", :log},
          {"queue", :queue},
          {"synproxy", :synproxy},
          {"counter", :counter},
          {~s(counter name "c"), :objref},
          {"ct count 5", :connlimit},
          {"last", :last}
        ] do
      tokens = for word <- String.split(text), do: token(word)

      assert {node, [{:eof, _}]} =
               Statement.Kinds.parse(tokens ++ [{:eof, %{line: 1, column: 1}}])

      assert elem(node, 0) == kind
    end
  end

  defp token(word) do
    place = %{line: 1, column: 1}

    case Integer.parse(word) do
      {n, ""} -> {:integer, n, place}
      :error -> {:identifier, word, place}
    end
  end
end
