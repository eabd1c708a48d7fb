defmodule Linx.NFTTest do
  use ExUnit.Case, async: true

  import Linx.NFT

  alias Linx.Netfilter.{Expr, Ruleset, Verdict}
  alias Linx.NFT
  alias Linx.NFT.ParseError

  doctest Linx.NFT
  doctest Linx.NFT.Compiler
  doctest Linx.NFT.ParseError
  doctest Linx.NFT.Runtime

  # The expressions of one rule, in the family's table.
  defp rule(text, family \\ :ip, before \\ "") do
    case NFT.parse("table #{family} t {\n#{before}\nchain c {\n#{text}\n}\n}") do
      {:ok, rs} ->
        {:ok, table} = Ruleset.fetch_table(rs, "t")
        [rule] = table.chains["c"].rules
        rule.expressions

      {:error, error} ->
        error.message
    end
  end

  defp rule_of(ruleset) do
    [%{chains: %{"c" => %{rules: [rule]}}}] = Map.values(ruleset.tables)
    rule.expressions
  end

  defp cmp(rule), do: for(%Expr{name: :cmp, data: data} <- rule, do: {data.op, data.data})

  describe "values" do
    test "are big endian in headers and in the host's order in metadata" do
      assert cmp(rule("tcp dport 22")) == [eq: <<22::16>>]
      assert cmp(rule("meta mark 22")) == [eq: <<22::native-32>>]
    end

    test "of host order are compared as big endian numbers where order counts" do
      assert [
               %Expr{name: :meta},
               %Expr{name: :byteorder, data: %{op: :hton}},
               %Expr{data: %{op: :lt, data: <<5::32>>}}
             ] = rule("meta mark < 5")

      assert cmp(rule("meta length 5-9")) == [gte: <<5::32>>, lte: <<9::32>>]
    end

    test "are symbols, numbers and strings" do
      assert rule("tcp dport ssh") == rule("tcp dport 22")
      assert rule("icmp type echo-request") == rule("icmp type 8")
      assert rule("iifname eth0") == rule("iifname \"eth0\"")
      assert rule("meta day Monday") == rule("meta day 1")
    end

    test "are moved to where a field of part of a byte stands" do
      assert cmp(rule("ip dscp cs1")) == [eq: <<0x20>>]
      assert cmp(rule("ip6 flowlabel 5", :ip6)) == [eq: <<5::24>>]
      assert cmp(rule("vlan id 5", :bridge)) == [eq: <<5::16>>]
    end

    test "of a byte-aligned prefix are compared byte by byte, of others under a mask" do
      assert [%Expr{data: %{len: 1}}, %Expr{data: %{data: <<10>>}}] = rule("ip saddr 10.0.0.0/8")

      assert [_, %Expr{name: :bitwise, data: %{mask: <<255, 255, 254, 0>>}}, _] =
               rule("ip saddr 192.168.0.0/23")

      assert cmp(rule("iifname \"eth*\"")) == [eq: "eth"]
    end

    # nft 1.1 refuses them too; nft 1.0 loads the first bytes of the number, of a small one zeros.
    test "that are generated are no ports, nor anything else of another width" do
      for number <- ["numgen inc mod 10", "jhash ip saddr mod 10", "symhash mod 10", "meta cpu"],
          text <- [
            "tcp dport 1 redirect to :NUMBER",
            "tcp dport 1 dnat to 10.0.0.1:NUMBER",
            "tcp dport 1 snat to 10.0.0.1:NUMBER",
            "tcp dport 1 masquerade to :NUMBER",
            "tcp dport 1 tproxy to :NUMBER",
            "tcp dport set NUMBER",
            "udp sport set NUMBER",
            "th dport set NUMBER",
            "@th,16,16 set NUMBER"
          ] do
        assert rule(String.replace(text, "NUMBER", number)) ==
                 "expected a port, this is a number of 32 bits"
      end

      assert rule("ether type set numgen inc mod 2") =~ ", this is a number of 32 bits"
      assert rule("ether saddr set jhash ip saddr mod 2") =~ ", this is a number of 32 bits"
      assert rule("meta pkttype set numgen inc mod 2") =~ ", this is a number of 32 bits"
      assert is_list(rule("tcp dport 1 redirect to :numgen inc mod 2 map { 0 : 80, 1 : 81 }"))
      assert is_list(rule("ip id set numgen inc mod 10"))
      assert is_list(rule("ct zone set numgen inc mod 10"))
    end

    test "that do not fit are refused" do
      assert rule("tcp dport 65536") =~ "out of range"
      assert rule("tcp dport fnord") =~ "is not a port"
      assert rule("tcp dport shh") =~ "did you mean"
      assert rule("ip saddr ::1") =~ "is not an IPv4 address"
      assert rule("ip saddr 10.0.0.0/33") =~ "out of range"
      assert rule("tcp dport 30-20") =~ "before it begins"
      assert rule("tcp dport 1,2") =~ "use { ... }"
      assert rule("iifname \"an-interface-name-too-long\"") =~ "longer than 15"
    end
  end

  describe "flags" do
    test "without an operator match any, with == exactly" do
      assert [
               _,
               %Expr{name: :bitwise, data: %{mask: <<6::native-32>>}},
               %Expr{data: %{op: :neq, data: <<0::32>>}}
             ] =
               rule("ct state established,related")

      assert cmp(rule("tcp flags == syn")) == [eq: <<2>>]
      assert cmp(rule("tcp flags & (syn | ack) == syn")) == [eq: <<2>>]
      assert rule("tcp flags syn / syn,ack") == rule("tcp flags & (syn | ack) == syn")
    end
  end

  describe "messages" do
    test "say what is no address, where the text ends, and what a cgroup is" do
      for {rule, message} <- [
            {"ip saddr 300.1.1.1", "300.1.1.1 is not an IPv4 address"},
            {~s(socket cgroupv2 level 1 "user.slice"), "/sys/fs/cgroup/user.slice"}
          ] do
        text = "table ip t { chain c { #{rule}; }; }"
        assert {:error, %Linx.NFT.ParseError{} = error} = Linx.NFT.parse(text)
        assert error.message =~ message
      end

      assert {:error, error} = Linx.NFT.parse("table ip t {\n  chain c {\n    accept\n")
      assert error.message =~ "or '}'"
    end
  end

  describe "sets in a rule" do
    test "of one element are that element" do
      assert rule("tcp dport { 22 }") == rule("tcp dport 22")
      assert rule("ct state { new }") == rule("ct state new")
      # A set holds values: what must be equal is the whole of the flags.
      assert rule("tcp flags { syn }") == rule("tcp flags == syn")
      assert rule(~s(ip saddr { 192.0.2.1 comment "c" })) == rule("ip saddr 192.0.2.1")
      assert [_, _, %Expr{name: :__anon_set}] = rule("ip saddr . tcp dport { 192.0.2.1 . 22 }")
    end

    test "are merged where they overlap or touch" do
      [_, %Expr{data: data}] = rule("tcp dport { 10-20, 15-30, 31, 40 }")
      assert data.elements == [{:range, 10, 31}, 40]
    end

    test "are looked up inverted with !=" do
      assert [_, %Expr{data: %{lookup_flags: [:inv]}}] = rule("tcp dport != { 22, 23 }")
    end

    test "concatenate keys into neighbouring registers" do
      assert [
               %Expr{data: %{dreg: 1}},
               %Expr{data: %{dreg: 9}},
               %Expr{data: %{elements: [{{10, 0, 0, 1}, 22}]}}
             ] =
               rule("ip saddr . tcp dport { 10.0.0.1 . 22 }")
    end

    test "map to verdicts and values" do
      [_, %Expr{data: data}] = rule("tcp dport vmap { 22 : accept, 23 : jump other }")
      assert data.elements == [{22, Verdict.accept()}, {23, Verdict.jump("other")}]

      [_, %Expr{data: data}, %Expr{name: :meta, data: %{sreg: 1}}] =
        rule("meta mark set tcp dport map { 22 : 1, 80 : 2 }")

      assert {data.data_type, data.elements} == {:mark, [{22, 1}, {80, 2}]}
    end

    test "check their references" do
      set = "set s { type ipv4_addr; }"
      assert [_, %Expr{name: :lookup}] = rule("ip saddr @s", :ip, set)
      assert rule("tcp dport @s", :ip, set) =~ "holds an IPv4 address, not a port"
      assert rule("ip saddr vmap @s", :ip, set) =~ "is a set, not a map"
    end
  end

  describe "protocols" do
    test "are implied, once" do
      assert rule("tcp dport 22", :inet) == rule("meta l4proto tcp tcp dport 22", :inet)

      assert [%Expr{name: :payload, data: %{field: :tcp_dport}}, %Expr{name: :cmp}] =
               rule("tcp dport 22", :inet)
    end

    test "must not contradict each other" do
      assert rule("tcp dport 22 udp sport 5") =~ "conflicting protocols: tcp before, udp here"
      assert rule("ip6 saddr ::1") =~ "conflicting"
      assert rule("arp operation request", :inet) =~ "conflicting"
      assert rule("icmp type echo-request icmp mtu 5") =~ "does not exist in icmp type 8"
    end

    test "of ports in nat must be known" do
      assert rule("dnat to 10.0.0.1:80") =~ "transport protocol"
      assert rule("dnat to 10.0.0.1", :inet) =~ "ip or ip6"
    end
  end

  describe "statements" do
    test "after the one that ends the rule are refused" do
      assert rule("accept counter") =~ "nothing is reached"
      assert rule("tcp dport 80 redirect to :8080 accept") =~ "nothing is reached"
    end

    test "that refuse are guarded before the whole rule" do
      assert [
               %Expr{name: :meta, data: %{key: :l4proto}},
               _,
               %Expr{name: :log},
               %Expr{name: :reject}
             ] =
               rule("log reject with tcp reset", :inet)
    end

    test "write fields of one byte with their neighbour, for the checksum" do
      assert [
               %Expr{data: %{offset: 8, len: 2}},
               %Expr{name: :bitwise},
               %Expr{data: %{csum_type: :inet, csum_offset: 10}}
             ] = rule("ip ttl set 64")
    end
  end

  describe "scripts" do
    test "add to what was described, in order" do
      text = """
      flush ruleset
      add table inet t
      add chain inet t c { type filter hook input priority filter - 5; policy drop; }
      add set inet t s { type inet_service; }
      add element inet t s { 22, 80 }
      add rule inet t c tcp dport @s accept
      insert rule inet t c ct state invalid drop
      add rule inet t c index 0 iif lo accept
      """

      {:ok, rs} = NFT.parse(text)
      {:ok, table} = Ruleset.fetch_table(rs, "t")
      assert table.sets["s"].elements == [22, 80]
      assert table.chains["c"].priority == -5
      names = for rule <- table.chains["c"].rules, do: hd(rule.expressions).name
      assert names == [:ct, :meta, :payload]
    end

    test "take back what they described" do
      {:ok, rs} =
        NFT.parse(
          "table ip t { chain c { accept; }; chain d { }; }\nflush chain ip t c\ndelete " <>
            "chain ip t d\n"
        )

      {:ok, table} = Ruleset.fetch_table(rs, "t")
      assert Map.keys(table.chains) == ["c"] and table.chains["c"].rules == []
    end

    test "say when they name what is not there" do
      assert {:error, %ParseError{line: 2, message: message}} =
               NFT.parse("table ip t { chain input { }; }\nadd rule ip t inptu accept\n")

      assert message =~ "did you mean input?"
    end
  end

  describe "variables" do
    test "stand for values, sets and names, and are replaced where they stand" do
      text = """
      define lan = 10.0.0.0/8
      define ports = { 22, 80 }
      define wan = "eth0"
      define both = { $lan, 192.168.0.0/16 }
      table ip t {
        chain c {
          ip saddr $lan tcp dport $ports iifname $wan accept
          ip daddr $both accept
        }
      }
      redefine lan = 172.16.0.0/12
      """

      assert {:ok, rs} = NFT.parse(text)

      assert {:ok, ^rs} =
               NFT.parse("""
               table ip t { chain c {
                 ip saddr 10.0.0.0/8 tcp dport { 22, 80 } iifname "eth0" accept
                 ip daddr { 10.0.0.0/8, 192.168.0.0/16 } accept
               }; }
               """)
    end

    test "count bytes, kilobytes and megabytes" do
      text = fn n, bytes ->
        """
        define n = 5
        table inet t {
          quota q { over #{n} #{bytes} used #{n} kbytes; }
          limit l { rate #{n} #{bytes}/second burst #{n} mbytes; }
          chain c {
            quota over #{n} #{bytes} used #{n} kbytes
            limit rate over #{n} #{bytes}/hour burst #{n} kbytes
          }
        }
        """
      end

      for unit <- ~w(bytes kbytes mbytes) do
        assert {:ok, rs} = NFT.parse(text.("$n", unit))
        assert {:ok, ^rs} = NFT.parse(text.("5", unit))
        assert {:error, %ParseError{message: message}} = NFT.parse(text.("$m", unit))
        assert message =~ "unknown variable $m"
      end

      assert {:error, %ParseError{line: 2, message: "expected a number"}} =
               NFT.parse("define n = eth0\ntable inet t { chain c { quota $n mbytes; }; }")
    end

    test "must be defined, once" do
      assert {:error, %ParseError{message: "unknown variable $lna, did you mean lan?"}} =
               NFT.parse("define lan = 1\ntable ip t { chain c { meta mark $lna; }; }")

      assert {:error, %ParseError{line: 2, message: message}} =
               NFT.parse("define a = 1\ndefine a = 2\n")

      assert message =~ "redefine"
    end
  end

  describe "includes" do
    @describetag :tmp_dir

    test "are found beside the file, by pattern too, in the order of their " <>
           "names",
         %{tmp_dir: dir} do
      File.mkdir_p!(Path.join(dir, "rules.d"))
      File.write!(Path.join(dir, "vars.nft"), "define ssh = 22\n")
      File.write!(Path.join(dir, "rules.d/20.nft"), "add rule ip t c drop\n")
      File.write!(Path.join(dir, "rules.d/10.nft"), "add rule ip t c tcp dport $ssh accept\n")

      File.write!(Path.join(dir, "main.nft"), """
      include "vars.nft"
      table ip t { chain c { }; }
      include "rules.d/*.nft"
      include "nothing.d/*.nft"
      """)

      assert {:ok, rs} = NFT.parse_file(Path.join(dir, "main.nft"))
      assert {:ok, ^rs} = NFT.parse("table ip t { chain c { tcp dport 22 accept; drop; }; }")
    end

    test "of a file into itself are refused, and an error inside is reported there", %{
      tmp_dir: dir
    } do
      File.write!(Path.join(dir, "a.nft"), "include \"b.nft\"\n")
      File.write!(Path.join(dir, "b.nft"), "include \"a.nft\"\n")
      assert {:error, %ParseError{message: message}} = NFT.parse_file(Path.join(dir, "a.nft"))
      assert message =~ "includes itself"

      File.write!(Path.join(dir, "c.nft"), "\ntable ip t { chain c { tcp dport fnord; }; }\n")
      File.write!(Path.join(dir, "d.nft"), "include \"c.nft\"\n")
      assert {:error, %ParseError{file: file, line: 2}} = NFT.parse_file(Path.join(dir, "d.nft"))
      assert Path.basename(file) == "c.nft"

      assert {:error, %ParseError{message: "cannot read gone.nft" <> _}} =
               NFT.parse("include \"gone.nft\"\n")
    end
  end

  describe "the sigil" do
    test "takes no modifiers, and parse/2 no option but the file" do
      for text <- [~S(~NFT"table inet t { }"a), ~S(~NFT"table inet #{name} { }"ab)] do
        assert_raise ArgumentError, ~r/no modifiers/, fn ->
          Code.eval_string("import Linx.NFT\nname = \"t\"\n" <> text)
        end
      end

      assert_raise ArgumentError, ~r/line/, fn -> Linx.NFT.parse("", line: 3) end
    end

    test "takes values of every kind" do
      {:ok, ip} = Linx.IP.parse("10.0.0.5")
      lan = {:prefix, {10, 0, 0, 0}, 8}

      rs = ~NFT"""
      table inet t {
        set s { type ipv4_addr; flags interval; elements = { #{lan}, #{ip} }; }
        chain #{"in" <> "put"} {
          type filter hook input priority #{-10}; policy drop;
          tcp dport #{80..90} ip saddr #{lan} iifname #{"eth*"} meta mark set #{7} accept
          tcp dport #{[22, 443]} ct state #{[:established, :related]} \
            log prefix #{"a: "} jump #{:other}
          ip daddr #{ip} limit rate #{5}/second accept comment #{"why"}
        }
        chain other { }
      }
      """

      assert {:ok, ^rs} =
               NFT.parse("""
               table inet t {
                 set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 10.0.0.5 }; }
                 chain input {
                   type filter hook input priority -10; policy drop;
                   tcp dport 80-90 ip saddr 10.0.0.0/8 iifname "eth*" meta mark set 7 accept
                   tcp dport { 22, 443 } ct state established,related log prefix "a: " jump other
                   ip daddr 10.0.0.5 limit rate 5/second accept comment "why"
                 }
                 chain other { }
               }
               """)
    end

    test "takes flags and their mask" do
      flags = [:syn]
      mask = [:syn, :ack]
      one = :syn
      wanted = rule("tcp flags syn / syn,ack", :inet)
      assert rule_of(~NFT"table inet t { chain c { tcp flags #{flags} / #{mask} } }") == wanted
      assert rule_of(~NFT"table inet t { chain c { tcp flags #{one} / #{mask} } }") == wanted
      assert rule_of(~NFT"table inet t { chain c { tcp flags #{one} / syn,ack } }") == wanted
      assert rule_of(~NFT"table inet t { chain c { tcp flags syn / #{mask} } }") == wanted

      assert rule_of(~NFT"table inet t { chain c { tcp flags != #{flags} / #{mask} } }") ==
               rule("tcp flags != syn / syn,ack", :inet)

      text = "define f = syn\n"
      {:ok, ruleset} = NFT.parse(text <> "table inet t { chain c { tcp flags $f / $f } }")
      assert rule_of(ruleset) == rule("tcp flags syn / syn", :inet)

      # Other fields keep their prefixes.
      bits = 8
      address = {10, 0, 0, 0}

      assert rule_of(~NFT"table inet t { chain c { ip saddr #{address}/#{bits} } }") ==
               rule("ip saddr 10.0.0.0/8", :inet)
    end

    test "raises for a value of the wrong kind, naming both" do
      for {value, expected} <- [
            {"ssh", "a port"},
            {70_000, "a port"},
            {nil, "a port"},
            {-1, "a port"}
          ] do
        error =
          assert_raise ArgumentError, fn ->
            ~NFT"table ip t { chain c { tcp dport #{value} accept } }"
          end

        assert error.message =~ expected and error.message =~ inspect(value)
      end

      assert_raise ArgumentError, ~r/IPv4 address.*"::1"/, fn ->
        addr = "::1"
        ~NFT"table ip t { chain c { ip saddr #{addr} } }"
      end

      assert_raise ArgumentError, ~r/name of a table/, fn ->
        name = "a b; drop"
        ~NFT"table ip #{name} { }"
      end
    end

    test "reports a mistake at its line of the file" do
      source = """
      defmodule Broken do
        import Linx.NFT
        def rules do
          ~NFT\"\"\"
          table ip t {
            chain c {
              tcp dprt 22
            }
          }
          \"\"\"
        end
      end
      """

      error = assert_raise ParseError, fn -> Code.compile_string(source, "lib/broken.ex") end
      assert {error.line, Path.basename(error.file)} == {7, "broken.ex"}
      assert Exception.message(error) =~ "tcp dprt 22"
    end

    test "without interpolation is a value at compile time" do
      {:module, _, binary, _} =
        defmodule Static do
          def rules, do: ~NFT"table ip t { chain c { accept; }; }"
        end

      {:ok, {_, [imports: imports]}} = :beam_lib.chunks(binary, [:imports])
      refute Enum.any?(imports, fn {module, _, _} -> module == Linx.NFT.RuntimeCompiler end)
    end
  end

  describe "a name declared again" do
    test "adds elements when it is the same set" do
      text = """
      table ip t {
        set a { type ipv4_addr; elements = { 10.0.0.1 }; }
        set a { typeof ip saddr; comment "again"; elements = { 10.0.0.2 }; }
      }
      """

      assert {:ok, ruleset} = NFT.parse(text)
      assert length(ruleset.tables[{:ip, "t"}].sets["a"].elements) == 2
    end

    test "is refused when it is another, as the kernel does" do
      for {second, told} <- [
            {"map a { type ipv4_addr : verdict; }", "is a set there, a map here"},
            {"set a { type inet_service; }", "has type ipv4_addr there, inet_service here"},
            {"set a { type ipv4_addr . mark; }",
             "has type ipv4_addr there, ipv4_addr . mark here"},
            {"set a { type ipv4_addr; flags interval; }", "has flags none there, interval here"},
            {"set a { type ipv4_addr; size 5; }", "has size none there, 5 here"},
            {"set a { type ipv4_addr; counter; }", "has other statements here"}
          ] do
        assert {:error, %ParseError{line: 3, message: message}} =
                 NFT.parse("table ip t {\n  set a { type ipv4_addr; }\n  #{second}\n}")

        assert message == "set a is declared already at nofile:2:3: it #{told}"
      end
    end
  end

  describe "hostile text" do
    test "ends in an error" do
      for text <- [
            String.duplicate("{", 100_000),
            "table ip t { chain c { tcp dport { " <> String.duplicate("1,", 20_000),
            String.duplicate("a", 300_000),
            "table ip t { chain c { meta mark " <> String.duplicate("1 | ", 100_000) <> " } }",
            String.duplicate("\"", 100_001),
            String.duplicate("/*", 100_000),
            "table ip t { chain c { " <> String.duplicate("accept ", 100_000)
          ] do
        assert {:error, %ParseError{} = error} = NFT.parse(text)
        assert byte_size(Exception.message(error)) < 2_000
      end
    end

    test "makes no atoms" do
      NFT.parse("table ip warm { chain up { tcp dport 1; }; }")
      before = :erlang.system_info(:atom_count)

      for n <- 1..200,
          do:
            NFT.parse(
              "table ip t#{n} { chain c#{n} { tcp x#{n} y#{n}; jump z#{n} }; set s#{n} { " <>
                "type q#{n}; }; }"
            )

      assert :erlang.system_info(:atom_count) - before < 50
    end
  end
end
