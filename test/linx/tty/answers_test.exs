defmodule Linx.Tty.AnswersTest do
  use ExUnit.Case, async: true

  alias Linx.Tty.Answers

  test "output without an escape asks nothing" do
    refute Answers.asks?("plain text, caf\u00E9\r\n\t\a")

    for query <- ["\e[6n", "\e[c", <<5>>, <<0x9B, "6n">>, "\eZ"],
        do: assert(Answers.asks?("x" <> query))
  end

  # A terminal that answers DSR 6 with the place that CUP has set, as all do.
  defp answer(query) do
    for [_, row, col] <- Regex.scan(~r/\e\[(\d+);(\d+)H\e\[6n/, query),
        into: "",
        do: "\e[#{row};#{col}R"
  end

  test "a terminal's answer is known, and what comes after it was typed" do
    for size <- [nil, {0, 0, 0, 0}, {1, 1, 0, 0}, {24, 80, 0, 0}, {50, 200, 9, 9}] do
      {query, expected} = Answers.query(size)
      assert answer(query) == expected
      assert Answers.typed("\e[1;1R\e[?6c" <> expected <> "1 + 1\r", expected) == {:ok, "1 + 1\r"}
      assert Answers.typed("\e[1;1R\e[?6c", expected) == :none
    end
  end

  test "no workload knows the answer beforehand" do
    answers = for _ <- 1..1_000, do: elem(Answers.query({24, 80, 0, 0}), 1)
    assert length(Enum.uniq(answers)) == 1_000
  end
end
