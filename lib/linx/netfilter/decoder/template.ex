defmodule Linx.Netfilter.Decoder.Template do
  @moduledoc false
  # A template: the decoded expressions that many rules of a dump share, with placeholders for the
  # values, counts and names in which they differ (native/linx_wire/src/netlink/template.rs finds
  # them). `tcp dport 22 counter accept` and `tcp dport 80 counter accept` are one template with
  # the expressions
  #
  #   0  meta l4proto => reg 1
  #   1  cmp eq reg 1 <<_>>             placeholder 0   {1, NFTA_CMP_DATA}
  #   2  payload transport + 2 => reg 1
  #   3  cmp eq reg 1 <<_, _>>          placeholder 1   {3, NFTA_CMP_DATA}
  #   4  counter bytes _ packets _      placeholders 2, 3
  #   5  accept
  #
  # and the rules' values {<<6>>, <<0, 22>>, 0, 0} and {<<6>>, <<0, 80>>, 0, 0}.
  #
  #   new/2    the template of these bytes, which have zeros in the placeholders
  #   fold/3   its implicit dependencies folded (0 and 1 above): good for all rules that have the
  #            same contents/2
  #   fill/2   the expressions of one rule
  #
  # A placeholder is significant if the folding depends on its value: placeholder 0 above, as only
  # <<6>> makes 0 and 1 a dependency of the TCP port. A significant value is part of the folded
  # template.

  alias Linx.Netfilter.Decoder.Expressions
  alias Linx.Netfilter.{Dependencies, Expr, Table, Verdict}

  defstruct expressions: {}, fields: [], significant: []

  @typep place :: {expression :: non_neg_integer(), attribute :: pos_integer()}
  @typep value :: binary() | non_neg_integer()

  # `fields` says for each placeholder which field of which expression it fills, or nil.
  @type t :: %__MODULE__{
          expressions: tuple(),
          fields: [{non_neg_integer(), atom()} | nil],
          significant: [{non_neg_integer(), :whole | :icmp}]
        }

  @type folded :: [Expr.t() | tuple()]

  @spec new(binary(), [place()]) :: t()
  def new(bytes, places) do
    expressions = bytes |> Expressions.list() |> List.to_tuple()
    fields = Enum.map(places, &field(expressions, &1))

    significant =
      for {{index, :data}, number} <- Enum.with_index(fields),
          how = significant(expressions, index),
          do: {number, how}

    %__MODULE__{expressions: expressions, fields: fields, significant: significant}
  end

  defp field(expressions, {index, attribute}) do
    %Expr{name: name, data: data} = elem(expressions, index)
    key = if is_struct(data, Verdict), do: :target, else: Expressions.key(name, attribute)

    # The name of a chain says nothing in a verdict that does not go there.
    if is_map_key(data, key) and :erlang.map_get(key, data) != nil, do: {index, key}
  end

  defp significant(_expressions, 0), do: nil

  defp significant(expressions, index) do
    if match?(%Expr{name: :cmp, data: %{op: :eq}}, elem(expressions, index)),
      do: Dependencies.significant(elem(expressions, index - 1))
  end

  @doc "The values of the significant placeholders, by which foldings are distinguished."
  @spec contents(t(), tuple()) :: [value() | nil]
  def contents(%__MODULE__{significant: significant}, values) do
    for {number, how} <- significant do
      case how do
        :whole -> elem(values, number)
        :icmp -> values |> elem(number) |> Dependencies.icmp_type()
      end
    end
  end

  @doc """
  The template with its dependencies folded, for this family and these contents. Only the sizes
  of the other values matter.
  """
  @spec fold(t(), tuple(), Table.family()) :: folded()
  def fold(%__MODULE__{} = template, values, family) do
    template.fields
    |> Enum.with_index()
    |> Enum.reduce(template.expressions, fn
      {nil, _number}, expressions ->
        expressions

      {field, number}, expressions ->
        mark(expressions, field, number, template.significant, values)
    end)
    |> Tuple.to_list()
    |> Dependencies.fold(family)
    |> Enum.map_reduce(%{}, &item(&1, values, &2))
    |> elem(0)
  end

  # Marks the field that a placeholder fills, as the fold moves expressions and cuts joined
  # comparisons in two. A dependency is not marked: the fold knows it by its value.
  defp mark(expressions, {index, key}, number, significant, values) do
    %Expr{data: data} = expr = elem(expressions, index)

    data =
      case List.keyfind(significant, number, 0) do
        {_number, :whole} -> Map.put(data, key, elem(values, number))
        {_number, :icmp} -> typed(Map.put(data, key, elem(values, number)), key, number)
        nil -> marked(data, key, number)
      end

    put_elem(expressions, index, %{expr | data: data})
  end

  # The type itself is the same in all rules of the template, if a field depends on it: it may be
  # a dependency.
  defp typed(%{data: <<_type>> = value} = data, key, number),
    do: if(Dependencies.icmp_type(value), do: data, else: marked(data, key, number))

  defp typed(data, key, number), do: marked(data, key, number)

  defp marked(data, key, number),
    do: Map.update(data, :placeholders, [{key, number}], &(&1 ++ [{key, number}]))

  defp item(%Expr{data: %{placeholders: fields} = data} = expr, values, cut) do
    data = Map.delete(data, :placeholders)

    case {expr.name, fields} do
      {:cmp, [{:data, number}]} -> comparison(data, number, byte_size(elem(values, number)), cut)
      {:counter, [bytes: bytes, packets: packets]} -> {{:counter, data, bytes, packets}, cut}
      {name, fields} -> {{:fields, name, data, fields}, cut}
    end
  end

  defp item(expr, _values, cut), do: {expr, cut}

  # The parts of a comparison follow each other.
  defp comparison(%{data: value} = data, number, whole, cut) do
    case byte_size(value) do
      ^whole ->
        {{:cmp, data, number}, cut}

      size ->
        from = Map.get(cut, number, 0)
        {{:part, data, number, from, size}, Map.put(cut, number, from + size)}
    end
  end

  @doc "The template with the values of a rule."
  @spec fill(folded(), tuple()) :: [Expr.t()]
  def fill([], _values), do: []
  def fill([%Expr{} = expr | rest], values), do: [expr | fill(rest, values)]

  def fill([{:cmp, data, number} | rest], values),
    do: [%Expr{name: :cmp, data: %{data | data: elem(values, number)}} | fill(rest, values)]

  def fill([{:counter, data, bytes, packets} | rest], values) do
    data = %{data | bytes: elem(values, bytes), packets: elem(values, packets)}
    [%Expr{name: :counter, data: data} | fill(rest, values)]
  end

  def fill([{:part, data, number, from, size} | rest], values) do
    part = values |> elem(number) |> binary_part(from, size)
    [%Expr{name: :cmp, data: %{data | data: part}} | fill(rest, values)]
  end

  def fill([{:fields, name, data, fields} | rest], values) do
    data =
      Enum.reduce(fields, data, fn {key, number}, data ->
        %{data | key => elem(values, number)}
      end)

    [%Expr{name: name, data: data} | fill(rest, values)]
  end
end
