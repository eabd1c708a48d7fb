defmodule Linx.NFT.Formatter.Statement do
  @moduledoc false
  # Statements that need no register: verdicts, counters, limits, logging, rejection, queueing.

  alias Linx.Netfilter.{Datatype, Expr, Verdict}
  alias Linx.NFT.Formatter.{Load, Text}

  @doc "The statement's text; `:error` for one that is not of this kind."
  @spec text(Expr.t()) :: {:ok, iodata()} | :error
  def text(%Expr{name: :immediate, data: %Verdict{} = verdict}), do: {:ok, verdict(verdict)}

  def text(%Expr{name: :immediate, data: %{value: %Verdict{} = verdict}}),
    do: {:ok, verdict(verdict)}

  def text(%Expr{name: :immediate, data: %{data: %Verdict{} = verdict}}),
    do: {:ok, verdict(verdict)}

  def text(%Expr{name: :notrack}), do: {:ok, "notrack"}

  def text(%Expr{name: :flow_offload, data: %{table_name: name}}),
    do: {:ok, ["flow add @", Text.name(name)]}

  def text(%Expr{name: :exthdr, data: %{op: :tcpopt, type: type} = data})
      when not is_map_key(data, :dreg) and not is_map_key(data, :sreg) do
    with {:ok, words} <- Load.presence(:tcpopt, type), do: {:ok, ["reset ", words]}
  end

  def text(_expr), do: :error

  @spec verdict(Verdict.t()) :: iodata()
  def verdict(%Verdict{kind: kind, target: target}) when kind in [:jump, :goto],
    do: [Atom.to_string(kind), " ", Text.name(target)]

  def verdict(%Verdict{kind: :queue, target: num}), do: ["queue to ", Integer.to_string(num || 0)]
  def verdict(%Verdict{kind: kind}), do: Atom.to_string(kind)

  @doc "`reject`, with the answer spelled out where it is not the family's default."
  @spec reject(map(), atom()) :: iodata()
  def reject(data, family) do
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
