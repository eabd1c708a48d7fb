defmodule Linx.NFT.EmptyListsTest do
  # An interpolated list without elements: a rule has no set for it, a declared set is empty.
  use ExUnit.Case, async: true

  import Linx.NFT

  alias Linx.Netfilter.{Expr, Ruleset}

  test "in a rule it is an error that names the value" do
    empty = [[], MapSet.new(), %{}]

    for value <- empty do
      rules = [
        fn ->
          ~NFT"""
          table ip t {
            chain c {
              ip saddr #{value} drop
            }
          }
          """
        end,
        fn ->
          ~NFT"""
          table ip t {
            chain c {
              ip saddr != { #{value} } drop
            }
          }
          """
        end,
        fn ->
          ~NFT"""
          table ip t {
            chain c {
              tcp dport vmap { #{value} }
            }
          }
          """
        end,
        fn ->
          ~NFT"""
          table ip t {
            chain c {
              meta mark set tcp dport map { #{value} }
            }
          }
          """
        end,
        fn ->
          ~NFT"""
          table ip t {
            chain c {
              ip saddr . tcp dport { #{value}, #{value} } accept
            }
          }
          """
        end
      ]

      for rule <- rules, value != %{} or rule != hd(rules) do
        error = assert_raise ArgumentError, rule
        assert error.message =~ inspect(value)
      end
    end
  end

  test "beside an element, and in a declared set, it is no element" do
    none = []

    ruleset = ~NFT"""
    table ip t {
      set s {
        type ipv4_addr
        elements = { #{none} }
      }
      chain c {
        tcp dport { 22, #{none}, 80 } accept
      }
    }
    """

    assert %Ruleset{tables: %{{:ip, "t"} => table}} = ruleset
    assert table.sets["s"].elements == []
    [rule] = table.chains["c"].rules

    assert [[22, 80]] =
             for(%Expr{name: :__anon_set, data: set} <- rule.expressions, do: set.elements)
  end

  test "a list of flags has one at least" do
    none = []

    assert_raise ArgumentError, fn ->
      ~NFT"""
      table ip t {
        chain c {
          ct state #{none} accept
        }
      }
      """
    end
  end

  test "text has no set without elements either" do
    for {set, read?} <- [{"{ }", false}, {"$empty", false}, {"{ 192.0.2.1 }", true}] do
      text = "define empty = { }\ntable ip t { chain c {\nip saddr #{set} drop\n} }"

      assert {set, match?({:ok, _}, Linx.NFT.parse(text))} == {set, read?}
    end
  end

  test "objects, maps and flowtables are named by text" do
    assert %Expr{} = Expr.objref(:counter, "web")
    assert_raise ArgumentError, ~r/"web"/, fn -> apply(Expr, :objref, ["web", :counter]) end
    assert_raise ArgumentError, ~r/:countre/, fn -> apply(Expr, :objref, [:countre, "web"]) end
    assert_raise ArgumentError, ~r/nil/, fn -> Expr.objref(:quota, nil) end
    assert_raise ArgumentError, ~r/:m/, fn -> Expr.objref_map(:m) end
    assert_raise ArgumentError, ~r/:ft/, fn -> Expr.flow_offload(:ft) end
  end
end
