defmodule Linx.NFT.Statement.Quota do
  @moduledoc false
  # `quota [over|until] N UNIT [used N UNIT]`. A quota object has the same words.
  #
  # Source: nft(8), "QUOTA STATEMENT"; net/netfilter/nft_quota.c.

  @behaviour Linx.NFT.Statement

  alias Linx.Netfilter.Expr
  alias Linx.NFT.Compiler.Value
  alias Linx.NFT.Statement.Amount

  @impl true
  def parse([{:identifier, "quota", meta} | rest]) do
    {opts, rest} = amount(rest)
    {{:quota, opts, meta}, rest}
  end

  @doc "Parses the amount behind the word `quota`: `{options, rest}`."
  @spec amount([tuple()]) :: {keyword(), [tuple()]}
  def amount(tokens) do
    {over, rest} = Amount.over(tokens)
    {bytes, rest} = Amount.bytes(rest)

    case rest do
      [{:identifier, "used", _} | rest] ->
        {used, rest} = Amount.bytes(rest)
        {[bytes: bytes, over: over, used: used], rest}

      rest ->
        {[bytes: bytes, over: over], rest}
    end
  end

  @impl true
  def compile({:quota, opts, meta}, scope) do
    quota =
      Expr.quota(Value.count_of(opts[:bytes], meta, scope),
        consumed: Value.count_of(opts[:used] || 0, meta, scope),
        flags: if(opts[:over], do: [:inv], else: [])
      )

    {[{:fixed, [quota]}], scope}
  end

  @impl true
  def text(%Expr{data: %{} = data}, _context), do: {:ok, ["quota ", written(data)]}
  def text(_expr, _context), do: :error

  @doc "`over 25 mbytes used 10 bytes`"
  @spec written(map()) :: iodata()
  def written(data) do
    used = data[:consumed] || data[:used] || 0
    used = if used == 0, do: "", else: [" used ", Amount.text(used)]
    [Amount.over_text(data), Amount.text(data[:bytes] || 0), used]
  end
end
