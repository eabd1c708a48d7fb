defmodule Linx.Netlink.Rtnl.Bridge.Mdb.Router do
  @moduledoc """
  A port of a bridge with a multicast router behind it, which gets every group: `bridge` and
  `port` are indices, `type` is `:temp_query`, `:permanent`, `:temp` or `:disabled`, `timer` the
  rest of its time in hundredths of a second, `vid` its VLAN.

  Source: bridge(8); `include/uapi/linux/if_bridge.h`, `MDBA_ROUTER_*`.
  """

  @type t :: %__MODULE__{
          bridge: pos_integer(),
          port: pos_integer(),
          type: atom() | integer(),
          timer: non_neg_integer() | nil,
          vid: 1..4094 | nil
        }

  defstruct [:bridge, :port, :type, :timer, :vid]
end
