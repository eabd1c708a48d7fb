defimpl Inspect, for: Linx.Netlink.Rtnl.Neighbour do
  # `#Linx.Netlink.Rtnl.Neighbour<192.0.2.1 -> 02:00:5e:10:00:01 ifindex=2 state=reachable>`

  import Bitwise

  # NUD_* and NTF_* of linux/neighbour.h.
  @states [
    {0x01, "incomplete"},
    {0x02, "reachable"},
    {0x04, "stale"},
    {0x08, "delay"},
    {0x10, "probe"},
    {0x20, "failed"},
    {0x40, "noarp"},
    {0x80, "permanent"}
  ]

  @flags [
    {0x01, "use"},
    {0x02, "self"},
    {0x04, "master"},
    {0x08, "proxy"},
    {0x10, "extern_learn"},
    {0x20, "offload"},
    {0x40, "sticky"},
    {0x80, "router"}
  ]

  def inspect(neighbour, _opts) do
    parts = [
      "#{neighbour.dst || "?"} -> #{lladdr(neighbour.lladdr)}",
      "ifindex=#{neighbour.ifindex}",
      bits("state", neighbour.state, @states),
      bits("flags", neighbour.flags, @flags),
      neighbour.vlan && "vlan=#{neighbour.vlan}",
      neighbour.master && "master=#{neighbour.master}"
    ]

    "#Linx.Netlink.Rtnl.Neighbour<#{parts |> Enum.filter(& &1) |> Enum.join(" ")}>"
  end

  defp lladdr(nil), do: "?"
  defp lladdr(%Linx.MAC{} = mac), do: "#{mac}"
  defp lladdr(bytes), do: Base.encode16(bytes, case: :lower)

  defp bits(_word, 0, _names), do: nil

  defp bits(word, bits, names) do
    known = for {bit, name} <- names, (bits &&& bit) != 0, do: name
    rest = Enum.reduce(names, bits, fn {bit, _name}, rest -> rest &&& bnot(bit) end)
    "#{word}=" <> Enum.join(known ++ if(rest == 0, do: [], else: ["#{rest}"]), ",")
  end
end
