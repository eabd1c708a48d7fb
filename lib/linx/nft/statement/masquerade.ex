defmodule Linx.NFT.Statement.Masquerade do
  @moduledoc false
  # `masquerade` and `redirect`: `[to :PORT] [random,fully-random,persistent]`. The colon of a
  # redirect may be left out.
  #
  # Source: nft(8), "NAT STATEMENTS"; net/netfilter/nft_masq.c, nft_redir.c.

  @behaviour Linx.NFT.Statement

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.Fault
  alias Linx.NFT.Formatter.Context
  alias Linx.NFT.Parser.Expression
  alias Linx.NFT.Statement.{Nat, Target}

  @impl true
  def parse([{:identifier, word, meta} | rest]) when word in ["masquerade", "redirect"] do
    kind = if word == "masquerade", do: :masquerade, else: :redirect
    {port, rest} = port(rest)
    {flags, rest} = Nat.flags(rest)
    {{:nat, kind, [addr: nil, port: port], [flags: flags], meta}, rest}
  end

  defp port([{:identifier, "to", _}, {:colon, _} | rest]), do: Expression.operand(rest)
  defp port([{:identifier, "to", _} | rest]), do: Expression.operand(rest)
  defp port(rest), do: {nil, rest}

  @impl true
  def compile({:nat, kind, target, opts, meta}, scope) do
    unless scope.family in [:ip, :ip6, :inet],
      do: Fault.fail(meta, "#{kind} works in ip, ip6 and inet tables")

    name = if kind == :masquerade, do: :masq, else: :redir
    {loads, registers, _word, scope} = Target.port(target[:port], 0, meta, scope)
    expr = Expr.new(name, registers |> Map.new() |> Nat.put_flags(opts[:flags]))
    {[{:fixed, loads ++ [expr]}], scope}
  end

  @impl true
  def text(%Expr{name: name, data: data}, context) do
    data = data || %{}
    word = if name == :masq, do: "masquerade", else: "redirect"

    with {:ok, port} <- Target.written_port(data, context) do
      target = if port == "", do: "", else: [" to ", port]
      {:ok, [Context.transport(context, port), word, target, Nat.written_flags(data)]}
    end
  end
end
