defmodule Linx.Netlink.Rtnl.Reconcile.Rules do
  @moduledoc false
  # The steps that make policy rules as desired. A rule has no value beside its identity: it is
  # made or deleted. Rules with our protocol are ours.

  import Linx.Netlink.Rtnl.Constants

  alias Linx.Netlink.Error
  alias Linx.Netlink.Rtnl.{Call, Rule}
  alias Linx.Netlink.Rtnl.Reconcile.{Canonical, Desired, Step}

  @doc "Creations with updates, and deletions."
  @spec steps([Desired.Entry.t()], [Rule.t()]) :: {[Step.t()], [Step.t()]}
  def steps([], []), do: {[], []}

  def steps(entries, seen) do
    {missing, rest} = match(entries, seen)
    stale = MapSet.new(rest)
    numbered = Enum.with_index(missing, 1)
    alike = alike(numbered, seen)

    {changes, replaced} =
      Enum.map_reduce(numbered, MapSet.new(), fn {entry, n}, replaced ->
        taken =
          for {m, rule} <- taken(entry.item, alike),
              m < n,
              not MapSet.member?(replaced, rule),
              do: rule

        {old, kept} = Enum.split_with(taken, &MapSet.member?(stale, &1))
        {change(entry.item, old, kept), MapSet.union(replaced, MapSet.new(old))}
      end)

    {changes, for(rule <- rest, not MapSet.member?(replaced, rule), do: delete(rule))}
  end

  # The kernel refuses a rule if it has one of ours that differs in nothing that it compares. What
  # the new rule leaves out of these, it does not compare (fib4_rule_compare).
  @open [:src, :dst, :tos, :dscp]

  # The rules that are there (0), and those that the pass makes by their number, under what is
  # compared with each new one.
  defp alike(numbered, seen) do
    made =
      for {%{item: %{priority: priority} = item}, n} <- numbered, priority != nil, do: {n, item}

    there = Enum.map(seen, &{0, &1}) ++ made

    for open <- made |> Enum.map(fn {_n, item} -> open(item) end) |> Enum.uniq(), into: %{} do
      {open, Enum.group_by(there, fn {_n, rule} -> compared(rule, open) end)}
    end
  end

  # The kernel gives a rule without a priority one that none has.
  defp taken(%{priority: nil}, _alike), do: []

  defp taken(item, alike) do
    open = open(item)
    alike |> Map.fetch!(open) |> Map.get(compared(item, open), [])
  end

  defp open(rule), do: Enum.filter(@open, &open?(rule, &1))

  defp open?(rule, :src), do: rule.src_len in [nil, 0]
  defp open?(rule, :dst), do: rule.dst_len in [nil, 0]
  defp open?(rule, :tos), do: rule.tos in [nil, 0]
  defp open?(rule, :dscp), do: rule.dscp == nil

  defp compared(rule, open) do
    open
    |> Enum.reduce(rule, fn
      :src, rule -> %{rule | src_len: 0}
      :dst, rule -> %{rule | dst_len: 0}
      key, rule -> Map.replace!(rule, key, nil)
    end)
    |> Canonical.kernel_rule_key()
  end

  # A rule without a priority is any of that sort, whatever priority the kernel gave it; those
  # with one choose first.
  defp match(entries, seen) do
    {given, any} = Enum.split_with(entries, & &1.item.priority)
    {missing, rest} = match(given, seen, &Canonical.rule_key/1)
    {missing_any, rest} = match(any, rest, &put_elem(Canonical.rule_key(&1), 0, nil))
    missing = MapSet.new(missing ++ missing_any, & &1.key)
    {Enum.filter(entries, &MapSet.member?(missing, &1.key)), rest}
  end

  defp match(entries, seen, key) do
    {missing, left} =
      Enum.reduce(entries, {[], Enum.group_by(seen, key)}, fn %{key: wanted} = entry,
                                                              {missing, left} ->
        case left do
          %{^wanted => [_ | others]} -> {missing, Map.put(left, wanted, others)}
          %{} -> {[entry | missing], left}
        end
      end)

    rest = MapSet.new(Enum.concat(Map.values(left)))
    {missing, Enum.filter(seen, &MapSet.member?(rest, &1))}
  end

  defp change(rule, [], []), do: Step.request({:create, rule}, new(rule))

  # Those that would be taken for the new rule go first; those that are desired come back behind
  # it, and where it cannot be made, so do the others. The kernel says what is wrong with the new
  # rule itself before it looks for others (fib_nl2rule), so an impossible one is refused while
  # all are there.
  defp change(rule, old, kept) do
    %Step{
      op: {if(old == [], do: :create, else: :update), rule},
      run: fn socket ->
        case Call.change(socket, new(rule)) do
          :ok ->
            all(old, &Step.delete(socket, del(&1)))

          {:error, %Error{errno: :eexist}} ->
            with :ok <- all(old ++ kept, &Step.delete(socket, del(&1))),
                 do: exchange(socket, rule, old, kept)

          error ->
            error
        end
      end
    }
  end

  defp exchange(socket, rule, old, kept) do
    case Call.change(socket, new(rule)) do
      :ok ->
        all(kept, &again(socket, &1))

      error ->
        Step.undone(
          error,
          for(rule <- old ++ kept, do: {{:create, rule}, fn -> again(socket, rule) end})
        )
    end
  end

  defp again(socket, rule), do: Call.change(socket, new(Canonical.rule_deletion(rule)))

  defp all(rules, run) do
    Enum.reduce_while(rules, :ok, fn rule, :ok ->
      case run.(rule) do
        :ok -> {:cont, :ok}
        error -> {:halt, error}
      end
    end)
  end

  defp delete(rule), do: Step.deletion({:delete, rule}, del(rule))

  defp new(rule), do: Call.op(rtm_newrule(), Call.create(), rule, Call.words(&refusal/1))
  defp del(rule), do: Call.op(rtm_delrule(), 0, Canonical.rule_deletion(rule))

  defp refusal(:eexist), do: "the rule exists already"
  defp refusal(_errno), do: nil
end
