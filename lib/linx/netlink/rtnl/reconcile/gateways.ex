defmodule Linx.Netlink.Rtnl.Reconcile.Gateways do
  @moduledoc false
  # The links on which the kernel finds gateways: for a route of a table it looks a gateway up
  # in that table, then by the rules (fib_check_nh_v4_gw, ip6_route_check_nh). For IPv4 the main
  # table is looked up by the rules only.

  import Bitwise

  alias Linx.Netlink.{Error, Request, Socket}
  alias Linx.Netlink.Rtnl.{Call, Route}
  alias Linx.Netlink.Rtnl.Reconcile.{Canonical, Step}
  alias Linx.Netlink.Rtnl.Route.{Hops, Query}

  import Linx.Netlink.Rtnl.Constants

  @inet6 10
  @main 254
  # RT_SCOPE_LINK: IPv4 passes over routes of a wider scope.
  @link_scope 253
  @loopback 1

  @unicast 1
  @local 2
  @rejects 6..9
  # RTNH_F_DEAD, RTNH_F_ONLINK
  @dead 1
  @onlink 4

  @typedoc "The link of each gateway that a route names without a link, by table."
  @type follow :: %{optional(term()) => pos_integer()}

  @doc "The links of the gateways that desired routes name without a link."
  @spec follow(Socket.t(), [struct()]) :: {:ok, follow()} | {:error, term()}
  def follow(socket, entries) do
    asked = entries |> Enum.reduce(%{}, &asked/2) |> Map.values()

    with {:ok, tables} <- tables(socket, asked),
         {:ok, main} <- lookups(socket, asked |> Enum.map(&elem(&1, 1)) |> Enum.uniq()) do
      found =
        for {table, gateway} <- asked,
            oif =
              link(found(Map.get(tables, {table, gateway.family}, []), gateway), main, gateway),
            into: %{},
            do: {{table, gateway.bytes}, oif}

      {:ok, found}
    end
  end

  defp link({:link, oif}, _main, _gateway), do: oif
  defp link(:refused, _main, _gateway), do: nil
  defp link(:elsewhere, main, gateway), do: main[gateway]

  # The gateways without a link, each once for a table.
  defp asked(%{absent: nil, item: %{nh_id: nil, multipath: nil} = item}, asked) do
    if item.oif == nil, do: ask(asked, Route.target_table(item), item), else: asked
  end

  defp asked(%{absent: nil, item: %{nh_id: nil, multipath: hops} = item}, asked) do
    table = Route.target_table(item)
    hops |> Enum.filter(&(&1.oif == 0)) |> Enum.reduce(asked, &ask(&2, table, &1))
  end

  defp asked(_entry, asked), do: asked

  defp ask(asked, table, hop) do
    case gateway(hop) do
      nil -> asked
      %{bytes: bytes} = gateway -> Map.put(asked, {table, bytes}, {table, gateway})
    end
  end

  defp gateway(hop), do: hop.gateway || hop.via

  @doc "The link on which a gateway is found, for a route of a table, or `nil`."
  @spec link_of(follow(), non_neg_integer(), Route.t() | Route.Nexthop.t()) ::
          pos_integer() | nil
  def link_of(follow, table, hop) do
    case gateway(hop) do
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
        {:ok, routes} -> {:cont, {:ok, Map.put(tables, key, routes)}}
        error -> {:halt, error}
      end
    end)
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
            %{type: @unicast, gateway: nil, via: nil, oif: oif} when oif != nil <-
              [Route.decode(body)],
            into: %{},
            do: {gateway, oif}

      {:ok, found}
    end
  end

  # -- one table ---------------------------------------------------------------------------------

  # The link on which the routes of one table have a gateway: `{:link, index}`; `:elsewhere` if
  # they have none, since the rules decide then; `:refused` if the kernel takes no gateway there.
  defp found(routes, gateway, oif \\ nil)
  defp found([], _gateway, _oif), do: :elsewhere

  defp found(routes, %{family: family} = gateway, oif) do
    routes
    |> Enum.filter(&covers?(&1, gateway))
    |> Enum.sort_by(&{-&1.dst_len, &1.priority || 0, -preference(&1)})
    |> Enum.find_value(:elsewhere, &taken(family, &1, oif))
  end

  # RTA_PREF: 0 medium, 1 high, 3 low.
  defp preference(%{pref: 1}), do: 1
  defp preference(%{pref: 3}), do: -1
  defp preference(_route), do: 0

  defp taken(:inet, %{scope: scope, tos: tos}, _oif)
       when scope < @link_scope or tos not in [nil, 0],
       do: nil

  defp taken(:inet, %{type: type}, _oif) when type in @rejects, do: :elsewhere

  defp taken(:inet, %{type: type} = route, oif) do
    case Enum.find(alive(route), &(oif in [nil, &1.oif])) do
      nil -> nil
      hop when type in [@unicast, @local] -> {:link, hop.oif}
      _broadcast_or_multicast -> :refused
    end
  end

  defp taken(:inet6, %{type: type}, _oif) when type in @rejects, do: :elsewhere

  # A route by the loopback link is a reject, unless it is of a type of its own.
  defp taken(:inet6, %{type: @unicast, oif: @loopback}, _oif), do: :elsewhere

  defp taken(:inet6, route, oif) do
    case Enum.find(alive(route), &(oif in [nil, &1.oif])) do
      nil -> nil
      %{oif: @loopback} -> :refused
      %{gateway: nil, via: nil, oif: found} -> {:link, found}
      _gateway -> :elsewhere
    end
  end

  defp alive(route), do: Enum.reject(listed(route), &((&1.flags &&& @dead) != 0))

  # The hops of a route as listed, those of a nexthop object too.
  defp listed(route) do
    case Canonical.hops(%{route | nh_id: nil}) do
      [_ | _] = hops -> Enum.filter(hops, &(&1.oif not in [nil, 0]))
      :none -> []
    end
  end

  defp covers?(%{dst_len: 0, family: family}, gateway), do: family == number(gateway)

  defp covers?(%{dst: %{family: family} = dst, dst_len: length}, %{family: family} = gateway) do
    <<net::bits-size(^length), _::bits>> = dst.bytes
    match?(<<^net::bits-size(^length), _::bits>>, gateway.bytes)
  end

  defp covers?(_route, _gateway), do: false

  defp number(%{family: :inet}), do: 2
  defp number(%{family: :inet6}), do: @inet6

  # -- routes by which gateways are found --------------------------------------------------------

  @doc """
  Whether gateways of other routes may be found by a route, as far as its form tells: it leads to
  a link.
  """
  @spec leads?(Route.t()) :: boolean()
  def leads?(%{type: type}) when type in @rejects, do: false
  def leads?(%{nh_id: nil, multipath: nil, gateway: nil, via: nil, oif: oif}), do: oif != nil
  def leads?(%{nh_id: id}) when id != nil, do: true
  def leads?(%{multipath: [_ | _] = hops}), do: Enum.any?(hops, &(gateway(&1) == nil))
  def leads?(_route), do: false

  @doc "Whether the kernel refuses gateways that it finds by a route."
  @spec refuses?(Route.t()) :: boolean()
  def refuses?(%{type: type}) when type in @rejects, do: true
  def refuses?(%{family: @inet6, oif: oif}), do: oif == @loopback
  def refuses?(%{type: type}), do: type not in [nil, 0, @unicast, @local]

  @doc """
  The deletions of routes by which the kernel refuses a gateway of the given steps, and the
  others.
  """
  @spec in_the_way([Step.t()], [Step.t()]) :: {[Step.t()], [Step.t()]}
  def in_the_way(deletions, steps) do
    Enum.split_with(deletions, fn %{op: {:delete, old}} ->
      refuses?(old) and Enum.any?(steps, &in_the_way?(elem(&1.op, 1), old))
    end)
  end

  @refusals [:einval, :ehostunreach, :enetunreach]

  @doc """
  A step that makes a route in the place of others, `old`. Where the kernel refuses the route
  because it finds the gateway by one of these, that one goes first, and comes back if the route
  is refused without it too.
  """
  @spec freeing(Step.t(), Route.t(), [Route.t()]) :: Step.t()
  def freeing(%Step{run: run} = step, route, old) do
    if Enum.any?(old, &in_the_way?(route, &1)) do
      %{step | run: &freed(run.(&1), &1, route, old)}
    else
      step
    end
  end

  defp in_the_way?(%{nh_id: nil} = route, old),
    do: Enum.any?(gateways(route), &covers?(old, gateway(&1)))

  defp in_the_way?(_route, _old), do: false

  defp gateways(route) do
    case Canonical.hops(route) do
      [_ | _] = hops -> Enum.filter(hops, &gateway/1)
      _none -> []
    end
  end

  defp freed({:error, %Error{errno: errno}} = error, socket, route, old)
       when errno in @refusals do
    with {:ok, there} <- there(socket, route),
         {in_the_way, others} = Enum.split_with(there, &among?(&1, old)),
         true <- in_the_way != [] and reachable?(socket, route, others),
         do: instead(socket, route, in_the_way),
         else: (_ -> error)
  end

  defp freed(result, _socket, _route, _old), do: result

  defp there(socket, route), do: Route.list(socket, table: Route.target_table(route))

  defp among?(route, old), do: Enum.any?(old, &(Canonical.again(&1) == Canonical.again(route)))

  # Whether the kernel finds each gateway by the other routes.
  defp reachable?(socket, route, others) do
    with {:ok, main} <- Route.list(socket, table: @main) do
      main = if Route.target_table(route) == @main, do: [], else: main
      Enum.all?(gateways(route), &reachable_by?(&1, others, main))
    end == true
  end

  defp reachable_by?(%{flags: flags}, _others, _main) when (flags &&& @onlink) != 0, do: true

  defp reachable_by?(hop, others, main) do
    gateway = gateway(hop)
    oif = if hop.oif == 0, do: nil, else: hop.oif

    case found(others, gateway, oif) do
      {:link, _} -> true
      :refused -> false
      :elsewhere -> match?({:link, _}, found(main, gateway, oif))
    end
  end

  defp instead(socket, route, old) do
    with :ok <- delete_each(socket, old),
         {:error, _} = error <- append(socket, route) do
      Step.undone(error, for(old <- old, do: {{:create, old}, fn -> back(socket, old) end}))
    end
  end

  defp delete_each(socket, routes) do
    Enum.reduce_while(routes, :ok, fn route, :ok ->
      case Step.delete_route(socket, route) do
        :ok -> {:cont, :ok}
        error -> {:halt, error}
      end
    end)
  end

  defp append(socket, %{family: @inet6, multipath: [_ | _]} = route),
    do: Hops.change(socket, :append, Route.change(:append, route))

  defp append(socket, route), do: Call.change(socket, Route.change(:append, route))

  defp back(socket, route),
    do: Call.change(socket, Route.change(:append, Canonical.again(route)))
end
