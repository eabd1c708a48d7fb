defmodule Linx.Netfilter.Map do
  @moduledoc """
  A named map: a set whose elements carry a value, loaded by the lookup.

  Keys and values are written as in `Linx.Netfilter.Set`. `:data_type` is a datatype,
  `{:concat, types}`, `:verdict` (then the lookup decides, and the map is what nft calls a vmap:
  `Linx.Netfilter.Vmap`), `{:object, kind}` for a map to objects of the table by name, or
  `{:interval, type}` for values that are ranges (NAT pools).

      iex> {:ok, map} =
      ...>   Linx.Netfilter.Map.new("pool",
      ...>     key_type: :inet_service,
      ...>     data_type: :ipv4_addr,
      ...>     elements: [{80, "10.0.0.5"}]
      ...>   )
      iex> map.elements
      [{80, {10, 0, 0, 5}}]

  An element that also has a timeout, a comment or expressions is a `Linx.Netfilter.Element`.

  Source: nft(8), "MAPS".
  """

  alias Linx.Netfilter.{Datum, Element, Expr, Name, Set, Verdict}

  @enforce_keys [:name, :key_type, :data_type]
  defstruct name: nil,
            table: nil,
            key_type: nil,
            data_type: nil,
            flags: [],
            elements: [],
            timeout: nil,
            gc_interval: nil,
            size: nil,
            handle: nil,
            comment: nil,
            policy: nil,
            exprs: [],
            typeof: nil,
            userdata: []

  @type data_type ::
          Set.key_type() | :verdict | {:object, atom()} | {:interval, Set.key_type()}

  @typedoc "As `t:Linx.Netfilter.Set.t/0`, with the type of the values."
  @type t :: %__MODULE__{
          comment: String.t() | nil,
          data_type: data_type(),
          elements: [{term(), term()} | Element.t()],
          exprs: [Expr.t()],
          flags: [Set.flag()],
          gc_interval: pos_integer() | nil,
          handle: pos_integer() | nil,
          key_type: Set.key_type(),
          name: String.t(),
          policy: nil | :memory,
          size: pos_integer() | nil,
          table: String.t() | nil,
          timeout: pos_integer() | nil,
          typeof: nil | %{optional(:key | :data) => binary()},
          userdata: [{0..255, binary()}]
        }

  @doc """
  Builds a map; `:key_type` and `:data_type` are required.

  Answers `{:error, {:bad_map, reason}}`: `{:bad_key_type, term}`, `{:bad_data_type, term}`,
  `{:bad_element, element, reason}`, and as `Linx.Netfilter.Set.new/2`.
  """
  @spec new(String.t(), keyword()) :: {:ok, t()} | {:error, {:bad_map, term()}}
  def new(name, opts) do
    {elements, opts} = Keyword.pop(opts, :elements, [])
    {data_type, opts} = Keyword.pop(opts, :data_type)
    type = opts[:key_type]
    map = %__MODULE__{name: name, key_type: type, data_type: data_type}

    with :ok <- Name.check(name),
         :ok <- known(Datum.type?(type), {:bad_key_type, type}),
         :ok <- known(data_type?(data_type), {:bad_data_type, data_type}),
         {:ok, map} <- options(opts, map),
         {:ok, elements} <- elements(map, elements, []) do
      {:ok, %{map | elements: elements}}
    else
      {:error, reason} -> {:error, {:bad_map, reason}}
    end
  end

  @doc "As `new/2`, but gives the map itself and raises `ArgumentError`."
  @spec new!(String.t(), keyword()) :: t()
  def new!(name, opts) do
    case new(name, opts) do
      {:ok, map} -> map
      {:error, reason} -> raise ArgumentError, "not a map: #{inspect(reason)}"
    end
  end

  @doc """
  The map with more `{key, value}` elements; one that does not fit is
  `{:bad_map_element, {element, reason}}`.
  """
  @spec add_elements(t(), [{term(), term()} | Element.t()]) ::
          {:ok, t()} | {:error, {:bad_map_element, term()}}
  def add_elements(%__MODULE__{} = map, new_elements) when is_list(new_elements) do
    case elements(map, new_elements, []) do
      {:ok, added} -> {:ok, %{map | elements: map.elements ++ added}}
      {:error, {:bad_element, element, reason}} -> {:error, {:bad_map_element, {element, reason}}}
    end
  end

  def add_elements(%__MODULE__{}, other), do: {:error, {:bad_map_element, other}}

  @doc """
  The map without the given elements: keys, or `{key, value}` pairs of which only the key counts.
  """
  @spec delete_elements(t(), [term()]) :: {:ok, t()}
  def delete_elements(%__MODULE__{} = map, to_remove) do
    gone = to_remove |> Enum.flat_map(&keys(map.key_type, &1)) |> MapSet.new()
    {:ok, %{map | elements: Enum.reject(map.elements, &(key(&1) in gone))}}
  end

  # {a, b} is a pair, unless keys are two-part themselves and it reads as one.
  defp keys(type, %Element{key: key}), do: normal(type, key)

  defp keys(type, {key, _value} = element), do: normal(type, element) ++ normal(type, key)
  defp keys(type, key), do: normal(type, key)

  defp normal(type, value) do
    case Datum.Form.normalise(type, value) do
      {:ok, value} -> [value]
      {:error, _} -> []
    end
  end

  defp key(%Element{key: key}), do: key
  defp key({key, _value}), do: key

  defp elements(_map, [], acc), do: {:ok, Enum.reverse(acc)}

  defp elements(map, [element | rest], acc) do
    case element(map, element) do
      {:ok, element} -> elements(map, rest, [element | acc])
      {:error, reason} -> {:error, {:bad_element, element, reason}}
    end
  end

  defp elements(_map, other, _acc), do: {:error, {:bad_element, other, :not_a_list}}

  defp element(map, %Element{} = element) do
    with :ok <- Element.check(element),
         {:ok, {key, data}} <- element(map, {element.key, element.data}),
         do: {:ok, Element.short(%{element | key: key, data: data})}
  end

  # Maps that only dynset fills have keys without a value nowhere but here.
  defp element(map, {key, value}) do
    with {:ok, key} <- Datum.Form.normalise(map.key_type, key),
         :ok <- single(map.flags, key),
         {:ok, value} <- data(map.data_type, value),
         do: {:ok, {key, value}}
  end

  defp element(_map, _other), do: {:error, :not_a_pair}

  defp single(flags, key) do
    with {:error, {:bad_element, _key, reason}} <- Set.single(flags, [key]), do: {:error, reason}
  end

  # A chain of its own belongs to a rule; an element cannot have one.
  defp data(:verdict, value) do
    case Verdict.new(value) do
      {:ok, %Verdict{target: rules}} when is_list(rules) -> {:error, {:bad_verdict, value}}
      result -> result
    end
  end

  defp data({:object, _kind}, name) do
    with :ok <- Name.check(name), do: {:ok, name}
  end

  defp data(type, value), do: Datum.Form.normalise(type, value)

  defp data_type?(:verdict), do: true
  defp data_type?({:object, kind}), do: is_atom(kind)
  defp data_type?({:interval, type}), do: Datum.type?(type)
  defp data_type?(type), do: Datum.type?(type)

  defp known(true, _reason), do: :ok
  defp known(false, reason), do: {:error, reason}

  defp options([], map), do: {:ok, map}

  defp options([{key, value} | rest], map) do
    case Set.option(key, value) do
      :ok -> options(rest, Map.replace!(map, key, value))
      error -> error
    end
  end
end
