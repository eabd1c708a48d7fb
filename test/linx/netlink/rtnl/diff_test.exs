defmodule Linx.Netlink.Rtnl.DiffTest do
  use ExUnit.Case, async: true

  import Linx.IP
  import Linx.MAC

  alias Linx.Netlink.Rtnl.{Address, Diff, Neighbour, Route, Rule}
  alias Linx.Netlink.Rtnl.Route.{Metrics, Nexthop}

  defp route(opts) do
    struct(
      Route,
      [family: 2, table: 254, dst: ~IP"203.0.113.0", dst_len: 24, protocol: 76, type: 1] ++ opts
    )
  end

  test "routes differ in more than the gateway" do
    a = route(gateway: ~IP"192.0.2.2")

    for change <- [
          [gateway: ~IP"192.0.2.3"],
          [type: 6, gateway: nil],
          [gateway: nil, oif: 3],
          [gateway: nil, via: ~IP"2001:db8::1"],
          [gateway: nil, nh_id: 10],
          [prefsrc: ~IP"192.0.2.1"],
          [metrics: %Metrics{mtu: 1300}],
          [flags: 4],
          [gateway: nil, multipath: [%Nexthop{gateway: ~IP"192.0.2.2"}, %Nexthop{oif: 3}]]
        ] do
      b = struct(a, change)
      assert Diff.routes([b], [a], 76) == [{:update, b}]
      assert Diff.routes([b], [b], 76) == []
    end
  end

  test "what is not set is not compared, nor what the kernel adds" do
    a = route(gateway: ~IP"192.0.2.2")
    seen = struct(a, oif: 3, flags: 16, metrics: %Metrics{mtu: 600}, pref: 0)
    assert Diff.routes([a], [seen], 76) == []

    by_object = route(nh_id: 10)

    assert Diff.routes([by_object], [struct(by_object, gateway: ~IP"192.0.2.2", oif: 3)], 76) ==
             []

    one = route(multipath: [%Nexthop{gateway: ~IP"192.0.2.2"}])
    assert Diff.routes([one], [struct(a, oif: 3)], 76) == []

    hops = [%Nexthop{gateway: ~IP"192.0.2.2", oif: 3}, %Nexthop{gateway: ~IP"192.0.2.3", oif: 3}]
    group = route(multipath: hops)
    assert Diff.routes([group], [route(multipath: Enum.reverse(hops))], 76) == []
  end

  test "IPv4 routes of another TOS are others" do
    a = route(gateway: ~IP"192.0.2.2")
    b = struct(a, tos: 8)
    assert Diff.routes([a, b], [a], 76) == [{:create, b}]
    assert Diff.route_key(a) == {254, 2, ~IP"203.0.113.0", 24, 0}
    assert Diff.route_key(b) == {254, 2, ~IP"203.0.113.0", 24, 0, 8}
  end

  test "a point-to-point address is another than a plain one" do
    plain =
      struct(Address,
        family: 2,
        index: 2,
        prefixlen: 32,
        address: ~IP"10.0.0.1",
        local: ~IP"10.0.0.1"
      )

    far = %{plain | address: ~IP"10.0.0.2"}
    assert Diff.addresses([far], [plain], MapSet.new()) == [{:create, far}]
    assert Diff.address_key(plain) == {2, 2, ~IP"10.0.0.1", 32}
  end

  test "a learned neighbour is no permanent one" do
    wanted =
      struct(Neighbour,
        family: 2,
        ifindex: 2,
        dst: ~IP"10.0.0.1",
        lladdr: ~MAC"02:00:00:00:00:01"
      )

    for state <- [2, 4, 8, 16, 32] do
      assert Diff.neighbours([wanted], [%{wanted | state: state}], MapSet.new()) == [
               {:update, wanted}
             ]
    end

    assert Diff.neighbours([wanted], [%{wanted | state: 0x80}], MapSet.new()) == []

    assert Diff.neighbours([%{wanted | state: 0x80}], [%{wanted | state: 0x80}], MapSet.new()) ==
             []
  end

  # A value of each selector, and another one.
  @selectors [
    priority: {500, 501},
    src: {{~IP"10.0.0.0", 8}, {~IP"10.0.0.0", 9}},
    dst: {{~IP"10.0.0.0", 8}, {~IP"11.0.0.0", 8}},
    fwmark: {1, 2},
    fwmask: {1, 2},
    tos: {8, 16},
    iif: {"a0", "b0"},
    oif: {"a0", "b0"},
    ipproto: {6, 17},
    sport: {80..80, 80..90},
    dport: {80..80, 81..81},
    uid: {1..1, 2..2},
    suppress_prefixlength: {0, 1},
    l3mdev: {1, nil},
    flags: {2, 0},
    action: {6, 7},
    goto: {600, 700},
    table_ext: {100, 101}
  ]

  defp rule(key, {ip, length}) when key in [:src, :dst],
    do: struct(Rule, [{key, ip}, {:"#{key}_len", length}, family: 2, action: 1, table_ext: 100])

  defp rule(:goto, to), do: struct(Rule, family: 2, action: 2, goto: to)
  defp rule(:fwmask, mask), do: %{rule(:fwmark, 3) | fwmask: mask}

  defp rule(key, value),
    do: struct(Rule, Keyword.merge([family: 2, action: 1, table_ext: 100], [{key, value}]))

  test "rules that differ in one selector are two" do
    none = MapSet.new()

    for {key, {a, b}} <- @selectors do
      [a, b] = [rule(key, a), rule(key, b)]
      assert Diff.rules([a, b], [], none) == [{:create, a}, {:create, b}], inspect(key)
      assert Diff.rules([a, b], [b, a], none) == []
      assert Diff.rules([a, b], [a], none) == [{:create, b}]
      assert Diff.rules([a], [a, b], MapSet.new([Diff.rule_key(b)])) == [{:delete, b}]
    end
  end

  test "neutral values of a rule are none" do
    plain = struct(Rule, family: 2, action: 1, table: 100, table_ext: 100, priority: 500)

    for {desired, seen} <- [
          {[src: ~IP"0.0.0.0", src_len: 0], []},
          {[dst: ~IP"0.0.0.0", dst_len: 0], []},
          {[fwmark: 0, fwmask: 0x100000], [fwmask: 0x100000]},
          {[fwmark: 7], [fwmark: 7, fwmask: 0xFFFFFFFF]},
          {[fwmark: 0], []},
          {[tos: 0], []},
          {[ipproto: 0], []},
          {[], [suppress_prefixlength: 0xFFFFFFFF]},
          {[src: ~IP"10.1.2.3", src_len: 8], [src: ~IP"10.0.0.0", src_len: 8]},
          {[table_ext: nil], []}
        ] do
      assert Diff.rules([struct(plain, desired)], [struct(plain, seen)], MapSet.new()) == []
    end
  end
end
