defimpl Inspect, for: Linx.Netlink.Rtnl.Neighbour do
  # `#Linx.Netlink.Rtnl.Neighbour<192.0.2.1 -> 02:00:5e:10:00:01 ifindex=2 state=reachable>`

  alias Linx.Netlink.Codec.Kind
  alias Linx.Netlink.Rtnl.Neighbour.Bits

  def inspect(neighbour, _opts) do
    parts = [
      "#{neighbour.dst || "?"} -> #{lladdr(neighbour.lladdr)}",
      "ifindex=#{neighbour.ifindex}",
      bits(:state, neighbour.state),
      bits(:flags, neighbour.flags),
      neighbour.vlan && "vlan=#{neighbour.vlan}",
      neighbour.master && "master=#{neighbour.master}"
    ]

    "#Linx.Netlink.Rtnl.Neighbour<#{parts |> Enum.filter(& &1) |> Enum.join(" ")}>"
  end

  defp lladdr(nil), do: "?"
  defp lladdr(%Linx.MAC{} = mac), do: "#{mac}"
  defp lladdr(bytes), do: Base.encode16(bytes, case: :lower)

  defp bits(_field, 0), do: nil

  defp bits(field, bits),
    do: "#{field}=" <> Enum.join(Kind.value(Bits.__codec__().kinds[field], bits), ",")
end
