defmodule Linx.NFT.Compiler.Typeof do
  @moduledoc false
  # What nft remembers of the expression that a set was made for (`typeof ip saddr`, or the left side of `ip saddr { ... }`): it is
  # kept in the set's userdata, so that a listing can name it and knows the sizes of numbers.

  alias Linx.Netfilter.{Expr, Typeof}
  alias Linx.NFT.Compiler.Term

  @doc false
  # %{key: bytes, data: bytes} as far as there is a record, or nil.
  @spec record(Term.t(), Term.t() | term()) :: %{optional(:key | :data) => binary()} | nil
  def record(key, data)

  # A named map says of its verdicts that they are some.
  def record(key, {:named, :verdict}),
    do: key |> record(nil) |> then(&(&1 && Map.put(&1, :data, Typeof.verdict())))

  def record(key, {:named, data}), do: record(key, data)

  def record(key, data) do
    found =
      for {which, term} <- [key: key, data: data],
          bytes = bytes(term),
          into: %{},
          do: {which, bytes}

    if found == %{}, do: nil, else: found
  end

  defp bytes(%Term{} = term) do
    with [%Expr{} | _] = exprs <- sources(term),
         {:ok, bytes} <- Typeof.encode(exprs),
         do: bytes,
         else: (_ -> nil)
  end

  defp bytes(_other), do: nil

  defp sources(%Term{kind: :concat, data: parts}) do
    sources = Enum.map(parts, & &1.source)
    if Enum.all?(sources, & &1), do: sources
  end

  defp sources(%Term{kind: kind}) when kind in [:bits, :map], do: nil
  defp sources(%Term{source: nil}), do: nil
  defp sources(%Term{source: source}), do: [source]
end
