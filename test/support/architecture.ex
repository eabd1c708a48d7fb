defmodule Linx.Test.Architecture do
  @moduledoc false
  # The tables of docs/development/architecture.md, and the checks that they stand for.
  #
  # A pattern names a module and every module below it; `*` stands for one part of a name. The
  # pattern with the most parts decides, among equals the one with fewer stars.

  @type group :: %{name: String.t(), patterns: [String.t()], calls: [String.t()]}
  @type call :: {from :: String.t(), to :: String.t()}

  @doc "The rows of the table of rooms: the rooms that each may call."
  @spec rooms(String.t()) :: [group()]
  def rooms(page), do: groups(page, "Room")

  @doc "The rows of the table of parts: the parts that each may not call."
  @spec parts(String.t()) :: [group()]
  def parts(page), do: groups(page, "Part")

  @doc "The calls that are made although a part may not make them."
  @spec exceptions(String.t()) :: [call()]
  def exceptions(page) do
    for [caller, called, why] <- table(page, "Caller"), why != "" do
      {[from], [to]} = {names(caller), names(called)}
      {from, to}
    end
  end

  @doc "The folders and files of the tree."
  @spec tree(String.t()) :: [String.t()]
  def tree(page),
    do: for([folders, _text] <- table(page, "Folder"), do: names(folders)) |> Enum.concat()

  defp groups(page, title) do
    for [name, modules, calls] <- table(page, title),
        do: %{
          name: name,
          patterns: names(modules),
          calls: String.split(calls, ",", trim: true) |> Enum.map(&String.trim/1)
        }
  end

  # The cells of the rows of the table whose first heading is `title`.
  defp table(page, title) do
    [_heading, _rule | rows] =
      page
      |> String.split("\n")
      |> Enum.drop_while(&(not String.starts_with?(&1, "| #{title} |")))
      |> Enum.take_while(&String.starts_with?(&1, "|"))

    for row <- rows,
        do: row |> String.trim("|") |> String.split("|") |> Enum.map(&String.trim/1)
  end

  defp names(cell), do: Regex.scan(~r/`([^`]+)`/, cell, capture: :all_but_first) |> Enum.concat()

  @doc "The group whose pattern decides for the module, or nil."
  @spec group([group()], String.t()) :: group() | nil
  def group(groups, module) do
    with {group, _pattern} <- decision(groups, module), do: group
  end

  defp decision(groups, module) do
    parts = String.split(module, ".")

    for(
      group <- groups,
      pattern <- group.patterns,
      split = String.split(pattern, "."),
      matches?(split, parts),
      do: {{length(split), -Enum.count(split, &(&1 == "*"))}, {group, pattern}}
    )
    |> Enum.max_by(&elem(&1, 0), fn -> {nil, nil} end)
    |> elem(1)
  end

  defp matches?([], _parts), do: true
  defp matches?([part | pattern], [part | parts]), do: matches?(pattern, parts)
  defp matches?(["*" | pattern], [_ | parts]), do: matches?(pattern, parts)
  defp matches?(_pattern, _parts), do: false

  @doc "The patterns that decide for none of the modules."
  @spec idle([group()], [String.t()]) :: [String.t()]
  def idle(groups, modules) do
    used =
      for module <- modules, {_group, pattern} <- [decision(groups, module)], do: pattern

    Enum.flat_map(groups, & &1.patterns) -- Enum.uniq(used)
  end

  @doc "The calls from a room to one that its row does not name, with the two rooms."
  @spec calls_outside([call()], [group()]) :: [{call(), {String.t(), String.t()}}]
  def calls_outside(calls, rooms) do
    for {from, to} = call <- calls,
        room = group(rooms, from),
        target = group(rooms, to).name,
        target not in room.calls,
        do: {call, {room.name, target}}
  end

  @doc "The calls from a part to one that its row names."
  @spec forbidden([call()], [group()]) :: [call()]
  def forbidden(calls, parts) do
    for {from, to} = call <- calls,
        part = group(parts, from),
        target = group(parts, to),
        target.name in part.calls,
        do: call
  end

  @doc "Whether the call is one of the exceptions, which name modules and none below them."
  @spec excepted?(call(), [call()]) :: boolean()
  def excepted?(call, exceptions), do: call in exceptions

  @doc "The sets of groups that call each other in a circle."
  @spec cycles([call()], (String.t() -> term())) :: [[term()]]
  def cycles(calls, group_of) do
    graph = :digraph.new()

    for {from, to} <- calls do
      {from, to} = {group_of.(from), group_of.(to)}
      for group <- [from, to], do: :digraph.add_vertex(graph, group)
      if from != to, do: :digraph.add_edge(graph, from, to)
    end

    cycles = :digraph_utils.cyclic_strong_components(graph)
    :digraph.delete(graph)
    cycles
  end

  @doc "The shortest path of calls from one module to another, or nil."
  @spec path([call()], String.t(), String.t()) :: [String.t()] | nil
  def path(calls, from, to) do
    graph = :digraph.new()

    for {a, b} <- calls do
      for module <- [a, b], do: :digraph.add_vertex(graph, module)
      :digraph.add_edge(graph, a, b)
    end

    path = :digraph.get_short_path(graph, from, to)
    :digraph.delete(graph)
    path || nil
  end
end
