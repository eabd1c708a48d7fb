defmodule Linx.Netlink.Rtnl.Monitor do
  @moduledoc """
  A process that listens to rtnetlink's multicast and tells an owner of every change:
  `ip monitor`.

      {:ok, monitor} = Linx.Netlink.Rtnl.Monitor.subscribe()

      receive do
        {:linx_rtnl, :event, %Linx.Netlink.Rtnl.Monitor.Event{op: :new_addr} = event} ->
          event.resource

        {:linx_rtnl, :resync_needed} ->
          :look_again
      end

      :ok = Linx.Netlink.Rtnl.Monitor.unsubscribe(monitor)

  **An event says "look now"**, not what is so. The kernel drops events when the receive buffer is
  full, and the objects go on changing while an event waits in a mailbox. When some were dropped
  the owner gets `{:linx_rtnl, :resync_needed}` where they would have stood; reading everything
  again is then the only way to know. Whoever always reads again, on either message, is always
  right: `Linx.Netlink.Rtnl.Reconcile` does so.

  The monitor reads what is there in one go, so a burst costs one wake-up, and no faster than its
  owner: beyond about 8 MiB of events that the owner has not read, the kernel drops those that its
  buffer does not hold. It ends when its owner does, and it is linked to the process that started
  it.

  Source: rtnetlink(7), include/uapi/linux/rtnetlink.h, `RTNLGRP_*`.
  """

  use Linx.Netlink.Listener, form: :rtnl

  import Linx.Netlink.Constants
  import Linx.Netlink.Rtnl.Constants

  alias Linx.Netlink.{Inbox, Listener, Socket}
  alias Linx.Netlink.Rtnl.Monitor.Event
  alias Linx.Netlink.Rtnl.Objects

  @groups [
    rtnlgrp_link(),
    rtnlgrp_neigh(),
    rtnlgrp_ipv4_ifaddr(),
    rtnlgrp_ipv4_route(),
    rtnlgrp_ipv4_rule(),
    rtnlgrp_ipv6_ifaddr(),
    rtnlgrp_ipv6_route(),
    rtnlgrp_ipv6_rule()
  ]
  @rcvbuf 4 * 1024 * 1024

  @ops %{
    rtm_newlink() => :new_link,
    rtm_dellink() => :del_link,
    rtm_newaddr() => :new_addr,
    rtm_deladdr() => :del_addr,
    rtm_newroute() => :new_route,
    rtm_delroute() => :del_route,
    rtm_newneigh() => :new_neigh,
    rtm_delneigh() => :del_neigh,
    rtm_newrule() => :new_rule,
    rtm_delrule() => :del_rule,
    rtm_newnexthop() => :new_nexthop,
    rtm_delnexthop() => :del_nexthop
  }

  # Messages of other families under the same types tell of other things: AF_BRIDGE (7) of ports
  # and forwarding entries, AF_INET6 (10) of a link's IPv6 configuration, RTNL_FAMILY_IPMR and
  # IP6MR (128, 129) of multicast routing.
  @others %{
    new_link: %{7 => :new_bridge_port, 10 => :new_link_inet6},
    del_link: %{7 => :del_bridge_port, 10 => :del_link_inet6},
    new_neigh: %{7 => :new_fdb},
    del_neigh: %{7 => :del_fdb},
    new_route: %{128 => :new_mroute, 129 => :new_mroute},
    del_route: %{128 => :del_mroute, 129 => :del_mroute},
    new_rule: %{128 => :new_mrule, 129 => :new_mrule},
    del_rule: %{128 => :del_mrule, 129 => :del_mrule}
  }

  @typedoc """
  `:owner` is who is told, `:netns` the namespace (see `Linx.Netlink.Socket`), `:groups` a list of
  RTNLGRP_* numbers, and `:rcvbuf` the receive buffer in bytes, where an unread event takes about
  400.
  """
  @type opt ::
          {:owner, pid()}
          | {:netns, Socket.netns()}
          | {:groups, [pos_integer()]}
          | {:rcvbuf, pos_integer()}

  @doc """
  Starts a monitor linked to the caller. `:owner` is required; see `t:opt/0` for the rest.

  By default it listens to links, neighbours, and IPv4 and IPv6 addresses, routes and rules, in
  the VM's own namespace, with a buffer of 4 MiB (as far as net.core.rmem_max lets it, for one
  without privilege). Nexthop objects have group 32 (RTNLGRP_NEXTHOP).

  A bad option raises `ArgumentError`. A socket that cannot be opened is `{:error, reason}`, as in
  `Linx.Netlink.Socket.open/2`.
  """
  @spec start_link([opt()]) :: GenServer.on_start()
  def start_link(opts) do
    opts =
      Keyword.validate!(opts, [:owner, netns: :host, groups: @groups, rcvbuf: @rcvbuf])

    unless is_pid(opts[:owner]) and is_list(opts[:groups]) and
             Enum.all?(opts[:groups], &(is_integer(&1) and &1 > 0)) and
             opts[:rcvbuf] in 1..0x3FFFFFFF do
      raise ArgumentError, "not the options of a monitor: #{inspect(opts)}"
    end

    :ok = Socket.check_netns!(opts[:netns])
    GenServer.start_link(__MODULE__, opts)
  end

  @doc """
  Starts a monitor that tells `owner`, by default the caller.
  """
  @spec subscribe(pid(), [opt()]) :: GenServer.on_start()
  def subscribe(owner \\ self(), opts \\ []), do: start_link([{:owner, owner} | opts])

  @doc """
  Stops a monitor. What it has sent by then stays in the owner's mailbox.
  """
  @spec stop(pid()) :: :ok
  def stop(monitor), do: GenServer.stop(monitor)

  @doc """
  The same as `stop/1`.
  """
  @spec unsubscribe(pid()) :: :ok
  def unsubscribe(monitor), do: stop(monitor)

  @impl Listener
  def open(opts) do
    owner = opts[:owner]

    with {:ok, inbox} <-
           Inbox.open(netlink_route(), opts[:netns], opts[:groups], opts[:rcvbuf], owner),
         do: {:ok, inbox, %{owner: owner}}
  end

  @impl Listener
  def handle_messages(messages, state) do
    Enum.each(messages, &send(state.owner, {:linx_rtnl, :event, event(&1)}))
    state
  end

  @impl Listener
  def handle_loss(state) do
    send(state.owner, {:linx_rtnl, :resync_needed})
    state
  end

  defp event(message) do
    type = elem(message, 0)

    case @ops do
      %{^type => op} ->
        resource = Objects.one(message)
        %Event{op: op(op, resource.family), resource: resource}

      %{} ->
        %Event{op: {:unknown, type}}
    end
  end

  defp op(op, family) do
    case @others do
      %{^op => %{^family => other}} -> other
      %{} -> op
    end
  end
end
