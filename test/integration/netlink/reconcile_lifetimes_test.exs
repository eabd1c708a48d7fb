defmodule Linx.Netlink.ReconcileLifetimesTest do
  use ExUnit.Case, async: true

  alias Linx.Netlink.Rtnl.{Address, Link, Route}

  @moduletag :root
  @moduletag :netns

  import Linx.Test.ReconcileBench

  setup do: start()

  @route {"2001:db8:a::", 48, nil, [oif: "a0", expires: 3000]}

  # The passes of a lab whose clock is a minute behind from the second on.
  defp passes(bench, desired, drift, next) do
    report = converge(bench, desired)

    minute_ago =
      Map.update!(report.last_applied, :clocks, fn clocks ->
        Map.new(clocks, fn {id, {spans, {earliest, latest}}} ->
          {id, {spans, {earliest - 60, latest - 60}}}
        end)
      end)

    ips!(bench.ns, drift)
    second = pass(bench, next, minute_ago)
    assert second.converged?
    assert pass(bench, next, second.last_applied).applied == []
    second.applied
  end

  # A pass of two rounds: the address that it makes anew has everything read once more.
  test "a lifetime that an earlier round of the pass has set is remembered from then on", bench do
    drift = """
    route change 2001:db8:a::/48 dev a0 proto 76 expires 100
    addr del 203.0.113.1/24 dev a0
    """

    desired = %{routes: [@route], addresses: [{"a0", "203.0.113.1", 24}]}
    assert [_, _] = passes(bench, desired, drift, desired)
  end

  test "so is that of an address", bench do
    desired = %{addresses: [{"a0", "2001:db8:a::1", 64, valid: 3000, preferred: 2000}]}
    drift = "addr change 2001:db8:a::1/64 dev a0 valid_lft 100 preferred_lft 50"
    assert [{:update, %Address{}}] = passes(bench, desired, drift, desired)
  end

  # A link that is deleted has all compared once more, and the round before it is the last one of
  # its turn.
  test "a lifetime that was set before a link is deleted is set once", bench do
    desired = %{routes: [@route], links: [{"c0", :veth, peer: "c1"}]}
    drift = "route change 2001:db8:a::/48 dev a0 proto 76 expires 100"
    applied = passes(bench, desired, drift, Map.delete(desired, :links))
    assert [{:update, %Route{}}, {:delete, %Link{}}] = applied
  end
end
