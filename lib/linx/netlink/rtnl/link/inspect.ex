defimpl Inspect, for: Linx.Netlink.Rtnl.Link do
  # Fields that not every link has are shown where they are set:
  # `#Linx.Netlink.Rtnl.Link<"eth0" (2) UP MTU=1500 kind=veth operstate=up carrier=yes master=7
  # mac=02:00:5e:10:00:01>`.

  alias Linx.MAC
  alias Linx.Netlink.Rtnl.Link

  # RFC 2863, IF_OPER_* of linux/if.h.
  @operstates %{
    0 => "unknown",
    1 => "notpresent",
    2 => "down",
    3 => "lowerlayerdown",
    4 => "testing",
    5 => "dormant",
    6 => "up"
  }

  def inspect(link, _opts) do
    parts = [
      Kernel.inspect(link.name),
      "(#{link.index})",
      if(Link.up?(link), do: "UP", else: "DOWN"),
      "MTU=#{link.mtu}",
      kind(link.linkinfo),
      link.operstate && "operstate=#{@operstates[link.operstate] || link.operstate}",
      carrier(link.carrier),
      link.master && "master=#{link.master}",
      link.link && "link=#{link.link}",
      link.link_netnsid && "link_netnsid=#{link.link_netnsid}",
      mac(link.address)
    ]

    "#Linx.Netlink.Rtnl.Link<#{parts |> Enum.filter(& &1) |> Enum.join(" ")}>"
  end

  defp kind(%{kind: kind}) when is_binary(kind), do: "kind=#{kind}"
  defp kind(_none), do: nil

  defp carrier(nil), do: nil
  defp carrier(0), do: "carrier=no"
  defp carrier(_on), do: "carrier=yes"

  # A loopback's is all zeros.
  defp mac(%MAC{bytes: <<0::48>>}), do: nil
  defp mac(%MAC{} = mac), do: "mac=#{mac}"
  defp mac(<<_, _::binary>> = bytes), do: "mac=#{Base.encode16(bytes, case: :lower)}"
  defp mac(_none), do: nil
end
