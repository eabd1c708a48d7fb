defmodule Linx.Netfilter.Expr.Literal do
  @moduledoc false
  # The data of an anonymous set or map in a rule.

  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Netfilter.Set

  @doc "The data of an `:__anon_set` expression, but for the options that only it knows."
  @spec data([term()], atom() | tuple(), keyword()) :: map()
  def data(values, key_type, opts) do
    given = Keyword.get(opts, :flags, [])
    constant = if :dynamic in given, do: [], else: [:constant]
    flags = Enum.uniq([:anonymous | constant] ++ given)
    elements = elements(values, key_type, opts[:data_type])
    data = %{elements: elements, key_type: key_type, flags: flags, sreg: 1}

    case Keyword.get(opts, :data_type) do
      nil -> data
      :verdict -> Map.put(data, :dreg, 0)
      {:object, _kind} -> data
      _type -> Map.put(data, :dreg, 1)
    end
  end

  # In their one form, as a named set has them; what does not fit is reported when the rule is
  # encoded.
  defp elements(values, key_type, nil) do
    case Set.new("literal", key_type: key_type, flags: [:anonymous], elements: values) do
      {:ok, set} -> set.elements
      {:error, _} -> values
    end
  end

  defp elements(values, key_type, data_type) do
    opts = [key_type: key_type, data_type: data_type, flags: [:anonymous], elements: values]

    case NMap.new("literal", opts) do
      {:ok, map} -> map.elements
      {:error, _} -> values
    end
  end
end
