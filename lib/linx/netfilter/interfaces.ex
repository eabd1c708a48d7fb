defmodule Linx.Netfilter.Interfaces do
  @moduledoc false
  # `iif "eth0"` compares the interface's index, which only the namespace that the ruleset goes to
  # knows. Until the push the index stands as {:iface, name}, in comparisons, loads and elements
  # of sets; here the names become numbers, with one request.

  alias Linx.Netfilter.{Element, Error, Expr, Ruleset, Verdict}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Netfilter.Set, as: NSet
  alias Linx.Netlink.{Rtnl, Socket}
  alias Linx.Netlink.Rtnl.Link.Index

  @doc false
  # The ruleset with the indices of the namespace of `sock`. A name that is not there is
  # `errno: :enodev`.
  @spec resolve(Ruleset.t(), Socket.t()) :: {:ok, Ruleset.t()} | {:error, Error.t() | term()}
  def resolve(%Ruleset{} = ruleset, %Socket{netns: netns}) do
    case names(ruleset) do
      [] -> {:ok, ruleset}
      names -> with {:ok, indices} <- indices(netns, names), do: {:ok, ruleset(ruleset, indices)}
    end
  end

  defp indices(netns, names) do
    with {:ok, socket} <- Rtnl.open(netns) do
      try do
        with {:ok, index} <- Index.all(socket, names), do: all(names, index, %{})
      after
        Socket.close(socket)
      end
    end
  end

  defp all([], _index, found), do: {:ok, found}

  defp all([name | names], index, found) do
    case index.(name) do
      {:ok, number} ->
        all(names, index, Map.put(found, name, number))

      {:error, _} ->
        {:error, Error.from_posix(:enodev, :push, message: "no interface #{inspect(name)}")}
    end
  end

  # -- which names -------------------------------------------------------------------------------

  # Most rulesets have none, however many rules they have: nothing is built on the way.
  defp names(ruleset) do
    found =
      for {_key, table} <- ruleset.tables, reduce: [] do
        found -> in_table(table, found)
      end

    found |> Enum.uniq() |> Enum.sort()
  end

  defp in_table(table, found) do
    found =
      for {_, chain} <- table.chains, reduce: found, do: (found -> rules(chain.rules, found))

    found =
      for {_, set} <- table.sets, iface?(set.key_type), reduce: found do
        found -> find(set.elements, found)
      end

    for {_, map} <- table.maps, iface?(map.key_type) or iface?(map.data_type), reduce: found do
      found -> find(map.elements, found)
    end
  end

  defp rules([rule | rest], found), do: rules(rest, expressions(rule.expressions, found))
  defp rules([], found), do: found

  # A field and its comparison are passed over in one step, as rules are of many.
  defp expressions(
         [%Expr{name: :payload}, %Expr{name: :cmp, data: %{data: value}} | rest],
         found
       )
       when is_binary(value),
       do: expressions(rest, found)

  defp expressions([%Expr{name: name} | rest], found) when name in [:payload, :meta, :counter],
    do: expressions(rest, found)

  defp expressions([part | rest], found), do: expressions(rest, find(part, found))
  defp expressions([], found), do: found

  defp iface?(:iface_index), do: true
  defp iface?({:concat, types}), do: :iface_index in types
  defp iface?({:interval, type}), do: iface?(type)
  defp iface?(_type), do: false

  defp find([part | rest], found), do: find(rest, find(part, found))

  defp find(%Expr{name: name, data: %{data: {:iface, iface}}}, found)
       when name in [:cmp, :immediate],
       do: [iface | found]

  defp find(%Expr{name: :__anon_set, data: %{elements: elements}}, found),
    do: find(elements, found)

  defp find(%Expr{name: :immediate, data: %Verdict{target: rules}}, found) when is_list(rules),
    do: rules(rules, found)

  defp find(%Expr{}, found), do: found
  defp find({:iface, name}, found) when is_binary(name), do: [name | found]
  defp find(%Element{key: key, data: data}, found), do: find(data, find(key, found))

  defp find(tuple, found) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> find(found)
  defp find(_other, found), do: found

  # -- in their place ----------------------------------------------------------------------------

  defp ruleset(ruleset, indices) do
    tables = Map.new(ruleset.tables, fn {key, table} -> {key, table(table, indices)} end)
    %{ruleset | tables: tables}
  end

  defp table(table, indices) do
    chains =
      Map.new(table.chains, fn {name, chain} ->
        rules =
          for rule <- chain.rules,
              do: %{rule | expressions: Enum.map(rule.expressions, &put(&1, indices))}

        {name, %{chain | rules: rules}}
      end)

    sets =
      Map.new(table.sets, fn {name, %NSet{} = set} ->
        {name, elements(set, iface?(set.key_type), indices)}
      end)

    maps =
      Map.new(table.maps, fn {name, %NMap{} = map} ->
        {name, elements(map, iface?(map.key_type) or iface?(map.data_type), indices)}
      end)

    %{table | chains: chains, sets: sets, maps: maps}
  end

  defp elements(set, false, _indices), do: set
  defp elements(set, true, indices), do: %{set | elements: put(set.elements, indices)}

  defp put(%Expr{name: name, data: %{data: {:iface, iface}} = data} = expr, indices)
       when name in [:cmp, :immediate],
       do: %{expr | data: %{data | data: <<Map.fetch!(indices, iface)::native-32>>}}

  defp put(%Expr{name: :__anon_set, data: data} = expr, indices),
    do: %{expr | data: %{data | elements: put(data.elements, indices)}}

  defp put(%Expr{name: :immediate, data: %Verdict{target: rules} = verdict} = expr, indices)
       when is_list(rules) do
    rules = for rule <- rules, do: %{rule | expressions: put(rule.expressions, indices)}
    %{expr | data: %{verdict | target: rules}}
  end

  defp put(%Expr{} = expr, _indices), do: expr
  defp put(list, indices) when is_list(list), do: Enum.map(list, &put(&1, indices))
  defp put({:iface, name}, indices) when is_binary(name), do: Map.fetch!(indices, name)

  defp put(%Element{} = element, indices),
    do: %{element | key: put(element.key, indices), data: put(element.data, indices)}

  defp put(tuple, indices) when is_tuple(tuple),
    do: tuple |> Tuple.to_list() |> put(indices) |> List.to_tuple()

  defp put(other, _indices), do: other
end
