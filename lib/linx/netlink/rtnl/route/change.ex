defmodule Linx.Netlink.Rtnl.Route.Change do
  @moduledoc false
  # The verbs of Linx.Netlink.Rtnl.Route that change something, as values: see
  # Linx.Netlink.Rtnl.Call.

  import Bitwise
  import Linx.Netlink.Rtnl.Constants

  alias Linx.IP
  alias Linx.IP.Subnet
  alias Linx.Netlink.Rtnl.Link.Index
  alias Linx.Netlink.Rtnl.{Address, Call, Route}
  alias Linx.Netlink.Rtnl.Route.{Metrics, Options}

  @verbs [:add, :replace, :append, :delete]

  @families %{inet: 2, inet6: 10}
  @inet 2
  @inet6 10
  @any %{
    inet: %IP{family: :inet, bytes: <<0::32>>},
    inet6: %IP{family: :inet6, bytes: <<0::128>>}
  }

  @main 254
  # RTPROT_BOOT
  @boot 3
  @unicast 1
  @blackhole 6
  # RT_SCOPE_LINK, RT_SCOPE_NOWHERE
  @link 253
  @nowhere 255
  # RTNH_F_ONLINK, the one flag of a hop that a request may set
  @onlink 4
  # IP6_RT_PRIO_USER
  @ipv6_metric 1024

  @spec names(atom(), [term()]) :: [term()]
  def names(_verb, args) do
    case List.last(args) do
      opts when is_list(opts) -> Options.names(opts)
      _ -> []
    end
  end

  @spec op(atom(), [term()], Index.index() | nil) :: Call.op()
  def op(:delete, [%Route{} = route], _index), do: change(:delete, listed(route))
  def op(verb, [%Route{} = route], _index) when verb in @verbs, do: change(verb, again(route))

  def op(verb, [gateway | opts], index) when verb in [:add_default, :delete_default] do
    with {:ok, family, gateway} <- default(gateway, List.first(opts, [])) do
      verb = if verb == :add_default, do: :add, else: :delete
      op(verb, [@any[family], 0, gateway | opts], index)
    end
  end

  def op(verb, [subnet, gateway], index), do: op(verb, [subnet, gateway, []], index)

  # Options in the place of a gateway: the destination has its prefix length.
  def op(verb, [subnet, gateway, opts], index) when is_list(opts) do
    with {:ok, %Subnet{address: destination, prefix: prefix}} <- Subnet.cast(subnet),
         do: op(verb, [destination, prefix, gateway, opts], index)
  end

  def op(verb, [destination, prefix, gateway], index),
    do: op(verb, [destination, prefix, gateway, []], index)

  def op(verb, [destination, prefix, gateway, opts], index) when verb in @verbs do
    with {:ok, route} <- build(verb, destination, prefix, gateway, opts, index),
         do: change(verb, route)
  end

  def op(verb, args, _index),
    do: raise(ArgumentError, "no change for a batch: #{inspect({Route, verb, args})}")

  @doc "A route that is a struct already, sent as it stands."
  @spec change(:add | :replace | :append | :delete, Route.t()) :: Call.op()
  def change(:add, route), do: request(rtm_newroute(), Call.create(), route)
  def change(:replace, route), do: request(rtm_newroute(), Call.replace(), route)
  def change(:append, route), do: request(rtm_newroute(), Call.append(), route)
  def change(:delete, route), do: request(rtm_delroute(), 0, route)

  defp request(type, flags, route),
    do: Call.op(type, flags, route, Call.words(&refusal(&1, route)))

  # Words for an errno without text.
  defp refusal(:eexist, route), do: "a route to #{destination(route)} exists already"
  defp refusal(:esrch, route), do: "no such route to #{destination(route)}"
  defp refusal(_errno, _route), do: nil

  defp destination(%{dst_len: 0}), do: "default"
  defp destination(%{dst: dst, dst_len: length}), do: "#{dst}/#{length}"

  # -- routes as listed --------------------------------------------------------------------------

  @deleted [:family, :dst_len, :src_len, :tos, :table, :protocol, :scope, :type, :dst, :src] ++
             [:oif, :priority, :table_ext, :via, :flow]

  @doc """
  An observed route as the request that deletes that one: without the fields that the kernel added
  and would not take back, and with each that it compares.

    * A nexthop object's gateway, device and hops are left out: the kernel refuses them beside its
      id.
    * IPv4 compares the preferred source, and each metric that is given, 0 being none of it.
    * IPv6 compares a gateway of `::` with a hop that has none. Without any it would take the
      whole group of hops.
  """
  @spec bare(Route.t()) :: Route.t()
  def bare(%{nh_id: id} = route) when id != nil do
    kept = [:family, :dst_len, :src_len, :tos, :table, :protocol, :scope, :dst, :src, :priority]
    bare = struct(Route, Map.to_list(Map.take(route, [:table_ext, :nh_id | kept])))
    # A route by a blackhole object is listed as of that type and kept as unicast.
    if route.type == @blackhole, do: bare, else: %{bare | type: route.type}
  end

  def bare(%{multipath: [_ | _] = hops} = route),
    do: %{taken(route) | multipath: Enum.map(hops, &hop(&1, route.family))}

  def bare(%{family: @inet6, gateway: nil, via: nil} = route),
    do: %{taken(route) | gateway: @any.inet6}

  def bare(route), do: %{taken(route) | gateway: route.gateway}

  defp taken(%{family: @inet} = route) do
    compared = if route.encap_type in [nil, 1, 2, 4], do: [:encap_type, :encap], else: []
    kept = Map.take(route, [:prefsrc | compared ++ @deleted])
    struct(Route, [{:metrics, metrics(route.metrics)} | Map.to_list(kept)])
  end

  defp taken(route), do: struct(Route, Map.to_list(Map.take(route, @deleted)))

  @no_metrics for {_, name, :u32} <- Metrics.__codec__().attrs, into: %{}, do: {name, 0}

  defp metrics(nil), do: struct(Metrics, @no_metrics)

  defp metrics(metrics),
    do: Map.merge(metrics, @no_metrics, fn _name, metric, none -> metric || none end)

  defp hop(%{gateway: nil, via: nil} = hop, @inet6), do: %{hop | flags: 0, gateway: @any.inet6}
  defp hop(hop, _family), do: %{hop | flags: 0}

  # A listed IPv6 group has the protocol of its first hop, and each of its hops has one of its
  # own.
  defp listed(%{family: @inet6, multipath: [_ | _], nh_id: nil} = route),
    do: %{bare(route) | protocol: 0}

  defp listed(route), do: bare(route)

  # An observed route as the request that makes the same one: without the state of its hops.
  defp again(%{nh_id: id} = route) when id != nil do
    type = if route.type == @blackhole, do: @unicast, else: route.type
    %{route | gateway: nil, via: nil, oif: nil, multipath: nil, type: type, flags: 0}
  end

  defp again(%{family: @inet6, type: type} = route) when type >= @blackhole,
    do: %{route | oif: nil, flags: 0}

  defp again(route) do
    hops = route.multipath && Enum.map(route.multipath, &%{&1 | flags: &1.flags &&& @onlink})
    %{route | flags: route.flags &&& @onlink, multipath: hops}
  end

  # -- building ----------------------------------------------------------------------------------

  # The family of a default route and its gateway. In the gateway's place stands an address,
  # `:inet` or `:inet6`, or `nil` for the family that the options name.
  defp default(family, _opts) when is_map_key(@families, family), do: {:ok, family, nil}
  defp default(nil, opts), do: {:ok, family(opts), nil}

  defp default(gateway, _opts),
    do: with({:ok, ip} <- IP.cast(gateway), do: {:ok, ip.family, ip})

  # IPv4 where no address says otherwise, as in ip-route(8).
  defp family([{:prefsrc, ip} | opts]), do: family_of(ip) || family(opts)

  defp family([{:multipath, hops} | opts]) when is_list(hops) do
    gateways = for hop <- hops, is_list(hop), {:gateway, ip} <- hop, do: ip
    Enum.find_value(gateways, &family_of/1) || family(opts)
  end

  defp family([_ | opts]), do: family(opts)
  defp family(_end), do: :inet

  defp family_of(ip) do
    case IP.cast(ip) do
      {:ok, ip} -> ip.family
      {:error, _} -> nil
    end
  end

  @spec build(atom(), term(), term(), term(), term(), Index.index()) ::
          {:ok, Route.t()} | {:error, term()}
  # A listed default route has no destination.
  def build(verb, nil, 0, gateway, opts, index) do
    with {:ok, family, gateway} <- default(gateway, opts),
         do: build(verb, @any[family], 0, gateway, opts, index)
  end

  def build(verb, destination, prefix, gateway, opts, index) do
    with {:ok, dst} <- IP.cast(destination),
         {:ok, prefix} <- Address.prefix(dst, prefix),
         {:ok, gateway} <- gateway(dst, gateway),
         {:ok, route} <- Options.set(opts, start(verb, dst, prefix, gateway), index),
         do: whole(verb, route, opts)
  end

  defp start(:delete, dst, prefix, gateway) do
    %Route{
      family: @families[dst.family],
      dst: dst,
      dst_len: prefix,
      gateway: gateway,
      table: @main,
      # RT_SCOPE_NOWHERE: any scope.
      scope: @nowhere
    }
  end

  defp start(_add, dst, prefix, gateway) do
    %Route{
      family: @families[dst.family],
      dst: dst,
      dst_len: prefix,
      gateway: gateway,
      table: @main,
      protocol: @boot,
      type: @unicast,
      # The scope unless an option says otherwise, set here since each later change copies the
      # struct.
      scope: if(gateway == nil and dst.family == :inet, do: @link, else: 0)
    }
  end

  defp gateway(_dst, nil), do: {:ok, nil}

  defp gateway(dst, gateway) do
    with {:ok, gateway} <- IP.cast(gateway), :ok <- same_family(dst, gateway), do: {:ok, gateway}
  end

  defp same_family(%IP{family: family}, %IP{family: family}), do: :ok
  defp same_family(a, b), do: {:error, {:unlike_families, a, b}}

  # Metric 0 would compare nothing, and the route that was made with it has 1024.
  defp whole(:delete, %{family: @inet6, priority: 0} = route, _opts),
    do: {:ok, %{route | priority: @ipv6_metric}}

  defp whole(:delete, route, _opts), do: {:ok, route}

  defp whole(_add, %{gateway: nil, oif: nil, via: nil, multipath: nil, nh_id: nil, type: type}, _)
       when type < @blackhole,
       do: {:error, {:missing, :gateway}}

  defp whole(_add, route, opts) do
    scope = Options.scope(route)

    if route.scope == scope or Keyword.has_key?(opts, :scope),
      do: {:ok, route},
      else: {:ok, %{route | scope: scope}}
  end
end
