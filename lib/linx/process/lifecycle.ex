defmodule Linx.Process.Lifecycle do
  @moduledoc false
  # The state machine of a session: events in, effects out. The session process carries out the
  # effects:
  #
  #   {:owner, message}   tell the owner
  #   {:agent, command}   tell the agent
  #   :ended              the end is recorded: answer waiting callers, release the agent

  alias Linx.Process.{Error, Explain, Info, Protocol, Subject}

  @type effect() :: {:owner, tuple()} | {:agent, term()} | :ended
  @type t() :: %__MODULE__{}

  defstruct [
    :mode,
    :subject,
    :host_pid,
    :child_pid,
    :reaper_pid,
    :result,
    :rusage,
    stage: :starting,
    left: [],
    pty?: false,
    auto_proceed: false,
    # proceed/1 was answered and the exec is not known yet.
    proceeding?: false,
    # abort/1 was answered, before the checkpoint or at it, and the end is not known yet.
    abort?: false,
    # Newest first.
    signals: []
  ]

  defguardp is_ended(life) when life.stage in [:exited, :signaled, :aborted, :errored]

  @spec ended?(t()) :: boolean()
  def ended?(life) when is_ended(life), do: true
  def ended?(_life), do: false

  # -- what the agent says -----------------------------------------------------------------------

  @spec event(t(), Protocol.event()) :: {t(), [effect()]}
  def event(life, _event) when is_ended(life), do: {life, []}

  def event(life, {:spawned, pid}), do: {%{life | host_pid: pid, stage: :spawned}, []}

  def event(life, {:spawned, pid, reaper, _identity}),
    do: event(%{life | reaper_pid: reaper}, {:spawned, pid})

  def event(life, {:ready, child_pid}) do
    life = %{life | child_pid: child_pid, stage: :ready}
    ready = {:owner, {:linx_process, :ready, life.host_pid}}

    cond do
      life.abort? -> {life, [ready, {:agent, :abort}]}
      # The agent has gone on by itself.
      life.auto_proceed -> {%{life | proceeding?: true}, [ready]}
      true -> {life, [ready]}
    end
  end

  def event(life, :running) do
    signals = for signal <- Enum.reverse(life.signals), do: {:agent, {:signal, signal}}
    life = %{life | stage: :running, proceeding?: false, signals: []}
    {life, [{:owner, {:linx_process, :running}} | signals]}
  end

  def event(life, {:out, :pty, bytes}), do: {life, [{:owner, {:linx_process, :pty_out, bytes}}]}
  def event(life, {:out, stream, bytes}), do: {life, [{:owner, {:linx_process, stream, bytes}}]}

  def event(life, {:left, pids}), do: {%{life | left: pids}, []}

  def event(life, {:ended, outcome, rusage}) do
    life = %{
      life
      | stage: stage(outcome),
        result: result(outcome, life.subject),
        rusage: rusage,
        signals: []
    }

    {life, [{:owner, message(outcome)}, :ended]}
  end

  defp stage({:exited, _code}), do: :exited
  defp stage({:signaled, _signal}), do: :signaled
  defp stage(:aborted), do: :aborted
  defp stage({:error, _errno, _stage}), do: :errored

  @spec result(Protocol.outcome(), Subject.t() | nil) :: Info.result()
  defp result({:error, errno, stage}, subject),
    do: {:error, errno |> Error.from_agent(stage) |> Explain.explain(subject)}

  defp result(outcome, _subject), do: outcome

  defp message({:exited, code}), do: {:linx_process, :exited, code}
  defp message({:signaled, signal}), do: {:linx_process, :signaled, signal}
  defp message(:aborted), do: {:linx_process, :aborted}
  defp message({:error, errno, stage}), do: {:linx_process, :error, errno, stage}

  # -- what callers ask --------------------------------------------------------------------------

  @spec proceed(t()) :: {:ok | {:error, atom()}, t(), [effect()]}
  def proceed(life) do
    case checkpoint(life) do
      :ok -> {:ok, %{life | proceeding?: true}, [{:agent, :proceed}]}
      error -> {error, life, []}
    end
  end

  @doc "A command for the parked child, or why there is none."
  @spec command(t(), term()) :: {:ok | {:error, atom()}, t(), [effect()]}
  def command(life, command) do
    case checkpoint(life) do
      :ok -> {:ok, life, [{:agent, command}]}
      error -> {error, life, []}
    end
  end

  @spec abort(t()) :: {:ok | {:error, atom()}, t(), [effect()]}
  def abort(%{auto_proceed: true} = life) when life.stage in [:starting, :spawned],
    do: {{:error, :running}, life, []}

  # Without a wait for the checkpoint, which a child that is frozen, stopped or traced does not
  # reach.
  def abort(life) when life.stage in [:starting, :spawned],
    do: {:ok, %{life | abort?: true}, [{:agent, :abort}]}

  def abort(%{stage: :ready, abort?: true} = life), do: {:ok, life, []}

  def abort(life) do
    case checkpoint(life) do
      :ok -> {:ok, %{life | abort?: true}, [{:agent, :abort}]}
      error -> {error, life, []}
    end
  end

  # A signal is a number, or a number and whom it is for.
  @spec signal(t(), pos_integer() | {pos_integer(), :workload | :group | :tree}) ::
          {:ok | {:error, atom()}, t(), [effect()]}
  def signal(life, _signal) when is_ended(life), do: {{:error, :no_process}, life, []}
  def signal(%{stage: :running} = life, signal), do: {:ok, life, [{:agent, {:signal, signal}}]}
  def signal(life, signal), do: {:ok, %{life | signals: [signal | life.signals]}, []}

  # The error of a verb that needs the parked state.
  defp checkpoint(life) when is_ended(life), do: {:error, :no_process}
  defp checkpoint(%{proceeding?: true}), do: {:error, :running}
  # The error of a command that would have no effect now.
  defp checkpoint(%{stage: :ready, abort?: true}), do: {:error, :no_process}
  defp checkpoint(%{stage: :ready}), do: :ok
  defp checkpoint(%{stage: :running}), do: {:error, :running}
  defp checkpoint(_life), do: {:error, :not_ready}

  @doc "The result of `wait/1` once the session has ended."
  @spec answer(t()) :: {:ok, term()} | {:error, Error.t()}
  def answer(%{result: {:error, error}}), do: {:error, error}
  def answer(%{result: result}), do: {:ok, result}

  @doc """
  The exit reason of a session that does not linger: what a supervisor's restart strategy judges.
  """
  @spec exit_reason(t()) :: term()
  def exit_reason(%{result: {:exited, 0}}), do: :normal
  def exit_reason(%{result: :aborted}), do: {:shutdown, :aborted}
  def exit_reason(%{result: result}), do: result

  @spec info(t()) :: Info.t()
  def info(life) do
    struct!(
      Info,
      Map.take(life, [
        :mode,
        :stage,
        :host_pid,
        :child_pid,
        :reaper_pid,
        :left,
        :pty?,
        :result,
        :rusage
      ])
    )
  end
end
