defmodule Linx.Netlink.Rtnl.LinkInfo.Ipvlan do
  @moduledoc """
  The mode of an ipvlan, as the kernel's number: 0 L2, 1 L3, 2 L3S. Sixteen bits wide, where
  macvlan's has 32.

  Source: `include/uapi/linux/if_link.h`, `IFLA_IPVLAN_*`.
  """

  use Linx.Netlink.Codec

  codec do
    attr(1, :mode, :u16)
  end

  @modes %{l2: 0, l3: 1, l3s: 2}

  @doc false
  def __option__(:mode, mode, data) when is_map_key(@modes, mode),
    do: {:ok, %{data | mode: @modes[mode]}}

  def __option__(_key, _value, _data), do: :error
end
