defmodule Linx.Netlink.Rtnl.Wire do
  @moduledoc false
  # What the native walk gives as structs. A tuple is the message type, the header, the attributes in the order of
  # native/linx_wire/src/netlink/rtnl.rs, and the attributes that the walk left.
  # `codec native: n` makes a struct of it.

  alias Linx.Netlink.{Heap, Request}
  alias Linx.Netlink.Rtnl.{Address, Link, Neighbour, Nexthop, Route, Rule, Stats}

  # A route and its tuple are 70.
  @words 80

  @spec objects([tuple()] | {reference(), pos_integer()}) :: [struct()]
  def objects(tuples) when is_list(tuples), do: for(tuple <- tuples, do: object(tuple))
  def objects({dump, count}), do: Heap.roomy(count * @words, fn -> taken([], dump) end)

  defp taken([tuple | tuples], dump), do: [object(tuple) | taken(tuples, dump)]

  defp taken([], dump) do
    case Request.take(dump) do
      [] -> []
      tuples -> taken(tuples, dump)
    end
  end

  @spec object(tuple()) :: struct() | nil
  def object(tuple) when elem(tuple, 0) in 24..26, do: Route.__native__(tuple)
  def object(tuple) when elem(tuple, 0) in 16..19, do: Link.__native__(tuple)
  def object(tuple) when elem(tuple, 0) in 20..22, do: Address.__native__(tuple)
  def object(tuple) when elem(tuple, 0) in 28..30, do: Neighbour.__native__(tuple)
  def object(tuple) when elem(tuple, 0) in 32..34, do: Rule.__native__(tuple)
  def object(tuple) when elem(tuple, 0) in [92, 94], do: Stats.__native__(tuple)

  def object(tuple) when elem(tuple, 0) in 104..106,
    do: tuple |> Nexthop.__native__() |> Nexthop.tidy()

  def object({_type}), do: nil
end
