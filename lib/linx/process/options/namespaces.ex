defmodule Linx.Process.Options.Namespaces do
  @moduledoc false
  # Options whose meaning depends on which namespaces are new: the name of a uts namespace, the
  # clocks of a time namespace, and the namespaces that are joined beside the new ones.

  import Bitwise

  # linux/utsname.h: __NEW_UTS_LEN.
  @max_hostname 64

  # KTIME_SEC_MAX / 2, which the kernel lets a clock reach (time_namespaces(7)).
  @max_offset 4_611_686_018

  @doc "The options that `parse/2` takes."
  @spec keys() :: [atom()]
  def keys, do: [:hostname, :time_offsets, :join]

  @doc "The value of an option, or `:error`."
  @spec parse(atom(), term(), map()) :: {:ok, term()} | :error
  def parse(:hostname, name, _kinds)
      when is_binary(name) and byte_size(name) in 1..@max_hostname do
    if String.contains?(name, <<0>>), do: :error, else: {:ok, name}
  end

  def parse(:time_offsets, [_ | _] = offsets, _kinds) do
    with true <- Keyword.keyword?(offsets),
         [] <- Keyword.keys(offsets) -- [:monotonic, :boottime],
         seconds = Keyword.values(offsets),
         true <- Enum.all?(seconds, &(is_integer(&1) and abs(&1) <= @max_offset)) do
      {:ok, {Keyword.get(offsets, :monotonic, 0), Keyword.get(offsets, :boottime, 0)}}
    else
      _ -> :error
    end
  end

  def parse(:join, {target, [_ | _] = names}, kinds)
      when is_pid(target) or (is_integer(target) and target in 1..0x7FFFFFFF) do
    if not List.improper?(names) and Enum.all?(names, &is_map_key(kinds, &1)),
      do: {:ok, {target, names |> Enum.map(&kinds[&1]) |> Enum.reduce(0, &bor/2)}},
      else: :error
  end

  # A network namespace that the VM holds. Linx.Process turns it into its descriptor.
  def parse(:join, {%{__struct__: Linx.Netns} = netns, [:net]}, kinds),
    do: {:ok, {netns, kinds.net}}

  def parse(_key, _value, _kinds), do: :error

  @doc """
  Whether the new namespaces carry what was asked for; `{:error, reason}` names the option that
  lacks its namespace.
  """
  @spec check(:spawn | :enter, map(), map()) :: :ok | {:error, term()}
  def check(mode, request, kinds) do
    new = if mode == :spawn, do: Map.get(request, :namespaces, 0), else: 0
    both = new &&& elem(request[:join] || {nil, 0}, 1)

    cond do
      request[:hostname] && (new &&& kinds.uts) == 0 ->
        {:error, {:bad_hostname, :no_new_uts_namespace}}

      request[:time_offsets] && (new &&& kinds.time) == 0 ->
        {:error, {:bad_time_offsets, :no_new_time_namespace}}

      request[:join] && mode == :enter ->
        {:error, {:bad_option, :join}}

      both != 0 ->
        {:error, {:bad_join, for({name, bit} <- kinds, (both &&& bit) != 0, do: name)}}

      true ->
        :ok
    end
  end
end
