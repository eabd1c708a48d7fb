defmodule Linx.Netfilter.Decoder.Set do
  @moduledoc false
  # NEWSET payloads: the declaration of a set or map, whose types come from the kernel's numbers and nft's userdata.

  import Linx.Netfilter.Wire

  alias Linx.Netfilter.Decoder.{Expressions, Types}
  alias Linx.Netfilter.{Set, Table, Userdata, Wire}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Netfilter.Wire.{Constants, Reader}
  alias Linx.Netlink.Attr

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
        Types.type(
          Reader.number(attrs[nfta_set_key_type()]),
          key_len,
          widths(userdata, :key, field_sizes(desc))
        ),
      flags: set_flags(bits, userdata),
      handle: Reader.uint(attrs[nfta_set_handle()]),
      timeout: Reader.positive(attrs[nfta_set_timeout()]),
      gc_interval: Reader.positive(attrs[nfta_set_gc_interval()]),
      size: Reader.positive(desc[nfta_set_desc_size()]),
      policy: set_policy(attrs[nfta_set_policy()]),
      comment: Userdata.find_text(userdata, 7),
      exprs: set_exprs(attrs),
      typeof: typeof(userdata),
      userdata: Enum.reject(userdata, &(elem(&1, 0) in Userdata.set_types()))
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
          do: {:interval, Types.type(id, div(len, 2), widths(userdata, :data, []))},
          else: Types.type(id, len, widths(userdata, :data, []))
    end
  end

  @orders %{key: 0, data: 1}

  defp widths(userdata, which, fields) do
    %{
      typeof: typeof(userdata)[which],
      own: Userdata.widths(userdata, which),
      fields: fields,
      order: Userdata.find_u32(userdata, @orders[which])
    }
  end

  defp field_sizes(desc) do
    for {_elem, field} <- Attr.scan(desc[nfta_set_desc_concat()] || <<>>),
        size = Reader.uint(Reader.map(field)[nfta_set_field_len()]),
        do: size
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
