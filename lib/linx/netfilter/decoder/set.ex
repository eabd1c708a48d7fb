defmodule Linx.Netfilter.Decoder.Set do
  @moduledoc false
  # NEWSET payloads: the declaration of a set or map, whose types come from the kernel's numbers and nft's userdata.

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.{Datatype, Datum, Expr, Set, Table, Typeof, Userdata, Wire}
  alias Linx.Netfilter.Decoder.Expressions
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Netfilter.Wire.{Constants, Reader}

  @spec declaration(binary()) :: {Table.family(), Set.t() | NMap.t()}
  def declaration(body) do
    {family, attrs} = Reader.message(body)
    bits = Reader.number(attrs[nfta_set_flags()])
    desc = Reader.map(attrs[nfta_set_desc()] || <<>>)
    userdata = Userdata.pairs(attrs[nfta_set_userdata()])
    key_len = Reader.number(attrs[nfta_set_key_len()])

    fields = %{
      name: Reader.name(attrs[nfta_set_name()]),
      table: Reader.name(attrs[nfta_set_table()]),
      key_type:
        Reader.number(attrs[nfta_set_key_type()])
        |> type(key_len, field_sizes(desc))
        |> host_order(Userdata.find_u32(userdata, 0), typeof(userdata)[:key]),
      flags: set_flags(bits, userdata),
      handle: Reader.uint(attrs[nfta_set_handle()]),
      timeout: Reader.positive(attrs[nfta_set_timeout()]),
      gc_interval: Reader.positive(attrs[nfta_set_gc_interval()]),
      size: Reader.positive(desc[nfta_set_desc_size()]),
      policy: set_policy(attrs[nfta_set_policy()]),
      comment: Userdata.find_text(userdata, 7),
      exprs: set_exprs(attrs),
      typeof: typeof(userdata),
      userdata: Enum.reject(userdata, &(elem(&1, 0) in [0, 1, 2, 3, 4, 6, 7]))
    }

    {family, set_or_map(fields, bits, attrs, userdata)}
  end

  defp set_or_map(fields, bits, attrs, userdata) do
    cond do
      Bitwise.band(bits, nft_set_object_flag()) != 0 ->
        kind = Constants.atom(:object, Reader.number(attrs[nfta_set_obj_type()]))
        struct!(NMap, Map.put(fields, :data_type, {:object, kind}))

      Bitwise.band(bits, nft_set_map()) != 0 ->
        struct!(NMap, Map.put(fields, :data_type, data_type(attrs, userdata)))

      true ->
        struct!(Set, fields)
    end
  end

  defp data_type(attrs, userdata) do
    len = Reader.number(attrs[nfta_set_data_len()])

    case Reader.number(attrs[nfta_set_data_type()]) do
      0xFFFFFF00 ->
        :verdict

      id ->
        if Userdata.find_u32(userdata, 6) == 1,
          do: {:interval, type(id, div(len, 2), [])},
          else:
            id
            |> type(len, [])
            |> host_order(Userdata.find_u32(userdata, 1), typeof(userdata)[:data])
    end
  end

  # Numbers have the order of what they were made for: nft's record of it tells.
  defp host_order({:integer, bits}, 1, _record) when bits > 8, do: {:integer, bits, :host}

  defp host_order({:concat, types}, _order, record) when is_binary(record) do
    case Typeof.decode(record) do
      {:ok, exprs} when length(exprs) == length(types) ->
        {:concat, Enum.zip_with(types, exprs, &host_part/2)}

      _ ->
        {:concat, types}
    end
  end

  defp host_order(type, _order, _record), do: type

  defp host_part({:integer, bits} = type, expr) when bits > 8 do
    if big?(expr), do: type, else: {:integer, bits, :host}
  end

  defp host_part(type, _expr), do: type

  defp big?(%Expr{name: name}) when name in [:payload, :exthdr], do: true
  defp big?(%Expr{name: :meta, data: %{key: :prandom}}), do: true
  defp big?(%Expr{name: :ct, data: %{key: :id}}), do: true
  defp big?(%Expr{name: :xfrm, data: %{key: :spi}}), do: true
  defp big?(_expr), do: false

  defp field_sizes(desc) do
    for {_elem, field} <- Reader.attrs(desc[nfta_set_desc_concat()] || <<>>),
        size = Reader.uint(Reader.map(field)[nfta_set_field_len()]),
        do: size
  end

  # A type without a size of its own takes the set's; of a concatenation, that of its field.
  defp type(id, len, fields) do
    case Datatype.from_id(id) do
      {:ok, {:concat, types}} -> {:concat, sized(types, len, fields)}
      {:ok, type} -> one_type(type, len)
      :error -> {:integer, max(8 * len, 8)}
    end
  end

  defp one_type(type, len) do
    if Datum.size(type) == len or len == 0, do: type, else: {type, 8 * len}
  end

  defp sized(types, _len, fields) when length(fields) == length(types),
    do: Enum.zip_with(types, fields, &one_type/2)

  defp sized(types, len, _fields) do
    known = types |> Enum.map(&Datum.padded(Datum.size(&1))) |> Enum.sum()

    case Enum.count(types, &(Datum.size(&1) == 0)) do
      0 ->
        types

      open ->
        Enum.map(
          types,
          &if(Datum.size(&1) == 0, do: {&1, 8 * div(max(len - known, open), open)}, else: &1)
        )
    end
  end

  defp set_flags(bits, userdata) do
    merge = if Userdata.find_u32(userdata, 2) in [nil, 0], do: [], else: [:auto_merge]
    (Wire.set_flags_atoms(bits) -- [:map, :object, :concat, :expr]) ++ merge
  end

  defp set_policy(<<1::32>>), do: :memory
  defp set_policy(_performance), do: nil

  defp set_exprs(%{nfta_set_expr() => bytes}), do: [Expressions.expr(bytes)]
  defp set_exprs(%{nfta_set_expressions() => bytes}), do: Expressions.list(bytes)
  defp set_exprs(_attrs), do: []

  # A bare EXPR_CONCAT says no more than the type does.
  defp typeof(userdata) do
    found =
      for {type, key} <- [{3, :key}, {4, :data}],
          {^type, bytes} <- userdata,
          bytes != <<0, 4, 13::native-32, 1, 0>>,
          into: %{},
          do: {key, bytes}

    if found == %{}, do: nil, else: found
  end
end
