defmodule Linx.Netfilter.Flowtable do
  @moduledoc """
  A flowtable: the fast path at ingress of `:devices` for connections that a rule has put there
  with `Linx.Netfilter.Expr.flow_offload/1`. Their later packets skip the hooks.

  `:flags` may hold `:hw_offload` (the NIC forwards) and `:counter`. The kernel wants
  `nf_flow_table`; without it a push answers `:eopnotsupp`.

      iex> {:ok, ft} =
      ...>   Linx.Netfilter.Flowtable.new("fast", hook: :ingress, priority: 0, devices: ["eth0"])
      iex> ft.devices
      ["eth0"]

  Source: nft(8), "FLOWTABLES"; Documentation/networking/nf_flowtable.rst.
  """

  alias Linx.Netfilter.Name

  @enforce_keys [:name]
  defstruct name: nil, table: nil, hook: nil, priority: nil, devices: [], flags: [], handle: nil

  @type t :: %__MODULE__{
          devices: [String.t()],
          flags: [atom()],
          handle: pos_integer() | nil,
          hook: atom() | nil,
          name: String.t(),
          priority: integer() | atom() | {atom(), integer()} | nil,
          table: String.t() | nil
        }

  @doc """
  Builds a flowtable. Options are the struct's fields; `:priority` is an integer, `:filter` or
  `{:filter, offset}`.

  Answers `{:error, {:bad_flowtable, reason}}`.
  """
  @spec new(String.t(), keyword()) :: {:ok, t()} | {:error, {:bad_flowtable, term()}}
  def new(name, opts \\ []) do
    with :ok <- Name.check(name), {:ok, ft} <- options(opts, %__MODULE__{name: name}) do
      {:ok, ft}
    else
      {:error, reason} -> {:error, {:bad_flowtable, reason}}
    end
  end

  @doc "As `new/2`, but gives the flowtable itself and raises `ArgumentError`."
  @spec new!(String.t(), keyword()) :: t()
  def new!(name, opts \\ []) do
    case new(name, opts) do
      {:ok, ft} -> ft
      {:error, reason} -> raise ArgumentError, "not a flowtable: #{inspect(reason)}"
    end
  end

  defp options([], ft), do: {:ok, ft}

  defp options([{key, value} | rest], ft) do
    case option(key, value) do
      :ok -> options(rest, Map.replace!(ft, key, value))
      error -> error
    end
  end

  defp options(other, _ft), do: {:error, {:bad_options, other}}

  defp option(key, nil) when key in [:hook, :priority, :table, :handle], do: :ok

  # The documentation keeps whatever is given; what has no form on the wire is refused by the
  # push.
  defp option(:hook, hook) when is_atom(hook) and hook not in [true, false], do: :ok
  defp option(:hook, hook), do: {:error, {:bad_hook, hook}}
  defp option(:priority, n) when is_integer(n), do: :ok
  defp option(:priority, :filter), do: :ok
  defp option(:priority, {:filter, n}) when is_integer(n), do: :ok

  defp option(:devices, names) when is_list(names) do
    Enum.find_value(names, :ok, fn name ->
      with :ok <- Name.check_device(name), do: nil
    end)
  end

  defp option(:flags, flags) when is_list(flags) do
    case flags -- [:hw_offload, :counter] do
      [] -> :ok
      unknown -> {:error, {:bad_flags, unknown}}
    end
  end

  defp option(:table, name), do: Name.check(name)
  defp option(:handle, handle) when is_integer(handle) and handle > 0, do: :ok
  defp option(key, value), do: {:error, {:bad_option, {key, value}}}
end
