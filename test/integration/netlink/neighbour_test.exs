defmodule Linx.Netlink.NeighbourTest do
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :netns

  import Linx.{IP, MAC}

  alias Linx.Netlink.{Error, Rtnl}
  alias Linx.Netlink.Rtnl.{Address, Link, Neighbour}
  alias Linx.Test.Netns

  setup do
    ns = Netns.quiet()
    socket = Netns.open(ns)
    :ok = Link.create_veth(socket, "a0", "a1")
    :ok = Link.set_up(socket, "a0")
    :ok = Link.set_up(socket, "a1")
    :ok = Address.add(socket, "a0", "192.0.2.1", 24)
    :ok = Address.add(socket, "a0", "2001:db8::1", 64)
    %{ns: ns, socket: socket}
  end

  @mac "02:00:00:00:00:07"

  defp shown(ns, what \\ "neigh show nud all dev a0") do
    # The kernel adds its own multicast neighbours when it likes.
    for %{"dst" => dst} = n <- Netns.ip!(ns, what),
        not String.starts_with?(dst, ["ff0", "224."]),
        into: %{},
        do: {dst, n}
  end

  test "states as ip has them", %{ns: ns, socket: s} do
    # `:delay` and `:probe` go on by themselves, and `:none` is not shown.
    for {state, shown} <- [
          permanent: "PERMANENT",
          noarp: "NOARP",
          reachable: "REACHABLE",
          stale: "STALE"
        ],
        {ip, n} <- [{"192.0.2.7", 7}, {"2001:db8::7", 8}] do
      assert :ok = Neighbour.replace(s, "a0", ip, @mac, state: state)
      assert %{"state" => [^shown], "lladdr" => @mac} = shown(ns)[ip]
      {:ok, listed} = Neighbour.list(s, "a0")

      assert [%{lladdr: ~MAC"02:00:00:00:00:07"} = entry] =
               for(e <- listed, "#{e.dst}" == ip, do: e)

      assert :ok = Neighbour.delete(s, entry)
      assert {n, nil} == {n, Map.get(shown(ns, "neigh show dev a0"), ip)}
    end

    for state <- [:delay, :probe, :incomplete, :failed, :none] do
      mac = if state in [:delay, :probe], do: @mac
      assert :ok = Neighbour.replace(s, "a0", "192.0.2.9", mac, state: state)
    end
  end

  test "flags and the one who made it", %{ns: ns, socket: s} do
    :ok =
      Neighbour.add(s, "a0", "2001:db8::9", @mac, flags: [:router, :extern_learn], protocol: 76)

    assert %{"router" => nil, "extern_learn" => nil, "protocol" => "76"} =
             shown(ns, "-N neigh show nud all dev a0")["2001:db8::9"]

    :ok = Neighbour.add(s, "a0", "192.0.2.9", nil, flags: [:managed])
    assert %{"managed" => nil} = shown(ns)["192.0.2.9"]
    {:ok, listed} = Neighbour.list(s, "a0")
    assert %{flags_ext: 1} = Enum.find(listed, &(&1.dst == ~IP"192.0.2.9"))

    # As listed.
    managed = Enum.find(listed, &(&1.dst == ~IP"192.0.2.9"))
    :ok = Neighbour.delete(s, managed)
    :ok = Neighbour.add(s, managed)
    assert %{"managed" => nil} = shown(ns)["192.0.2.9"]

    :ok = Neighbour.add(s, "a0", "192.0.2.8", nil, flags: [:use])
    assert %{} = shown(ns)["192.0.2.8"]
  end

  test "addresses that are answered for", %{ns: ns, socket: s} do
    for ip <- ["203.0.113.7", "2001:db8:9::7"] do
      assert :ok = Neighbour.add(s, "a0", ip, nil, proxy: true)
      assert shown(ns) |> Map.has_key?(ip) == false
      assert %{} = shown(ns, "neigh show proxy dev a0")[ip]
      assert {:ok, proxies} = Neighbour.list(s, link: "a0", proxy: true)
      assert ip in Enum.map(proxies, &"#{&1.dst}")

      assert {:error, %Error{errno: :enoent}} = Neighbour.delete(s, "a0", ip)
      assert %{} = shown(ns, "neigh show proxy dev a0")[ip]
      assert :ok = Neighbour.delete(s, "a0", ip, proxy: true)
      assert shown(ns, "neigh show proxy dev a0") == %{}
    end

    # As listed, and beside a neighbour of that address.
    :ok = Neighbour.add(s, "a0", "192.0.2.7", nil, proxy: true)
    :ok = Neighbour.add(s, "a0", "192.0.2.7", @mac)
    {:ok, [proxy]} = Neighbour.list(s, link: "a0", proxy: true)
    assert :ok = Neighbour.delete(s, proxy)
    assert %{} = shown(ns)["192.0.2.7"]
    assert :ok = Neighbour.add(s, proxy)
    assert %{} = shown(ns, "neigh show proxy dev a0")["192.0.2.7"]
  end

  test "what makes no sense is refused", %{ns: ns, socket: s} do
    before = shown(ns)

    for {mac, opts, reason} <- [
          {nil, [], {:invalid_mac, nil}},
          {nil, [state: :reachable], {:invalid_mac, nil}},
          {nil, [flags: [:use], state: :stale], {:invalid_mac, nil}},
          {@mac, [proxy: true], {:invalid_mac, @mac}},
          {nil, [proxy: true, state: :stale], {:bad_option, {:state, :stale}}},
          {nil, [proxy: 1], {:bad_option, {:proxy, 1}}},
          {@mac, [state: 128], {:bad_option, {:state, 128}}},
          {@mac, [flags: [:proxy]], {:bad_option, {:flags, [:proxy]}}},
          {@mac, [protocol: 256], {:bad_option, {:protocol, 256}}},
          {@mac, [nud: :stale], {:bad_option, {:nud, :stale}}},
          {@mac, :stale, {:bad_option, :stale}}
        ],
        do: assert({:error, reason} == Neighbour.add(s, "a0", "192.0.2.7", mac, opts))

    assert {:error, {:bad_option, {:state, :stale}}} =
             Neighbour.delete(s, "a0", "192.0.2.7", state: :stale)

    assert shown(ns) == before
  end

  test "many, by value and in batches", %{ns: ns, socket: s} do
    {:ok, %{index: index}} = Link.get(s, "a0")
    assert {:ok, value} = Neighbour.new(index, "192.0.2.5", @mac, protocol: 76)
    assert %Neighbour{state: 128, protocol: 76, ifindex: ^index} = value
    assert {:error, {:invalid_name, "a0"}} = Neighbour.new("a0", "192.0.2.5", @mac)
    assert {:ok, %Neighbour{state: 0, flags: 8}} = Neighbour.new(1, "192.0.2.5", nil, proxy: true)

    assert {:ok, [:ok, :ok, :ok]} =
             Neighbour.add_many(s, [
               value,
               {"a0", "192.0.2.6", @mac, [state: :noarp]},
               {"a0", "2001:db8::6", @mac}
             ])

    assert {:ok, [:ok]} =
             Rtnl.batch(s, [{Neighbour, :add, ["a0", "192.0.2.7", nil, [proxy: true]]}])

    {:ok, listed} = Neighbour.list(s, "a0")
    ours = Enum.filter(listed, &(&1.lladdr == ~MAC"02:00:00:00:00:07"))
    assert length(ours) == 3

    assert {:ok, [:ok, :ok, :ok, :ok]} =
             Neighbour.delete_many(s, ours ++ [{"a0", "192.0.2.7", [proxy: true]}])

    assert shown(ns, "neigh show proxy dev a0") == %{}
    {:ok, left} = Neighbour.list(s, "a0")
    refute Enum.any?(left, &(&1.lladdr == ~MAC"02:00:00:00:00:07" and &1.state != 32))
    assert {:error, %Error{errno: :enoent}} = Neighbour.delete(s, "a0", "192.0.2.99")
  end
end
