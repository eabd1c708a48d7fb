defmodule Linx.Netfilter.Decoder.Set do
  @moduledoc false
  # NEWSET payloads: the declaration of a set or map, whose types come from the kernel's numbers
  # and nft's userdata.

  alias Linx.Netfilter.Decoder.{Expressions, Types}
  alias Linx.Netfilter.{Codec, Set, Table, Userdata, Wire}
  alias Linx.Netfilter.Map, as: NMap

  @spec declaration(binary()) :: {Table.family(), Set.t() | NMap.t()}
  def declaration(body) do
    read = Codec.Set.decode(body)
    description = read.description || %Codec.Set.Description{}
    userdata = Userdata.pairs(read.userdata)
    flags = read.flags || []
    sizes = for %{length: size} when size != nil <- description.concat || [], do: size

    fields = %{
      name: read.name || "",
      table: read.table || "",
      key_type:
        Types.type(
          read.key_type || 0,
          read.key_length || 0,
          widths(userdata, :key, sizes)
        ),
      flags: (flags -- [:map, :object, :concat, :expr]) ++ merge(userdata),
      handle: read.handle,
      timeout: positive(read.timeout),
      gc_interval: positive(read.gc_interval),
      size: positive(description.size),
      policy: if(read.policy == :memory, do: :memory),
      comment: Userdata.find_text(userdata, 7),
      exprs: exprs(read),
      typeof: typeof(userdata),
      userdata: Enum.reject(userdata, &(elem(&1, 0) in Userdata.set_types()))
    }

    {family(body, read.family), set_or_map(fields, flags, read, userdata)}
  end

  # A payload that ends before its nfgenmsg has no family; 0 would be one.
  defp family(body, n),
    do: if(byte_size(body) < 4, do: :unknown, else: Wire.family_atom(n))

  # The kernel sends 0 for a number that is not set.
  defp positive(0), do: nil
  defp positive(n), do: n

  defp set_or_map(fields, flags, read, userdata) do
    cond do
      :object in flags -> struct!(NMap, Map.put(fields, :data_type, {:object, read.object || 0}))
      :map in flags -> struct!(NMap, Map.put(fields, :data_type, data_type(read, userdata)))
      true -> struct!(Set, fields)
    end
  end

  defp data_type(read, userdata) do
    len = read.data_length || 0

    case read.data_type || 0 do
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

  defp merge(userdata),
    do: if(Userdata.find_u32(userdata, 2) in [nil, 0], do: [], else: [:auto_merge])

  defp exprs(%{expr: bytes}) when bytes != nil, do: [Expressions.expr(bytes)]
  defp exprs(%{exprs: bytes}) when bytes != nil, do: Expressions.list(bytes)
  defp exprs(_read), do: []

  # A bare EXPR_CONCAT says no more than the type does.
  defp typeof(userdata) do
    found =
      for {key, types} <- Userdata.record_types(),
          bytes = Enum.find_value(types, &record(userdata, &1)),
          bytes != <<0, 4, 13::native-32, 1, 0>>,
          into: %{},
          do: {key, bytes}

    if found == %{}, do: nil, else: found
  end

  defp record(userdata, type) do
    with {_type, bytes} <- List.keyfind(userdata, type, 0), do: bytes
  end
end
