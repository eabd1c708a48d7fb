defmodule Linx.Netfilter.Decoder.Elements do
  @moduledoc false
  # The elements of a GETSETELEM dump. They come in two steps, since a message does not say what
  # its set is:
  #
  #   raw/1       bytes to `key`, `{key, data}`, or `{:raw, map}` for one that carries more;
  #               keys and values are bytes
  #   values/2    these to the elements of a declared set or map

  import Linx.Netfilter.Wire
  alias Linx.Netfilter.{Datum, Element, Set, Userdata, Verdict}
  alias Linx.Netfilter.Decoder.Expressions
  alias Linx.Netfilter.Wire.Reader
  alias Linx.Netlink.Attr

  @type raw :: binary() | {binary(), binary() | Verdict.t()} | {:raw, map()}

  @doc "The elements in NFTA_SET_ELEM_LIST_ELEMENTS, in its order."
  @spec raw(binary()) :: [raw()]
  # The common element: nothing but a key of four bytes, or of another length. The kernel dumps
  # nests without their flag.
  def raw(
        <<16::native-16, _::native-16, 12::native-16, key::native-16, 8::native-16, 1::native-16,
          value::binary-4, rest::binary>>
      )
      when Bitwise.band(key, 0x3FFF) == 1,
      do: [value | raw(rest)]

  def raw(<<size::native-16, _type::native-16, rest::binary>>) when size >= 4 do
    len = size - 4

    case rest do
      <<elem::binary-size(^len), rest::binary>> ->
        [one(elem) | raw(skip(rest, Bitwise.band(-len, 3)))]

      _short ->
        []
    end
  end

  def raw(_tail), do: []

  defp skip(rest, pad) when byte_size(rest) >= pad,
    do: binary_part(rest, pad, byte_size(rest) - pad)

  defp skip(_rest, _pad), do: <<>>

  defp one(bytes) do
    case Attr.scan(bytes) do
      [{nfta_set_elem_key(), key}] -> value(key)
      [{nfta_set_elem_key(), key}, {nfta_set_elem_data(), data}] -> {value(key), value(data)}
      attrs -> rich(attrs)
    end
  end

  defp rich(attrs) do
    map =
      Enum.reduce(attrs, %{}, fn
        {nfta_set_elem_key(), b}, m -> Map.put(m, :key, value(b))
        {nfta_set_elem_key_end(), b}, m -> Map.put(m, :key_end, value(b))
        {nfta_set_elem_data(), b}, m -> Map.put(m, :data, value(b))
        {nfta_set_elem_flags(), b}, m -> Map.put(m, :flags, Reader.uint(b))
        {nfta_set_elem_timeout(), b}, m -> Map.put(m, :timeout, Reader.uint(b))
        {nfta_set_elem_expiration(), b}, m -> Map.put(m, :expires, Reader.uint(b))
        {nfta_set_elem_userdata(), b}, m -> Map.put(m, :userdata, Userdata.pairs(b))
        {nfta_set_elem_objref(), b}, m -> Map.put(m, :data, Reader.text(b))
        {nfta_set_elem_expr(), b}, m -> Map.put(m, :exprs, [Expressions.expr(b)])
        {nfta_set_elem_expressions(), b}, m -> Map.put(m, :exprs, Expressions.list(b))
        _unknown, m -> m
      end)

    case map do
      # A map to objects: a key and a name.
      %{key: key, data: data} when map_size(map) == 2 and is_binary(key) -> {key, data}
      map -> {:raw, map}
    end
  end

  # NFTA_DATA_VALUE or NFTA_DATA_VERDICT.
  defp value(bytes) do
    case Attr.scan(bytes) do
      [{nfta_data_value(), value} | _] -> value
      [{nfta_data_verdict(), verdict} | _] -> Expressions.verdict(verdict)
      _ -> <<>>
    end
  end

  @doc """
  The elements of all messages of a dump, or that some came twice. Intervals are not kept in hash
  tables, and their order means something.
  """
  @spec whole(Set.t() | Linx.Netfilter.Map.t(), [raw()]) :: {:ok, [raw()]} | :inconsistent
  def whole(set, raw) do
    if :interval in set.flags do
      {:ok, raw}
    else
      sorted = sort_keys(raw)
      if twice?(sorted), do: :inconsistent, else: {:ok, sorted}
    end
  end

  defp twice?([a | [b | _] = rest]), do: key(a) == key(b) or twice?(rest)
  defp twice?(_last), do: false

  @doc "The elements as a set or map of this declaration has them, sorted by their bytes."
  @spec values(Set.t() | Linx.Netfilter.Map.t(), [raw()]) :: [term()]
  def values(set, raw) do
    data_type = data_type(set)

    cond do
      match?({:concat, _}, set.key_type) ->
        Enum.map(ordered(set, raw), &concatenated(set, data_type, &1))

      :interval in set.flags ->
        intervals(set.key_type, data_type, raw)

      true ->
        points(set.key_type, data_type, raw)
    end
  end

  defp data_type(%Set{}), do: nil
  defp data_type(map), do: map.data_type

  @doc "The same without a declaration: end points tell intervals."
  @spec values([raw()], Datum.type(), Datum.type() | nil) :: [term()]
  def values(raw, key_type, data_type) do
    if Enum.any?(raw, &ended?/1),
      do: intervals(key_type, data_type, raw),
      else: points(key_type, data_type, raw)
  end

  # Where ranges overlap the kernel takes the narrower first and refuses the other order, so that
  # is kept.
  defp ordered(set, raw), do: if(:interval in set.flags, do: raw, else: sorted(raw))

  defp sorted(raw), do: Enum.sort_by(raw, &key/1)

  # A catch-all comes last and is none of the others: a key has 64 bytes at most.
  @beyond :binary.copy(<<255>>, 65)

  defp key({:raw, map}), do: Map.get(map, :key, @beyond)
  defp key({key, _data}), do: key
  defp key(key), do: key

  defp points(:ipv4_addr, nil, raw) do
    for raw <- sort_keys(raw) do
      case raw do
        <<a, b, c, d>> -> {a, b, c, d}
        other -> point(:ipv4_addr, nil, other)
      end
    end
  end

  defp points(type, data_type, raw),
    do: for(raw <- sort_keys(raw), do: point(type, data_type, raw))

  # Bytes sort by themselves; a key function per element is slower than the work.
  defp sort_keys(raw), do: if(Enum.all?(raw, &is_binary/1), do: Enum.sort(raw), else: sorted(raw))

  defp point(type, _data_type, key) when is_binary(key), do: Datum.from_bytes(type, key)

  defp point(type, data_type, {:raw, map}),
    do: element(map, catch_all(map, &Datum.from_bytes(type, &1)), data_type)

  defp point(type, data_type, {key, data}),
    do: {Datum.from_bytes(type, key), data(data_type, data)}

  defp concatenated(%{key_type: type, flags: flags}, data_type, raw) do
    flip = if :interval in flags, do: &Datum.flip(type, &1), else: & &1

    case raw do
      {:raw, %{key: first, key_end: last} = map} ->
        element(map, Datum.between(type, flip.(first), flip.(last)), data_type)

      {:raw, map} ->
        element(map, catch_all(map, &Datum.from_bytes(type, flip.(&1))), data_type)

      {key, data} ->
        {Datum.from_bytes(type, flip.(key)), data(data_type, data)}

      key ->
        Datum.from_bytes(type, flip.(key))
    end
  end

  # NFT_SET_ELEM_CATCHALL has no key.
  defp catch_all(%{key: key}, fun), do: fun.(key)
  defp catch_all(_map, _fun), do: :catch_all

  defp element(map, key, data_type) do
    Element.short(%Element{
      key: key,
      data: if(is_map_key(map, :data), do: data(data_type, map.data)),
      # 0 is an element that stays, in a set whose elements do not (Linux 6.12).
      timeout: map[:timeout],
      expires: map[:expires],
      comment: Userdata.find_text(Map.get(map, :userdata, []), 0),
      exprs: Map.get(map, :exprs, [])
    })
  end

  defp data({:object, _kind}, name), do: name
  defp data(_type, %Verdict{} = verdict), do: verdict
  defp data(nil, data), do: data
  defp data(:verdict, data), do: data
  defp data(type, bytes) when is_binary(bytes), do: Datum.from_bytes(type, bytes)
  defp data(_type, other), do: other

  # -- intervals ---------------------------------------------------------------------------------

  defp ended?({:raw, %{flags: flags}}), do: Bitwise.band(flags, 1) == 1
  defp ended?(_raw), do: false

  defp intervals(type, data_type, raw) do
    {points, catch_alls} = Enum.split_with(raw, &key?/1)

    spans =
      points
      |> Enum.map(&{key(&1), if(ended?(&1), do: 0, else: 1), &1})
      |> Enum.sort_by(fn {key, order, _raw} -> {key, order} end)
      |> spans(type, data_type)

    spans ++ Enum.map(catch_alls, &point(type, data_type, &1))
  end

  defp key?({:raw, map}), do: is_map_key(map, :key)
  defp key?(_raw), do: true

  # An end point closes the interval before it; a start right after another start closes that one
  # as well.
  defp spans([{_key, 0, _ended} | rest], type, data_type), do: spans(rest, type, data_type)

  defp spans([{first, 1, raw} | rest], type, data_type) do
    last =
      case rest do
        [{next, _order, _raw} | _] when byte_size(next) == byte_size(first) -> before(next)
        _ -> :binary.copy(<<255>>, byte_size(first))
      end

    key = Datum.between(type, Datum.flip(type, first), Datum.flip(type, last))
    [spanned(raw, key, data_type) | spans(rest, type, data_type)]
  end

  defp spans([], _type, _data_type), do: []

  defp before(bytes) do
    bits = bit_size(bytes)
    <<number::size(^bits)>> = bytes
    <<number - 1::size(bits)>>
  end

  defp spanned({:raw, map}, key, data_type), do: element(map, key, data_type)
  defp spanned({_key, data}, key, data_type), do: {key, data(data_type, data)}
  defp spanned(_bytes, key, _data_type), do: key
end
