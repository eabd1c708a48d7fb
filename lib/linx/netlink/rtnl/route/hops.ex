defmodule Linx.Netlink.Rtnl.Route.Hops do
  @moduledoc false
  # IPv6 routes by several devices without gateways. The kernel takes none of them in one request
  # ("Device only routes can not be added for IPv6 using the multipath API"): each hop is a
  # request, the first as the verb says and the others appended to it. Gateways come first: a list
  # leaves out a route that stands between the hops of a group (fib6_dump_node).

  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Call, Route}
  alias Linx.Netlink.Rtnl.Route.Change

  @inet6 10

  @doc """
  Carries out the op of an add or append, in as many requests as it takes. A failed one takes back
  those before it.
  """
  @spec change(Socket.t(), :add | :append, Call.op()) :: :ok | {:error, term()}
  def change(socket, verb, {:ok, {_type, _flags, %Route{family: @inet6} = route, _}} = op) do
    case route.multipath do
      [_ | _] = hops ->
        if Enum.any?(hops, &(&1.gateway == nil)),
          do: each(socket, verb, hops |> in_order() |> Enum.map(&alone(&1, route)), []),
          else: Call.change(socket, op)

      nil ->
        Call.change(socket, op)
    end
  end

  def change(socket, _verb, op), do: Call.change(socket, op)

  defp in_order(hops), do: Enum.sort_by(hops, &(&1.gateway == nil))

  # Only a list of hops has weights.
  defp alone(%{gateway: %{}, weight: weight} = hop, route) when weight != 1,
    do: %{route | multipath: [hop], gateway: nil, oif: nil}

  defp alone(hop, route) do
    %{route | multipath: nil, gateway: hop.gateway, oif: index(hop.oif), flags: hop.flags}
  end

  # A hop without a link has 0.
  defp index(0), do: nil
  defp index(oif), do: oif

  defp each(_socket, _verb, [], _made), do: :ok

  defp each(socket, verb, [route | routes], made) do
    case Call.change(socket, Change.change(verb, route)) do
      :ok ->
        each(socket, :append, routes, [route | made])

      {:error, error} ->
        {:error, taken_back(error, for(route <- made, result = undo(socket, route), do: result))}
    end
  end

  defp undo(socket, route) do
    case Call.change(socket, Change.change(:delete, Change.bare(route))) do
      :ok -> nil
      {:error, %Error{errno: :esrch}} -> nil
      {:error, error} -> error
    end
  end

  defp taken_back(error, []), do: error

  defp taken_back(error, [left | _]) do
    text = "#{Exception.message(error)}; a hop before it is left: #{Exception.message(left)}"
    %{error | message: text}
  end
end
