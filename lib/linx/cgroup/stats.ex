defmodule Linx.Cgroup.Stats do
  @moduledoc """
  What a cgroup has used and uses, at one moment.

  | Field | File | Unit |
  |---|---|---|
  | `:cpu_usec`, `:cpu_user_usec`, `:cpu_system_usec` | `cpu.stat` | microseconds of CPU time, all, in user code, in the kernel |
  | `:cpu_nr_throttled`, `:cpu_throttled_usec` | `cpu.stat` | how often `cpu.max` stopped it, and for how long |
  | `:memory_current`, `:memory_peak` | `memory.current`, `memory.peak` | bytes |
  | `:pids_current` | `pids.current` | processes and threads |
  | `:cpu_pressure`, `:memory_pressure`, `:io_pressure` | `cpu.pressure`, … | `Linx.Cgroup.Pressure` |

  A field is `nil` where its file is not there: the controller is not enabled in the parent, or
  the kernel is older.

  It is inspected by what it has of CPU time, memory and processes:
  `#Linx.Cgroup.Stats<cpu=12.3s mem=42MiB pids=3>`.

  Source: Documentation/admin-guide/cgroup-v2.rst.
  """

  alias Linx.Cgroup.Pressure

  @type t() :: %__MODULE__{
          cpu_usec: non_neg_integer() | nil,
          cpu_user_usec: non_neg_integer() | nil,
          cpu_system_usec: non_neg_integer() | nil,
          cpu_nr_throttled: non_neg_integer() | nil,
          cpu_throttled_usec: non_neg_integer() | nil,
          memory_current: non_neg_integer() | nil,
          memory_peak: non_neg_integer() | nil,
          pids_current: non_neg_integer() | nil,
          cpu_pressure: Pressure.t() | nil,
          memory_pressure: Pressure.t() | nil,
          io_pressure: Pressure.t() | nil
        }

  defstruct [
    :cpu_usec,
    :cpu_user_usec,
    :cpu_system_usec,
    :cpu_nr_throttled,
    :cpu_throttled_usec,
    :memory_current,
    :memory_peak,
    :pids_current,
    :cpu_pressure,
    :memory_pressure,
    :io_pressure
  ]

  defimpl Inspect do
    @gib 1024 * 1024 * 1024

    def inspect(stats, _opts) do
      shown = [
        cpu: time(stats.cpu_usec),
        mem: bytes(stats.memory_current),
        pids: count(stats.pids_current)
      ]

      "#Linx.Cgroup.Stats<" <>
        (for({label, text} <- shown, text, do: "#{label}=#{text}") |> Enum.join(" ")) <> ">"
    end

    defp time(usec) when is_integer(usec) and usec < 1000, do: "#{usec}µs"
    defp time(usec) when is_integer(usec) and usec < 1_000_000, do: "#{tenths(usec, 1000)}ms"
    defp time(usec) when is_integer(usec), do: "#{tenths(usec, 1_000_000)}s"
    defp time(_), do: nil

    defp bytes(n) when is_integer(n) and n < 1024, do: "#{n}B"
    defp bytes(n) when is_integer(n) and n < 1024 * 1024, do: "#{whole(n, 1024)}KiB"
    defp bytes(n) when is_integer(n) and n < @gib, do: "#{whole(n, 1024 * 1024)}MiB"
    defp bytes(n) when is_integer(n), do: "#{whole(n, @gib)}GiB"
    defp bytes(_), do: nil

    defp count(n) when is_integer(n), do: Integer.to_string(n)
    defp count(_), do: nil

    # Cut, not rounded: 999.96 ms must not become 1000.0 ms.
    defp tenths(n, unit), do: "#{div(n, unit)}.#{div(rem(n, unit) * 10, unit)}"

    defp whole(n, unit) when rem(n, unit) == 0, do: Integer.to_string(div(n, unit))
    defp whole(n, unit), do: tenths(n, unit)
  end
end
