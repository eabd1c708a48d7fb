defmodule Linx.Netfilter.FramesTest do
  # Where in the ruleset each message of a batch comes from: what a refusal by the kernel is told
  # by.
  use ExUnit.Case, async: true

  alias Linx.Netfilter.{Chain, Diff, Encoder, Expr, Rule, Ruleset, Set, Verdict}
  alias Linx.Netfilter.Encoder.{Batch, Frames, Patches}

  @newset 0x0A09
  @newsetelem 0x0A0C
  @newchain 0x0A03
  @newrule 0x0A06

  defp port(n, verdict \\ :accept),
    do: Rule.build!([Expr.payload(:tcp_dport), Expr.cmp(:eq, <<n::16>>), verdict])

  defp with_set,
    do:
      Rule.build!([Expr.payload(:tcp_dport), Expr.set_literal([80, 443], :inet_service), :accept])

  defp with_chain,
    do:
      Rule.build!([
        %Expr{name: :immediate, data: %Verdict{kind: :jump, target: [port(1), port(2)]}}
      ])

  defp ruleset(chains) do
    for {name, rules} <- chains,
        reduce: Ruleset.add_table!(Ruleset.new(), :inet, "fw") do
      ruleset -> Ruleset.put_chain!(ruleset, "fw", Chain.new!(name, rules: rules))
    end
  end

  defp places(frames),
    do:
      for(
        n <- 1..frames.count,
        do: frames |> Frames.at(n) |> then(fn {m, at} -> {m.type, at} end)
      )

  test "a rule is counted in its chain, its own sets and chains stand at the rule" do
    ruleset =
      ruleset([
        {"a", [port(1), port(2), with_set(), port(3), with_chain(), port(4), with_set()]},
        {"b", []},
        {"c", [with_set(), port(5)]}
      ])

    {:ok, frames} = Batch.frames(ruleset, destroy: :none)
    rule = fn chain, n -> [family: :inet, table: "fw", chain: chain, rule: n] end
    chain = fn name -> {@newchain, [family: :inet, table: "fw", chain: name]} end

    with_set = fn at -> [{@newset, at}, {@newsetelem, at}, {@newrule, at}] end
    with_chain = fn at -> [{@newchain, at} | List.duplicate({@newrule, at}, 3)] end

    assert places(frames) ==
             List.flatten([
               {0x0A00, [family: :inet, table: "fw"]},
               Enum.map(["a", "b", "c"], chain),
               {@newrule, rule.("a", 0)},
               {@newrule, rule.("a", 1)},
               with_set.(rule.("a", 2)),
               {@newrule, rule.("a", 3)},
               with_chain.(rule.("a", 4)),
               {@newrule, rule.("a", 5)},
               with_set.(rule.("a", 6)),
               with_set.(rule.("c", 0)),
               {@newrule, rule.("c", 1)}
             ])

    messages = Encoder.to_batch(ruleset, destroy: :none)
    assert length(messages) == frames.count

    for {message, n} <- Enum.with_index(messages, 1),
        do: assert({n, message} == {n, frames |> Frames.at(n) |> elem(0)})
  end

  test "elements that need several messages stand at their set" do
    set =
      Set.new!("s",
        key_type: :ipv4_addr,
        elements: for(n <- 1..5_000, do: {10, 0, div(n, 256), rem(n, 256)})
      )

    {:ok, frames} = [] |> ruleset() |> Ruleset.add_set!("fw", set) |> Batch.frames([])
    at = [family: :inet, table: "fw", set: "s", elements: 5_000]
    assert [_destroy, _table, _set, {@newsetelem, ^at}, {@newsetelem, ^at}] = places(frames)
  end

  test "a rule without a form on the wire is named, whatever comes before it" do
    bad = Rule.build!([Expr.new(:cmp, %{op: :eq, sreg: 1, data: :no_bytes})])

    for before <- [[], [port(1)], [port(1), with_set()], [with_chain(), port(2), port(3)]] do
      ruleset = ruleset([{"a", before ++ [bad, port(9)]}])
      at = [family: :inet, table: "fw", chain: "a", rule: length(before)]
      assert {:error, {:bad_rule, {^at, _text}}} = Batch.frames(ruleset, [])
    end
  end

  test "a rule that is too long for its attribute is refused" do
    long = Rule.build!(for _ <- 1..2_000, do: Expr.counter())
    assert {:error, {:bad_rule, {at, text}}} = Batch.frames(ruleset([{"a", [long]}]), [])
    assert at[:rule] == 0
    assert text =~ "16-bit length"
  end

  test "a patch's bad rule is a bad rule, with or without a tag" do
    for tag <- [nil, :t] do
      bad = Rule.build!([Expr.new(:cmp, %{op: :eq, sreg: 1, data: :no_bytes})], tag: tag)
      patch = Diff.diff(ruleset([{"a", []}]), ruleset([{"a", [bad]}]))

      assert {:error, {:bad_rule, {[family: :inet, table: "fw", chain: "a", tag: ^tag], _text}}} =
               Patches.frames(patch)
    end
  end
end
