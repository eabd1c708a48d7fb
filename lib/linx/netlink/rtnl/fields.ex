defmodule Linx.Netlink.Rtnl.Fields do
  @moduledoc false
  # An option whose name is a field of a codec, and whose value is what that field holds.

  @doc """
  The struct with the field, or `:error` where the codec has no such field or cannot hold the
  value.
  """
  @spec put(struct(), atom(), term()) :: {:ok, struct()} | :error
  def put(%module{} = struct, key, value) do
    if value != nil and Enum.any?(module.__codec__().attrs, &(elem(&1, 1) == key)) do
      changed = Map.replace!(struct, key, value)
      # Encoding is what knows the types' ranges.
      module.encode(struct(module, [{key, value}]))
      {:ok, changed}
    else
      :error
    end
  rescue
    _ in [ArgumentError, FunctionClauseError, KeyError] -> :error
  end
end
