defmodule Linx.Test.Reconcile.Options do
  @moduledoc false
  # The options that the modules of routes and addresses accept, read from their source.

  alias Linx.Netlink.Rtnl.{Address, Rule}
  alias Linx.Netlink.Rtnl.Route.{Metrics, Options}

  # The marks of what is ours are not an entry's business.
  @marks [:protocol, :proto]

  @doc "The options by kind: `%{route, hop, metric, address, rule}`."
  def options do
    %{
      route: clauses(Options, :option) -- @marks,
      hop: clauses(Options, :hop),
      metric: Metrics.__struct__() |> Map.keys() |> List.delete(:__struct__) |> Enum.sort(),
      address: clauses(Address, :option) -- @marks,
      rule: clauses(Rule.Options, :option) -- @marks
    }
  end

  # The keys in the first arguments of a private function's clauses.
  defp clauses(module, name) do
    source = module.module_info(:compile)[:source]

    {_, found} =
      source
      |> File.read!()
      |> Code.string_to_quoted!()
      |> Macro.prewalk([], &clause(&1, &2, name))

    found |> Enum.reverse() |> Enum.uniq()
  end

  defp clause(
         {:defp, _, [{:when, _, [{name, _, [{key, _value} | _]}, guard]} | _]} = node,
         found,
         name
       )
       when is_tuple(key),
       do: {node, Enum.reverse(listed(key, guard)) ++ found}

  defp clause({:defp, _, [head | _]} = node, found, name) do
    case unguarded(head) do
      {^name, _, [{key, _value} | _]} when is_atom(key) -> {node, [key | found]}
      {^name, _, [[{:|, _, [{key, _value} | _]}] | _]} when is_atom(key) -> {node, [key | found]}
      _ -> {node, found}
    end
  end

  defp clause(node, found, _name), do: {node, found}

  # The keys of `key in [...]`.
  defp listed({name, _, _}, guard) do
    {_, keys} =
      Macro.prewalk(guard, [], fn
        {:in, _, [{^name, _, _}, keys]} = node, found when is_list(keys) -> {node, found ++ keys}
        node, found -> {node, found}
      end)

    keys
  end

  defp unguarded({:when, _, [head | _]}), do: head
  defp unguarded(head), do: head

  @doc "The options of one kind, read once in a process."
  def of(kind) do
    with nil <- Process.get({__MODULE__, kind}) do
      options = Map.fetch!(options(), kind)
      Process.put({__MODULE__, kind}, options)
      options
    end
  end
end
