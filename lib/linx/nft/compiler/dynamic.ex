defmodule Linx.NFT.Compiler.Dynamic do
  @moduledoc false
  # add, update and delete of set elements from the packet path, and meters, which are sets of their own.

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Statement

  alias Linx.NFT.Compiler.{
    Elements,
    Fault,
    Generate,
    Load,
    MapTerm,
    Operand,
    Term,
    Typeof,
    Value
  }

  @doc false
  def dynset({:dynset, op, name, key, data, opts, meta}, scope) do
    name = Value.text_of(name, scope)
    declared = Map.get(scope.sets, name)
    {key, scope} = key(key, declared, meta, scope)
    MapTerm.check_key(key, declared, name, meta)
    word = if key.kind == :concat, do: div(key.len, 32), else: 4
    {data, scope} = data(data, declared, name, meta, scope)

    fields =
      %{op: op, set: name, sreg_key: 1}
      |> put(:sreg_data, data && Generate.register(word))
      |> put(:timeout, Elements.duration(opts[:timeout], scope))
      |> put(:exprs, exprs(opts, scope))

    loads = Generate.load(key, 0) ++ if(data, do: Generate.load(data, word), else: [])
    {[{:fixed, loads ++ [Expr.new(:dynset, fields)]}], scope}
  end

  # A constant key takes its type from the set.
  defp key(node, declared, meta, scope) do
    cond do
      declared && match?({:concat, _, _}, node) -> Operand.operand(node, declared.key, scope)
      Operand.load?(node, scope) -> Load.load(node, scope)
      declared -> {Value.constant(node, declared.key, scope), scope}
      true -> Fault.fail(meta, "a constant key needs a set declared before it")
    end
  end

  defp data(nil, declared, name, meta, _scope)
       when declared != nil and is_map_key(declared, :data) and declared.data != nil,
       do: Fault.fail(meta, "#{name} is a map: its elements need a value")

  defp data(nil, _declared, _name, _meta, scope), do: {nil, scope}

  defp data(node, declared, name, meta, scope) do
    case declared do
      %{data: %Term{} = like} ->
        Operand.operand(node, %{like | kind: const_kind(like)}, scope)

      nil ->
        Load.load(node, scope)

      _ ->
        Fault.fail(meta, "#{name} has no values that a rule can add")
    end
  end

  defp const_kind(%Term{kind: :concat}), do: :concat
  defp const_kind(_term), do: :const

  @doc false
  def meter({:meter, name, size, key, opts, meta}, scope) do
    name = Value.text_of(name, scope)
    {key, scope} = Load.load(key, scope)
    timeout = Elements.duration(opts[:timeout], scope)
    op = if timeout, do: :update, else: :add
    flags = [:anonymous] ++ if(timeout, do: [:timeout], else: []) ++ [:dynamic]
    flags = Enum.filter([:anonymous, :constant, :dynamic, :timeout], &(&1 in flags))
    size = size && Value.number_of(size, scope)
    exprs = exprs(opts, scope)
    if exprs == [], do: Fault.fail(meta, "a meter needs a statement: limit, counter, ...")
    dynset = %{op: op, sreg_key: 1} |> put(:timeout, timeout) |> put(:exprs, exprs)

    fields =
      %{
        elements: [],
        key_type: MapTerm.key_type(key),
        flags: flags,
        name: name,
        via: {:dynset, dynset}
      }
      |> put(:size, size)
      |> put(:typeof, Typeof.record(key, nil))

    {[{:fixed, Generate.load(key, 0) ++ [Expr.new(:__anon_set, fields)]}], scope}
  end

  defp exprs(opts, scope),
    do: for({:stmt, node} <- opts, expr <- Statement.exprs(node, scope), do: expr)

  defp put(map, _key, value) when value in [nil, []], do: map
  defp put(map, key, value), do: Map.put(map, key, value)
end
