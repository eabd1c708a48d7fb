defmodule Linx.Netlink.Heap do
  @moduledoc false
  # Most of what thousands of objects cost is the collector copying those that are there already, again and again while the
  # heap grows. Who knows how many words they will take says so, and the heap becomes that large at once.

  # Below this the growing costs nothing. Above the other, 128 MB, it grows as ever.
  @least 10_000
  @most 16_000_000

  @doc "Runs `fun` with room for `words` words. The collector shrinks the heap again later, when it finds it too large."
  @spec roomy(non_neg_integer(), (-> result)) :: result when result: var
  def roomy(words, fun) when words < @least, do: fun.()

  def roomy(words, fun) do
    before = Process.flag(:min_heap_size, min(words, @most))
    # The caller may have asked for more.
    if before > words, do: Process.flag(:min_heap_size, before)

    try do
      fun.()
    after
      Process.flag(:min_heap_size, before)
    end
  end
end
