defmodule Linx.Process.CapabilityOrdersTest do
  # Random sequences of the three capability verbs, judged by a model of capset(2) and compared
  # with the sets that the kernel shows for the workload.
  use ExUnit.Case, async: true

  import Bitwise
  import Linx.Test.Session

  alias Linx.Capabilities
  alias Linx.Capabilities.Constants
  alias Linx.Process, as: P

  @moduletag :root

  # SETPCAP changes what may be inherited; NET_RAW stands for a capability that nothing here
  # needs.
  @drawn ~w(cap_kill cap_chown cap_setpcap cap_net_raw)a
  @rounds 120

  defp mask(caps) do
    {:ok, mask} = Constants.to_mask(caps)
    mask
  end

  defp within?(set, limit), do: (set &&& bnot(limit)) == 0

  # -- the model ---------------------------------------------------------------------------------

  # The bounding set shrinks first, then the sets change, then the ambient set:
  # docs/capabilities/overview.md. `sets` is nil until the first order.
  defp expect(orders, held, uid) do
    start = %{held: held, bounding: held.bounding, sets: nil, ambient: nil}

    case Enum.reduce_while(orders, start, &order/2) do
      %{} = state -> finish(state, uid)
      stage -> stage
    end
  end

  defp order({:drop_bounding, caps}, state),
    do: {:cont, %{state | bounding: state.bounding &&& bnot(mask(caps))}}

  defp order({:set_ambient, caps}, state), do: {:cont, %{state | ambient: mask(caps)}}

  defp order({:set_thread_sets, sets}, state) do
    [effective, permitted, inheritable] =
      wanted = Enum.map([:effective, :permitted, :inheritable], &mask(sets[&1]))

    [now_effective, now_permitted, now_inheritable] =
      state.sets || [state.held.permitted, state.held.permitted, 0]

    allowed? =
      within?(permitted, now_permitted) and within?(effective, permitted) and
        within?(inheritable, now_inheritable ||| state.bounding) and
        (within?(mask([:cap_setpcap]), now_effective) or
           within?(inheritable, now_inheritable ||| now_permitted))

    if allowed? do
      ambient = state.ambient && (state.ambient &&& permitted &&& inheritable)
      {:cont, %{state | sets: wanted, ambient: ambient}}
    else
      {:halt, :cap_set_thread}
    end
  end

  defp finish(%{sets: sets, ambient: ambient, bounding: bounding, held: held}, uid) do
    [_, permitted, inheritable] = sets || [0, held.permitted, 0]

    cond do
      # A new inheritable capability is not in the bounding set that a later order left.
      not within?(inheritable, bounding) -> :cap_set_thread
      ambient && not within?(ambient, permitted &&& inheritable) -> :cap_set_ambient
      true -> executed(inheritable, ambient || 0, bounding, uid)
    end
  end

  # capabilities(7), "Transformation of capabilities during execve()": a file without
  # capabilities, for root as if it had all of them.
  defp executed(inheritable, ambient, bounding, nil) do
    permitted = inheritable ||| bounding ||| ambient
    %{permitted: permitted, inheritable: inheritable, ambient: ambient, bounding: bounding}
  end

  defp executed(inheritable, ambient, bounding, _uid),
    do: %{permitted: ambient, inheritable: inheritable, ambient: ambient, bounding: bounding}

  # -- the kernel --------------------------------------------------------------------------------

  defp outcome(orders, uid) do
    ids = if uid, do: [uid: uid, gid: uid], else: []

    {session, _pid} =
      parked([argv: ["/bin/cat", "/proc/self/status"], stdio: [stdout: :pipe]] ++ ids)

    # A refused order ends the session at any moment after it.
    for {verb, argument} <- orders do
      assert apply(Capabilities, verb, [session, argument]) in [:ok, {:error, :no_process}]
    end

    assert P.proceed(session) in [:ok, {:error, :no_process}]

    case P.wait(session, 60_000) do
      {:ok, {:exited, 0}} ->
        assert_received {:linx_process, :running}
        {:ok, state} = Capabilities.parse(output(:stdout), "status")
        assert state.effective == state.permitted

        for set <- [:permitted, :inheritable, :ambient, :bounding],
            into: %{},
            do: {set, mask(Map.fetch!(state, set))}

      {:error, %{errno: :eperm, stage: stage}} ->
        refute_received {:linx_process, :running}
        assert_received {:linx_process, :error, 1, ^stage}
        stage
    end
  after
    flush()
  end

  # -- sequences ---------------------------------------------------------------------------------

  defp some, do: Enum.filter(@drawn, fn _cap -> :rand.uniform(2) == 1 end)

  # Mostly shrinking sets, so that long sequences get to their end; now and then anything.
  defp draw(left) do
    case :rand.uniform(6) do
      1 ->
        {{:drop_bounding, Enum.take_random(@drawn, 1)}, left}

      2 ->
        {{:set_ambient, if(:rand.uniform(3) == 1, do: some(), else: Enum.take_random(left, 1))},
         left}

      n ->
        from = if n == 3, do: @drawn, else: left
        permitted = Enum.filter(from, fn _cap -> :rand.uniform(4) > 1 end)
        effective = Enum.filter(permitted, fn _cap -> :rand.uniform(4) > 1 end)
        inheritable = Enum.filter(from, fn _cap -> :rand.uniform(2) == 1 end)
        sets = [effective: effective, permitted: permitted, inheritable: inheritable]
        {{:set_thread_sets, sets}, permitted}
    end
  end

  defp sequence do
    {orders, _left} = Enum.map_reduce(1..:rand.uniform(5), @drawn, fn _, left -> draw(left) end)
    orders
  end

  @tag timeout: 300_000
  test "every order of the three verbs ends as capset(2) says" do
    {:ok, state} = Capabilities.read(:self)
    held = %{permitted: mask(state.permitted), bounding: mask(state.bounding)}
    :rand.seed(:exsss, {6, 2, 2026})

    kinds =
      for _ <- 1..@rounds do
        {orders, uid} = {sequence(), Enum.random([nil, 1234])}
        expected = expect(orders, held, uid)
        assert {orders, uid, outcome(orders, uid)} == {orders, uid, expected}
        if is_map(expected), do: :runs, else: expected
      end

    # A test that refuses, or allows, everything shows nothing.
    frequencies = Enum.frequencies(kinds)
    for kind <- [:runs, :cap_set_thread, :cap_set_ambient], do: assert(frequencies[kind] > 5)
  end
end
