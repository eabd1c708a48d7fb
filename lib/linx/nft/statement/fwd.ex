defmodule Linx.NFT.Statement.Fwd do
  @moduledoc false
  # `fwd to DEVICE`, or `fwd ip to ADDRESS device DEVICE`.
  #
  # Source: nft(8), "FWD STATEMENT"; net/netfilter/nft_fwd_netdev.c.

  @behaviour Linx.NFT.Statement

  import Linx.NFT.Parser.Tokens, only: [known: 1, word: 2]

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler
  alias Linx.NFT.Compiler.{Fault, Generate, Operand}
  alias Linx.NFT.Formatter.Term
  alias Linx.NFT.Parser.Expression
  alias Linx.NFT.Statement.{Dup, Target}

  @iface %Compiler.Term{kind: :const, type: :iface_index, len: 32, order: :host}
  @device %Term{text: nil, type: :iface_index, size: 4, order: :host}

  @impl true
  def parse([{:identifier, "fwd", meta}, {:identifier, family, _} | rest])
      when family in ["ip", "ip6"] do
    {to, rest} = rest |> word("to") |> Expression.operand()
    {device, rest} = Dup.device(rest)
    {{:fwd, [family: known(family), to: to, device: device], meta}, rest}
  end

  def parse([{:identifier, "fwd", meta} | rest]) do
    {to, rest} = rest |> word("to") |> Expression.operand()
    {{:fwd, [device: to], meta}, rest}
  end

  @impl true
  def compile({:fwd, opts, meta}, scope), do: fwd(opts, meta, scope)

  defp fwd(opts, meta, %{family: family} = scope) when family in [:netdev, :inet] do
    {device, scope} =
      Operand.operand(opts[:device] || Fault.fail(meta, "fwd needs a device"), @iface, scope)

    case opts[:family] do
      nil ->
        {[{:fixed, Generate.load(device, 0) ++ [Expr.fwd(sreg_dev: 1)]}], scope}

      network ->
        {address, scope} = Operand.operand(opts[:to], Target.address_term(network), scope)
        loads = Generate.load(device, 0) ++ Generate.load(address, 4)
        {[{:fixed, loads ++ [Expr.fwd(sreg_dev: 1, sreg_addr: 2, nfproto: network)]}], scope}
    end
  end

  defp fwd(_opts, meta, _scope), do: Fault.fail(meta, "fwd works in netdev tables")

  @impl true
  def text(%Expr{data: data}, context) do
    with {:ok, device} <- Target.in_register(context, data[:sreg_dev], @device),
         {:ok, address} <-
           Target.in_register(context, data[:sreg_addr], Target.address(data[:nfproto])) do
      if address == "" do
        {:ok, ["fwd to ", device]}
      else
        family = Atom.to_string(data[:nfproto] || :ip)
        {:ok, ["fwd ", family, " to ", address, " device ", device]}
      end
    end
  end
end
