defmodule Linx.Netlink.Rtnl.Monitor.Event do
  @moduledoc """
  Something that rtnetlink told of.

  `op` says what happened, `resource` holds the object as a read would give it: a `Linx.Netlink.Rtnl.Link`, `Address`,
  `Route`, `Neighbour` or `Rule`. A message type that the monitor does not read is `{:unknown, type}` without a resource.

  By the time an event is read the object may have changed again, and events can be lost. Look at the kernel before
  acting on one.
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
          | {:unknown, non_neg_integer()}

  @type t :: %__MODULE__{op: op(), resource: struct() | nil}

  defstruct [:op, :resource]
end
