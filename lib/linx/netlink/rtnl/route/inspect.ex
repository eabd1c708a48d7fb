defimpl Inspect, for: Linx.Netlink.Rtnl.Route do
  # Destination and way, and of the rest what is set and not the rule:
  # `#Linx.Netlink.Rtnl.Route<203.0.113.128/25 type=blackhole metric=9 table=77>`.

  alias Linx.Netlink.Rtnl.Route
  alias Linx.Netlink.Rtnl.Route.Options

  @unicast 1
  @main 254

  def inspect(route, _opts) do
    parts = [
      destination(route),
      (route.gateway || route.via) && "via #{route.gateway || route.via}",
      route.multipath && "via #{length(route.multipath)} hops",
      route.oif && "oif=#{route.oif}",
      route.nh_id && "nh_id=#{route.nh_id}",
      route.type not in [0, @unicast] && "type=#{Options.type_name(route.type)}",
      route.priority && "metric=#{route.priority}",
      table(Route.target_table(route)),
      route.tos != 0 && "tos=#{route.tos}",
      route.src && "from=#{route.src}/#{route.src_len}",
      route.prefsrc && "src=#{route.prefsrc}"
    ]

    "#Linx.Netlink.Rtnl.Route<#{parts |> Enum.filter(& &1) |> Enum.join(" ")}>"
  end

  defp destination(%{dst_len: 0}), do: "default"
  defp destination(%{dst: nil, dst_len: length}), do: "?/#{length}"
  defp destination(%{dst: dst, dst_len: length}), do: "#{dst}/#{length}"

  defp table(table) when table in [0, @main], do: nil
  defp table(table), do: "table=#{table}"
end
