defmodule Linx.Netlink.Rtnl.Link.Group do
  @moduledoc false
  # Links are removed by group: the kernel then waits once for all their users, as against 20 ms
  # for each.

  import Linx.Netlink.Rtnl.Constants

  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Batch, Call, Link}
  alias Linx.Netlink.Rtnl.Link.Index

  @spec delete(Socket.t(), [Link.ref()]) :: {:ok, [:ok | {:error, term()}]} | {:error, term()}
  def delete(_socket, []), do: {:ok, []}

  def delete(socket, refs) do
    with {:ok, links} <- Link.list(socket),
         groups = Map.new(links, &{&1.index, &1.group || 0}),
         {:ok, index} <- Index.all(socket, refs),
         group = unused_group(MapSet.new(Map.values(groups))),
         targets = Enum.map(refs, index),
         {:ok, grouped} <- Batch.run(socket, targets, &group_op(&1, group)) do
      delete_group(socket, group, targets, grouped, groups)
    end
  end

  defp delete_group(socket, group, targets, grouped, groups) do
    if Enum.any?(grouped, &(&1 == :ok)) do
      case Call.change(socket, Call.op(rtm_dellink(), 0, %Link{group: group})) do
        :ok -> {:ok, grouped}
        {:error, _} -> delete_each(socket, targets, grouped, groups)
      end
    else
      {:ok, grouped}
    end
  end

  defp delete_each(socket, targets, grouped, groups) do
    with {:ok, _} <- Batch.run(socket, targets, &restore_op(&1, groups)) do
      results =
        Enum.zip_with(targets, grouped, fn
          {:ok, index}, :ok -> socket |> Link.delete(index) |> gone()
          _, error -> error
        end)

      {:ok, results}
    end
  end

  # It was there a moment ago, and went with one before it: the other end of a veth pair, a
  # macvlan with its parent.
  defp gone({:error, %Error{errno: :enodev}}), do: :ok
  defp gone(result), do: result

  defp group_op({:ok, index}, group),
    do: Call.op(rtm_setlink(), 0, %Link{index: index, group: group})

  defp group_op(error, _group), do: error

  defp restore_op({:ok, index}, groups),
    do: group_op({:ok, index}, Map.get(groups, index, 0))

  defp restore_op(error, _groups), do: error

  # Group 0 is the one that links are in by default.
  defp unused_group(used) do
    group = :rand.uniform(0x7FFFFFFF)
    if MapSet.member?(used, group), do: unused_group(used), else: group
  end
end
