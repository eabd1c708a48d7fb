defmodule Linx.NFT.Formatter.Typeof do
  @moduledoc false
  # Sets declared by an expression instead of a type name.

  alias Linx.Netfilter.Typeof
  alias Linx.NFT.Expr.Kinds
  alias Linx.NFT.Formatter.{Lookup, Match, Term}

  @doc """
  The expression that a set's key or data was declared by, nil when it was declared by type.
  """
  @spec text(struct(), :key | :data) :: iodata() | nil
  def text(set, which) do
    case terms(set, which) do
      nil -> nil
      terms -> terms |> Enum.map(&Match.text/1) |> Enum.intersperse(" . ")
    end
  end

  @doc "What the expression says about numbers of open size."
  @spec term(struct(), :key | :data) :: Term.t() | nil
  def term(set, which) do
    case terms(set, which) do
      [term] -> term
      [_ | _] = terms -> Lookup.concat(terms, {:concat, Enum.map(terms, & &1.type)})
      nil -> nil
    end
  end

  defp terms(%{typeof: %{} = typeof}, which) do
    with bytes when is_binary(bytes) <- typeof[which],
         {:ok, exprs} <- Typeof.decode(bytes),
         terms = for(expr <- exprs, do: Kinds.term(expr, nil)),
         true <- Enum.all?(terms, &match?({:ok, _}, &1)) do
      for {:ok, term} <- terms, do: whole(term)
    else
      _ -> nil
    end
  end

  defp terms(_set, _which), do: nil

  # A field that is no whole bytes stands for itself here: nothing cuts it out of what surrounds
  # it.
  defp whole(%Term{mask: {_bits, _shift, whole}}), do: whole
  defp whole(term), do: term
end
