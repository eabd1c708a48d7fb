defmodule Linx.Netfilter.Encoder.TemplateCache do
  @moduledoc false
  # The template cache of a push: rules that differ only in their values share one template, the
  # encoded expressions in pieces with the numbers of placeholders between them. The rule
  # `tcp dport 22 drop` of a table ip has the value <<0, 22>> and the template
  #
  #   [<<... 8, 0, 1, 0, 0, 0, 0, 1,      NFTA_CMP_SREG 1
  #          8, 0, 2, 0, 0, 0, 0, 0,      NFTA_CMP_OP NFT_CMP_EQ
  #          12, 0, 3, 128,               NFTA_CMP_DATA
  #          6, 0, 1, 0>>,                  NFTA_DATA_VALUE of two bytes
  #    0,                                placeholder 0: the port
  #    <<0, 0,                           padding of the value
  #      48, 0, 1, 128, ...>>]           the next NFTA_LIST_ELEM: immediate, the verdict
  #
  # where `...` begins with the dependency, `meta l4proto tcp`. A second rule `tcp dport 80 drop`
  # finds it in the tree of the cache along the path of its expressions
  #
  #   payload transport + 2 => reg 1    the expression itself
  #   {:eq, reg 1, size 2}              the key of a comparison, without the value
  #   immediate drop                    the expression itself
  #
  # The key of a counter, log, jump or named object is its name. A compared protocol is no
  # placeholder, as dependencies are derived from it, and an ICMP type is part of the key.

  alias Linx.Netfilter.Encoder.Expressions
  alias Linx.Netfilter.{Dependencies, Expr, Table, Verdict}

  # Templates of one push: more than a usual ruleset has, and a bound for one of unlike rules.
  @max_templates 1024

  @opaque cache :: {count :: non_neg_integer(), tree :: map()}

  @spec new() :: cache()
  def new, do: {0, %{}}

  @doc """
  The body of NFTA_RULE_EXPRESSIONS, dependencies included: its size, and what `fill/3` writes it
  from. `:own` for a rule with sets or chains of its own, whose ids are new in each.

  Raises ArgumentError for data that has no form on the wire.
  """
  @spec find([Expr.t()], Table.family(), cache()) ::
          {non_neg_integer(), [binary() | non_neg_integer()], tuple(), cache()} | :own
  def find(exprs, family, {count, tree} = cache) do
    case walk(exprs, nil, Map.get(tree, family, %{}), []) do
      {{size, pieces}, values} ->
        {size + filled(pieces, values), pieces, values, cache}

      nil ->
        if own?(exprs, family) do
          :own
        else
          {path, values} = outline(exprs, nil, [], [])
          {size, pieces} = template = template(exprs, length(values), family)
          tree = if count < @max_templates, do: put(tree, [family | path], template), else: tree
          values = List.to_tuple(values)

          {size + filled(pieces, values), pieces, values, {min(count + 1, @max_templates), tree}}
        end
    end
  end

  @doc "What was found, written behind `bytes`."
  @spec fill([binary() | non_neg_integer()], tuple(), binary()) :: binary()
  # Each step leaves a reference to the binary behind, so there are few.
  def fill([a, b, c, d | rest], values, bytes) do
    fill(
      rest,
      values,
      <<bytes::binary, piece(a, values)::binary, piece(b, values)::binary,
        piece(c, values)::binary, piece(d, values)::binary>>
    )
  end

  def fill([a, b | rest], values, bytes),
    do: fill(rest, values, <<bytes::binary, piece(a, values)::binary, piece(b, values)::binary>>)

  def fill([a], values, bytes), do: <<bytes::binary, piece(a, values)::binary>>
  def fill([], _values, bytes), do: bytes

  defp piece(number, values) when is_integer(number), do: elem(values, number)
  defp piece(bytes, _values), do: bytes

  # Some fields bring a set of ICMP types along.
  defp own?(exprs, family) do
    Enum.any?(exprs, &own?/1) or
      (Dependencies.sets?(exprs) and exprs |> Dependencies.expand(family) |> Enum.any?(&own?/1))
  end

  defp own?(%Expr{name: :__anon_set}), do: true
  defp own?(%Expr{name: :immediate, data: %Verdict{target: rules}}), do: is_list(rules)
  defp own?(_expr), do: false

  # -- the tree ----------------------------------------------------------------------------------

  defp walk([], _before, node, values) do
    case node do
      %{[] => template} -> {template, List.to_tuple(values)}
      _ -> nil
    end
  end

  defp walk([expr | rest], before, node, values) do
    case placeholder(expr, before) do
      nil ->
        case node do
          %{^expr => node} -> walk(rest, expr, node, values)
          _ -> nil
        end

      value ->
        key = key(expr, before)

        case node do
          %{^key => node} -> walk(rest, expr, node, [value | values])
          _ -> nil
        end
    end
  end

  defp put(node, [step | path], template),
    do: Map.put(node, step, put(Map.get(node, step, %{}), path, template))

  defp put(node, [], template), do: Map.put(node, [], template)

  defp outline([], _before, path, values), do: {Enum.reverse(path), values}

  # The path of a rule, and the values of its placeholders in their order.
  defp outline([expr | rest], before, path, values) do
    case placeholder(expr, before) do
      nil -> outline(rest, expr, [expr | path], values)
      value -> outline(rest, expr, [key(expr, before) | path], [value | values])
    end
  end

  # The step on the path for an expression with a placeholder. The ICMP type in a value decides on
  # dependencies, so it is part of the step.
  defp key(
         %Expr{name: :cmp, data: %{op: :eq, sreg: sreg, data: value}},
         %Expr{name: name} = before
       )
       when name in [:payload, :inner] do
    key = {:eq, Bitwise.bsl(sreg, 16) + byte_size(value)}

    # Most loads are told apart by their shape.
    case before do
      %Expr{name: :payload, data: %{base: base, offset: offset}}
      when base != :transport or offset != 0 ->
        key

      _ ->
        if Dependencies.significant(before) == :icmp,
          do: {key, Dependencies.icmp_type(value)},
          else: key
    end
  end

  defp key(%Expr{name: :cmp, data: %{op: op, sreg: sreg, data: value}}, _before),
    do: {op, Bitwise.bsl(sreg, 16) + byte_size(value)}

  defp key(%Expr{name: :immediate}, _before), do: :jump
  defp key(%Expr{name: name}, _before), do: name

  # The value of the expression's placeholder, or nil for an expression without one.
  defp placeholder(%Expr{name: :cmp, data: %{op: op, sreg: sreg, data: value} = data}, before)
       when map_size(data) == 3 and is_integer(sreg) and is_binary(value) do
    if op != :eq or before == nil or Dependencies.significant(before) != :whole, do: value
  end

  # Nothing before or behind them depends on these.
  defp placeholder(%Expr{name: name, data: data} = expr, _before)
       when name in [:counter, :log, :objref] and is_map(data) and not is_map_key(data, :dreg) and
              not is_map_key(data, :field),
       do: Expressions.element(expr)

  defp placeholder(%Expr{name: :immediate, data: %Verdict{target: target}} = expr, _before)
       when is_binary(target),
       do: Expressions.element(expr)

  defp placeholder(_expr, _before), do: nil

  # -- templates ---------------------------------------------------------------------------------

  # The size of the pieces that are bytes, and all pieces in order. Placeholders are numbered from
  # the last to the first, as outline/4 gathers them.
  defp template(exprs, count, family) do
    {exprs, _state} = Enum.map_reduce(exprs, {nil, count - 1}, &mark/2)

    pieces =
      exprs
      |> Dependencies.expand(family)
      |> Enum.flat_map(&pieces/1)
      |> joined()

    {for(piece <- pieces, is_binary(piece), reduce: 0, do: (sum -> sum + byte_size(piece))),
     pieces}
  end

  # Bytes and numbers mostly alternate.
  defp filled([bytes, number | rest], values) when is_binary(bytes) and is_integer(number),
    do: byte_size(elem(values, number)) + filled(rest, values)

  defp filled([number | rest], values) when is_integer(number),
    do: byte_size(elem(values, number)) + filled(rest, values)

  defp filled([_bytes | rest], values), do: filled(rest, values)
  defp filled([], _values), do: 0

  # `expand` joins neighbouring comparisons: the numbers of their placeholders are the parts of
  # the value.
  defp mark(expr, {before, number}) do
    case {placeholder(expr, before), expr} do
      {nil, _} ->
        {expr, {expr, number}}

      {_, %Expr{name: :cmp, data: data}} ->
        {%{expr | data: Map.put(data, :parts, [number])}, {expr, number - 1}}

      {_, _} ->
        {%Expr{name: :placeholder, data: number}, {expr, number - 1}}
    end
  end

  defp pieces(%Expr{name: :placeholder, data: number}), do: [number]

  defp pieces(%Expr{name: :cmp, data: %{parts: parts} = data} = expr) do
    bytes = Expressions.element(%{expr | data: Map.delete(data, :parts)})
    size = byte_size(data.data)
    # The value is the last there is, but for its padding.
    head = byte_size(bytes) - size - Bitwise.band(-size, 3)
    <<head::binary-size(^head), _::binary-size(^size), padding::binary>> = bytes
    [head | parts] ++ if(padding == <<>>, do: [], else: [padding])
  end

  defp pieces(expr), do: [Expressions.element(expr)]

  defp joined([a, b | rest]) when is_binary(a) and is_binary(b), do: joined([a <> b | rest])
  defp joined([piece | rest]), do: [piece | joined(rest)]
  defp joined([]), do: []
end
