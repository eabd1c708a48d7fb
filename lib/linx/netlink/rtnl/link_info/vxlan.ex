defmodule Linx.Netlink.Rtnl.LinkInfo.Vxlan do
  @moduledoc """
  The configuration of a VXLAN.

  `group` and `local` are IPv4 addresses, `group6` and `local6` IPv6; as options `:group` (or
  `:remote`) and `:local` take either family. `port` is the UDP port, `link` the index of the link
  that carries the packets. The switches (`learning`, `proxy`, `rsc`, `l2miss`, `l3miss`,
  `udp_csum`, `collect_metadata`) are 0 or 1; as options booleans do, and `:external` is
  `collect_metadata`.

  `port_range` is a range of source ports, `label` an IPv6 flow label, `df` 0, 1 (set) or 2
  (inherited). `gbp`, `gpe`, `remcsum_nopartial` and `ttl_inherit` may be `true`.

  Source: ip-link(8), `include/uapi/linux/if_link.h` at 7.2, `IFLA_VXLAN_*`.
  """

  use Linx.Netlink.Codec

  alias Linx.IP
  alias Linx.Netlink.Rtnl.LinkInfo.Vxlan.{Inherit, Ports}

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
    attr(10, :port_range, Ports)
    attr(11, :proxy, :u8)
    attr(12, :rsc, :u8)
    attr(13, :l2miss, :u8)
    attr(14, :l3miss, :u8)
    attr(15, :port, :u16_be)
    attr(16, :group6, IP)
    attr(17, :local6, IP)
    attr(18, :udp_csum, :u8)
    attr(19, :udp_zero_csum6_tx, :u8)
    attr(20, :udp_zero_csum6_rx, :u8)
    attr(21, :remcsum_tx, :u8)
    attr(22, :remcsum_rx, :u8)
    attr(23, :gbp, :flag)
    attr(24, :remcsum_nopartial, :flag)
    attr(25, :collect_metadata, :u8)
    attr(26, :label, :u32_be)
    attr(27, :gpe, :flag)
    attr(28, :ttl_inherit, Inherit)
    attr(29, :df, :u8)
    attr(30, :vnifilter, :u8)
    attr(31, :localbypass, :u8)
    attr(32, :label_policy, :u32)
    attr(34, :mc_route, :u8)
  end

  @switches [:learning, :proxy, :rsc, :l2miss, :l3miss, :udp_csum, :collect_metadata] ++
              [:udp_zero_csum6_tx, :udp_zero_csum6_rx, :remcsum_tx, :remcsum_rx] ++
              [:vnifilter, :localbypass, :mc_route]

  @doc false
  def __option__(:id, id, data) when id in 0..0xFFFFFF, do: {:ok, %{data | id: id}}
  def __option__(:id, _id, _data), do: :error
  def __option__(:remote, ip, data), do: address(data, ip, :group, :group6)
  def __option__(:group, ip, data), do: address(data, ip, :group, :group6)
  def __option__(:local, ip, data), do: address(data, ip, :local, :local6)
  def __option__(:external, on?, data), do: __option__(:collect_metadata, on?, data)

  def __option__(key, on?, data) when key in @switches and is_boolean(on?),
    do: {:ok, Map.replace!(data, key, if(on?, do: 1, else: 0))}

  def __option__(:label, label, _data) when label not in 0..0xFFFFF, do: :error
  def __option__(:df, df, _data) when df not in 0..2, do: :error
  def __option__(:ttl_inherit, on?, _data) when on? != true, do: :error
  def __option__(_key, _value, _data), do: :field

  @newer [:df, :localbypass, :label_policy, :mc_route]

  # Whether a VXLAN that reads as `data` has an option: the kernel passes over those that it does
  # not know.
  @doc false
  def __has__(key, data), do: key not in @newer or Map.fetch!(data, key) != nil

  defp address(data, ip, inet, inet6) do
    with {:ok, ip} <- IP.cast(ip) do
      field = if ip.family == :inet, do: inet, else: inet6
      {:ok, Map.replace!(data, field, ip)}
    end
  end

  @doc false
  def __names__, do: [:remote, :external]
end
