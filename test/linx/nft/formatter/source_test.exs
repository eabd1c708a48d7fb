defmodule Linx.NFT.Formatter.SourceTest do
  use ExUnit.Case, async: true

  alias Linx.NFT.Formatter.Source

  defp format!(text, opts \\ []) do
    assert {:ok, once} = Source.format(text, opts)
    assert {:ok, ^once} = Source.format(once, opts), "formatting again changed:\n" <> once
    once
  end

  test "a table on one line becomes a statement a line" do
    assert format!("table inet x{chain c{tcp dport 22 accept}}") == """
           table inet x {
             chain c {
               tcp dport 22 accept
             }
           }
           """
  end

  test "a chain's header stands apart from its rules" do
    assert format!(
             "table ip x { chain c { type filter hook input priority 0; policy drop; accept } }"
           ) == """
           table ip x {
             chain c {
               type filter hook input priority 0
               policy drop

               accept
             }
           }
           """
  end

  test "blocks of a table and tables stand apart, other empty lines shrink to one" do
    assert format!("table ip a {\n\n\nchain b {\n}\nchain c {\n}\n\n\n}\ntable ip d {\n}\n\n") ==
             """
             table ip a {
               chain b {
               }

               chain c {
               }
             }

             table ip d {
             }
             """
  end

  test "comments stay with what they are about" do
    text = """
    #!/usr/sbin/nft -f
    # all of it
    table ip x { # the table
      # the chain
      chain c {
        tcp dport 22 accept   # ssh
        accept; # the rest
        # nothing follows
      }
    }
    """

    assert format!(text) == """
           #!/usr/sbin/nft -f
           # all of it
           table ip x {
             # the table
             # the chain
             chain c {
               tcp dport 22 accept # ssh
               accept # the rest
               # nothing follows
             }
           }
           """
  end

  test "commands, defines, undefines and includes stay in place" do
    text = """
    flush ruleset
    define wan=eth0
    define ports={22,80}
    include "lan/*.nft"
    add rule ip x c tcp dport $ports accept
    undefine wan
    """

    assert format!(text) == """
           flush ruleset
           define wan = eth0
           define ports = { 22, 80 }
           include "lan/*.nft"
           add rule ip x c tcp dport $ports accept
           undefine wan
           """
  end

  test "operators, lists, braces and parentheses are spaced alike" do
    assert format!(
             "table ip x { chain c { tcp flags&(syn|ack)==syn ct state { established " <>
               ",related} ct state new,untracked meta mark set meta mark<<2 } }"
           ) =~
             "tcp flags & (syn | ack) == syn ct state { established, related } ct state " <>
               "new,untracked meta mark set meta mark << 2\n"
  end

  test "addresses, ranges, prefixes and names keep their characters" do
    rule =
      ~s|ip6 saddr fe80::1-fe80::9 ip daddr 10.0.0.0/8 iifname "eth*" | <>
        ~s|dnat ip to 10.0.0.1:80-90 comment "a; b { c"|

    assert format!("table inet x { chain c { #{rule} } }") =~ "    #{rule}\n"
  end

  test "a list that does not fit is filled, a map has an element a line" do
    addresses = Enum.map_join(1..20, ",", &"192.168.100.#{&1}")

    text =
      "table ip x { set s { type ipv4_addr; elements = { #{addresses} } }\nmap m { type " <>
        "inet_service : verdict; elements = { " <>
        Enum.map_join(1..8, ",", &"#{&1}: jump service_number_#{&1}") <> "} } }"

    formatted = format!(text)
    assert formatted =~ "    elements = {\n      192.168.100.1, 192.168.100.2,"
    assert formatted =~ "      1 : jump service_number_1,\n      2 : jump"
    assert formatted |> String.split("\n") |> Enum.all?(&(String.length(&1) <= 98))
  end

  test "the line length is the caller's" do
    text = "table ip x { set s { type inet_service; elements = { 1000, 2000, 3000 } } }"
    assert format!(text) =~ "    elements = { 1000, 2000, 3000 }\n"
    assert format!(text, line_length: 30) =~ "    elements = {\n      1000, 2000, 3000\n    }\n"
  end

  test "comments inside a list keep their element" do
    text =
      "table ip x { set s { type ipv4_addr; elements = { 10.0.0.1, # one\n10.0.0.2 # two\n, " <>
        "# three\n 10.0.0.3 } } }"

    assert format!(text) =~ """
               elements = {
                 10.0.0.1, # one
                 10.0.0.2, # two
                 # three
                 10.0.0.3
               }
           """
  end

  test "a comment in the middle of an element leaves the text as it is" do
    assert Source.format("define x = { 10.0.0.1 # why\n . 22 }") == :error
  end

  test "a chain of a rule's own is a block inside the rule" do
    assert format!(
             "table ip x { chain c { tcp dport 22 jump {ip saddr 10.0.0.1 " <>
               "accept;drop} } }"
           ) =~
             """
                 tcp dport 22 jump {
                   ip saddr 10.0.0.1 accept
                   drop
                 }
             """
  end

  test "continued lines are joined where they fit and kept where they do not" do
    assert format!("table ip x { chain c { tcp dport 22 \\\n   accept\n } }") =~
             "    tcp dport 22 accept\n"

    long =
      "ip saddr 192.168.100.100 ip daddr 192.168.100.101 tcp sport 1024-65535 \\\n tcp " <>
        "dport 22 counter accept comment \"long\""

    assert format!("table ip x { chain c { #{long}\n } }") =~
             "1024-65535 \\\n        tcp dport 22"
  end

  test "interpolations stay, whatever their code holds" do
    text =
      ~S|table inet #{name} { chain c { ip saddr #{addr}/#{bits} | <>
        ~S|tcp dport { #{f(%{a: "}"}, '}', ?})},22 } log prefix "x #{y <> "}"}" accept } }| <>
        "\n"

    assert format!(text, interpolation?: true) ==
             "table inet \#{name} {\n  chain c {\n" <>
               ~S|    ip saddr #{addr}/#{bits} tcp dport { #{f(%{a: "}"}, '}', ?})}, 22 } | <>
               ~S|log prefix "x #{y <> "}"}" accept| <> "\n  }\n}\n"
  end

  test "without interpolation #{"#"}{ is a comment" do
    assert format!("define a = 1 \#{x}\n") == "define a = 1 \#{x}\n"
  end

  test "what does not pair is refused" do
    for text <- ["table ip x {", "table ip x }", "define a = \"x", "/* x", "}"],
        do: assert(Source.format(text) == :error)

    assert Source.format("tcp dport \#{x", interpolation?: true) == :error
  end

  test "any text ends, in a fixed point or an error" do
    parts = [
      "table ip x {",
      "}",
      "{",
      "chain c {",
      "\n",
      ";",
      "\\\n",
      "# c\n",
      "\"a",
      "\"",
      ",",
      "1",
      ":",
      "a",
      "=",
      " ",
      "(",
      ")",
      "jump",
      "\#{",
      "/*",
      "*/",
      "é",
      <<255>>
    ]

    for seed <- 1..400 do
      :rand.seed(:exsss, {seed, 2, 3})
      text = for _ <- 1..:rand.uniform(30), into: "", do: Enum.random(parts)

      with {:ok, once} <- Source.format(text, interpolation?: rem(seed, 2) == 0) do
        assert Source.format(once, interpolation?: rem(seed, 2) == 0) == {:ok, once},
               inspect(text)
      end
    end
  end
end
