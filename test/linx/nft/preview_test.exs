defmodule Linx.NFT.PreviewTest do
  # Rules, chains, sets and rulesets as nft text: inspect/2, NFT.format/2 of a part,
  # NFT.parse_rule/2.
  use ExUnit.Case, async: true

  alias Linx.Netfilter.{Expr, Rule, Ruleset, Set, Table}
  alias Linx.NFT

  doctest Linx.Netfilter.Rule

  defp parse!(text) do
    {:ok, ruleset} = NFT.parse(text)
    ruleset
  end

  defp only_table(ruleset) do
    [{_family, _name, table}] = Ruleset.tables(ruleset)
    table
  end

  describe "inspect/2" do
    test "of a ruleset is its text" do
      rs =
        parse!(
          "table inet fw { chain in { type filter hook input priority 0; tcp dport 22 " <>
            "accept; }; }"
        )

      assert inspect(rs) == """
             #Linx.Netfilter.Ruleset<
             table inet fw {
               chain in {
                 type filter hook input priority 0
                 tcp dport 22 accept
               }
             }
             >\
             """

      assert inspect(Ruleset.new()) == "#Linx.Netfilter.Ruleset<>"
    end

    test "of tables, chains, sets and maps too" do
      table =
        only_table(
          parse!("""
          table ip t {
            set s { type mark; elements = { 1, 2 }; }
            map m { type mark : verdict; elements = { 1 : accept }; }
            chain c { counter; }
          }
          """)
        )

      assert inspect(table) =~ "#Linx.Netfilter.Table<\ntable ip t {\n  chain c {\n"
      assert inspect(table.chains["c"]) =~ "#Linx.Netfilter.Chain<\nchain c {\n  counter"
      assert inspect(table.sets["s"]) =~ "elements = { 0x00000001, 0x00000002 }"
      assert inspect(table.maps["m"]) =~ "#Linx.Netfilter.Map<\nmap m {\n  type mark : verdict"
    end

    test "of a large value is a few lines that count the rest, made without the whole text" do
      elements = Enum.join(1..20_000, ", ")
      rules = Enum.map_join(1..5_000, "; ", &"tcp dport #{&1} accept")

      rs =
        parse!(
          "table ip t { set s { type mark; elements = { #{elements} }; }; chain c { " <>
            "#{rules} }; chain d { }; }"
        )

      {_, before} = Process.info(self(), :reductions)
      text = inspect(rs, limit: 20)
      {_, reductions} = Process.info(self(), :reductions)
      # The whole of the text takes more than three million.
      assert reductions - before < 300_000
      assert length(String.split(text, "\n")) == 23
      assert text =~ "\n... 1 table, 2 chains, 5000 rules, 1 set, 20000 elements\n>"

      set = only_table(rs).sets["s"]
      assert inspect([set, %{set: set}], limit: 3) =~ "... 20000 elements"
      assert inspect(rs, limit: :infinity) =~ "0x00004e20"

      {:ok, rule} =
        NFT.parse_rule("meta mark { #{Enum.join(Enum.map(1..300, &(&1 * 2)), ",")} } drop")

      assert String.length(inspect(rule)) < 400
      assert inspect(rule) =~ "0x00000002"
      assert inspect(rule) =~ "} drop ...]>"
    end

    test "of a rule is its statements, with the tag, and of a verdict alone as documented" do
      assert {:ok, rule} =
               NFT.parse_rule("ip saddr 192.0.2.0/24 tcp dport { 22, 80 } accept comment \"x\"")

      assert inspect(%{rule | tag: :ssh}) ==
               "#Linx.Netfilter.Rule<:ssh [ip saddr 192.0.2.0/24 tcp dport { 22, 80 } accept]>"

      assert inspect(Rule.build!([:drop], tag: :last)) ==
               "#Linx.Netfilter.Rule<:last [immediate drop]>"

      assert {:ok, rule} = NFT.parse_rule("tcp dport 22 jump { counter accept; drop; }")

      assert inspect(rule) =~
               ~r/\[tcp dport 22 jump \{ counter( packets 0 bytes 0)? accept; drop \}\]/
    end

    test "of a rule of any family says what its table would" do
      for {family, text} <- [
            ip: "ip saddr 192.0.2.1 drop",
            ip6: "ip6 saddr 2001:db8::1 drop",
            arp: "arp operation request drop",
            bridge: "ether saddr 02:00:00:00:00:01 drop",
            netdev: "vlan id 5 drop"
          ] do
        assert {:ok, rule} = NFT.parse_rule(text, family: family)
        assert inspect(rule) == "#Linx.Netfilter.Rule<[#{text}]>"
      end
    end

    test "never raises, and shows what it can of a value without text" do
      assert inspect(%Rule{expressions: [%Expr{name: :target, data: %{}}]}) ==
               "#Linx.Netfilter.Rule<[target]>"

      assert inspect(%Rule{expressions: [%Expr{name: :cmp, data: nil}]}) =~
               "#Linx.Netfilter.Rule<["

      assert is_binary(inspect(%Ruleset{tables: :none}))
      assert is_binary(inspect(%Set{name: nil, key_type: nil, elements: [:x | :y]}))
      assert is_binary(inspect(%Table{family: 3, name: <<255>>, chains: nil}))
    end
  end

  describe "format/2 of a part" do
    test "a rule is one line that parse_rule/2 reads" do
      for {family, text} <- [
            inet: "ip6 saddr 2001:db8::/32 tcp dport 22 accept comment \"ssh\"",
            ip: "ip saddr { 192.0.2.1, 192.0.2.2 } counter packets 3 bytes 4",
            bridge: "ether type arp accept",
            ip: "icmp type echo-request limit rate 5/second accept"
          ] do
        assert {:ok, rule} = NFT.parse_rule(text, family: family)
        assert NFT.parse_rule(NFT.format(rule, family: family), family: family) == {:ok, rule}
      end
    end

    test "a chain, a set and a map are blocks that a table takes" do
      text = """
      table ip t {
        chain c {
          type filter hook input priority 0
          policy drop

          ip saddr @s accept
        }

        set s {
          type ipv4_addr
          elements = { 192.0.2.1 }
        }

        map m {
          type mark : verdict
          elements = { 0x00000001 : accept }
        }
      }
      """

      rs = parse!(text)
      assert NFT.format(rs) == text
      table = only_table(rs)

      parts =
        for part <- [table.chains["c"], table.sets["s"], table.maps["m"]],
            do: NFT.format(part, table: table)

      assert hd(parts) =~ ~r/\Achain c \{\n  type filter/
      assert parse!("table ip t {\n#{parts}}\n") == rs
    end

    test "takes no other option, and none for a whole ruleset" do
      assert_raise ArgumentError, fn -> NFT.format(Rule.build!([:drop]), indent: 4) end

      assert_raise ArgumentError, ~r/without options, got: \[family: :ip\]/, fn ->
        apply(NFT, :format, [Ruleset.new(), [family: :ip]])
      end
    end

    test "arguments that cannot be are named" do
      for {fun, args, message} <- [
            {:format, [nil], ~r/expected a ruleset, rule, chain, set or map, got: nil/},
            {:format, ["table ip t { }"], ~r/expected a ruleset, .* got: "table ip t/},
            {:format, [hd(Map.values(parse!("table ip t { }").tables))],
             ~r/got: #Linx.Netfilter.Table/},
            {:format, [{:ok, Ruleset.new()}], ~r/it is inside the {:ok, value}/},
            {:format, [{:ok, Rule.build!([:drop])}, [family: :ip]], ~r/inside the {:ok, value}/},
            {:parse, [nil], ~r/expected nft text, got: nil/},
            {:parse, [{:ok, "table ip t { }"}], ~r/expected nft text, got: {:ok/},
            {:parse, [~c"table ip t { }"], ~r/expected nft text/},
            {:parse_rule, [nil], ~r/expected nft text, got: nil/},
            {:parse_rule, [:accept], ~r/expected nft text, got: :accept/},
            {:parse_file, [nil], ~r/expected the path of a file, got: nil/},
            {:stream, [5], ~r/expected the path of a file, got: 5/}
          ] do
        assert_raise ArgumentError, message, fn -> apply(NFT, fun, args) end
      end
    end
  end

  describe "parse_rule/2" do
    test "gives the rule that a chain would hold" do
      table = only_table(parse!("table ip t { chain c { tcp dport 22 accept; }; }"))
      [rule] = table.chains["c"].rules
      assert NFT.parse_rule("tcp dport 22 accept", family: :ip) == {:ok, %{rule | chain: nil}}

      assert NFT.parse_rule("  tcp dport 22 \\\n accept;\n", family: :ip) ==
               {:ok, %{rule | chain: nil}}

      rs = Ruleset.new() |> Ruleset.add_table!(:ip, "t") |> Ruleset.add_chain!("t", "c")
      assert {:ok, rs} = Ruleset.add_rule(rs, "t", "c", %{rule | chain: nil})
      assert only_table(rs).chains["c"].rules == [rule]
    end

    test "refuses what is no rule, more than one, and what would leave the chain" do
      for text <- [
            "",
            "accept; drop",
            "accept\ndrop",
            "accept }; chain d { drop",
            "accept }; }; table ip t { chain c { drop",
            "}; set s { type mark; }; chain c { accept",
            "policy drop",
            "type filter hook input priority 0; accept",
            "define x = 5",
            "comment \"only\"",
            "accept }"
          ] do
        assert {:error, %NFT.ParseError{}} = NFT.parse_rule(text), text
      end
    end

    test "says where a mistake is" do
      assert {:error, error} = NFT.parse_rule("ip saddr 192.0.2.1\\\n  tcp dprt 5", file: "x")
      assert {error.file, error.line, error.column} == {"x", 2, 7}
      assert {:error, error} = NFT.parse_rule("ip saddr 192.0.2.1", family: :arp)
      assert error.message =~ "conflicting protocols"
      assert_raise ArgumentError, fn -> NFT.parse_rule("accept", families: [:ip]) end
      assert_raise ArgumentError, fn -> NFT.parse_rule("accept", family: "ip") end
      deep = String.duplicate("(", 500)
      assert {:error, %NFT.ParseError{}} = NFT.parse_rule("tcp dport #{deep}22")
    end
  end
end
