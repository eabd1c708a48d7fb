defmodule Linx.Netlink.Rtnl.Reconcile do
  @moduledoc """
  One pass that makes a namespace's addresses and routes as desired: read, compare, change what differs.

      desired = %{
        addresses: [{"eth0", "192.0.2.10", 24}],
        routes: [{:default, "192.0.2.1"}, {"10.1.0.0", 16, "192.0.2.254", table: 100, metric: 50}]
      }

      {:ok, report} = Linx.Netlink.Rtnl.Reconcile.reconcile(socket, desired)
      {:ok, again} = Linx.Netlink.Rtnl.Reconcile.reconcile(socket, desired, report.last_applied)
      [] = again.applied

  No process, no state: when to run it is the caller's business, and `Linx.Reconcile` is a ready-made loop.

  Links must exist; they are neither made nor configured here. They are named, since indices change, and the names are
  looked up at each pass.

  ## What is ours

  Routes that this makes carry a protocol number, by default `default_protocol/0`, and only routes that carry it are
  compared, changed or deleted. A route of someone else's to the same place with the same metric makes ours fail with
  `:eexist`; it is not touched. (It follows that two reconcilers of one namespace need two protocols.)

  Addresses carry no such mark. An address is ours if an earlier pass made it, which is what `last_applied` remembers; one
  that was there already is used as it is and never deleted. Who starts again with an empty `last_applied` keeps all
  addresses and forgets which were ours.

  ## Order

  New addresses, new and changed routes, then deleted routes, then deleted addresses: a gateway is reachable before a
  route needs it. The first operation that fails ends the pass, and the report tells which were left; the next pass starts
  from what is then there. A deletion of what is already gone counts as done.

  Source: rtnetlink(7); `enum rtm_protocol` in linux/rtnetlink.h.
  """

  alias Linx.Netlink.{Error, Heap, Socket}
  alias Linx.Netlink.Rtnl.{Address, Call, Diff, Route}
  alias Linx.Netlink.Rtnl.Link.Index
  alias Linx.Netlink.Rtnl.Reconcile.Report

  @default_protocol 76

  # A pass makes 550 words of an address or a route, and keeps 100. With room for most of them at the start it is collected
  # once instead of forty times; room for all takes longer to come by than that once.
  @words 400

  @typedoc "`{interface, ip, prefixlen}`."
  @type address_spec :: {String.t(), binary() | Linx.IP.t(), non_neg_integer()}

  @typedoc """
  `{destination, prefixlen, gateway}` or `{:default, gateway}`, each also with options at the end: those of
  `Linx.Netlink.Rtnl.Route`, without `:protocol`.
  """
  @type route_spec ::
          {binary() | Linx.IP.t(), non_neg_integer(), binary() | Linx.IP.t()}
          | {binary() | Linx.IP.t(), non_neg_integer(), binary() | Linx.IP.t(), keyword()}
          | {:default, binary() | Linx.IP.t()}
          | {:default, binary() | Linx.IP.t(), keyword()}

  @typedoc "What should be. A key that is absent is an empty list."
  @type desired :: %{
          optional(:addresses) => [address_spec()],
          optional(:routes) => [route_spec()]
        }

  @typedoc "What is ours, from the last pass's report."
  @type last_applied :: %{optional(:addresses) => MapSet.t()}

  @doc """
  The protocol number of routes made here unless another is given: 76, an `L`.
  """
  @spec default_protocol() :: pos_integer()
  def default_protocol, do: @default_protocol

  @doc """
  Makes one pass in the socket's namespace.

  `{:ok, report}` also when an operation failed: the report says which. `{:error, {:normalize, reason}}` means that the
  desired state makes no sense (no such interface, no address, unlike families, the same thing twice) and nothing was
  done; `{:error, error}` that the kernel could not be read.

  The option `:protocol` marks the routes that are ours, 1..255 or a name that `Linx.Netlink.Rtnl.Route` knows.
  """
  @spec reconcile(Socket.t(), desired(), last_applied(), keyword()) ::
          {:ok, Report.t()} | {:error, term()}
  def reconcile(socket, desired, last_applied \\ %{}, opts \\ []) do
    with {:ok, protocol} <- protocol(opts),
         {:ok, specs} <- specs(desired) do
      count = length(specs.addresses) + length(specs.routes)
      Heap.roomy(count * @words, fn -> pass(socket, specs, last_applied, protocol) end)
    end
  end

  defp pass(socket, specs, last_applied, protocol) do
    with {:ok, index} <- Index.all(socket, names(specs)),
         {:ok, addresses} <- normalize(specs.addresses, &address(&1, index), &Diff.address_key/1),
         {:ok, routes} <- normalize(specs.routes, &route(&1, protocol, index), &Diff.route_key/1),
         {:ok, observed} <- observe(socket, protocol: protocol) do
      owned = Map.get(last_applied, :addresses, MapSet.new())
      addr_ops = Diff.addresses(addresses, observed.addresses, owned)
      route_ops = Diff.routes(routes, observed.routes, protocol)
      ops = order(addr_ops, route_ops)

      {applied, failed, pending} = apply_all(socket, ops, old_routes(route_ops, observed.routes))
      owned = owned(owned, observed.addresses, applied)

      {:ok,
       %Report{
         converged?: failed == [] and pending == [],
         applied: applied,
         failed: failed,
         pending: pending,
         last_applied: Map.put(last_applied, :addresses, owned)
       }}
    end
  end

  # What a pass looks at: every address, and the routes of a protocol.
  @doc false
  @spec observe(Socket.t(), keyword()) ::
          {:ok, %{addresses: [Address.t()], routes: [Route.t()]}} | {:error, term()}
  def observe(socket, opts) do
    with {:ok, protocol} <- protocol(opts),
         {:ok, addresses} <- Address.list(socket),
         {:ok, routes} <- Route.list(socket, protocol: protocol),
         do: {:ok, %{addresses: addresses, routes: routes}}
  end

  # -- the desired state -------------------------------------------------------------------------------------------------

  defp protocol(opts) do
    case Keyword.pop(opts, :protocol, @default_protocol) do
      {protocol, []} -> number(protocol)
      {_, [option | _]} -> {:error, {:normalize, {:bad_option, option}}}
    end
  end

  # 0 is "unspecified", which the kernel takes for "any" where it deletes and filters.
  defp number(protocol) do
    case Route.protocol(protocol) do
      {:ok, number} when number > 0 -> {:ok, number}
      _ -> {:error, {:normalize, {:bad_option, {:protocol, protocol}}}}
    end
  end

  defp specs(%{} = desired) do
    addresses = Map.get(desired, :addresses, [])
    routes = Map.get(desired, :routes, [])

    case Map.keys(desired) -- [:addresses, :routes] do
      [] when is_list(addresses) and is_list(routes) ->
        {:ok, %{addresses: addresses, routes: Enum.map(routes, &route_args/1)}}

      [] ->
        {:error, {:normalize, {:not_a_list, desired}}}

      [key | _] ->
        {:error, {:normalize, {:unknown_key, key}}}
    end
  end

  defp specs(desired), do: {:error, {:normalize, {:not_a_map, desired}}}

  defp route_args({:default, gateway} = spec), do: {spec, [:default, 0, gateway, []]}

  defp route_args({:default, gateway, opts} = spec) when is_list(opts),
    do: {spec, [:default, 0, gateway, opts]}

  defp route_args({dst, prefix, gateway} = spec), do: {spec, [dst, prefix, gateway, []]}

  defp route_args({dst, prefix, gateway, opts} = spec) when is_list(opts),
    do: {spec, [dst, prefix, gateway, opts]}

  defp route_args(spec), do: {spec, :error}

  defp names(specs) do
    for({name, _, _} when is_binary(name) <- specs.addresses, do: name) ++
      for(
        {_, args} when is_list(args) <- specs.routes,
        name <- Route.__names__(:add, args),
        do: name
      )
  end

  defp normalize(specs, build, key) do
    with {:ok, items} <- built(specs, build, []),
         :ok <- distinct(specs, Enum.map(items, key)),
         do: {:ok, items}
  end

  defp built([], _build, items), do: {:ok, Enum.reverse(items)}

  defp built([spec | specs], build, items) do
    case build.(spec) do
      {:ok, item} -> built(specs, build, [item | items])
      {:error, reason} -> {:error, {:normalize, {shown(spec), reason}}}
    end
  end

  defp distinct(specs, keys) do
    if MapSet.size(MapSet.new(keys)) == length(keys),
      do: :ok,
      else: {:error, {:normalize, {:duplicate, specs |> again(keys, %{}) |> shown()}}}
  end

  # The first spec whose key an earlier one has.
  defp again([spec | specs], [key | keys], before) do
    if is_map_key(before, key),
      do: spec,
      else: again(specs, keys, Map.put(before, key, true))
  end

  defp shown({spec, args}) when is_list(args) or args == :error, do: spec
  defp shown(spec), do: spec

  defp address({name, ip, prefix}, index) when is_binary(name) do
    with {:ok, index} <- index.(name), do: Address.build(index, ip, prefix)
  end

  defp address(_spec, _index), do: {:error, :not_an_address}

  defp route({_spec, :error}, _protocol, _index), do: {:error, :not_a_route}

  defp route({_spec, [:default, 0, gateway, opts]}, protocol, index) do
    with {:ok, gateway} <- Linx.IP.cast(gateway),
         do: route({nil, [Route.unspecified(gateway), 0, gateway, opts]}, protocol, index)
  end

  defp route({_spec, [dst, prefix, gateway, opts]}, protocol, index) do
    opts = Keyword.put(opts, :protocol, protocol)

    with {:ok, {_type, _flags, route, _explain}} <-
           Route.__op__(:add, [dst, prefix, gateway, opts], index),
         do: {:ok, route}
  end

  # -- carrying out ------------------------------------------------------------------------------------------------------

  defp order(addr_ops, route_ops) do
    {addr_deletes, addr_creates} = Enum.split_with(addr_ops, &match?({:delete, _}, &1))
    {route_deletes, route_changes} = Enum.split_with(route_ops, &match?({:delete, _}, &1))
    addr_creates ++ route_changes ++ route_deletes ++ addr_deletes
  end

  # For each route that is to be updated, ours that it takes the place of.
  defp old_routes(ops, observed) do
    updated = for {:update, route} <- ops, do: route
    if updated == [], do: %{}, else: old_routes_of(updated, observed)
  end

  defp old_routes_of(updated, observed) do
    keys = MapSet.new(updated, &Diff.route_key/1)

    observed
    |> Enum.filter(&MapSet.member?(keys, Diff.route_key(&1)))
    |> Enum.group_by(&Diff.route_key/1)
  end

  defp apply_all(socket, ops, old), do: apply_all(socket, ops, old, [])

  defp apply_all(_socket, [], _old, applied), do: {Enum.reverse(applied), [], []}

  defp apply_all(socket, [op | rest], old, applied) do
    case apply_one(socket, op, old) do
      :ok -> apply_all(socket, rest, old, [op | applied])
      {:error, error} -> {Enum.reverse(applied), [{op, error}], rest}
    end
  end

  defp apply_one(socket, {:create, %Address{} = address}, _old),
    do: Call.change(socket, Address.change(:add, address))

  defp apply_one(socket, {:delete, %Address{} = address}, _old),
    do: socket |> Call.change(Address.change(:delete, address)) |> gone()

  defp apply_one(socket, {:create, %Route{} = route}, _old),
    do: Call.change(socket, Route.change(:add, route))

  defp apply_one(socket, {:delete, %Route{} = route}, _old),
    do: socket |> Call.change(Route.change(:delete, Route.bare(route))) |> gone()

  # NLM_F_REPLACE takes the first route to that place with that metric, which may be someone else's. So the new one is
  # put behind it, and the old one, by its own protocol and gateway, taken away: there is a route at every moment.
  defp apply_one(socket, {:update, %Route{} = route}, old) do
    with :ok <- Call.change(socket, Route.change(:append, route)) do
      old
      |> Map.get(Diff.route_key(route), [])
      |> Enum.reduce_while(:ok, fn route, :ok ->
        case apply_one(socket, {:delete, route}, old) do
          :ok -> {:cont, :ok}
          error -> {:halt, error}
        end
      end)
    end
  end

  # Someone was faster, or it went with its link.
  defp gone({:error, %Error{errno: errno, stage: nil}})
       when errno in [:esrch, :enoent, :enodev, :eaddrnotavail],
       do: :ok

  defp gone(result), do: result

  defp owned(owned, observed, applied) do
    seen = MapSet.new(observed, &Diff.address_key/1)

    Enum.reduce(applied, MapSet.intersection(owned, seen), fn
      {:create, %Address{} = address}, owned -> MapSet.put(owned, Diff.address_key(address))
      {:delete, %Address{} = address}, owned -> MapSet.delete(owned, Diff.address_key(address))
      _op, owned -> owned
    end)
  end
end
