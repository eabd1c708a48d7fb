defmodule Linx.Netlink.ReconcilePropertyTest do
  # The five laws of Linx.Netlink.Rtnl.Reconcile over random desired states, other programs'
  # state and drift.
  #
  #     LINX_SEED=17 mix test THIS      one case, or several (17,40 or 1..50); the first that
  #                                     fails is made smaller
  #     LINX_SEEDS=2000 mix test THIS   so many cases
  use ExUnit.Case, async: true

  alias Linx.Test.Reconcile.{Alone, Property}

  @moduletag :root
  @moduletag :netns
  @moduletag :newer_iproute2
  @moduletag timeout: :infinity

  test "every option that the modules accept has values here" do
    assert %{route: [], hop: [], metric: [], address: [], rule: []} =
             Linx.Test.Reconcile.Entries.unknown()
  end

  test "the laws hold" do
    assert :ok = Property.check(Property.seeds(36))
  end

  @tag :dummy
  @tag :vlan
  @tag :ipvlan
  @tag :bond
  test "the laws hold for kinds of links that not every kernel has" do
    assert :ok = Property.check(Property.seeds(12), true)
  end

  test "other programs' state is that of a namespace without a reconciler" do
    assert :ok = Alone.check(Property.seeds(20))
  end

  @tag :slow
  test "the laws hold for 200 seeds" do
    assert :ok = Property.check(Property.seeds(200))
  end
end
