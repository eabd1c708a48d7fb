defmodule Linx.Cgroup.Keyed do
  @moduledoc false
  # The two formats that cgroupfs files with several values have (cgroup-v2.rst, "Format"). A line
  # or a value of another shape is left out.

  @doc "`KEY VALUE` lines: a flat keyed file."
  @spec flat(binary()) :: %{String.t() => non_neg_integer()}
  def flat(text) do
    for line <- lines(text),
        [key, value] <- [String.split(line, " ")],
        {number, ""} <- [Integer.parse(value)],
        into: %{},
        do: {key, number}
  end

  @doc "`KEY SUB=VALUE SUB=VALUE` lines: a nested keyed file; values as text."
  @spec nested(binary()) :: %{String.t() => %{String.t() => String.t()}}
  def nested(text) do
    for line <- lines(text), [key | pairs] <- [String.split(line, " ", trim: true)], into: %{} do
      {key,
       for(pair <- pairs, [sub, value] <- [String.split(pair, "=")], into: %{}, do: {sub, value})}
    end
  end

  defp lines(text), do: String.split(text, "\n", trim: true)
end
