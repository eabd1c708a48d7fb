defmodule Linx.Netlink do
  @moduledoc """
  Netlink: how user space asks the Linux kernel about its networking, and tells it what to change.

      {:ok, socket} = Linx.Netlink.Rtnl.open()
      {:ok, links} = Linx.Netlink.Rtnl.Link.list(socket)
      :ok = Linx.Netlink.Socket.close(socket)

  From the bottom up:

    * `Linx.Netlink.Socket` - a socket of any netlink protocol, in any network namespace;
    * `Linx.Netlink.Message`, `Linx.Netlink.Attr` - messages and attributes as bytes and back;
    * `Linx.Netlink.Request` - a request and its whole answer, dumps included;
    * `Linx.Netlink.Codec` - declares what a message looks like; `Linx.Netlink.Constants` - the
      numbers all share;
    * `Linx.Netlink.Rtnl` - links, addresses, routes, neighbours, rules, statistics, events,
      reconciliation;
    * `Linx.Netlink.Nfnl` - the transport under `Linx.Netfilter`.

  Errors are `Linx.Netlink.Error`, with the kernel's own explanation where it gives one. Generic
  netlink's families (WireGuard, ethtool) have no modules here, but `Linx.Netlink.Request.talk/4`
  and the codec serve them as they are.
  """
end
