defmodule Linx.Netfilter.Elements.Intervals do
  @moduledoc false
  # Intervals of sets with auto-merge, joined and split.

  alias Linx.Netfilter.{Element, Set}
  alias Linx.Netfilter.Encoder.Elements, as: Encoded

  @doc "Whether the set merges intervals and the elements are such that it may."
  @spec merges?(struct(), [term()]) :: boolean()
  def merges?(%Set{flags: flags, key_type: type}, elements) do
    :auto_merge in flags and :interval in flags and not match?({:concat, _}, type) and
      Enum.all?(elements, &(&1 != :catch_all and not is_struct(&1, Element)))
  end

  def merges?(_map, _elements), do: false

  @doc """
  What to delete and to add so that `elements` are in the set too; `:refused` where one carries
  more than its key.
  """
  @spec union(Set.t(), [term()], [term()]) :: {:ok, [term()], [term()]} | :refused
  def union(set, there, elements) do
    there = intervals(there)
    changed(set, there, set |> Encoded.spans(there ++ elements) |> spans())
  rescue
    # An element that carries a timeout or a comment is merged with none.
    ArgumentError -> :refused
  end

  @doc """
  What to delete and to add so that `keys` are not in the set. Keys that nothing covers are
  `{:missing, key}`, or with `ignore` passed over.
  """
  @spec difference(Set.t(), [term()], [term()], boolean()) ::
          {:ok, [term()], [term()]} | :refused | {:missing, term()}
  def difference(set, there, keys, ignore) do
    there = intervals(there)
    old = set |> Encoded.spans(there) |> spans()
    gone = set |> Encoded.spans(keys) |> spans()
    missing = fn key -> subtract(spans(Encoded.spans(set, [key])), old) != [] end

    cond do
      Enum.any?(there, &is_struct(&1, Element)) -> :refused
      key = not ignore && Enum.find(keys, missing) -> {:missing, key}
      true -> changed(set, there, subtract(old, gone))
    end
  end

  # The catch-all element is no interval: it neither merges nor splits.
  defp intervals(elements), do: Enum.reject(elements, &catch_all?/1)

  defp catch_all?(%Element{key: key}), do: key == :catch_all
  defp catch_all?(element), do: element == :catch_all

  defp spans(spans), do: for({first, last, _element} <- spans, do: {first, last})

  defp changed(set, there, spans) do
    wanted = for {first, last} <- spans, do: Encoded.from_span(set.key_type, first, last)
    plain = Enum.reject(there, &is_struct(&1, Element))
    {:ok, plain -- wanted, wanted -- there}
  end

  # Sorted, disjoint spans without those of another such list.
  defp subtract(spans, []), do: spans
  defp subtract([], _gone), do: []

  defp subtract([{a, b} | rest], [{c, d} | more] = gone) do
    cond do
      d < a -> subtract([{a, b} | rest], more)
      b < c -> [{a, b} | subtract(rest, gone)]
      a < c -> [{a, c - 1} | subtract([{c, b} | rest], gone)]
      b <= d -> subtract(rest, gone)
      true -> subtract([{d + 1, b} | rest], more)
    end
  end
end
