defimpl Inspect, for: Linx.Netfilter.Expr do
  alias Linx.Netfilter.Verdict

  def inspect(%{name: :immediate, data: data}, _opts),
    do: "#Linx.Netfilter.Expr<immediate#{value(data)}>"

  def inspect(%{name: name}, _opts), do: "#Linx.Netfilter.Expr<#{name}>"

  defp value(%Verdict{kind: kind, target: nil}), do: " #{kind}"

  defp value(%Verdict{kind: kind, target: rules}) when is_list(rules),
    do: " #{kind} { #{Enum.map_join(rules, "; ", &Kernel.inspect/1)} }"

  defp value(%Verdict{kind: kind, target: target}), do: " #{kind} #{Kernel.inspect(target)}"
  defp value(%{data: %Verdict{} = verdict}), do: value(verdict)
  defp value(%{value: %Verdict{} = verdict}), do: value(verdict)
  defp value(_constant), do: ""
end
