defmodule Linx.NFT.Statement.Dup do
  @moduledoc false
  # `dup to ADDRESS [device DEVICE]` in ip and ip6 tables, `dup to DEVICE` in netdev tables.
  #
  # Source: nft(8), "DUP STATEMENT"; net/ipv4/netfilter/nft_dup_ipv4.c,
  # net/netfilter/nft_dup_netdev.c.

  @behaviour Linx.NFT.Statement

  import Linx.NFT.Parser.Tokens, only: [word: 2]

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler
  alias Linx.NFT.Compiler.{Fault, Generate, Operand}
  alias Linx.NFT.Formatter.Term
  alias Linx.NFT.Parser.Expression
  alias Linx.NFT.Statement.Target

  @iface %Compiler.Term{kind: :const, type: :iface_index, len: 32, order: :host}
  @device %Term{text: nil, type: :iface_index, size: 4, order: :host}

  @impl true
  def parse([{:identifier, "dup", meta} | rest]) do
    {to, rest} = rest |> word("to") |> Expression.operand()
    {device, rest} = device(rest)
    {{:dup, [to: to, device: device], meta}, rest}
  end

  @doc "`device DEVICE`, nil where not given."
  @spec device([tuple()]) :: {tuple() | nil, [tuple()]}
  def device([{:identifier, "device", _} | rest]), do: Expression.operand(rest)
  def device(rest), do: {nil, rest}

  @impl true
  def compile({:dup, opts, meta}, scope), do: dup(opts, meta, scope)

  defp dup(opts, _meta, %{family: :netdev} = scope) do
    {device, scope} = Operand.operand(opts[:to], @iface, scope)
    {[{:fixed, Generate.load(device, 0) ++ [Expr.dup(sreg_dev: 1)]}], scope}
  end

  defp dup(opts, _meta, %{family: family} = scope) when family in [:ip, :ip6] do
    {address, scope} = Operand.operand(opts[:to], Target.address_term(family), scope)

    case opts[:device] do
      nil ->
        {[{:fixed, Generate.load(address, 0) ++ [Expr.dup(sreg_addr: 1)]}], scope}

      device ->
        {device, scope} = Operand.operand(device, @iface, scope)
        loads = Generate.load(address, 0) ++ Generate.load(device, 4)
        {[{:fixed, loads ++ [Expr.dup(sreg_addr: 1, sreg_dev: 2)]}], scope}
    end
  end

  defp dup(_opts, meta, _scope), do: Fault.fail(meta, "dup works in ip, ip6 and netdev tables")

  @impl true
  def text(%Expr{data: data}, context) do
    family = if context.family == :ip6, do: :ip6, else: :ip

    with {:ok, address} <- Target.in_register(context, data[:sreg_addr], Target.address(family)),
         {:ok, device} <- Target.in_register(context, data[:sreg_dev], @device) do
      case {address, device} do
        {"", device} -> {:ok, ["dup to ", device]}
        {address, ""} -> {:ok, ["dup to ", address]}
        {address, device} -> {:ok, ["dup to ", address, " device ", device]}
      end
    end
  end
end
