defmodule Linx.Netlink.Rtnl.Reconcile.Apply do
  @moduledoc false
  # Carries out steps. With `:halt` the first failure ends it, and what is left is pending. With
  # `:continue` all steps are tried, and those that failed again as long as another one succeeds.

  alias Linx.Netlink.Rtnl.Diff
  alias Linx.Netlink.Rtnl.Reconcile.Step
  alias Linx.Netlink.Socket

  # Lists are in reverse. `failed` holds `{step, error}`, `unkept` the values that the kernel
  # keeps otherwise than they were sent (`t:Linx.Netlink.Rtnl.Reconcile.LinkState.unkept/0`).
  defstruct [:on_error, applied: [], failed: [], pending: [], lost: [], unkept: %{}]

  @type t :: %__MODULE__{
          on_error: :halt | :continue,
          applied: [Diff.op()],
          failed: [{Step.t(), term()}],
          pending: [Diff.op()],
          lost: [struct()],
          unkept: map()
        }

  @spec new(:halt | :continue, map()) :: t()
  def new(on_error, unkept \\ %{}), do: %__MODULE__{on_error: on_error, unkept: unkept}

  @doc "Whether a failure has ended the pass."
  @spec halted?(t()) :: boolean()
  def halted?(%{on_error: :halt, failed: [_ | _]}), do: true
  def halted?(_state), do: false

  @doc "Carries out steps one after another."
  @spec run(t(), Socket.t(), [Step.t()]) :: t()
  def run(state, _socket, []), do: state

  def run(state, socket, [step | steps]) do
    if halted?(state) do
      pending(state, [step | steps])
    else
      state |> carry_out(socket, step) |> run(socket, steps)
    end
  end

  defp pending(state, steps),
    do: %{state | pending: Enum.reverse(Enum.map(steps, & &1.op), state.pending)}

  defp carry_out(state, socket, step) do
    case step.run.(socket) do
      :ok ->
        %{state | applied: [step.op | state.applied]}

      {:ok, unkept} ->
        unkept = Map.merge(state.unkept, unkept)
        %{state | applied: [step.op | state.applied], unkept: unkept}

      :nothing ->
        state

      {:error, error} ->
        %{state | failed: [{step, error} | state.failed]}

      {:error, error, refused} ->
        refused(%{state | failed: [{step, error} | state.failed]}, refused)
    end
  end

  # The next round compares what could not be put back; nothing is tried again before.
  defp refused(state, refused) do
    steps = for {op, error} <- refused, do: {Step.impossible(op, error), error}
    %{state | failed: Enum.reverse(steps, state.failed)}
  end

  @doc """
  Tries what failed again, until a round makes no progress. `since` is the state before the last
  steps.
  """
  @spec retry(t(), Socket.t(), t()) :: t()
  def retry(%{on_error: :halt} = state, _socket, _since), do: state
  def retry(%{failed: []} = state, _socket, _since), do: state

  def retry(state, socket, since) do
    # Identical lists are equal without a walk.
    if state.applied == since.applied do
      state
    else
      steps = state.failed |> Enum.reverse() |> Enum.map(&elem(&1, 0))
      %{state | failed: []} |> run(socket, steps) |> retry(socket, state)
    end
  end

  @doc "The operations applied since an earlier state."
  @spec since(t(), t()) :: [Diff.op()]
  def since(state, earlier),
    do: Enum.take(state.applied, length(state.applied) - length(earlier.applied))
end
