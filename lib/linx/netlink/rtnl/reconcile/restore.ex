defmodule Linx.Netlink.Rtnl.Reconcile.Restore do
  @moduledoc false
  # Puts back the addresses and routes that the kernel removes along with an address.
  #
  # With a primary IPv4 address go the secondaries of its subnet (unless promote_secondaries is
  # set), with the last one of a link all IPv4 routes by that link, and with any address the
  # routes that have it as their source; an IPv6 route loses that source. Addresses and other
  # programs' routes are made again as they were. Routes of ours are compared again afterwards.

  alias Linx.Netlink.Rtnl.{Address, Call, Diff, Route}
  alias Linx.Netlink.Rtnl.Reconcile.{Addresses, Canonical, Step}
  alias Linx.Netlink.Socket

  @inet 2
  @inet6 10
  # RTPROT_KERNEL: the routes that come and go with their address.
  @kernel 2

  defstruct [:addresses, :routes, :indices, :sources]

  @type t :: %__MODULE__{
          addresses: [Address.t()],
          routes: [Route.t()],
          indices: MapSet.t(),
          sources: MapSet.t()
        }

  @doc "The addresses that steps delete, on the way or for good."
  @spec deleted([Step.t()], %{optional(term()) => [Address.t()]}) :: [Address.t()]
  def deleted(steps, by_id) do
    Enum.flat_map(steps, fn
      %{op: {:delete, %Address{} = address}} -> [address]
      %{op: {:update, %Address{} = address}} -> Map.get(by_id, Canonical.address_id(address), [])
      _step -> []
    end)
  end

  @doc "What may go with the given addresses: read before they are deleted."
  @spec before(Socket.t(), [Address.t()]) :: {:ok, t() | nil} | {:error, term()}
  def before(_socket, []), do: {:ok, nil}

  def before(socket, deleted) do
    indices = MapSet.new(for %{family: @inet, index: index} <- deleted, do: index)
    sources = MapSet.new(deleted, &Canonical.own/1)

    with {:ok, addresses} <- Address.list(socket),
         {:ok, routes} <- concerned(socket, indices, sources) do
      {:ok, %__MODULE__{addresses: addresses, routes: routes, indices: indices, sources: sources}}
    end
  end

  defp concerned(socket, indices, sources) do
    with {:ok, routes} <- Route.list(socket) do
      {:ok, Enum.filter(routes, &(&1.protocol != @kernel and concerned?(&1, indices, sources)))}
    end
  end

  defp concerned?(route, indices, sources) do
    MapSet.member?(sources, route.prefsrc) or
      (route.family == @inet and
         (MapSet.member?(indices, route.oif) or
            Enum.any?(route.multipath || [], &MapSet.member?(indices, &1.oif))))
  end

  @doc """
  Puts back what has gone: the operations that were carried out, and what could not be put back.
  Addresses in `meant` were to go, and so were routes of `protocol` that are compared again.
  """
  @spec put_back(Socket.t(), t() | nil, MapSet.t(), 1..255) ::
          {:ok, [Diff.op()], [Address.t() | Route.t()]} | {:error, term()}
  def put_back(_socket, nil, _meant, _protocol), do: {:ok, [], []}

  def put_back(socket, before, meant, protocol) do
    with {:ok, now} <- Address.list(socket) do
      there = MapSet.new(now, &Canonical.address_id/1)

      gone =
        for address <- before.addresses,
            id = Canonical.address_id(address),
            address.index in before.indices,
            address.family == @inet,
            not MapSet.member?(there, id) and not MapSet.member?(meant, id),
            do: address

      {made, lost} = Enum.split_with(gone, &(Addresses.put_back(socket, &1) == :ok))

      sources = MapSet.new(now, &Canonical.own/1)

      with {:ok, routes, lost_routes} <- routes(socket, before, protocol, sources),
           do: {:ok, for(address <- made, do: {:create, address}) ++ routes, lost ++ lost_routes}
    end
  end

  defp routes(_socket, %{routes: []}, _protocol, _sources), do: {:ok, [], []}

  defp routes(socket, before, protocol, sources) do
    with {:ok, now} <- concerned_now(socket, before) do
      there = MapSet.new(now, &value/1)

      gone =
        Enum.reject(before.routes, &(&1.protocol == protocol or MapSet.member?(there, value(&1))))

      # An IPv6 route whose source is gone for good stays as it is.
      {gone, sourceless} =
        Enum.split_with(gone, &(&1.family == @inet or MapSet.member?(sources, &1.prefsrc)))

      firsts = MapSet.new(Enum.uniq_by(now, &Canonical.route_key/1), &way/1)
      {made, lost} = again(socket, gone, firsts, [])
      {:ok, made, sourceless ++ lost}
    end
  end

  # An IPv6 route that has lost its source is there without it.
  defp concerned_now(socket, before) do
    with {:ok, routes} <- Route.list(socket) do
      keys = MapSet.new(before.routes, &Canonical.route_key/1)
      {:ok, Enum.filter(routes, &MapSet.member?(keys, Canonical.route_key(&1)))}
    end
  end

  defp value(route), do: Canonical.again(route)

  # The fields by which IPv6 distinguishes routes of one key: protocol and hops, not the source.
  defp way(route), do: {Canonical.route_key(route), route.protocol, Canonical.hops(route)}

  # In the order in which they were listed, and again as long as one of them makes another
  # possible.
  defp again(_socket, [], _firsts, made), do: {Enum.reverse(made), []}

  defp again(socket, gone, firsts, made) do
    case Enum.split_with(gone, &(make(socket, &1, firsts) == :ok)) do
      {[], lost} ->
        {Enum.reverse(made), lost}

      {done, rest} ->
        again(socket, rest, firsts, Enum.reverse(for(r <- done, do: {:create, r}), made))
    end
  end

  # A group has a source for each hop, and a replacement would take all of them.
  defp make(_socket, %{family: @inet6, multipath: [_ | _]}, _firsts), do: :lost

  # A replacement takes the group of the key, or the first route that is in none. A route behind
  # another one, whoever made that, goes and comes back.
  defp make(socket, %{family: @inet6} = route, firsts) do
    new = Canonical.again(route)

    if Canonical.grouped?(route) or MapSet.member?(firsts, way(route)),
      do: Call.change(socket, Route.change(:replace, new)),
      else: anew(socket, route, new)
  end

  defp make(socket, route, _firsts),
    do: Call.change(socket, Route.change(:append, Canonical.again(route)))

  # The source that the kernel does not take (yet) is left out, as the kernel has left it. The
  # route counts as lost whether it is there without its source or not at all, and is tried again
  # as long as other routes come back.
  defp anew(socket, route, new) do
    bare = %{new | prefsrc: nil}

    with :ok <- Step.delete_route(socket, route),
         {:error, _} = error <- Call.change(socket, Route.change(:append, new)),
         do: Step.undone(error, [{{:create, bare}, fn -> append(socket, bare) end}])
  end

  defp append(socket, route), do: Call.change(socket, Route.change(:append, route))
end
