defmodule Linx.NFT.Parser.One do
  @moduledoc false
  # A text that holds one rule. The rule stands in a chain of a table that are not in the text:
  # their tokens are put around the text's, and whatever the text may close or open, the tree must
  # be that chain with that one rule.

  alias Linx.NFT.{ParseError, Parser}

  @table "table"
  @chain "chain"

  @doc "The items of a script with the rule in the one chain of its one table."
  @spec rule([tuple()], atom(), keyword()) :: {:ok, [tuple()]} | {:error, ParseError.t()}
  def rule(tokens, family, context) do
    first = %{line: 1, column: 1}

    last =
      if tokens == [], do: first, else: tokens |> List.last() |> Tuple.to_list() |> List.last()

    around =
      [
        {:identifier, "table", first},
        {:identifier, Atom.to_string(family), first},
        {:identifier, @table, first},
        {:lbrace, first},
        {:identifier, "chain", first},
        {:identifier, @chain, first},
        {:lbrace, first}
      ] ++ tokens ++ [{:stmt_sep, last}, {:rbrace, last}, {:stmt_sep, last}, {:rbrace, last}]

    case Parser.parse(around, context) do
      {:ok, [{:table, _, @table, [{:chain, @chain, [], [{:rule, _, _, _}], _}], _}] = items} ->
        {:ok, items}

      {:ok, _other} ->
        {:error, Parser.error(first, "expected one rule, and nothing else", context)}

      {:error, %ParseError{}} = error ->
        error
    end
  end
end
