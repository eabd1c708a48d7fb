defmodule Linx.Netlink.Rtnl.Reconcile.Observed do
  @moduledoc false
  # The kernel's state as a pass compares it: addresses by identity, routes and rules by key,
  # links by name and index.
  #
  # IPv4 routes are read by protocol, which is whose they are. An IPv6 group is listed under the
  # protocol of its first hop, so all IPv6 routes are read where a hop of ours may be in a group
  # that begins with another's.

  import Linx.Netlink.Constants
  import Linx.Netlink.Rtnl.Constants

  alias Linx.Netlink.{Attr, Error, Request, Socket}
  alias Linx.Netlink.Rtnl.{Address, Link, Route, Rule}
  alias Linx.Netlink.Rtnl.Link.Options
  alias Linx.Netlink.Rtnl.Reconcile.{Canonical, Gateways}

  @skip_stats 8
  @inet6 10

  defstruct addresses: [],
            by_id: %{},
            routes: %{},
            rests: %{},
            rules: [],
            follow: %{},
            links: %{}

  @type t :: %__MODULE__{
          addresses: [Address.t()],
          by_id: %{optional(term()) => [Address.t()]},
          routes: %{optional(term()) => [Route.t()]},
          rests: %{optional(term()) => non_neg_integer() | :forever},
          rules: [Rule.t()],
          follow: Gateways.follow(),
          links: %{optional(pos_integer()) => Link.t()}
        }

  @doc """
  Reads what the entries are compared with. `remembered` are the IPv6 keys whose groups may hold
  hops of ours, or `nil` if that is not known.
  """
  @spec read(Socket.t(), map(), 1..255, MapSet.t() | nil, map()) :: {:ok, t()} | {:error, term()}
  def read(socket, entries, protocol, remembered, links) do
    links = Map.new(links, fn {_ref, link} -> {link.index, link} end)

    with {:ok, addresses} <- Address.list(socket),
         {:ok, routes} <- routes(socket, entries.routes, protocol, remembered),
         {:ok, rests} <- rests(socket, entries.routes),
         {:ok, rules} <- rules(socket, protocol),
         {:ok, follow} <- Gateways.follow(socket, entries.routes),
         {:ok, by_index} <- links_of(socket, Map.values(follow), links) do
      {:ok,
       %__MODULE__{
         addresses: addresses,
         by_id: Enum.group_by(addresses, &Canonical.address_id/1),
         routes: routes,
         rests: rests,
         rules: rules,
         follow: follow,
         links: Map.merge(links, by_index)
       }}
    end
  end

  # -- routes ------------------------------------------------------------------------------------

  defp routes(socket, _entries, protocol, nil) do
    with {:ok, inet} <- Route.list(socket, family: :inet, protocol: protocol),
         {:ok, inet6} <- Route.list(socket, family: :inet6),
         do: {:ok, by_key(inet ++ inet6)}
  end

  defp routes(socket, entries, protocol, remembered) do
    with {:ok, routes} <- Route.list(socket, protocol: protocol) do
      listed = by_key(routes)

      if shared?(entries, listed, remembered) do
        with {:ok, inet6} <- Route.list(socket, family: :inet6),
             do: {:ok, by_key(Enum.reject(routes, &(&1.family == @inet6)) ++ inet6)}
      else
        {:ok, listed}
      end
    end
  end

  # Whether an IPv6 key needs more than the routes that are listed as ours: a key that is not
  # listed so, and one whose route is not as desired. Only gateways in the place of a single
  # gateway are settled without. The kernel replaces a group by a group, and with any other route
  # the first one of the key that is in no group, whoever made it (fib6_add_rt2node).
  defp shared?(entries, listed, remembered) do
    Enum.any?(entries, fn
      %{item: %{family: @inet6}} = entry -> unsettled?(entry, Map.get(listed, entry.key))
      _ -> false
    end) or Enum.any?(remembered, &(not is_map_key(listed, &1)))
  end

  defp unsettled?(entry, [seen]) do
    (entry.spans != nil or not Canonical.same_route?(entry.item, entry.set, seen)) and
      not (seen.multipath == nil and Canonical.grouped?(seen) and Canonical.grouped?(entry.item))
  end

  defp unsettled?(_entry, _none_or_several), do: true

  defp by_key(routes) do
    map = Map.new(routes, &{Canonical.route_key(&1), [&1]})

    if map_size(map) == length(routes),
      do: map,
      else: Enum.group_by(routes, &Canonical.route_key/1)
  end

  # The time left of IPv6 routes that expire. Lists leave RTA_CACHEINFO out, which nothing else
  # needs.
  defp rests(socket, entries) do
    if Enum.any?(entries, & &1.spans) do
      request = Route.encode(%Route{family: @inet6})

      with {:ok, messages} <- Request.talk(socket, rtm_getroute(), nlm_f_dump(), request),
           do: {:ok, Map.new(messages, &rest(&1.payload))}
    else
      {:ok, %{}}
    end
  end

  @rta_cacheinfo 12
  # USER_HZ
  @ticks 100

  defp rest(<<_rtmsg::binary-12, attrs::binary>> = body) do
    rest =
      case List.keyfind(Attr.scan(attrs), @rta_cacheinfo, 0) do
        {_, <<_clntref::32, _lastuse::32, expires::native-signed-32, _::binary>>}
        when expires != 0 ->
          max(div(expires, @ticks), 0)

        _ ->
          :forever
      end

    {id(Route.decode(body)), rest}
  end

  # Several routes may have one key.
  defp id(route), do: {Canonical.route_key(route), route.protocol, Canonical.hops(route)}

  @doc "What is left of an observed route, in seconds."
  @spec rest_of(t(), Route.t()) :: non_neg_integer() | :forever
  def rest_of(observed, route), do: Map.get(observed.rests, id(route), :forever)

  # -- rules -------------------------------------------------------------------------------------

  defp rules(socket, protocol) do
    with {:ok, rules} <- Rule.list(socket),
         do: {:ok, Enum.filter(rules, &(&1.protocol == protocol))}
  end

  @doc "The link on which a gateway is found, for a route of a table, or `nil`."
  @spec link_of(t(), non_neg_integer(), Route.t() | Route.Nexthop.t()) :: pos_integer() | nil
  def link_of(%{follow: follow}, table, hop), do: Gateways.link_of(follow, table, hop)

  # -- links -------------------------------------------------------------------------------------

  @doc """
  The links of that name or index, by it. Those that are not there are left out.
  """
  @spec links_of(Socket.t(), [Link.ref()], map()) :: {:ok, map()} | {:error, Error.t() | term()}
  def links_of(socket, refs, known \\ %{}) do
    requested =
      for ref <- Enum.uniq(refs),
          not is_map_key(known, ref),
          {:ok, request} <- [Options.identify(ref)],
          do: {ref, {rtm_getlink(), 0, Link.encode(%{request | ext_mask: @skip_stats})}}

    with {:ok, answers} <- Request.lookup(socket, Enum.map(requested, &elem(&1, 1))) do
      requested
      |> Enum.zip(answers)
      |> Enum.reduce_while({:ok, %{}}, fn
        {{ref, _}, {:ok, body}}, {:ok, links} ->
          {:cont, {:ok, Map.put(links, ref, Link.decode(body))}}

        {_, {:error, %Error{errno: errno, stage: nil}}}, {:ok, links}
        when errno in [:enodev, :enxio] ->
          {:cont, {:ok, links}}

        {_, {:error, error}}, _links ->
          {:halt, {:error, error}}
      end)
    end
  end
end
