defmodule Linx.NFT.Formatter.Layout do
  @moduledoc false
  # The layout that the two formatters (values to text, text to text) share: the indent, the
  # width, and how a list of elements is broken over lines.

  @width 98

  @doc "The text at the start of a line that stands `depth` blocks deep."
  @spec indent(non_neg_integer()) :: String.t()
  def indent(depth), do: String.duplicate("  ", depth)

  @doc "The line length kept to where the text allows it."
  @spec width() :: pos_integer()
  def width, do: @width

  @doc """
  Lays out `{ ... }` behind `before` when a line as a whole would be longer than `width`: as many
  elements a line as fit, or one a line (`:lines`), as maps are read best.
  """
  @spec broken([String.t()], :fill | :lines, non_neg_integer(), pos_integer()) :: iodata()
  def broken(elements, :lines, depth, _width) do
    pad = indent(depth + 1)
    ["{\n", Enum.map(commas(elements), &[pad, &1, "\n"]), indent(depth), "}"]
  end

  def broken(elements, :fill, depth, width) do
    pad = indent(depth + 1)
    lines = fill(commas(elements), width - String.length(pad), 0, [], [])
    ["{\n", Enum.map(lines, &[pad, &1, "\n"]), indent(depth), "}"]
  end

  defp commas([]), do: []
  defp commas([last]), do: [last]
  defp commas([element | rest]), do: [element <> "," | commas(rest)]

  defp fill([], _width, _used, [], lines), do: Enum.reverse(lines)
  defp fill([], _width, _used, line, lines), do: Enum.reverse([join(line) | lines])

  defp fill([element | rest], width, used, line, lines) do
    length = String.length(element)

    cond do
      line == [] -> fill(rest, width, length, [element], lines)
      used + 1 + length <= width -> fill(rest, width, used + 1 + length, [element | line], lines)
      true -> fill(rest, width, length, [element], [join(line) | lines])
    end
  end

  defp join(line), do: line |> Enum.reverse() |> Enum.intersperse(" ")
end
