defmodule Linx.Netlink.ReconcileSmallestTest do
  # The smallest inputs of seeds of the property test (reconcile_property_test.exs) that broke a
  # law once.
  use ExUnit.Case, async: true

  alias Linx.Netlink.Rtnl.Reconcile
  alias Linx.Test.Netns

  @moduletag :root
  @moduletag :netns

  setup do
    ns = Netns.quiet()
    socket = Netns.open(ns)

    for link <- ["a", "b"] do
      run(ns, ["link add #{link}0 type veth peer name #{link}1"])
      run(ns, ["link set #{link}1 up", "link set #{link}0 up"])
    end

    run(ns, [
      "addr add 192.0.2.1/24 dev a0",
      "addr add 2001:db8:1::1/64 dev a0 nodad",
      "addr add 198.51.100.1/24 dev b0",
      "nexthop add id 13 via 2001:db8:1::3 dev a0"
    ])

    %{ns: ns, socket: socket}
  end

  defp run(ns, commands), do: for(command <- commands, do: Netns.run!(ns, "ip #{command}"))

  defp pass(socket, desired, last \\ %{}) do
    {:ok, report} = Reconcile.reconcile(socket, desired, last, on_error: :continue)
    report
  end

  # A pass that converges, and one after it that has nothing to do.
  defp settled(socket, desired, last) do
    assert %{converged?: true} = report = pass(socket, desired, last)
    assert %{converged?: true, applied: []} = pass(socket, desired, report.last_applied)
    report
  end

  test "a deletion that takes the right one of two is mended in the same pass", c do
    desired = %{
      routes: [{"198.18.1.0", 24, "198.51.100.9", [prefsrc: "198.51.100.1"]}],
      addresses: [{"nope0", "203.0.113.5", 24}]
    }

    first = pass(c.socket, desired)
    run(c.ns, ["route append 198.18.1.0/24 via 198.51.100.9 dev b0 proto 76"])
    pass(c.socket, desired, first.last_applied)
    assert [%{"prefsrc" => "198.51.100.1"}] = Netns.ip!(c.ns, "route show 198.18.1.0/24")
  end

  test "a route by a nexthop object stays where a hop of ours beside it goes", c do
    desired = %{routes: [{"2001:db8:9::", 49, nil, [nh_id: 13]}]}
    first = pass(c.socket, desired)
    run(c.ns, ["route append 2001:db8:9::/49 via 2001:db8:1::2 dev a0 proto 76"])
    settled(c.socket, desired, first.last_applied)
    assert [%{"nhid" => 13}] = Netns.ip!(c.ns, "-6 route show 2001:db8:9::/49")
  end

  for {owner, options} <- [{4, [expires: 600]}, {76, [pref: :high, expires: 3000]}] do
    test "a route to a link keeps its lifetime beside a gateway of protocol #{owner}", c do
      desired = %{routes: [{"2001:db8:a::", 48, nil, [oif: "a0"] ++ unquote(options)}]}
      first = pass(c.socket, desired)
      run(c.ns, ["route append 2001:db8:a::/48 proto #{unquote(owner)} via fe80::1 dev a0"])
      settled(c.socket, desired, first.last_applied)
    end
  end

  test "a hop with :onlink is found behind another's", c do
    desired = %{routes: [{"2001:db8:9::", 48, "2001:db8:ff::9", [oif: "a0", onlink: true]}]}
    first = pass(c.socket, desired)
    run(c.ns, ["route append 2001:db8:9::/48 proto 77 via 2001:db8:1::99"])
    more = Map.put(desired, :addresses, [{"b0", "203.0.113.2", 32}])
    second = settled(c.socket, more, first.last_applied)
    assert [_, _] = hops(c.ns, "2001:db8:9::/48")
    pass(c.socket, %{}, second.last_applied)
    assert ["2001:db8:1::99"] = hops(c.ns, "2001:db8:9::/48")
  end

  # A hop of ours that a pass left behind another program's hop is found by the next pass.
  test "a hop that has changed its place in a group in the last pass is deleted", c do
    to = &%{routes: [{"2001:db8:9::", 48, &1}]}
    first = pass(c.socket, to.("2001:db8:1::2"))
    run(c.ns, ["route append 2001:db8:9::/48 proto 77 via 2001:db8:1::99"])
    second = settled(c.socket, to.("2001:db8:1::3"), first.last_applied)
    assert [_, _] = hops(c.ns, "2001:db8:9::/48")
    third = settled(c.socket, to.("2001:db8:1::3"), second.last_applied)
    pass(c.socket, %{}, third.last_applied)
    assert ["2001:db8:1::99"] = hops(c.ns, "2001:db8:9::/48")
  end

  # The kernel does not show it, and the module says so.
  test "a hop of our protocol behind another's is left under a key that no pass has desired", c do
    first = pass(c.socket, %{})

    run(c.ns, [
      "route add 2001:db8:9::/48 proto 77 via 2001:db8:1::99",
      "route append 2001:db8:9::/48 proto 76 via 2001:db8:1::2"
    ])

    assert %{converged?: true, applied: []} = pass(c.socket, %{}, first.last_applied)
    assert [_, _] = hops(c.ns, "2001:db8:9::/48")
    settled(c.socket, %{}, %{})
    assert ["2001:db8:1::99"] = hops(c.ns, "2001:db8:9::/48")
  end

  defp hops(ns, destination) do
    for route <- Netns.ip!(ns, "-6 route show #{destination}"),
        hop <- route["nexthops"] || [route],
        do: hop["gateway"]
  end

  test "a gateway follows a route to a link in the pass that moves it", c do
    to = &%{routes: [{"10.7.0.0", 24, nil, [oif: &1]}, {"198.18.1.0", 25, "10.7.0.9"}]}
    first = settled(c.socket, to.("a0"), %{})
    settled(c.socket, to.("b0"), first.last_applied)
    assert [%{"dev" => "b0"}] = Netns.ip!(c.ns, "route show 198.18.1.0/25")
  end
end
