defmodule Linx.Netlink.Rtnl.Route.Query do
  @moduledoc false
  # The two requests about routes: a dump with a filter, and the route to one destination.

  import Bitwise

  alias Linx.IP
  alias Linx.Netlink.Rtnl.Link.Index
  alias Linx.Netlink.Rtnl.Route
  alias Linx.Netlink.Rtnl.Route.Options
  alias Linx.Netlink.Socket

  @families %{inet: 2, inet6: 10}
  @lookup_table 0x1000
  @fib_match 0x2000

  # -- a dump ------------------------------------------------------------------------------------

  @spec filter(Socket.t(), keyword()) :: {:ok, Route.t()} | {:error, term()}
  def filter(socket, filter), do: filtered(socket, filter, %Route{})

  defp filtered(_socket, [], request), do: {:ok, request}

  defp filtered(socket, [{:oif, ref} | rest], request) do
    with {:ok, index} <- Index.of(socket, ref),
         do: filtered(socket, rest, %{request | oif: index})
  end

  defp filtered(socket, [{:family, family} | rest], request) when is_map_key(@families, family),
    do: filtered(socket, rest, %{request | family: @families[family]})

  defp filtered(socket, [{:table, table} | rest], request) when table in 1..0xFFFFFFFF,
    do: filtered(socket, rest, %{request | table_ext: table})

  defp filtered(socket, [{:protocol, protocol} | rest], request) do
    with {:ok, n} <- Route.protocol(protocol),
         do: filtered(socket, rest, %{request | protocol: n})
  end

  defp filtered(socket, [{:type, type} | rest], request) do
    with {:ok, n} <- Options.type(type), do: filtered(socket, rest, %{request | type: n})
  end

  defp filtered(_socket, [other | _], _request), do: {:error, {:bad_option, other}}

  # Whether a route is what was asked for, of a kernel that does not filter.
  @spec keep?(Route.t(), Route.t()) :: boolean()
  def keep?(route, request) do
    request.family in [0, route.family] and
      request.protocol in [0, route.protocol] and
      request.type in [0, route.type] and
      request.table_ext in [nil, Route.target_table(route)] and
      (request.oif in [nil, route.oif] or
         Enum.any?(route.multipath || [], &(&1.oif == request.oif)))
  end

  # -- a lookup ----------------------------------------------------------------------------------

  @spec lookup(Socket.t(), IP.t(), keyword()) :: {:ok, Route.t()} | {:error, term()}
  def lookup(socket, ip, opts) do
    request = %Route{family: @families[ip.family], dst: ip, dst_len: bit_size(ip.bytes)}
    asked(socket, opts, lookup_table(request))
  end

  # IPv6 always says which table it was, and refuses the flag.
  defp lookup_table(%{family: 2} = request), do: %{request | flags: @lookup_table}
  defp lookup_table(request), do: request

  defp asked(_socket, [], request), do: {:ok, request}

  defp asked(socket, [{:from, ip} | rest], request) do
    with {:ok, ip} <- IP.cast(ip),
         true <- ip.family == request.dst.family or {:error, {:unlike_families, request.dst, ip}},
         do: asked(socket, rest, %{request | src: ip, src_len: bit_size(ip.bytes)})
  end

  defp asked(socket, [{key, ref} | rest], request) when key in [:oif, :iif] do
    with {:ok, index} <- Index.of(socket, ref),
         do: asked(socket, rest, Map.replace!(request, key, index))
  end

  defp asked(socket, [{:mark, mark} | rest], request) when mark in 0..0xFFFFFFFF,
    do: asked(socket, rest, %{request | mark: mark})

  defp asked(socket, [{:fib_match, true} | rest], request),
    do: asked(socket, rest, %{request | flags: request.flags ||| @fib_match})

  defp asked(_socket, [other | _], _request), do: {:error, {:bad_option, other}}
end
