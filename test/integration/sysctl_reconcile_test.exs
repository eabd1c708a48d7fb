defmodule Linx.Integration.SysctlReconcileTest do
  use ExUnit.Case, async: true

  alias Linx.{Process, Reconcile, Sysctl}
  alias Linx.Sysctl.Reconcile, as: Once

  @moduletag :root

  @forward "net.ipv4.ip_forward"
  @range "net.ipv4.ip_local_port_range"

  # A network and a UTS namespace of the test's own, held by a parked child.
  setup do
    {:ok, session} = Process.spawn(argv: ["/bin/true"], namespaces: [:net, :uts], stdio: :devnull)
    on_exit(fn -> if Elixir.Process.alive?(session), do: Process.stop(session) end)
    {:ok, forward} = Sysctl.read(@forward, in: session)
    %{at: session, forward: forward}
  end

  test "writes what differs, once", %{at: at} do
    desired = %{@forward => 1, @range => [20_000, 30_000], "kernel.hostname" => "linx-test"}
    {:ok, first} = Once.reconcile(desired, %{}, in: at)
    assert first.converged?
    assert {:set, @range, [20_000, 30_000]} in first.applied
    assert Sysctl.read(@range, in: at) == {:ok, "20000\t30000"}

    {:ok, second} = Once.reconcile(desired, first.last_applied, in: at)
    assert {second.converged?, second.applied} == {true, []}
    assert second.last_applied == first.last_applied
  end

  test "corrects what somebody else changed, and keeps the first original", %{at: at} do
    {:ok, original} = Sysctl.read(@range, in: at)
    {:ok, r} = Once.reconcile(%{@range => [1024, 2048]}, %{}, in: at)
    :ok = Sysctl.write(@range, [3000, 4000], in: at)
    {:ok, r} = Once.reconcile(%{@range => [1024, 2048]}, r.last_applied, in: at)
    assert r.applied == [{:set, @range, [1024, 2048]}]
    assert r.last_applied == %{@range => %{applied: [1024, 2048], original: original}}

    {:ok, r} = Once.reconcile(%{}, r.last_applied, in: at, revert_on_release: true)
    assert r.applied == [{:revert, @range, original}]
    assert r.last_applied == %{}
    assert Sysctl.read(@range, in: at) == {:ok, original}
  end

  test "a released key keeps its value unless asked", %{at: at} do
    {:ok, r} = Once.reconcile(%{@range => [1024, 2048]}, %{}, in: at)
    {:ok, r} = Once.reconcile(%{}, r.last_applied, in: at)
    assert {r.converged?, r.applied, r.last_applied} == {true, [{:release, @range}], %{}}
    assert Sysctl.read(@range, in: at) == {:ok, "1024\t2048"}
  end

  test "a key that was right all along is not owned", %{at: at, forward: forward} do
    {:ok, r} = Once.reconcile(%{@forward => forward}, %{}, in: at)
    assert {r.applied, r.last_applied} == {[], %{}}
  end

  test "one failure does not keep the others from their values, and the next pass tries again", %{
    at: at
  } do
    desired = %{@range => "nonsense", "kernel.hostname" => "still-set"}
    {:ok, r} = Once.reconcile(desired, %{}, in: at)
    refute r.converged?
    assert [{{:set, @range, "nonsense"}, %Sysctl.Error{errno: :einval}}] = r.failed
    assert Sysctl.read("kernel.hostname", in: at) == {:ok, "still-set"}
    refute Map.has_key?(r.last_applied, @range)

    {:ok, r} = Once.reconcile(%{desired | @range => "5000 6000"}, r.last_applied, in: at)
    assert r.converged?
  end

  test "the loop puts back what drifts, until its namespace is gone", %{at: at} do
    {:ok, loop} =
      Reconcile.start_link(
        source: Sysctl.Reconcile.Source,
        scope: at,
        desired: %{@range => [7000, 8000]},
        interval: 10,
        owner: self()
      )

    assert_receive {:linx_reconcile, :report, %{applied: [{:set, @range, _}]}}
    :ok = Sysctl.write(@range, [9000, 9999], in: at)
    assert_receive {:linx_reconcile, :report, %{applied: [{:set, @range, _}]}}
    assert Sysctl.read(@range, in: at) == {:ok, "7000\t8000"}

    Process.abort(at)
    assert_receive {:linx_reconcile, :report, %{failed: [{_, :no_process}]}}
    Reconcile.stop(loop)
  end
end
