defmodule Linx.Process.Reader do
  @moduledoc false
  # The process behind one run/1 or stream/1. It owns the session, so that no event of it reaches
  # the caller's mailbox, writes the input while it reads the output, and ends the session when
  # the caller ends.
  #
  # Output that is not taken stays in this process's mailbox, where the session's credit bounds
  # it.

  alias Linx.Process.{Error, Explain, Plan, Subject}

  # The size of a piece of input, and the time that a session has to end before its process is
  # killed.
  @piece 256 * 1024
  # As of stop/2. With no grace SIGKILL follows at once.
  @sigterm 15

  @end_timeout 5_000

  # Output that one answer of `next` carries at most, and one message more.
  @batch 256 * 1024

  defstruct [
    :plan,
    :caller,
    :session,
    :taker,
    :ending,
    input: "",
    taken: 0,
    collected: []
  ]

  @type chunk() :: {:pty | :stdout | :stderr, binary()}
  @type ended() :: {:ok, Linx.Process.outcome()} | {:error, Error.t() | term()}

  # References are made in the function that waits for them: then a receive starts behind what is
  # in the mailbox already, however much that is.

  @doc "Runs `plan`'s workload to its end."
  @spec collect(Plan.t()) :: {:ok, map()} | {:error, term()}
  def collect(plan) do
    caller = self()
    {reader, monitor} = :erlang.spawn_monitor(fn -> init(plan, :collect, caller) end)

    receive do
      {:DOWN, ^monitor, :process, ^reader, {:linx_run, answer}} -> answer
      {:DOWN, ^monitor, :process, ^reader, _reason} -> {:error, :no_process}
    end
  end

  @doc "Starts `plan`'s workload, whose output `next/1` takes."
  @spec serve(Plan.t()) :: pid()
  def serve(plan) do
    caller = self()
    :erlang.spawn(fn -> init(plan, nil, caller) end)
  end

  @doc "Output that is there, or the end. Waits for either."
  @spec next(pid()) :: {:chunks, [chunk()]} | {:ended, ended()}
  def next(reader) do
    ref = :erlang.monitor(:process, reader, alias: :reply_demonitor)
    send(reader, {__MODULE__, :next, ref})

    receive do
      {^ref, answer} -> answer
      {:DOWN, ^ref, _, _, _reason} -> {:ended, {:error, :no_process}}
    end
  end

  @doc "Ends the session and its tree, and returns when they are gone. Also after the end."
  @spec stop(pid()) :: :ok
  def stop(reader) do
    ref = :erlang.monitor(:process, reader)
    send(reader, {__MODULE__, :stop})

    receive do
      {:DOWN, ^ref, :process, _reader, _reason} -> :ok
    end
  end

  # -- the process -------------------------------------------------------------------------------

  defp init(plan, taker, caller) do
    Process.flag(:trap_exit, true)

    state = %__MODULE__{
      plan: plan,
      taker: taker,
      caller: Process.monitor(caller),
      input: plan.input
    }

    if state.plan.timeout != :infinity,
      do: Process.send_after(self(), {__MODULE__, :timeout}, state.plan.timeout)

    case Linx.Process.launch(%{state.plan.options | owner: self()}) do
      {:ok, session} -> loop(feed(%{state | session: session}))
      {:error, error} -> ended(state, {:error, error})
    end
  end

  defp loop(%{taker: taker, session: session, caller: caller} = state) do
    receive do
      {:linx_process, stream, bytes}
      when taker != nil and stream in [:stdout, :stderr, :pty_out] and is_binary(bytes) ->
        loop(take(state, stream, bytes))

      {:linx_process, event, number} when taker != nil and event in [:exited, :signaled] ->
        ended(state, {:ok, {event, number}})

      {:linx_process, :aborted} when taker != nil ->
        ended(state, {:ok, :aborted})

      {:linx_process, :error, _errno, _stage} when taker != nil ->
        ended(state, named(state.plan, Linx.Process.wait(session)))

      {:linx_process, :ready, _pid} ->
        loop(state)

      {:linx_process, :running} ->
        loop(state)

      {__MODULE__, :fed} ->
        loop(feed(state))

      {__MODULE__, :next, ref} ->
        loop(%{state | taker: ref})

      {__MODULE__, :timeout} ->
        loop(fail(state, :timeout, :etimedout, "not over after #{state.plan.timeout} ms"))

      # Its terminate/2 has a limit of its own.
      {__MODULE__, :end_timeout} ->
        Process.exit(session, :shutdown)
        loop(state)

      {__MODULE__, :stop} ->
        leave(session)

      {:DOWN, ^caller, _, _, _reason} ->
        leave(session)

      {:EXIT, ^session, _reason} when taker != nil ->
        ended(%{state | session: nil}, {:error, :no_process})
    end
  end

  # -- input -------------------------------------------------------------------------------------

  # One piece at a time: `fed/1` asks for the next. A session that has ended never does.
  defp feed(%{plan: %{feed: nil}} = state), do: state
  defp feed(%{plan: %{feed: :pty}, input: ""} = state), do: state

  defp feed(%{input: ""} = state) do
    _ = Linx.Process.stdin_close(state.session)
    state
  end

  defp feed(%{input: input} = state) do
    size = min(byte_size(input), @piece)
    <<piece::binary-size(^size), rest::binary>> = input
    send(state.session, {:feed, self(), state.plan.feed, piece})
    %{state | input: rest}
  end

  @doc "The session has room for more of the input that it was sent."
  @spec fed(pid()) :: term()
  def fed(reader), do: send(reader, {__MODULE__, :fed})

  # -- output ------------------------------------------------------------------------------------

  # Output of a session that ends because of a limit is dropped.
  defp take(%{ending: %{stage: :max_output}} = state, _stream, _bytes), do: state

  defp take(%{taker: :collect} = state, stream, bytes) do
    {state, bytes} = measure(state, bytes)
    %{state | collected: [{chunk(stream), bytes} | state.collected]}
  end

  defp take(%{taker: ref} = state, stream, bytes) do
    {state, bytes} = measure(state, bytes)
    if bytes == "", do: state, else: deliver(state, ref, stream, bytes)
  end

  defp deliver(state, ref, stream, bytes) do
    {state, chunks} = more(state, [{chunk(stream), bytes}], byte_size(bytes))
    send(ref, {ref, {:chunks, Enum.reverse(chunks)}})
    %{state | taker: nil}
  end

  # Messages that have arrived already are dropped too.
  defp more(state, chunks, size) when size >= @batch or state.ending != nil, do: {state, chunks}

  defp more(state, chunks, size) do
    receive do
      {:linx_process, stream, bytes}
      when stream in [:stdout, :stderr, :pty_out] and is_binary(bytes) ->
        {state, bytes} = measure(state, bytes)
        chunks = if bytes == "", do: chunks, else: [{chunk(stream), bytes} | chunks]
        more(state, chunks, size + byte_size(bytes))
    after
      0 -> {state, chunks}
    end
  end

  defp chunk(:pty_out), do: :pty
  defp chunk(stream), do: stream

  defp measure(%{plan: %{max_output: most}} = state, bytes) do
    case state.taken + byte_size(bytes) do
      total when total > most ->
        kept = binary_part(bytes, 0, most - state.taken)
        text = "more than #{most} bytes of output"
        {fail(%{state | taken: most}, :max_output, :emsgsize, text), kept}

      total ->
        {%{state | taken: total}, bytes}
    end
  end

  # -- the end -----------------------------------------------------------------------------------

  # The first limit that is passed decides.
  defp fail(%{ending: nil} = state, stage, errno, detail) do
    # Without waiting: the session goes on to send its output here. Nobody takes the answer.
    _ = :gen_server.send_request(state.session, {:stop, 0, @sigterm})
    Process.send_after(self(), {__MODULE__, :end_timeout}, @end_timeout)
    code = Linx.Errno.code(errno)
    %{state | ending: %Error{stage: stage, errno: errno, code: code, detail: detail}}
  end

  defp fail(state, _stage, _errno, _detail), do: state

  defp named(plan, {:error, %Error{} = error}) do
    subject = Subject.new({:spawn, plan.options.request}, plan.options.id)
    {:error, Explain.name(error, subject)}
  end

  defp named(_plan, answer), do: answer

  @spec ended(struct(), ended()) :: no_return()
  defp ended(%{taker: :collect} = state, result) do
    output = output(state, result)
    close(state)
    exit({:linx_run, answer(state, result, output)})
  end

  defp ended(%{taker: ref} = state, result) do
    close(state)

    case {state.ending, result} do
      {nil, result} -> send(ref, {ref, {:ended, result}})
      {error, _result} -> send(ref, {ref, {:ended, {:error, error}}})
    end

    exit(:normal)
  end

  defp answer(%{ending: %Error{} = error}, _result, output),
    do: {:error, %{error | output: output}}

  defp answer(_state, {:ok, _outcome}, output), do: {:ok, output}
  defp answer(_state, error, _output), do: error

  defp output(state, result) do
    collected = Enum.reverse(state.collected)
    joined = fn streams -> for {s, bytes} <- collected, s in streams, into: "", do: bytes end

    %{
      outcome: with({:ok, outcome} <- result, do: outcome, else: (_ -> nil)),
      stdout: joined.([:stdout, :pty]),
      stderr: joined.([:stderr]),
      rusage: rusage(state.session)
    }
  end

  defp rusage(nil), do: nil

  defp rusage(session) do
    case Linx.Process.info(session) do
      {:ok, info} -> info.rusage
      {:error, _gone} -> nil
    end
  end

  defp close(%{session: nil}), do: :ok

  defp close(%{session: session}) do
    GenServer.stop(session)
  catch
    :exit, _gone -> :ok
  end

  # The session's terminate/2 kills the tree and waits for its death.
  @spec leave(pid()) :: no_return()
  defp leave(session) do
    Process.exit(session, :shutdown)

    receive do
      {:EXIT, ^session, _reason} -> exit(:normal)
    end
  end
end
