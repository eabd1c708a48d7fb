defmodule Linx.Netfilter.Guard.Fold do
  @moduledoc false
  # Reads a rule as the kernel has it: names the header fields that its payload expressions load, and takes away the
  # guards that such a field implies and that nft adds by itself.
  #
  # Which protocol a header is follows from the comparisons before it (`meta l4proto tcp`, `ether type ip`, ...). A guard
  # goes only when it is the one that nft would put at that very place again: straight before the statement whose field
  # implies it, and in nft's own form for the family. Everything else stays as it is, so that nothing is lost.

  import Bitwise

  alias Linx.Netfilter.{Expr, Field, Verdict}

  @transport %{
    1 => :icmp,
    2 => :igmp,
    6 => :tcp,
    17 => :udp,
    33 => :dccp,
    47 => :gre,
    50 => :esp,
    51 => :ah,
    58 => :icmpv6,
    108 => :comp,
    132 => :sctp,
    136 => :udplite
  }
  @l4proto Map.new(@transport, fn {number, protocol} -> {protocol, number} end)
  @ethertypes %{0x0800 => :ip, 0x0806 => :arp, 0x86DD => :ip6, 0x8100 => :vlan}
  @network %{ip: 0x0800, arp: 0x0806, ip6: 0x86DD}

  # ICMP messages whose words 1 and 2 have names of their own.
  @icmp %{
    gateway: [5],
    mtu: [3],
    id: [0, 8, 13, 14, 15, 16, 17, 18],
    sequence: [0, 8, 13, 14, 15, 16, 17, 18]
  }
  @icmpv6 %{
    mtu: [2],
    parameter_problem: [4],
    id: [128, 129],
    sequence: [128, 129],
    max_delay: [130]
  }

  @doc "The expressions of a rule of a table of `family` with named fields and without implied guards."
  @spec fold([Expr.t()], atom()) :: [Expr.t()]
  def fold(exprs, family) do
    state = %{
      family: family,
      link: if(family == :bridge, do: :ether),
      vlan?: false,
      network: if(family in [:ip, :ip6, :arp], do: family),
      transport: nil,
      icmp: nil,
      # Statements so far, last first: {guard | nil, expressions}.
      done: []
    }

    exprs
    |> statements([], [])
    |> Enum.reduce(state, &statement/2)
    |> Map.fetch!(:done)
    |> Enum.reverse()
    |> Enum.flat_map(&elem(&1, 1))
  end

  ## A statement is a run of expressions up to the one that uses what was loaded.

  defp statements([], [], acc), do: Enum.reverse(acc)
  defp statements([], current, acc), do: Enum.reverse([Enum.reverse(current) | acc])

  # nft's range: two comparisons of one register.
  defp statements(
         [
           %Expr{name: :cmp, data: %{op: :gte}} = a,
           %Expr{name: :cmp, data: %{op: :lte}} = b | rest
         ],
         current,
         acc
       ),
       do: statements(rest, [], [Enum.reverse([b, a | current]) | acc])

  defp statements([expr | rest], current, acc) do
    if ends?(expr),
      do: statements(rest, [], [Enum.reverse([expr | current]) | acc]),
      else: statements(rest, [expr | current], acc)
  end

  @loads [
    :payload,
    :exthdr,
    :meta,
    :ct,
    :rt,
    :fib,
    :numgen,
    :hash,
    :osf,
    :socket,
    :xfrm,
    :tunnel,
    :inner,
    :bitwise,
    :byteorder,
    :immediate
  ]

  defp ends?(%Expr{name: :immediate, data: %Verdict{}}), do: true
  defp ends?(%Expr{name: :immediate, data: %{data: %Verdict{}}}), do: true
  defp ends?(%Expr{name: :immediate, data: %{value: %Verdict{}}}), do: true
  defp ends?(%Expr{name: name, data: %{dreg: 0}}) when name in [:lookup, :__anon_set], do: true
  defp ends?(%Expr{name: name, data: %{dreg: _}}) when name in [:lookup, :__anon_set], do: false

  defp ends?(%Expr{name: name, data: %{sreg: _} = data})
       when name in [:payload, :meta, :ct, :exthdr], do: not is_map_key(data, :dreg)

  defp ends?(%Expr{name: name}), do: name not in @loads

  defp statement(exprs, state) do
    {exprs, {implied, state}} = name(exprs, [], {[], state})

    exprs
    |> split(state)
    |> Enum.reduce(%{state | done: drop(state.done, implied)}, fn exprs, state ->
      guard = guard(exprs)
      learn(%{state | done: [{guard, exprs} | state.done]}, exprs, guard)
    end)
  end

  # Guards straight before a statement, as long as they are implied by it.
  defp drop([{guard, _} | rest] = done, implied) when guard != nil,
    do: if(guard in implied, do: drop(rest, implied), else: done)

  defp drop(done, _implied), do: done

  ## Guards and what comparisons tell

  defp guard([
         %Expr{name: :meta, data: %{key: key, dreg: reg}},
         %Expr{name: :cmp, data: %{op: :eq, sreg: reg, data: data}}
       ])
       when key in [:l4proto, :nfproto, :protocol, :iftype, :iiftype] and is_binary(data) do
    case {key, data} do
      {:l4proto, <<n>>} -> {:l4proto, n}
      {:nfproto, <<n>>} -> {:nfproto, n}
      {:protocol, <<n::16>>} -> {:protocol, n}
      {key, <<1::native-16>>} when key in [:iftype, :iiftype] -> {:iiftype, 1}
      _ -> nil
    end
  end

  defp guard([
         %Expr{name: :payload, data: %{base: :link, offset: 12, len: 2, dreg: reg}},
         %Expr{name: :cmp, data: %{op: :eq, sreg: reg, data: <<n::16>>}}
       ]),
       do: {:ether_type, n}

  defp guard(_), do: nil

  defp learn(state, _exprs, {:l4proto, n}), do: %{state | transport: @transport[n], icmp: nil}
  defp learn(state, _exprs, {:nfproto, 2}), do: %{state | network: :ip}
  defp learn(state, _exprs, {:nfproto, 10}), do: %{state | network: :ip6}
  defp learn(state, _exprs, {:iiftype, 1}), do: %{state | link: :ether}

  defp learn(state, _exprs, {kind, n}) when kind in [:protocol, :ether_type],
    do: ethertype(state, n)

  defp learn(
         state,
         [%Expr{name: :payload, data: load}, %Expr{name: :cmp, data: %{op: :eq, data: data}}],
         nil
       )
       when is_binary(data) do
    case {load, data} do
      {%{field: :ip_protocol}, <<n>>} -> %{state | transport: @transport[n], icmp: nil}
      {%{field: :ip6_nexthdr}, <<n>>} -> %{state | transport: @transport[n], icmp: nil}
      {%{field: :vlan_type}, <<n::16>>} -> ethertype(state, n)
      {%{field: field}, <<n>>} when field in [:icmp_type, :icmpv6_type] -> %{state | icmp: [n]}
      _ -> state
    end
  end

  defp learn(
         state,
         [
           %Expr{name: :payload, data: %{field: field}},
           %Expr{name: :__anon_set, data: %{elements: numbers} = set}
         ],
         nil
       )
       when field in [:icmp_type, :icmpv6_type] and not is_map_key(set, :lookup_flags),
       do: %{state | icmp: numbers}

  defp learn(state, _exprs, _guard), do: state

  defp ethertype(state, n) do
    case @ethertypes[n] do
      :vlan -> %{state | vlan?: true}
      nil -> state
      network -> %{state | network: network}
    end
  end

  @doc "The guards that a field of `protocol` brings in a table of `family`, in nft's form and order."
  @spec implied(atom(), atom()) :: [{atom(), non_neg_integer()}]
  def implied(protocol, family) when protocol in [:icmp, :igmp],
    do: network(:ip, family, :payload) ++ [{:l4proto, @l4proto[protocol]}]

  def implied(:icmpv6, family), do: network(:ip6, family, :payload) ++ [l4proto: 58]
  def implied(:arp, family), do: network(:arp, family, :payload)
  def implied(protocol, family) when protocol in [:ip, :ip6], do: network(protocol, family, :meta)
  def implied(:ether, :bridge), do: []
  def implied(:ether, _family), do: [iiftype: 1]
  def implied(:vlan, family), do: implied(:ether, family) ++ [ether_type: 0x8100]

  def implied(protocol, _family) when is_map_key(@l4proto, protocol),
    do: [l4proto: @l4proto[protocol]]

  def implied(_protocol, _family), do: []

  defp network(_protocol, family, _form) when family in [:ip, :ip6, :arp], do: []
  defp network(:ip, :inet, _form), do: [nfproto: 2]
  defp network(:ip6, :inet, _form), do: [nfproto: 10]
  defp network(protocol, :bridge, :payload), do: [ether_type: @network[protocol]]
  defp network(protocol, _family, _form), do: [protocol: @network[protocol]]

  ## Naming fields

  defp name([], acc, {implied, state}), do: {Enum.reverse(acc), {implied, state}}

  defp name(
         [%Expr{name: :payload, data: %{base: base} = data} = expr | rest],
         acc,
         {implied, state}
       )
       when not is_map_key(data, :field) do
    case field(protocol(base, data, state), data, rest, acc, state) do
      nil ->
        name(rest, [expr | acc], {implied, state})

      field ->
        name(
          rest,
          [put(expr, field) | acc],
          {implied ++ implied(field.protocol, state.family), state}
        )
    end
  end

  defp name([expr | rest], acc, context), do: name(rest, [expr | acc], context)

  defp put(%Expr{data: data} = expr, field), do: %{expr | data: Map.put(data, :field, field.name)}

  defp protocol(:link, %{offset: offset}, %{link: :ether} = state) do
    cond do
      offset < 14 -> :ether
      state.vlan? -> :vlan
      true -> nil
    end
  end

  defp protocol(:network, _data, state), do: state.network
  defp protocol(:transport, _data, state), do: state.transport
  defp protocol(_base, _data, _state), do: nil

  defp field(nil, _data, _rest, _acc, _state), do: nil

  defp field(protocol, %{offset: offset, len: len} = data, rest, acc, state) do
    whole(protocol, offset * 8, len * 8, state) ||
      masked(protocol, data, rest, acc) ||
      longer(protocol, offset, len, rest) ||
      first(protocol, offset * 8, len * 8, data, rest)
  end

  defp whole(protocol, offset, length, state) when protocol in [:icmp, :icmpv6] do
    names = if protocol == :icmp, do: @icmp, else: @icmpv6

    same =
      for f <- Field.all(), f.protocol == protocol, f.offset == offset, f.length == length, do: f

    Enum.find(same, fn f ->
      case names[String.to_existing_atom(String.replace(f.field, "-", "_"))] do
        nil -> true
        types -> state.icmp != nil and Enum.all?(state.icmp, &(&1 in types))
      end
    end)
  rescue
    ArgumentError -> nil
  end

  defp whole(protocol, offset, length, _state) do
    with %Field{} = field <- Field.at(protocol, offset, length) do
      if rem(field.offset, 8) == 0 and rem(field.length, 8) == 0, do: field
    end
  end

  # A field that is no whole bytes: cut out by the mask that follows, or written with its neighbours.
  defp masked(protocol, %{dreg: reg} = data, rest, _acc) do
    with %Expr{data: %{mask: mask, xor: xor}} <-
           Enum.find(rest, &match?(%Expr{name: :bitwise, data: %{sreg: ^reg, mask: _}}, &1)),
         true <- :binary.decode_unsigned(xor) == 0,
         do: narrow(protocol, data, :binary.decode_unsigned(mask)),
         else: (_ -> nil)
  end

  defp masked(protocol, %{sreg: reg, offset: offset, len: len}, _rest, acc) do
    with %Expr{data: %{mask: mask}} <-
           Enum.find(acc, &match?(%Expr{name: :bitwise, data: %{dreg: ^reg, mask: _}}, &1)) do
      written = bnot(:binary.decode_unsigned(mask)) &&& ones(len * 8)
      Enum.find(Field.all(), &(&1.protocol == protocol and place(&1, offset, len) == written))
    else
      _ -> nil
    end
  end

  defp masked(_protocol, _data, _rest, _acc), do: nil

  defp narrow(protocol, %{offset: offset, len: len}, mask) do
    Enum.filter(Field.all(), fn f ->
      f.protocol == protocol and Field.bytes(f) == {offset, len} and f.length < len * 8 and
        (mask &&& bnot(elem(Field.mask(f), 0))) == 0
    end)
    |> Enum.min_by(& &1.length, fn -> nil end)
  end

  # A field's bits in `len` bytes from `offset`, 0 when it does not lie within them.
  defp place(field, offset, len) do
    shift = (offset + len) * 8 - field.offset - field.length
    if shift >= 0 and field.offset >= offset * 8, do: bsl(ones(field.length), shift), else: 0
  end

  # A prefix of whole bytes is read with a shorter load.
  defp longer(protocol, offset, len, [%Expr{name: :cmp, data: %{op: op, data: data}} | _])
       when op in [:eq, :neq] and byte_size(data) == len do
    Enum.find(Field.all(), fn f ->
      f.protocol == protocol and f.offset == offset * 8 and f.length > len * 8 and
        f.type in [:ipv4_addr, :ipv6_addr]
    end)
  end

  defp longer(_protocol, _offset, _len, _rest), do: nil

  # Neighbouring fields read with one load.
  defp first(protocol, offset, length, _data, [%Expr{name: :cmp, data: %{op: :eq, data: bytes}}])
       when bit_size(bytes) == length do
    case run(protocol, offset, length, []) do
      [field | _] -> field
      nil -> nil
    end
  end

  defp first(_protocol, _offset, _length, _data, _rest), do: nil

  defp run(_protocol, _offset, 0, fields), do: Enum.reverse(fields)

  defp run(protocol, offset, length, fields) do
    Field.all()
    |> Enum.filter(
      &(&1.protocol == protocol and &1.offset == offset and rem(&1.length, 8) == 0 and
          &1.length <= length)
    )
    |> case do
      [] ->
        nil

      found ->
        found
        |> Enum.max_by(& &1.length)
        |> then(&run(protocol, offset + &1.length, length - &1.length, [&1 | fields]))
    end
  end

  # One load and comparison of several fields, as one each.
  defp split(
         [
           %Expr{name: :payload, data: %{field: name, offset: offset, len: len, dreg: reg} = data} =
             load,
           %Expr{name: :cmp, data: %{op: :eq, data: bytes}} = cmp
         ] = exprs,
         _state
       )
       when byte_size(bytes) == len do
    with {:ok, %{protocol: protocol, length: length}}
         when length < len * 8 and rem(length, 8) == 0 <- Field.fetch(name),
         [_, _ | _] = fields <- run(protocol, offset * 8, len * 8, []) do
      {statements, ""} =
        Enum.map_reduce(fields, bytes, fn field, bytes ->
          size = div(field.length, 8)
          <<part::binary-size(^size), rest::binary>> = bytes
          data = %{data | field: field.name, offset: div(field.offset, 8), len: size, dreg: reg}
          {[%{load | data: data}, %{cmp | data: %{cmp.data | data: part}}], rest}
        end)

      statements
    else
      _ -> [exprs]
    end
  end

  defp split(exprs, _state), do: [exprs]

  defp ones(bits), do: bsl(1, bits) - 1
end
