defmodule Linx.Netlink.Rtnl.Objects do
  @moduledoc false
  # The structs of the tuples that the native walk gives. `codec native: n` of each module makes
  # the struct; the message type decides which module. native/linx_wire/src/netlink/rtnl.rs has
  # the tables of the walk, and a table there has a clause here.

  import Linx.Netlink.Rtnl.Constants

  alias Linx.Netlink.{Heap, Request}
  alias Linx.Netlink.Rtnl.{Address, Link, Neighbour, Nexthop, Route, Rule, Stats}

  # Heap words of a route and of its tuple are 70.
  @words 80

  @doc "The structs of an answer, or of a long dump that waits in the native library."
  @spec all([tuple()] | {reference(), pos_integer()}) :: [struct()]
  def all(tuples) when is_list(tuples), do: for(tuple <- tuples, do: one(tuple))
  def all({dump, count}), do: Heap.roomy(count * @words, fn -> taken([], dump) end)

  defp taken([tuple | tuples], dump), do: [one(tuple) | taken(tuples, dump)]

  defp taken([], dump) do
    case Request.take(dump) do
      [] -> []
      tuples -> taken(tuples, dump)
    end
  end

  @doc "The struct of a tuple; `nil` for a message type that the walk has no table for."
  @spec one(tuple()) :: struct() | nil
  def one(tuple) when elem(tuple, 0) in [rtm_newroute(), rtm_delroute(), rtm_getroute()],
    do: Route.__native__(tuple)

  def one(tuple)
      when elem(tuple, 0) in [rtm_newlink(), rtm_dellink(), rtm_getlink(), rtm_setlink()],
      do: Link.__native__(tuple)

  def one(tuple) when elem(tuple, 0) in [rtm_newaddr(), rtm_deladdr(), rtm_getaddr()],
    do: Address.__native__(tuple)

  def one(tuple) when elem(tuple, 0) in [rtm_newneigh(), rtm_delneigh(), rtm_getneigh()],
    do: Neighbour.__native__(tuple)

  def one(tuple) when elem(tuple, 0) in [rtm_newrule(), rtm_delrule(), rtm_getrule()],
    do: Rule.__native__(tuple)

  def one(tuple) when elem(tuple, 0) in [rtm_newstats(), rtm_getstats()],
    do: Stats.__native__(tuple)

  def one(tuple) when elem(tuple, 0) in [rtm_newnexthop(), rtm_delnexthop(), rtm_getnexthop()],
    do: tuple |> Nexthop.__native__() |> Nexthop.tidy()

  def one({_type}), do: nil
end
