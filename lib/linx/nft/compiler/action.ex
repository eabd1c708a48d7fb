defmodule Linx.NFT.Compiler.Action do
  @moduledoc false
  # Statements that act on the packet: log, reject, queue, dup, fwd, synproxy, notrack, flow offload, reset.

  alias Linx.Netfilter.Expr
  alias Linx.Netfilter.Guard.Layers
  alias Linx.NFT.Compiler.{Fault, Generate, Operand, Scope, Term, Value}

  @doc false
  def action({:notrack, _meta}, scope), do: one(Expr.notrack(), scope)

  def action({:flow_offload, name, _meta}, scope),
    do: one(Expr.flow_offload(Value.text_of(name, scope)), scope)

  def action({:reset, option, _meta}, scope),
    do: one(Expr.new(:exthdr, %{op: :tcpopt, type: option}), scope)

  def action({:log, opts, meta}, scope), do: log(opts, meta, scope)
  def action({:reject, opts, meta}, scope), do: reject(opts, meta, scope)
  def action({:queue, opts, meta}, scope), do: queue(opts, meta, scope)

  def action({:synproxy, opts, meta}, scope) do
    mss = number(opts[:mss], 0xFFFF, "mss", meta, scope)
    wscale = number(opts[:wscale], 0xFF, "wscale", meta, scope)
    flags = Enum.filter([:timestamp, :sack_perm], &opts[&1])
    order = [:mss, :wscale, :sack_perm, :timestamp]
    flags = Enum.filter(order, &(&1 in flags))
    one(Expr.synproxy(mss: mss, wscale: wscale, flags: flags), scope)
  end

  def action({:dup, opts, meta}, scope), do: dup(opts, meta, scope)
  def action({:fwd, opts, meta}, scope), do: fwd(opts, meta, scope)
  def action(node, _scope), do: Fault.fail(node, "this statement is not supported")

  defp one(expr, scope), do: {[{:fixed, [expr]}], scope}

  # -- log -------------------------------------------------------------------------------------------------------------

  @log_flags [:tcp_seq, :tcp_opt, :ip_opt, :uid, :nflog, :macdecode]

  defp log(opts, meta, scope) do
    given = Keyword.get_values(opts, :flags) |> List.flatten()

    for key <- [:prefix, :group, :level, :snaplen, :qthreshold],
        length(Keyword.get_values(opts, key)) > 1,
        do: Fault.fail(meta, "#{key} is given twice")

    if opts[:level] && (opts[:group] || opts[:snaplen] || opts[:qthreshold]),
      do: Fault.fail(meta, "level and group exclude each other")

    if given != [] and opts[:group], do: Fault.fail(meta, "flags and group exclude each other")

    data =
      %{}
      |> put(:group, number(opts[:group], 0xFFFF, "a group", meta, scope))
      |> put(:prefix, prefix(opts[:prefix], meta, scope))
      |> put(:snaplen, number(opts[:snaplen], 0xFFFFFFFF, "snaplen", meta, scope))
      |> put(:qthreshold, number(opts[:qthreshold], 0xFFFF, "queue-threshold", meta, scope))
      |> put(:level, opts[:level])
      |> put(:flags, Enum.filter(@log_flags, &(&1 in given)))

    # Without a group the kernel's log is meant, which has no snaplen and no threshold: nft does not say them.
    data = if opts[:group], do: data, else: Map.drop(data, [:snaplen, :qthreshold])

    if data[:level] == :audit and map_size(data) > 1,
      do: Fault.fail(meta, "level audit takes no other option")

    one(Expr.new(:log, data), scope)
  end

  @doc false
  # The text of a log prefix, its variables replaced.
  def prefix(nil, _meta, _scope), do: nil

  def prefix(text, meta, scope) do
    meta = Fault.meta(text, meta)
    text = text |> expand(scope, meta) |> Value.text_of(scope)

    if byte_size(text) > 127,
      do: Fault.fail(meta, "a log prefix has at most 127 bytes, this one #{byte_size(text)}")

    if text == "", do: Fault.fail(meta, "a log prefix must not be empty")
    if String.contains?(text, <<0>>), do: Fault.fail(meta, "a log prefix cannot hold a NUL byte")
    text
  end

  # A `$` in a literal string begins the name of a variable, as for nft. The value of an interpolation is taken as it is.
  defp expand(text, scope, meta) when is_binary(text) do
    # Most prefixes have none, and a regular expression costs more than the rest of the rule.
    if :binary.match(text, "$") == :nomatch, do: text, else: expanded(text, scope, meta)
  end

  defp expand(node, _scope, _meta), do: node

  defp expanded(text, scope, meta) do
    Regex.replace(~r/\$([A-Za-z_][A-Za-z0-9_]*)?/, text, fn
      "$", _ -> Fault.fail(meta, "a $ in a log prefix begins the name of a variable")
      _, name -> Value.text_of({:variable, name, meta}, scope)
    end)
  end

  defp number(nil, _max, _what, _meta, _scope), do: nil

  defp number(node, max, what, meta, scope) do
    n = Value.number_of(node, scope)
    meta = Fault.meta(node, meta)
    if n in 0..max, do: n, else: Fault.fail(meta, "#{what} must be 0 to #{max}, not #{n}")
  end

  defp put(map, _key, value) when value in [nil, []], do: map
  defp put(map, key, value), do: Map.put(map, key, value)

  # -- reject ----------------------------------------------------------------------------------------------------------

  defp reject([], meta, scope) do
    case network(scope) do
      :ip -> one(Expr.reject(:icmp_unreach, icmp_code: 3), scope)
      :ip6 -> one(Expr.reject(:icmp_unreach, icmp_code: 4), scope)
      :other -> Fault.fail(meta, "reject needs IP")
      nil -> one(Expr.reject(:icmpx_unreach, icmp_code: 1), scope)
    end
  end

  defp reject([type: :tcp_reset], meta, scope) do
    if scope.family == :arp, do: Fault.fail(meta, "an arp table cannot reject")
    transport(scope.layers.transport, [nil, :tcp], "a TCP reset answers TCP only", meta)

    scope =
      if scope.layers.transport == nil, do: guard(scope, :tcp, :transport, meta), else: scope

    one(Expr.reject(:tcp_reset), scope)
  end

  defp reject([type: :icmpx, code: code], meta, scope) do
    if scope.family in [:ip, :ip6, :arp],
      do: Fault.fail(meta, "icmpx is for inet, bridge and netdev tables")

    one(Expr.reject(:icmpx_unreach, icmp_code: code(code, :icmpx_code, scope)), scope)
  end

  defp reject([type: type, code: code], meta, scope) do
    {network, datatype} = if type == :icmp, do: {:ip, :icmp_code}, else: {:ip6, :icmpv6_code}

    if scope.layers.network not in [nil, network],
      do: Fault.fail(meta, "#{type} does not answer #{inspect(scope.layers.network)}")

    # The guard is nft's special one, by Ethernet type in a bridge.
    scope = guard(scope, network, if(network == :ip, do: :ipv4, else: :ipv6), meta)
    one(Expr.reject(:icmp_unreach, icmp_code: code(code, datatype, scope)), scope)
  end

  defp code(node, type, scope),
    do: Value.constant(node, %Term{kind: :const, type: type, len: 8, order: :big}, scope).data

  defp network(%{layers: %{network: network}}) when network in [:ip, :ip6, nil], do: network
  defp network(_scope), do: :other

  defp guard(scope, protocol, base, meta) do
    case Layers.require(scope.layers, protocol, base) do
      # nft puts it before the whole rule: what is not refused is not to be logged or counted either.
      {:ok, guards, layers} ->
        %{scope | layers: layers, head: scope.head ++ Enum.map(guards, &{:fixed, &1})}

      {:error, _} ->
        Fault.fail(meta, "the rule has tested for another protocol before")
    end
  end

  defp transport(there, allowed, message, meta) do
    ok? =
      case there do
        {:one_of, protocols} -> Enum.any?(protocols, &(&1 in allowed))
        there -> there in allowed
      end

    unless ok?, do: Fault.fail(meta, message)
  end

  # -- queue -----------------------------------------------------------------------------------------------------------

  defp queue(opts, meta, scope) do
    flags = Enum.filter([:bypass, :fanout], &(&1 in opts[:flags]))
    like = %Term{kind: :const, type: :integer, len: 16, order: :big}

    case opts[:num] && Scope.resolve(scope, opts[:num]) do
      nil ->
        one(Expr.queue(0, flags: flags), scope)

      node ->
        if Operand.load?(node, scope) do
          {term, scope} =
            Operand.operand(node, %{like | order: :host}, %{
              scope
              | expect: %{like | order: :host}
            })

          if :fanout in flags,
            do: Fault.fail(meta, "fanout spreads over a range of queues, not over computed ones")

          bound!(term, meta)

          {[{:fixed, Generate.load(term, 0) ++ [Expr.queue(nil, sreg_qnum: 1, flags: flags)]}],
           scope}
        else
          {first, last} = span(Value.constant(node, like, scope), meta)

          if :fanout in flags and first == last,
            do: Fault.fail(meta, "fanout needs a range of queues")

          one(Expr.queue(first, total: last - first + 1, flags: flags), scope)
        end
    end
  end

  defp span(%Term{kind: :const, data: n}, _meta), do: {n, n}
  defp span(%Term{kind: :range, data: {%Term{data: a}, %Term{data: b}}}, _meta), do: {a, b}
  defp span(_term, meta), do: Fault.fail(meta, "a queue is a number or a range of numbers")

  defp bound!(%Term{kind: :load, data: {_, %{modulus: modulus} = data}}, meta) do
    if Map.get(data, :offset, 0) + modulus > 0x10000,
      do: Fault.fail(meta, "the highest queue is 65535")
  end

  defp bound!(%Term{kind: :order, data: term}, meta), do: bound!(term, meta)
  defp bound!(_term, _meta), do: :ok

  # -- dup and fwd -----------------------------------------------------------------------------------------------------

  @iface %Term{kind: :const, type: :iface_index, len: 32, order: :host}

  defp dup(opts, _meta, %{family: :netdev} = scope) do
    {device, scope} = Operand.operand(opts[:to], @iface, scope)
    {[{:fixed, Generate.load(device, 0) ++ [Expr.dup(sreg_dev: 1)]}], scope}
  end

  defp dup(opts, meta, %{family: family} = scope) when family in [:ip, :ip6] do
    {address, scope} = Operand.operand(opts[:to], address(family), scope)

    case opts[:device] do
      nil ->
        {[{:fixed, Generate.load(address, 0) ++ [Expr.dup(sreg_addr: 1)]}], scope}

      device ->
        {device, scope} = Operand.operand(device, @iface, scope)
        _ = meta
        loads = Generate.load(address, 0) ++ Generate.load(device, 4)
        {[{:fixed, loads ++ [Expr.dup(sreg_addr: 1, sreg_dev: 2)]}], scope}
    end
  end

  defp dup(_opts, meta, _scope), do: Fault.fail(meta, "dup works in ip, ip6 and netdev tables")

  defp fwd(opts, meta, %{family: family} = scope) when family in [:netdev, :inet] do
    {device, scope} =
      Operand.operand(opts[:device] || Fault.fail(meta, "fwd needs a device"), @iface, scope)

    case opts[:family] do
      nil ->
        {[{:fixed, Generate.load(device, 0) ++ [Expr.fwd(sreg_dev: 1)]}], scope}

      network ->
        {address, scope} = Operand.operand(opts[:to], address(network), scope)
        loads = Generate.load(device, 0) ++ Generate.load(address, 4)
        {[{:fixed, loads ++ [Expr.fwd(sreg_dev: 1, sreg_addr: 2, nfproto: network)]}], scope}
    end
  end

  defp fwd(_opts, meta, _scope), do: Fault.fail(meta, "fwd works in netdev tables")

  @doc false
  def address(:ip), do: %Term{kind: :const, type: :ipv4_addr, len: 32, order: :big}
  def address(:ip6), do: %Term{kind: :const, type: :ipv6_addr, len: 128, order: :big}
end
