defmodule Linx.Netfilter.Encoder.Anonymous do
  @moduledoc false
  # The sets and maps that a rule brings with it: `:__anon_set` expressions become sets of the
  # batch and lookups of their ids.

  alias Linx.Netfilter.Encoder.{Elements, Sets}
  alias Linx.Netfilter.{Datum, Element, Expr, Set, Table}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Netlink.Message

  @doc "The expressions with lookups for the sets, the sets' messages, and the next free id."
  @spec sets([Expr.t()], Table.family(), String.t(), pos_integer()) ::
          {[Expr.t()], [Message.t()], pos_integer()}
  def sets(exprs, family, table_name, id) do
    {exprs, {messages, id}} =
      Enum.map_reduce(exprs, {[], id}, fn
        %Expr{name: :__anon_set, data: data}, {messages, id} ->
          {set, expr} = anonymous(data, table_name, id)
          elements = Sets.elements(set, family, set.elements, id: id, initial: true)
          {expr, {[elements, Sets.declaration(set, family, id: id) | messages], id + 1}}

        expr, acc ->
          {expr, acc}
      end)

    {exprs, messages |> Enum.reverse() |> List.flatten(), id}
  end

  defp anonymous(%{elements: elements, key_type: key_type} = data, table_name, id) do
    {prefix, fields} =
      case data do
        %{data_type: {:object, _} = type} -> {"__objmap%d", %{data_type: type}}
        %{data_type: type} -> {"__map%d", %{data_type: type}}
        _ -> {"__set%d", %{}}
      end

    module = if fields == %{}, do: Set, else: NMap

    set =
      struct!(
        module,
        Map.merge(fields, %{
          # nft's meters are sets of a rule's own with a name.
          name: data[:name] || prefix,
          table: table_name,
          key_type: key_type,
          flags: Enum.uniq([:anonymous | Map.get(data, :flags, [:constant])]),
          timeout: data[:timeout],
          typeof: data[:typeof],
          exprs: Map.get(data, :exprs, [])
        })
      )

    {:ok, elements} = normalised(module, set, elements)
    set = %{set | flags: interval(set.flags, set, elements), elements: elements}
    # A set that rules fill has the size it was given, a constant one that of its elements.
    size = data[:size] || if(:dynamic in set.flags, do: nil, else: Elements.count(set, elements))
    {%{set | size: size}, anonymous_use(data, prefix, id)}
  end

  defp normalised(module, set, elements) do
    case module.add_elements(%{set | elements: []}, elements) do
      {:ok, %{elements: elements}} -> {:ok, elements}
      {:error, reason} -> raise ArgumentError, "anonymous set: #{inspect(reason)}"
    end
  end

  defp interval(flags, set, elements) do
    spans? = fn element -> Datum.Form.spans?(Element.key_of(set, element)) end

    if :interval not in flags and Enum.any?(elements, spans?),
      do: [:interval | flags],
      else: flags
  end

  defp anonymous_use(%{via: :objref} = data, name, id),
    do: Expr.new(:objref, %{set_sreg: data.sreg, set_name: name, set_id: id})

  defp anonymous_use(%{data_type: {:object, _}} = data, name, id),
    do: Expr.new(:objref, %{set_sreg: data.sreg, set_name: name, set_id: id})

  defp anonymous_use(%{via: {:dynset, dynset}}, name, id),
    do: Expr.new(:dynset, Map.merge(dynset, %{set: name, set_id: id}))

  defp anonymous_use(data, name, id) do
    lookup = %{set: name, set_id: id, sreg: Map.get(data, :sreg, 1)}
    lookup = if data[:lookup_flags], do: Map.put(lookup, :flags, data.lookup_flags), else: lookup
    lookup = if is_map_key(data, :dreg), do: Map.put(lookup, :dreg, data.dreg), else: lookup
    Expr.new(:lookup, lookup)
  end
end
