defmodule Linx.Netfilter.Diff.Rules do
  @moduledoc false
  # The operations on the rules of one chain. A rule is known again by its key: its tag, or
  # (`by: :comment`) its comment.

  alias Linx.Netfilter.{Canonical, Chain, Patch, References, Rule, Table}

  @typedoc """
  Where the chain is, the names of its table that are deleted or made again (`lost`), the field
  that is the rules' key, and the statements that sets of the table carry.
  """
  @type place :: %{
          family: Table.family(),
          table: String.t(),
          lost: MapSet.t(),
          by: :tag | :comment,
          carried: %{String.t() => [Linx.Netfilter.Expr.t()]}
        }

  @doc "The operations that turn the rules of `from` into those of `to`."
  @spec changes(place(), Chain.t(), Chain.t()) :: [Patch.op()]
  def changes(place, from, to) do
    place = Map.put(place, :chain, to.name)

    lost? = MapSet.size(place.lost) > 0

    if place.by == :tag and not lost? and same_tags?(from.rules, to.rules),
      do: replaced(place, from.rules, to.rules),
      else: by_key(place, from.rules, to.rules, lost?)
  end

  defp by_key(place, from, to, lost?) do
    old = known(place.by, from)
    new = for rule <- to, do: {key(place.by, rule), rule}

    cond do
      not lost? and same_keys?(old, new) -> replaced(place, from, to)
      unique?(old) and unique?(new) -> keyed(place, old, new)
      untouched?(place, from, to) -> []
      true -> rebuild(place, from, to)
    end
  end

  @doc "The operations that fill a new chain."
  @spec create(Table.family(), String.t(), String.t(), [Rule.t()]) :: [Patch.op()]
  def create(family, table, chain, rules),
    do: for(rule <- rules, do: {:create_rule, family, table, chain, rule, :append})

  @doc "Whether a rule names what is deleted or made again."
  @spec loses?(Rule.t(), MapSet.t()) :: boolean()
  def loses?(rule, lost),
    do: MapSet.size(lost) > 0 and Enum.any?(References.of(rule), &(&1 in lost))

  @doc "The key of a rule; nil for a rule without one."
  @spec key(:tag | :comment, Rule.t()) :: atom() | String.t() | nil
  def key(:tag, rule), do: rule.tag
  def key(:comment, rule), do: rule.comment

  # Others may have added rules without a comment, or with one that the chain has: each gets a key
  # that no wanted rule has.
  defp known(:tag, rules), do: for(rule <- rules, do: {rule.tag, rule})

  defp known(:comment, rules) do
    {rules, _seen} =
      Enum.map_reduce(rules, MapSet.new([nil]), fn rule, seen ->
        key = if rule.comment in seen, do: {:handle, rule.handle}, else: rule.comment
        {{key, rule}, MapSet.put(seen, rule.comment)}
      end)

    rules
  end

  # The same rules in the same order, as most chains are found: nothing moves, and no rule need be
  # looked for.
  defp same_tags?([%{tag: tag} | from], [%{tag: tag} | to]) when tag != nil,
    do: same_tags?(from, to)

  defp same_tags?([], []), do: true
  defp same_tags?(_from, _to), do: false

  defp same_keys?([{key, _} | from], [{key, _} | to]) when key != nil, do: same_keys?(from, to)
  defp same_keys?([], []), do: true
  defp same_keys?(_from, _to), do: false

  defp replaced(place, [current | old], [rule | new]) do
    if same?(place, current, rule) do
      replaced(place, old, new)
    else
      %{family: family, table: table, chain: chain} = place
      [{:replace_rule, family, table, chain, current.handle, rule} | replaced(place, old, new)]
    end
  end

  defp replaced(_place, [], []), do: []

  defp unique?(rules) do
    keys = for {key, _rule} <- rules, do: key
    nil not in keys and length(Enum.uniq(keys)) == length(keys)
  end

  defp untouched?(place, old, new) do
    length(old) == length(new) and
      Enum.all?(Enum.zip(old, new), fn {a, b} ->
        same?(place, a, b) and not loses?(a, place.lost)
      end)
  end

  defp same?(%{carried: carried, family: family}, a, b) when map_size(carried) == 0,
    do: Canonical.same_rule?(a, b, family)

  defp same?(%{carried: carried, family: family}, a, b) do
    Canonical.same_rule?(
      Canonical.carried(a, carried),
      Canonical.carried(b, carried),
      family
    )
  end

  defp rebuild(%{family: family, table: table, chain: chain} = place, old, new),
    do: Enum.map(old, &delete(place, &1)) ++ create(family, table, chain, new)

  # A wanted rule either stays (an old rule in the right order has its key) or is made anew before
  # the next rule that stays as it is. The kernel gives a replaced rule a new handle, so behind a
  # new rule a changed one cannot be replaced: nothing could name it.
  defp keyed(place, old_rules, new) do
    old = Map.new(old_rules)
    index = old_rules |> Enum.with_index() |> Map.new(fn {{key, _rule}, i} -> {key, i} end)

    staying =
      new
      |> Enum.filter(fn {key, _} -> is_map_key(old, key) and not loses?(old[key], place.lost) end)
      |> in_order(index)

    plan =
      for {key, rule} <- new do
        current = old[key]

        cond do
          key not in staying -> {:create, rule, current}
          same?(place, current, rule) -> {:keep, rule, current}
          true -> {:replace, rule, current}
        end
      end

    keys = MapSet.new(new, &elem(&1, 0))
    deletes = for {key, rule} <- old_rules, key not in keys, do: delete(place, rule)
    deletes ++ segments(plan, place)
  end

  # From one rule that stays to the next.
  defp segments(plan, place) do
    {segment, rest} = Enum.split_while(plan, &(elem(&1, 0) != :keep))

    position =
      case rest do
        [{:keep, _rule, current} | _] -> {:before, current.handle}
        [] -> :append
      end

    ops = segment_ops(segment, false, position, place)
    if rest == [], do: ops, else: ops ++ segments(tl(rest), place)
  end

  defp segment_ops([], _created?, _position, _place), do: []

  defp segment_ops([{:replace, rule, current} | rest], false, position, place) do
    [
      {:replace_rule, place.family, place.table, place.chain, current.handle, rule}
      | segment_ops(rest, false, position, place)
    ]
  end

  defp segment_ops([{_kind, rule, current} | rest], _created?, position, place) do
    deletes = if current, do: [delete(place, current)], else: []

    deletes ++
      [
        {:create_rule, place.family, place.table, place.chain, rule, position}
        | segment_ops(rest, true, position, place)
      ]
  end

  defp delete(%{family: family, table: table, chain: chain}, %Rule{handle: handle}),
    do: {:delete_rule, family, table, chain, handle}

  # The longest run of rules whose order has not changed, as a set of keys.
  defp in_order(rules, index) do
    places = Enum.map(rules, fn {key, _rule} -> index[key] end)

    if increasing?(places),
      do: MapSet.new(rules, &elem(&1, 0)),
      else: rules |> Enum.zip(places) |> patience()
  end

  defp increasing?([a, b | rest]), do: a < b and increasing?([b | rest])
  defp increasing?(_rest), do: true

  # Patience sorting: the top card of each pile is the smallest end of a run of that length.
  defp patience(rules) do
    {piles, links} =
      Enum.reduce(rules, {[], %{}}, fn {{key, _rule}, at}, {piles, links} ->
        {before, from} = Enum.split_while(piles, fn {top, _key} -> top < at end)
        {before ++ [{at, key} | Enum.drop(from, 1)], Map.put(links, key, last_key(before))}
      end)

    piles |> last_key() |> walk(links, []) |> MapSet.new()
  end

  defp last_key([]), do: nil
  defp last_key(piles), do: piles |> List.last() |> elem(1)

  defp walk(nil, _links, acc), do: acc
  defp walk(key, links, acc), do: walk(links[key], links, [key | acc])
end
