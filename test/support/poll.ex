defmodule Linx.Test.Poll do
  @moduledoc false
  # Waiting for what sends no message: asked again and again until it holds, with a deadline.

  import ExUnit.Assertions, only: [flunk: 1]

  @pause 5

  @doc """
  Milliseconds after which a test gives up.

  Events come in milliseconds, and on a machine that is busy with other things they come all the
  same. A broken build gives up sooner (`LINX_TEST_PATIENCE`, which bin/mutate sets).
  """
  @spec patience() :: non_neg_integer()
  def patience, do: "LINX_TEST_PATIENCE" |> System.get_env("60000") |> String.to_integer()

  defp short_patience, do: min(patience(), 30_000)

  @doc "Waits until `condition` holds; fails after `within` milliseconds."
  @spec until((-> boolean()), non_neg_integer()) :: :ok
  def until(condition, within \\ short_patience()) do
    if holds?(condition, within), do: :ok, else: flunk("a condition did not come true in time")
  end

  @doc "Whether `condition` holds within so many milliseconds."
  @spec holds?((-> boolean()), non_neg_integer()) :: boolean()
  def holds?(condition, within \\ short_patience()),
    do: poll(condition, System.monotonic_time(:millisecond) + within)

  defp poll(condition, deadline) do
    cond do
      condition.() -> true
      System.monotonic_time(:millisecond) > deadline -> false
      true -> receive after: (@pause -> poll(condition, deadline))
    end
  end
end
