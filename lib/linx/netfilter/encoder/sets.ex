defmodule Linx.Netfilter.Encoder.Sets do
  @moduledoc false
  # NEWSET, and NEWSETELEM and DELSETELEM in messages that an attribute's 64 KiB hold.

  import Linx.Netfilter.Wire
  import Linx.Netfilter.Encoder.Message

  alias Linx.Netfilter.Encoder.{Elements, Expressions}
  alias Linx.Netfilter.{Codec, Datum, Element, Set, Table, Typeof, Userdata, Wire}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Netlink.{Attr, Message}

  # NFT_DATA_VERDICT
  @verdict 0xFFFFFF00

  @doc "NEWSET. Options: `:id`, `:excl`."
  @spec declaration(Set.t() | NMap.t(), Table.family(), keyword()) :: Message.t()
  def declaration(set, family, opts) do
    message(
      nft_msg_newset(),
      create(opts),
      data(set, %Codec.Set{
        family: Wire.family_num(family),
        table: set.table,
        name: set.name,
        flags: flags(set),
        key_type: Datum.type_id(set.key_type),
        key_length: Datum.size(set.key_type),
        policy: set.policy,
        id: Keyword.get(opts, :id, 1),
        description: description(set),
        timeout: set.timeout,
        gc_interval: set.gc_interval,
        userdata: set_userdata(set)
      })
      |> exprs(set.exprs)
    )
  end

  defp flags(set) do
    derived =
      [
        if(set.timeout, do: :timeout),
        if(concat?(set) and :interval in set.flags, do: :concat),
        if(length(set.exprs) > 1, do: :expr),
        case set do
          %NMap{data_type: {:object, _}} -> :object
          %NMap{} -> :map
          %Set{} -> nil
        end
      ]
      |> Enum.reject(&is_nil/1)

    # :auto_merge is nft's own, and travels in userdata.
    Enum.uniq(set.flags ++ derived) -- [:auto_merge]
  end

  defp concat?(set), do: match?({:concat, _}, set.key_type)

  # NFT_DATA_VERDICT stands for the type; its length is the kernel's own.
  defp data(%NMap{data_type: :verdict}, body), do: %{body | data_type: @verdict, data_length: 0}
  defp data(%NMap{data_type: {:object, kind}}, body), do: %{body | object: kind}

  defp data(%NMap{data_type: type}, body),
    do: %{body | data_type: Datum.type_id(type), data_length: Datum.size(type)}

  defp data(%Set{}, body), do: body

  defp description(set) do
    case {set.size || constant_size(set), fields(set)} do
      {nil, nil} -> nil
      {size, fields} -> %Codec.Set.Description{size: size, concat: fields}
    end
  end

  defp fields(%{key_type: {:concat, types}, flags: flags}) do
    if :interval in flags,
      do: for(type <- types, do: %Codec.Set.Field{length: Datum.size(type)})
  end

  defp fields(_set), do: nil

  # A set that nothing can be added to has the size of what is in it; the kernel chooses a better
  # structure for it.
  defp constant_size(%{elements: [_ | _] = elements} = set) do
    if :constant in set.flags and :anonymous not in set.flags, do: Elements.count(set, elements)
  end

  defp constant_size(_set), do: nil

  # nft reads the byte order of keys and values here, and what a concatenation was declared by (13
  # is its EXPR_CONCAT).
  @typeof_concat <<0, 4, 13::native-32, 1, 0>>

  defp set_userdata(set) do
    {typeof, records} = records(set.typeof || %{})

    data =
      case set do
        %NMap{data_type: {:object, _}} ->
          [{6, Userdata.u32(0)}]

        %NMap{data_type: type} ->
          [
            {1, Userdata.u32(Datum.byteorder(type))},
            {4, Map.get(typeof, :data, typeof_default(type))},
            {6, Userdata.u32(if(match?({:interval, _}, type), do: 1, else: 0))}
          ]

        %Set{} ->
          []
      end

    order = %{0 => 0, 1 => 1, 2 => 2, 7 => 3, 3 => 4, 4 => 5, 6 => 6}

    own =
      own_widths(typeof, :key, set.key_type) ++
        own_widths(typeof, :data, Map.get(set, :data_type))

    standard =
      [
        {0, Userdata.u32(Datum.byteorder(set.key_type))},
        {2, if(merges?(set), do: Userdata.u32(1))},
        {7, Userdata.text(set.comment)},
        {3, Map.get(typeof, :key, typeof_default(set.key_type))}
      ] ++ data

    bytes =
      standard
      |> Enum.sort_by(&Map.fetch!(order, elem(&1, 0)))
      |> Kernel.++(own)
      |> Kernel.++(set.userdata)
      |> Userdata.bytes()

    with_records(bytes, Userdata.bytes(records))
  end

  # NFT_USERDATA_MAXLEN. What nft reads goes before what Linx alone does.
  defp with_records(bytes, records) when byte_size(bytes) + byte_size(records) <= 256,
    do: bytes <> records

  defp with_records(bytes, _records), do: bytes

  # The records that every nft reads, and beside them those that they stand in for.
  defp records(typeof) do
    for {which, [own, _nfts]} <- Userdata.record_types(),
        bytes = typeof[which],
        other = Typeof.portable(bytes),
        reduce: {typeof, []} do
      {typeof, records} -> {Map.put(typeof, which, other), [{own, bytes} | records]}
    end
  end

  # nft merges no intervals of concatenations, and since 1.1 records no wish to.
  defp merges?(%{key_type: {:concat, _types}}), do: false
  defp merges?(set), do: :auto_merge in set.flags

  # Without nft's record nothing else says how wide the parts of a concatenation are.
  defp own_widths(typeof, which, _type) when is_map_key(typeof, which), do: []
  defp own_widths(typeof, which, {:interval, type}), do: own_widths(typeof, which, type)

  defp own_widths(_typeof, which, {:concat, types}) do
    if Enum.any?(types, &is_tuple/1),
      do: [Userdata.with_widths(Enum.map(types, &Datum.width/1), which)],
      else: []
  end

  defp own_widths(_typeof, _which, _type), do: []

  defp typeof_default({:concat, _}), do: @typeof_concat
  defp typeof_default({:interval, type}), do: typeof_default(type)
  defp typeof_default(_type), do: nil

  defp exprs(body, []), do: body

  defp exprs(body, [expr]),
    do: %{body | expr: IO.iodata_to_binary(Expressions.expr(expr))}

  defp exprs(body, exprs),
    do: %{body | exprs: IO.iodata_to_binary(Expressions.list(exprs))}

  @doc """
  NEWSETELEM, as many as it takes. Options: `:id`, and `:initial` for a set that was empty before.
  """
  @spec elements(Set.t() | NMap.t(), Table.family(), [term()], keyword()) :: [Message.t()]
  def elements(set, family, elements, opts) do
    id = if opts[:id], do: Attr.u32_be(nfta_set_elem_list_set_id(), opts[:id]), else: []

    for chunk <- Elements.chunks(set, elements, opts) do
      message(nft_msg_newsetelem(), create([]), family, [
        element_head(set.table, set.name),
        id,
        element_list(chunk)
      ])
    end
  end

  defp element_head(table_name, set_name) do
    [
      Attr.text(nfta_set_elem_list_table(), table_name),
      Attr.text(nfta_set_elem_list_set(), set_name)
    ]
  end

  defp element_list(chunk), do: Attr.pieces(nfta_set_elem_list_elements(), chunk)

  @doc "DELSETELEM, as many as it takes. An element is deleted by its key alone."
  @spec deletions(Set.t() | NMap.t(), Table.family(), [term()]) :: [Message.t()]
  def deletions(set, family, elements) do
    keys = Enum.map(elements, &Element.key_of(set, &1))
    bare = %Set{name: set.name, table: set.table, key_type: set.key_type, flags: set.flags}

    for chunk <- Elements.chunks(bare, keys) do
      message(nft_msg_delsetelem(), 0, family, [
        element_head(set.table, set.name),
        element_list(chunk)
      ])
    end
  end
end
