defmodule Linx.Netlink.Rtnl.Constants do
  @moduledoc false
  # The RTM_* message types and RTNLGRP_* multicast groups of linux/rtnetlink.h at 6.18, as
  # macros: `rtm_newlink()` is 16, also in a pattern or a guard.

  # The kernel numbers the four verbs of an object in a row: NEW, DEL, GET, SET. A verb that it
  # does not define has no macro here either.
  @objects [
    link: {16, [:new, :del, :get, :set]},
    addr: {20, [:new, :del, :get]},
    route: {24, [:new, :del, :get]},
    neigh: {28, [:new, :del, :get]},
    rule: {32, [:new, :del, :get]},
    mdb: {84, [:new, :del, :get]},
    nsid: {88, [:new, :del, :get]},
    stats: {92, [:new, :get]},
    nexthop: {104, [:new, :del, :get]},
    linkprop: {108, [:new, :del, :get]},
    nexthopbucket: {116, [:new, :del, :get]}
  ]

  @offsets %{new: 0, del: 1, get: 2, set: 3}

  @groups [
    link: 1,
    neigh: 3,
    ipv4_ifaddr: 5,
    ipv4_route: 7,
    ipv4_rule: 8,
    ipv6_ifaddr: 9,
    ipv6_route: 11,
    ipv6_rule: 19,
    nexthop: 32
  ]

  for {object, {first, verbs}} <- @objects, verb <- verbs do
    @doc "`RTM_#{String.upcase("#{verb}#{object}")}`."
    defmacro unquote(:"rtm_#{verb}#{object}")(), do: unquote(first + @offsets[verb])
  end

  for {group, number} <- @groups do
    @doc "`RTNLGRP_#{group |> Atom.to_string() |> String.upcase()}`."
    defmacro unquote(:"rtnlgrp_#{group}")(), do: unquote(number)
  end
end
