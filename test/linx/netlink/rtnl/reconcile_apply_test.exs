defmodule Linx.Netlink.Rtnl.Reconcile.ApplyTest do
  use ExUnit.Case, async: true

  alias Linx.Netlink.Rtnl.Reconcile.{Apply, Step}

  defp step(op, run), do: %Step{op: op, run: fn _socket -> run.() end}

  # A step that takes away what it cannot put back.
  defp taking(outcomes) do
    back =
      for {op, outcome} <- outcomes do
        {op,
         fn ->
           send(self(), op)
           outcome
         end}
      end

    step({:update, :new}, fn -> Step.undone({:error, :refused}, back) end)
  end

  defp failed(state), do: for({step, error} <- Enum.reverse(state.failed), do: {step.op, error})

  test "what could not be put back is named, and the rest is put back all the same" do
    step = taking([{{:create, :a}, {:error, :gone}}, {{:create, :b}, :ok}, {{:create, :c}, :ok}])
    state = Apply.run(Apply.new(:continue), nil, [step])
    assert failed(state) == [{{:update, :new}, :refused}, {{:create, :a}, :gone}]
    for name <- [:a, :b, :c], do: assert_received({:create, ^name})
  end

  test "it is not tried again before it is compared again" do
    first = Apply.new(:continue)
    other = step({:create, :other}, fn -> :ok end)
    state = Apply.run(first, nil, [taking([{{:create, :a}, {:error, :gone}}]), other])
    state = Apply.retry(state, nil, first)
    assert {{:create, :a}, :gone} in failed(state)
    assert state.applied == [{:create, :other}]
  end

  test "a failure that has put all back names itself alone" do
    state = Apply.run(Apply.new(:halt), nil, [taking([{{:create, :a}, :ok}])])
    assert failed(state) == [{{:update, :new}, :refused}]
    assert Apply.halted?(state)
  end

  test "a sequence ends with what could not be put back" do
    runs = [fn -> :ok end, fn -> {:error, :refused, [{{:create, :a}, :gone}]} end]
    step = Step.sequence({:update, :new}, fn _socket -> runs end)
    state = Apply.run(Apply.new(:continue), nil, [step])
    assert failed(state) == [{{:update, :new}, :refused}, {{:create, :a}, :gone}]
  end
end
