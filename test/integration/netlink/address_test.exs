defmodule Linx.Netlink.AddressTest do
  use ExUnit.Case, async: true

  @moduletag :root
  @moduletag :netns

  import Linx.IP

  alias Linx.Netlink.{Error, Rtnl}
  alias Linx.Netlink.Rtnl.{Address, Link, Reconcile}
  alias Linx.Test.Netns

  setup do
    ns = Netns.quiet()
    socket = Netns.open(ns)
    :ok = Link.create_veth(socket, "a0", "a1")
    :ok = Link.set_up(socket, "a0")
    :ok = Link.set_up(socket, "a1")
    %{ns: ns, socket: socket}
  end

  # The addresses of a link as ip(8) has them: {own, far end, prefix length, scope}.
  defp shown(ns, link) do
    [%{"addr_info" => addresses}] = Netns.ip!(ns, "addr show dev #{link}")
    for a <- addresses, do: {a["local"], a["address"], a["prefixlen"], a["scope"]}
  end

  describe "peers" do
    test "an address with a peer goes by its peer, and the plain one beside it stays",
         %{ns: ns, socket: s} do
      for {own, far, length} <- [
            {"203.0.113.1", "203.0.113.2", 32},
            {"198.51.100.1", "198.51.100.2", 24},
            {"2001:db8::1", "2001:db8::2", 128}
          ] do
        :ok = Address.add(s, "a0", own, length, peer: far)
        plain? = own =~ "." and :ok == Address.add(s, "a0", own, length)
        assert {own, far, length, "global"} in shown(ns, "a0")
        assert :ok = Address.delete(s, "a0", own, length, peer: far)

        left = if plain?, do: [{own, nil, length, "global"}], else: []
        assert shown(ns, "a0") == left
        if plain?, do: :ok = Address.delete(s, "a0", own, length)
      end
    end

    test "without its peer it is another address", %{ns: ns, socket: s} do
      :ok = Address.add(s, "a0", "203.0.113.1", 32, peer: "203.0.113.2")

      assert {:error, %Error{errno: :eaddrnotavail}} = Address.delete(s, "a0", "203.0.113.1", 32)

      assert {:error, %Error{errno: :eaddrnotavail}} =
               Address.delete(s, "a0", "203.0.113.1", 32, peer: "203.0.113.3")

      assert [_] = shown(ns, "a0")
    end

    test "the label is compared where it is given", %{ns: ns, socket: s} do
      :ok = Address.add(s, "a0", "203.0.113.1", 32, label: "a0:one")

      assert {:error, %Error{errno: :eaddrnotavail}} =
               Address.delete(s, "a0", "203.0.113.1", 32, label: "a0:two")

      assert :ok = Address.delete(s, "a0", "203.0.113.1", 32, label: "a0:one")
      assert shown(ns, "a0") == []
    end

    test "what is not of an identity is refused in a deletion", %{socket: s} do
      options = [scope: 254, valid: 5, proto: 76, flags: [:nodad], broadcast: "203.0.113.3"]

      for option <- options do
        assert {:error, {:bad_option, ^option}} =
                 Address.delete(s, "a0", "203.0.113.1", 32, [option])
      end

      assert {:error, {:unlike_families, _, _}} =
               Address.delete(s, "a0", "203.0.113.1", 32, peer: "::1")
    end

    test "many at once, as tuples with options and as structs", %{ns: ns, socket: s} do
      peers = for n <- 1..4, do: {"a0", "203.0.113.#{n}", 32, [peer: "198.51.100.#{n}"]}
      assert {:ok, [:ok, :ok, :ok, :ok]} = Address.add_many(s, peers)
      {:ok, [_, second | _]} = Address.list(s, link: "a0", family: :inet)

      mixed = [hd(peers), second, {"a0", "203.0.113.9", 32} | Enum.drop(peers, 2)]

      assert {:ok, [:ok, :ok, {:error, %Error{errno: :eaddrnotavail}}, :ok, :ok]} =
               Address.delete_many(s, mixed)

      assert shown(ns, "a0") == []
    end
  end

  test "any address goes as it was listed, and no other", %{ns: ns, socket: s} do
    for command <- [
          "203.0.113.1/24 dev a0",
          "203.0.113.1/25 dev a0",
          "203.0.113.2/24 dev a0",
          "203.0.113.1 peer 198.51.100.1/32 dev a0",
          "203.0.113.1 peer 198.51.100.2/32 dev a0",
          "192.0.2.1/24 brd + dev a0 label a0:x",
          "192.0.2.9/32 dev a0 scope host",
          "192.0.2.10/32 dev a0 metric 77",
          "127.0.0.9/8 dev lo",
          "203.0.113.1/24 dev a1",
          "2001:db8::1/64 dev a0 nodad",
          "2001:db8::2/128 dev a0 nodad noprefixroute",
          "2001:db8::3 peer 2001:db8::4/128 dev a0",
          "2001:db8::1/64 dev a1 nodad valid_lft 500 preferred_lft 100",
          "fe80::5/64 dev a0 nodad"
        ],
        do: Netns.run!(ns, "ip addr add #{command}")

    Netns.run!(ns, "sysctl -qw net.ipv4.conf.all.promote_secondaries=1")
    {:ok, addresses} = Address.list(s)
    assert length(addresses) == 15

    for {address, n} <- Enum.with_index(Enum.shuffle(addresses), 1) do
      assert :ok = Address.delete(s, address)
      {:ok, left} = Address.list(s)
      assert length(left) == 15 - n
      refute Enum.any?(left, &same?(&1, address))
      assert {:error, %Error{errno: :eaddrnotavail}} = Address.delete(s, address)
    end

    # And back again, as listed.
    assert {:ok, results} = Address.add_many(s, addresses)
    assert Enum.uniq(results) == [:ok]
    {:ok, again} = Address.list(s)
    assert length(again) == 15
    for address <- addresses, do: assert(Enum.any?(again, &same?(&1, address)))
  end

  defp same?(a, b) do
    fields = [:index, :family, :prefixlen, :local, :address, :scope, :label, :broadcast]
    Map.take(a, [:priority | fields]) == Map.take(b, [:priority | fields])
  end

  describe "scope" do
    @loopback [{"127.0.0.2", 8}, {"127.0.0.3", 32}, {"127.0.0.4", 8}, {"127.255.255.254", 32}]

    test "of the host for 127.0.0.0/8, in every way an address is made", %{ns: ns, socket: s} do
      :ok = Link.set_up(s, "lo")
      for {ip, length} <- @loopback, do: Netns.run!(ns, "ip addr add #{ip}/#{length} dev lo")
      by_ip = shown(ns, "lo")

      tuples = for {ip, length} <- @loopback, do: {"lo", ip, length}
      batch = for tuple <- tuples, do: {Address, :add, Tuple.to_list(tuple)}

      ways = [
        add: fn -> for {l, ip, n} <- tuples, do: :ok = Address.add(s, l, ip, n) end,
        replace: fn -> for {l, ip, n} <- tuples, do: :ok = Address.replace(s, l, ip, n) end,
        ensure: fn -> for {l, ip, n} <- tuples, do: :ok = Address.ensure(s, l, ip, n) end,
        add_many: fn -> {:ok, [:ok, :ok, :ok, :ok]} = Address.add_many(s, tuples) end,
        batch: fn -> {:ok, [:ok, :ok, :ok, :ok]} = Rtnl.batch(s, batch) end,
        new: fn ->
          for {_, ip, n} <- tuples do
            {:ok, address} = Address.new(1, ip, n)
            :ok = Address.add(s, address)
          end
        end,
        reconcile: fn ->
          {:ok, %{converged?: true}} = Reconcile.reconcile(s, %{addresses: tuples})
        end
      ]

      for {way, make} <- ways do
        assert {:ok, [:ok, :ok, :ok, :ok]} = Address.delete_many(s, tuples)
        make.()
        assert {way, shown(ns, "lo")} == {way, by_ip}
      end
    end

    test "of the neighbours of that network it is global, and what is asked for is kept",
         %{ns: ns, socket: s} do
      for ip <- ["126.255.255.255", "128.0.0.1"], do: :ok = Address.add(s, "a0", ip, 32)
      :ok = Address.add(s, "a0", "127.1.1.1", 32, scope: 0)
      assert ["global"] = shown(ns, "a0") |> Enum.map(&elem(&1, 3)) |> Enum.uniq()
    end
  end

  test "0.0.0.0, which the kernel takes and forgets, is refused", %{ns: ns, socket: socket} do
    refused = {:error, {:invalid_ip, ~IP"0.0.0.0"}}

    for length <- [0, 8, 32] do
      assert Address.add(socket, "lo", "0.0.0.0", length) == refused
      assert Address.add(socket, "lo", "0.0.0.0/#{length}") == refused
      assert Address.replace(socket, "lo", "0.0.0.0", length) == refused
      assert Address.ensure(socket, "lo", "0.0.0.0", length) == refused
      assert Address.add_many(socket, [{"lo", "0.0.0.0", length}]) == {:ok, [refused]}
      desired = %{addresses: [{"lo", "0.0.0.0", length}]}

      assert {:error, {:normalize, {{"lo", "0.0.0.0", ^length}, {:invalid_ip, _}}}} =
               Reconcile.reconcile(socket, desired, %{}, on_error: :continue)
    end

    assert Address.new(1, "0.0.0.0", 8) == refused
    assert Address.delete(socket, "lo", "0.0.0.0", 8) == refused
    assert Enum.flat_map(Netns.ip!(ns, "addr show dev lo"), & &1["addr_info"]) == []
  end

  describe "ensure" do
    test "makes what is absent and leaves what is there", %{ns: ns, socket: s} do
      for {ip, length, opts} <- [
            {"192.0.2.1", 24, []},
            {"192.0.2.2", 32, [peer: "192.0.2.3", priority: 9]},
            {"192.0.2.4", 24, [label: "a0:x", broadcast: "192.0.2.255", flags: [:noprefixroute]]},
            {"192.0.2.5", 24, [valid: 500, preferred: 100]},
            {"198.51.100.6", 24, [scope: 253]},
            {"2001:db8::1", 64, [flags: [:nodad]]},
            {"2001:db8::2", 64, [flags: [:nodad, :noprefixroute], valid: 500]},
            {"2001:db8::3", 128, [peer: "2001:db8::4"]},
            {"fe80::5", 64, [flags: [:nodad]]}
          ] do
        assert :ok = Address.ensure(s, "a0", ip, length, opts)
        before = Netns.ip!(ns, "addr show dev a0")
        assert :ok = Address.ensure(s, "a0", ip, length, opts)
        assert without_lifetimes(Netns.ip!(ns, "addr show dev a0")) == without_lifetimes(before)
      end
    end

    test "is an error that names the field in which it is something else", %{ns: ns, socket: s} do
      :ok = Address.add(s, "a0", "192.0.2.1", 24, label: "a0:x", proto: 7)
      :ok = Address.add(s, "a0", "192.0.2.2", 24, valid: 500)
      :ok = Address.add(s, "a0", "2001:db8::1", 64, flags: [:nodad])
      before = Netns.ip!(ns, "addr show dev a0")

      for {ip, length, opts, fields} <- [
            {"192.0.2.1", 25, [], [:prefixlen]},
            {"192.0.2.1", 24, [peer: "192.0.2.9"], [:address]},
            {"192.0.2.1", 24, [scope: 254], [:scope]},
            {"192.0.2.1", 24, [label: "a0:y"], [:label]},
            {"192.0.2.1", 24, [broadcast: "192.0.2.255"], [:broadcast]},
            {"192.0.2.1", 24, [priority: 5], [:priority]},
            {"192.0.2.1", 24, [proto: 8], [:proto]},
            {"192.0.2.1", 24, [flags: [:noprefixroute]], [:flags]},
            {"192.0.2.1", 24, [valid: 500], [:lifetime]},
            {"192.0.2.2", 24, [], [:lifetime]},
            {"192.0.2.2", 24, [valid: 5], [:lifetime]},
            {"2001:db8::1", 128, [], [:prefixlen]}
          ] do
        assert {:error, %Error{errno: :eexist, at: ^fields, message: text}} =
                 Address.ensure(s, "a0", ip, length, opts)

        assert text =~ ip and text =~ "#{hd(fields)}"
      end

      assert without_lifetimes(Netns.ip!(ns, "addr show dev a0")) == without_lifetimes(before)
      assert {:error, {:invalid_prefix, 33}} = Address.ensure(s, "a0", "192.0.2.1", 33)
      assert {:error, %Error{errno: :enodev}} = Address.ensure(s, "a9", "192.0.2.1", 24)
      assert {:error, %Error{errno: :enodev}} = Address.ensure(s, 9999, "192.0.2.1", 24)
    end

    test "a duplicate on the link is no address", %{ns: ns, socket: s} do
      Netns.run!(ns, "sysctl -qw net.ipv6.conf.a0.accept_dad=1 net.ipv6.conf.a0.dad_transmits=1")
      :ok = Address.add(s, "a1", "2001:db8::7", 64, flags: [:nodad])
      :ok = Address.add(s, "a0", "2001:db8::7", 64)

      assert Netns.eventually(fn ->
               Netns.run!(ns, "ip -6 addr show dev a0") =~ "dadfailed"
             end)

      assert {:error, %Error{errno: :eexist, at: [:flags]}} =
               Address.ensure(s, "a0", "2001:db8::7", 64)
    end

    defp without_lifetimes([link]) do
      # An address that is not checked for duplicates is tentative for a moment all the same.
      for address <- link["addr_info"],
          do: Map.drop(address, ["valid_life_time", "preferred_life_time", "tentative"])
    end
  end

  test "as a value", %{socket: s} do
    assert {:ok, %Address{index: 7, family: 2, prefixlen: 24, local: ~IP"192.0.2.1", scope: 0}} =
             Address.new(7, "192.0.2.1", 24)

    assert {:ok, %Address{proto: 76, address: ~IP"2001:db8::2", local: ~IP"2001:db8::1"}} =
             Address.new(7, ~IP"2001:db8::1", 128, proto: 76, peer: "2001:db8::2")

    assert {:error, {:invalid_name, "a0"}} = Address.new("a0", "192.0.2.1", 24)
    assert {:error, {:invalid_prefix, 33}} = Address.new(7, "192.0.2.1", 33)
    assert {:error, {:bad_option, {:proto, 256}}} = Address.new(7, "192.0.2.1", 32, proto: 256)

    {:ok, %{index: index}} = Link.get(s, "a0")
    {:ok, address} = Address.new(index, "192.0.2.1", 24, proto: 76)
    assert :ok = Address.add(s, address)
    assert {:ok, [%Address{proto: 76, local: ~IP"192.0.2.1"}]} = Address.list(s, "a0")
    assert :ok = Address.delete(s, address)
  end
end
