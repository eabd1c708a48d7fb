defmodule Linx.Netfilter.Encoder.Pattern do
  @moduledoc false
  # The expressions of many rules as bytes. Thousands of rules are the same expressions around other values, so what was expanded and
  # written for the first is kept, as pieces with blanks between them:
  #
  #   [<<meta nfproto, cmp ip, payload 12, cmp ...>>, 0, <<payload 2, cmp ...>>, 1, <<accept>>]
  #
  # A template is found by walking a tree along the rule's expressions. In the place of a comparison stands its form, in that of a
  # counter, log, jump or named object that it is one: what they hold fills the blanks. A protocol that is compared with does not, as
  # the guards depend on it.

  alias Linx.Netfilter.Encoder.Expressions
  alias Linx.Netfilter.{Expr, Guard, Table, Verdict}

  # More than a ruleset has; one of unlike rules must not fill memory.
  @most 1024

  @opaque memory :: {count :: non_neg_integer(), tree :: map()}

  @spec new() :: memory()
  def new, do: {0, %{}}

  @doc """
  The body of NFTA_RULE_EXPRESSIONS, guards included. `:own` for a rule with sets or chains of its own, whose ids are new in each.

  Raises ArgumentError for data that has no form on the wire.
  """
  @spec write([Expr.t()], Table.family(), memory()) :: {iodata(), memory()} | :own
  def write(exprs, family, {count, tree} = memory) do
    case find(exprs, nil, Map.get(tree, family, %{}), []) do
      {template, blanks} ->
        {fill(template, blanks), memory}

      nil ->
        if Enum.any?(exprs, &own?/1) do
          :own
        else
          {path, blanks} = outline(exprs, nil, [], [])
          template = template(exprs, family)
          tree = if count < @most, do: put(tree, [family | path], template), else: tree
          {fill(template, blanks), {min(count + 1, @most), tree}}
        end
    end
  end

  defp own?(%Expr{name: :__anon_set}), do: true
  defp own?(%Expr{name: :immediate, data: %Verdict{target: rules}}), do: is_list(rules)
  defp own?(_expr), do: false

  # -- the tree --------------------------------------------------------------------------------------------------------

  defp find([], _before, node, blanks) do
    case node do
      %{[] => template} -> {template, List.to_tuple(:lists.reverse(blanks))}
      _ -> nil
    end
  end

  defp find([expr | rest], before, node, blanks) do
    {step, blanks} = step(expr, before, blanks)

    case node do
      %{^step => node} -> find(rest, expr, node, blanks)
      _ -> nil
    end
  end

  defp put(node, [step | path], template),
    do: Map.put(node, step, put(Map.get(node, step, %{}), path, template))

  defp put(node, [], template), do: Map.put(node, [], template)

  defp outline([], _before, path, blanks),
    do: {Enum.reverse(path), List.to_tuple(Enum.reverse(blanks))}

  defp outline([expr | rest], before, path, blanks) do
    {step, blanks} = step(expr, before, blanks)
    outline(rest, expr, [step | path], blanks)
  end

  # What an expression is on the path, and the blanks with its own.
  defp step(expr, before, blanks) do
    case blank(expr, before) do
      nil -> {expr, blanks}
      {form, value} -> {form, [value | blanks]}
    end
  end

  defp blank(%Expr{name: :cmp, data: %{op: op, sreg: sreg, data: value} = data}, before)
       when map_size(data) == 3 and is_binary(value) do
    if op != :eq or before == nil or Guard.telling(before) != :whole,
      do: {{op, sreg, byte_size(value)}, value}
  end

  # Nothing before or behind them depends on these.
  defp blank(%Expr{name: name, data: data} = expr, _before)
       when name in [:counter, :log, :objref] and is_map(data) and not is_map_key(data, :dreg) and
              not is_map_key(data, :field),
       do: {name, Expressions.element(expr)}

  defp blank(%Expr{name: :immediate, data: %Verdict{target: target}} = expr, _before)
       when is_binary(target),
       do: {:jump, Expressions.element(expr)}

  defp blank(_expr, _before), do: nil

  # -- templates -------------------------------------------------------------------------------------------------------

  defp template(exprs, family) do
    {exprs, _state} = Enum.map_reduce(exprs, {nil, 0}, &mark/2)

    exprs
    |> Guard.expand(family)
    |> Enum.flat_map(&pieces/1)
    |> joined()
  end

  # `expand` joins neighbouring comparisons: the numbers of their blanks go along as parts of the value.
  defp mark(expr, {before, number}) do
    case {blank(expr, before), expr} do
      {nil, _} ->
        {expr, {expr, number}}

      {_, %Expr{name: :cmp, data: data}} ->
        {%{expr | data: Map.put(data, :parts, [number])}, {expr, number + 1}}

      {_, _} ->
        {%Expr{name: :blank, data: number}, {expr, number + 1}}
    end
  end

  defp pieces(%Expr{name: :blank, data: number}), do: [number]

  defp pieces(%Expr{name: :cmp, data: %{parts: parts} = data} = expr) do
    bytes = Expressions.element(%{expr | data: Map.delete(data, :parts)})
    size = byte_size(data.data)
    # The value is the last there is, but for its padding.
    head = byte_size(bytes) - size - Bitwise.band(-size, 3)
    <<head::binary-size(^head), _::binary-size(^size), padding::binary>> = bytes
    [head | parts] ++ [padding]
  end

  defp pieces(expr), do: [Expressions.element(expr)]

  defp joined([a, b | rest]) when is_binary(a) and is_binary(b), do: joined([a <> b | rest])
  defp joined([piece | rest]), do: [piece | joined(rest)]
  defp joined([]), do: []

  defp fill([number | rest], blanks) when is_integer(number),
    do: [elem(blanks, number) | fill(rest, blanks)]

  defp fill([bytes | rest], blanks), do: [bytes | fill(rest, blanks)]
  defp fill([], _blanks), do: []
end
