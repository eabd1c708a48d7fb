defmodule Linx.Netfilter.Patch do
  @moduledoc """
  The changes that turn one ruleset into another, in the order in which the kernel takes them.

  `Linx.Netfilter.diff/2` makes patches, a `:reconcile` push sends them. An op is a tagged tuple;
  whatever something depends on is made before it and deleted after it:

  delete rules, set elements, chains, sets, objects and flowtables, tables; create tables, objects
  and flowtables, sets and maps, chains; add set elements; replace rules; create rules.

      iex> Linx.Netfilter.Patch.new([{:delete_table, :inet, "old"}])
      #Linx.Netfilter.Patch<1 op: 1 delete>

  Source: net/netfilter/nf_tables_api.c, for what depends on what.
  """

  alias Linx.Netfilter.{Chain, Flowtable, Object, Rule, Set, Table}
  alias Linx.Netfilter.Map, as: NMap

  defstruct ops: [], sets: %{}

  @typedoc """
  Where a new rule goes. Handles are the kernel's; an index counts the chain's rules from 0.
  """
  @type position ::
          :append
          | {:after, pos_integer()}
          | {:before, pos_integer()}
          | {:at_index, non_neg_integer()}

  @type op ::
          {:create_table, atom(), Table.t()}
          | {:delete_table, atom(), String.t()}
          | {:create_chain, atom(), String.t(), Chain.t()}
          | {:delete_chain, atom(), String.t(), String.t()}
          | {:create_set, atom(), Set.t() | NMap.t()}
          | {:delete_set, atom(), String.t(), String.t()}
          | {:create_object, atom(), Object.t()}
          | {:delete_object, atom(), String.t(), Object.kind(), String.t()}
          | {:create_flowtable, atom(), Flowtable.t()}
          | {:delete_flowtable, atom(), String.t(), String.t()}
          | {:add_set_elements, atom(), String.t(), String.t(), [term()]}
          | {:delete_set_elements, atom(), String.t(), String.t(), [term()]}
          | {:create_rule, atom(), String.t(), String.t(), Rule.t(), position()}
          | {:replace_rule, atom(), String.t(), String.t(), pos_integer(), Rule.t()}
          | {:delete_rule, atom(), String.t(), String.t(), pos_integer()}

  @typedoc """
  `:sets` holds the declarations, without elements, of the sets whose elements the ops change:
  elements alone do not say how they are encoded.
  """
  @type t :: %__MODULE__{
          ops: [op()],
          sets: %{optional({atom(), String.t(), String.t()}) => Set.t() | NMap.t()}
        }

  @order [
           :delete_rule,
           :delete_set_elements,
           :delete_chain,
           :delete_set,
           :delete_flowtable,
           :delete_object,
           :delete_table,
           :create_table,
           :create_object,
           :create_flowtable,
           :create_set,
           :create_chain,
           :add_set_elements,
           :replace_rule,
           :create_rule
         ]
         |> Enum.with_index()
         |> Map.new()

  @doc "A patch of `ops`, as they stand."
  @spec new([op()]) :: t()
  def new(ops \\ []), do: %__MODULE__{ops: ops}

  @doc "Whether there is nothing to do."
  @spec empty?(t()) :: boolean()
  def empty?(%__MODULE__{ops: ops}), do: ops == []

  @doc "The patch with its ops in the order of the moduledoc; ops of one kind keep theirs."
  @spec sort(t()) :: t()
  def sort(%__MODULE__{ops: ops} = patch),
    do: %{patch | ops: Enum.sort_by(ops, &Map.fetch!(@order, elem(&1, 0)))}

  defimpl Inspect do
    def inspect(%{ops: ops}, _opts) do
      counts = Enum.frequencies_by(ops, &kind(elem(&1, 0)))

      detail =
        for kind <- [:create, :replace, :add, :delete],
            count = counts[kind],
            do: count(count, kind)

      total = if length(ops) == 1, do: "1 op", else: "#{length(ops)} ops"
      "#Linx.Netfilter.Patch<" <> Enum.join([total | join(detail)], ": ") <> ">"
    end

    defp join([]), do: []
    defp join(detail), do: [Enum.join(detail, ", ")]

    defp kind(name) do
      case Atom.to_string(name) do
        "create" <> _ -> :create
        "replace" <> _ -> :replace
        "add" <> _ -> :add
        "delete" <> _ -> :delete
      end
    end

    defp count(1, kind), do: "1 #{kind}"
    defp count(n, kind), do: "#{n} #{kind}s"
  end
end
