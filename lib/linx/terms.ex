defmodule Linx.Terms do
  @moduledoc false
  # Checks of terms that callers give.

  @doc "Whether `Enum` takes a term: no improper list, and no function but that of a reducer."
  @spec enumerable?(term()) :: boolean()
  def enumerable?(term) when is_list(term), do: not List.improper?(term)
  def enumerable?(term) when is_function(term), do: is_function(term, 2)
  def enumerable?(term), do: Enumerable.impl_for(term) != nil
end
