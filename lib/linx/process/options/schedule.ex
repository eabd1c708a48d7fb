defmodule Linx.Process.Options.Schedule do
  @moduledoc false
  # Priorities, processors and the rank for the OOM killer: the numbers that the kernel takes.

  import Bitwise

  # linux/sched.h.
  @policies [other: 0, fifo: 1, rr: 2, batch: 3, idle: 5]
  @deadline 6

  # linux/ioprio.h: the class is above the 13 bits of the level.
  @io_classes [realtime: 1, best_effort: 2]
  @io_idle 3 <<< 13

  # MAX_CPUS of the agent's schedule.rs.
  @max_cpu 8191

  # The kernel counts deadlines in nanoseconds of 63 bits, and takes no runtime below 1024
  # (sched(7)).
  @max_time 0x7FFFFFFFFFFFFFFF
  @min_runtime 1024

  @doc "The options that `parse/2` takes."
  @spec keys() :: [atom()]
  def keys, do: [:nice, :cpus, :oom_score_adj, :scheduler, :io_priority]

  @doc "The number or numbers of an option, or `:error`."
  @spec parse(atom(), term()) :: {:ok, term()} | :error
  def parse(:nice, nice) when is_integer(nice) and nice in -20..19, do: {:ok, nice}

  def parse(:oom_score_adj, score) when is_integer(score) and score in -1000..1000,
    do: {:ok, score}

  def parse(:cpus, first..last//step) when step > 0 do
    if first in 0..@max_cpu and last in first..@max_cpu//1,
      do: {:ok, Enum.to_list(first..last//step)},
      else: :error
  end

  def parse(:cpus, [_ | _] = cpus) do
    if not List.improper?(cpus) and Enum.all?(cpus, &(is_integer(&1) and &1 in 0..@max_cpu)),
      do: {:ok, cpus |> Enum.uniq() |> Enum.sort()},
      else: :error
  end

  def parse(:scheduler, policy) when policy in [:other, :batch, :idle],
    do: {:ok, {@policies[policy], 0}}

  def parse(:scheduler, {policy, priority})
      when policy in [:fifo, :rr] and is_integer(priority) and priority in 1..99,
      do: {:ok, {@policies[policy], priority}}

  def parse(:scheduler, {:deadline, times}) do
    with true <- Keyword.keyword?(times),
         [:deadline, :period, :runtime] <- times |> Keyword.keys() |> Enum.sort(),
         {runtime, deadline, period} = {times[:runtime], times[:deadline], times[:period]},
         true <- Enum.all?([runtime, deadline, period], &(is_integer(&1) and &1 <= @max_time)),
         true <- @min_runtime <= runtime and runtime <= deadline and deadline <= period do
      {:ok, {@deadline, runtime, deadline, period}}
    else
      _ -> :error
    end
  end

  def parse(:io_priority, :idle), do: {:ok, @io_idle}

  def parse(:io_priority, {class, level})
      when class in [:realtime, :best_effort] and is_integer(level) and level in 0..7,
      do: {:ok, @io_classes[class] <<< 13 ||| level}

  def parse(_key, _value), do: :error
end
