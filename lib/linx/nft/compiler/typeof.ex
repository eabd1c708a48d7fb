defmodule Linx.NFT.Compiler.Typeof do
  @moduledoc false
  # nft's record of the expression that a set was made for (`typeof ip saddr`, or the left side of
  # `ip saddr { ... }`). The set's userdata holds it, so that a listing can name the expression
  # and knows the sizes of numbers.

  alias Linx.Netfilter.{Expr, Typeof}
  alias Linx.NFT.Compiler.{MapTerm, Term}

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

  @doc false
  # nft keeps the left side of `ip saddr { ... }` as it is, but of the key of a map or vmap in
  # braces the type alone, unless it is a concatenation; and nothing of what an operation has made
  # of a field, as intervals do in the parts of a set. That the values of a vmap are verdicts it
  # writes always: nft 1.0 asks for both halves of a map's record, and has no size for the numbers
  # in a key without.
  @spec anonymous(Term.t(), Term.t() | term(), boolean()) ::
          %{optional(:key | :data) => binary()} | nil
  def anonymous(key, data, interval?) do
    key = key_bytes(key, data, interval?)
    data = if data == :verdict, do: Typeof.verdict()

    found =
      for {which, bytes} when bytes != nil <- [key: key, data: data],
          into: %{},
          do: {which, bytes}

    if found == %{}, do: nil, else: found
  end

  defp key_bytes(%Term{kind: :concat} = key, nil, interval?),
    do: stand_in_bytes(MapTerm.ordered(key, interval?))

  defp key_bytes(%Term{kind: :concat} = key, _data, _interval?), do: stand_in_bytes(key)
  defp key_bytes(%Term{kind: :part}, nil, _interval?), do: nil
  defp key_bytes(key, nil, _interval?), do: stand_in_bytes(key)
  defp key_bytes(_key, _data, _interval?), do: nil

  defp bytes(%Term{} = term), do: term |> sources() |> encoded()
  defp bytes(_other), do: nil

  defp stand_in_bytes(%Term{} = term) do
    case sources(term) do
      [_ | _] = exprs -> exprs |> Enum.map(&Typeof.stand_in/1) |> encoded()
      nil -> nil
    end
  end

  defp encoded([%Expr{} | _] = exprs) do
    case Typeof.encode(exprs) do
      {:ok, bytes} -> bytes
      :error -> nil
    end
  end

  defp encoded(_none), do: nil

  defp sources(%Term{kind: :concat, data: parts}) do
    sources = Enum.flat_map(parts, &List.wrap(part(&1)))
    if length(sources) == length(parts), do: sources
  end

  defp sources(%Term{kind: kind}) when kind in [:bits, :bool, :map, :order], do: nil
  defp sources(%Term{source: nil}), do: nil
  defp sources(%Term{source: source}), do: [source]

  # nft records the operand of an arithmetic operation in a concatenation, as the width is the
  # same.
  defp part(%Term{kind: :bits, data: {_operation, %Term{} = inner, _operand}}), do: part(inner)
  defp part(term), do: sources(term)
end
