defmodule Linx.Netlink.Rtnl.Monitor.Event do
  @moduledoc """
  Something that rtnetlink told of.

  `op` says what happened, `resource` holds the object as a read would give it: a
  `Linx.Netlink.Rtnl.Link`, `Address`, `Route`, `Neighbour`, `Rule` or `Nexthop`. A message type
  that the monitor does not read is `{:unknown, type}` without a resource.

  The kernel uses the same message types for things of other families, and each has an op of its
  own. The resource is the struct of the message type, with the `family` that made the difference:

  | op | resource | family | tells of |
  |---|---|---|---|
  | `:new_bridge_port`, `:del_bridge_port` | `Link` | 7 | a port that joined, changed or left its bridge; the link stays |
  | `:new_link_inet6`, `:del_link_inet6` | `Link` | 10 | a link's IPv6 configuration (group 12); the link stays |
  | `:new_fdb`, `:del_fdb` | `Neighbour` | 7 | a forwarding entry of a bridge or VXLAN |
  | `:new_mroute`, `:del_mroute` | `Route` | 128, 129 | an entry of the multicast cache (groups 6 and 10) |
  | `:new_mrule`, `:del_mrule` | `Rule` | 128, 129 | a rule of multicast routing |

  By the time an event is read the object may have changed again, and events can be lost. Look at
  the kernel before acting on one.
  """

  @type op ::
          :new_link
          | :del_link
          | :new_addr
          | :del_addr
          | :new_route
          | :del_route
          | :new_neigh
          | :del_neigh
          | :new_rule
          | :del_rule
          | :new_nexthop
          | :del_nexthop
          | :new_bridge_port
          | :del_bridge_port
          | :new_link_inet6
          | :del_link_inet6
          | :new_fdb
          | :del_fdb
          | :new_mroute
          | :del_mroute
          | :new_mrule
          | :del_mrule
          | {:unknown, non_neg_integer()}

  @type t :: %__MODULE__{op: op(), resource: struct() | nil}

  defstruct [:op, :resource]
end
