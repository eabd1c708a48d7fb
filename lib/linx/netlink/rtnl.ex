defmodule Linx.Netlink.Rtnl do
  @moduledoc """
  rtnetlink: links, addresses, routes, nexthops, neighbours, policy rules, bridges and statistics.

      alias Linx.Netlink.Rtnl
      alias Linx.Netlink.Rtnl.{Address, Link, Route}

      {:ok, socket} = Rtnl.open({:pid, container_pid})
      :ok = Link.set_up(socket, "eth0")
      :ok = Address.add(socket, "eth0", "192.0.2.10", 24)
      :ok = Route.add_default(socket, "192.0.2.1")

  Each kind of object has a module; the verbs take a socket first. Reads need no privilege,
  changes need CAP_NET_ADMIN in the user namespace that owns the network namespace.

  ## Many changes at once

  A change waits for its acknowledgement, and half the cost of a small one is the waiting.
  `batch/2` sends any number in one go:

      {:ok, results} =
        Rtnl.batch(socket, [
          {Link, :set_up, ["eth0"]},
          {Address, :add, ["eth0", "192.0.2.10", 24]},
          {Route, :add_default, ["192.0.2.1"]}
        ])

  **A batch is not a transaction.** The kernel carries the changes out one by one and goes on
  after one that fails; other programs see the states between. What a batch saves is time.

  ## Errors

  `{:error, %Linx.Netlink.Error{}}`, with the kernel's `errno`: `:eperm` when the namespace may
  not be entered, `:enoent` when its process or file is not there.

  Source: rtnetlink(7).
  """

  import Linx.Netlink.Constants

  alias Linx.Netlink.{Error, Socket}
  alias Linx.Netlink.Rtnl.{Address, Bridge, Link, Neighbour, Nexthop, Route, Rule, Verb}

  @typedoc """
  A verb that changes something, without its socket:
  `{Route, :add, ["10.0.0.0", 8, "192.0.2.1"]}`.
  """
  @type change :: {module(), atom(), [term()]}

  @doc """
  Opens an rtnetlink socket in a network namespace; see `Linx.Netlink.Socket.open/2`.
  """
  @spec open(Socket.netns()) :: {:ok, Socket.t()} | {:error, term()}
  def open(netns \\ :host), do: Socket.open(netlink_route(), netns)

  @doc """
  Carries out many changes with one send, and gives each one's result in order.

  A change is the module, name and arguments of a verb, without the socket: any verb of `Link`,
  `Address`, `Route`, `Nexthop`, `Neighbour`, `Rule`, `Bridge.Fdb`, `Bridge.Vlan`, `Bridge.Mdb`
  and `Bridge.Port` that answers `:ok`, except `Link.delete_many/2` and those that move or rename
  a link. Interface names that have to be known as indices are looked up all together, before the
  first change: a link that this batch creates cannot be given an address by it.

  A change that makes no sense (an unparseable address, an unknown option) has its error at its
  place, and the others are carried out. A term that is no change raises `ArgumentError`, with
  nothing done. `{:error, error}` is an error of the socket; changes may have been made.
  """
  @spec batch(Socket.t(), [change()]) :: {:ok, [:ok | {:error, term()}]} | {:error, Error.t()}
  def batch(socket, changes) do
    unless is_list(changes) and not List.improper?(changes),
      do: raise(ArgumentError, "not a list of changes: #{inspect(changes)}")

    Verb.batch(socket, changes, &change!/1)
  end

  # Named in a function: an attribute would make this module wait for theirs to be compiled.
  defp change!({module, verb, args} = change)
       when is_atom(verb) and is_list(args) and
              module in [Link, Address, Route, Nexthop, Neighbour, Rule] do
    change
  end

  defp change!({module, verb, args} = change)
       when is_atom(verb) and is_list(args) and
              module in [Bridge.Fdb, Bridge.Vlan, Bridge.Mdb, Bridge.Port] do
    change
  end

  defp change!(other), do: raise(ArgumentError, "no change for a batch: #{inspect(other)}")
end
