defmodule Linx.Netfilter.Encoder.Pattern do
  @moduledoc false
  # The expressions of many rules as bytes. Thousands of rules are the same expressions around
  # other values, so what was expanded and written for the first is kept, as pieces with blanks
  # between them:
  #
  #   [<<meta nfproto, cmp ip, payload 12, cmp ...>>, 0, <<payload 2, cmp ...>>, 1, <<accept>>]
  #
  # A template is found by walking a tree along the rule's expressions. In the place of a
  # comparison stands its form, in that of a counter, log, jump or named object that it is one:
  # what they hold fills the blanks. A protocol that is compared with does not, as the
  # dependencies depend on it, and an ICMP type is part of the form.

  alias Linx.Netfilter.Encoder.Expressions
  alias Linx.Netfilter.{Dependencies, Expr, Table, Verdict}

  # More than a ruleset has; one of unlike rules must not fill memory.
  @most 1024

  @opaque memory :: {count :: non_neg_integer(), tree :: map()}

  @spec new() :: memory()
  def new, do: {0, %{}}

  @doc """
  The body of NFTA_RULE_EXPRESSIONS, dependencies included: its size, and what `fill/3` writes it
  from. `:own` for a rule with sets or chains of its own, whose ids are new in each.

  Raises ArgumentError for data that has no form on the wire.
  """
  @spec find([Expr.t()], Table.family(), memory()) ::
          {non_neg_integer(), [binary() | non_neg_integer()], tuple(), memory()} | :own
  def find(exprs, family, {count, tree} = memory) do
    case walk(exprs, nil, Map.get(tree, family, %{}), []) do
      {{size, pieces}, blanks} ->
        {size + filled(pieces, blanks), pieces, blanks, memory}

      nil ->
        if own?(exprs, family) do
          :own
        else
          {path, blanks} = outline(exprs, nil, [], [])
          {size, pieces} = template = template(exprs, length(blanks), family)
          tree = if count < @most, do: put(tree, [family | path], template), else: tree
          blanks = List.to_tuple(blanks)

          {size + filled(pieces, blanks), pieces, blanks, {min(count + 1, @most), tree}}
        end
    end
  end

  @doc "What was found, written behind `bytes`."
  @spec fill([binary() | non_neg_integer()], tuple(), binary()) :: binary()
  # Each step leaves a reference to the binary behind, so there are few.
  def fill([a, b, c, d | rest], blanks, bytes) do
    fill(
      rest,
      blanks,
      <<bytes::binary, piece(a, blanks)::binary, piece(b, blanks)::binary,
        piece(c, blanks)::binary, piece(d, blanks)::binary>>
    )
  end

  def fill([a, b | rest], blanks, bytes),
    do: fill(rest, blanks, <<bytes::binary, piece(a, blanks)::binary, piece(b, blanks)::binary>>)

  def fill([a], blanks, bytes), do: <<bytes::binary, piece(a, blanks)::binary>>
  def fill([], _blanks, bytes), do: bytes

  defp piece(number, blanks) when is_integer(number), do: elem(blanks, number)
  defp piece(bytes, _blanks), do: bytes

  # Some fields bring a set of ICMP types along.
  defp own?(exprs, family) do
    Enum.any?(exprs, &own?/1) or
      (Dependencies.sets?(exprs) and exprs |> Dependencies.expand(family) |> Enum.any?(&own?/1))
  end

  defp own?(%Expr{name: :__anon_set}), do: true
  defp own?(%Expr{name: :immediate, data: %Verdict{target: rules}}), do: is_list(rules)
  defp own?(_expr), do: false

  # -- the tree ----------------------------------------------------------------------------------

  defp walk([], _before, node, blanks) do
    case node do
      %{[] => template} -> {template, List.to_tuple(blanks)}
      _ -> nil
    end
  end

  defp walk([expr | rest], before, node, blanks) do
    case blank(expr, before) do
      nil ->
        case node do
          %{^expr => node} -> walk(rest, expr, node, blanks)
          _ -> nil
        end

      value ->
        form = form(expr, before)

        case node do
          %{^form => node} -> walk(rest, expr, node, [value | blanks])
          _ -> nil
        end
    end
  end

  defp put(node, [step | path], template),
    do: Map.put(node, step, put(Map.get(node, step, %{}), path, template))

  defp put(node, [], template), do: Map.put(node, [], template)

  defp outline([], _before, path, blanks), do: {Enum.reverse(path), blanks}

  # The path of a rule, and the values of its placeholders in their order.
  defp outline([expr | rest], before, path, blanks) do
    case blank(expr, before) do
      nil -> outline(rest, expr, [expr | path], blanks)
      value -> outline(rest, expr, [form(expr, before) | path], [value | blanks])
    end
  end

  # The step on the path for an expression with a placeholder. The ICMP type in a value decides on
  # dependencies, so it is part of the step.
  defp form(%Expr{name: :cmp, data: %{op: :eq, sreg: sreg, data: value}}, before) do
    form = {:eq, Bitwise.bsl(sreg, 16) + byte_size(value)}
    if typed?(before), do: {form, Dependencies.icmp_type(value)}, else: form
  end

  defp form(%Expr{name: :cmp, data: %{op: op, sreg: sreg, data: value}}, _before),
    do: {op, Bitwise.bsl(sreg, 16) + byte_size(value)}

  defp form(%Expr{name: :immediate}, _before), do: :jump
  defp form(%Expr{name: name}, _before), do: name

  # Most loads are told apart by their shape.
  defp typed?(%Expr{name: :payload, data: %{base: :transport, offset: 0}} = load),
    do: Dependencies.significant(load) == :icmp

  defp typed?(%Expr{name: :inner} = load), do: Dependencies.significant(load) == :icmp
  defp typed?(_load), do: false

  # The value of the expression's placeholder, or nil for an expression without one.
  defp blank(%Expr{name: :cmp, data: %{op: op, sreg: sreg, data: value} = data}, before)
       when map_size(data) == 3 and is_integer(sreg) and is_binary(value) do
    if op != :eq or before == nil or Dependencies.significant(before) != :whole, do: value
  end

  # Nothing before or behind them depends on these.
  defp blank(%Expr{name: name, data: data} = expr, _before)
       when name in [:counter, :log, :objref] and is_map(data) and not is_map_key(data, :dreg) and
              not is_map_key(data, :field),
       do: Expressions.element(expr)

  defp blank(%Expr{name: :immediate, data: %Verdict{target: target}} = expr, _before)
       when is_binary(target),
       do: Expressions.element(expr)

  defp blank(_expr, _before), do: nil

  # -- templates ---------------------------------------------------------------------------------

  # The size of the pieces that are bytes, and all in order. Blanks are gathered from the last to
  # the first, and numbered so.
  defp template(exprs, blanks, family) do
    {exprs, _state} = Enum.map_reduce(exprs, {nil, blanks - 1}, &mark/2)

    pieces =
      exprs
      |> Dependencies.expand(family)
      |> Enum.flat_map(&pieces/1)
      |> joined()

    {for(piece <- pieces, is_binary(piece), reduce: 0, do: (sum -> sum + byte_size(piece))),
     pieces}
  end

  defp filled([number | rest], blanks) when is_integer(number),
    do: byte_size(elem(blanks, number)) + filled(rest, blanks)

  defp filled([_bytes | rest], blanks), do: filled(rest, blanks)
  defp filled([], _blanks), do: 0

  # `expand` joins neighbouring comparisons: the numbers of their blanks go along as parts of the
  # value.
  defp mark(expr, {before, number}) do
    case {blank(expr, before), expr} do
      {nil, _} ->
        {expr, {expr, number}}

      {_, %Expr{name: :cmp, data: data}} ->
        {%{expr | data: Map.put(data, :parts, [number])}, {expr, number - 1}}

      {_, _} ->
        {%Expr{name: :blank, data: number}, {expr, number - 1}}
    end
  end

  defp pieces(%Expr{name: :blank, data: number}), do: [number]

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
