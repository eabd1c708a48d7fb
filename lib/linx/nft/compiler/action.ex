defmodule Linx.NFT.Compiler.Action do
  @moduledoc false
  # Statements that act on the packet: reject, dup, fwd, notrack, flow offload, reset.

  alias Linx.Netfilter.Expr
  alias Linx.Netfilter.Guard.Layers
  alias Linx.NFT.Compiler.{Fault, Generate, Operand, Term, Value}

  @doc false
  def action({:notrack, _meta}, scope), do: one(Expr.notrack(), scope)

  def action({:flow_offload, name, _meta}, scope),
    do: one(Expr.flow_offload(Value.text_of(name, scope)), scope)

  def action({:reset, option, _meta}, scope),
    do: one(Expr.new(:exthdr, %{op: :tcpopt, type: option}), scope)

  def action({:reject, opts, meta}, scope), do: reject(opts, meta, scope)

  def action({:dup, opts, meta}, scope), do: dup(opts, meta, scope)
  def action({:fwd, opts, meta}, scope), do: fwd(opts, meta, scope)
  def action(node, _scope), do: Fault.fail(node, "this statement is not supported")

  defp one(expr, scope), do: {[{:fixed, [expr]}], scope}

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
