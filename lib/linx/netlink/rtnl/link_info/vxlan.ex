defmodule Linx.Netlink.Rtnl.LinkInfo.Vxlan do
  @moduledoc """
  The configuration of a VXLAN.

  `group` and `local` are IPv4 addresses, `group6` and `local6` IPv6; as options `:group` (or `:remote`) and `:local`
  take either family. `port` is the UDP port, `link` the index of the link that carries the packets. The switches
  (`learning`, `proxy`, `rsc`, `l2miss`, `l3miss`, `udp_csum`, `collect_metadata`) are 0 or 1; as options booleans do,
  and `:external` is `collect_metadata`.

  Source: `include/uapi/linux/if_link.h`, `IFLA_VXLAN_*`.
  """

  use Linx.Netlink.Codec

  alias Linx.IP

  codec do
    attr(1, :id, :u32)
    attr(2, :group, IP)
    attr(3, :link, :u32)
    attr(4, :local, IP)
    attr(5, :ttl, :u8)
    attr(6, :tos, :u8)
    attr(7, :learning, :u8)
    attr(8, :ageing, :u32)
    attr(9, :limit, :u32)
    attr(11, :proxy, :u8)
    attr(12, :rsc, :u8)
    attr(13, :l2miss, :u8)
    attr(14, :l3miss, :u8)
    attr(15, :port, :u16_be)
    attr(16, :group6, IP)
    attr(17, :local6, IP)
    attr(18, :udp_csum, :u8)
    attr(25, :collect_metadata, :u8)
  end

  @switches [:learning, :proxy, :rsc, :l2miss, :l3miss, :udp_csum, :collect_metadata]

  @doc false
  def __option__(:id, id, data) when id in 0..0xFFFFFF, do: {:ok, %{data | id: id}}
  def __option__(:id, _id, _data), do: :error
  def __option__(:remote, ip, data), do: address(data, ip, :group, :group6)
  def __option__(:group, ip, data), do: address(data, ip, :group, :group6)
  def __option__(:local, ip, data), do: address(data, ip, :local, :local6)
  def __option__(:external, on?, data), do: __option__(:collect_metadata, on?, data)

  def __option__(key, on?, data) when key in @switches and is_boolean(on?),
    do: {:ok, Map.replace!(data, key, if(on?, do: 1, else: 0))}

  def __option__(_key, _value, _data), do: :field

  defp address(data, ip, inet, inet6) do
    with {:ok, ip} <- IP.cast(ip) do
      field = if ip.family == :inet, do: inet, else: inet6
      {:ok, Map.replace!(data, field, ip)}
    end
  end
end
