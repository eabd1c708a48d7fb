defmodule Linx.Netlink.HeapTest do
  use ExUnit.Case, async: true

  alias Linx.Netlink.Heap

  # In a process of its own, whose flag nothing else changes.
  defp apart(fun), do: fun |> Task.async() |> Task.await(:infinity)

  defp least(flag \\ :min_heap_size) do
    {^flag, words} = Process.info(self(), flag)
    words
  end

  test "gives what the function returns" do
    assert Heap.roomy(50_000, fn -> :done end) == :done
    assert Heap.roomy(0, fn -> :done end) == :done
  end

  test "the heap may be as large while the function runs, and no longer" do
    {before, within, later} =
      apart(fn -> {least(), Heap.roomy(50_000, fn -> least() end), least()} end)

    assert within >= 50_000
    assert later == before
  end

  test "so may the binaries that lie outside" do
    least = fn -> {least(), least(:min_bin_vheap_size)} end

    {{heap, binaries}, within, later} =
      apart(fn -> {least.(), Heap.roomy(0, 8_000_000, least), least.()} end)

    assert {^heap, more} = within
    assert more >= 1_000_000
    assert later == {heap, binaries}
  end

  test "what raises leaves nothing behind" do
    {before, later} =
      apart(fn ->
        before = least()
        assert_raise RuntimeError, fn -> Heap.roomy(50_000, fn -> raise "no" end) end
        {before, least()}
      end)

    assert later == before
  end

  test "little is not asked for" do
    {before, within} = apart(fn -> {least(), Heap.roomy(100, fn -> least() end)} end)
    assert within == before
  end

  test "the claim has a limit" do
    assert apart(fn -> Heap.roomy(1_000_000_000_000, fn -> least() end) end) < 50_000_000
  end

  test "a caller that asked for more keeps it" do
    within =
      apart(fn ->
        Process.flag(:min_heap_size, 200_000)
        Heap.roomy(50_000, fn -> least() end)
      end)

    assert within >= 200_000
  end

  test "a process with a limit on its heap asks for nothing" do
    {before, within} =
      apart(fn ->
        before = {least(), least(:min_bin_vheap_size)}
        Process.flag(:max_heap_size, %{size: 1_000_000, kill: true, error_logger: false})

        Heap.roomy(8_000_000, 80_000_000, fn ->
          :erlang.garbage_collect()
          {before, {least(), least(:min_bin_vheap_size)}}
        end)
      end)

    assert within == before
  end
end
