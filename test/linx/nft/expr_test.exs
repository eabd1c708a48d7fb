defmodule Linx.NFT.ExprTest do
  use ExUnit.Case, async: true

  alias Linx.Netfilter.Ruleset
  alias Linx.NFT.{Expr, Parser, Tokenizer}
  alias Linx.NFT.Expr.Kinds

  @folder Path.expand("../../../lib/linx/nft/expr", __DIR__)

  # The kinds of load expression: the modules of the folder that keep the behaviour.
  defp kinds do
    for path <- Path.wildcard(Path.join(@folder, "*.ex")),
        module = Module.concat(Expr, path |> Path.basename(".ex") |> Macro.camelize()),
        Code.ensure_loaded?(module),
        Expr in Keyword.get(module.module_info(:attributes), :behaviour, []),
        do: module
  end

  defp calls(module) do
    {:ok, {_, [imports: imports]}} =
      module |> :code.which() |> :beam_lib.chunks([:imports])

    for {target, function, arity} <- imports, do: {target, {function, arity}}
  end

  test "the dispatch reaches all three callbacks of every kind" do
    reached = calls(Kinds)
    assert kinds() != []

    for kind <- kinds(),
        callback <- [parse: 1, compile: 2, term: 2],
        do: assert({kind, callback} in reached)
  end

  test "no word that begins a load expression is taken for a name" do
    for word <- Kinds.words() do
      ruleset = Ruleset.add_table!(Ruleset.new(), :inet, word)
      assert_raise ArgumentError, ~r/word of nft's grammar/, fn -> Linx.NFT.format(ruleset) end
    end
  end

  test "a word that begins no load expression is a constant where one is loaded" do
    {:ok, tokens} = Tokenizer.tokenize("table ip t { chain c { meta mark set nonesuch } }")
    {:ok, [{:table, :ip, "t", [chain], _}]} = Parser.parse(tokens)
    {:chain, "c", _opts, [{:rule, [statement], _, _}], _} = chain
    assert {:meta_set, :mark, {:identifier, "nonesuch", _}, _} = statement
  end
end
