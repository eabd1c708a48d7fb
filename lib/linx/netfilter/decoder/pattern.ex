defmodule Linx.Netfilter.Decoder.Pattern do
  @moduledoc false
  # The expressions of many rules at once: what is left when the values that they compare with,
  # their counts and names are taken out (native/linx_wire/src/netlink/template.rs). What was
  # taken out of a rule are its blanks, a tuple.
  #
  #   new/2    the bytes, decoded, with zeros in the blanks
  #   fold/3   the implicit dependencies folded: a template
  #   fill/2   a rule's expressions
  #
  # A dependency is implied by an earlier test of the rule: a blank that such a test fills is
  # significant. Templates are good for all rules whose contents/2 of the significant blanks are
  # the same. Protocols are in place in them already.

  alias Linx.Netfilter.Decoder.Expressions
  alias Linx.Netfilter.{Dependencies, Expr, Table, Verdict}

  defstruct expressions: {}, fields: [], significant: []

  @typep place :: {expression :: non_neg_integer(), attribute :: pos_integer()}
  @typep blank :: binary() | non_neg_integer()

  # `fields` says for each blank which field of which expression it fills, or nil.
  @type t :: %__MODULE__{
          expressions: tuple(),
          fields: [{non_neg_integer(), atom()} | nil],
          significant: [{non_neg_integer(), :whole | :icmp}]
        }

  @type template :: [Expr.t() | tuple()]

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

  @doc "What the significant blanks say."
  @spec contents(t(), tuple()) :: [blank() | nil]
  def contents(%__MODULE__{significant: significant}, blanks) do
    for {number, how} <- significant do
      case how do
        :whole -> elem(blanks, number)
        :icmp -> blanks |> elem(number) |> Dependencies.icmp_type()
      end
    end
  end

  @doc """
  The template for this family and these contents; of the other blanks only the sizes are looked
  at.
  """
  @spec fold(t(), tuple(), Table.family()) :: template()
  def fold(%__MODULE__{} = pattern, blanks, family) do
    pattern.fields
    |> Enum.with_index()
    |> Enum.reduce(pattern.expressions, fn
      {nil, _number}, expressions ->
        expressions

      {field, number}, expressions ->
        mark(expressions, field, number, pattern.significant, blanks)
    end)
    |> Tuple.to_list()
    |> Dependencies.fold(family)
    |> Enum.map_reduce(%{}, &item(&1, blanks, &2))
    |> elem(0)
  end

  # The fold moves expressions and cuts joined comparisons in two: the mark goes with what a blank
  # fills. A dependency has none, or it would not be known for one.
  defp mark(expressions, {index, key}, number, significant, blanks) do
    %Expr{data: data} = expr = elem(expressions, index)

    data =
      case List.keyfind(significant, number, 0) do
        {_number, :whole} -> Map.put(data, key, elem(blanks, number))
        {_number, :icmp} -> typed(Map.put(data, key, elem(blanks, number)), key, number)
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
    do: Map.update(data, :blanks, [{key, number}], &(&1 ++ [{key, number}]))

  defp item(%Expr{data: %{blanks: fields} = data} = expr, blanks, cut) do
    data = Map.delete(data, :blanks)

    case {expr.name, fields} do
      {:cmp, [{:data, number}]} -> comparison(data, number, byte_size(elem(blanks, number)), cut)
      {:counter, [bytes: bytes, packets: packets]} -> {{:counter, data, bytes, packets}, cut}
      {name, fields} -> {{:fields, name, data, fields}, cut}
    end
  end

  defp item(expr, _blanks, cut), do: {expr, cut}

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

  @doc "The template with the blanks of a rule."
  @spec fill(template(), tuple()) :: [Expr.t()]
  def fill([], _blanks), do: []
  def fill([%Expr{} = expr | rest], blanks), do: [expr | fill(rest, blanks)]
  def fill([item | rest], blanks), do: [filled(item, blanks) | fill(rest, blanks)]

  defp filled({:cmp, data, number}, blanks),
    do: %Expr{name: :cmp, data: %{data | data: elem(blanks, number)}}

  defp filled({:counter, data, bytes, packets}, blanks),
    do: %Expr{
      name: :counter,
      data: %{data | bytes: elem(blanks, bytes), packets: elem(blanks, packets)}
    }

  defp filled({:part, data, number, from, size}, blanks),
    do: %Expr{name: :cmp, data: %{data | data: blanks |> elem(number) |> binary_part(from, size)}}

  defp filled({:fields, name, data, fields}, blanks) do
    data =
      Enum.reduce(fields, data, fn {key, number}, data ->
        %{data | key => elem(blanks, number)}
      end)

    %Expr{name: name, data: data}
  end
end
