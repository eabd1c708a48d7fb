defmodule Linx.Netfilter.Encoder.Batch do
  @moduledoc false
  # A whole ruleset as the messages of a replacing push.

  alias Linx.Netfilter.{Encoder, Ruleset, Table}
  alias Linx.Netfilter.Encoder.{Frames, Place, Rule, Sets, TemplateCache}

  @doc "Option `destroy: :destroy | :delete | :none`: what is done about tables that are there."
  @spec frames(Ruleset.t(), keyword()) :: {:ok, Frames.t()} | {:error, Encoder.unencodable()}
  def frames(ruleset, opts) do
    {frames, _state} =
      for {_family, _name, table} <- Ruleset.tables(ruleset),
          reduce: {Frames.new(), {1, TemplateCache.new()}} do
        {frames, state} -> table(table, opts, state, frames)
      end

    {:ok, frames}
  catch
    {:unencodable, at, text} -> {:error, Place.unencodable(at, text)}
  end

  defp table(%Table{family: family, name: name} = table, opts, {id, cache}, frames) do
    at = [family: family, table: name]

    sets =
      Enum.map(Table.in_order(table, :sets) ++ Table.in_order(table, :maps), &%{&1 | table: name})

    numbered = Enum.with_index(sets, id)

    frames =
      table
      |> destroy(Keyword.get(opts, :destroy, :destroy))
      |> add_each(at, frames)
      |> add(at, fn -> Encoder.table(table) end)

    frames =
      for o <- Table.in_order(table, :objects), reduce: frames do
        frames ->
          add(frames, at ++ [object: o.name], fn ->
            Encoder.object(%{o | table: name}, family)
          end)
      end

    frames =
      for f <- Table.in_order(table, :flowtables), reduce: frames do
        frames ->
          add(frames, at ++ [flowtable: f.name], fn ->
            Encoder.flowtable(%{f | table: name}, family)
          end)
      end

    frames =
      for {s, id} <- numbered, reduce: frames do
        frames -> add(frames, at ++ [set: s.name], fn -> Encoder.set(s, family, id: id) end)
      end

    frames =
      for c <- Table.in_order(table, :chains), reduce: frames do
        frames ->
          add(frames, at ++ [chain: c.name], fn -> Encoder.chain(%{c | table: name}, family) end)
      end

    frames =
      for {s, id} <- numbered, reduce: frames do
        frames ->
          at = at ++ [set: s.name, elements: length(s.elements)]

          at
          |> Place.at(fn -> Sets.elements(s, family, s.elements, id: id, initial: true) end)
          |> add_each(at, frames)
      end

    for c <- Table.in_order(table, :chains), reduce: {frames, {id + length(sets), cache}} do
      {frames, state} ->
        Rule.all(c.rules, {family, name, c.name}, at ++ [chain: c.name], state, frames)
    end
  end

  defp destroy(table, :destroy), do: [Encoder.destroytable(table.family, table.name)]

  defp destroy(table, :delete),
    do: [
      Encoder.table(Table.new!(table.family, table.name)),
      Encoder.deltable(table.family, table.name)
    ]

  defp destroy(_table, :none), do: []

  defp add(frames, at, fun), do: Frames.add(frames, Place.at(at, fun), at)
  defp add_each(messages, at, frames), do: Enum.reduce(messages, frames, &Frames.add(&2, &1, at))
end
