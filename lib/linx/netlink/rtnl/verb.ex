defmodule Linx.Netlink.Rtnl.Verb do
  @moduledoc false
  # The verbs of a module by its `__names__/2` and `__op__/3` (Linx.Netlink.Rtnl.Call): one, one
  # of many items, or different ones in a batch.

  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Batch, Call}
  alias Linx.Netlink.Rtnl.Link.Index

  @type results :: {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}

  @doc "Carries out one."
  @spec run(Socket.t(), module(), atom(), [term()]) :: :ok | {:error, term()}
  def run(socket, module, verb, args), do: Call.change(socket, op(socket, module, verb, args))

  @doc "The op of one, with the links that it names looked up."
  @spec op(Socket.t(), module(), atom(), [term()]) :: Call.op()
  def op(socket, module, verb, args),
    do: Index.named(socket, module.__names__(verb, args), &module.__op__(verb, args, &1))

  @doc """
  Carries out a verb for each item: a tuple of its arguments, or its only argument.
  """
  @spec many(Socket.t(), module(), atom(), [term()]) :: results()
  def many(socket, module, verb, items),
    do: batch(socket, items, &{module, verb, args(&1)})

  defp args(tuple) when is_tuple(tuple), do: Tuple.to_list(tuple)
  defp args(item), do: [item]

  @doc "Carries out the change, `{module, verb, args}`, of each item."
  @spec batch(Socket.t(), [item], (item -> {module(), atom(), [term()]})) :: results()
        when item: term()
  def batch(socket, items, change) do
    Call.checked!(socket)

    names =
      Enum.flat_map(items, fn item ->
        {module, verb, args} = change.(item)
        module.__names__(verb, args)
      end)

    with {:ok, index} <- Index.all(socket, names) do
      Batch.run(socket, items, fn item ->
        {module, verb, args} = change.(item)
        module.__op__(verb, args, index)
      end)
    end
  end
end
