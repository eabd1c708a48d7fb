defmodule Linx.Process.LifecycleTest do
  use ExUnit.Case, async: true

  alias Linx.Process.{Error, Info, Lifecycle}

  defp life(events, opts \\ []) do
    Enum.reduce(events, struct!(Lifecycle, [mode: :spawn] ++ opts), fn event, life ->
      life |> Lifecycle.event(event) |> elem(0)
    end)
  end

  defp parked(opts \\ []), do: life([{:spawned, 7}, {:ready, 1}], opts)

  test "the events of a plain session" do
    life = life([])
    {life, []} = Lifecycle.event(life, {:spawned, 7})
    {life, [{:owner, {:linx_process, :ready, 7}}]} = Lifecycle.event(life, {:ready, 1})
    {:ok, life, [{:agent, :proceed}]} = Lifecycle.proceed(life)
    {life, [{:owner, {:linx_process, :running}}]} = Lifecycle.event(life, :running)

    {life, [{:owner, {:linx_process, :exited, 3}}, :ended]} =
      Lifecycle.event(life, {:ended, {:exited, 3}, nil})

    assert Lifecycle.answer(life) == {:ok, {:exited, 3}}

    assert %Info{stage: :exited, host_pid: 7, child_pid: 1, result: {:exited, 3}} =
             Lifecycle.info(life)
  end

  test "signals before the exec are kept in order and sent after it" do
    {:ok, life, []} = Lifecycle.signal(parked(), 10)
    {:ok, life, []} = Lifecycle.signal(life, 12)
    {:ok, life, [{:agent, :proceed}]} = Lifecycle.proceed(life)
    {:ok, life, []} = Lifecycle.signal(life, 15)
    {life, effects} = Lifecycle.event(life, :running)

    assert effects == [
             {:owner, {:linx_process, :running}},
             {:agent, {:signal, 10}},
             {:agent, {:signal, 12}},
             {:agent, {:signal, 15}}
           ]

    assert {:ok, _life, [{:agent, {:signal, 9}}]} = Lifecycle.signal(life, 9)
  end

  test "what is being aborted takes nothing else, and may be aborted again" do
    {:ok, life, [{:agent, :abort}]} = Lifecycle.abort(life([{:spawned, 7}, {:ready, 7}]))
    assert {{:error, :no_process}, ^life, []} = Lifecycle.proceed(life)
    assert {{:error, :no_process}, ^life, []} = Lifecycle.command(life, {:drop_bounding, 1})
    assert {:ok, ^life, []} = Lifecycle.abort(life)
    {life, effects} = Lifecycle.event(life, {:ended, :aborted, nil})
    assert effects == [{:owner, {:linx_process, :aborted}}, :ended]
    assert {{:error, :no_process}, ^life, []} = Lifecycle.abort(life)
  end

  test "abort before the checkpoint fires there" do
    {:ok, life, [{:agent, :abort}]} = Lifecycle.abort(life([{:spawned, 7}]))
    {_life, effects} = Lifecycle.event(life, {:ready, 1})
    assert effects == [{:owner, {:linx_process, :ready, 7}}, {:agent, :abort}]
  end

  test "with auto_proceed there is no checkpoint to act at" do
    life = life([{:spawned, 7}], auto_proceed: true)
    assert {{:error, :running}, ^life, []} = Lifecycle.abort(life)
    {life, effects} = Lifecycle.event(life, {:ready, 1})
    assert effects == [{:owner, {:linx_process, :ready, 7}}]
    assert {{:error, :running}, _, []} = Lifecycle.proceed(life)
    assert {{:error, :running}, _, []} = Lifecycle.command(life, {:set_ambient, 0})
    assert {:ok, _, []} = Lifecycle.signal(life, 9)
  end

  test "each verb in each state" do
    ended = life([{:ended, :aborted, nil}])
    {:ok, proceeding, _} = Lifecycle.proceed(parked())
    running = life([:running])

    for {life, expected} <- [
          {life([]), :not_ready},
          {life([{:spawned, 7}]), :not_ready},
          {proceeding, :running},
          {running, :running},
          {ended, :no_process}
        ] do
      assert {{:error, ^expected}, ^life, []} = Lifecycle.proceed(life)
      assert {{:error, ^expected}, ^life, []} = Lifecycle.command(life, {:set_ambient, 0})
    end

    assert {:ok, _, [{:agent, {:set_ambient, 0}}]} =
             Lifecycle.command(parked(), {:set_ambient, 0})

    assert {{:error, :running}, _, []} = Lifecycle.abort(running)
    assert {{:error, :running}, _, []} = Lifecycle.abort(proceeding)
    assert {{:error, :no_process}, _, []} = Lifecycle.abort(ended)
    assert {{:error, :no_process}, _, []} = Lifecycle.signal(ended, 9)
  end

  test "there is one end, whatever comes after it" do
    ended = life([{:ended, {:error, 2, :execve}, nil}])

    for event <- [
          {:ended, {:exited, 0}, nil},
          :running,
          {:ready, 1},
          {:out, :pty, "x"},
          {:spawned, 1}
        ] do
      assert Lifecycle.event(ended, event) == {ended, []}
    end

    assert Lifecycle.answer(ended) == {:error, Error.from_agent(2, :execve)}
  end

  test "exit reasons" do
    for {outcome, reason} <- [
          {{:exited, 0}, :normal},
          {{:exited, 3}, {:exited, 3}},
          {{:signaled, 9}, {:signaled, 9}},
          {:aborted, {:shutdown, :aborted}},
          {{:error, 2, :execve}, {:error, Error.from_agent(2, :execve)}}
        ] do
      assert Lifecycle.exit_reason(life([{:ended, outcome, nil}])) == reason
    end
  end
end
