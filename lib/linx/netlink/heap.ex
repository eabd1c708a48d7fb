defmodule Linx.Netlink.Heap do
  @moduledoc false
  # Most of what thousands of objects cost is the collector copying those that are there already,
  # again and again while the heap grows. Who knows how much room they will take says so, and has
  # it at once.
  #
  # A process with a limit of its own (max_heap_size) is killed for room that it asks for and does
  # not fill: it grows as ever.
  #
  # Binaries above 64 bytes lie outside, and their sizes are added up: when those that have
  # survived two collections come to 371 KB, each further collection takes in the whole heap,
  # whatever else is on it. So that room is asked for as well.

  # A heap of fewer words grows at no cost that can be measured.
  @min_words 10_000
  # At most 128 MB are asked for at once; beyond them a heap grows step by step.
  @max_words 16_000_000

  @word 8

  @doc """
  Runs `fun` with room for `words` words on the heap and `bytes` bytes of binaries outside. The
  collector takes the room back later, when it finds it too large.
  """
  @spec roomy(non_neg_integer(), non_neg_integer(), (-> result)) :: result when result: var
  def roomy(words, bytes \\ 0, fun) do
    if (words < @min_words and div(bytes, @word) < @min_words) or limited?(),
      do: fun.(),
      else:
        within(:min_heap_size, words, fn ->
          within(:min_bin_vheap_size, div(bytes, @word), fun)
        end)
  end

  defp limited? do
    {:max_heap_size, %{size: size}} = Process.info(self(), :max_heap_size)
    size != 0
  end

  defp within(_flag, words, fun) when words < @min_words, do: fun.()

  defp within(flag, words, fun) do
    before = Process.flag(flag, min(words, @max_words))
    # The caller may have asked for more, and for binaries the default is more.
    if before > words, do: Process.flag(flag, before)

    try do
      fun.()
    after
      Process.flag(flag, before)
    end
  end
end
