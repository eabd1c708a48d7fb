defmodule Linx.Netlink.Rtnl.LinkInfo.Vlan do
  @moduledoc """
  The tag of a VLAN (`id`) and its protocol: 0x8100 for 802.1Q, which is the default, 0x88A8 for 802.1ad.

  Source: `include/uapi/linux/if_link.h`, `IFLA_VLAN_*`.
  """

  use Linx.Netlink.Codec

  codec do
    attr(1, :id, :u16)
    attr(5, :protocol, :u16_be)
  end

  @doc false
  def __option__(:id, id, data) when id in 1..4094, do: {:ok, %{data | id: id}}

  def __option__(:protocol, protocol, data) when protocol in [0x8100, 0x88A8],
    do: {:ok, %{data | protocol: protocol}}

  def __option__(_key, _value, _data), do: :error
end
