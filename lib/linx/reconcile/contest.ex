defmodule Linx.Reconcile.Contest do
  @moduledoc false
  # The operations that a loop applies again and again, because something else undoes them, and
  # how long it waits for that.

  # An operation is contested from this repetition on.
  @repetitions 4
  # Milliseconds between two of them, at most, for the second to count as a repetition; and delays
  # before a pass.
  @window 10_000
  @first_delay 250
  @longest_delay 60_000

  defstruct applied: %{}, delay: 0

  @type t() :: %__MODULE__{
          applied: %{optional(term()) => {count :: pos_integer(), at :: integer()}},
          delay: non_neg_integer()
        }

  @doc "The contest after a pass that applied `ops` at the time `now`, in milliseconds."
  @spec note(t(), [term()], integer()) :: t()
  def note(%__MODULE__{} = contest, ops, now) do
    window = max(@window, 4 * contest.delay)
    recent = Map.filter(contest.applied, fn {_op, {_count, at}} -> now - at <= window end)

    applied =
      Enum.reduce(Enum.uniq(ops), recent, fn op, applied ->
        Map.update(applied, op, {1, now}, fn {count, _at} -> {count + 1, now} end)
      end)

    %__MODULE__{applied: applied, delay: pause(most(applied) - @repetitions)}
  end

  defp most(applied),
    do: Enum.reduce(applied, 0, fn {_op, {count, _}}, most -> max(count, most) end)

  defp pause(again) when again < 0, do: 0

  defp pause(again),
    do: min(@longest_delay, @first_delay * Integer.pow(2, min(again, 16)))

  @doc "Milliseconds that the next pass waits; 0 where nothing is contested."
  @spec delay(t()) :: non_neg_integer()
  def delay(%__MODULE__{delay: delay}), do: delay

  @doc "The contested operations, in order."
  @spec ops(t()) :: [term()]
  def ops(%__MODULE__{applied: applied}),
    do: Enum.sort(for {op, {count, _at}} <- applied, count >= @repetitions, do: op)

  @doc """
  The report with its contested operations: a struct has a field for them, or leaves them out.
  """
  @spec tell(map(), [term()]) :: map()
  def tell(%{contested: _} = report, ops), do: %{report | contested: ops}
  def tell(%_{} = report, _ops), do: report
  def tell(report, []), do: report
  def tell(report, ops), do: Map.put(report, :contested, ops)
end
