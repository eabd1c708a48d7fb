defmodule Linx.NFT.Statement.Reject do
  @moduledoc false
  # `reject [with icmp|icmpv6|icmpx [type] CODE | with tcp reset]`
  #
  # Source: nft(8), "REJECT STATEMENT"; net/netfilter/nft_reject.c.

  @behaviour Linx.NFT.Statement

  import Linx.NFT.Parser.Tokens, only: [known: 1, optional: 2, unexpected: 3, word: 2]

  alias Linx.Netfilter.{Datatype, Expr}
  alias Linx.Netfilter.Dependencies.ProtocolContext
  alias Linx.NFT.Compiler.{Fault, Term, Value}
  alias Linx.NFT.Parser.Expression

  # -- parser ------------------------------------------------------------------------------------

  @impl true
  def parse([{:identifier, "reject", meta} | rest]), do: reject(rest, meta)

  defp reject([{:identifier, "with", _}, {:identifier, "tcp", _} | rest], meta),
    do: {{:reject, [type: :tcp_reset], meta}, word(rest, "reset")}

  defp reject([{:identifier, "with", _}, {:identifier, kind, _} | rest], meta)
       when kind in ["icmp", "icmpv6", "icmpx"] do
    {_, rest} = optional(rest, "type")
    {code, rest} = Expression.single(rest)
    {{:reject, [type: known(kind), code: code], meta}, rest}
  end

  defp reject([{:identifier, "with", _} | rest], _meta),
    do: unexpected(rest, "icmp, icmpv6, icmpx or tcp reset", ~w(icmp icmpv6 icmpx tcp))

  defp reject(rest, meta), do: {{:reject, [], meta}, rest}

  # -- compiler ----------------------------------------------------------------------------------

  @impl true
  def compile({:reject, opts, meta}, scope), do: reject(opts, meta, scope)

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
      if scope.layers.transport == nil, do: depend(scope, :tcp, :transport, meta), else: scope

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

    # The dependency is nft's special one, by Ethernet type in a bridge.
    scope = depend(scope, network, if(network == :ip, do: :ipv4, else: :ipv6), meta)
    one(Expr.reject(:icmp_unreach, icmp_code: code(code, datatype, scope)), scope)
  end

  defp code(node, type, scope),
    do: Value.constant(node, %Term{kind: :const, type: type, len: 8, order: :big}, scope).data

  defp network(%{layers: %{network: network}}) when network in [:ip, :ip6, nil], do: network
  defp network(_scope), do: :other

  defp depend(scope, protocol, base, meta) do
    case ProtocolContext.require(scope.layers, protocol, base) do
      # nft puts it before the whole rule: what is not refused is not to be logged or counted
      # either.
      {:ok, dependencies, layers} ->
        %{scope | layers: layers, head: scope.head ++ Enum.map(dependencies, &{:fixed, &1})}

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

  defp one(expr, scope), do: {[{:fixed, [expr]}], scope}

  # -- formatter ---------------------------------------------------------------------------------

  @impl true
  def text(%Expr{data: data}, context) do
    data = data || %{}
    {:ok, written(data, family(data, context))}
  end

  # In a table of several families an ICMP answer names the one it is for.
  defp family(%{type: :icmpx_unreach}, context), do: context.family
  defp family(_data, %{family: family}) when family in [:ip, :ip6], do: family
  defp family(_data, %{network: :ip6}), do: :ip6_named
  defp family(_data, _context), do: :named

  defp written(data, family) do
    code = data[:icmp_code]

    case {data[:type] || :icmp_unreach, family} do
      {:tcp_reset, _} ->
        "reject with tcp reset"

      {:icmp_unreach, :ip} when code in [nil, 3] ->
        "reject"

      {:icmp_unreach, :ip6} when code in [nil, 4] ->
        "reject"

      {:icmpx_unreach, family} when family in [:inet, :bridge, :netdev] and code in [nil, 1] ->
        "reject"

      {:icmp_unreach, :ip6_named} ->
        ["reject with icmpv6 ", symbol(:icmpv6_code, code || 4)]

      {:icmp_unreach, :ip6} ->
        ["reject with icmpv6 ", symbol(:icmpv6_code, code || 4)]

      {:icmp_unreach, _} ->
        ["reject with icmp ", symbol(:icmp_code, code || 3)]

      {:icmpx_unreach, _} ->
        ["reject with icmpx ", symbol(:icmpx_code, code || 1)]
    end
  end

  defp symbol(type, code), do: Datatype.symbol(type, code) || Integer.to_string(code)
end
