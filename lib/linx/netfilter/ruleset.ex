defmodule Linx.Netfilter.Ruleset do
  @moduledoc """
  A whole ruleset as one value: the tables of a network namespace, or the ones you mean to push.

  Every function gives a new value; nothing reaches the kernel before `Linx.Netfilter.push/3`. The
  plain forms answer `{:ok, ruleset}` or an error that names what was wrong, the `!` forms give
  the ruleset itself or raise `ArgumentError`.

      iex> alias Linx.Netfilter.{Expr, Ruleset}
      iex> rs =
      ...>   Ruleset.new()
      ...>   |> Ruleset.add_table!(:inet, "fw")
      ...>   |> Ruleset.add_chain!("fw", "input",
      ...>     type: :filter,
      ...>     hook: :input,
      ...>     priority: 0,
      ...>     policy: :drop
      ...>   )
      ...>   |> Ruleset.add_rule!("fw", "input", [
      ...>     Expr.payload(:tcp_dport),
      ...>     Expr.cmp(:eq, <<22::16>>),
      ...>     :accept
      ...>   ])
      iex> [{:inet, "fw", table}] = Ruleset.tables(rs)
      iex> length(table.chains["input"].rules)
      1

  A table is named by its name alone, while that is unambiguous, or by `{family, name}`.

  Source: nft(8), "RULESET", "TABLES".
  """

  alias Linx.Netfilter.{Chain, Flowtable, Object, Rule, Set, Table}
  alias Linx.Netfilter.Map, as: NMap

  defstruct tables: %{}

  @type table_ref :: String.t() | {Table.family(), String.t()}
  @type t :: %__MODULE__{tables: %{optional({Table.family(), String.t()}) => Table.t()}}

  @doc "A ruleset with no tables."
  @spec new() :: t()
  def new, do: %__MODULE__{}

  @doc "The tables as `{family, name, table}`, sorted by family and name."
  @spec tables(t()) :: [{Table.family(), String.t(), Table.t()}]
  def tables(%__MODULE__{tables: tables}) do
    for {{family, name}, table} <- Enum.sort_by(tables, &elem(&1, 0)), do: {family, name, table}
  end

  @doc """
  Adds an empty table; options as for `Linx.Netfilter.Table.new/3`. A second one of that family
  and name is `{:bad_table, {:duplicate_table, {family, name}}}`.
  """
  @spec add_table(t(), Table.family(), String.t(), keyword()) ::
          {:ok, t()} | {:error, {:bad_table, term()}}
  def add_table(%__MODULE__{} = rs, family, name, opts \\ []) do
    with {:ok, table} <- Table.new(family, name, opts) do
      if is_map_key(rs.tables, {family, name}),
        do: {:error, {:bad_table, {:duplicate_table, {family, name}}}},
        else: {:ok, put_in(rs.tables[{family, name}], table)}
    end
  end

  @doc "As `add_table/4`; raises."
  @spec add_table!(t(), Table.family(), String.t(), keyword()) :: t()
  def add_table!(rs, family, name, opts \\ []), do: bang(add_table(rs, family, name, opts))

  @doc "Puts a whole table in, in place of the one with its family and name if there is one."
  @spec put_table(t(), Table.t()) :: t()
  def put_table(%__MODULE__{} = rs, %Table{} = table),
    do: put_in(rs.tables[{table.family, table.name}], table)

  @doc "The table that `ref` names."
  @spec fetch_table(t(), table_ref()) :: {:ok, Table.t()} | {:error, term()}
  def fetch_table(%__MODULE__{} = rs, ref) do
    with {:ok, key} <- key(rs, ref), do: Map.fetch(rs.tables, key)
  end

  @doc "The ruleset without the table that `ref` names."
  @spec delete_table(t(), table_ref()) :: {:ok, t()} | {:error, term()}
  def delete_table(%__MODULE__{} = rs, ref) do
    with {:ok, key} <- key(rs, ref), do: {:ok, %{rs | tables: Map.delete(rs.tables, key)}}
  end

  @doc "As `delete_table/2`; raises."
  @spec delete_table!(t(), table_ref()) :: t()
  def delete_table!(rs, ref) do
    case delete_table(rs, ref) do
      {:ok, rs} -> rs
      {:error, reason} -> raise ArgumentError, "cannot delete this: #{inspect(reason)}"
    end
  end

  @doc "Builds a chain (`Linx.Netfilter.Chain.new/2`) in a table."
  @spec add_chain(t(), table_ref(), String.t(), keyword()) :: {:ok, t()} | {:error, term()}
  def add_chain(rs, table_ref, chain_name, opts \\ []) do
    with {:ok, chain} <- Chain.new(chain_name, opts), do: put_chain(rs, table_ref, chain)
  end

  @doc "As `add_chain/4`; raises."
  @spec add_chain!(t(), table_ref(), String.t(), keyword()) :: t()
  def add_chain!(rs, table_ref, chain_name, opts \\ []),
    do: bang(add_chain(rs, table_ref, chain_name, opts))

  @doc "Adds a finished chain, with its rules, to a table."
  @spec put_chain(t(), table_ref(), Chain.t()) :: {:ok, t()} | {:error, term()}
  def put_chain(rs, table_ref, %Chain{} = chain),
    do: update(rs, table_ref, &Table.add_chain(&1, chain))

  @doc "As `put_chain/3`; raises."
  @spec put_chain!(t(), table_ref(), Chain.t()) :: t()
  def put_chain!(rs, table_ref, chain), do: bang(put_chain(rs, table_ref, chain))

  @doc """
  Appends a rule, or the rule that `Linx.Netfilter.Rule.build/2` makes of a list and `opts`, to a
  chain. A rule that is built already takes no `opts`.

  A tag that the chain has already is `{:bad_rule, {:duplicate_tag, tag}}`, an unknown chain
  `{:no_such_chain, name}`.

  The rules before it are copied, so that a loop takes time that grows with the square of their
  number: `add_rules/4` appends thousands at once.
  """
  @spec add_rule(t(), table_ref(), String.t(), Rule.t() | [Rule.expression_input()], keyword()) ::
          {:ok, t()} | {:error, term()}
  def add_rule(rs, table_ref, chain_name, rule_or_exprs, opts \\ [])

  def add_rule(rs, table_ref, chain_name, exprs, opts) when is_list(exprs) do
    with {:ok, rule} <- Rule.build(exprs, opts), do: add_rule(rs, table_ref, chain_name, rule, [])
  end

  def add_rule(rs, table_ref, chain_name, %Rule{} = rule, []),
    do: add_rules(rs, table_ref, chain_name, [rule])

  # A rule that is built has what it has: a tag given here would be lost.
  def add_rule(_rs, _table_ref, _chain_name, %Rule{}, opts),
    do: {:error, {:bad_rule, {:options_for_a_built_rule, opts}}}

  def add_rule(_rs, _table_ref, _chain_name, other, _opts),
    do: {:error, {:bad_rule, {:not_a_rule, other}}}

  @doc "As `add_rule/5`; raises."
  @spec add_rule!(t(), table_ref(), String.t(), rule, keyword()) :: t()
        when rule: Rule.t() | [Rule.expression_input()]
  def add_rule!(rs, table_ref, chain_name, rule_or_exprs, opts \\ []),
    do: bang(add_rule(rs, table_ref, chain_name, rule_or_exprs, opts))

  @doc """
  Appends rules to a chain in their order, in time that grows with their number: each a rule, a
  list for `Linx.Netfilter.Rule.build/2`, or `{list, opts}`. Errors are those of `add_rule/5`, and
  no rule is added then.

      iex> alias Linx.Netfilter.{Expr, Ruleset}
      iex> port = Expr.payload(:tcp_dport)
      iex> ports = for n <- 1..3, do: [port, Expr.cmp(:eq, <<n::16>>), :accept]
      iex> {:ok, rs} =
      ...>   Ruleset.new()
      ...>   |> Ruleset.add_table!(:inet, "fw")
      ...>   |> Ruleset.add_chain!("fw", "in")
      ...>   |> Ruleset.add_rules("fw", "in", ports)
      iex> length(rs.tables[{:inet, "fw"}].chains["in"].rules)
      3
  """
  @spec add_rules(t(), table_ref(), String.t(), [rule]) :: {:ok, t()} | {:error, term()}
        when rule: Rule.t() | [Rule.expression_input()] | {[Rule.expression_input()], keyword()}
  def add_rules(rs, table_ref, chain_name, rules) when is_list(rules) do
    update(rs, table_ref, fn table ->
      with {:ok, chain} <- chain(table, chain_name),
           {:ok, rules} <- built(rules, chain_name, []),
           :ok <- unique_tags(chain.rules, rules) do
        chain = %{chain | rules: chain.rules ++ rules}
        {:ok, %{table | chains: %{table.chains | chain_name => chain}}}
      end
    end)
  end

  @doc "As `add_rules/4`; raises."
  @spec add_rules!(t(), table_ref(), String.t(), [rule]) :: t()
        when rule: Rule.t() | [Rule.expression_input()] | {[Rule.expression_input()], keyword()}
  def add_rules!(rs, table_ref, chain_name, rules),
    do: bang(add_rules(rs, table_ref, chain_name, rules))

  defp built([], _chain, done), do: {:ok, Enum.reverse(done)}

  defp built([rule | rest], chain, done) do
    with {:ok, rule} <- built(rule), do: built(rest, chain, [%{rule | chain: chain} | done])
  end

  defp built(%Rule{} = rule), do: {:ok, rule}
  defp built({exprs, opts}) when is_list(exprs), do: Rule.build(exprs, opts)
  defp built(exprs) when is_list(exprs), do: Rule.build(exprs, [])
  defp built(other), do: {:error, {:bad_rule, {:not_a_rule, other}}}

  @doc "Adds a set to a table."
  @spec add_set(t(), table_ref(), Set.t()) :: {:ok, t()} | {:error, term()}
  def add_set(rs, table_ref, %Set{} = set), do: update(rs, table_ref, &Table.add_set(&1, set))

  @doc "As `add_set/3`; raises."
  @spec add_set!(t(), table_ref(), Set.t()) :: t()
  def add_set!(rs, table_ref, set), do: bang(add_set(rs, table_ref, set))

  @doc "Adds a map or verdict map to a table."
  @spec add_map(t(), table_ref(), NMap.t()) :: {:ok, t()} | {:error, term()}
  def add_map(rs, table_ref, %NMap{} = map), do: update(rs, table_ref, &Table.add_map(&1, map))

  @doc "As `add_map/3`; raises."
  @spec add_map!(t(), table_ref(), NMap.t()) :: t()
  def add_map!(rs, table_ref, map), do: bang(add_map(rs, table_ref, map))

  @doc "Adds an object to a table."
  @spec add_object(t(), table_ref(), Object.t()) :: {:ok, t()} | {:error, term()}
  def add_object(rs, table_ref, %Object{} = obj),
    do: update(rs, table_ref, &Table.add_object(&1, obj))

  @doc "As `add_object/3`; raises."
  @spec add_object!(t(), table_ref(), Object.t()) :: t()
  def add_object!(rs, table_ref, obj), do: bang(add_object(rs, table_ref, obj))

  @doc "Adds a flowtable to a table."
  @spec add_flowtable(t(), table_ref(), Flowtable.t()) :: {:ok, t()} | {:error, term()}
  def add_flowtable(rs, table_ref, %Flowtable{} = ft),
    do: update(rs, table_ref, &Table.add_flowtable(&1, ft))

  @doc "As `add_flowtable/3`; raises."
  @spec add_flowtable!(t(), table_ref(), Flowtable.t()) :: t()
  def add_flowtable!(rs, table_ref, ft), do: bang(add_flowtable(rs, table_ref, ft))

  defp update(%__MODULE__{} = rs, ref, fun) do
    with {:ok, key} <- key(rs, ref), {:ok, table} <- fun.(Map.fetch!(rs.tables, key)) do
      {:ok, %{rs | tables: %{rs.tables | key => table}}}
    end
  end

  defp key(rs, {_family, _name} = key) do
    if is_map_key(rs.tables, key), do: {:ok, key}, else: {:error, {:no_such_table, key}}
  end

  defp key(rs, name) do
    case for({_family, ^name} = key <- Map.keys(rs.tables), do: key) do
      [key] -> {:ok, key}
      [] -> {:error, {:no_such_table, name}}
      _several -> {:error, {:ambiguous_table_name, name}}
    end
  end

  defp chain(table, name) do
    with :error <- Map.fetch(table.chains, name), do: {:error, {:no_such_chain, name}}
  end

  # The tags of the chain are not looked at for rules without one, which most are.
  defp unique_tags(rules, new) do
    case tags(new) do
      [] -> :ok
      added -> unique(added, MapSet.new(tags(rules)))
    end
  end

  defp tags(rules), do: for(%Rule{tag: tag} <- rules, tag != nil, do: tag)

  defp unique([], _seen), do: :ok

  defp unique([tag | rest], seen) do
    if tag in seen,
      do: {:error, {:bad_rule, {:duplicate_tag, tag}}},
      else: unique(rest, MapSet.put(seen, tag))
  end

  defp bang({:ok, rs}), do: rs
  defp bang({:error, reason}), do: raise(ArgumentError, "cannot add this: #{inspect(reason)}")
end
