defmodule Linx.Netlink.Rtnl.LinkInfo.Geneve do
  @moduledoc """
  The configuration of a GENEVE tunnel (RFC 8926).

  `id` is the network identifier, 0..16777215, `remote` the other end's IPv4 address and `remote6`
  its IPv6 address; as option `:remote` takes either family. `port` is the UDP destination port,
  6081 unless it is said. `collect_metadata` takes all of these from each packet's metadata
  instead; as option it is `:external`, too, and then neither `id` nor `remote` is given.

  `ttl` 0 is inherited from the packet inside, as is `tos` 1; `label` is an IPv6 flow label, `df`
  0, 1 (set) or 2 (inherited). The switches (`udp_csum`, `udp_zero_csum6_tx`, `udp_zero_csum6_rx`,
  `ttl_inherit`) are 0 or 1; as options booleans do. `inner_proto_inherit` lets IP packets be
  carried without an Ethernet header.

      :ok = Link.create(socket, "gnv0", :geneve, id: 5, remote: "192.0.2.9", up: true)

  Source: ip-link(8), `include/uapi/linux/if_link.h`, `IFLA_GENEVE_*`.
  """

  use Linx.Netlink.Codec

  alias Linx.IP

  codec do
    attr(1, :id, :u32)
    attr(2, :remote, IP)
    attr(3, :ttl, :u8)
    attr(4, :tos, :u8)
    attr(5, :port, :u16_be)
    attr(6, :collect_metadata, :flag)
    attr(7, :remote6, IP)
    attr(8, :udp_csum, :u8)
    attr(9, :udp_zero_csum6_tx, :u8)
    attr(10, :udp_zero_csum6_rx, :u8)
    attr(11, :label, :u32_be)
    attr(12, :ttl_inherit, :u8)
    attr(13, :df, :u8)
    attr(14, :inner_proto_inherit, :flag)
  end

  @switches [:udp_csum, :udp_zero_csum6_tx, :udp_zero_csum6_rx, :ttl_inherit]

  @doc false
  def __option__(:id, id, _data) when id not in 0..0xFFFFFF, do: :error
  def __option__(:label, label, _data) when label not in 0..0xFFFFF, do: :error
  def __option__(:df, df, _data) when df not in 0..2, do: :error
  def __option__(:external, on?, data), do: __option__(:collect_metadata, on?, data)

  def __option__(:remote, ip, data) do
    with {:ok, ip} <- IP.cast(ip) do
      field = if ip.family == :inet, do: :remote, else: :remote6
      {:ok, Map.replace!(data, field, ip)}
    end
  end

  def __option__(:collect_metadata, on?, data) when is_boolean(on?),
    do: {:ok, %{data | collect_metadata: on?}}

  def __option__(key, on?, data) when key in @switches and is_boolean(on?),
    do: {:ok, Map.replace!(data, key, if(on?, do: 1, else: 0))}

  def __option__(_key, _value, _data), do: :field

  @doc false
  def __names__, do: [:external]
end
