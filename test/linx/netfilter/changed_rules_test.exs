defmodule Linx.Netfilter.ChangedRulesTest do
  # The diff of a chain whose rules keep their order, and of one whose rules do not.
  use ExUnit.Case, async: true

  alias Linx.Netfilter.{Chain, Diff, Expr, Rule, Ruleset}

  defp rule(tag, port, handle \\ nil) do
    exprs = [Expr.payload(:tcp_dport), Expr.cmp(:eq, <<port::16>>), Expr.counter(), :accept]
    Rule.build!(exprs, tag: tag, handle: handle)
  end

  defp ruleset(rules) do
    chain = Chain.new!("c", rules: rules)
    Ruleset.new() |> Ruleset.add_table!(:inet, "t") |> Ruleset.put_chain!("t", chain)
  end

  defp ops(from, to), do: Diff.diff(ruleset(from), ruleset(to)).ops

  test "a changed rule among others is replaced by its handle" do
    from = for n <- 1..50, do: rule(:"tag#{n}", n, 100 + n)
    to = for n <- 1..50, do: rule(:"tag#{n}", if(n == 20, do: 99, else: n))

    assert [{:replace_rule, :inet, "t", "c", 120, %Rule{tag: :tag20}}] = ops(from, to)
    assert ops(from, Enum.map(from, &%{&1 | handle: nil})) == []
  end

  test "what traffic has counted is no change" do
    counted = fn rule ->
      put_in(rule.expressions, [
        Expr.payload(:tcp_dport),
        Expr.cmp(:eq, <<1::16>>),
        Expr.new(:counter, %{packets: 7, bytes: 420}),
        %Expr{name: :immediate, data: Linx.Netfilter.Verdict.new!(:accept)}
      ])
    end

    from = [rule(:a, 1, 5), rule(:b, 2, 6)]
    to = [rule(:a, 1), rule(:b, 2)]
    assert ops(List.update_at(from, 0, counted), to) == []
  end

  test "tags that come twice are told apart by their places" do
    from = [rule(:a, 1, 5), rule(:a, 2, 6), rule(:a, 3, 7)]
    to = [rule(:a, 1), rule(:a, 9), rule(:a, 3)]
    assert [{:replace_rule, :inet, "t", "c", 6, %Rule{}}] = ops(from, to)
  end

  test "rules without tags that differ are made anew" do
    kinds = ops([rule(nil, 1, 5), rule(nil, 2, 6)], [rule(nil, 1), rule(nil, 9)])

    assert Enum.map(kinds, &elem(&1, 0)) == [
             :delete_rule,
             :delete_rule,
             :create_rule,
             :create_rule
           ]

    assert ops([rule(nil, 1, 5), rule(nil, 2, 6)], [rule(nil, 1), rule(nil, 2)]) == []
  end

  test "a rule that is gone, one that is new and one that moved" do
    from = [rule(:a, 1, 5), rule(:b, 2, 6), rule(:c, 3, 7)]
    assert [{:delete_rule, :inet, "t", "c", 6}] = ops(from, [rule(:a, 1), rule(:c, 3)])

    assert [{:create_rule, :inet, "t", "c", %Rule{tag: :d}, :append}] =
             ops(from, [rule(:a, 1), rule(:b, 2), rule(:c, 3), rule(:d, 4)])

    assert [{:delete_rule, _, _, _, _}, {:create_rule, _, _, _, %Rule{}, _}] =
             ops(from, [rule(:b, 2), rule(:a, 1), rule(:c, 3)])
  end
end
