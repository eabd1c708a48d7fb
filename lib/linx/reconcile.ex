defmodule Linx.Reconcile do
  @moduledoc """
  A loop that keeps one kernel subsystem in the state you asked for.

  A reconciler such as `Linx.Sysctl.Reconcile` makes the kernel agree with a description once.
  Then somebody runs `sysctl -w`, and it no longer does. This process repeats the pass: at start,
  every `:interval`, and soon after the subsystem's monitor says that something changed. A notice
  is only a reason to look again. What the loop believes comes from reading the kernel, so a lost
  notice costs time and never correctness.

  Nothing here runs unless you start it, in a supervision tree of yours:

      children = [
        {Linx.Reconcile,
         source: Linx.Sysctl.Reconcile.Source,
         scope: :self,
         desired: %{"net.ipv4.ip_forward" => 1},
         name: :host_sysctls}
      ]

      Supervisor.start_link(children, strategy: :one_for_one)

  One loop drives one `Linx.Reconcile.Source` in one scope. To keep a container's addresses,
  limits and sysctls, start three, beside the process they belong to, so that they end with it.
  What spans subsystems is for the application to compose.

  ## Options

    * `:source` (required) - a module with the `Linx.Reconcile.Source` behaviour.
    * `:scope` (required) - where it acts, in that source's shape.
    * `:desired` (required) - what should be, in that source's shape.
    * `:reconcile_opts` - keyword list given to each pass unchanged. Default `[]`.
    * `:last_applied` - what an earlier reconciler installed, so that this one may remove it.
      Default `%{}`.
    * `:interval` - milliseconds from the end of a pass to the next one, or `:infinity` for no
      timer. Default 5000.
    * `:monitor` - whether to subscribe to the source's notices. Default `true`. A source without
      any is driven by the timer alone.
    * `:debounce` - milliseconds between the first notice (or `put_desired/2`) and the pass that
      answers it and all that came meanwhile. Default 100.
    * `:owner` - a pid that is sent `{:linx_reconcile, :report, report}` or
      `{:linx_reconcile, :error, reason}` after each pass. Without one, a warning is logged when
      the outcome of a pass is another than that of the pass before it: when passes begin to fail,
      fail otherwise, or converge again.
    * `:name` - a name to register under.

  An option that is missing, unknown or of the wrong shape raises `ArgumentError` in
  `start_link/1`.

  ## Two that disagree

  Where something else undoes what the loop does, both would go on for ever, as fast as their
  notices. So the loop looks at the operations of its reports (`:applied`): one that is applied a
  fourth time, each within ten seconds of the last (or four times the delay, if that is longer),
  is **contested**. The report then lists it in `:contested`, one warning is logged, and passes
  wait: a quarter of a second, and twice as long each time, up to a minute. A pass that
  `reconcile/2` asks for does not wait, and `put_desired/2` begins anew.

  ## When things fail

  A pass that answers `{:error, reason}` changes nothing in the loop: the next one starts from the
  same `last_applied`. A pass that raises ends the loop, as does the end of its monitor for
  whatever reason; the supervisor starts both anew, and the first pass reads everything. What the
  loop had installed it has forgotten then, and what `put_desired/2` had told it: who needs that
  across a restart keeps the `last_applied` of the reports that an `:owner` gets, and gives both
  to the next start. If the source cannot subscribe, `start_link/1` answers
  `{:error, {:subscribe, reason}}`.

  A pass runs in the loop's own process. While one hangs, `last_report/1` and `reconcile/2` exit
  with their timeouts and `stop/1` waits five seconds before it ends the pass with the loop; a
  supervisor's shutdown ends the loop and its monitor all the same. Of the notices that come
  meanwhile one is kept, and the others are dropped as they come.
  """

  use GenServer

  alias Linx.Reconcile.{Contest, Notices, Source}

  require Logger

  @defaults [
    reconcile_opts: [],
    last_applied: %{},
    interval: 5_000,
    monitor: true,
    debounce: 100,
    owner: nil,
    name: nil
  ]
  @required [:source, :scope, :desired]

  # How long stop/1 waits for a pass.
  @patience 5_000

  # The messages of this process that are no notice: OTP's, and its timers and monitors.
  @own_messages [:"$gen_call", :"$gen_cast", :system, :timeout, :DOWN, :EXIT]

  # As many notices as are dropped at once, so that a source that floods does not keep the loop
  # from its calls.
  @max_dropped 10_000

  # Within what erlang:start_timer/3 takes: 34 years.
  @longest Integer.pow(2, 40)

  @typedoc "An option of `start_link/1`."
  @type option ::
          {:source, module()}
          | {:scope, Source.scope()}
          | {:desired, Source.desired()}
          | {:reconcile_opts, keyword()}
          | {:last_applied, Source.last_applied()}
          | {:interval, pos_integer() | :infinity}
          | {:monitor, boolean()}
          | {:debounce, non_neg_integer()}
          | {:owner, pid()}
          | {:name, GenServer.name()}

  @enforce_keys @required ++ [:reconcile_opts, :last_applied, :interval, :debounce, :owner]
  defstruct @enforce_keys ++
              [:report, :monitor, :resync, :soon, contest: %Contest{}, outcome: :converged]

  @doc """
  A child specification whose id is the loop's `:name`, or its source and scope, so that one
  supervisor can hold several.
  """
  @spec child_spec([option()]) :: Supervisor.child_spec()
  def child_spec(opts) do
    %{
      id: opts[:name] || {__MODULE__, opts[:source], opts[:scope]},
      start: {__MODULE__, :start_link, [opts]}
    }
  end

  @doc """
  Starts the loop, linked to the caller. The options are in the moduledoc.

  The first pass runs at once, after the subscription, so that no change can fall between the two.
  """
  @spec start_link([option()]) :: GenServer.on_start()
  def start_link(opts) do
    opts = check!(opts)
    name = if opts[:name], do: [name: opts[:name]], else: []
    GenServer.start_link(__MODULE__, opts, name)
  end

  @doc """
  Makes one pass now and answers what it answered: `{:ok, report}` or `{:error, reason}`.

  Exits if the pass takes longer than `timeout` milliseconds.
  """
  @spec reconcile(GenServer.server(), timeout()) :: {:ok, Source.report()} | {:error, term()}
  def reconcile(server, timeout \\ 5_000), do: GenServer.call(server, :reconcile, timeout)

  @doc """
  Replaces the desired state; a pass follows within the debounce time. Returns `:ok` without
  waiting for it.
  """
  @spec put_desired(GenServer.server(), Source.desired()) :: :ok
  def put_desired(server, desired), do: GenServer.cast(server, {:put_desired, desired})

  @doc """
  The report of the last pass that ran, or `nil` before there is one.
  """
  @spec last_report(GenServer.server()) :: Source.report() | nil
  def last_report(server), do: GenServer.call(server, :last_report)

  @doc """
  Ends the loop and its monitor. What the passes installed stays in the kernel. A pass that takes
  more than five seconds more is ended in its midst.
  """
  @spec stop(GenServer.server()) :: :ok
  def stop(server) do
    GenServer.stop(server, :normal, @patience)
  catch
    :exit, reason when reason == :timeout or elem(reason, 0) == :timeout ->
      end_hanging(GenServer.whereis(server))
  end

  # It does not trap exits, and its monitor is linked to it.
  defp end_hanging(nil), do: :ok

  defp end_hanging(pid) do
    ref = Process.monitor(pid)
    Process.unlink(pid)
    Process.exit(pid, :shutdown)

    receive do
      {:DOWN, ^ref, :process, ^pid, _} -> :ok
    end
  end

  # -- options -----------------------------------------------------------------------------------

  defp check!(opts) do
    for key <- @required, not Keyword.has_key?(opts, key) do
      raise ArgumentError, "Linx.Reconcile needs the option #{inspect(key)}"
    end

    opts = Keyword.merge(@defaults, opts)
    Enum.each(opts, &check_option!/1)
    check_source!(opts[:source], opts[:monitor])
    opts
  end

  defp check_source!(source, monitor?) do
    needed = [{:reconcile, 4}] ++ if monitor?, do: [{:subscribe, 2}], else: []

    if not Code.ensure_loaded?(source) or
         not Enum.all?(needed, fn {name, arity} -> function_exported?(source, name, arity) end) do
      raise ArgumentError, "Linx.Reconcile: #{inspect(source)} is no Linx.Reconcile.Source"
    end
  end

  defp check_option!({:source, source}) when is_atom(source) and source != nil, do: :ok
  defp check_option!({:scope, _}), do: :ok
  defp check_option!({:desired, _}), do: :ok
  defp check_option!({:last_applied, _}), do: :ok
  defp check_option!({:interval, :infinity}), do: :ok
  defp check_option!({:interval, ms}) when is_integer(ms) and ms in 1..@longest, do: :ok
  defp check_option!({:monitor, flag}) when is_boolean(flag), do: :ok
  defp check_option!({:debounce, ms}) when is_integer(ms) and ms in 0..@longest, do: :ok
  defp check_option!({:owner, owner}) when is_pid(owner) or owner == nil, do: :ok
  defp check_option!({:name, _}), do: :ok

  defp check_option!({:reconcile_opts, opts} = option) do
    if not Keyword.keyword?(opts), do: bad_option!(option)
  end

  defp check_option!(option), do: bad_option!(option)

  defp bad_option!({key, value}) do
    raise ArgumentError, "Linx.Reconcile: bad option #{inspect(key)}: #{inspect(value)}"
  end

  # -- the process -------------------------------------------------------------------------------

  @impl true
  def init(opts) do
    state = struct!(__MODULE__, Keyword.drop(opts, [:name, :monitor]))

    case if(opts[:monitor], do: subscribe(state), else: :unsupported) do
      :unsupported ->
        {:ok, state, {:continue, :pass}}

      {:ok, pid} ->
        # The source may have linked already. The link ends the monitor with us; the monitor
        # reference tells us of an end with reason :normal, which a link does not.
        Process.link(pid)
        {:ok, %{state | monitor: {pid, Process.monitor(pid)}}, {:continue, :pass}}

      {:error, reason} ->
        {:stop, {:subscribe, reason}}
    end
  end

  defp subscribe(state) do
    notices = Notices.start()

    with other when not is_tuple(other) or elem(other, 0) != :ok <-
           state.source.subscribe(state.scope, notices) do
      Notices.stop(notices)
      other
    end
  end

  @impl true
  def handle_continue(:pass, state) do
    {_result, state} = pass(state)
    {:noreply, state}
  end

  @impl true
  def handle_call(:reconcile, _from, state) do
    {result, state} = pass(state)
    {:reply, result, state}
  end

  def handle_call(:last_report, _from, state), do: {:reply, state.report, state}

  @impl true
  def handle_cast({:put_desired, desired}, state),
    do: {:noreply, pass_soon(%{anew(state) | desired: desired})}

  @impl true
  def handle_info({:timeout, ref, :pass}, %{resync: resync, soon: soon} = state)
      when ref in [resync, soon] do
    {_result, state} = pass(state)
    {:noreply, state}
  end

  # A timer that was cancelled after it had fired.
  def handle_info({:timeout, _ref, :pass}, state), do: {:noreply, state}

  def handle_info({:DOWN, ref, :process, pid, reason}, %{monitor: {pid, ref}} = state),
    do: {:stop, {:monitor_down, reason}, %{state | monitor: nil}}

  # Whatever comes means "look now". Without one there is nobody to listen to.
  def handle_info(_message, %{monitor: nil} = state), do: {:noreply, state}

  def handle_info(hint, state) do
    drop_hints(@max_dropped)
    with {Notices, notices} <- hint, do: Notices.taken(notices)
    {:noreply, pass_soon(state)}
  end

  # A pass that has not begun answers them all.
  defp drop_hints(0), do: :ok

  defp drop_hints(most) do
    receive do
      {Notices, notices} ->
        Notices.taken(notices)
        drop_hints(most - 1)

      message when not is_tuple(message) ->
        drop_hints(most - 1)

      message when elem(message, 0) not in @own_messages ->
        drop_hints(most - 1)
    after
      0 -> :ok
    end
  end

  # Another description is another contest, and does not wait for the end of this one.
  defp anew(%{soon: soon} = state) do
    if soon != nil and Contest.delay(state.contest) > 0, do: cancel(soon)
    soon = if Contest.delay(state.contest) > 0, do: nil, else: soon
    %{state | contest: %Contest{}, soon: soon}
  end

  # A link does not carry the reason :normal, with which stop/1 ends us.
  @impl true
  def terminate(_reason, %{monitor: {pid, ref}}) do
    Process.unlink(pid)
    Process.exit(pid, :shutdown)

    receive do
      {:DOWN, ^ref, :process, ^pid, _} -> :ok
    after
      1_000 -> Process.exit(pid, :kill)
    end
  end

  def terminate(_reason, _state), do: :ok

  # One pass answers every hint and every put_desired before it, so both timers start anew.
  defp pass(state) do
    cancel(state.soon)
    cancel(state.resync)

    result =
      state.source.reconcile(
        state.scope,
        state.desired,
        state.last_applied,
        state.reconcile_opts
      )

    {result, state} = contested(result, %{state | soon: nil})
    state = tell_change(state, outcome(result))
    state = %{state | resync: start_timer(later(state.interval, state))}

    case result do
      {:ok, %{converged?: _, last_applied: last_applied} = report} ->
        notify(state.owner, :report, report)
        {result, %{state | report: report, last_applied: last_applied}}

      {:error, reason} ->
        notify(state.owner, :error, reason)
        {result, state}
    end
  end

  defp contested({:ok, report}, state) do
    contest = Contest.note(state.contest, Map.get(report, :applied, []), now())
    ops = Contest.ops(contest)

    if ops != [] and Contest.ops(state.contest) == [] do
      Logger.warning(
        "Linx.Reconcile (#{inspect(state.source)}, #{inspect(state.scope)}): something undoes " <>
          "#{inspect(ops, limit: 5)} again and again; passes wait"
      )
    end

    {{:ok, Contest.tell(report, ops)}, %{state | contest: contest}}
  end

  defp contested(error, state), do: {error, state}

  # The outcome of a pass, as far as a change of it is worth a line: not how many operations it
  # took.
  defp outcome({:ok, %{converged?: true}}), do: :converged

  defp outcome({:ok, report}), do: {:not_converged, Map.get(report, :failed, [])}
  defp outcome({:error, reason}), do: {:error, reason}

  defp tell_change(%{outcome: outcome} = state, outcome), do: state

  defp tell_change(%{owner: nil} = state, outcome) do
    Logger.warning(
      "Linx.Reconcile (#{inspect(state.source)}, #{inspect(state.scope)}): #{text(outcome)}"
    )

    %{state | outcome: outcome}
  end

  defp tell_change(state, outcome), do: %{state | outcome: outcome}

  defp text(:converged), do: "converges again"
  defp text({:error, reason}), do: "the pass failed: #{inspect(reason, limit: 20)}"

  defp text({:not_converged, []}), do: "does not converge; no operation failed"

  defp text({:not_converged, failed}),
    do: "does not converge; failed: #{inspect(failed, limit: 20)}"

  defp later(:infinity, _state), do: :infinity
  defp later(ms, state), do: max(ms, Contest.delay(state.contest))

  defp now, do: System.monotonic_time(:millisecond)

  # A running timer is left alone: a steady stream of hints must not put the pass off for ever.
  defp pass_soon(%{soon: nil} = state),
    do: %{state | soon: start_timer(later(state.debounce, state))}

  defp pass_soon(state), do: state

  defp start_timer(:infinity), do: nil
  defp start_timer(ms), do: :erlang.start_timer(ms, self(), :pass)

  defp cancel(nil), do: :ok
  defp cancel(timer), do: :erlang.cancel_timer(timer, async: true, info: false)

  defp notify(nil, _kind, _term), do: :ok
  defp notify(owner, kind, term), do: send(owner, {:linx_reconcile, kind, term})
end
