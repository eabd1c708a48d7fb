defmodule Linx.Netfilter.Table do
  @moduledoc """
  A table: chains, sets, maps, objects and flowtables under one name, for one family.

  `:owner` in `:flags` ties the table to the socket that makes it: no other process may change it,
  and it goes when the socket closes. `:persist` (Linux 6.9) keeps an owned table when that
  happens; `:dormant` loads it without effect.

      iex> {:ok, table} = Linx.Netfilter.Table.new(:inet, "fw", flags: [:owner])
      iex> {table.family, table.flags}
      {:inet, [:owner]}

  Source: nft(8), "TABLES"; `enum nft_table_flags`.
  """

  alias Linx.Netfilter.{Chain, Flowtable, Name, Object, Set}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Netfilter.Table.Order

  @families [:ip, :ip6, :inet, :arp, :bridge, :netdev]
  @flags [:owner, :persist, :dormant]

  @enforce_keys [:family, :name]
  defstruct family: nil,
            name: nil,
            flags: [],
            use_count: nil,
            handle: nil,
            comment: nil,
            owner: nil,
            chains: %{},
            sets: %{},
            maps: %{},
            objects: %{},
            flowtables: %{},
            order: %{}

  @type family :: :ip | :ip6 | :inet | :arp | :bridge | :netdev
  @type flag :: :owner | :persist | :dormant

  @typedoc "The fields that hold what is in a table, by name."
  @type field :: :chains | :sets | :maps | :objects | :flowtables

  @typedoc "A name, for an object with its kind."
  @type key :: String.t() | {Object.kind(), String.t()}

  @typedoc """
  `:owner` is the netlink port id of the owning socket, on a pulled table that has one. `:order`
  is what `in_order/2` reads: how many names a field has, and the names, the last first; a field
  of up to 32 names in alphabetical order has no entry.
  """
  @type t :: %__MODULE__{
          chains: %{optional(String.t()) => Chain.t()},
          comment: String.t() | nil,
          family: family(),
          flags: [flag()],
          flowtables: %{optional(String.t()) => Flowtable.t()},
          handle: pos_integer() | nil,
          maps: %{optional(String.t()) => NMap.t()},
          name: String.t(),
          objects: %{optional({Object.kind(), String.t()}) => Object.t()},
          order: %{optional(field()) => {pos_integer(), [key()]}} | nil,
          owner: non_neg_integer() | nil,
          sets: %{optional(String.t()) => Set.t()},
          use_count: non_neg_integer() | nil
        }

  @doc """
  Builds an empty table. Options: `:flags`, `:comment`, `:handle`, `:use_count`.

  Answers `{:error, {:bad_table, reason}}` for an unknown family or flag and for a name the kernel
  cannot hold.
  """
  @spec new(family(), String.t(), keyword()) :: {:ok, t()} | {:error, {:bad_table, term()}}
  def new(family, name, opts \\ []) do
    with :ok <- known_family(family),
         :ok <- Name.check(name),
         {:ok, table} <- options(opts, %__MODULE__{family: family, name: name}) do
      {:ok, table}
    else
      {:error, reason} -> {:error, {:bad_table, reason}}
    end
  end

  @doc "As `new/3`, but gives the table itself and raises `ArgumentError`."
  @spec new!(family(), String.t(), keyword()) :: t()
  def new!(family, name, opts \\ []) do
    case new(family, name, opts) do
      {:ok, table} -> table
      {:error, reason} -> raise ArgumentError, "not a table: #{inspect(reason)}"
    end
  end

  @doc """
  The table with `chain`, checked against the family. A second chain of that name is
  `{:bad_table, {:duplicate_chain, name}}`.
  """
  @spec add_chain(t(), Chain.t()) :: {:ok, t()} | {:error, {:bad_table | :bad_chain, term()}}
  def add_chain(%__MODULE__{} = table, %Chain{name: name} = chain) do
    with :ok <- free(table.chains, name, {:duplicate_chain, name}),
         :ok <- Chain.fits(chain, table.family) do
      {:ok, Order.append(table, :chains, name, placed(chain, table))}
    end
  end

  @doc """
  Puts a changed chain in the place of the one with its name;
  `{:bad_table, {:no_such_chain, name}}` when there is none.
  """
  @spec put_chain(t(), Chain.t()) :: {:ok, t()} | {:error, {:bad_table | :bad_chain, term()}}
  def put_chain(%__MODULE__{chains: chains} = table, %Chain{name: name} = chain)
      when is_map_key(chains, name) do
    with :ok <- Chain.fits(chain, table.family),
         do: {:ok, %{table | chains: %{chains | name => placed(chain, table)}}}
  end

  def put_chain(%__MODULE__{}, %Chain{name: name}),
    do: {:error, {:bad_table, {:no_such_chain, name}}}

  @doc "The chain called `name`, or `{:error, :no_such_chain}`."
  @spec fetch_chain(t(), String.t()) :: {:ok, Chain.t()} | {:error, :no_such_chain}
  def fetch_chain(%__MODULE__{chains: chains}, name) do
    with :error <- Map.fetch(chains, name), do: {:error, :no_such_chain}
  end

  @doc """
  The table with `set`. Sets and maps share their names: a second one is
  `{:bad_table, {:duplicate_set, name}}`.
  """
  @spec add_set(t(), Set.t()) :: {:ok, t()} | {:error, {:bad_table, term()}}
  def add_set(%__MODULE__{} = table, %Set{name: name} = set) do
    with :ok <- free(table.sets, name, {:duplicate_set, name}),
         :ok <- free(table.maps, name, {:duplicate_set, name}),
         do: {:ok, Order.append(table, :sets, name, placed(set, table))}
  end

  @doc """
  The table with `map`, a verdict map too. Names are shared with sets: a second one is
  `{:bad_table, {:duplicate_set, name}}`.
  """
  @spec add_map(t(), NMap.t()) :: {:ok, t()} | {:error, {:bad_table, term()}}
  def add_map(%__MODULE__{} = table, %NMap{name: name} = map) do
    with :ok <- free(table.maps, name, {:duplicate_set, name}),
         :ok <- free(table.sets, name, {:duplicate_set, name}),
         do: {:ok, Order.append(table, :maps, name, placed(map, table))}
  end

  @doc """
  The table with `object`; a second one of that kind and name is
  `{:bad_table, {:duplicate_object, {kind, name}}}`.
  """
  @spec add_object(t(), Object.t()) :: {:ok, t()} | {:error, {:bad_table, term()}}
  def add_object(%__MODULE__{} = table, %Object{kind: kind, name: name} = object) do
    with :ok <- free(table.objects, {kind, name}, {:duplicate_object, {kind, name}}),
         do: {:ok, Order.append(table, :objects, {kind, name}, placed(object, table))}
  end

  @doc """
  The table with `flowtable`; a second one of that name is
  `{:bad_table, {:duplicate_flowtable, name}}`.
  """
  @spec add_flowtable(t(), Flowtable.t()) :: {:ok, t()} | {:error, {:bad_table, term()}}
  def add_flowtable(%__MODULE__{} = table, %Flowtable{name: name} = ft) do
    with :ok <- free(table.flowtables, name, {:duplicate_flowtable, name}),
         do: {:ok, Order.append(table, :flowtables, name, placed(ft, table))}
  end

  @doc """
  What `field` holds, in the order in which it was added or declared; of a pulled table in the
  kernel's order, as `nft list` has it.

  What was put into the field's map by hand comes last, by name. Order is no difference for
  `Linx.Netfilter.Diff`: the kernel cannot be told to move a chain.

      iex> alias Linx.Netfilter.{Chain, Table}
      iex> table =
      ...>   for name <- ["output", "input"], reduce: Table.new!(:inet, "fw") do
      ...>     table -> table |> Table.add_chain(Chain.new!(name)) |> elem(1)
      ...>   end
      iex> for chain <- Table.in_order(table, :chains), do: chain.name
      ["output", "input"]
  """
  @spec in_order(t(), field()) :: [Chain.t() | Set.t() | NMap.t() | Object.t() | Flowtable.t()]
  def in_order(%__MODULE__{} = table, field), do: Order.values(table, field)

  defp placed(entity, table), do: %{entity | table: table.name}

  defp free(map, key, reason) do
    if is_map_key(map, key), do: {:error, {:bad_table, reason}}, else: :ok
  end

  defp known_family(family) when family in @families, do: :ok
  defp known_family(family), do: {:error, {:bad_family, family}}

  defp options([], table), do: {:ok, table}

  defp options([{key, value} | rest], table) do
    case option(key, value) do
      :ok -> options(rest, Map.replace!(table, key, value))
      error -> error
    end
  end

  defp options(other, _table), do: {:error, {:bad_options, other}}

  defp option(:flags, flags) when is_list(flags) do
    case flags -- @flags do
      [] -> :ok
      unknown -> {:error, {:bad_flags, unknown}}
    end
  end

  defp option(key, nil) when key in [:comment, :handle, :use_count, :owner], do: :ok
  defp option(:comment, text), do: Name.check_comment(text)

  defp option(key, n) when key in [:handle, :use_count, :owner] and is_integer(n) and n >= 0,
    do: :ok

  defp option(key, value), do: {:error, {:bad_option, {key, value}}}
end
