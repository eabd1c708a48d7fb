defmodule Linx.Netfilter.Typeof do
  @moduledoc false
  # How nft remembers that a set was declared by an expression (`typeof ip saddr . vlan id`): entries in the set's userdata
  # (NFTNL_UDATA_SET_KEY_TYPEOF, NFTNL_UDATA_SET_DATA_TYPEOF). Here as a list of the expressions that would load the
  # parts, with `field:` on header fields.
  #
  # An entry is {u8 type, u8 length, bytes}; numbers are u32 in host order. Entry 0 is the kind of expression, entry 1 holds
  # what that kind needs, in entries again. A concatenation's are its parts, each under its index.

  alias Linx.Netfilter.{Expr, Field, Protocol, Wire}
  alias Linx.Netfilter.Guard.Tunnel
  alias Linx.Netfilter.Wire.Constants

  # nft's enum expr_types as of 1.0. In 1.1 what comes after rt has a number one higher: fib is 27 there, xfrm 28.
  @kinds %{
    7 => :payload,
    8 => :exthdr,
    9 => :meta,
    10 => :socket,
    11 => :osf,
    12 => :ct,
    13 => :concat,
    23 => :numgen,
    24 => :hash,
    25 => :rt,
    26 => :fib,
    27 => :xfrm
  }
  @kind_numbers Map.new(@kinds, fn {number, kind} -> {kind, number} end)

  # nft's enum proto_bases, from 1.
  @bases [:link, :network, :transport, :inner]
  @fib_flags [saddr: 1, daddr: 2, mark: 4, iif: 8, oif: 16, present: 32]
  @no_direction 0xFFFFFFFF

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

  # Only xfrm has three entries.
  defp kind_of(27, data), do: if(find_u32(data, 2), do: :xfrm, else: :fib)
  defp kind_of(28, _data), do: :xfrm
  defp kind_of(number, _data), do: @kinds[number]

  defp all(results) do
    if results != [] and Enum.all?(results, &match?(%Expr{}, &1)),
      do: {:ok, results},
      else: :error
  end

  # What lies in a tunnel says which.
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

  defp expression({:meta, [{0, <<key::native-32>>} | _]}),
    do: named(:meta, %{key: Wire.meta_key_atom(key), dreg: 1})

  defp expression({:ct, pairs}) do
    [key, direction] = numbers(pairs, 0..1)
    data = %{key: Wire.ct_key_atom(key || 0), dreg: 1}

    data =
      if direction in [nil, @no_direction],
        do: data,
        else: Map.put(data, :direction, Constants.atom(:ct_direction, direction))

    named(:ct, data)
  end

  defp expression({:socket, pairs}) do
    [key, level] = numbers(pairs, 0..1)
    data = %{key: Constants.atom(:socket, key || 0), dreg: 1}
    named(:socket, if(level in [nil, 0], do: data, else: Map.put(data, :level, level)))
  end

  defp expression({:osf, _pairs}), do: %Expr{name: :osf, data: %{dreg: 1, ttl: :strict}}

  defp expression({:rt, [{0, <<key::native-32>>} | _]}),
    do: named(:rt, %{key: Constants.atom(:rt, key), dreg: 1})

  defp expression({:fib, pairs}) do
    [result, flags] = numbers(pairs, 0..1)
    flags = for {flag, bit} <- @fib_flags, Bitwise.band(flags || 0, bit) != 0, do: flag
    %Expr{name: :fib, data: %{result: Constants.atom(:fib, result || 0), flags: flags, dreg: 1}}
  end

  defp expression({:numgen, pairs}) do
    [type, modulus, offset] = numbers(pairs, 0..2)
    data = %{type: Constants.atom(:ng, type || 0), modulus: modulus || 1, dreg: 1}

    %Expr{
      name: :numgen,
      data: if(offset in [nil, 0], do: data, else: Map.put(data, :offset, offset))
    }
  end

  # What a jenkins hash was made of is not in its record.
  defp expression({:hash, pairs}) do
    [type, offset, modulus] = numbers(pairs, 0..2)

    if type == 1 do
      data = %{type: :sym, modulus: modulus || 1, dreg: 1}

      %Expr{
        name: :hash,
        data: if(offset in [nil, 0], do: data, else: Map.put(data, :offset, offset))
      }
    end
  end

  defp expression({:xfrm, pairs}) do
    [key, spnum, dir] = numbers(pairs, 0..2)

    data = %{
      key: Constants.atom(:xfrm_key, key || 0),
      dir: if(dir == 1, do: :out, else: :in),
      dreg: 1
    }

    named(:xfrm, if(spnum in [nil, 0], do: data, else: Map.put(data, :spnum, spnum)))
  end

  defp expression(_other), do: nil

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

  defp named(name, %{key: key} = data) when is_atom(key) and key != :_,
    do: %Expr{name: name, data: data}

  defp named(_name, _data), do: nil

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

  defp record(%Expr{name: :meta, data: %{key: key}}),
    do: kind(:meta, pack([Wire.meta_key_int(key)]))

  defp record(%Expr{name: :ct, data: %{key: key} = data}) do
    direction =
      if data[:direction], do: Constants.int!(:ct_direction, data.direction), else: @no_direction

    kind(:ct, pack([Wire.ct_key_int(key), direction]))
  end

  defp record(%Expr{name: :socket, data: %{key: key}}),
    do: kind(:socket, pack([Constants.int!(:socket, key)]))

  defp record(%Expr{name: :osf}), do: kind(:osf, [])

  defp record(%Expr{name: :rt, data: %{key: key}}),
    do: kind(:rt, pack([Constants.int!(:rt, key)]))

  defp record(%Expr{name: :fib, data: %{result: result} = data}) do
    flags =
      for {flag, bit} <- @fib_flags,
          flag in List.wrap(data[:flags]),
          reduce: 0,
          do: (acc -> Bitwise.bor(acc, bit))

    kind(:fib, pack([Constants.int!(:fib, result), flags]))
  end

  defp record(%Expr{name: :numgen, data: %{type: type, modulus: modulus} = data}),
    do: kind(:numgen, pack([Constants.int!(:ng, type), modulus, data[:offset] || 0]))

  # Of a jenkins hash nft writes all but what is hashed, and dies when it lists its own record: better none.
  defp record(%Expr{name: :hash, data: %{type: :sym, modulus: modulus} = data}),
    do: kind(:hash, pack([Constants.int!(:hash, :sym), data[:offset] || 0, modulus, 0, 0]))

  defp record(%Expr{name: :xfrm, data: %{key: key} = data}) do
    dir = if data[:dir] == :out, do: 1, else: 0

    kind(:xfrm, [
      {0, u32(Constants.int!(:xfrm_key, key))},
      {1, u32(data[:spnum] || 0)},
      {2, u32(dir)}
    ])
  end

  defp record(_expr), do: :error

  defp exthdr(index, op, number),
    do: kind(:exthdr, [{1, u32(index)}, {2, u32(op)}, {0, u32(number)}])

  defp kind(kind, entries), do: bytes([{0, u32(@kind_numbers[kind])}, {1, bytes(entries)}])
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
