defmodule Linx.Netlink.Socket.Native do
  @moduledoc """
  Netlink sockets as bare descriptors, for those who drive one by themselves.

  `Linx.Netlink.Socket` does not need this: its descriptor is owned by a resource of the VM and
  closed exactly once. Here the number is yours. Hand it to `:socket.open/1`, which then owns it,
  or give it to `close_fd/1`.

  A socket stays in the network namespace in which it was made. The native side makes it on a
  thread of its own that has joined the namespace and ends afterwards; no scheduler ever leaves
  the VM's namespace.

  Source: socket(2), netlink(7), setns(2).
  """

  alias Linx.{Native, Pool}

  @doc """
  Opens an unbound netlink socket of `protocol` (`NETLINK_ROUTE` is 0) in the namespace of the
  file `netns_path`, such as `/proc/<pid>/ns/net` or `/run/netns/<name>`.

  The failing step and the kernel's number come back as `{:error, {stage, errno}}`; stages are
  `:open`, `:setns`, `:socket` and `:thread`.
  """
  @spec open_in_netns(binary(), non_neg_integer()) ::
          {:ok, non_neg_integer()} | {:error, {atom(), integer()}}
  def open_in_netns(netns_path, protocol)
      when is_binary(netns_path) and netns_path != "" and protocol in 0..0xFFFF do
    netns_path |> Native.netlink_open_fd(protocol) |> Pool.Native.await()
  end

  @doc """
  Binds `fd`, with a port that the kernel chooses and the first 32 multicast groups as the bitmask
  `groups`.

  Higher groups are joined by a socket option after the bind. Returns `{:error, errno}` with the
  kernel's number: 9, EBADF, for a number that is no descriptor of `open_in_netns/2`.
  """
  @spec bind_netlink(non_neg_integer(), non_neg_integer()) :: :ok | {:error, integer()}
  def bind_netlink(fd, groups)
      when fd in 0..0x7FFFFFFF and groups in 0..0xFFFFFFFF do
    with {:error, {:bind, errno}} <- fd |> Native.netlink_bind_fd(groups) |> Pool.Native.await(),
         do: {:error, errno}
  end

  @doc """
  Closes a descriptor of `open_in_netns/2` that nothing has adopted. Always `:ok`; a number that
  names anything else, a netlink socket of another origin included, is left alone.
  """
  @spec close_fd(non_neg_integer()) :: :ok
  def close_fd(fd) when fd in 0..0x7FFFFFFF,
    do: fd |> Native.netlink_close_fd() |> Pool.Native.await()
end
