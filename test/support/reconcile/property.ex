defmodule Linx.Test.Reconcile.Property do
  @moduledoc false
  # Many cases of the property test at once, and a failing one made smaller.

  import ExUnit.Assertions, only: [flunk: 1]

  alias Linx.Test.Reconcile.{Command, Generator, Laws}

  # Shares of the desired entries, in percent.
  @min_possible 85

  @max_broken 10

  @doc "The seeds that the environment asks for, or 1..count."
  def seeds(count) do
    case {System.get_env("LINX_SEED"), System.get_env("LINX_SEEDS")} do
      {nil, nil} -> Enum.to_list(1..count)
      {nil, count} -> Enum.to_list(1..String.to_integer(count))
      {text, _} -> text |> String.split(",") |> Enum.flat_map(&range/1)
    end
  end

  defp range(text) do
    case String.split(text, "..") do
      [one] -> [String.to_integer(one)]
      [first, last] -> Enum.to_list(String.to_integer(first)..String.to_integer(last))
    end
  end

  @doc """
  Runs the cases of the seeds; fails with the first that breaks a law. `rare?` is that of
  `Generator.make/2`.
  """
  def check(seeds, rare? \\ false) do
    results =
      seeds
      |> Task.async_stream(&{&1, run(&1, rare?)},
        timeout: :infinity,
        max_concurrency: 2 * System.schedulers_online()
      )
      |> Enum.reduce_while([], fn {:ok, result}, results -> enough([result | results]) end)
      |> Enum.reverse()

    counts = for {_, {:ok, counts}} <- results, do: counts
    share = share(counts)
    broken = for {seed, {:broken, error}} <- results, do: {seed, error}

    IO.puts(
      "reconcile property: #{length(results)} of #{length(seeds)} cases, " <>
        "#{sum(counts, :passes)} passes, " <>
        "#{sum(counts, :possible)} of #{sum(counts, :entries)} entries possible (#{share} %), " <>
        "#{length(broken)} broken"
    )

    for {seed, error} <- broken,
        do: IO.puts("  seed #{seed}, pass #{error.pass}, law #{error.law}: #{first_line(error)}")

    cond do
      broken != [] ->
        flunk(told(hd(broken), rare?))

      share < @min_possible and length(seeds) >= 30 ->
        flunk("#{share} % of the entries are possible")

      true ->
        :ok
    end
  end

  # Many broken cases tell no more than a few.
  defp enough(results) do
    verb =
      if Enum.count(results, &match?({_, {:broken, _}}, &1)) < @max_broken, do: :cont, else: :halt

    {verb, results}
  end

  defp first_line(error), do: error.message |> String.split("\n") |> hd() |> String.slice(0, 200)

  defp sum(counts, key), do: counts |> Enum.map(& &1[key]) |> Enum.sum()
  defp share(counts), do: div(100 * sum(counts, :possible), max(sum(counts, :entries), 1))

  # A generator or an oracle that raises is a broken case: the seed says which.
  defp run(seed, rare?) do
    Laws.run(Generator.make(seed, rare?))
  rescue
    error ->
      message = Exception.format(:error, error, __STACKTRACE__)
      {:broken, %Laws.Broken{law: :test, pass: nil, message: message, history: []}}
  end

  defp told({seed, %{law: :test} = error}, _rare?),
    do: "LINX_SEED=#{seed} breaks the test itself: #{error.message}"

  defp told({seed, error}, rare?) do
    c = Generator.make(seed, rare?)
    {c, error} = if System.get_env("LINX_SEED"), do: smaller(c, error), else: {c, error}

    """
    law #{error.law} is broken after pass #{error.pass}: #{error.message}

    LINX_SEED=#{seed} repeats it (#{circumstances(c)}):

    #{Enum.map_join(error.history, "\n", &line/1)}
    """
  end

  defp circumstances(%{mode: mode, forget: nil}), do: "on_error: #{inspect(mode)}"

  defp circumstances(c),
    do: "on_error: #{inspect(c.mode)}, last_applied lost before pass #{c.forget}"

  defp line({:pass, entries, report}) do
    "pass.(#{inspect(Command.desired(entries), limit: :infinity, pretty: true, width: 110)})\n" <>
      "#   converged?: #{report.converged?}\n" <>
      Enum.map_join(report.applied, &"#   applied #{inspect(&1)}\n") <>
      Enum.map_join(report.failed, &"#   failed #{inspect(&1)}\n") <>
      Enum.map_join(report.pending, &"#   pending #{inspect(&1)}\n")
  end

  defp line({_owner, commands, said}) do
    Enum.map_join(commands, "\n", &"# ip #{&1}") <>
      if(said == "", do: "", else: "\n#   " <> String.replace(String.trim(said), "\n", "\n#   "))
  end

  # -- smaller ---

  # Leaves out one part after the other, as long as the same law stays broken.
  defp smaller(c, error) do
    Enum.find_value(parts(c), {c, error}, fn c ->
      case Laws.run(c) do
        {:broken, found} -> if alike?(found, error), do: smaller(c, found)
        _ -> nil
      end
    end)
  end

  # The same complaint, of whatever object.
  defp alike?(one, other), do: complaint(one) == complaint(other)

  defp complaint(error), do: {error.law, error.message |> String.split(":") |> hd()}

  defp parts(c) do
    for(n <- indices(c.first), do: %{c | first: List.delete_at(c.first, n)}) ++
      for(n <- indices(c.second), do: %{c | second: List.delete_at(c.second, n)}) ++
      for(
        which <- [:foreign, :drift],
        k <- [0, 1],
        n <- indices(Enum.at(c[which], k)),
        do: Map.update!(c, which, &List.update_at(&1, k, fn list -> List.delete_at(list, n) end))
      ) ++
      if(c.forget, do: [%{c | forget: nil}], else: [])
  end

  defp indices([]), do: []
  defp indices(list), do: Enum.to_list(0..(length(list) - 1))
end
