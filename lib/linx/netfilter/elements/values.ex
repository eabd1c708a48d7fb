defmodule Linx.Netfilter.Elements.Values do
  @moduledoc false
  # Elements and keys as a caller writes them, converted to the types that the kernel's
  # declaration of the set has.

  alias Linx.Netfilter.{Datum, Element, Error, Interfaces, Ruleset, Set, Table}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Netlink.Socket

  @type declared :: Set.t() | NMap.t()

  @doc "The elements in their one form, with what is said for all of them in `extras`."
  @spec values(declared(), [term()], keyword()) :: {:ok, [term()]} | {:error, term()}
  def values(set, elements, extras) do
    with {:ok, %{elements: elements}} <-
           add_to(set, Enum.map(elements, &carrying(set, &1, extras))),
         :ok <- timed(set, elements),
         do: {:ok, elements}
  end

  defp add_to(%Set{} = set, elements), do: Set.add_elements(set, elements)
  defp add_to(%NMap{} = map, elements), do: NMap.add_elements(map, elements)

  # An option of the element itself takes precedence over one given for all elements.
  defp carrying(_set, element, []), do: element

  defp carrying(_set, %Element{} = element, extras) do
    Enum.reduce(extras, element, fn {key, value}, element ->
      if Map.fetch!(element, key) in [nil, []],
        do: Map.replace!(element, key, value),
        else: element
    end)
  end

  defp carrying(%NMap{}, {key, data}, extras),
    do: struct!(%Element{key: key, data: data}, extras)

  defp carrying(_set, key, extras), do: struct!(%Element{key: key}, extras)

  # The kernel's EINVAL for these names neither the element nor the reason.
  defp timed(set, elements) do
    if :timeout in set.flags,
      do: :ok,
      else: Enum.find_value(elements, :ok, &untimed(set, &1))
  end

  defp untimed(set, %Element{timeout: t, expires: e} = element) when t != nil or e != nil,
    do: {:error, {bad_element(set), {element, :needs_timeout_flag}}}

  defp untimed(_set, _element), do: nil

  defp bad_element(%Set{}), do: :bad_set_element
  defp bad_element(%NMap{}), do: :bad_map_element

  @doc """
  The keys of elements in their one form. A pair is the element of a map, unless it is a key of
  two parts.
  """
  @spec keys(declared(), [term()]) :: {:ok, [term()]} | {:error, term()}
  def keys(set, elements) do
    elements
    |> Enum.reduce_while([], fn element, keys ->
      case key(set, element) do
        {:ok, key} -> {:cont, [key | keys]}
        {:error, reason} -> {:halt, {:error, {bad_element(set), {element, reason}}}}
      end
    end)
    |> case do
      {:error, reason} -> {:error, reason}
      keys -> {:ok, Enum.reverse(keys)}
    end
  end

  defp key(set, %Element{key: key}), do: key(set, key)

  defp key(set, element) do
    case {Datum.Form.normalise(set.key_type, element), set, element} do
      {{:error, _}, %NMap{}, {key, _value}} ->
        single(set, Datum.Form.normalise(set.key_type, key))

      {result, _set, _element} ->
        single(set, result)
    end
  end

  defp single(set, {:ok, key}) do
    if :interval in set.flags or not Datum.Form.spans?(key),
      do: {:ok, key},
      else: {:error, :needs_interval_flag}
  end

  defp single(_set, error), do: error

  @doc """
  The elements with the indices of the interfaces that they name, in the namespace of the socket.
  """
  @spec resolved(Socket.t(), {atom(), String.t(), String.t()}, declared(), [term()]) ::
          {:ok, [term()]} | {:error, Error.t() | term()}
  def resolved(sock, {family, table, _}, set, elements) do
    if elements == [] or not indexed?(set),
      do: {:ok, elements},
      else: resolve(sock, {family, table}, %{set | elements: elements})
  end

  defp indexed?(%{data_type: type} = map), do: index?(map.key_type) or index?(type)
  defp indexed?(set), do: index?(set.key_type)

  defp index?(:iface_index), do: true
  defp index?({:concat, types}), do: :iface_index in types
  defp index?({:interval, type}), do: index?(type)
  defp index?(_type), do: false

  defp resolve(sock, {family, name} = key, set) do
    field = if is_struct(set, Set), do: :sets, else: :maps
    table = Map.replace!(%Table{family: family, name: name}, field, %{set.name => set})

    with {:ok, %{tables: %{^key => table}}} <-
           Interfaces.resolve(%Ruleset{tables: %{key => table}}, sock),
         do: {:ok, Map.fetch!(Map.fetch!(table, field), set.name).elements}
  end

  @doc "The set of the keys alone."
  @spec bare(declared()) :: Set.t()
  def bare(set),
    do: %Set{name: set.name, table: set.table, key_type: set.key_type, flags: set.flags}
end
