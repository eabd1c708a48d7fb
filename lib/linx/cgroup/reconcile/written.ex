defmodule Linx.Cgroup.Reconcile.Written do
  @moduledoc false
  # Whether an interface file says what was written to it. The kernel does not keep the words: it
  # rounds memory to whole pages, reads a suffix as its power of 1024 (memparse), prints lists of
  # CPUs in ranges, and completes a device's line of io.max. Source:
  # Documentation/admin-guide/cgroup-v2.rst, lib/cmdline.c, lib/bitmap-str.c.

  import Bitwise
  alias Linx.Cgroup.Keyed

  # The smallest page of the architectures there are.
  @page 4096

  # The files of the memory controller that hold bytes; others hold switches.
  @bytes ~w(min low high max swap.high swap.max zswap.max) |> Enum.map(&("memory." <> &1))

  @suffixes %{"" => 0, "K" => 10, "M" => 20, "G" => 30, "T" => 40, "P" => 50, "E" => 60}
  @io_values ~w(rbps wbps riops wiops)

  @doc "Whether `text`, read from `file`, is what writing `value` leaves there."
  @spec same?(String.t(), binary(), Linx.Cgroup.Reconcile.value()) :: boolean()
  # The period is what it was when only the quota is taken away.
  def same?("cpu.max", text, :max), do: match?(["max" | _], String.split(text))

  def same?("cpu.max", text, quota) when is_binary(quota) do
    case {String.split(quota), String.split(text)} do
      {[quota], [now | _]} -> quota == now
      {words, now} -> words == now
    end
  end

  def same?(file, text, bytes) when file in @bytes and is_integer(bytes),
    do: text == Integer.to_string(bytes - rem(bytes, @page))

  def same?(file, text, value) when file in @bytes and is_binary(value) do
    case bytes(value) do
      {:ok, bytes} -> same?(file, text, bytes)
      :error -> words(text) == words(value)
    end
  end

  def same?("cpuset." <> _, text, value) when is_binary(value) do
    with {:ok, now} <- ranges(text), {:ok, wanted} <- ranges(value) do
      now == wanted
    else
      :error -> words(text) == words(value)
    end
  end

  def same?("io.max", text, value) when is_binary(value) do
    case device(value) do
      {:ok, device, limits} ->
        # A device without a limit has no line.
        line = text |> Keyed.nested() |> Map.get(device, Map.new(@io_values, &{&1, "max"}))
        Enum.all?(limits, fn [name, limit] -> Map.get(line, name) == limit end)

      :error ->
        words(text) == words(value)
    end
  end

  def same?(_file, text, {quota, period}), do: text == "#{quota} #{period}"
  def same?(_file, text, value), do: words(text) == words(to_string(value))

  defp words(text), do: String.split(text)

  defp bytes(text) do
    with {number, suffix} when number >= 0 <- Integer.parse(String.trim(text)),
         {:ok, bits} <- Map.fetch(@suffixes, String.upcase(suffix)) do
      {:ok, number <<< bits}
    else
      _ -> :error
    end
  end

  # The one line of a device that io.max takes; whatever else it is given it refuses, so that is
  # to be written.
  defp device(text) do
    with [device | [_ | _] = words] <- words(text),
         limits = Enum.map(words, &String.split(&1, "=")),
         true <- Enum.all?(limits, &match?([name, _limit] when name in @io_values, &1)) do
      {:ok, device, limits}
    else
      _ -> :error
    end
  end

  # "0-2,5" as [{0, 2}, {5, 5}], in order and with neighbours joined.
  defp ranges(text) do
    text
    |> String.split([",", "\n"], trim: true)
    |> Enum.reduce_while([], fn part, ranges ->
      case range(String.split(String.trim(part), "-")) do
        {first, last} when first <= last -> {:cont, [{first, last} | ranges]}
        _ -> {:halt, :error}
      end
    end)
    |> case do
      :error -> :error
      ranges -> {:ok, ranges |> Enum.sort() |> join()}
    end
  end

  defp range([one]), do: range([one, one])

  defp range([first, last]) do
    with {first, ""} <- Integer.parse(first), {last, ""} <- Integer.parse(last) do
      {first, last}
    else
      _ -> :error
    end
  end

  defp range(_parts), do: :error

  defp join([{a, b}, {c, d} | rest]) when c <= b + 1, do: join([{a, max(b, d)} | rest])
  defp join([range | rest]), do: [range | join(rest)]
  defp join([]), do: []
end
