defmodule Linx.Netlink.Rtnl.Diff do
  @moduledoc """
  What has to change for the kernel's objects to be as desired. Pure: structs in, operations out.

      iex> alias Linx.Netlink.Rtnl.{Diff, Route}
      iex> {:ok, route} = Route.new("10.1.0.0", 16, "192.0.2.1", protocol: :static)
      iex> Diff.routes([route], [], :static) == [{:create, route}]
      true

  An operation is `{:create, desired}`, `{:update, desired}` (it is there, with another value
  where values may differ) or `{:delete, observed}`.

  ## Whose it is

  Only what is ours may be deleted. Routes carry a mark for that, the protocol: `routes/3` looks
  at observed routes of one protocol and at no others. The other functions take the keys that an
  earlier pass has installed, and delete nothing else.

  ## What makes two of them the same

  | | key | value that may be updated |
  |---|---|---|
  | route | `{table, family, dst, dst_len, metric}`, on IPv4 with the TOS behind it unless it is 0 | type, next hops, and of prefsrc, metrics, pref and onlink those that the desired route has |
  | address | `{index, family, address, prefixlen}`; point-to-point: `{index, family, local, prefixlen, peer}` | |
  | neighbour | `{ifindex, dst}` | lladdr, and that it is permanent |
  | rule | priority, family, every selector and the action | |
  | link | `name` | |

  In a route's key a destination of length 0 is `:default`, host bits are off, and a metric that
  is absent is the one that the kernel takes for it: 0 on IPv4, 1024 on IPv6. Both sides are
  brought to the form that the kernel gives a route before they are compared: one hop of a
  multipath is a gateway, a nexthop object is its id, the order of hops means nothing.

  In a rule's key a neutral value counts as absent: a prefix of no bits, a mark of 0 without a
  mask, a TOS of 0. A rule without a priority gets one from the kernel and so is another rule when
  it is read back: give rules that are to be compared a priority.

  A neighbour whose `state` is neither permanent nor absent is one that the kernel has learned and
  will forget, so it is no desired permanent one.

  Desired and observed must speak of links in the same way, by index;
  `Linx.Netlink.Rtnl.Reconcile` turns names into indices first.

  Source: the identity that the kernel itself gives: ip-address(8), ip-route(8), ip-rule(8);
  RTM_NEWADDR and RTM_NEWROUTE in rtnetlink(7).
  """

  alias Linx.Netlink.Rtnl.Reconcile.Canonical
  alias Linx.Netlink.Rtnl.Route

  @type op :: {:create, struct()} | {:update, struct()} | {:delete, struct()}

  @scope_universe 0

  @doc """
  Routes. `protocol` says which observed routes are ours, as a number or a name that `Route`
  knows; an unknown name raises `ArgumentError`.
  """
  @spec routes([Route.t()], [Route.t()], 0..255 | atom()) :: [op()]
  def routes(desired, observed, protocol) do
    case Route.protocol(protocol) do
      {:ok, number} ->
        route_ops(desired, Enum.filter(observed, &(&1.protocol == number)))

      {:error, _} ->
        raise ArgumentError, "not a route protocol: #{inspect(protocol)}"
    end
  end

  # Several observed routes may have one key: when one of them is as desired, the others are
  # deleted.
  defp route_ops(desired, observed) do
    seen = Enum.group_by(observed, &route_key/1)
    wanted = desired |> Enum.reverse() |> Map.new(&{route_key(&1), &1})

    changes =
      for route <- Enum.uniq_by(desired, &route_key/1),
          op = route_op(route, Map.get(seen, route_key(route), [])),
          do: op

    changes ++
      for(route <- observed, surplus_route?(route, wanted, seen), do: {:delete, route})
  end

  defp route_op(route, []), do: {:create, route}
  defp route_op(route, seen), do: if(not Enum.any?(seen, &as?(route, &1)), do: {:update, route})

  defp surplus_route?(route, wanted, seen) do
    key = route_key(route)

    case wanted do
      %{^key => want} ->
        not as?(want, route) and Enum.any?(Map.fetch!(seen, key), &as?(want, &1))

      %{} ->
        true
    end
  end

  defp as?(want, seen),
    do: Canonical.same_route?(Canonical.route(want), Canonical.set_of(want), seen)

  @doc """
  Addresses. Observed ones of a scope other than global are taken for the kernel's own (IPv6
  link-local) and passed over, unless they are desired.
  """
  @spec addresses([struct()], [struct()], MapSet.t()) :: [op()]
  def addresses(desired, observed, owned_keys) do
    wanted = MapSet.new(desired, &address_key/1)

    observed =
      Enum.filter(observed, fn address ->
        address.scope == @scope_universe or MapSet.member?(wanted, address_key(address))
      end)

    three_way(desired, observed, owned_keys, &address_key/1)
  end

  @doc """
  Links, by name: whether they are there, not how they are configured.
  """
  @spec links([struct()], [struct()], MapSet.t()) :: [op()]
  def links(desired, observed, owned_keys),
    do: three_way(desired, observed, owned_keys, &link_key/1)

  @doc """
  Neighbours.
  """
  @spec neighbours([struct()], [struct()], MapSet.t()) :: [op()]
  def neighbours(desired, observed, owned_keys),
    do: three_way(desired, observed, owned_keys, &neighbour_key/1, &{&1.lladdr, kept?(&1)})

  # NUD_PERMANENT, which an added entry has; one that is not from the kernel has no state.
  defp kept?(%{state: state}), do: state in [nil, 0, 0x80] || state

  @doc """
  Policy rules.
  """
  @spec rules([struct()], [struct()], MapSet.t()) :: [op()]
  def rules(desired, observed, owned_keys),
    do: three_way(desired, observed, owned_keys, &rule_key/1)

  @doc """
  What makes a route that route.
  """
  @spec route_key(Route.t()) :: term()
  defdelegate route_key(route), to: Canonical

  @doc """
  What makes an address that address.
  """
  @spec address_key(struct()) :: term()
  def address_key(%{local: local, address: address} = item) when local not in [nil, address],
    do: {item.index, item.family, local, item.prefixlen, address}

  def address_key(%{index: index, family: family, address: address, prefixlen: prefixlen}),
    do: {index, family, address, prefixlen}

  @doc """
  What makes a link that link.
  """
  @spec link_key(struct()) :: term()
  def link_key(%{name: name}), do: name

  @doc """
  What makes a neighbour that neighbour.
  """
  @spec neighbour_key(struct()) :: term()
  def neighbour_key(%{ifindex: ifindex, dst: dst}), do: {ifindex, dst}

  @doc """
  What makes a rule that rule.
  """
  @spec rule_key(struct()) :: term()
  defdelegate rule_key(rule), to: Canonical

  @doc """
  The difference where all that was observed is ours: what is not desired is deleted.

  `key` says what an item is, `value` what of it may be updated; without it nothing is. Creations
  and updates come in the order of `desired`, then deletions in the order of `observed`. Of
  several observed items with one key, those with another value than the desired one are deleted
  when one has it.
  """
  @spec two_way([struct()], [struct()], (struct() -> term()), (struct() -> term())) :: [op()]
  def two_way(desired, observed, key, value \\ &no_value/1) do
    desired = keyed(desired, key)
    observed = keyed(observed, key)
    wanted = wanted(desired, value)
    seen = seen(observed, value)

    changes(desired, wanted, seen, value) ++
      for {key, item} <- observed, surplus?(value.(item), key, wanted, seen), do: {:delete, item}
  end

  defp surplus?(value, key, wanted, seen) do
    case wanted do
      %{^key => ^value} -> false
      %{^key => wanted} -> wanted in Map.fetch!(seen, key)
      %{} -> true
    end
  end

  @doc """
  The difference where what was observed may be anybody's: only items whose key is in `owned_keys`
  are deleted.
  """
  @spec three_way(
          [struct()],
          [struct()],
          MapSet.t(),
          (struct() -> term()),
          (struct() -> term())
        ) :: [op()]
  def three_way(desired, observed, owned_keys, key, value \\ &no_value/1) do
    desired = keyed(desired, key)
    observed = keyed(observed, key)
    wanted = wanted(desired, value)
    deletable? = &(MapSet.member?(owned_keys, &1) and not is_map_key(wanted, &1))

    changes(desired, wanted, seen(observed, value), value) ++
      for {key, item} <- observed, deletable?.(key), do: {:delete, item}
  end

  # A key is worked out once: there are thousands, and some are computed. For the same reason maps
  # are made from lists, which leaves nothing behind for the collector.
  defp keyed(items, key), do: for(item <- items, do: {key.(item), item})

  # The value wanted for each key. Of several desired items with one key the first counts.
  defp wanted(desired, value),
    do: desired |> Enum.reverse() |> Map.new(fn {key, item} -> {key, value.(item)} end)

  # The values seen for each key, which is one unless the kernel keeps several.
  defp seen(observed, value) do
    seen = Map.new(observed, fn {key, item} -> {key, [value.(item)]} end)

    if map_size(seen) == length(observed),
      do: seen,
      else: Enum.group_by(observed, &elem(&1, 0), fn {_key, item} -> value.(item) end)
  end

  # The entries to create and to update.
  defp changes(desired, wanted, seen, value) do
    firsts =
      if map_size(wanted) == length(desired),
        do: desired,
        else: Enum.uniq_by(desired, &elem(&1, 0))

    for {key, item} <- firsts, op = change(item, value.(item), key, seen), do: op
  end

  defp change(item, value, key, seen) do
    case seen do
      %{^key => [^value]} -> nil
      %{^key => values} -> if value not in values, do: {:update, item}
      %{} -> {:create, item}
    end
  end

  defp no_value(_item), do: nil
end
