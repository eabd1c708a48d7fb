defmodule Linx.Netlink.ReconcileLifetimesTest do
  use ExUnit.Case, async: true

  alias Linx.Netlink.Rtnl
  alias Linx.Netlink.Rtnl.Reconcile
  alias Linx.Test.{Firewall, Netns}

  @moduletag :root
  @moduletag :netns

  # A pass of two rounds: the address that it makes anew has everything read once more.
  test "a lifetime that an earlier round of the pass has set is remembered from then on" do
    target = Netns.target(Netns.start())
    {:pid, pid} = target
    {:ok, socket} = Rtnl.open(target)
    Firewall.run!(pid, ~w(ip link add a0 type veth peer name b0))
    for name <- ~w(a0 b0), do: Firewall.run!(pid, ~w(ip link set #{name} up))

    desired = %{
      routes: [{"2001:db8:a::", 48, nil, [oif: "a0", expires: 3000]}],
      addresses: [{"a0", "192.0.2.1", 24}]
    }

    pass = fn last_applied ->
      {:ok, report} = Reconcile.reconcile(socket, desired, last_applied, on_error: :continue)
      assert report.converged?
      report
    end

    first = pass.(%{})

    # As if a minute had gone since.
    minute_ago =
      Map.update!(first.last_applied, :clocks, fn clocks ->
        Map.new(clocks, fn {id, {spans, {earliest, latest}}} ->
          {id, {spans, {earliest - 60, latest - 60}}}
        end)
      end)

    Firewall.run!(pid, ~w(ip -6 route change 2001:db8:a::/48 dev a0 proto 76 expires 100))
    Firewall.run!(pid, ~w(ip addr del 192.0.2.1/24 dev a0))
    second = pass.(minute_ago)
    assert length(second.applied) == 2
    assert pass.(second.last_applied).applied == []
  end
end
