defmodule Linx.Test.Poll do
  @moduledoc false
  # Waiting for what sends no message: asked again and again until it holds, with a deadline.

  import ExUnit.Assertions, only: [flunk: 1]

  @pause 5
  @patience 30_000

  @doc "Waits until `condition` holds; fails after `within` milliseconds."
  @spec until((-> boolean()), non_neg_integer()) :: :ok
  def until(condition, within \\ @patience) do
    if holds?(condition, within), do: :ok, else: flunk("a condition did not come true in time")
  end

  @doc "Whether `condition` holds within so many milliseconds."
  @spec holds?((-> boolean()), non_neg_integer()) :: boolean()
  def holds?(condition, within \\ @patience),
    do: poll(condition, System.monotonic_time(:millisecond) + within)

  defp poll(condition, deadline) do
    cond do
      condition.() -> true
      System.monotonic_time(:millisecond) > deadline -> false
      true -> receive after: (@pause -> poll(condition, deadline))
    end
  end
end
