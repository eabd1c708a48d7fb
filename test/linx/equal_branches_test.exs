defmodule Linx.EqualBranchesTest do
  use ExUnit.Case, async: true

  # A condition whose branches are the same decides nothing: a check is missing, or the condition
  # is left over. Clauses of `case` may be alike where they bind the same name in different
  # patterns.
  test "no condition has equal branches" do
    found =
      for file <- Path.wildcard("{lib,test,bench}/**/*.{ex,exs}"),
          line <- file |> File.read!() |> Code.string_to_quoted!() |> equal(),
          do: "#{file}:#{line}"

    assert found == []
  end

  test "equal branches are found, whatever their lines" do
    for text <- [
          "if a, do: b(), else: b()",
          "unless a do\n  b(1)\nelse\n  b(1)\nend",
          "cond do\n  a -> b()\n  true -> b()\nend"
        ] do
      assert [1] == text |> Code.string_to_quoted!() |> equal()
    end

    for text <- [
          "if a, do: b(), else: c()",
          "if a, do: b()",
          "cond do\n  a -> b()\n  true -> c()\nend"
        ] do
      assert [] == text |> Code.string_to_quoted!() |> equal()
    end
  end

  # The lines of the conditions with equal branches.
  defp equal(ast) do
    {_ast, lines} =
      Macro.prewalk(ast, [], fn
        {_, _, _} = node, lines ->
          if node |> branches() |> same?(),
            do: {node, [elem(node, 1)[:line] | lines]},
            else: {node, lines}

        node, lines ->
          {node, lines}
      end)

    lines
  end

  defp branches({name, _, [_condition, blocks]}) when name in [:if, :unless] and is_list(blocks),
    do:
      if(Keyword.keyword?(blocks) and blocks[:else] != nil, do: Keyword.values(blocks), else: [])

  defp branches({:cond, _, [[do: clauses]]}) when is_list(clauses),
    do: for({:->, _, [_condition, body]} <- clauses, do: body)

  defp branches(_node), do: []

  defp same?([first, second | rest]),
    do: Enum.all?([second | rest], &(without_places(&1) == without_places(first)))

  defp same?(_branches), do: false

  defp without_places(ast), do: Macro.prewalk(ast, &Macro.update_meta(&1, fn _ -> [] end))
end
