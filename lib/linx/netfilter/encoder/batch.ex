defmodule Linx.Netfilter.Encoder.Batch do
  @moduledoc false
  # A whole ruleset as the messages of a replacing push, each with its place in the ruleset.

  alias Linx.Netfilter.{Encoder, Ruleset, Table}
  alias Linx.Netfilter.Encoder.{Pattern, Place, Rule, Sets}

  @doc "Option `destroy: :destroy | :delete | :none`: what is done about tables that are there."
  @spec messages(Ruleset.t(), keyword()) ::
          {:ok, [Encoder.placed()]} | {:error, Encoder.unencodable()}
  def messages(ruleset, opts) do
    {lists, _id} =
      Enum.map_reduce(Ruleset.tables(ruleset), 1, fn {_family, _name, table}, id ->
        table_batch(table, id, opts)
      end)

    {:ok, Enum.concat(lists)}
  catch
    {:unencodable, at, text} -> {:error, Place.unencodable(at, text)}
  end

  defp table_batch(%Table{family: family} = table, id, opts) do
    at = [family: family, table: table.name]
    sets = Enum.map(sorted(table.sets) ++ sorted(table.maps), &%{&1 | table: table.name})
    ids = sets |> Enum.with_index(id) |> Map.new(fn {set, id} -> {set.name, id} end)
    {rules, id} = rules_batch(table, id + length(sets), at)

    messages =
      [
        destroy(table, opts),
        Place.at(at, fn -> Encoder.table(table) end),
        for(
          o <- sorted(table.objects),
          do:
            Place.at(at ++ [object: o.name], fn ->
              Encoder.object(%{o | table: table.name}, family)
            end)
        ),
        for(
          f <- sorted(table.flowtables),
          do:
            Place.at(at ++ [flowtable: f.name], fn ->
              Encoder.flowtable(%{f | table: table.name}, family)
            end)
        ),
        for(
          s <- sets,
          do: Place.at(at ++ [set: s.name], fn -> Encoder.set(s, family, id: ids[s.name]) end)
        ),
        for(
          c <- sorted(table.chains),
          do:
            Place.at(at ++ [chain: c.name], fn ->
              Encoder.chain(%{c | table: table.name}, family)
            end)
        ),
        for(
          s <- sets,
          do: placed_elements(s, family, s.elements, [id: ids[s.name], initial: true], at)
        ),
        rules
      ]

    {List.flatten(messages), id}
  end

  defp placed_elements(set, family, elements, opts, at) do
    {messages, at} =
      Place.at(at ++ [set: set.name, elements: length(elements)], fn ->
        Sets.elements(set, family, elements, opts)
      end)

    Enum.map(messages, &{&1, at})
  end

  defp destroy(table, opts) do
    at = [family: table.family, table: table.name]

    case Keyword.get(opts, :destroy, :destroy) do
      :destroy ->
        {Encoder.destroytable(table.family, table.name), at}

      :delete ->
        [
          {Encoder.table(Table.new!(table.family, table.name)), at},
          {Encoder.deltable(table.family, table.name), at}
        ]

      :none ->
        []
    end
  end

  defp rules_batch(table, id, at) do
    {lists, {id, _memory}} =
      Enum.map_reduce(sorted(table.chains), {id, Pattern.new()}, fn chain, state ->
        chain.rules
        |> Enum.with_index()
        |> Enum.map_reduce(state, fn {rule, index}, state ->
          at = at ++ [chain: chain.name, rule: index]
          Rule.messages(rule, table.family, table.name, chain.name, [], state, at)
        end)
      end)

    {lists, id}
  end

  defp sorted(map), do: map |> Enum.sort_by(&elem(&1, 0)) |> Enum.map(&elem(&1, 1))
end
