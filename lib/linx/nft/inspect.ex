defimpl Inspect,
  for: [
    Linx.Netfilter.Ruleset,
    Linx.Netfilter.Table,
    Linx.Netfilter.Chain,
    Linx.Netfilter.Set,
    Linx.Netfilter.Map
  ] do
  # The nft text says more in less than the fields; `inspect(value, structs: false)` shows those.
  import Inspect.Algebra

  alias Linx.NFT.Formatter.Preview

  def inspect(value, opts) do
    case Preview.lines(value, opts.limit) do
      [] ->
        "##{Kernel.inspect(@for)}<>"

      lines ->
        concat(["##{Kernel.inspect(@for)}<", nested(lines), line(), ">"])
    end
  rescue
    # A value may hold anything, and what has no text shows its fields.
    _ -> Inspect.Any.inspect(value, opts)
  end

  defp nested(lines), do: for(text <- lines, do: concat(line(), text)) |> concat()
end

defimpl Inspect, for: Linx.Netfilter.Rule do
  alias Linx.Netfilter.{Expr, Verdict}
  alias Linx.NFT.Formatter.Preview

  def inspect(rule, opts) do
    tag = if rule.tag, do: Kernel.inspect(rule.tag) <> " ", else: ""
    "#Linx.Netfilter.Rule<#{tag}[#{body(rule, opts.limit)}]>"
  end

  # A verdict alone shows as the expression that it is.
  defp body(%{expressions: [%Expr{name: :immediate, data: %Verdict{}}] = exprs}, _limit),
    do: names(exprs)

  defp body(rule, limit) do
    case Preview.rule(rule, limit) do
      {:ok, text} -> text
      :error -> names(rule.expressions)
    end
  end

  defp names(exprs), do: Enum.map_join(exprs, ", ", &text/1)

  defp text(expr) do
    expr
    |> Kernel.inspect()
    |> String.replace_prefix("#Linx.Netfilter.Expr<", "")
    |> String.replace_suffix(">", "")
  end
end
