defmodule Linx.Netfilter.BoundChainTest do
  # `jump { ... }`: a chain that belongs to one rule. The kernel names it and takes it away with
  # the rule.
  use ExUnit.Case, async: true

  alias Linx.{Netfilter, NFT}
  alias Linx.Netfilter.{Expr, Rule, Ruleset}
  alias Linx.Test.{Firewall, NftDifferential}

  @moduletag :root
  @moduletag :netns
  @moduletag :nftables

  @text """
  table inet t {
    set seen { type ipv4_addr; flags dynamic; size 10; }
    chain c {
      type filter hook input priority 0; policy accept;
      meta l4proto { tcp, udp } th dport 53 jump {
        ip saddr { 192.0.2.0/24, 198.51.100.7 } counter accept
        iif "lo" accept comment "here"
        update @seen { ip saddr }
      }
      meta l4proto ipv6-icmp goto {
        drop
      }
      counter
    }
  }
  """

  setup do: NftDifferential.namespaces()

  test "text gives what nft makes of it, and comes back", %{
    ours: ours,
    sock: sock,
    theirs: theirs
  } do
    Firewall.load!(theirs, @text)
    assert {:ok, ruleset} = NFT.parse(@text)
    assert :ok == Netfilter.push(sock, ruleset)
    assert Firewall.json(ours) == Firewall.json(theirs)

    assert {:ok, pulled} = Netfilter.pull(sock)
    assert Map.keys(pulled.tables[{:inet, "t"}].chains) == ["c"]
    assert Netfilter.diff(pulled, ruleset).ops == []
    assert NFT.parse(NFT.format(ruleset)) == {:ok, ruleset}

    Firewall.run!(theirs, ["nft", "flush", "ruleset"])
    Firewall.load!(theirs, NFT.format(pulled))
    assert Firewall.json(ours) == Firewall.json(theirs)
    assert :ok == Netfilter.push(sock, pulled)
    assert Firewall.json(ours) == Firewall.json(theirs)
  end

  test "a changed rule within replaces the rule that owns it, and no other", %{sock: sock} do
    inside = fn port ->
      Rule.build!([Expr.payload(:tcp_dport), Expr.cmp(:eq, <<port::16>>), :accept])
    end

    ruleset = fn port ->
      Ruleset.new()
      |> Ruleset.add_table!(:ip, "t")
      |> Ruleset.add_chain!("t", "c", type: :filter, hook: :input, priority: 0)
      |> Ruleset.add_rule!("t", "c", [{:jump, [inside.(22), inside.(port)]}], tag: :owner)
      |> Ruleset.add_rule!("t", "c", [Expr.counter()], tag: :other)
    end

    assert :ok == Netfilter.push(sock, ruleset.(80))
    assert {:ok, before} = Netfilter.pull(sock)
    assert Netfilter.diff(before, ruleset.(80)).ops == []

    assert [{:replace_rule, :ip, "t", "c", _handle, _rule}] =
             Netfilter.diff(before, ruleset.(443)).ops

    assert :ok == Netfilter.push(sock, ruleset.(443), mode: :reconcile)
    assert {:ok, now} = Netfilter.pull(sock)
    assert Netfilter.diff(now, ruleset.(443)).ops == []
    assert handle(before, :other) == handle(now, :other)
  end

  test "a rule of its own messages cannot have one, nor an element of a map" do
    rule = Rule.build!([{:goto, [Rule.build!([:drop])]}])
    message = ~r/to_batch/

    assert_raise ArgumentError, message, fn ->
      Netfilter.Encoder.rule(rule, :ip, "t", "c")
    end

    assert {:error, _} =
             Netfilter.Vmap.new("m",
               key_type: :inet_service,
               elements: [{22, {:jump, [Rule.build!([:drop])]}}]
             )
  end

  test "chains in braces do not nest" do
    text = "table ip t {\n chain c {\n jump {\n goto {\n drop\n }\n }\n }\n}"
    assert {:error, %NFT.ParseError{line: 4} = error} = NFT.parse(text)
    assert Exception.message(error) =~ "cannot hold another"
  end

  defp handle(ruleset, tag) do
    Enum.find(ruleset.tables[{:ip, "t"}].chains["c"].rules, &(&1.tag == tag)).handle
  end
end
