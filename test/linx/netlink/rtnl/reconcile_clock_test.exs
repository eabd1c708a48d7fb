defmodule Linx.Netlink.Rtnl.Reconcile.ClockTest do
  use ExUnit.Case, async: true

  alias Linx.Netlink.Rtnl.Reconcile.Clock

  @id {:route, :any}

  # A pass sets a lifetime at some time between its start and its end, and a later one reads it at
  # some time behind its own start.
  defp same?(rest, set_by, started) do
    Clock.same?([600], [rest], %{@id => Clock.set([600], set_by)}, @id, started)
  end

  test "a lifetime that was set at the start of a slow pass is as desired" do
    now = Clock.now()
    assert same?(600, now - 30, now)
    assert same?(571, now - 30, now)
    refute same?(560, now - 30, now)
    refute same?(605, now - 30, now)
  end

  test "a lifetime that a slow pass has read late is as desired" do
    now = Clock.now()
    # Read before the slow part or behind it.
    assert same?(600, now, now - 30)
    refute same?(590, now, now)
  end

  test "what a slow pass has found is known as exactly as it was read" do
    now = Clock.now()
    memory = %{@id => Clock.remember(%{}, @id, [600], [500], now - 30)}
    assert %{@id => {[600], {earliest, latest}}} = memory
    assert (latest - earliest) in 30..31
    assert (now - latest) in 99..100
    assert Clock.same?([600], [500], memory, @id, now)
    refute Clock.same?([600], [440], memory, @id, now)
    refute Clock.same?([300], [300], memory, @id, now)
  end

  test "what is left of a route is listed as at most INT_MAX hundredths" do
    now = Clock.now()
    most = div(0x7FFFFFFF, 100)
    memory = %{@id => Clock.set([30_000_000], now - 1000)}
    assert Clock.same?([30_000_000], [most], memory, @id, now)
    refute Clock.same?([30_000_000], [most - 10], memory, @id, now)
    refute Clock.same?([most - 1000], [most], %{}, @id, now)
    assert Clock.same?([30_000_000], [most], %{}, @id, now)
    assert {_, {_, latest}} = Clock.remember(%{}, @id, [30_000_000], [most], now)
    assert latest >= now

    # An address has no such bound.
    id = {:address, :any}
    refute Clock.same?([30_000_000], [most], %{}, id, now)
    assert Clock.same?([30_000_000], [30_000_000], %{id => Clock.set([30_000_000], now)}, id, now)
  end
end
