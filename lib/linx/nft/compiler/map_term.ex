defmodule Linx.NFT.Compiler.MapTerm do
  @moduledoc false
  # `key map { ... }` and `key map @m`: a load through a set. What the values are comes from the
  # place where they are used.

  alias Linx.Netfilter.{Datum, Expr}
  alias Linx.NFT.Compiler.{Elements, Fault, Interpolated, Load, Operand, Scope, Term, Typeof}

  @doc false
  # `scope.expect` is the term that the value is used as.
  def load(key, map, meta, scope) do
    expect = scope.expect || Fault.fail(meta, "a map cannot stand here")
    {key_term, scope} = Load.load(key, %{scope | expect: nil})
    Linx.NFT.Expr.Ct.named_address!(key_term)
    {key_term, lookup, data} = lookup(key_term, Scope.resolve(scope, map), expect, meta, scope)

    {%Term{
       kind: :map,
       type: data.type,
       len: data.len,
       order: data.order,
       data: {key_term, lookup},
       meta: meta
     }, scope}
  end

  @doc false
  # {key term, lookup expression without registers, what the values are like}
  def lookup(key, {:set_inline, nodes, node_meta}, data, _meta, scope) do
    {fields, interval?} = literal(key, nodes, data, node_meta, scope)
    {ordered(key, interval?), Expr.new(:__anon_set, fields), value_of(data, fields.data_type)}
  end

  def lookup(key, {:set_ref, name, _}, data, meta, scope) do
    name = Linx.NFT.Compiler.Value.text_of(name, scope)
    declared = Map.get(scope.sets, name)

    if declared && declared.data == nil, do: Fault.fail(meta, "#{name} is a set, not a map")
    check_key(key, declared, name, meta, :map)
    interval? = declared != nil and declared.interval?
    {ordered(key, interval?), Expr.new(:lookup, %{set: name}), value_type(declared, data)}
  end

  def lookup(_key, node, _data, _meta, _scope),
    do: Fault.fail(node, "expected a map: { key : value } or @name")

  defp value_of(%Term{} = data, _type), do: data
  defp value_of(other, _type), do: %Term{type: other}

  defp value_type(%{data: %Term{} = data}, _expected), do: data
  defp value_type(_declared, %Term{} = expected), do: expected
  defp value_type(_declared, expected), do: %Term{type: expected}

  @doc false
  # The expression of a set or map in braces, and whether it holds intervals: an element that is
  # an interval implies the flag.
  def literal(key, nodes, data, meta, scope) do
    found = Elements.elements(nodes, key, data, scope)
    if found.list == [], do: empty(nodes, meta, scope)
    interval? = found.interval?
    type = key_type(if(data, do: key, else: parts_ordered(key, interval?)))
    list = normalised(found.list, type, data != nil, meta)

    list =
      cond do
        interval? and data == nil and key.kind != :concat -> Elements.merge(list, type, step(key))
        true -> Enum.uniq(list)
      end

    fields = %{elements: list, key_type: type, flags: [:anonymous, :constant]}

    fields =
      if data,
        do: Map.put(fields, :data_type, data_type(data, found.data_interval?)),
        else: fields

    case Typeof.anonymous(key, data, interval?) do
      nil -> {fields, interval?}
      record -> {Map.put(fields, :typeof, record), interval?}
    end
  end

  defp step(%Term{kind: :part, shift: shift}), do: Bitwise.bsl(1, shift)
  defp step(_key), do: 1

  # nft has no set without elements in a rule.
  @spec empty([tuple()], map(), Scope.t()) :: no_return()
  defp empty(nodes, meta, scope) do
    case Enum.find_value(nodes, &empty_value(Scope.resolve(scope, &1), scope)) do
      nil -> Fault.fail(meta, "a set needs an element")
      {value} -> Interpolated.no_elements!(value)
    end
  end

  defp empty_value({:elixir_value, value, _}, _scope), do: {value}

  defp empty_value({kind, nodes, _}, scope) when kind in [:set_inline, :list],
    do: Enum.find_value(nodes, &empty_value(Scope.resolve(scope, &1), scope))

  defp empty_value(_node, _scope), do: nil

  @doc false
  def key_type(%Term{kind: :part, type: type, data: {_, _, count}}),
    do: Term.key_type(%Term{type: type, len: 8 * count, order: :big})

  def key_type(term), do: Term.key_type(term)

  @doc false
  def data_type(nil, _interval?), do: nil
  def data_type(:verdict, _interval?), do: :verdict
  def data_type({:object, _} = object, _interval?), do: object
  def data_type(%Term{} = term, true), do: {:interval, Term.key_type(term)}
  def data_type(%Term{} = term, false), do: Term.key_type(term)

  @doc false
  def normalised(list, type, map?, meta) do
    Enum.map(list, fn
      %{__struct__: Linx.Netfilter.Element, key: key} = element ->
        %{element | key: norm(key, type, meta)}

      {key, value} when map? ->
        {norm(key, type, meta), value}

      key ->
        norm(key, type, meta)
    end)
  end

  defp norm(key, type, meta) do
    case Datum.Form.normalise(type, key) do
      {:ok, key} -> key
      {:error, _reason} -> Fault.fail(meta, "an element does not fit the type of the set")
    end
  end

  # Orders the numbers of a concatenation: a set without a typeof record does not give their byte
  # order.
  defp parts_ordered(%Term{kind: :concat} = key, interval?), do: ordered(key, interval?)
  defp parts_ordered(key, _interval?), do: key

  @doc false
  # Intervals are looked up as big-endian numbers.
  def ordered(key, false), do: key

  def ordered(%Term{kind: :concat, data: parts} = key, true),
    do: %{key | data: Enum.map(parts, &big/1)}

  def ordered(key, true), do: big(key)

  @doc false
  def big(%Term{order: :host, len: len, type: type} = term)
      when len > 8 and type not in [:ifname, :string, :ct_label],
      do: %{term | kind: :order, data: term, order: :big}

  def big(term), do: term

  @doc false
  # The key must be what the set was declared for. `use` is `:set` for a key that a set is asked
  # for or that is put into it, and `:map` for one that a map is asked for.
  def check_key(_key, nil, _name, _meta, _use), do: :ok

  def check_key(key, %{key: declared}, name, meta, use) do
    if compatible?(key, declared, use),
      do: :ok,
      else:
        Fault.fail(
          meta,
          "@#{name} holds #{Linx.NFT.Compiler.Value.describe(declared)}, not " <>
            "#{Linx.NFT.Compiler.Value.describe(key)}"
        )
  end

  defp compatible?(%Term{kind: :concat, data: a}, %Term{kind: :concat, data: b}, use) do
    use = if use == :map, do: :part, else: use

    length(a) == length(b) and
      Enum.all?(Enum.zip(a, b), fn {x, y} -> compatible?(x, y, use) end)
  end

  defp compatible?(%Term{kind: :concat}, _declared, _use), do: false
  defp compatible?(_key, %Term{kind: :concat}, _use), do: false
  defp compatible?(%Term{type: type}, %Term{type: type}, _use), do: true
  defp compatible?(%Term{type: :string}, %Term{type: :ifname}, _use), do: true
  defp compatible?(%Term{type: :ifname}, %Term{type: :string}, _use), do: true

  # A generated number is looked up among any numbers as wide, and in a map among marks alone, as
  # in nft 1.1.
  defp compatible?(%Term{generated: kind}, %Term{len: 32, type: type}, :set) when kind != nil,
    do: Operand.number?(type)

  defp compatible?(%Term{generated: kind}, %Term{type: :mark}, :map) when kind != nil, do: true
  defp compatible?(_key, _declared, _use), do: false
end
