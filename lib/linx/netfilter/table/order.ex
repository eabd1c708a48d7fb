defmodule Linx.Netfilter.Table.Order do
  @moduledoc false
  # The order of a table's chains, sets, maps, objects and flowtables. The fields that hold them
  # are maps by name; `table.order` holds how many names a field has and the names, the last
  # first, so that an append neither copies nor counts them. A field of few names that stand in
  # the order of the terms has no entry: two tables that hold the same things in the same order
  # are then equal, also when their maps were written by hand. With more names a look at all of
  # them costs too much at each append.

  alias Linx.Netfilter.Table

  @few 32

  @fields [:chains, :sets, :maps, :objects, :flowtables]

  @doc """
  The names of `field` in order. A name that was put into the map past this module comes last.
  """
  @spec names(Table.t(), Table.field()) :: [Table.key()]
  def names(%Table{order: order} = table, field) when field in @fields do
    map = Map.fetch!(table, field)

    case order do
      %{^field => {_count, names}} ->
        known = names |> Enum.uniq() |> Enum.filter(&is_map_key(map, &1)) |> Enum.reverse()
        known ++ Enum.sort(Map.keys(map) -- known)

      _sorted ->
        map |> Map.keys() |> Enum.sort()
    end
  end

  @doc "The values of `field` in order."
  @spec values(Table.t(), Table.field()) :: [struct()]
  def values(table, field) do
    map = Map.fetch!(table, field)
    for name <- names(table, field), do: Map.fetch!(map, name)
  end

  @doc "The table with a new `value` as the last of `field`."
  @spec append(Table.t(), Table.field(), Table.key(), struct()) :: Table.t()
  def append(%Table{} = table, field, name, value) do
    order = appended(table, field, name)
    things = Map.put(Map.fetch!(table, field), name, value)
    Map.replace!(%{table | order: order}, field, things)
  end

  # `put/2` sets the order of all at once.
  defp appended(%Table{order: nil}, _field, _name), do: nil

  defp appended(%Table{order: order} = table, field, name) do
    map = Map.fetch!(table, field)

    case order do
      %{^field => {count, names}} when count == map_size(map) ->
        %{order | field => {count + 1, [name | names]}}

      # The map was changed past this module.
      %{^field => _names} ->
        %{order | field => counted([name | table |> names(field) |> Enum.reverse()])}

      _sorted ->
        if map_size(map) < @few and Enum.all?(map, fn {other, _} -> other < name end),
          do: order,
          else: Map.put(order, field, counted([name | map |> Map.keys() |> Enum.sort(:desc)]))
    end
  end

  defp counted(names), do: {length(names), names}

  @doc "The table whose order `put/2` sets when all is in it: an append looks at no other name."
  @spec open(Table.t()) :: Table.t()
  def open(%Table{} = table), do: %{table | order: nil}

  @doc """
  The table in the order of `things`, the last first: `{field, name}`, where a map may be said to
  be of `:sets`, since the kernel has one list of both. A thing that the table does not hold is
  left out.
  """
  @spec put(Table.t(), [{Table.field(), Table.key()}]) :: Table.t()
  def put(%Table{} = table, things) do
    found = Enum.group_by(things, &elem(&1, 0), &elem(&1, 1))
    found = Map.put_new(found, :maps, Map.get(found, :sets, []))

    order =
      for {field, names} <- found,
          map = Map.fetch!(table, field),
          names = names |> Enum.filter(&is_map_key(map, &1)) |> Enum.uniq(),
          {count, _names} = counted = counted(names),
          count > @few or not descending?(names),
          into: %{},
          do: {field, counted}

    %{table | order: order}
  end

  defp descending?([a, b | rest]), do: a > b and descending?([b | rest])
  defp descending?(_names), do: true
end
