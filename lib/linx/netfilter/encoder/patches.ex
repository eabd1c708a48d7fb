defmodule Linx.Netfilter.Encoder.Patches do
  @moduledoc false
  # A patch as messages in its order.

  alias Linx.Netfilter.{Encoder, Patch}
  alias Linx.Netfilter.Encoder.{Frames, Place, Rule, Sets, TemplateCache}

  @spec frames(Patch.t()) :: {:ok, Frames.t()} | {:error, Encoder.unencodable()}
  def frames(%Patch{ops: ops, sets: sets}) do
    {frames, _state} =
      Enum.reduce(ops, {Frames.new(), {{1, TemplateCache.new()}, sets, MapSet.new()}}, &op/2)

    {:ok, frames}
  catch
    {:unencodable, at, text} -> {:error, Place.unencodable(at, text)}
  end

  defp op({:create_rule, family, table, chain, rule, position}, acc),
    do: rule(rule, {family, table, chain}, [position: position], acc)

  defp op({:replace_rule, family, table, chain, handle, rule}, acc),
    do: rule(rule, {family, table, chain}, [replace: handle], acc)

  defp op(op, {frames, {state, sets, fresh}}) do
    at = at(op)
    messages = Place.at(at, fn -> messages(op, state, sets, fresh) end)
    frames = Enum.reduce(messages, frames, &Frames.add(&2, &1, at))
    {frames, after_op(op, state, sets, fresh)}
  end

  defp rule(rule, {family, table, chain} = where, opts, {frames, {state, sets, fresh}}) do
    at = at(family, table, chain: chain, tag: rule.tag)
    {frames, state} = Rule.one(rule, where, opts, at, state, frames)
    {frames, {state, sets, fresh}}
  end

  defp after_op({:create_set, family, set}, {id, cache}, sets, fresh) do
    key = {family, set.table, set.name}
    {{id + 1, cache}, Map.put(sets, key, %{set | elements: []}), MapSet.put(fresh, key)}
  end

  defp after_op(_op, state, sets, fresh), do: {state, sets, fresh}

  defp at({:create_table, family, table}), do: [family: family, table: table.name]
  defp at({:delete_table, family, name}), do: [family: family, table: name]
  defp at({:create_chain, family, table, chain}), do: at(family, table, chain: chain.name)
  defp at({:delete_chain, family, table, name}), do: at(family, table, chain: name)
  defp at({:create_set, family, set}), do: at(family, set.table, set: set.name)
  defp at({:delete_set, family, table, name}), do: at(family, table, set: name)
  defp at({:create_object, family, object}), do: at(family, object.table, object: object.name)
  defp at({:delete_object, family, table, _kind, name}), do: at(family, table, object: name)
  defp at({:create_flowtable, family, ft}), do: at(family, ft.table, flowtable: ft.name)
  defp at({:delete_flowtable, family, table, name}), do: at(family, table, flowtable: name)

  defp at({kind, family, table, name, elements})
       when kind in [:add_set_elements, :delete_set_elements],
       do: at(family, table, set: name, elements: length(elements))

  defp at({:delete_rule, family, table, chain, handle}),
    do: at(family, table, chain: chain, handle: handle)

  defp at(family, table, more), do: [family: family, table: table] ++ more

  defp messages({:create_table, family, table}, _state, _sets, _fresh),
    do: [Encoder.table(%{table | family: family})]

  defp messages({:delete_table, family, name}, _state, _sets, _fresh),
    do: [Encoder.deltable(family, name)]

  defp messages({:create_chain, family, table, chain}, _state, _sets, _fresh),
    do: [Encoder.chain(%{chain | table: table}, family)]

  defp messages({:delete_chain, family, table, name}, _state, _sets, _fresh),
    do: [Encoder.delete_chain(family, table, name)]

  defp messages({:create_set, family, set}, {id, _memory}, _sets, _fresh),
    do: [Encoder.set(set, family, id: id)]

  defp messages({:delete_set, family, table, name}, _state, _sets, _fresh),
    do: [Encoder.delete_set(family, table, name)]

  defp messages({:create_object, family, object}, _state, _sets, _fresh),
    do: [Encoder.object(object, family)]

  defp messages({:delete_object, family, table, kind, name}, _state, _sets, _fresh),
    do: [Encoder.delete_object(family, table, kind, name)]

  defp messages({:create_flowtable, family, ft}, _state, _sets, _fresh),
    do: [Encoder.flowtable(ft, family)]

  defp messages({:delete_flowtable, family, table, name}, _state, _sets, _fresh),
    do: [Encoder.delete_flowtable(family, table, name)]

  defp messages({:delete_rule, family, table, chain, handle}, _state, _sets, _fresh),
    do: [Encoder.delete_rule(family, table, chain, handle)]

  defp messages({:add_set_elements, family, table, name, elements}, _state, sets, fresh) do
    set = declared(sets, family, table, name)
    Sets.elements(set, family, elements, initial: {family, table, name} in fresh)
  end

  defp messages({:delete_set_elements, family, table, name, elements}, _state, sets, _fresh),
    do: Sets.deletions(declared(sets, family, table, name), family, elements)

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
