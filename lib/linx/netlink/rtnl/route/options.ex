defmodule Linx.Netlink.Rtnl.Route.Options do
  @moduledoc false
  # A route's options onto the struct. Values only: `index` turns a link's name into
  # `{:ok, index}`.

  import Bitwise

  alias Linx.IP
  alias Linx.Netlink.Rtnl.Route
  alias Linx.Netlink.Rtnl.Route.{Metrics, Nexthop}

  @types %{
    unicast: 1,
    local: 2,
    broadcast: 3,
    anycast: 4,
    multicast: 5,
    blackhole: 6,
    unreachable: 7,
    prohibit: 8,
    throw: 9
  }

  @scopes %{universe: 0, site: 200, link: 253, host: 254, nowhere: 255}
  # struct in linux/rtnetlink.h: ICMPV6_ROUTER_PREF_*
  @prefs %{medium: 0, high: 1, low: 3}
  @onlink 4
  @metrics Metrics.__struct__() |> Map.keys() |> List.delete(:__struct__)

  @spec names(keyword()) :: [term()]
  def names(opts), do: names(opts, [])

  defp names([{:oif, ref} | opts], found) when is_binary(ref), do: names(opts, [ref | found])

  defp names([{:multipath, hops} | opts], found) when is_list(hops),
    do: names(opts, Enum.reduce(hops, found, &if(is_list(&1), do: names(&1, &2), else: &2)))

  defp names([_ | opts], found), do: names(opts, found)
  defp names(_end, found), do: found

  @spec set(keyword(), Route.t(), (term() -> {:ok, pos_integer()} | {:error, term()})) ::
          {:ok, Route.t()} | {:error, term()}
  def set([], route, _index), do: {:ok, route}

  def set([option | opts], route, index) do
    case option(option, route, index) do
      {:ok, route} -> set(opts, route, index)
      :error -> {:error, {:bad_option, option}}
      error -> error
    end
  end

  def set(opts, _route, _index), do: {:error, {:bad_option, opts}}

  @spec type(atom()) :: {:ok, 1..9} | {:error, term()}
  def type(name) when is_map_key(@types, name), do: {:ok, @types[name]}
  def type(other), do: {:error, {:bad_option, {:type, other}}}

  @doc "A type's name, or the number of one that has none here."
  @spec type_name(0..255) :: atom() | 0..255
  def type_name(type),
    do: Enum.find_value(@types, type, fn {name, n} -> if n == type, do: name end)

  # As ip-route(8) chooses it: IPv6 has no scopes, and an IPv4 destination without a gateway is on
  # the link.
  @spec scope(Route.t()) :: 0..255
  def scope(%Route{family: 10}), do: 0
  def scope(%Route{type: 2}), do: @scopes.host
  def scope(%Route{type: type}) when type in 3..5, do: @scopes.link

  def scope(%Route{type: 1, gateway: nil, via: nil, multipath: nil, nh_id: nil}), do: @scopes.link
  def scope(%Route{}), do: @scopes.universe

  defp option({:table, n}, route, _) when n in 1..255, do: {:ok, %{route | table: n}}

  defp option({:table, n}, route, _) when n in 256..0xFFFFFFFF,
    do: {:ok, %{route | table: 0, table_ext: n}}

  defp option({:protocol, protocol}, route, _) do
    with {:ok, n} <- Route.protocol(protocol), do: {:ok, %{route | protocol: n}}
  end

  defp option({:metric, n}, route, _) when n in 0..0xFFFFFFFF, do: {:ok, %{route | priority: n}}

  defp option({:oif, ref}, route, index) do
    with {:ok, n} <- index.(ref), do: {:ok, %{route | oif: n}}
  end

  defp option({:type, type}, route, _) do
    with {:ok, n} <- type(type), do: {:ok, %{route | type: n}}
  end

  defp option({:scope, scope}, route, _) when is_map_key(@scopes, scope),
    do: {:ok, %{route | scope: @scopes[scope]}}

  defp option({:prefsrc, ip}, route, _) do
    with {:ok, ip} <- IP.cast(ip) do
      if ip.family == route.dst.family,
        do: {:ok, %{route | prefsrc: ip}},
        else: {:error, {:unlike_families, route.dst, ip}}
    end
  end

  defp option({:via, ip}, route, _) do
    with {:ok, ip} <- IP.cast(ip), do: {:ok, %{route | via: ip}}
  end

  defp option({:metrics, metrics}, route, _) when is_list(metrics) do
    if Enum.all?(metrics, &metric?/1),
      do: {:ok, %{route | metrics: struct(Metrics, metrics)}},
      else: :error
  end

  defp option({:multipath, [_ | _] = hops}, route, index) do
    hops
    |> Enum.reduce_while([], fn hop, done ->
      case hop(hop, %Nexthop{}, route, index) do
        {:ok, hop} -> {:cont, [hop | done]}
        error -> {:halt, error}
      end
    end)
    |> case do
      hops when is_list(hops) -> {:ok, %{route | multipath: Enum.reverse(hops)}}
      error -> error
    end
  end

  defp option({:onlink, true}, route, _), do: {:ok, %{route | flags: route.flags ||| @onlink}}
  defp option({:onlink, false}, route, _), do: {:ok, route}
  defp option({:tos, n}, route, _) when n in 0..255, do: {:ok, %{route | tos: n}}
  defp option({:nh_id, n}, route, _) when n in 1..0xFFFFFFFF, do: {:ok, %{route | nh_id: n}}
  defp option({:expires, n}, route, _) when n in 0..0x7FFFFFFF, do: {:ok, %{route | expires: n}}

  defp option({:pref, pref}, route, _) when is_map_key(@prefs, pref),
    do: {:ok, %{route | pref: @prefs[pref]}}

  defp option(_option, _route, _index), do: :error

  # TCP_CA_NAME_MAX, with a NUL.
  defp metric?({:cc_algo, name}),
    do: is_binary(name) and byte_size(name) in 1..15 and not String.contains?(name, "\0")

  defp metric?({name, n}), do: name in @metrics and n in 0..0xFFFFFFFF
  defp metric?(_), do: false

  defp hop([], hop, _route, _index), do: {:ok, hop}

  defp hop([{:gateway, ip} | rest], hop, route, index) do
    with {:ok, ip} <- IP.cast(ip) do
      if ip.family == route.dst.family,
        do: hop(rest, %{hop | gateway: ip}, route, index),
        else: {:error, {:unlike_families, route.dst, ip}}
    end
  end

  defp hop([{:via, ip} | rest], hop, route, index) do
    with {:ok, ip} <- IP.cast(ip), do: hop(rest, %{hop | via: ip}, route, index)
  end

  defp hop([{:oif, ref} | rest], hop, route, index) do
    with {:ok, n} <- index.(ref), do: hop(rest, %{hop | oif: n}, route, index)
  end

  defp hop([{:weight, n} | rest], hop, route, index) when n in 1..256,
    do: hop(rest, %{hop | weight: n}, route, index)

  defp hop([{:onlink, true} | rest], hop, route, index),
    do: hop(rest, %{hop | flags: hop.flags ||| @onlink}, route, index)

  defp hop(_other, _hop, _route, _index), do: :error
end
