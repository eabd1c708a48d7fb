defmodule Linx.Test.Reconcile.Reported do
  @moduledoc false
  # The entries that the report of a pass names as not done.

  alias Linx.Netlink.Rtnl
  alias Linx.Netlink.Rtnl.{Address, Link, Route, Rule}
  alias Linx.Test.Reconcile.{Command, View}

  @doc "The keys (`View.key_of/1`) of what a report calls failed or pending."
  def keys(report, entries, socket) do
    names = {names(socket), Map.new(entries, &{Command.entry(&1), View.key_of(&1)})}
    ops = Enum.map(report.failed, &elem(&1, 0)) ++ report.pending
    MapSet.new(ops, fn op -> op |> elem(1) |> key(names) end)
  end

  defp key(%Address{} = a, {names, _entries}) do
    ip = tuple(a.local || a.address)
    link = names[a.index]
    if a.family == 2, do: {:address, link, ip, a.prefixlen}, else: {:address, link, ip}
  end

  defp key(%Route{} = r, _) do
    family = if r.family == 2, do: :inet, else: :inet6

    dst =
      if r.dst, do: tuple(r.dst), else: Tuple.duplicate(0, if(family == :inet, do: 4, else: 8))

    metric =
      if family == :inet,
        do: r.priority || 0,
        else: if(r.priority in [nil, 0], do: 1024, else: r.priority)

    {family, r.table_ext || r.table, {View.network(dst, r.dst_len), r.dst_len}, metric, r.tos}
  end

  defp key(%Link{name: name}, _), do: {:link, name}

  # The entry that the rule is the object of.
  defp key(%Rule{} = rule, {_names, entries}) do
    Enum.find_value(entries, rule, fn {written, key} ->
      if is_list(written) and same?(written, rule), do: key
    end)
  end

  defp key(written, {_names, entries}), do: Map.get(entries, written, written)

  defp same?(opts, rule) do
    {:ok, wanted} = Rule.new(opts)
    %{wanted | protocol: rule.protocol, flags: rule.flags} == rule
  end

  defp tuple(%{bytes: <<a, b, c, d>>}), do: {a, b, c, d}
  defp tuple(%{bytes: bytes}), do: for(<<n::16 <- bytes>>, do: n) |> List.to_tuple()

  defp names(socket) do
    {:ok, links} = Rtnl.Link.list(socket)
    Map.new(links, &{&1.index, &1.name})
  end
end
