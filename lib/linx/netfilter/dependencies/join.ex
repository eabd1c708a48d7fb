defmodule Linx.Netfilter.Dependencies.Join do
  @moduledoc false
  # Neighbouring fields compared as one: nft turns [load 2 at 0, == a] and [load 2 at 2, == b]
  # into [load 4 at 0, == ab], wherever in the rule the two stand.

  alias Linx.Netfilter.{Expr, Field}
  alias Linx.Netfilter.Dependencies.ProtocolContext

  # The kernel compares up to four bytes of a network or transport header without a call. Loads
  # are joined beyond that where the call is there already: for link-layer fields, and for one
  # that is longer by itself.
  @fast 4
  @register 16

  @doc false
  # The segments with those joined that can be. `:named` joins what has a field's name, or is a
  # dependency; `:all` also raw loads.
  @spec join([[Expr.t()]], :named | :all) :: [[Expr.t()]]
  def join(segments, which) do
    indexed = Enum.with_index(segments)

    candidates =
      for {segment, at} <- indexed, joinable?(segment, which), do: {at, segment}

    case candidates do
      [] ->
        segments

      [_] ->
        segments

      _ ->
        changes = candidates |> Enum.sort_by(&place/1) |> joined(%{})

        for {segment, at} <- indexed,
            kept = Map.get(changes, at, segment),
            kept != :gone,
            do: kept
    end
  end

  # The fields of each tunnel's packet are neighbours of their own.
  defp place({_at, [load | _]}) do
    {tunnel, data} = bare(load)
    {tunnel, rank(data.base), data.offset}
  end

  # The payload load in an expression, and the tunnel whose packet it reads: {nil, load} for the
  # packet itself.
  defp bare(%Expr{name: :payload, data: data}), do: {nil, data}

  defp bare(%Expr{name: :inner, data: %{type: tunnel, expr: %Expr{name: :payload, data: data}}}),
    do: {tunnel, data}

  defp bare(_expr), do: nil

  defp put_load(%Expr{name: :payload} = expr, load), do: %{expr | data: load}

  defp put_load(%Expr{name: :inner, data: %{expr: expr} = data} = inner, load),
    do: %{inner | data: %{data | expr: %{expr | data: load}}}

  defp rank(:link), do: 0
  defp rank(:network), do: 1
  defp rank(:transport), do: 2
  defp rank(_other), do: 3

  defp joined([first | rest], changes), do: joined(rest, first, changes)

  defp joined([], _last, changes), do: changes

  defp joined([{at, this} | rest], {last_at, last}, changes) do
    if adjacent?(last, this) do
      both = both(last, this)
      # The test of an upper protocol must stay before what depends on it.
      {keep, gone} = if protocol_key?(this), do: {at, last_at}, else: {last_at, at}
      joined(rest, {keep, both}, changes |> Map.put(keep, both) |> Map.put(gone, :gone))
    else
      joined(rest, {at, this}, changes)
    end
  end

  defp joinable?([expr, %Expr{name: :cmp, data: %{op: op, sreg: 1} = cmp}], which)
       when op in [:eq, :neq] do
    case bare(expr) do
      {tunnel, %{dreg: 1} = load} ->
        is_binary(cmp.data) and byte_size(cmp.data) == load.len and
          (which == :all or whole?(load) or (tunnel == nil and dependency?(load)))

      _ ->
        false
    end
  end

  defp joinable?(_segment, _which), do: false

  # The field itself, not the leading bytes of a prefix.
  defp whole?(%{field: name, len: len}) do
    case Field.fetch(name) do
      {:ok, field} -> field.length == len * 8
      :error -> false
    end
  end

  defp whole?(_load), do: false

  defp dependency?(%{base: :link, offset: 12, len: 2}), do: true
  defp dependency?(_load), do: false

  defp adjacent?([first, %Expr{data: c}], [second, %Expr{data: d}]) do
    {tunnel, a} = bare(first)
    {other, b} = bare(second)
    total = a.len + b.len
    slow? = a.base == :link or a.len > @fast or b.len > @fast
    limit = if slow?, do: @register, else: @fast

    tunnel == other and a.base == b.base and a.offset + a.len == b.offset and c.op == d.op and
      total <= limit
  end

  defp both([first, %Expr{data: c} = cmp], [second, %Expr{data: d}]) do
    {_tunnel, a} = bare(first)
    {_tunnel, b} = bare(second)
    load = put_load(first, a |> Map.delete(:field) |> Map.put(:len, a.len + b.len))
    [load, %{cmp | data: parts_of_both(%{c | data: c.data <> d.data}, c, d)}]
  end

  # Encoder.TemplateCache puts numbers of placeholders in place of some: they stay in their order.
  defp parts_of_both(data, c, d) when is_map_key(c, :parts) or is_map_key(d, :parts),
    do: Map.put(data, :parts, Map.get(c, :parts, [c.data]) ++ Map.get(d, :parts, [d.data]))

  defp parts_of_both(data, _c, _d), do: data

  defp protocol_key?([%Expr{data: %{base: :link, offset: o, len: 2}} | _]) when o in [12, 16, 20],
    do: true

  defp protocol_key?([
         %Expr{data: %{base: :network, offset: 9, len: 1, field: :ip_protocol}} | _
       ]),
       do: true

  defp protocol_key?([
         %Expr{data: %{base: :network, offset: 6, len: 1, field: :ip6_nexthdr}} | _
       ]),
       do: true

  defp protocol_key?(_segment), do: false

  @doc false
  # The fields of a joined comparison, each a segment, or nil where it is none.
  @spec parts([Expr.t()], ProtocolContext.t()) :: [[Expr.t()]] | nil
  def parts(
        [
          %Expr{name: :payload, data: %{base: base, offset: offset, len: len, dreg: 1} = load} =
            expr,
          %Expr{name: :cmp, data: %{op: op, data: value}} = cmp
        ],
        layers
      )
      when op in [:eq, :neq] and base in [:link, :network, :transport] do
    if is_binary(value) and byte_size(value) == len and
         ProtocolContext.field(layers, :payload, load) == nil do
      cut(expr, cmp, offset, value, layers, [])
    end
  end

  def parts([%Expr{name: :inner, data: %{type: tunnel, expr: expr} = data} = inner, cmp], layers)
      when is_atom(tunnel) do
    with [_ | _] = parts <- parts([expr, cmp], ProtocolContext.inner(layers, tunnel)) do
      for [load, cmp] <- parts, do: [%{inner | data: %{data | expr: load}}, cmp]
    end
  end

  def parts(_segment, _layers), do: nil

  defp cut(_expr, _cmp, _offset, <<>>, _layers, [_, _ | _] = parts), do: Enum.reverse(parts)

  defp cut(expr, cmp, offset, data, layers, parts) do
    case first(layers, expr.data.base, offset, byte_size(data)) do
      nil ->
        nil

      len ->
        <<head::binary-size(^len), tail::binary>> = data
        load = %{expr | data: %{expr.data | offset: offset, len: len}}
        part = [load, %{cmp | data: %{cmp.data | data: head}}]
        # An Ethernet type in the middle opens the header after it.
        cut(expr, cmp, offset + len, tail, ProtocolContext.observe(layers, part), [part | parts])
    end
  end

  # The bytes of the field that begins here.
  defp first(layers, base, offset, most) do
    Enum.find([6, 2, 4, 1, 8], fn len ->
      len <= most and match?(%Field{}, whole_field(layers, base, offset, len))
    end)
  end

  defp whole_field(layers, base, offset, len) do
    case ProtocolContext.field(layers, :payload, %{base: base, offset: offset, len: len}) do
      %Field{length: length, protocol: protocol} = field
      when length == len * 8 and protocol != :th ->
        field

      _ ->
        nil
    end
  end
end
