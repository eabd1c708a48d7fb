defmodule Linx.NFT.Compiler.Later do
  @moduledoc false
  # Elements that are still text, in the place of a set's elements: what Linx.NFT.Stream gives
  # piece by piece.

  alias Linx.Netfilter.{Element, Set}
  alias Linx.NFT.Compiler.{Fault, Scope, Term}

  @enforce_keys [:text, :key, :data, :scope]
  defstruct [:text, :key, :data, :scope]

  @type t :: %__MODULE__{text: binary(), key: Term.t(), data: term(), scope: Scope.t()}

  @doc """
  The elements of a declaration as one of these, if they are one text whose set may be filled
  piece by piece; else nil.
  """
  @spec new([term()], Term.t(), term(), [atom()]) :: t() | nil
  def new([{node, %Scope{lazy?: true} = scope}], key, data, flags) do
    with false <- :constant in flags or :auto_merge in flags or indexed?(key) or indexed?(data),
         {:element_text, text, _meta} <- text(node, scope) do
      %__MODULE__{text: text, key: key, data: data, scope: scope}
    else
      _ -> nil
    end
  end

  def new(_elements, _key, _data, _flags), do: nil

  # The name of an interface is looked up in values only.
  defp indexed?(%Term{kind: :concat, data: parts}), do: Enum.any?(parts, &indexed?/1)
  defp indexed?(%Term{type: type}), do: type == :iface_index
  defp indexed?(_other), do: false

  defp text({:element_text, _, _} = node, _scope), do: node
  defp text({:variable, _, _} = node, scope), do: Scope.value(scope, node)
  defp text(_node, _scope), do: nil

  @doc """
  Throws unless the set's flags allow these elements, as they are checked for a set that is a
  value.
  """
  @spec check!(Set.t() | Linx.Netfilter.Map.t(), [term()], map()) :: :ok
  def check!(set, elements, state) do
    if state.interval? and :interval not in set.flags, do: fault("ranges")

    if :timeout not in set.flags and Enum.any?(elements, &timed?/1), do: fault("timeouts")
    :ok
  end

  defp timed?(%Element{timeout: timeout}), do: timeout != nil
  defp timed?(_element), do: false

  defp fault(what), do: Fault.fail(%{line: 1, column: 1}, "no flag for #{what}")
end
