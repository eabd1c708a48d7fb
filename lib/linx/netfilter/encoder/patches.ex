defmodule Linx.Netfilter.Encoder.Patches do
  @moduledoc false
  # A patch as messages in its order, each with its place in the ruleset.

  alias Linx.Netfilter.{Encoder, Patch}
  alias Linx.Netfilter.Encoder.{Pattern, Place, Rule, Sets}

  @spec messages(Patch.t()) :: {:ok, [Encoder.placed()]} | {:error, Encoder.unencodable()}
  def messages(%Patch{ops: ops, sets: sets}) do
    {messages, _state} =
      Enum.map_reduce(ops, {{1, Pattern.new()}, sets, MapSet.new()}, fn op, acc ->
        {result, _at} = Place.at(op_at(op), fn -> op(op, acc) end)
        result
      end)

    {:ok, List.flatten(messages)}
  catch
    {:unencodable, at, text} -> {:error, Place.unencodable(at, text)}
  end

  defp op_at(op) do
    case {elem(op, 0), elem(op, 1)} do
      {kind, family} when kind in [:create_rule, :replace_rule, :delete_rule] ->
        at(family, elem(op, 2), chain: elem(op, 3), rule: elem(op, 4))

      {kind, family} when kind in [:add_set_elements, :delete_set_elements] ->
        at(family, elem(op, 2), set: elem(op, 3), elements: length(elem(op, 4)))

      {_kind, family} ->
        [family: family]
    end
  end

  defp op({:create_table, family, table}, acc),
    do: {{Encoder.table(%{table | family: family}), [family: family, table: table.name]}, acc}

  defp op({:delete_table, family, name}, acc),
    do: {{Encoder.deltable(family, name), [family: family, table: name]}, acc}

  defp op({:create_chain, family, table, chain}, acc),
    do:
      {{Encoder.chain(%{chain | table: table}, family), at(family, table, chain: chain.name)},
       acc}

  defp op({:delete_chain, family, table, name}, acc),
    do: {{Encoder.delete_chain(family, table, name), at(family, table, chain: name)}, acc}

  defp op({:create_set, family, set}, {{id, memory}, sets, fresh}) do
    key = {family, set.table, set.name}
    acc = {{id + 1, memory}, Map.put(sets, key, %{set | elements: []}), MapSet.put(fresh, key)}
    {{Encoder.set(set, family, id: id), at(family, set.table, set: set.name)}, acc}
  end

  defp op({:delete_set, family, table, name}, acc),
    do: {{Encoder.delete_set(family, table, name), at(family, table, set: name)}, acc}

  defp op({:create_object, family, object}, acc),
    do: {{Encoder.object(object, family), at(family, object.table, object: object.name)}, acc}

  defp op({:delete_object, family, table, kind, name}, acc),
    do: {{Encoder.delete_object(family, table, kind, name), at(family, table, object: name)}, acc}

  defp op({:create_flowtable, family, ft}, acc),
    do: {{Encoder.flowtable(ft, family), at(family, ft.table, flowtable: ft.name)}, acc}

  defp op({:delete_flowtable, family, table, name}, acc),
    do: {{Encoder.delete_flowtable(family, table, name), at(family, table, flowtable: name)}, acc}

  defp op({:add_set_elements, family, table, name, elements}, {_state, sets, fresh} = acc) do
    set = declared(sets, family, table, name)
    initial? = {family, table, name} in fresh
    messages = Sets.elements(set, family, elements, initial: initial?)
    {Enum.map(messages, &{&1, at(family, table, set: name)}), acc}
  end

  defp op({:delete_set_elements, family, table, name, elements}, {_state, sets, _fresh} = acc) do
    messages = Sets.deletions(declared(sets, family, table, name), family, elements)
    {Enum.map(messages, &{&1, at(family, table, set: name)}), acc}
  end

  defp op({:create_rule, family, table, chain, rule, position}, acc),
    do: rule_op(rule, family, table, chain, [position: position], acc)

  defp op({:replace_rule, family, table, chain, handle, rule}, acc),
    do: rule_op(rule, family, table, chain, [replace: handle], acc)

  defp op({:delete_rule, family, table, chain, handle}, acc),
    do:
      {{Encoder.delete_rule(family, table, chain, handle),
        at(family, table, chain: chain, handle: handle)}, acc}

  defp rule_op(rule, family, table, chain, opts, {state, sets, fresh}) do
    at = at(family, table, [chain: chain] ++ if(rule.tag, do: [tag: rule.tag], else: []))
    {messages, state} = Rule.messages(rule, family, table, chain, opts, state, at)
    {messages, {state, sets, fresh}}
  end

  defp at(family, table, more), do: [family: family, table: table] ++ more

  defp declared(sets, family, table, name) do
    case sets do
      %{{^family, ^table, ^name} => set} ->
        %{set | table: table, name: name}

      _ ->
        raise ArgumentError,
              "the patch does not say what set #{inspect(name)} is: put it into :sets"
    end
  end
end
