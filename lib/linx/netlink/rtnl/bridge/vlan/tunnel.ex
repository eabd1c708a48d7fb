defmodule Linx.Netlink.Rtnl.Bridge.Vlan.Tunnel do
  @moduledoc """
  The tunnel ids of a port's VLANs: `vids` and `ids` are ranges of one length, such as `10..12`
  and `1010..1012`, `ifindex` and `name` are the port's.

  Source: bridge(8), "tunnelshow"; `include/uapi/linux/if_bridge.h`, `IFLA_BRIDGE_VLAN_TUNNEL_*`.
  """

  @type t :: %__MODULE__{
          ifindex: pos_integer(),
          name: String.t() | nil,
          vids: Range.t(),
          ids: Range.t()
        }

  @enforce_keys [:ifindex, :vids, :ids]
  defstruct [:ifindex, :name, :vids, :ids]
end
