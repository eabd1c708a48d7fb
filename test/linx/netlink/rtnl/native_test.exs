defmodule Linx.Netlink.Rtnl.NativeTest do
  use ExUnit.Case, async: true

  # The native walk's tables (native/linx_wire/src/netlink/rtnl.rs) against the codecs: each
  # attribute number, with payloads of every length, gives the same struct either way.

  alias Linx.Native
  alias Linx.Netlink.{Attr, Message}
  alias Linx.Netlink.Rtnl.{Address, Link, Neighbour, Nexthop, Objects, Route, Rule, Stats}
  alias Linx.Test.BadCodec

  @types %{
    16 => Link,
    17 => Link,
    20 => Address,
    21 => Address,
    24 => Route,
    25 => Route,
    28 => Neighbour,
    29 => Neighbour,
    32 => Rule,
    33 => Rule,
    92 => Stats,
    104 => Nexthop,
    105 => Nexthop
  }

  defp native(type, body) do
    bytes = Message.encode(%Message{type: type, payload: body})
    {:ok, [tuple]} = Native.netlink_decode(bytes, :rtnl)
    {Objects.one(tuple), tuple}
  end

  # Nexthops come as a read gives them.
  defp read(%Nexthop{} = nexthop), do: Nexthop.tidy(nexthop)
  defp read(message), do: message

  # Not all zeros, so that a number in the wrong byte order or slot shows.
  defp payload(size), do: for(n <- 1..size//1, into: <<>>, do: <<0x60 + n>>)

  for {type, module} <- @types do
    test "the table for message type #{type} is that of #{inspect(module)}" do
      header = payload(unquote(module).__codec__().size)
      # Links have a kind, which decides how its data is read.
      kind =
        if unquote(module) == Link,
          do: Attr.encode([{18, Attr.encode([{1, "bridge\0"}])}]),
          else: ""

      for number <- 0..127, size <- [0, 1, 2, 3, 4, 6, 8, 16, 20] do
        body = header <> kind <> Attr.encode([{number, payload(size)}])
        {object, _tuple} = native(unquote(type), body)

        assert object == read(unquote(module).decode(body)),
               "attribute #{number} of #{size} bytes"
      end
    end
  end

  test "the walk gives as many attributes as the codec says" do
    for {type, module} <- @types do
      {_, tuple} = native(type, payload(module.__codec__().size))
      walked = tuple_size(tuple) - 3

      # The first of the declaration, each in its slot.
      for {{number, _name, _type}, slot} <-
            module.__codec__().attrs |> Enum.take(walked) |> Enum.with_index() do
        body = payload(module.__codec__().size) <> Attr.encode([{number, payload(16)}])
        {_, tuple} = native(type, body)
        assert elem(tuple, slot + 2) != nil, "#{inspect(module)}: attribute #{number}"
      end
    end
  end

  test "a count that does not fit does not compile" do
    for {opts, block, reason} <- [
          {"native: 2", "attr 1, :a, :u8", ~r/does not fit/},
          {"native: 1", "attr 1, :a, :u64", ~r/does not fit/},
          {"native: 1", "attr 1, :a, {:multi, :u8}", ~r/does not fit/},
          {"native: 1", "enum :k, :u8, a: 1\nattr 1, :a, {:enum, :k}", ~r/does not fit/},
          {"natives: 1", "attr 1, :a, :u8", ~r/no options/}
        ],
        do: BadCodec.refused!(block, reason, opts)
  end
end
