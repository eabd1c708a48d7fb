defmodule Linx.Netlink.Rtnl.Reconcile.Source do
  @moduledoc """
  `Linx.Netlink.Rtnl.Reconcile` for the `Linx.Reconcile` loop.

      {Linx.Reconcile,
       source: Linx.Netlink.Rtnl.Reconcile.Source,
       scope: {:pid, container_pid},
       desired: %{addresses: [{"eth0", "192.0.2.10", 24}], routes: [{:default, "192.0.2.1"}]}}

  The scope is a network namespace, as `Linx.Netlink.Socket.open/2` takes it. Each pass opens a
  socket there and closes it. The hints come from a `Linx.Netlink.Rtnl.Monitor` that listens to
  links, addresses, routes and rules.

  Passes go on after a failure (`on_error: :continue`), unless `:reconcile_opts` say otherwise: an
  entry that cannot be made does not keep the others from being made.
  """

  @behaviour Linx.Reconcile.Source

  import Linx.Netlink.Rtnl.Constants

  alias Linx.Netlink.{Rtnl, Socket}
  alias Linx.Netlink.Rtnl.{Monitor, Reconcile}

  # Without RTNLGRP_NEIGH: neighbours come and go all the time.
  @groups [
    rtnlgrp_link(),
    rtnlgrp_ipv4_ifaddr(),
    rtnlgrp_ipv4_route(),
    rtnlgrp_ipv4_rule(),
    rtnlgrp_ipv6_ifaddr(),
    rtnlgrp_ipv6_route(),
    rtnlgrp_ipv6_rule()
  ]

  @doc """
  One pass in `scope`.
  """
  @impl true
  def reconcile(scope, desired, last_applied, opts),
    do: within(scope, &Reconcile.reconcile(&1, desired, last_applied, continuing(opts)))

  defp continuing(opts), do: Keyword.put_new(opts, :on_error, :continue)

  @doc """
  Starts a monitor in `scope` that tells `owner`, linked to the caller.
  """
  @impl true
  def subscribe(scope, owner), do: Monitor.subscribe(owner, netns: scope, groups: @groups)

  @doc """
  What a pass would look at: `%{addresses: addresses, routes: routes}`, the routes being those of
  the protocol.
  """
  @impl true
  def observe(scope, opts), do: within(scope, &Reconcile.observe(&1, opts))

  defp within(scope, fun) do
    with {:ok, socket} <- Rtnl.open(scope) do
      try do
        fun.(socket)
      after
        Socket.close(socket)
      end
    end
  end
end
