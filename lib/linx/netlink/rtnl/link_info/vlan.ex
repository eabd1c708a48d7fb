defmodule Linx.Netlink.Rtnl.LinkInfo.Vlan do
  @moduledoc """
  The tag of a VLAN (`id`) and its protocol: 0x8100 for 802.1Q, which is the default, 0x88A8 for
  802.1ad.

  `flags` has the switches that are on as `value`; as options they have their own names, with
  `true` or `false`: `:reorder_hdr`, `:gvrp`, `:mvrp`, `:loose_binding`, `:bridge_binding`.
  `egress_qos` maps a packet's priority to the tag's, `ingress_qos` the tag's to the packet's:
  `%{3 => 5}`.

  Source: ip-link(8), `include/uapi/linux/if_link.h` at 7.2, `IFLA_VLAN_*`.
  """

  use Linx.Netlink.Codec

  alias Linx.Netlink.Rtnl.LinkInfo.Vlan.{Flags, Qos}

  codec do
    attr(1, :id, :u16)
    attr(5, :protocol, :u16_be)
    attr(2, :flags, Flags)
    attr(3, :egress_qos, {:nested, Qos})
    attr(4, :ingress_qos, {:nested, Qos})
  end

  @switches Map.keys(Flags.__codec__().kinds.flag.numbers)

  @doc false
  def __option__(:id, id, data) when id in 1..4094, do: {:ok, %{data | id: id}}

  def __option__(:protocol, protocol, data) when protocol in [0x8100, 0x88A8],
    do: {:ok, %{data | protocol: protocol}}

  def __option__(key, on?, data) when key in @switches and is_boolean(on?) do
    flags = data.flags || %Flags{}
    value = if on?, do: [key | flags.value], else: List.delete(flags.value, key)
    {:ok, %{data | flags: %{flags | value: value, mask: [key | flags.mask]}}}
  end

  def __option__(key, map, data) when key in [:egress_qos, :ingress_qos] and is_map(map) do
    most = if key == :egress_qos, do: {0xFFFFFFFF, 7}, else: {7, 0xFFFFFFFF}

    if Enum.all?(map, fn {from, to} -> from in 0..elem(most, 0) and to in 0..elem(most, 1) end),
      do: {:ok, Map.replace!(data, key, map)},
      else: :error
  end

  def __option__(_key, _value, _data), do: :error

  # The kernel passes over a change of these.
  @doc false
  def __fixed__, do: [:id, :protocol]

  @doc false
  def __names__, do: @switches
end
