defmodule Linx.Test.Reconcile.Chance do
  @moduledoc false
  # Choices of the process's random numbers, which a case seeds.

  def roll(n), do: :rand.uniform(n)
  def chance(percent), do: :rand.uniform(100) <= percent
  def pick(list), do: Enum.at(list, :rand.uniform(length(list)) - 1)

  def some(list, n),
    do:
      list
      |> Enum.map(&{:rand.uniform(), &1})
      |> Enum.sort()
      |> Enum.take(n)
      |> Enum.map(&elem(&1, 1))
end
