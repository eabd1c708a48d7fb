defmodule Linx.Netfilter.Heap do
  @moduledoc false
  # Most of what thousands of rules cost is the collector copying those already there, again and again while the heap grows.
  # For that time the heap may be as large as it is going to be: some 1 000 words a rule, at most 128 MB.

  @doc "Runs `fun` with room for `rules` rules."
  @spec roomy(non_neg_integer(), (-> result)) :: result when result: var
  def roomy(rules, fun) when rules < 500, do: fun.()

  def roomy(rules, fun) do
    before = Process.flag(:min_heap_size, min(rules * 1_000, 16_000_000))

    try do
      fun.()
    after
      Process.flag(:min_heap_size, before)
    end
  end
end
