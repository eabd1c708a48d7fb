defmodule Linx.Netlink.Rtnl.Reconcile.Rules do
  @moduledoc false
  # The steps that make policy rules as desired. A rule has no value beside its identity: it is made or deleted. Rules with
  # our protocol are ours.

  alias Linx.Netlink.Rtnl.{Call, Rule}
  alias Linx.Netlink.Rtnl.Reconcile.{Canonical, Desired, Step}

  @rtm_newrule 32
  @rtm_delrule 33

  @doc "Creations with updates, and deletions."
  @spec steps([Desired.Entry.t()], [Rule.t()]) :: {[Step.t()], [Step.t()]}
  def steps([], []), do: {[], []}

  def steps(entries, seen) do
    {missing, rest} = match(entries, seen)
    by_kernel_key = Enum.group_by(rest, &Canonical.kernel_rule_key/1)

    # The kernel refuses a rule that differs from one of ours in nothing that it compares.
    {changes, replaced} =
      Enum.map_reduce(missing, MapSet.new(), fn entry, replaced ->
        case by_kernel_key[Canonical.kernel_rule_key(entry.item)] do
          [old | _] -> {update(entry.item, old), MapSet.put(replaced, old)}
          nil -> {create(entry.item), replaced}
        end
      end)

    {changes, for(rule <- rest, not MapSet.member?(replaced, rule), do: delete(rule))}
  end

  # A rule without a priority is any of that sort, whatever priority the kernel gave it; those with one choose first.
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

  defp create(rule), do: Step.request({:create, rule}, new(rule))

  defp update(rule, old) do
    %Step{
      op: {:update, rule},
      run: fn socket ->
        with :ok <- Step.delete(socket, del(old)), do: Call.change(socket, new(rule))
      end
    }
  end

  defp delete(rule), do: Step.deletion({:delete, rule}, del(rule))

  defp new(rule), do: Call.op(@rtm_newrule, Call.create(), rule, Call.words(&refusal/1))
  defp del(rule), do: Call.op(@rtm_delrule, 0, Canonical.rule_deletion(rule))

  defp refusal(:eexist), do: "the rule exists already"
  defp refusal(_errno), do: nil
end
