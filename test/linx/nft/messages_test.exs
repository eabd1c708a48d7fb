defmodule Linx.NFT.MessagesTest do
  # Error messages for a wrong text: in words, at the place, with the nearest word; and the faults
  # of an interpolation that are the caller's.
  use ExUnit.Case, async: true

  import Linx.NFT, only: [sigil_NFT: 2]

  alias Linx.NFT
  alias Linx.NFT.{ParseError, Tokenizer}

  defp refused(text, opts \\ []) do
    assert {:error, %ParseError{} = error} = NFT.parse(text, opts)
    {error.line, error.column, error.message}
  end

  describe "names: :declared" do
    @table """
    table inet fw {
      set blocked { type ipv4_addr; }
      map verdicts { type mark : verdict; }
      map counters { type inet_service : counter; }
      counter web { }
      quota daily { 1 mbytes; }
      limit slow { rate 1/second; }
      flowtable ft { hook ingress priority 0; devices = { lo }; }
      chain input_wan { }
      chain c {
        RULE
      }
    }
    """

    test "refuses what is not there, at its place, with the nearest name" do
      for {rule, column, message} <- [
            {"jump inptu_wan", 10,
             "no chain inptu_wan in table inet fw, did you mean input_wan?"},
            {"goto inptu_wan", 10,
             "no chain inptu_wan in table inet fw, did you mean input_wan?"},
            {"ip saddr @blokced drop", 14,
             "no set blokced in table inet fw, did you mean blocked?"},
            {"add @blokced { ip saddr }", 5,
             "no set blokced in table inet fw, did you mean blocked?"},
            {"meta mark vmap @verdcits", 20,
             "no set verdcits in table inet fw, did you mean verdicts?"},
            {"counter name \"wbe\"", 18, "no counter wbe in table inet fw, did you mean web?"},
            {"quota name \"dialy\"", 16, "no quota dialy in table inet fw, did you mean daily?"},
            {"limit name \"slwo\"", 16, "no limit slwo in table inet fw, did you mean slow?"},
            {"ct helper set \"ftp\"", 19, "no ct helper ftp in table inet fw"},
            {"flow add @tf", 5, "no flowtable tf in table inet fw, did you mean ft?"},
            {"meta mark vmap { 1 : jump inptu_wan }", 31,
             "no chain inptu_wan in table inet fw, did you mean input_wan?"},
            {"counter name tcp dport map { 80 : \"wbe\" }", 39,
             "no counter wbe in table inet fw, did you mean web?"},
            {"counter name tcp dport map @cuonters", 32,
             "no set cuonters in table inet fw, did you mean counters?"},
            {"tcp dport 80 jump { jump inptu_wan; }", 30,
             "no chain inptu_wan in table inet fw, did you mean input_wan?"}
          ] do
        text = String.replace(@table, "RULE", rule)
        assert refused(text, names: :declared) == {11, column, message}
        assert {:ok, _} = NFT.parse(text)
      end
    end

    test "finds them in the elements of sets and maps, and in included files' places" do
      text = """
      table ip t {
        map v { type mark : verdict; elements = { 1 : jump inptu }; }
        chain input { }
      }
      """

      assert {2, 54, "no chain inptu in table ip t, did you mean input?"} =
               refused(text, names: :declared)

      text = """
      table ip t {
        counter web { }
        map m { type mark : counter; }
      }
      add element ip t m { 1 : "wbe" }
      """

      assert {5, 26, "no counter wbe in table ip t, did you mean web?"} =
               refused(text, names: :declared)
    end

    test "accepts what is there, in a later block of the table too" do
      for rule <- [
            "jump input_wan",
            "jump later",
            "ip saddr @blocked meta mark vmap @verdicts",
            "counter name \"web\" quota name \"daily\" limit name \"slow\"",
            "counter name tcp dport map @counters",
            "meter m { ip saddr limit rate 1/second }",
            "flow add @ft"
          ] do
        text = String.replace(@table, "RULE", rule) <> "table inet fw { chain later { }; }"
        assert {:ok, _} = NFT.parse(text, names: :declared)
      end
    end
  end

  test "a misspelt word in any block is compared with what may stand there" do
    chain = fn body -> "table inet t { chain c { #{body} }; }" end

    for {text, meant} <- [
          {chain.("type filter hook input priority 0; polcy drop;"), "policy"},
          {chain.("tpye filter hook input priority 0;"), "type"},
          {chain.("type filter hok input priority 0;"), "hook"},
          {chain.("type filter hook input prioriy 0;"), "priority"},
          {chain.("type filter hook input priority 0 polcy drop;"), "policy"},
          {chain.("type filtre hook input priority 0;"), "filter"},
          {chain.("type filter hook inptu priority 0;"), "input"},
          {chain.("type filter hook input priority mangel;"), "mangle"},
          {chain.("commnet \"x\";"), "comment"},
          {chain.("inlcude \"x\";"), "include"},
          {chain.("accpet;"), "accept"},
          {chain.("accept commnt \"x\";"), "comment"},
          {chain.("log prefx \"x\";"), "prefix"},
          {"table inet t { flowtable f { hook ingress prioriti 0; }; }", "priority"},
          {"table inet t { set s { tpye mark; }; }", "type"},
          {"table inet t { set s { type mark; elemnets = { 1 }; }; }", "elements"},
          {"table inet t { counter s { pakcets 1; }; }", "packets"},
          {"table inet t { limit s { raet 1/second; }; }", "rate"},
          {"table inet t { synproxy s { wsclae 1; }; }", "wscale"},
          {"table inet t { ct helper s { tpye \"ftp\" protocol tcp; }; }", "type"},
          {"table inet t { ct timeout s { proctool tcp; }; }", "protocol"},
          {"table inet t { flowtable s { deviecs = { lo }; }; }", "devices"},
          {"tabel inet t { }", "table"}
        ] do
      assert {1, _, message} = refused(text)
      assert message =~ "did you mean #{meant}?", text
    end
  end

  test "limits are told in words, where the string stands" do
    long = String.duplicate("x", 129)
    told = "a comment has at most 128 bytes, this one 129"

    for {text, column} <- [
          {"table ip t { chain c { accept comment \"#{long}\"; }; }", 39},
          {"table ip t { chain c { comment \"#{long}\"; }; }", 32},
          {"table ip t { comment \"#{long}\"; }", 22},
          {"table ip t { set s { type mark; comment \"#{long}\"; }; }", 41},
          {"table ip t { set s { type mark; elements = { 1 comment \"#{long}\" }; }; }", 56},
          {"table ip t { counter n { comment \"#{long}\"; }; }", 34}
        ] do
      assert refused(text) == {1, column, told}
      assert {:ok, _} = text |> String.replace(long, String.duplicate("é", 64)) |> NFT.parse()
    end

    name = String.duplicate("n", 256)

    for {text, column} <- [
          {"table ip #{name} { }", 10},
          {"table ip t { chain #{name} { }; }", 20},
          {"table ip t { set #{name} { type mark; }; }", 18},
          {"table ip t { chain c { jump #{name}; }; }", 29}
        ] do
      assert {1, ^column, message} = refused(text)
      assert message =~ "has at most 255 bytes, this one 256"
    end

    assert {1, 12, "the name of a table must not be empty"} = refused(~s(table inet "" { }))

    for n <- ["99999999999", "-2147483649", "filter + 2147483648"] do
      text = "table ip t { chain c { type filter hook input priority #{n}; }; }"
      assert {1, _, message} = refused(text)
      assert message =~ "a priority is -2147483648 to 2147483647, not"
    end

    assert {1, _, "a log prefix has at most 127 bytes, this one 129"} =
             refused("table ip t { chain c { log prefix \"#{long}\"; }; }")

    assert {1, _, "the name of a helper has 1 to 15 bytes"} =
             refused("table ip t { ct helper h { type \"0123456789abcdef\" protocol tcp; }; }")
  end

  test "no message holds a term" do
    for text <- [
          "table ip t { chain c { type filter hook ingress device lo priority 0; }; }",
          "table netdev t { chain c { type filter hook ingress priority 0; }; }",
          "table netdev t { chain c { type filter hook ingress device \"0123456789abcdef\" " <>
            "priority 0; }; }",
          "table arp t { chain c { type nat hook input priority 0; }; }",
          "table ip t { chain c { policy drop; }; }",
          "table ip t { flowtable f { hook ingress priority 0; devices = { \"a b\" }; }; }",
          "table ip t { set s { type ipv4_addr; elements = { 10.0.0.0/8 }; }; }",
          "table ip t { set s { type mark; }; map s { type mark : mark; }; }"
        ] do
      {_, _, message} = refused(text)
      refute message =~ ~r/[{}%]|bad_|=>/, message
    end
  end

  test "control bytes and bytes that are not UTF-8 reach no terminal" do
    for text <- [
          "table ip \e[31mt { }",
          "table ip t { chain c { accept comment \"\e[2J\" drop; }; }",
          "table ip \"\e]0;x\a\" { frobnicate }",
          "table ip \u009B31m { }",
          "table ip t\0 { }",
          "table \xFF",
          "create table ip \"\e[31m\"\ncreate table ip \"\e[31m\""
        ],
        opts <- [[], [strings: :nft]] do
      assert {:error, error} = NFT.parse(text, [file: "a\e.nft"] ++ opts)
      shown = Exception.message(error)
      assert String.valid?(shown)
      refute shown =~ ~r/[\x00-\x09\x0B-\x1F\x7F\x{80}-\x{9F}]/u, inspect(shown)
      refute error.message =~ ~r/[\x00-\x1F\x7F]/
    end

    assert {:error, error} = Tokenizer.tokenize("a \e\t\" b")
    assert [_, _, line, caret, ""] = error |> Exception.message() |> String.split("\n")
    assert line == ~S(| a \e " b)
    assert caret == "|   ^"
  end

  describe "an interpolated value" do
    test "that does not fit is an ArgumentError with the place" do
      long = String.duplicate("x", 200)
      name = String.duplicate("e", 20)
      big = 99_999_999_999
      soon = "soon"

      for fun <- [
            fn -> ~NFT"table ip t { comment #{long}; }" end,
            fn -> ~NFT"table ip t { chain c { comment #{long}; }; }" end,
            fn -> ~NFT"table ip t { chain c { accept comment #{long}; }; }" end,
            fn -> ~NFT"table ip t { set s { type mark; comment #{long}; }; }" end,
            fn ->
              ~NFT"table ip t { set s { type mark; elements = { 1 comment #{long} }; }; }"
            end,
            fn -> ~NFT"table ip t { counter n { comment #{long}; }; }" end,
            fn -> ~NFT"table ip t { chain c { iifname #{name}; }; }" end,
            fn -> ~NFT"table ip t { chain c { iif #{name}; }; }" end,
            fn -> ~NFT"table ip t { chain c { log prefix #{long}; }; }" end,
            fn -> ~NFT"table ip t { chain c { log group #{big}; }; }" end,
            fn -> ~NFT"table ip t { chain c { queue to #{big}; }; }" end,
            fn -> ~NFT"table ip t { chain c { limit rate #{0}/second; }; }" end,
            fn -> ~NFT"table ip t { chain c { synproxy mss #{big}; }; }" end,
            fn -> ~NFT"table ip t { synproxy p { mss #{big}; }; }" end,
            fn -> ~NFT"table ip t { ct helper h { type #{name} protocol tcp; }; }" end,
            fn -> ~NFT"table ip t { set s { type mark; size #{big}; }; }" end,
            fn -> ~NFT"table ip t { set s { type mark; timeout #{soon}; }; }" end,
            fn -> ~NFT"table ip t { chain c { type filter hook input priority #{big}; }; }" end,
            fn -> ~NFT"table ip t { chain c { type filter hook input priority #{:low}; }; }" end,
            fn ->
              ~NFT"table ip t { chain c { type filter hook input priority 0; policy #{:no}; }; }"
            end,
            fn ->
              ~NFT"""
              table netdev t { chain c { type filter hook ingress device #{name} priority 0; }; }
              """
            end,
            fn -> ~NFT"table ip t { chain c { tcp dport #{70_000}; }; }" end,
            fn -> ~NFT"table ip t { chain c { ip saddr #{name}; }; }" end,
            fn -> ~NFT"table ip t { chain c { ip saddr 10.0.0.0/#{64}; }; }" end,
            fn -> ~NFT"table ip #{long <> long} { }" end
          ] do
        assert_raise ArgumentError, fun
      end

      error =
        assert_raise ArgumentError, fn ->
          ~NFT"""
          table ip t {
            chain c { iifname #{name}; }
          }
          """
        end

      assert error.message =~ ~r/messages_test\.exs:\d+:\d+: interface name .* longer than 15/
    end

    test "leaves a mistake of the text a ParseError" do
      port = 22

      assert_raise ParseError, ~r/unknown variable/, fn ->
        ~NFT"table ip t { chain c { tcp dport #{port} tcp sport $nowhere; }; }"
      end
    end
  end

  describe "a chain that is declared twice" do
    @tag :tmp_dir
    test "with another hook is refused with both places", %{tmp_dir: dir} do
      base = "type filter hook input priority 0; policy drop;"

      for {second, what} <- [
            {"type filter hook output priority 0; policy drop;", "hook input there, output here"},
            {"type filter hook input priority 5; policy drop;", "priority 0 there, 5 here"},
            {"type nat hook input priority 0; policy drop;", "type filter there, nat here"},
            {"type filter hook input priority 0; policy accept;",
             "policy drop there, accept here"}
          ] do
        told = "chain c is declared already at nofile:2:3: it has #{what}"
        block = fn head -> "table inet t {\n  chain c { #{head} }\n" end

        assert {3, 3, told} == refused(block.(base) <> "  chain c { #{second} }\n}\n")
        assert {6, 3, told} == refused(block.(base) <> "}\n\n" <> block.(second) <> "}\n")

        assert {4, 5, ^told} = refused(block.(base) <> "}\nadd chain inet t c { #{second} }\n")

        File.write!(Path.join(dir, "c.nft"), "\n  chain c { #{second} }\n")
        text = block.(base) <> "  include \"#{dir}/c.nft\"\n}\n"
        assert {:error, error} = NFT.parse(text)
        assert {Path.basename(error.file), error.line, error.message} == {"c.nft", 2, told}
      end
    end

    test "numbers that the kernel cannot count are refused at their place" do
      for text <- [
            "table ip t { chain c { limit rate 99999999999999999999/second; }; }",
            "table ip t { chain c { quota 18446744073709551615 mbytes; }; }",
            "table ip t { chain c { counter packets 99999999999999999999 bytes 1; }; }",
            "table ip t { counter c { packets 1 bytes 99999999999999999999; }; }",
            "table ip t { quota q { 99999999999999 mbytes; }; }",
            "table ip t { limit l { rate 99999999999999 mbytes/second; }; }"
          ] do
        assert {1, _, message} = refused(text)
        assert message =~ "64 bits"
      end
    end

    test "nothing that turns the direction of a line reaches a terminal" do
      for c <- ["\u202E", "\u2066", "\u200F", "\u2028", "\u009B"] do
        {:error, error} = NFT.parse("table ip t { chain c { #{c}foo \"#{c}\"; }; }")
        refute Exception.message(error) =~ c
        refute error.message =~ "\u009B"
      end
    end

    test "of a device differs by its devices" do
      base = fn devices -> "chain c { type filter hook ingress #{devices} priority 0; }\n" end

      for {first, second, ok?} <- [
            {"device lo", "device lo", true},
            {"devices = { a, b }", "devices = { b, a }", true},
            {"device lo", "device eth0", false},
            {"device lo", "devices = { lo, eth0 }", false}
          ] do
        text = "table netdev t {\n#{base.(first)}#{base.(second)}}\n"
        assert match?({:ok, _}, NFT.parse(text)) == ok?
      end
    end

    test "takes its policy from whichever says it, and its comment from the first" do
      base = "type filter hook input priority 0;"

      for {first, second, policy} <- [
            {base <> " policy drop;", base, :drop},
            {base, base <> " policy drop;", :drop},
            {base <> " policy drop;", "policy accept;", :accept},
            {base <> " policy drop;", "accept;", :drop}
          ] do
        text = """
        table inet t { chain c { #{first} comment "one"; drop; }; }
        table inet t { chain c { #{second} comment "two"; drop; }; }
        """

        assert {:ok, ruleset} = NFT.parse(text)
        chain = ruleset.tables[{:inet, "t"}].chains["c"]
        assert {chain.policy, chain.comment} == {policy, "one"}
      end

      assert {1, _, "the hook is given twice: at 1:26 already"} =
               refused("table inet t { chain c { #{base} #{base} }; }")

      for {twice, word} <- [
            {"policy drop; policy accept;", "policy"},
            {~s(comment "a"; comment "b";), "comment"}
          ] do
        assert {1, _, message} = refused("table inet t { chain c { #{base} #{twice} }; }")
        assert message =~ "the #{word} is given twice: at 1:"
      end
    end

    test "an option that a block gives twice is refused at its place" do
      elements = "elements = { 10.0.0.1 };"

      for {block, word, place} <- [
            {"set s { type ipv4_addr; #{elements} #{elements} };", "list of elements",
             ": at 1:49 already"},
            {"set s { type ipv4_addr; timeout 1m; timeout 2m; };", "timeout", ""},
            {"set s { type ipv4_addr; size 1; size 2; };", "size", nil},
            {~s(set s { type ipv4_addr; comment "a"; comment "b"; };), "comment", nil},
            {~s(counter k { comment "a"; comment "b"; };), "comment", nil},
            {"counter k { packets 1 packets 2 bytes 3; };", "number of packets", nil},
            {"quota q { 1 bytes; 2 bytes; };", "number of bytes", nil},
            {"limit l { rate 1/second; rate 2/second; };", "rate", nil},
            {"ct expectation e { protocol tcp; dport 1; dport 2; timeout 1m; size 1; };", "dport",
             nil},
            {"flowtable f { hook ingress priority 0; devices = { a }; devices = { b }; };",
             "list of devices", nil},
            {"flowtable f { hook ingress priority 0; hook ingress priority 1; };", "hook", nil},
            {~s(comment "a"; comment "b";), "comment", nil}
          ] do
        assert {1, _, message} = refused("table ip t { #{block} }")
        assert message =~ "the #{word} is given twice"
        if place, do: assert(message == "the #{word} is given twice#{place}")
      end

      for block <- [
            "set s { type ipv4_addr; flags interval; auto-merge; auto-merge; flags timeout; };",
            "set s { type ipv4_addr; counter; last; };",
            "flowtable f { hook ingress priority 0; flags offload; counter; };"
          ],
          do: assert({:ok, _} = NFT.parse("table ip t { #{block} }"))
    end

    test "a flowtable gains devices, and with another priority or offload is refused" do
      first = "hook ingress priority 0; devices = { a, b }; counter;"

      text = fn first, second ->
        "table ip t {\n  flowtable f { #{first} }\n  flowtable f { #{second} }\n}\n"
      end

      for {second, devices, flags} <- [
            {"devices = { b, c };", ["a", "b", "c"], []},
            {"hook ingress priority filter; devices = { d }; counter;", ["a", "b", "d"],
             [:counter]},
            {"counter;", ["a", "b"], [:counter]}
          ] do
        {:ok, ruleset} = NFT.parse(text.(first, second))
        flowtable = ruleset.tables[{:ip, "t"}].flowtables["f"]
        assert Enum.sort(flowtable.devices) == devices
        assert {flowtable.flags, flowtable.priority} == {flags, 0}
      end

      for {second, told} <- [
            {"hook ingress priority 5; devices = { a };", "priority 0 there, 5 here"},
            {"devices = { a }; flags offload;", "flags none there, offload here"}
          ] do
        assert {3, 3, "flowtable f is declared already at nofile:2:3: it has #{told}"} ==
                 refused(text.(first, second))
      end
    end

    # As the kernel has it: what a second NEWOBJ or NEWTABLE of one batch changes.
    test "objects stay as they are, but for quotas and synproxies; the last block says " <>
           "whether the table is dormant" do
      objects = fn n, helper ->
        "counter k { packets #{n} bytes #{n}; }; limit l { rate #{n}/second; }; " <>
          "quota q { #{n} bytes used #{n} bytes; comment \"#{n}\"; }; " <>
          "synproxy s { mss #{n} wscale #{n}; comment \"#{n}\"; }; " <>
          "ct helper h { type \"#{helper}\" protocol tcp; };"
      end

      {:ok, ruleset} =
        NFT.parse(
          "table ip t { #{objects.(1, "ftp")} #{objects.(2, "irc")}; comment \"one\"; " <>
            "}\ntable ip t { comment \"two\"; }"
        )

      table = ruleset.tables[{:ip, "t"}]
      assert table.comment == "one"
      assert %{packets: 1, bytes: 1} = table.objects[{:counter, "k"}].data
      assert %{rate: 1} = table.objects[{:limit, "l"}].data
      assert %{type: "ftp"} = table.objects[{:ct_helper, "h"}].data
      assert %{comment: "1", data: %{bytes: 2, used: 1}} = table.objects[{:quota, "q"}]
      assert %{comment: "1", data: %{mss: 2, wscale: 2}} = table.objects[{:synproxy, "s"}]

      for {blocks, flags} <- [
            {["flags dormant", ""], []},
            {["", "flags dormant"], [:dormant]},
            {["flags dormant", "flags dormant"], [:dormant]},
            {["flags persist, owner", ""], [:owner, :persist]}
          ] do
        {:ok, ruleset} = blocks |> Enum.map_join(&"table ip t { #{&1}; }\n") |> NFT.parse()
        assert Enum.sort(ruleset.tables[{:ip, "t"}].flags) == flags
      end
    end
  end
end
