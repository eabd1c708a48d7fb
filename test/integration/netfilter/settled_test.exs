defmodule Linx.Netfilter.SettledTest do
  # A ruleset that is in the kernel is one that a reconcile leaves alone, whatever the kernel
  # makes of it.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Netfilter.{Diff, Element, Object, Patch, Ruleset, Set}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Test.{Firewall, Settled}

  import Linx.Test.Settled, only: [parse!: 1, settled!: 2, settled!: 3]

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  setup do: Firewall.namespace()

  describe "helpers, timeouts and expectations of conntrack" do
    # {type, protocol, families that the kernel has it for}
    @helpers [
      {"ftp", "tcp", [:ip, :ip6, :inet]},
      {"tftp", "udp", [:ip, :ip6, :inet]},
      {"sip", "udp", [:ip, :ip6, :inet]},
      {"sane", "tcp", [:ip, :ip6, :inet]},
      {"amanda", "udp", [:ip, :ip6, :inet]},
      {"irc", "tcp", [:ip, :inet]},
      {"netbios-ns", "udp", [:ip, :inet]},
      {"snmp", "udp", [:ip, :inet]}
    ]

    @tag :ct_helper
    test "settle in every family that the helper exists for", %{sock: sock} = ctx do
      cases =
        for {type, protocol, families} <- @helpers, family <- families, l3 <- l3protos(family) do
          {type, protocol, family, l3}
        end

      there =
        for {{type, protocol, family, l3}, n} <- Enum.with_index(cases),
            rs =
              parse!("""
              table #{family} t#{n} {
                ct helper h { type "#{type}" protocol #{protocol}; #{l3} }
                chain c { #{protocol} dport 6667 ct helper set "h"; counter }
              }
              """),
            helper?(Netfilter.push(sock, rs)),
            {key, table} <- rs.tables,
            into: %{},
            do: {key, table}

      assert map_size(there) >= 5
      settled!(ctx, %Ruleset{tables: there})
    end

    # A helper whose module this kernel lacks is no case.
    defp helper?(:ok), do: true
    defp helper?({:error, %{errno: :enoent, operation: :newobj}}), do: false

    defp l3protos(:inet), do: ["", "l3proto ip;", "l3proto inet;"]
    defp l3protos(family), do: ["", "l3proto #{family};"]

    test "a helper that is wanted for another protocol is made again", %{sock: sock} = ctx do
      text = fn l3 ->
        ~s(table inet t { ct helper h { type "ftp" protocol tcp; l3proto #{l3}; }; })
      end

      :ok = Netfilter.push(sock, parse!(text.("ip")))
      wanted = parse!(text.("ip6"))
      assert {:ok, %Patch{ops: [_ | _]}} = Netfilter.dry_run(sock, wanted)
      :ok = Netfilter.push(sock, wanted, mode: :reconcile)
      settled!(ctx, wanted)
    end

    test "settle: timeouts and expectations, values from builders too", %{sock: sock} = ctx do
      for family <- ["ip", "ip6", "inet"] do
        rs =
          parse!("""
          table #{family} t {
            ct timeout a { protocol tcp; policy = { established: 1h3s, close: 7 } }
            ct timeout b { protocol udp; policy = { unreplied: 3, replied: 11 } }
            ct expectation e { protocol tcp; dport 9876; timeout 1234ms; size 3; \
          #{if family == "inet", do: "l3proto ip;"} }
            chain c { ct timeout set "a"; ct expectation set "e"; counter }
          }
          """)

        :ok = Netfilter.push(sock, rs)
        settled!(ctx, rs)
      end

      bare =
        Ruleset.new()
        |> Ruleset.add_table!(:inet, "b")
        |> Ruleset.add_object!("b", Object.new!(:ct_helper, "f", %{type: "ftp", protocol: :tcp}))
        |> Ruleset.add_object!(
          "b",
          Object.new!(:ct_expectation, "e",
            l3proto: :ip,
            protocol: :tcp,
            dport: 21,
            timeout: 1001,
            size: 1
          )
        )
        |> Ruleset.add_object!("b", Object.new!(:limit, "l", %{rate: 10}))
        |> Ruleset.add_object!("b", Object.new!(:limit, "m", %{rate: 10, burst: 0}))
        |> Ruleset.add_object!("b", Object.new!(:quota, "q", %{bytes: 10}))
        |> Ruleset.add_object!("b", Object.new!(:counter, "c"))

      :ok = Netfilter.push(sock, bare)
      settled!(ctx, bare)
    end
  end

  test "objects with the least and the most said settle", %{sock: sock} = ctx do
    objects = [
      counter: [nil, %{packets: 5}, []],
      quota: [%{bytes: 10, used: 3}, [bytes: 10, flags: [:inv]], %{bytes: 0, flags: []}],
      limit: [
        %{rate: 10, unit: :hour},
        %{rate: 10, type: :bytes},
        %{rate: 10, type: :bytes, burst: 0, flags: []},
        %{rate: 1, type: :bytes, burst: 5, unit: :week, flags: [:inv]}
      ],
      synproxy: [
        nil,
        %{mss: 1460},
        %{wscale: 3},
        %{mss: 0, wscale: 0},
        %{flags: [:sack_perm]},
        %{mss: 1400, flags: [:mss, :timestamp]}
      ],
      ct_expectation: [%{protocol: :udp, dport: 0, timeout: 0, size: 0, l3proto: :ip}],
      ct_timeout: [
        %{protocol: :tcp},
        %{protocol: :tcp, policy: %{established: 0}},
        %{protocol: :tcp, policy: [retrans: 5, unack: 6, syn_sent2: 3]},
        %{protocol: :udp, policy: %{}}
      ]
    ]

    for family <- [:inet, :ip, :bridge] do
      wanted =
        for {kind, all} <- objects,
            {data, n} <- Enum.with_index(all),
            family != :bridge or kind in [:counter, :quota, :limit],
            reduce: Ruleset.add_table!(Ruleset.new(), family, "t") do
          wanted -> Ruleset.add_object!(wanted, "t", Object.new!(kind, "o#{n}", data))
        end

      :ok = Netfilter.push(sock, wanted)
      settled!(ctx, wanted)
    end
  end

  test "rules that add to a set with what the set itself counts settle", %{sock: sock} = ctx do
    rs =
      parse!("""
      table inet t {
        set counted { type ipv4_addr . inet_service; flags dynamic; counter; size 64; }
        set limited { type ipv4_addr; flags dynamic,timeout; limit rate 5/second; timeout 1m; }
        set both { type ipv4_addr; flags dynamic; counter quota over 10 mbytes; size 64; }
        map answered { type ipv4_addr : mark; flags dynamic; counter; size 64; }
        set bare { type ipv4_addr; flags dynamic; size 64; }
        chain c {
          update @counted { ip saddr . tcp dport counter } comment "1"
          add @limited { ip saddr limit rate 5/second } drop comment "2"
          update @both { ip saddr counter quota over 10 mbytes } comment "3"
          update @answered { ip saddr counter : 0x1 } comment "4"
          update @bare { ip saddr counter } comment "5"
          update @counted { ip saddr . tcp dport } comment "6"
        }
      }
      """)

    assert Netfilter.push(sock, rs) == :ok
    settled!(ctx, rs, tag: :comment)

    # Statements of the rule alone are part of it.
    [rule] =
      for rule <- rs.tables[{:inet, "t"}].chains["c"].rules, rule.comment == "5", do: rule

    bare = %{rule | expressions: Enum.map(rule.expressions, &without_statements/1)}
    assert {:error, %{errno: :enoent}} = Netfilter.delete_rule(sock, {:inet, "t", "c"}, bare)

    for rule <- rs.tables[{:inet, "t"}].chains["c"].rules,
        do:
          assert(
            {rule.comment, Netfilter.delete_rule(sock, {:inet, "t", "c"}, rule)} ==
              {rule.comment, :ok}
          )
  end

  defp without_statements(%{name: :dynset} = expr),
    do: %{expr | data: Map.delete(expr.data, :exprs)}

  defp without_statements(expr), do: expr

  test "a limit without a burst is the one that the kernel makes of it", %{sock: sock} = ctx do
    alias Linx.Netfilter.Expr

    rs =
      Ruleset.new()
      |> Ruleset.add_table!(:ip, "t")
      |> Ruleset.add_chain!("t", "c")
      |> Ruleset.add_rule!("t", "c", [Expr.limit(10, burst: 0), :accept])
      |> Ruleset.add_set!(
        "t",
        Set.new!("s",
          key_type: :ipv4_addr,
          flags: [:dynamic],
          exprs: [Expr.limit(10, burst: 0)],
          elements: ["192.0.2.1"]
        )
      )

    :ok = Netfilter.push(sock, rs)
    settled!(ctx, rs)
  end

  describe "timeouts that are no multiple of the kernel's tick" do
    @odd [1, 3, 7, 9, 11, 250, 1001, 310_250, 3_600_250, 86_400_001]

    test "are the ones that were wanted", %{sock: sock} = ctx do
      sets =
        for ms <- @odd do
          """
          set s#{ms} { type ipv4_addr; flags dynamic,timeout; timeout #{ms}ms; }
          map m#{ms} { type ipv4_addr : mark; flags timeout; timeout #{ms}ms; }
          set e#{ms} { type ipv4_addr . inet_service; flags timeout; elements = { 192.0.2.1 . 80 \
          timeout 1h#{ms}ms, 192.0.2.2 . 81 timeout 1d#{ms}ms }; }
          set i#{ms} { type ipv4_addr; flags interval,timeout; elements = { 192.0.2.0/25 timeout \
          1h#{ms}ms }; }
          map f#{ms} { type ipv4_addr : verdict; flags timeout; elements = { 192.0.2.1 timeout \
          1h#{ms}ms : drop }; }
          chain c#{ms} {
            add @s#{ms} { ip saddr timeout #{ms}ms }
            update @s#{ms} { ip saddr timeout 1h#{ms}ms limit rate 1/second } drop
            meter x#{ms} { ip saddr timeout #{ms}ms counter } accept
          }
          """
        end

      rs = parse!("table ip t {\n#{Enum.join(sets)}}")
      :ok = Netfilter.push(sock, rs)
      settled!(ctx, rs)
    end

    test "keep the elements that traffic added", %{sock: sock, pid: pid} = ctx do
      rs =
        parse!(
          "table ip t { set d { type ipv4_addr; flags dynamic,timeout; timeout 310250ms; }; }"
        )

      :ok = Netfilter.push(sock, rs)
      Firewall.run!(pid, ~w(nft add element ip t d) ++ ["{ 192.0.2.7 timeout 1h }"])
      settled!(ctx, rs)
      assert [%Element{key: {192, 0, 2, 7}}] = Settled.elements(sock, {:ip, "t"}, "d")
    end

    test "are other timeouts when they differ by more than the kernel rounds", %{sock: sock} do
      text = fn set, element ->
        """
        table ip t {
          set s { type ipv4_addr; flags timeout; timeout #{set}ms; }
          set e { type ipv4_addr; flags timeout; elements = { 192.0.2.1 timeout #{element}ms }; }
          chain c { add @s { ip saddr timeout #{set}ms }; }
        }
        """
      end

      :ok = Netfilter.push(sock, parse!(text.(600_000, 3_600_000)))
      assert {:ok, patch} = Netfilter.dry_run(sock, parse!(text.(600_100, 3_600_100)))

      assert [:create_set, :delete_set] ==
               for({kind, _, _} <- patch.ops, kind == :create_set, do: kind) ++
                 for({kind, _, _, _} <- patch.ops, kind == :delete_set, do: kind)

      assert [[%Element{timeout: 3_600_100}]] =
               for({:add_set_elements, :ip, "t", "e", elements} <- patch.ops, do: elements)

      # Above what is wanted is another value too.
      assert {:ok, %Patch{ops: [_ | _]}} =
               Netfilter.dry_run(sock, parse!(text.(599_992, 3_599_992)))
    end
  end

  describe "maps of objects in a rule" do
    test "are pulled as they were pushed, and settle", %{sock: sock} = ctx do
      rs =
        parse!("""
        table inet t {
          counter a { packets 0 bytes 0 }
          counter b { packets 0 bytes 0 }
          quota q { 100 mbytes }
          limit l { rate 10/second burst 5 packets }
          synproxy p { mss 1460; wscale 7; timestamp sack-perm }
          ct helper h { type "ftp" protocol tcp; }
          ct timeout o { protocol tcp; policy = { established: 100 } }
          ct expectation e { protocol tcp; dport 9876; timeout 60s; size 12; l3proto ip; }
          chain c {
            counter name tcp dport map { 80 : "a", 443 : "b" }
            counter name ip saddr . tcp dport map { 192.0.2.1 . 80 : "a", 192.0.2.2 . 443 : "b" }
            counter name ip saddr map { 192.0.2.0/25 : "a", 192.0.2.128/25 : "b" }
            quota name tcp dport map { 80 : "q" }
            limit name tcp dport map { 80 : "l" }
            synproxy name tcp dport map { 80 : "p" }
            ct helper set tcp dport map { 21 : "h" }
            ct timeout set tcp dport map { 21 : "o", 22 : "o" }
            ct expectation set tcp dport map { 21 : "e" }
          }
        }
        """)

      :ok = Netfilter.push(sock, rs)
      {:ok, pulled} = Netfilter.pull(sock, {:inet, "t"})
      assert expressions(pulled) == expressions(rs)
      settled!(ctx, rs)
    end

    test "of a rule without a :via are the same rule", %{sock: sock} = ctx do
      alias Linx.Netfilter.Expr

      rs =
        Ruleset.new()
        |> Ruleset.add_table!(:ip, "t")
        |> Ruleset.add_object!("t", Object.new!(:counter, "a"))
        |> Ruleset.add_chain!("t", "c")
        |> Ruleset.add_rule!("t", "c", [
          Expr.payload(:ip_saddr),
          Expr.set_literal([{"192.0.2.1", "a"}], :ipv4_addr, data_type: {:object, :counter})
        ])

      :ok = Netfilter.push(sock, rs)
      settled!(ctx, rs)
    end

    defp expressions(ruleset) do
      for {_key, table} <- ruleset.tables,
          {name, chain} <- table.chains,
          do: {name, Enum.map(chain.rules, & &1.expressions)}
    end
  end

  describe "dry_run of a socket" do
    test "shows what a reconcile does, and no other table", %{sock: sock, pid: pid} do
      Firewall.load!(pid, "table ip docker { chain c { accept; }; }")
      mine = fn body -> parse!("table inet mine { #{body} }") end
      base = mine.("chain c { accept; }; set s { type ipv4_addr; elements = { 192.0.2.1 }; }")

      assert {:ok, %Patch{ops: ops}} = Netfilter.dry_run(sock, base)
      assert [{:create_table, :inet, %{name: "mine"}} | _] = ops
      :ok = Netfilter.push(sock, base)

      wanted = [
        base,
        mine.("chain c { drop; }; set s { type ipv4_addr; elements = { 192.0.2.1 }; }"),
        mine.(
          "chain c { accept; }; set s { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 }; }"
        ),
        mine.("chain c { accept; drop; }; set s { type ipv4_addr; elements = { 192.0.2.1 }; }"),
        mine.(
          "chain c { accept; }; set s { type ipv4_addr; elements = { 192.0.2.1 }; }; " <>
            "counter k { }"
        ),
        mine.("chain c { accept; }"),
        mine.("chain c { counter; accept; }; chain d { jump c; }"),
        mine.("chain c { type filter hook input priority 0; policy drop; }"),
        mine.("chain c { tcp dport { 22, 80 } accept; }"),
        mine.("map m { type ipv4_addr : verdict; elements = { 192.0.2.1 : drop }; }")
      ]

      # Twice each: what was pushed a moment ago is the case where nothing is sent.
      for rs <- Enum.flat_map(wanted, &[&1, &1]) do
        before = Settled.generation(sock)
        assert {:ok, patch} = Netfilter.dry_run(sock, rs)
        refute Enum.any?(patch.ops, &("docker" in Tuple.to_list(&1)))
        assert Settled.generation(sock) == before
        :ok = Netfilter.push(sock, rs, mode: :reconcile)
        assert Settled.generation(sock) == before == Patch.empty?(patch)
      end

      assert Firewall.run!(pid, ~w(nft list tables)) =~ "docker"
    end

    test "resolves the names of interfaces", %{sock: sock, pid: pid} = ctx do
      Firewall.run!(pid, ~w(ip link add eth0 type veth peer name eth1))

      rs =
        parse!("""
        table inet t {
          set s { typeof iif . ip saddr; elements = { "eth0" . 192.0.2.1 }; }
          map m { type iface_index : verdict; elements = { "eth1" : accept }; }
          chain c { iif "eth0" accept; iif { "eth0", "eth1" } drop; iif . ip length { "eth1" . \
        400 }; }
        }
        """)

      :ok = Netfilter.push(sock, rs)
      settled!(ctx, rs)
      {:ok, pulled} = Netfilter.pull(sock, {:inet, "t"})
      # Two values, one of which has names, are compared as they are.
      refute Patch.empty?(Netfilter.dry_run(pulled, rs))
    end

    test "answers what a push answers", %{sock: sock} do
      rs = Ruleset.add_table!(Ruleset.new(), :inet, "t")

      assert {:error, {:bad_option, {:mode, :replace}}} =
               Netfilter.dry_run(sock, rs, mode: :replace)

      {:ok, two} = NFT.parse("table inet t { chain c { accept; drop; }; }")
      assert {:error, {:tag_required, {:inet, "t", "c"}}} = Netfilter.dry_run(sock, two)
      {:ok, absent} = NFT.parse("table inet t { chain c { iif \"absent0\" accept; }; }")
      assert {:error, %{errno: :enodev}} = Netfilter.dry_run(sock, absent)

      assert_raise ArgumentError, ~r/NFT.parse/, fn ->
        Netfilter.dry_run(sock, "table ip t { }")
      end
    end
  end

  describe "tag: :comment" do
    defp commented(rules) do
      body = for {match, comment} <- rules, do: "#{match} comment \"#{comment}\"\n"
      {:ok, rs} = NFT.parse("table inet t { chain c { #{body} } }")
      rs
    end

    defp by_comment(sock) do
      {:ok, rs} = Netfilter.pull(sock, {:inet, "t"})
      for r <- rs.tables[{:inet, "t"}].chains["c"].rules, do: {r.comment, r.handle}
    end

    test "knows a rule again by what it says", %{sock: sock} = ctx do
      rs =
        commented([{"tcp dport 22 counter", "a"}, {"tcp dport 80 counter", "b"}, {"drop", "c"}])

      :ok = Netfilter.push(sock, rs)
      settled!(ctx, rs, tag: :comment)
      [{"a", a}, {"b", b}, {"c", c}] = by_comment(sock)

      changed =
        commented([
          {"tcp dport 22 counter", "a"},
          {"udp dport 53 counter", "new"},
          {"tcp dport 8080 counter", "b"},
          {"drop", "c"}
        ])

      :ok = Netfilter.push(sock, changed, mode: :reconcile, tag: :comment)
      assert [{"a", ^a}, {"new", _}, {"b", other}, {"c", ^c}] = by_comment(sock)
      assert other != b
      settled!(ctx, changed, tag: :comment)

      :ok = Netfilter.push(sock, rs, mode: :reconcile, tag: :comment)
      assert [{"a", ^a}, {"b", _}, {"c", ^c}] = by_comment(sock)
    end

    test "takes away what others added", %{sock: sock, pid: pid} do
      rs = commented([{"tcp dport 22", "a"}, {"tcp dport 80", "b"}])
      :ok = Netfilter.push(sock, rs)
      before = by_comment(sock)
      Firewall.run!(pid, ~w(nft add rule inet t c accept))
      Firewall.run!(pid, ~w(nft insert rule inet t c accept comment a))
      :ok = Netfilter.push(sock, rs, mode: :reconcile, tag: :comment)
      # The first of two rules with the comment is matched with it, and then replaced.
      assert [{"a", _}, {"b", b}] = by_comment(sock)
      assert {"b", b} in before
    end

    test "needs a comment of its own on each rule", %{sock: sock} do
      opts = [mode: :reconcile, tag: :comment]
      {:ok, bare} = NFT.parse("table inet t { chain c { accept comment \"a\"; drop; }; }")
      assert {:error, {:tag_required, {:inet, "t", "c"}}} = Netfilter.push(sock, bare, opts)
      twice = commented([{"accept", "a"}, {"drop", "a"}])

      assert {:error, {:duplicate_comment, {:inet, "t", "c", "a"}}} =
               Netfilter.push(sock, twice, opts)

      assert {:error, {:bad_option, {:tag, :name}}} =
               Netfilter.push(sock, twice, mode: :reconcile, tag: :name)
    end
  end

  describe "delete_rule" do
    defp rule(text) do
      {:ok, rs} = NFT.parse("table inet t { chain c { #{text}; }; }")
      hd(rs.tables[{:inet, "t"}].chains["c"].rules)
    end

    test "deletes the rule that says the same, and no other", %{sock: sock, pid: pid} do
      Firewall.run!(pid, ~w(ip link add eth0 type veth peer name eth1))

      Firewall.load!(pid, """
      table inet t { chain c {
        tcp dport 22 counter packets 7 bytes 9 accept
        ip length . tcp dport { 400 . 80 } drop comment "one"
        iif "eth0" accept
        udp dport 53 accept
        udp dport 53 accept
        meta mark 1 comment "a"
        meta mark 1 comment "b"
      }; }
      """)

      place = {:inet, "t", "c"}
      assert :ok = Netfilter.delete_rule(sock, place, rule("tcp dport 22 counter accept"))

      assert :ok =
               Netfilter.delete_rule(sock, place, rule("ip length . tcp dport { 400 . 80 } drop"))

      assert :ok = Netfilter.delete_rule(sock, place, rule("iif \"eth0\" accept"))
      assert :ok = Netfilter.delete_rule(sock, place, rule("meta mark 1 comment \"b\""))

      assert {:error, {:ambiguous_rule, [_, _]}} =
               Netfilter.delete_rule(sock, place, rule("udp dport 53 accept"))

      before = Settled.generation(sock)

      for {place, text} <- [
            {place, "tcp dport 22 counter accept"},
            {place, "udp dport 53 drop"},
            {place, "meta mark 1 comment \"b\""},
            {{:inet, "t", "gone"}, "accept"},
            {{:inet, "gone", "c"}, "accept"}
          ] do
        assert {:error, %{errno: :enoent}} = Netfilter.delete_rule(sock, place, rule(text))
      end

      assert Settled.generation(sock) == before
      listed = Firewall.run!(pid, ~w(nft list chain inet t c))
      assert length(String.split(listed, "accept")) == 3
      assert listed =~ ~s(comment "a")
      refute listed =~ ~s(comment "b")
    end
  end

  describe "a table with an owner" do
    test "keeps it under a push of text, and goes with its socket", %{sock: sock, pid: pid} do
      {:ok, mine} = Linx.Netlink.Nfnl.open({:pid, pid})
      {:ok, _} = Netfilter.create_table(mine, "own", comment: "of the program")

      {:ok, _} =
        Netfilter.create_table(mine, "kept", persist: true, comment: "stays", family: :ip)

      # A table that is not there yet does not hide the others.
      rs =
        parse!("""
        table inet fresh { chain c { accept; }; }
        table inet own { chain c { accept; }; }
        table ip kept { chain c { accept; }; }
        """)

      for opts <- [[], [mode: :reconcile], [mode: :replace]] do
        :ok = Netfilter.push(mine, rs, opts)
        {:ok, %{tables: tables}} = Netfilter.pull(mine)
        assert %{flags: [:owner], comment: "of the program"} = tables[{:inet, "own"}]
        assert %{flags: [:persist], comment: "stays"} = tables[{:ip, "kept"}]
        assert map_size(tables[{:inet, "own"}].chains) == 1
      end

      # Another socket is told whose it is.
      assert {:error, %{errno: :eperm} = error} = Netfilter.push(sock, rs)
      assert Exception.message(error) =~ "another socket"

      # The properties in the text take effect.
      {:ok, said} = NFT.parse("table inet own { comment \"new\"; chain c { accept; }; }")
      :ok = Netfilter.push(mine, said)
      {:ok, %{tables: tables}} = Netfilter.pull(mine)
      assert %{flags: [:owner], comment: "new"} = tables[{:inet, "own"}]

      :ok = Linx.Netlink.Socket.close(mine)
      assert {:ok, %{tables: left}} = Netfilter.pull(sock)
      assert Map.keys(left) == [{:inet, "fresh"}, {:ip, "kept"}]
    end

    test "and no other: a table without is made as the text says", %{sock: sock} do
      {:ok, first} = NFT.parse("table ip t { comment \"first\"; }")
      {:ok, second} = NFT.parse("table ip t { }")
      :ok = Netfilter.push(sock, first)
      :ok = Netfilter.push(sock, second)
      {:ok, %{tables: tables}} = Netfilter.pull(sock)
      assert %{flags: [], comment: nil} = tables[{:ip, "t"}]
    end
  end

  describe "names that are not there" do
    @modes [[], [mode: :reconcile]]

    test "are refused by name before anything is sent, in every mode", %{sock: sock} do
      table = fn rule ->
        "table inet t { set blocked { type ipv4_addr; }; counter web { }; chain input_wan { " <>
          "}; " <>
          "map v { type ipv4_addr : verdict; }; chain c { #{rule}; }; }"
      end

      cases = [
        {"jump inptu_wan", ~s(no chain "inptu_wan" in this table, did you mean input_wan?)},
        {"goto inptu_wan", ~s(no chain "inptu_wan")},
        {"ip saddr @blokced drop", ~s(no set "blokced" in this table, did you mean blocked?)},
        {"counter name \"wbe\"", ~s(no counter "wbe" in this table, did you mean web?)},
        {"flow add @ft", ~s(no flowtable "ft" in this table)},
        {"ip saddr vmap { 192.0.2.1 : jump inptu_wan }", ~s(no chain "inptu_wan")},
        {"ip saddr vmap @w", ~s(no set "w" in this table)},
        {"counter name ip saddr map { 192.0.2.1 : \"wbe\" }", ~s(no counter "wbe")},
        {"quota name \"web\"", ~s(no quota "web")},
        {"ct helper set \"ftp\"", ~s(no ct helper "ftp")},
        {"add @blokced { ip saddr }", ~s(no set "blokced")},
        {"jump { ip saddr @blokced drop; }", ~s(no set "blokced")}
      ]

      for {rule, text} <- cases, opts <- @modes, {:ok, rs} <- [NFT.parse(table.(rule))] do
        assert {:error, %{errno: :enoent, at: at} = error} = Netfilter.push(sock, rs, opts)
        assert [family: :inet, table: "t", chain: "c", rule: 0] = Enum.take(at, 4)
        assert Exception.message(error) =~ text
        assert {:error, %{message: message}} = Netfilter.dry_run(sock, rs)
        assert message == error.message
        assert {:ok, %{tables: tables}} = Netfilter.pull(sock)
        assert tables == %{}
      end

      # Each of them was tried: what the parser refuses would be no case.
      assert Enum.all?(cases, fn {rule, _} -> match?({:ok, _}, NFT.parse(table.(rule))) end)
    end

    test "in a map that the table declares", %{sock: sock} do
      for {declared, text} <- [
            {"map m { type ipv4_addr : verdict; elements = { 192.0.2.1 : jump gone }; }",
             ~s(no chain "gone")},
            {"map m { type ipv4_addr : counter; elements = { 192.0.2.1 : \"gone\" }; }",
             ~s(no counter "gone")}
          ],
          opts <- @modes do
        {:ok, rs} = NFT.parse("table ip t { #{declared}; }")

        assert {:error, %{errno: :enoent, operation: :newsetelem, at: at} = error} =
                 Netfilter.push(sock, rs, opts)

        assert at[:set] == "m"
        assert Exception.message(error) =~ text
      end
    end

    test "what the kernel refuses has the name with it", %{sock: sock} do
      # The kernel jumps to no base chain.
      {:ok, rs} =
        NFT.parse("""
        table ip t {
          chain a { type filter hook input priority 0; }
          chain b { counter jump a; }
        }
        """)

      assert {:error, %{at: at} = error} = Netfilter.push(sock, rs)
      assert at[:expr] == 1
      assert Exception.message(error) =~ ~s(the expression names chain "a")
    end
  end

  test "elements that overlap are named as nft writes them", %{sock: sock} do
    for {type, elements, text} <- [
          {:ipv4_addr, ["10.0.0.0/8", "10.1.0.0/16"], "10.0.0.0/8 and 10.1.0.0/16"},
          {:ipv6_addr, ["2001:db8::/32", "2001:db8::1"], "2001:db8::/32 and 2001:db8::1"},
          {:inet_service, [80..90, 85], "80-90 and 85"},
          {:ifname, ["eth*", "eth0"], ~s("eth*" and "eth0")}
        ] do
      set = Set.new!("s", key_type: type, flags: [:interval], elements: elements)
      rs = Ruleset.new() |> Ruleset.add_table!(:ip, "t") |> Ruleset.add_set!("t", set)
      assert {:error, {:bad_set_element, {_at, message}}} = Netfilter.push(sock, rs)
      assert message == "elements overlap: " <> text
    end
  end

  describe "arguments" do
    test "that are no ruleset or no such socket raise", %{sock: sock, pid: pid} do
      rs = Ruleset.add_table!(Ruleset.new(), :ip, "t")

      assert_raise ArgumentError, ~r/Linx.NFT.parse/, fn ->
        Netfilter.push(sock, "table ip t { }")
      end

      assert_raise ArgumentError, ~r/inside/, fn -> Netfilter.push(sock, {:ok, rs}) end
      assert_raise ArgumentError, ~r/socket/, fn -> Netfilter.push(nil, rs) end
      {:ok, rtnl} = Linx.Netlink.Rtnl.open({:pid, pid})
      assert_raise ArgumentError, ~r/Nfnl.open/, fn -> Netfilter.push(rtnl, rs) end
      assert_raise ArgumentError, ~r/Nfnl.open/, fn -> Netfilter.dry_run(rtnl, rs) end
      place = {:ip, "t", "c"}
      {:ok, rule} = Linx.NFT.parse_rule("accept")

      for {message, verb, arguments} <- [
            {~r/Linx.NFT.parse_rule/, :delete_rule, [sock, place, "accept"]},
            {~r/inside/, :delete_rule, [sock, place, {:ok, rule}]},
            {~r/not a rule: nil/, :delete_rule, [sock, place, nil]},
            {~r/not a chain/, :delete_rule, [sock, {:ip, "t"}, rule]},
            {~r/a table \{family, name\}: nil/, :pull, [sock, nil]},
            {~r/a table \{family, name\}: "t"/, :pull, [sock, "t", []]},
            {~r/inside/, :diff, [{:ok, rs}, rs]},
            {~r/Linx.NFT.parse\/1/, :diff, [rs, "table ip t { }"]},
            {~r/parse_file/, :diff, [rs, Linx.NFT.stream("absent")]}
          ] do
        assert_raise ArgumentError, message, fn -> apply(Netfilter, verb, arguments) end
      end

      assert {:error, :enoent} = Netfilter.dry_run(sock, Linx.NFT.stream("/absent/file"))
    end
  end

  describe "elements of other programs" do
    test "whose parts nobody describes are written back byte for byte", %{sock: sock} do
      # A set without any record, as another program makes it: two numbers of open size in twelve
      # bytes, and bytes in the padding.
      set = %Set{name: "s", table: "t", key_type: {:concat, [{:integer, 16}, {:integer, 64}]}}
      foreign = %{set | typeof: %{key: nil}}

      rs =
        put_in(Ruleset.add_table!(Ruleset.new(), :ip, "t").tables[{:ip, "t"}].sets["s"], foreign)

      keys = [<<0, 5, 0, 0, 1::64>>, <<0, 6, 0, 9, 2::64>>]
      rs = put_in(rs.tables[{:ip, "t"}].sets["s"].elements, keys)
      :ok = Netfilter.push(sock, rs)
      {:ok, pulled} = Netfilter.pull(sock, {:ip, "t"})
      :ok = Netfilter.push(sock, pulled)
      {:ok, again} = Netfilter.pull(sock, {:ip, "t"})
      assert raw(sock) == Enum.sort(keys)

      assert again.tables[{:ip, "t"}].sets["s"].elements ==
               pulled.tables[{:ip, "t"}].sets["s"].elements

      # Elements wanted in other widths are compared by their bytes: the one that is there stays,
      # and one is added.
      wanted = put_in(rs.tables[{:ip, "t"}].sets["s"], %{set | elements: [{5, 1}, {7, 3}]})
      :ok = Netfilter.push(sock, wanted, mode: :reconcile)
      assert raw(sock) == [<<0, 5, 0, 0, 1::64>>, <<0, 7, 0, 0, 3::64>>]
    end

    defp raw(sock) do
      alias Linx.Netfilter.Datum
      {:ok, %{tables: %{{:ip, "t"} => table}}} = Netfilter.pull(sock, {:ip, "t"})
      set = table.sets["s"]
      Enum.sort(for e <- set.elements, do: Datum.to_bytes(set.key_type, e))
    end

    test "sets from builders, which have no record of nft's, are pulled as they were pushed",
         %{sock: sock} = ctx do
      concat = {:concat, [{:integer, 12}, :ipv4_addr, {:integer, 16, :host}, {:string, 40}]}

      rs =
        Ruleset.new()
        |> Ruleset.add_table!(:ip, "t")
        |> Ruleset.add_set!(
          "t",
          Set.new!("s", key_type: concat, elements: [{5, "192.0.2.1", 7, "abc"}])
        )
        |> Ruleset.add_set!(
          "t",
          Set.new!("i",
            key_type: {:concat, [{:integer, 12}, {:integer, 16, :host}]},
            flags: [:interval],
            elements: [{{:range, 5, 9}, 7}, {20, {:range, 1, 300}}]
          )
        )
        |> Ruleset.add_map!(
          "t",
          NMap.new!("m",
            key_type: :ipv4_addr,
            data_type: {:concat, [:ipv4_addr, {:integer, 12}]},
            elements: [{"192.0.2.1", {"192.0.2.2", 5}}]
          )
        )

      :ok = Netfilter.push(sock, rs)
      {:ok, %{tables: %{{:ip, "t"} => pulled}}} = Netfilter.pull(sock, {:ip, "t"})
      wanted = rs.tables[{:ip, "t"}]
      assert pulled.sets["s"].key_type == concat

      for {name, set} <- Map.merge(wanted.sets, wanted.maps) do
        there = pulled.sets[name] || pulled.maps[name]
        assert {name, Enum.sort(there.elements)} == {name, Enum.sort(set.elements)}
        assert {name, there.key_type} == {name, set.key_type}
      end

      # nft has no text for a key of such a width, and ends with a signal when it lists one.
      settled!(ctx, rs, nft: false)
      assert Patch.empty?(Diff.diff(%Ruleset{tables: %{{:ip, "t"} => pulled}}, rs))
    end
  end
end
