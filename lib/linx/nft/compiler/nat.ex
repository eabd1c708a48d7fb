defmodule Linx.NFT.Compiler.Nat do
  @moduledoc false
  # snat, dnat, masquerade, redirect and tproxy: the registers for addresses and ports, and what reads them.

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.{Action, Fault, Generate, Load, Operand, Scope, Term}

  @port %Term{kind: :const, type: :inet_service, len: 16, order: :big}

  @doc false
  def nat({:nat, kind, target, opts, meta}, scope) when kind in [:masquerade, :redirect] do
    unless scope.family in [:ip, :ip6, :inet],
      do: Fault.fail(meta, "#{kind} works in ip, ip6 and inet tables")

    name = if kind == :masquerade, do: :masq, else: :redir
    {loads, registers, _word, scope} = port(target[:port], 0, meta, scope)
    expr = Expr.new(name, registers |> Map.new() |> flags(opts[:flags]))
    {[{:fixed, loads ++ [expr]}], scope}
  end

  def nat({:nat, kind, target, opts, meta}, scope) do
    unless scope.family in [:ip, :ip6, :inet],
      do: Fault.fail(meta, "#{kind} works in ip, ip6 and inet tables")

    family = family(opts[:family], target[:addr], meta, scope)

    {addr_loads, addr_registers, word, scope} =
      addr(target[:addr], family, opts[:shape], meta, scope)

    {port_loads, port_registers, _word, scope} = port(target[:port], word, meta, scope)

    data =
      %{type: kind}
      |> put(:family, family || scope.family)
      |> Map.merge(Map.new(addr_registers ++ port_registers))
      |> flags(opts[:flags] ++ if(opts[:shape] == :prefix, do: [:netmap], else: []))

    {[{:fixed, addr_loads ++ port_loads ++ [Expr.new(:nat, data)]}], scope}
  end

  @doc false
  def tproxy({:tproxy, target, opts, meta}, scope) do
    unless scope.family in [:ip, :ip6, :inet],
      do: Fault.fail(meta, "tproxy works in ip, ip6 and inet tables")

    if scope.layers.transport == nil,
      do: Fault.fail(meta, "tproxy needs a match of the transport protocol before it")

    family = opts[:family] || own_family(scope)

    if own_family(scope) && family != own_family(scope),
      do: Fault.fail(meta, "the address is of another family than the table")

    family =
      if family == nil and target[:addr] != nil,
        do:
          network(scope) || key_network(target[:addr], scope) ||
            Fault.fail(meta, "write tproxy ip to or tproxy ip6 to in an inet table"),
        else: family

    {addr_loads, addr, word, scope} = addr(target[:addr], family, nil, meta, scope)
    {port_loads, port, _word, scope} = port(target[:port], word, meta, scope)

    if addr[:reg_addr_max] || port[:reg_proto_max],
      do: Fault.fail(meta, "tproxy takes one address and one port, no range")

    # A port alone is for both families of an inet table, which the kernel wants said (nft_tproxy_init).
    data =
      %{}
      |> put(:family, family || :unspec)
      |> put(:reg_addr, addr[:reg_addr_min])
      |> put(:reg_port, port[:reg_proto_min])

    {[{:fixed, addr_loads ++ port_loads ++ [Expr.new(:tproxy, data)]}], scope}
  end

  # -- families --------------------------------------------------------------------------------------------------------

  defp family(nil, addr, meta, scope) do
    own_family(scope) || network(scope) || key_network(addr, scope) ||
      if(addr, do: Fault.fail(meta, "write ip or ip6 before the address in an inet table"))
  end

  defp family(given, _addr, meta, scope) do
    known = own_family(scope) || network(scope)

    if known && known != given,
      do: Fault.fail(meta, "#{given} where the rule or its table is #{known}"),
      else: given
  end

  # The network protocol of a map's key. nft reads it there only for a map to addresses alone.
  defp key_network(node, scope) when is_tuple(node) do
    with {:map, key, map, _} <- Scope.resolve(scope, node),
         {%Term{kind: :const}, _} <-
           map_value(Scope.resolve(scope, map), Action.address(:ip), nil, scope) do
      {_term, scope} = Load.load(key, %{scope | expect: nil})
      network(scope)
    else
      _ -> nil
    end
  end

  defp key_network(_node, _scope), do: nil

  defp own_family(%{family: family}) when family in [:ip, :ip6], do: family
  defp own_family(_scope), do: nil

  defp network(%{layers: %{network: network}}) when network in [:ip, :ip6], do: network
  defp network(_scope), do: nil

  # -- addresses -------------------------------------------------------------------------------------------------------

  # {loads, registers, next word, scope}
  defp addr(nil, _family, _shape, _meta, scope), do: {[], [], 0, scope}

  defp addr(node, family, shape, meta, scope) do
    like = Action.address(family)

    case Scope.resolve(scope, node) do
      {:map, key, map, map_meta} ->
        mapped({:map, key, map, map_meta}, like, shape, meta, scope)

      node when shape == :addr_port ->
        pair(node, pair(like), meta, scope)

      node ->
        {term, scope} = Operand.operand(node, like, scope)
        {low, high} = ends(term, meta)

        if high,
          do:
            {Generate.load(low, 0) ++ Generate.load(high, 4), [reg_addr_min: 1, reg_addr_max: 2],
             8, scope},
          else: {Generate.load(low, 0), [reg_addr_min: 1], 4, scope}
    end
  end

  # The address and its port in consecutive words, as a map to a concatenation leaves them.
  defp pair(node, like, meta, scope) do
    {term, scope} = Operand.operand(node, like, scope)

    unless Enum.all?(term.data, &(&1.kind not in [:range, :prefix, :wildcard])),
      do: Fault.fail(meta, "addr . port takes one address and one port")

    if scope.layers.transport == nil, do: no_transport(meta)
    port = div(like.len, 32) - 1
    {Generate.load(term, 0), registers(reg_addr_min: 0, reg_proto_min: port), 4, scope}
  end

  # A map may give an address, a range of them, or an address and a port: what its elements look like decides.
  defp mapped({:map, key, map, _} = node, like, shape, meta, scope) do
    {like, interval?} = map_value(Scope.resolve(scope, map), like, shape, scope)
    {term, scope} = Operand.operand(node, like, scope)

    interval? =
      interval? or match?(%{data: %{data_type: {:interval, _}}}, elem(term.data, 1)) or
        shape in [:prefix, :interval]

    if like.kind == :concat and scope.layers.transport == nil and not protocol?(key, scope),
      do: no_transport(meta)

    loads = Generate.load(term, 0)
    words = div(like_bits(like), 32)

    registers =
      case {like.kind, interval?} do
        {:concat, true} ->
          registers(
            reg_addr_min: 0,
            reg_proto_min: words - 1,
            reg_addr_max: words,
            reg_proto_max: 2 * words - 1
          )

        {:concat, false} ->
          registers(reg_addr_min: 0, reg_proto_min: words - 1)

        {_, true} ->
          registers(reg_addr_min: 0, reg_addr_max: words)

        {_, false} ->
          [reg_addr_min: 1]
      end

    {loads, registers, 4, scope}
  end

  defp registers(words), do: Enum.map(words, fn {key, word} -> {key, Generate.register(word)} end)

  defp like_bits(%Term{kind: :concat, len: len}), do: len
  defp like_bits(%Term{len: len}), do: len

  defp map_value({:set_inline, nodes, _}, like, shape, scope) do
    concat? = shape == :addr_port or Enum.any?(nodes, &concat?(&1, scope))
    {if(concat?, do: pair(like), else: like), false}
  end

  defp map_value({:set_ref, name, _}, like, shape, scope) do
    case Map.get(scope.sets, Linx.NFT.Compiler.Value.text_of(name, scope)) do
      %{data: %Term{} = data, data_interval?: interval?} ->
        {%{data | kind: if(data.kind == :concat, do: :concat, else: :const)}, interval?}

      _ ->
        {if(shape == :addr_port, do: pair(like), else: like), false}
    end
  end

  defp map_value(_node, like, _shape, _scope), do: {like, false}

  defp concat?({:mapping, _, data, _}, scope),
    do: match?({:concat, _, _}, Scope.resolve(scope, data))

  defp concat?({:variable, _, _} = node, scope), do: concat?(Scope.resolve(scope, node), scope)
  defp concat?({:set_inline, nodes, _}, scope), do: Enum.any?(nodes, &concat?(&1, scope))
  defp concat?(_node, _scope), do: false

  defp pair(like),
    do: %Term{kind: :concat, type: :concat, len: like.len + 32, data: [like, @port]}

  # -- ports -----------------------------------------------------------------------------------------------------------

  defp port(nil, word, _meta, scope), do: {[], [], word, scope}

  defp port(node, word, meta, scope) do
    {term, scope} = Operand.operand(node, @port, scope)

    # A port that is looked up by a port has told which transport it is.
    if scope.layers.transport == nil, do: no_transport(meta)

    if match?(%Term{kind: :map, data: {_, %{data: %{data_type: {:interval, _}}}}}, term),
      do: Fault.fail(meta, "a map of ports gives one port a key, not a range")

    {low, high} = ends(term, meta)

    if high,
      do:
        {Generate.load(low, word) ++ Generate.load(high, word + 4),
         [reg_proto_min: Generate.register(word), reg_proto_max: Generate.register(word + 4)],
         word + 8, scope},
      else: {Generate.load(low, word), [reg_proto_min: Generate.register(word)], word + 4, scope}
  end

  @spec no_transport(map()) :: no_return()
  defp no_transport(meta),
    do: Fault.fail(meta, "a port needs a match of the transport protocol before it")

  # A concatenated key with the packet's protocol in it matches the transport itself.
  defp protocol?({:concat, nodes, _}, scope),
    do: Enum.any?(nodes, &protocol_field?(Scope.resolve(scope, &1)))

  defp protocol?(_key, _scope), do: false

  defp protocol_field?({:meta, :l4proto, _}), do: true
  defp protocol_field?({:payload, :ip, "protocol", _}), do: true
  defp protocol_field?({:payload, :ip6, "nexthdr", _}), do: true
  defp protocol_field?(_node), do: false

  # A range of one is the one.
  defp ends(%Term{kind: :range, data: {%Term{data: n} = one, %Term{data: n}}}, _meta),
    do: {one, nil}

  defp ends(%Term{kind: :range, data: {low, high}}, _meta), do: {low, high}

  defp ends(%Term{kind: :prefix, data: {n, bits}, len: len} = term, _meta) do
    last = n + Bitwise.bsl(1, len - bits) - 1
    {%{term | kind: :const, data: n}, %{term | kind: :const, data: last}}
  end

  defp ends(%Term{kind: kind}, meta) when kind in [:wildcard, :concat],
    do: Fault.fail(meta, "expected one address or port, or a range")

  defp ends(term, _meta), do: {term, nil}

  @flag_order [:random, :persistent, :fully_random, :netmap]

  defp flags(data, given) do
    case Enum.filter(@flag_order, &(&1 in given)) do
      [] -> data
      flags -> Map.put(data, :flags, flags)
    end
  end

  defp put(map, _key, nil), do: map
  defp put(map, key, value), do: Map.put(map, key, value)
end
