defmodule Linx.Cgroup.Pressure do
  @moduledoc """
  How long the tasks of a cgroup waited for a resource (pressure stall information).

  `:some` tells of the time in which at least one task waited, `:full` of that in which all of
  them did at once, so that nothing got done; it is `nil` where the kernel does not give it. Each
  has `:avg10`, `:avg60` and `:avg300`, the share of the last 10, 60 and 300 seconds in per cent,
  and `:total` in microseconds.

  Source: Documentation/accounting/psi.rst.
  """

  alias Linx.Cgroup.Keyed

  @type times() :: %{
          avg10: float(),
          avg60: float(),
          avg300: float(),
          total: non_neg_integer()
        }

  @type t() :: %__MODULE__{some: times() | nil, full: times() | nil}

  defstruct [:some, :full]

  @doc false
  @spec parse(binary()) :: t() | nil
  def parse(text) do
    lines = Keyed.nested(text)
    pressure = %__MODULE__{some: times(lines["some"]), full: times(lines["full"])}
    if pressure.some || pressure.full, do: pressure
  end

  defp times(%{"avg10" => avg10, "avg60" => avg60, "avg300" => avg300, "total" => total}) do
    with {avg10, ""} <- Float.parse(avg10),
         {avg60, ""} <- Float.parse(avg60),
         {avg300, ""} <- Float.parse(avg300),
         {total, ""} <- Integer.parse(total) do
      %{avg10: avg10, avg60: avg60, avg300: avg300, total: total}
    else
      _ -> nil
    end
  end

  defp times(_), do: nil
end
