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
end
