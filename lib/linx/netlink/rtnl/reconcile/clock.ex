defmodule Linx.Netlink.Rtnl.Reconcile.Clock do
  @moduledoc false
  # Lifetimes that run down: `expires:` of IPv6 routes, `valid:` and `preferred:` of addresses.
  #
  # The kernel tells how much is left, the desired state how much there is at the start. A pass
  # remembers when each lifetime was set, and the next one compares what should be left with what
  # is. Neither the moment of the setting nor that of the reading is known exactly: both lie
  # between the start of the pass and now, which on a busy machine is seconds. Without memory a
  # lifetime counts as just set if no more than @fresh seconds of it are gone, and is set anew
  # otherwise.

  @slack 2
  @fresh 5

  # The kernel lists at most so many seconds of a route (INT_MAX in hundredths,
  # rtnl_put_cacheinfo).
  @most_of_route div(0x7FFFFFFF, 100)

  @type span :: non_neg_integer() | :forever

  @typedoc "The earliest and the latest second in which something happened."
  @type moment :: {integer(), integer()}

  @typedoc "The spans of each lifetime, and when it was set."
  @type memory :: %{optional(term()) => {[span()], moment()}}

  @doc "Seconds of a clock that does not jump."
  @spec now() :: integer()
  def now, do: System.monotonic_time(:second)

  @doc """
  Whether the observed rests are those of the desired spans, which were set when `memory` says.
  The rests were read after `started`.
  """
  @spec same?([span()], [span()], memory(), term(), integer()) :: boolean()
  def same?(spans, rests, memory, id, started) do
    case memory do
      %{^id => {^spans, {earliest, latest}}} ->
        {least, most} = {started - latest - @slack, now() - earliest + @slack}
        together?(spans, rests, &(&2 in listed(&1 - most, id)..listed(&1 - least, id)))

      %{^id => _other_spans} ->
        together?(spans, rests, fn _span, _rest -> false end)

      %{} ->
        together?(spans, rests, &(&2 in listed(&1 - @fresh, id)..listed(&1 + 1, id)))
    end
  end

  defp listed(left, {:route, _key}), do: left |> max(0) |> min(@most_of_route)
  defp listed(left, _id), do: max(left, 0)

  defp together?(spans, rests, same?) do
    Enum.zip_with(spans, rests, fn
      :forever, rest -> rest == :forever
      # A span of 0 does not run.
      0, rest -> rest == 0
      span, rest -> same?.(span, rest)
    end)
    |> Enum.all?()
  end

  @doc "What to remember of a lifetime that a pass has set, which began at `started`."
  @spec set([span()], integer()) :: {[span()], moment()}
  def set(spans, started), do: {spans, {started, now()}}

  @doc """
  What to remember of a lifetime that is as desired: when it was set, if that is not known yet.
  """
  @spec remember(memory(), term(), [span()], [span()], integer()) :: {[span()], moment()}
  def remember(memory, id, spans, rests, started) do
    case memory do
      %{^id => {^spans, _since} = known} ->
        known

      %{} ->
        gone = gone(Enum.map(spans, &(is_integer(&1) && listed(&1, id))), rests)
        {spans, {started - gone, now() - gone}}
    end
  end

  defp gone(spans, rests) do
    Enum.zip_with(spans, rests, fn
      span, rest when is_integer(span) and is_integer(rest) -> max(span - rest, 0)
      _, _ -> 0
    end)
    |> Enum.max(fn -> 0 end)
  end
end
