defmodule Linx.NFT.Room do
  @moduledoc false
  # Room on the heap for what a long text becomes: most of what that costs is the collector
  # copying what is there already while the heap grows. Formatting does not ask for room: the
  # pages of a new heap cost it more than the copies.

  # Below the first the growing costs nothing. The second is the most that is asked for at once:
  # 320 MB of address space, of which only what is filled is memory.
  @min_words 100_000
  @max_words 40_000_000

  @doc """
  Runs `fun` with room for `words` words on the heap.

  A process with a limit on its heap is killed for room that it asks for and does not fill: its
  heap grows as needed.
  """
  @spec hold(non_neg_integer(), (-> result)) :: result when result: var
  def hold(words, fun) when words < @min_words, do: fun.()

  def hold(words, fun) do
    case Process.info(self(), :max_heap_size) do
      {:max_heap_size, %{size: 0}} -> held(words, fun)
      _limited -> fun.()
    end
  end

  defp held(words, fun) do
    before = Process.flag(:min_heap_size, min(words, @max_words))
    if before > words, do: Process.flag(:min_heap_size, before)

    try do
      fun.()
    after
      Process.flag(:min_heap_size, before)
    end
  end
end
