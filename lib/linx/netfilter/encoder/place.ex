defmodule Linx.Netfilter.Encoder.Place do
  @moduledoc false
  # Where in a ruleset a message comes from, for the errors of values that have no form on the
  # wire.

  @doc """
  What `fun` gives. A value that the validators let pass and that has no form on the wire is
  thrown as `{:unencodable, at, text}`.
  """
  @spec at(keyword(), (-> result)) :: result when result: var
  def at(at, fun) do
    fun.()
  rescue
    error in [ArgumentError, KeyError, FunctionClauseError, Protocol.UndefinedError] ->
      unencodable!(at, error)
  end

  @doc "Throws what such an exception says."
  @spec unencodable!(keyword(), Exception.t()) :: no_return()
  def unencodable!(at, error), do: throw({:unencodable, at, text(error)})

  # Which function of ours it came to is nothing to the caller.
  defp text(%KeyError{key: key}), do: "there is no #{inspect(key)}"
  defp text(%Protocol.UndefinedError{value: value}), do: "#{inspect(value)} is of the wrong form"
  defp text(%FunctionClauseError{}), do: "a value is of the wrong form"
  defp text(error), do: Exception.message(error)

  @doc "What push answers for it."
  @spec unencodable(keyword(), String.t()) :: Linx.Netfilter.Encoder.unencodable()
  def unencodable(at, text) do
    kind =
      cond do
        Enum.any?([:rule, :tag, :handle], &Keyword.has_key?(at, &1)) -> :bad_rule
        at[:elements] -> :bad_set_element
        at[:set] -> :bad_set
        at[:object] -> :bad_object
        at[:flowtable] -> :bad_flowtable
        at[:chain] -> :bad_chain
        true -> :bad_table
      end

    {kind, {at, text}}
  end
end
