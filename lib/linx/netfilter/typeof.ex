defmodule Linx.Netfilter.Typeof do
  @moduledoc false
  # How nft remembers that a set was declared by an expression (`typeof ip saddr . vlan id`):
  # entries in the set's userdata (NFTNL_UDATA_SET_KEY_TYPEOF, NFTNL_UDATA_SET_DATA_TYPEOF). Here
  # as a list of the expressions that would load the parts, with `field:` on header fields.
  #
  # An entry is {u8 type, u8 length, bytes}; numbers are u32 in host order. Entry 0 is the kind of
  # expression, entry 1 holds what that kind needs, in entries again. A concatenation's are its
  # parts, each under its index.

  alias Linx.Netfilter.{Expr, Field, Keys, Protocol}
  alias Linx.Netfilter.Dependencies.Tunnel
  alias Linx.Netfilter.Wire.{Constants, Expressions}

  # nft's enum expr_types for the kinds whose record has a form of its own; the records of the
  # others are rows of Wire.Expressions.
  @own [payload: 7, exthdr: 8, concat: 13]
  @records Expressions.records()

  # nft's enum proto_bases, from 1.
  @bases [:link, :network, :transport, :inner]

  @doc "The expressions that nft's record stands for."
  @spec decode(binary()) :: {:ok, [Expr.t(), ...]} | :error
  def decode(bytes) do
    case entry(bytes) do
      {:concat, parts} ->
        all(Enum.map(parts, fn {_index, part} -> part |> entry() |> expression() end))

      other ->
        all([expression(other)])
    end
  end

  defp entry(bytes) do
    pairs = pairs(bytes)

    with {_, data} <- List.keyfind(pairs, 1, 0),
         data = pairs(data),
         kind when kind != nil <- kind_of(find_u32(pairs, 0), data) do
      {kind, data}
    end
  end

  for {kind, number} <- @own, do: defp(kind_of(unquote(number), _data), do: unquote(kind))

  # nft 1.0 and 1.1 give two kinds the same number: their records differ in length.
  for {kind, numbers, entries, _load} <- @records, number <- numbers do
    defp kind_of(unquote(number), data) when length(data) == unquote(length(entries)),
      do: unquote(kind)
  end

  for {number, kind} <-
        Enum.uniq_by(for({k, ns, _, _} <- @records, n <- ns, do: {n, k}), &elem(&1, 0)),
      do: defp(kind_of(unquote(number), _data), do: unquote(kind))

  defp kind_of(_number, _data), do: nil

  defp all(results) do
    if results != [] and Enum.all?(results, &match?(%Expr{}, &1)),
      do: {:ok, results},
      else: :error
  end

  # The record of a header inside a tunnel has the tunnel's id.
  defp expression({:payload, pairs}) do
    tunnel = Protocol.by_id(find_u32(pairs, 5) || 0)

    if Protocol.tunnel(tunnel) do
      with %Expr{} = expr <- payload(List.keydelete(pairs, 5, 0)),
           do: Tunnel.inner(expr, tunnel)
    else
      payload(pairs)
    end
  end

  defp expression({:exthdr, pairs}) do
    [desc, type, op] = numbers(pairs, 0..2)
    op = Constants.atom(:exthdr, op || 0)

    with %Field{} = field <- Protocol.recorded(op, desc || 0, type || 0) do
      {offset, len} = Field.bytes(field)

      %Expr{
        name: :exthdr,
        data: %{op: op, type: field.header, offset: offset, len: len, field: field.name, dreg: 1}
      }
    end
  end

  defp expression({kind, pairs}) do
    with {entries, _load} <- fields(kind),
         %{} = data <- data(entries, pairs, 0, %{dreg: 1}),
         do: made(%Expr{name: kind, data: data})
  end

  defp expression(_other), do: nil

  # The operand of a jenkins hash is not in its record.
  defp made(%Expr{name: :hash, data: %{type: :jenkins}}), do: nil
  defp made(expr), do: expr

  for {kind, _numbers, entries, load} <- @records do
    defp fields(unquote(kind)), do: {unquote(Macro.escape(entries)), unquote(Macro.escape(load))}
  end

  defp fields(_kind), do: nil

  defp data([], _pairs, _index, data), do: data

  defp data([{key, type, absent} | entries], pairs, index, data) do
    case find_u32(pairs, index) do
      number when number == absent or (number == nil and absent != nil) ->
        data(entries, pairs, index + 1, data)

      number ->
        with value when value != nil <- number && value(type, number),
             do: data(entries, pairs, index + 1, Map.put(data, key, value))
    end
  end

  # A name that this library has none for makes no expression.
  defp value({tag, kind}, number) when tag in [:enum, :enum8] do
    name = Constants.atom(kind, number)
    if is_atom(name), do: name
  end

  defp value({:flags, kind}, number), do: Constants.names(kind, number)
  defp value(_type, number), do: number

  @doc """
  Bits and byte order of what an expression of nft's records loads, nil for another expression.
  """
  @spec load(Expr.t()) :: {pos_integer(), :host | :big | nil} | nil
  def load(%Expr{name: name, data: data}) do
    case fields(name) do
      {_entries, {bits, order}} -> {bits, order}
      {_entries, key} -> keyed(name, data[key])
      nil -> nil
    end
  end

  defp keyed(kind, key) do
    with {:ok, {_word, _type, bits, order}} <- Keys.fetch(kind, key),
         do: {bits, order},
         else: (:error -> nil)
  end

  defp payload(pairs) do
    [desc, type, base, offset, len] = numbers(pairs, 0..4)

    with %Field{} = field <- Protocol.recorded(:payload, desc || 0, type || 0) do
      {offset, len} = Field.bytes(field)

      %Expr{
        name: :payload,
        data: %{field: field.name, base: field.base, offset: offset, len: len, dreg: 1}
      }
    else
      _ -> raw(base, offset, len)
    end
  end

  # `bits:` where it is no whole bytes.
  defp raw(base, offset, len) when base in 1..4 and is_integer(offset) and is_integer(len) do
    first = div(offset, 8)
    count = div(offset + len + 7, 8) - first
    data = %{base: Enum.at(@bases, base - 1), offset: first, len: count, dreg: 1}
    whole? = {offset, len} == {first * 8, count * 8}
    %Expr{name: :payload, data: if(whole?, do: data, else: Map.put(data, :bits, {offset, len}))}
  end

  defp raw(_base, _offset, _len), do: nil

  defp numbers(pairs, range), do: Enum.map(range, &find_u32(pairs, &1))

  @doc "nft's record of the values of a verdict map."
  @spec verdict() :: binary()
  def verdict, do: bytes([{0, u32(1)}, {1, <<>>}])

  @doc "nft's record of the expressions; `:error` for one that has none."
  @spec encode([Expr.t(), ...]) :: {:ok, binary()} | :error
  def encode(exprs) do
    parts = Enum.map(exprs, &record/1)

    cond do
      :error in parts -> :error
      match?([_], parts) -> {:ok, hd(parts)}
      true -> {:ok, kind(:concat, Enum.with_index(parts, fn part, index -> {index, part} end))}
    end
  end

  @doc """
  An expression whose record every nft reads, in place of one whose record some do not.

  nft numbers fib and xfrm differently from version 1.1.6 on: the number of one names the other,
  and nft aborts on the record of an `ipsec in reqid` that it reads as a fib. What stands in has
  the same type and size, so that elements are listed as what they are.
  """
  @spec stand_in(Expr.t()) :: Expr.t()
  def stand_in(%Expr{name: :xfrm, data: %{key: key}}), do: xfrm(key)
  def stand_in(%Expr{name: :fib, data: %{result: :oif}}), do: Expr.meta(:iif)
  def stand_in(%Expr{name: :fib, data: %{result: :oifname}}), do: Expr.meta(:iifname)
  def stand_in(expr), do: expr

  defp xfrm(:reqid), do: Expr.meta(:len)
  defp xfrm(:spi), do: field(:esp_spi)
  defp xfrm(key) when key in [:saddr_ip4, :daddr_ip4], do: field(:ip_saddr)
  defp xfrm(key) when key in [:saddr_ip6, :daddr_ip6], do: field(:ip6_saddr)

  defp field(name), do: %Expr{name: :payload, data: %{field: name}}

  @numbered_twice for {kind, numbers, _, _} <- @records,
                      kind in [:fib, :xfrm],
                      number <- numbers,
                      uniq: true,
                      do: <<0, 4, number::native-32>>

  @doc "The record that stands in for nft's own, nil where every nft reads that."
  @spec portable(binary()) :: binary() | nil
  def portable(bytes) do
    with true <- :binary.match(bytes, @numbered_twice) != :nomatch,
         {:ok, exprs} <- decode(bytes),
         {:ok, other} when other != bytes <- exprs |> Enum.map(&stand_in/1) |> encode(),
         do: other,
         else: (_ -> nil)
  end

  defp record(%Expr{name: :payload, data: %{field: name}}) do
    with {:ok, field} <- Field.fetch(name),
         {:payload, desc, type} <- Protocol.record(field) do
      size = if field.type == :integer, do: [{4, u32(field.length)}], else: []
      kind(:payload, [{0, u32(desc)}, {1, u32(type)} | size])
    else
      _ -> :error
    end
  end

  defp record(%Expr{name: :inner, data: %{type: tunnel, expr: %Expr{name: :payload} = expr}}) do
    with bytes when bytes != :error <- record(expr),
         {:ok, %{id: number}} when number != nil <- Protocol.fetch(tunnel) do
      [kind, {1, data}] = pairs(bytes)
      bytes([kind, {1, data <> bytes([{5, u32(number)}])}])
    else
      _ -> :error
    end
  end

  defp record(%Expr{name: :payload, data: %{base: base, offset: offset, len: len} = data}) do
    {offset, len} = data[:bits] || {offset * 8, len * 8}

    with index when index != nil <- index(@bases, base) do
      kind(:payload, pack([0, 0, index + 1, offset, len]))
    else
      nil -> :error
    end
  end

  defp record(%Expr{name: :exthdr, data: %{op: op, type: number} = data}) do
    field =
      case data do
        %{field: name} -> with {:ok, field} <- Field.fetch(name), do: field
        _ -> Field.at(op, number, (data[:offset] || 0) * 8, (data[:len] || 1) * 8)
      end

    case field && Protocol.record(field) do
      nil -> :error
      {:ipv6, desc, type} -> kind(:exthdr, [{1, u32(type)}, {0, u32(desc)}])
      {op, desc, type} -> exthdr(type, Constants.int!(:exthdr, op), desc)
    end
  end

  # nft dies when it lists its own record of a jenkins hash.
  defp record(%Expr{name: :hash, data: %{type: :jenkins}}), do: :error

  defp record(%Expr{name: name, data: data}) do
    with {entries, _load} <- fields(name),
         numbers = for({key, type, absent} <- entries, do: number(type, data[key]) || absent),
         false <- nil in numbers,
         do: kind(name, pack(numbers)),
         else: (_ -> :error)
  end

  defp number(_type, nil), do: nil
  defp number({tag, kind}, name) when tag in [:enum, :enum8], do: Constants.int!(kind, name)
  defp number({:flags, kind}, names), do: Constants.bits!(kind, names)
  defp number(_type, number), do: number

  defp exthdr(index, op, number),
    do: kind(:exthdr, [{1, u32(index)}, {2, u32(op)}, {0, u32(number)}])

  defp kind(kind, entries), do: bytes([{0, u32(kind_number(kind))}, {1, bytes(entries)}])

  for {kind, number} <- @own ++ for({kind, [number | _], _, _} <- @records, do: {kind, number}),
      do: defp(kind_number(unquote(kind)), do: unquote(number))

  defp pack(numbers), do: Enum.with_index(numbers, fn number, index -> {index, u32(number)} end)

  defp pairs(<<type, len, value::binary-size(len), rest::binary>>),
    do: [{type, value} | pairs(rest)]

  defp pairs(_tail), do: []

  defp bytes(pairs),
    do: for({type, value} <- pairs, into: <<>>, do: <<type, byte_size(value), value::binary>>)

  defp u32(n), do: <<n::native-32>>

  defp find_u32(pairs, type) do
    case List.keyfind(pairs, type, 0) do
      {_, <<n::native-32>>} -> n
      _ -> nil
    end
  end

  defp index(list, item), do: Enum.find_index(list, &(&1 == item))
end
