defmodule Linx.NFT.Formatter.Statement do
  @moduledoc false
  # Statements that need no register: verdicts, counters, limits, logging, rejection, queueing.

  alias Linx.Netfilter.{Datatype, Expr, Verdict}
  alias Linx.NFT.Formatter.{Load, Text}

  @objects %{
    counter: "counter name ",
    quota: "quota name ",
    limit: "limit name ",
    synproxy: "synproxy name ",
    connlimit: "ct count name ",
    ct_helper: "ct helper set ",
    ct_timeout: "ct timeout set ",
    ct_expectation: "ct expectation set ",
    secmark: "meta secmark set ",
    tunnel: "tunnel name "
  }

  @units [{"mbytes", 1024 * 1024}, {"kbytes", 1024}, {"bytes", 1}]

  @doc "The statement's text; `:error` for one that is not of this kind."
  @spec text(Expr.t()) :: {:ok, iodata()} | :error
  def text(%Expr{name: :immediate, data: %Verdict{} = verdict}), do: {:ok, verdict(verdict)}

  def text(%Expr{name: :immediate, data: %{value: %Verdict{} = verdict}}),
    do: {:ok, verdict(verdict)}

  def text(%Expr{name: :immediate, data: %{data: %Verdict{} = verdict}}),
    do: {:ok, verdict(verdict)}

  def text(%Expr{name: :notrack}), do: {:ok, "notrack"}
  def text(%Expr{name: :last}), do: {:ok, "last"}
  def text(%Expr{name: :counter, data: data}), do: {:ok, counter(data)}
  def text(%Expr{name: :limit, data: %{} = data}), do: {:ok, ["limit ", limit(data)]}
  def text(%Expr{name: :quota, data: %{} = data}), do: {:ok, ["quota ", quota(data)]}

  def text(%Expr{name: :connlimit, data: %{count: count} = data}),
    do: {:ok, ["ct count ", over(data), Integer.to_string(count)]}

  def text(%Expr{name: :flow_offload, data: %{table_name: name}}),
    do: {:ok, ["flow add @", Text.name(name)]}

  def text(%Expr{name: :objref, data: %{imm_type: kind, imm_name: name}}) do
    with {:ok, words} <- object(kind), do: {:ok, [words, Text.quoted(name)]}
  end

  def text(%Expr{name: :exthdr, data: %{op: :tcpopt, type: type} = data})
      when not is_map_key(data, :dreg) and not is_map_key(data, :sreg) do
    with {:ok, words} <- Load.presence(:tcpopt, type), do: {:ok, ["reset ", words]}
  end

  def text(_expr), do: :error

  @doc "The words before an object's name, or before the map that gives it."
  @spec object(atom()) :: {:ok, iodata()} | :error
  def object(kind), do: Map.fetch(@objects, kind)

  @spec verdict(Verdict.t()) :: iodata()
  def verdict(%Verdict{kind: kind, target: target}) when kind in [:jump, :goto],
    do: [Atom.to_string(kind), " ", Text.name(target)]

  def verdict(%Verdict{kind: :queue, target: num}), do: ["queue to ", Integer.to_string(num || 0)]
  def verdict(%Verdict{kind: kind}), do: Atom.to_string(kind)

  @spec counter(map() | nil) :: iodata()
  defp counter(%{} = data) do
    case {data[:packets] || 0, data[:bytes] || 0} do
      {0, 0} ->
        "counter"

      {packets, bytes} ->
        ["counter packets ", Integer.to_string(packets), " bytes ", Integer.to_string(bytes)]
    end
  end

  defp counter(_), do: "counter"

  @doc "`rate over 10/second burst 5 packets`"
  @spec limit(map()) :: iodata()
  def limit(%{rate: rate} = data) do
    unit = Atom.to_string(data[:unit] || :second)

    case data[:type] || :packets do
      :bytes ->
        burst = if data[:burst] in [nil, 0], do: "", else: [" burst ", amount(data.burst)]
        ["rate ", over(data), amount(rate), "/", unit, burst]

      _ ->
        [
          "rate ",
          over(data),
          Integer.to_string(rate),
          "/",
          unit,
          " burst ",
          Integer.to_string(data[:burst] || 5),
          " packets"
        ]
    end
  end

  @doc "`over 25 mbytes used 10 bytes`"
  @spec quota(map()) :: iodata()
  def quota(data) do
    used = data[:consumed] || data[:used] || 0
    used = if used == 0, do: "", else: [" used ", amount(used)]
    [over(data), amount(data[:bytes] || 0), used]
  end

  defp over(data), do: if(:inv in List.wrap(data[:flags]), do: "over ", else: "")

  # Bytes in the largest unit that divides them.
  @spec amount(non_neg_integer()) :: iodata()
  defp amount(bytes) do
    {unit, size} =
      Enum.find(@units, fn {_, size} -> rem(bytes, size) == 0 and (bytes > 0 or size == 1) end)

    [Integer.to_string(div(bytes, size)), " ", unit]
  end

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
