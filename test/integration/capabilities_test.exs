defmodule Linx.Integration.CapabilitiesTest do
  use ExUnit.Case, async: true

  import Linx.Test.Workload

  alias Linx.Capabilities
  alias Linx.Capabilities.{Constants, State}
  alias Linx.Process, as: Session

  @moduletag :root

  @net MapSet.new([:cap_net_bind_service])
  @none MapSet.new()

  # The capability sets that the workload sees itself with.
  defp sets_of_workload(opts \\ [], configure) do
    opts = Keyword.merge([argv: ["/bin/cat", "/proc/self/status"], stdio: [stdout: :pipe]], opts)
    {session, _pid} = parked([], opts)
    configure.(session)
    assert {text, {:exited, 0}} = run(session)
    {:ok, %State{} = state} = Capabilities.parse(text, "status")
    state
  end

  test "what leaves the bounding set is gone for root's workload too" do
    {:ok, %State{bounding: ours}} = Capabilities.read(:self)

    state =
      sets_of_workload(fn session ->
        :ok = Capabilities.drop_bounding(session, MapSet.difference(Constants.all(), @net))
      end)

    assert MapSet.member?(ours, :cap_kill)
    assert %State{bounding: @net, permitted: @net, effective: @net} = state
  end

  test "the parked child shows what it has dropped" do
    {session, pid} = parked([])
    {:ok, before} = Capabilities.read(session)
    :ok = Capabilities.drop_bounding(session, [:cap_sys_module, :cap_sys_boot])
    dropped = MapSet.new([:cap_sys_module, :cap_sys_boot])

    # The verb hands it over; the child does it a moment later.
    eventually(fn ->
      {:ok, state} = Capabilities.read(pid)
      MapSet.difference(before.bounding, state.bounding) == dropped
    end)

    # Once more is no error.
    assert :ok = Capabilities.drop_bounding(session, MapSet.new([:cap_sys_boot]))
  end

  test "for another user the ambient set is what is left after execve" do
    state =
      sets_of_workload([uid: 65_534, gid: 65_534, groups: []], fn session ->
        sets = [effective: @net, permitted: @net, inheritable: @net]
        :ok = Capabilities.set_thread_sets(session, sets)
        :ok = Capabilities.set_ambient(session, @net)
      end)

    assert %State{ambient: @net, effective: @net, permitted: @net, inheritable: @net} = state
  end

  test "without it another user has nothing" do
    state =
      sets_of_workload([uid: 65_534, gid: 65_534, groups: []], fn session ->
        sets = [effective: @net, permitted: @net, inheritable: []]
        :ok = Capabilities.set_thread_sets(session, sets)
      end)

    assert %State{ambient: @none, effective: @none, permitted: @none, inheritable: @none} = state
  end

  # capabilities(7), "Programmatically adjusting capability sets", "Ambient" and "Transformation
  # of capabilities during execve()", for a thread that has given up uid 0 and so its effective
  # set.
  defp expected(held, effective, permitted, inheritable, ambient) do
    cond do
      not MapSet.subset?(permitted, held.permitted) or not MapSet.subset?(effective, permitted) ->
        {:error, 1, :cap_set_thread}

      not MapSet.subset?(inheritable, MapSet.union(held.inheritable, held.permitted)) ->
        {:error, 1, :cap_set_thread}

      not MapSet.subset?(ambient, MapSet.intersection(permitted, inheritable)) ->
        {:error, 1, :cap_set_ambient}

      true ->
        {:sets, ambient, inheritable}
    end
  end

  defp outcome(effective, permitted, inheritable, ambient) do
    {session, _pid} =
      parked([],
        argv: ["/bin/cat", "/proc/self/status"],
        stdio: [stdout: :pipe],
        uid: 65_534,
        gid: 65_534,
        groups: []
      )

    sets = [effective: effective, permitted: permitted, inheritable: inheritable]
    :ok = Capabilities.set_thread_sets(session, sets)
    # Sets that can be judged at once may have ended the child by now.
    told = [Capabilities.set_ambient(session, ambient), Session.proceed(session)]
    assert Enum.all?(told, &(&1 in [:ok, {:error, :no_process}]))

    case Session.wait(session) do
      {:ok, {:exited, 0}} ->
        assert told == [:ok, :ok]
        assert_receive {:linx_process, :stdout, text}
        {:ok, state} = Capabilities.parse(text, "status")
        assert state.effective == state.ambient and state.permitted == state.ambient
        {:sets, state.ambient, state.inheritable}

      {:error, %{code: code, stage: stage}} ->
        assert_receive {:linx_process, :error, ^code, ^stage}
        {:error, code, stage}
    end
  end

  test "each capability alone, and sets of any sort, come out as the rules say" do
    {:ok, held} = Capabilities.read(:self)
    # The child's inheritable set is empty, whatever the VM's is.
    held = %{held | inheritable: @none}
    :rand.seed(:exsss, {7, 7, 7})
    all = Enum.sort(Constants.all())
    some = fn from -> MapSet.new(Enum.take_random(from, :rand.uniform(4) - 1)) end

    single = for cap <- all, set = MapSet.new([cap]), do: {set, set, set, set}

    mixed =
      for _ <- 1..40 do
        permitted = MapSet.union(some.(all), some.(held.permitted))
        inheritable = MapSet.union(some.(permitted), some.(all))
        {some.(permitted), permitted, inheritable, some.(Enum.random([permitted, inheritable]))}
      end

    for {effective, permitted, inheritable, ambient} = sets <- single ++ mixed do
      assert {sets, outcome(effective, permitted, inheritable, ambient)} ==
               {sets, expected(held, effective, permitted, inheritable, ambient)}
    end
  end

  test "an ambient set that is not inheritable comes back as an event, and ends the session" do
    {session, _pid} = parked([], argv: ["/bin/true"])
    :ok = Capabilities.set_thread_sets(session, effective: [], permitted: @net, inheritable: [])
    :ok = Capabilities.set_ambient(session, @net)
    :ok = Session.proceed(session)
    assert_receive {:linx_process, :error, 1, :cap_set_ambient}
    refute_received {:linx_process, :running}
    assert Capabilities.drop_bounding(session, [:cap_kill]) == {:error, :no_process}
  end

  test "an effective set that is not permitted comes back as an event" do
    {session, _pid} = parked([], argv: ["/bin/true"])
    :ok = Capabilities.set_thread_sets(session, effective: @net, permitted: [], inheritable: [])
    # It comes while the child is parked.
    assert_receive {:linx_process, :error, 1, :cap_set_thread}
    assert Session.proceed(session) == {:error, :no_process}
  end

  test "verbs say in which state the session is" do
    {session, pid} = parked([])
    :ok = Session.proceed(session)
    assert_receive {:linx_process, :running}
    sets = [effective: [], permitted: [], inheritable: []]
    assert Capabilities.drop_bounding(session, [:cap_kill]) == {:error, :running}
    assert Capabilities.set_thread_sets(session, sets) == {:error, :running}
    assert Capabilities.set_ambient(session, []) == {:error, :running}
    assert {:ok, %State{}} = Capabilities.read(session)
    assert Capabilities.read(session) == Capabilities.read(pid)

    :ok = Session.signal(session, 9)
    {:ok, {:signaled, 9}} = Session.wait(session)
    assert Capabilities.drop_bounding(session, [:cap_kill]) == {:error, :no_process}
    assert Capabilities.read(session) == {:error, :no_process}
  end

  test "bad input reaches nobody" do
    {session, pid} = parked([])
    {:ok, before} = Capabilities.read(pid)
    bad = {:error, {:bad_capability, :cap_no_such}}
    assert Capabilities.drop_bounding(session, [:cap_kill, :cap_no_such]) == bad
    assert Capabilities.set_ambient(session, [:cap_no_such]) == bad
    sets = [effective: [], permitted: [:cap_no_such], inheritable: []]
    assert Capabilities.set_thread_sets(session, sets) == bad

    assert Capabilities.set_thread_sets(session, effective: [], permitted: []) ==
             {:error, {:bad_thread_sets, {:missing, :inheritable}}}

    assert Capabilities.read(pid) == {:ok, before}
  end
end
