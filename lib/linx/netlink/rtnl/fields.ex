defmodule Linx.Netlink.Rtnl.Fields do
  @moduledoc false
  # Options by their names: those that a verb takes, and those that are fields of a codec.

  @doc "Whether all options are of these names."
  @spec only(term(), [atom()]) :: :ok | {:error, {:bad_option, term()}}
  def only(opts, names) when is_list(opts) do
    case Enum.find(opts, &(not match?({_, _}, &1) or elem(&1, 0) not in names)) do
      nil -> :ok
      option -> {:error, {:bad_option, option}}
    end
  end

  def only(opts, _names), do: {:error, {:bad_option, opts}}

  @doc """
  The struct with the field of the option's name and value, or `:error` where the codec has no
  such field or cannot hold the value.
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
