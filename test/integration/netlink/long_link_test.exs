defmodule Linx.Netlink.LongLinkTest do
  # A link whose message is longer than the buffer that a socket begins with, 64 KiB: 494 names of
  # 127 bytes, which is as much as a nest holds.
  use ExUnit.Case, async: true

  alias Linx.Netlink.Rtnl
  alias Linx.Netlink.Rtnl.{Address, Link, Neighbour, Reconcile, Route, Rule, Stats}
  alias Linx.Netlink.Socket
  alias Linx.Test.Netns

  @moduletag :root
  @moduletag :netns

  @names 494

  defp name(n), do: String.pad_trailing("n#{n}-", 127, "x")

  setup do
    ns = Netns.quiet()
    socket = Netns.open(ns)
    :ok = Link.create_veth(socket, "a0", "b0")
    for link <- ["a0", "b0"], do: :ok = Link.set_up(socket, link)
    {:ok, %Link{index: index}} = Link.get(socket, "a0")
    for n <- 1..@names, do: :ok = Link.add_altname(socket, index, name(n))
    %{ns: ns, socket: socket}
  end

  # Each on a socket of its own: the first answer that is too long makes a socket's buffer grow.
  defp fresh(ns, fun) do
    {:ok, socket} = Rtnl.open(Netns.target(ns))

    try do
      fun.(socket)
    after
      Socket.close(socket)
    end
  end

  test "every verb that names it does its work on a fresh socket", %{ns: ns} do
    verbs = [
      get: &Link.get(&1, "a0"),
      get_by_altname: &Link.get(&1, name(7)),
      set_mtu: &Link.set_mtu(&1, "a0", 1400),
      set: &Link.set(&1, "a0", group: 5),
      set_up: &Link.set_up(&1, "a0"),
      add_altname: &Link.delete_altname(&1, "a0", name(@names)),
      stats: &Stats.get(&1, "a0"),
      address_add: &Address.add(&1, "a0", "203.0.113.7", 24),
      address_list: &Address.list(&1, link: "a0"),
      add_many: &Address.add_many(&1, [{"a0", "203.0.113.8", 32}, {"b0", "203.0.113.9", 32}]),
      route_add: &Route.add(&1, "198.51.100.0", 24, nil, oif: "a0"),
      multipath: &Route.add(&1, "198.18.0.0", 24, nil, multipath: [[oif: "a0"], [oif: "b0"]]),
      route_delete: &Route.delete(&1, "198.51.100.0", 24, nil, oif: "a0"),
      neighbour_add: &Neighbour.add(&1, "a0", "203.0.113.77", "02:00:00:00:00:07"),
      neighbour_list: &Neighbour.list(&1, link: "a0"),
      neighbour_delete: &Neighbour.delete(&1, "a0", "203.0.113.77"),
      rule_add: &Rule.add(&1, iif: "a0", table: 100, priority: 77),
      create_on_it: &Link.create(&1, "m0", :macvlan, link: "a0"),
      master: &Link.set(&1, "b0", master: nil),
      reconcile: &Reconcile.reconcile(&1, %{addresses: [{"a0", "203.0.113.7", 24}]}, %{}),
      address_delete: &Address.delete(&1, "a0", "203.0.113.7", 24),
      delete: &Link.delete(&1, "a0")
    ]

    for {verb, fun} <- verbs do
      answer = fresh(ns, fun)
      assert answer == :ok or elem(answer, 0) == :ok, "#{verb}: #{inspect(answer, limit: 5)}"
    end
  end

  test "look-ups of many such names are split to what the receive buffer holds", %{ns: ns} do
    addresses = for n <- 1..40, do: {name(n), "203.0.113.#{n}", 32}

    fresh(ns, fn socket ->
      :ok = Socket.set_rcvbuf(socket, 200_000)
      assert {:ok, results} = Address.add_many(socket, addresses)
      assert Enum.uniq(results) == [:ok]
    end)
  end
end
