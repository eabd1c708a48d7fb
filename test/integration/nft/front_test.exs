defmodule Linx.Integration.NFT.FrontTest do
  # The front of the language against nft(8): what is in a string, where a table may stand without
  # a block, where a file may be included, how far a definition reaches, what a chain may be
  # declared as twice. The same text is loaded by nft in one namespace and pushed by Linx in
  # another.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Netfilter.Ruleset
  alias Linx.NFT.ParseError
  alias Linx.Test.{Firewall, NewerNft, NftDifferential, NftStrings, Scratch}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables
  @moduletag :tmp_dir

  setup do: NftDifferential.namespaces()

  # nft's answer is {:ok, listing} or :refused; Linx's must be the same.
  defp same(text, context, nft \\ "nft") do
    %{ours: ours, sock: sock, theirs: theirs, tmp_dir: dir} = context
    path = Path.join(dir, "main.nft")
    File.write!(path, text)

    listed =
      case Firewall.run(theirs, [nft, "-I", dir, "-f", path]) do
        {_, 0} -> {:ok, Firewall.json(theirs, nft)}
        _ -> :refused
      end

    answer =
      with {:ok, ruleset} <- NFT.parse_file(path) do
        assert NFT.parse(NFT.format(ruleset)) == {:ok, ruleset}
        assert Netfilter.push(sock, ruleset) == :ok
        {:ok, Firewall.json(ours, nft)}
      else
        {:error, %ParseError{} = error} ->
          assert error.line >= 1
          :refused
      end

    for pid <- [ours, theirs], do: Firewall.run!(pid, ["nft", "flush", "ruleset"])
    assert answer == listed, text
    answer
  end

  # A batch of LINX_SLOW takes seconds of both programs, and on a loaded machine a minute.
  if Linx.Test.Host.slow?(), do: @tag(timeout: :timer.hours(3))

  test "random strings: nft loads of the text what a push loads of the value", context do
    slow? = Linx.Test.Host.slow?()
    {batches, size} = if slow?, do: {100, 1_000}, else: {2, 200}
    :rand.seed(:exsss, {3, 14, 15})
    places = NftStrings.loadable()

    for _ <- 1..batches do
      rulesets =
        for n <- 1..size do
          place = Enum.at(places, rem(n, length(places)))
          NftStrings.some(place, "t#{n}")
        end

      written =
        for ruleset <- rulesets,
            {:written, text} <- [NftStrings.outcome(ruleset)],
            do: {ruleset, text}

      written = Enum.uniq_by(written, fn {ruleset, _} -> Map.keys(ruleset.tables) end)
      assert length(written) > div(size, 10)

      all =
        for {ruleset, _} <- written, {_, table} <- ruleset.tables, reduce: Ruleset.new() do
          all -> Ruleset.put_table(all, table)
        end

      assert Netfilter.push(context.sock, all) == :ok
      Firewall.load!(context.theirs, Enum.map_join(written, &elem(&1, 1)))
      {ours, theirs} = {Firewall.json(context.ours), Firewall.json(context.theirs)}
      # A failure shows only the objects that differ, of thousands.
      if ours != theirs, do: assert({ours -- theirs, theirs -- ours} == {[], []})
      assert ours == theirs

      for pid <- [context.ours, context.theirs],
          do: Firewall.run!(pid, ["nft", "flush", "ruleset"])
    end
  end

  test "a byte that nft loads is pulled, and formatted or refused", %{
    other: other,
    theirs: theirs
  } do
    for {bytes, written?} <- [
          {"\n", false},
          {"\r", false},
          {"\e", false},
          {"\t", false},
          {"\\n", false},
          {"\\\\", false},
          {"\\", false},
          {"\\d\\*", true},
          {"\xE9", false},
          {"é#;{}$'", true}
        ] do
      Firewall.load!(theirs, "table ip t { chain c { accept comment \"a#{bytes}\"; }; }")
      assert {:ok, pulled} = Netfilter.pull(other)
      assert [%{comment: comment}] = pulled.tables[{:ip, "t"}].chains["c"].rules
      assert comment == "a" <> bytes

      if written? do
        text = NFT.format(pulled)
        listed = Firewall.json(theirs)
        Firewall.run!(theirs, ["nft", "flush", "ruleset"])
        Firewall.load!(theirs, text)
        assert Firewall.json(theirs) == listed
        assert {:ok, again} = NFT.parse(text)
        assert NFT.parse(text, strings: :nft) == {:ok, again}
        assert Netfilter.diff(pulled, again).ops == []
      else
        assert_raise ArgumentError, ~r/chain c, rule 0: the comment holds/, fn ->
          NFT.format(pulled)
        end
      end

      Firewall.run!(theirs, ["nft", "flush", "ruleset"])
    end
  end

  test "nft's own strings: a backslash, a quote behind it, a line end", context do
    for comment <- ["a\\nb", "a\\", "C:\\new", "\\", "\\\\"] do
      text = "table ip t { chain c { accept comment \"#{comment}\"; }; }\n"
      path = Path.join(context.tmp_dir, "s.nft")
      File.write!(path, text)
      Firewall.load!(context.theirs, text)
      assert {:ok, ruleset} = NFT.parse_file(path)
      assert Netfilter.push(context.sock, ruleset) == :ok
      assert Firewall.json(context.ours) == Firewall.json(context.theirs)
      Firewall.run!(context.theirs, ["nft", "flush", "ruleset"])
    end
  end

  test "a table without a block", context do
    block = "table inet t { chain c { accept; }; }\n"

    for text <-
          [
            "table inet t\n",
            "table inet t",
            "table t\n",
            "table inet t;",
            "table inet t; " <> block,
            "table inet t\n" <> block,
            "table inet t\ndelete table inet t\n" <> block,
            "table inet t\nflush table inet t\n" <> block,
            "table inet t # to be\ndelete table inet t\nadd table ip u\n" <> block,
            "table inet t\nadd chain inet t d\nadd rule inet t d drop\n" <> block,
            "add table inet t\n" <> block,
            "table inet t\ntable ip t\ntable t\n"
          ] ++ for(f <- ~w(ip ip6 inet arp bridge netdev), do: "table #{f} x\n") do
      assert {:ok, _} = same(text, context)
    end

    for text <- [
          "table inet t\n{ chain c { }; " <>
            "}\n",
          "table inet t accept\n",
          "table inet\n{ }"
        ] do
      assert same(text, context) == :refused
    end
  end

  @blocks [
    {"set", "set s { ", "type ipv4_addr; flags interval; "},
    {"map", "map m { ", "type ipv4_addr : verdict; elements = { 192.0.2.1 : drop }; "},
    {"counter", "counter x { ", "packets 3 bytes 4; "},
    {"quota", "quota x { ", "over 10 mbytes; "},
    {"limit", "limit x { ", "rate 5/second; "},
    {"ct helper", "ct helper x { ", "type \"ftp\" protocol tcp; "},
    {"ct timeout", "ct timeout x { ", "protocol tcp; policy = { established : 120 }; "},
    {"ct expectation", "ct expectation x { ", "protocol tcp; dport 98; timeout 2m; size 8; "},
    {"synproxy", "synproxy x { ", "mss 1460; wscale 7; "},
    {"chain", "chain c { ", "type filter hook input priority 5; policy drop; accept; "}
  ]

  test "a file is included, and a name defined, in every block", %{tmp_dir: dir} = context do
    put = fn name, text -> File.write!(Path.join(dir, name), text) end
    put.("none.nft", "define unused = 5\n")

    for {kind, head, body} <- @blocks do
      put.("body.nft", body <> "\n")
      put.("outer.nft", "include \"body.nft\"\n")
      table = fn inside -> "table ip t { #{head}#{inside} }; }\n" end

      for inside <- [
            "include \"body.nft\";",
            "include \"outer.nft\";",
            body <> "include \"none.nft\";",
            body <> "include \"absent-*.nft\";",
            "define v = 5; " <> body <> "redefine v = 6; undefine v;"
          ] do
        assert {:ok, [_ | _]} = same(table.(inside), context), "#{kind}: #{inside}"
      end

      put.("self.nft", "include \"self.nft\"\n")
      assert same(table.("include \"self.nft\";"), context) == :refused
      assert same(table.("include \"absent.nft\";"), context) == :refused

      put.("wrong.nft", "define a = 1\n\n  frobnicate 7\n")
      main = Path.join(dir, "main.nft")
      File.write!(main, table.("include \"wrong.nft\";"))
      assert {:error, %ParseError{} = error} = NFT.parse_file(main)
      assert {Path.basename(error.file), error.line, error.column} == {"wrong.nft", 3, 3}
      assert error.snippet == "  frobnicate 7"
    end

    # An error that is found only when the whole is compiled names the included file as well.
    put.("late.nft", "\n  elements = { 300.1.1.1 }\n")
    main = Path.join(dir, "main.nft")
    File.write!(main, "table ip t { set s { type ipv4_addr; include \"late.nft\"; }; }\n")
    assert {:error, %ParseError{line: 2} = error} = NFT.parse_file(main)
    assert Path.basename(error.file) == "late.nft"

    put.("10-a.nft", "tcp dport $p accept\n")
    put.("20-b.nft", "include \"10-a.nft\"\n")
    text = "table ip t { chain c { define p = 22; include \"[12]0-?.nft\"; }; }\n"
    assert {:ok, listed} = same(text, context)
    assert Enum.count(listed, &is_map_key(&1, "rule")) == 2

    for text <- [
          "table ip t { set s { type mark; elements = { include \"none.nft\" }; }; }\n",
          "table ip t { chain c { jump { include \"none.nft\"; accept; }; }; }\n",
          "table ip t { chain c { jump { define x = 5; accept; }; }; }\n"
        ],
        do: assert(same(text, context) == :refused)
  end

  @scopes [
    # Loaded.
    "table inet t { chain a { define p = 22; tcp dport $p; }; chain b { define p = 23; tcp " <>
      "dport $p; }; }",
    "define p = 22\ntable inet t { chain a { redefine p = 23; tcp dport $p; }; chain b { " <>
      "tcp dport $p; }; }",
    "define p = 22\ntable inet t { chain a { undefine p; tcp dport $p; }; }",
    "define p = 22\ntable inet t { chain a { redefine p = 23; undefine p; tcp dport $p; }; }",
    "table inet t { chain a { undefine p; accept; }; }",
    "undefine p\ntable inet t { chain a { accept; }; }",
    "define p = 22\ntable inet t { redefine p = 23; chain b { tcp dport $p; }; }\ntable " <>
      "inet u { chain b { tcp dport $p; }; }",
    "table inet t { define p = 22; chain a { redefine p = 23; tcp dport $p; }; chain b { " <>
      "tcp dport $p; }; }",
    "table inet t { set s { define x = 5; type inet_service; elements = { $x }; }; chain c " <>
      "{ tcp dport $x; }; }",
    "table inet t { counter n { define x = 5; packets 1 bytes 1; }; chain c { tcp dport $x; }; }",
    "table inet t { chain c { define p = 5; type filter hook input priority $p; undefine p; }; }",
    "table inet t { chain c { define p = 5; jump { tcp dport $p; }; }; }",
    "define p = 22\nundefine p\ndefine p = 23\ntable inet t { chain a { tcp dport $p; }; }",
    # Refused.
    "table inet t { chain a { define p = 22; tcp dport $p; }; chain b { tcp dport $p; }; }",
    "define p = 22\ntable inet t { chain a { define p = 23; tcp dport $p; }; }",
    "define p = 22\ntable inet t { chain a { undefine p; define p = 24; tcp dport $p; }; }",
    "table inet t { chain a { redefine p = 22; tcp dport $p; }; chain b { tcp dport $p; }; }",
    "table inet t { define p = 22; chain a { tcp dport $p; }; }\ntable inet t { chain b { " <>
      "tcp dport $p; }; }",
    "table inet t { set s { define x = 5; type mark; }; set r { define x = 5; type mark; }; }",
    "add table inet t\nadd chain inet t c { define x = 5; tcp dport $x; }\nadd rule inet t " <>
      "c tcp dport $x",
    "table inet t { chain a { redefine a = 2; undefine a; tcp dport $a; }; }",
    "table inet t { set s { elements = { $x }; define x = 5; type inet_service; }; }"
  ]

  test "a definition reaches as far as nft's", context do
    answers = for text <- @scopes, do: same(text <> "\n", context)
    assert Enum.count(answers, &(&1 == :refused)) == 9
  end

  # The words that a library of nft holds as strings, those of its grammar among them.
  defp words(nft) do
    {text, 0} = System.cmd("ldd", [nft])
    [_, path] = Regex.run(~r/libnftables\S* => (\S+)/, text)

    for [_, word] <- Regex.scan(~r/\0"?([a-z][a-z0-9-]{1,30})"?(?=\0)/, File.read!(path)),
        do: word
  end

  defp named(word) do
    """
    table ip #{word} {
      counter #{word} { }
      set #{word} { type mark; }
      chain #{word} { }
      chain c_ { meta mark @#{word} counter name #{word} jump #{word}; }
    }
    table ip6 #{word} {
      map #{word} { type mark : verdict; }
      chain c_ { meta mark vmap @#{word}; }
    }
    """
  end

  defp name?(word) do
    is_binary(NFT.format(Ruleset.add_table!(Ruleset.new(), :ip, word)))
  rescue
    ArgumentError -> false
  end

  @tag :newer_nft
  test "a name is written where it is no word of either nft's grammar", %{theirs: theirs} do
    nfts = [System.find_executable("nft"), NewerNft.path!()]
    words = nfts |> Enum.flat_map(&words/1) |> Enum.uniq()
    assert length(words) > 300
    {names, reserved} = Enum.split_with(words, &name?/1)
    assert length(reserved) > 100
    for nft <- nfts, do: Firewall.load!(theirs, Enum.map_join(names, &named/1), nft)
    Firewall.run!(theirs, ["nft", "flush", "ruleset"])

    taken =
      for word <- reserved,
          path = Scratch.path("nft"),
          :ok = File.write(path, named(word)),
          taken? = Enum.all?(nfts, &match?({_, 0}, Firewall.run(theirs, [&1, "-c", "-f", path]))),
          :ok = File.rm(path),
          taken?,
          do: word

    # Refused in none of these places; it stays refused here too.
    assert taken == ["unicast"]
  end

  test "an object or set declared twice", context do
    for {declarations, as} <- [
          {["counter k { packets 1 bytes 2; }", "counter k { packets 3 bytes 4; }"], :loaded},
          {["limit k { rate 1/second; }", "limit k { rate 2/second; }"], :loaded},
          {["quota k { 10 bytes used 1 bytes; }", "quota k { over 20 bytes used 3 bytes; }"],
           :loaded},
          {["quota k { over 20 bytes; }", "quota k { 10 bytes; }"], :loaded},
          {["synproxy k { mss 1460 wscale 7; }", "synproxy k { mss 1400 wscale 8; }"], :loaded},
          {[
             "ct helper k { type \"ftp\" protocol tcp; }",
             "ct helper k { type \"irc\" protocol tcp; }"
           ], :loaded},
          {["counter k { packets 1 bytes 2; }", "quota k { 10 bytes; }"], :loaded},
          {["set k { type mark; }", "map k { type mark : verdict; }"], :refused},
          {["set k { type mark; }", "set k { type inet_service; }"], :refused}
        ] do
      text = "table ip t { #{Enum.join(declarations, "; ")}; }\n"
      answer = same(text, context)
      assert if(as == :loaded, do: match?({:ok, [_ | _]}, answer), else: answer == :refused), text
    end
  end

  test "a chain declared twice", context do
    base = "type filter hook input priority 0;"

    for {first, second} <- [
          {base, base},
          {base, "type filter hook input priority filter;"},
          {base <> " policy drop;", base},
          {base, base <> " policy drop;"},
          {base <> " policy drop;", "policy accept;"},
          {base, "accept;"},
          {"accept;", "drop;"},
          {"comment \"a\";", "comment \"b\";"}
        ] do
      text = "table inet t { chain c { #{first} }; }\ntable inet t { chain c { #{second} }; }\n"
      assert {:ok, [_ | _]} = same(text, context)
    end

    for second <- [
          "type filter hook output priority 0;",
          "type filter hook input priority 5;",
          "type nat hook input priority 0;"
        ],
        add <- ["table inet t { chain c { #{second} }; }", "add chain inet t c { #{second} }"] do
      assert same("table inet t { chain c { #{base} }; }\n#{add}\n", context) == :refused
    end

    assert same("table inet t { chain c { }; chain c { #{base} }; }\n", context) == :refused
  end

  @hooks %{
    ip: ~w(prerouting input forward output postrouting),
    bridge: ~w(prerouting input forward output postrouting),
    arp: ~w(input output),
    netdev: ~w(ingress egress)
  }

  @tag :newer_nft
  test "every priority that a newer nft lists, and every name it takes", context do
    nft = NewerNft.path!()
    inet = @hooks.ip
    hooks = Map.merge(@hooks, %{ip6: inet, inet: inet ++ ["ingress"]})
    names = ~w(raw mangle dstnat filter security srcnat out conntrack)

    # A name where it is not one is refused by both. One nft -c -f a chain; each error is one line
    # of the answer.
    chains =
      for {family, hooks} <- hooks, hook <- hooks, name <- names do
        device = if hook in ["ingress", "egress"], do: " device \"lo\"", else: ""
        {family, "type filter hook #{hook}#{device} priority #{name}"}
      end

    script =
      Enum.map_join(chains, fn {family, head} ->
        "echo 'table #{family} t { chain c { #{head}; }; }' | #{nft} -c -f - >/dev/null " <>
          "2>&1; echo $?\n"
      end)

    codes =
      context.theirs |> Firewall.run!(["sh", "-c", script]) |> String.split("\n", trim: true)

    for {{family, head}, code} <- Enum.zip(chains, codes) do
      answer = NFT.parse("table #{family} t { chain c { #{head}; }; }")
      assert match?({:ok, _}, answer) == (code == "0"), "#{family}: #{head}"
    end

    # The name that is listed for a number is read back as that number.
    numbers =
      for n <- [-300, -200, -150, -100, 0, 50, 100, 300], offset <- [0, 5, -5], do: n + offset

    tables =
      for {family, hooks} <- hooks do
        declared =
          for hook <- hooks,
              {n, at} <- Enum.with_index(numbers),
              type <- types(family, hook, n) do
            device = if hook in ["ingress", "egress"], do: " device \"lo\"", else: ""
            name = "#{type}_#{hook}_#{at}"
            {name, n, "chain #{name} { type #{type} hook #{hook}#{device} priority #{n}; }\n"}
          end

        {family, declared}
      end

    text =
      for {family, declared} <- tables do
        ["table #{family} t {\n", Enum.map(declared, &elem(&1, 2)), "}\n"]
      end

    Firewall.load!(context.theirs, IO.iodata_to_binary(text), nft)
    assert {:ok, read} = context.theirs |> Firewall.run!([nft, "list", "ruleset"]) |> NFT.parse()

    for {family, declared} <- tables, {name, n, _} <- declared do
      assert read.tables[{family, "t"}].chains[name].priority == n, "#{family} #{name} #{n}"
    end

    assert Netfilter.push(context.sock, read) == :ok
    assert Firewall.json(context.ours, nft) == Firewall.json(context.theirs, nft)
  end

  # A nat chain stands behind conntrack (-200).
  defp types(family, hook, priority)
       when family in [:ip, :ip6, :inet] and hook not in ["forward", "ingress"] and
              priority > -200,
       do: ["filter", "nat"]

  defp types(_family, _hook, _priority), do: ["filter"]
end
