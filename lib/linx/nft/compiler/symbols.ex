defmodule Linx.NFT.Compiler.Symbols do
  @moduledoc false
  # The symbols that a script has declared so far, by name: a command refers to one that is there,
  # and creates one that is not.

  alias Linx.NFT.Compiler.{Fault, Interpolated, Scope, Value}
  alias Linx.NFT.ParseError

  @families ~w(ip ip6 inet arp bridge netdev)a

  @doc false
  # A name that may be a variable or an interpolation.
  def name(name, _what, _plan) when is_binary(name), do: name
  def name({:elixir_value, value, _}, what, _plan), do: Interpolated.name!(value, what)

  def name({:variable, _, _} = node, _what, plan),
    do: Value.text_of(node, %Scope{variables: plan.variables})

  def name({:elixir_expr, _, meta}, _what, _plan),
    do: Fault.fail(meta, "an interpolation has a value in ~NFT only")

  @doc false
  def family(family, _meta) when family in @families, do: family

  def family({:elixir_value, value, _}, _meta) do
    if value in @families,
      do: value,
      else: raise(ArgumentError, "expected a family in ~NFT, got: #{inspect(value)}")
  end

  def family(_node, meta), do: Fault.fail(meta, "expected a family")

  @doc false
  # `create` of what is there already is an error.
  def created({:chain, node, _, _, _}, table, plan, meta),
    do: absent(table.chains, "chain", name(node, "chain", plan), meta)

  def created({:object, kind, node, _, _}, table, plan, meta) do
    name = name(node, "object", plan)
    absent(Map.has_key?(table.objects, {kind, name}), "object", name, meta)
  end

  def created({:flowtable, node, _, _}, table, plan, meta),
    do: absent(table.flowtables, "flowtable", name(node, "flowtable", plan), meta)

  def created({kind, node, _, _}, table, plan, meta) when kind in [:set, :map, :vmap],
    do: absent(table.sets, "set", name(node, "set", plan), meta)

  @doc false
  def absent(%{} = there, what, name, meta),
    do: absent(Map.has_key?(there, name), what, name, meta)

  def absent(false, _what, _name, _meta), do: :ok

  def absent(true, what, name, meta),
    do: Fault.fail(meta, "#{what} #{name} is there already: add instead of create")

  @doc false
  # The key of a table that the text has described.
  def existing(plan, family, name, meta) do
    key = {family(family, meta), name(name, "table", plan)}

    if Map.has_key?(plan.tables, key) do
      key
    else
      names = for {_, table} <- plan.order, do: table

      Fault.fail(
        meta,
        "no such table in this text: #{elem(key, 0)} " <>
          "#{elem(key, 1)}#{ParseError.suggestion(elem(key, 1), names)}"
      )
    end
  end

  @doc false
  def existing_item(plan, key, field, node, what, meta) do
    name = name(node, what, plan)
    there = Map.fetch!(plan.tables[key], field)

    if Map.has_key?(there, name),
      do: name,
      else:
        Fault.fail(
          meta,
          "no such #{what}: #{name}#{ParseError.suggestion(name, Map.keys(there))}"
        )
  end
end
