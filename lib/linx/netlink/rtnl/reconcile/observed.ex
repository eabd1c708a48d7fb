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
  alias Linx.Netlink.Rtnl.Reconcile.Canonical
  alias Linx.Netlink.Rtnl.Route.Query

  @skip_stats 8
  @inet6 10
  @main 254
  # RT_SCOPE_LINK
  @link_scope 253

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
          follow: %{optional(term()) => pos_integer()},
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
         {:ok, follow} <- follow(socket, entries.routes),
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

  # -- the link that a gateway is on -------------------------------------------------------------

  # Where the kernel would find each gateway that a route names without a link: first in the
  # route's own table, then by the rules. A gateway that is not on a link itself is left out.
  defp follow(socket, entries) do
    asked = entries |> Enum.reduce(%{}, &asked/2) |> Map.values()

    with {:ok, tables} <- tables(socket, asked),
         {:ok, main} <- lookups(socket, asked |> Enum.map(&elem(&1, 1)) |> Enum.uniq()) do
      found =
        for {table, gateway} <- asked,
            routes = Map.get(tables, {table, gateway.family}, []),
            oif = on_link(routes, gateway) || main[gateway],
            into: %{},
            do: {{table, gateway.bytes}, oif}

      {:ok, found}
    end
  end

  # The gateways without a link, each once for a table.
  defp asked(%{absent: nil, item: %{nh_id: nil, multipath: nil} = item}, asked) do
    if item.oif == nil, do: ask(asked, Route.target_table(item), item), else: asked
  end

  defp asked(%{absent: nil, item: %{nh_id: nil, multipath: hops} = item}, asked) do
    table = Route.target_table(item)
    hops |> Enum.filter(&(&1.oif == 0)) |> Enum.reduce(asked, &ask(&2, table, &1))
  end

  defp asked(_entry, asked), do: asked

  defp ask(asked, table, %{gateway: %{bytes: bytes} = gateway}),
    do: Map.put(asked, {table, bytes}, {table, gateway})

  defp ask(asked, table, %{via: %{bytes: bytes} = via}),
    do: Map.put(asked, {table, bytes}, {table, via})

  defp ask(asked, _table, _none), do: asked

  @doc "The link on which a gateway is found, for a route of a table, or `nil`."
  @spec link_of(t(), non_neg_integer(), Route.t() | Route.Nexthop.t()) :: pos_integer() | nil
  def link_of(%{follow: follow}, table, hop) do
    case hop.gateway || hop.via do
      nil -> nil
      %{bytes: bytes} -> Map.get(follow, {table, bytes})
    end
  end

  defp tables(socket, asked) do
    asked
    |> Enum.flat_map(fn {table, gateway} ->
      if table == @main, do: [], else: [{table, gateway.family}]
    end)
    |> Enum.uniq()
    |> Enum.reduce_while({:ok, %{}}, fn {table, family} = key, {:ok, tables} ->
      case Route.list(socket, table: table, family: family) do
        {:ok, routes} -> {:cont, {:ok, Map.put(tables, key, Enum.filter(routes, &direct?/1))}}
        error -> {:halt, error}
      end
    end)
  end

  @doc """
  Whether a gateway may be found by a route: it leads to a link. IPv4 passes over routes of a
  wider scope; IPv6 has no scopes.
  """
  @spec direct?(Route.t()) :: boolean()
  def direct?(%{type: 1, oif: oif, gateway: nil, via: nil, multipath: nil, nh_id: nil} = route)
      when oif != nil,
      do: route.family == @inet6 or route.scope >= @link_scope

  def direct?(_route), do: false

  defp on_link([], _gateway), do: nil

  defp on_link(routes, gateway) do
    routes
    |> Enum.filter(&covers?(&1, gateway))
    |> Enum.min_by(&{-&1.dst_len, &1.priority || 0}, fn -> %{oif: nil} end)
    |> Map.fetch!(:oif)
  end

  defp covers?(%{dst_len: 0}, _gateway), do: true

  defp covers?(%{dst: dst, dst_len: length}, gateway) do
    <<net::bits-size(^length), _::bits>> = dst.bytes
    match?(<<^net::bits-size(^length), _::bits>>, gateway.bytes)
  end

  defp lookups(_socket, []), do: {:ok, %{}}

  defp lookups(socket, gateways) do
    requests =
      for gateway <- gateways, {:ok, request} = Query.lookup(socket, gateway, []) do
        {rtm_getroute(), 0, Route.encode(request)}
      end

    with {:ok, answers} <- Request.lookup(socket, requests) do
      found =
        for {gateway, {:ok, body}} <- Enum.zip(gateways, answers),
            %{type: 1, gateway: nil, via: nil, oif: oif} when oif != nil <- [Route.decode(body)],
            into: %{},
            do: {gateway, oif}

      {:ok, found}
    end
  end

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
