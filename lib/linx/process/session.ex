defmodule Linx.Process.Session do
  @moduledoc false
  # The callbacks of the process behind a session: it owns the port, carries out the effects of
  # Lifecycle, and bounds both flows (Credit for output, InputWindow for input).

  alias Linx.Native

  alias Linx.Process.{AgentImage, Credit, Descriptors, Error, Explain, InputWindow, Lifecycle}
  alias Linx.Process.{Loan, Protocol, Reader, Subject, Tee}

  # terminate/2 runs inside a supervisor's shutdown time, 5 s by default.
  @reap_timeout 4_000

  # Milliseconds in which the agent ends what it was told to end. It gives up after two seconds
  # itself. An agent that has reported nothing by then hangs in the kernel, in a file system that
  # does not answer.
  @stuck_timeout 20_000

  # A port whose pipe is full takes no command; it is asked again.
  @busy_retry 5

  # CGROUP2_SUPER_MAGIC, linux/magic.h.
  @cgroup2 0x63677270

  # Milliseconds after which a listener that is behind is looked at again.
  @listener_retry 5

  # Signals of stop/2. A workload that is stopped takes SIGTERM once it is continued.
  @sigcont 18

  # A grace without an end, in milliseconds.
  @for_ever 0xFFFFFFFFFFFF

  # The time limit of a reply from the agent, which replies at once unless it is stopped.
  @answer_timeout 5_000

  defstruct [
    :port,
    :life,
    :owner,
    :linger,
    :stdin?,
    :cgroup,
    :pin,
    # The process that has the number of a workload behind a reaper, until the agent confirms that
    # it is the workload.
    :proof,
    # enter/2 of a session: its workload's pin, until it is known to have been the process that
    # was entered.
    :target,
    :credit,
    :feeder,
    # Sources of the descriptors that the agent will ask for, and the name it listens at.
    :descriptors,
    proceed?: false,
    stuck_timeout: @stuck_timeout,
    # The records that make a visitor like its target.
    orders: [],
    input: InputWindow.new(),
    loan: %Loan{},
    outbox: :queue.new(),
    tee: Tee.new(),
    waiters: [],
    # The callers that wait for the reply to a signal.
    asked: %{},
    next_id: 1,
    parked: []
  ]

  def init({mode, request, options}) do
    Process.flag(:trap_exit, true)

    case open_port(Map.get_lazy(options, :image, &AgentImage.path/0)) do
      {:ok, port} ->
        life = %Lifecycle{
          mode: mode,
          subject: Subject.new(request, options[:id]),
          pty?: options.pty?,
          # With a target to check the session proceeds, not the agent.
          auto_proceed: options.request.auto_proceed
        }

        state = %__MODULE__{
          port: port,
          life: life,
          owner: options.owner,
          linger: options.linger,
          stdin?: options.stdin?,
          # A cgroup that was entered holds others, who stay.
          cgroup: if(mode == :spawn, do: options.request[:cgroup]),
          target: options[:target],
          descriptors: options[:descriptors],
          orders: Map.get(options, :orders, []),
          stuck_timeout: Map.get(options, :stuck_timeout, @stuck_timeout),
          proceed?: options.auto_proceed and not options.request.auto_proceed,
          credit: Credit.new()
        }

        {:ok, to_agent(state, request)}

      {:error, error} ->
        {:error, error}
    end
  end

  defp open_port(image) do
    options = [:binary, :nouse_stdio, :exit_status, packet: 4, arg0: "linx_process"]
    {:ok, Port.open({:spawn_executable, image}, options)}
  rescue
    error in ErlangError -> {:error, start_error(error.original)}
    ArgumentError -> {:error, start_error(:einval)}
  end

  defp start_error(reason) do
    %Error{
      stage: :open_port,
      errno: Linx.Errno.canonical(reason),
      code: Linx.Errno.code(reason),
      detail: if(reason == :enoent, do: lost_directory())
    }
  end

  # OTP looks up the path of the VM's working directory for each port.
  defp lost_directory do
    if :prim_file.get_cwd() == {:error, :enoent}, do: "the VM's working directory was removed"
  end

  # -- calls -------------------------------------------------------------------------------------

  def handle_call(:await_parked, from, state) do
    if state.life.stage in [:starting, :spawned],
      do: {:noreply, %{state | parked: [from | state.parked]}},
      else: {:reply, :ok, state}
  end

  def handle_call(:proceed, _from, state), do: act(Lifecycle.proceed(state.life), state)
  def handle_call(:abort, _from, state), do: act(Lifecycle.abort(state.life), state)

  # The agent of a running workload replies with the result.
  def handle_call({:signal, signal, to}, from, %{life: %{stage: :running}} = state),
    do: {:noreply, ask(state, signal, to, from)}

  def handle_call({:signal, signal, to}, _from, state),
    do: act(Lifecycle.signal(state.life, {signal, to}), state)

  def handle_call({:command, command}, _from, state),
    do: act(Lifecycle.command(state.life, command), state)

  def handle_call(:info, _from, state), do: {:reply, {:ok, Lifecycle.info(state.life)}, state}

  def handle_call(:host_pid, _from, %{life: %{host_pid: nil}} = state),
    do: {:reply, {:error, :not_ready}, state}

  def handle_call(:host_pid, _from, state), do: {:reply, {:ok, state.life.host_pid}, state}

  def handle_call(:entered, _from, state) do
    {:reply, if(state.target == :other, do: :other, else: :ok), state}
  end

  def handle_call(:pin, _from, state), do: {:reply, pin_answer(state), state}

  def handle_call({:set_owner, owner}, _from, state),
    do: {:reply, :ok, owned(state, owner, Loan.drop(state.loan))}

  def handle_call({:lend, to}, _from, state) do
    with :ok <- writable(state, :pty),
         {:ok, lent, loan} <- Loan.lend(state.loan, state.owner, to) do
      {:reply, {:ok, lent}, owned(state, to, loan)}
    else
      error -> {:reply, error, state}
    end
  end

  def handle_call({:take_back, to}, _from, state) do
    case Loan.take_back(state.loan, to) do
      {owner, loan} -> {:reply, :ok, owned(state, owner, loan)}
      :none -> {:reply, :ok, state}
    end
  end

  def handle_call({:tee, _pid}, _from, %{port: nil} = state),
    do: {:reply, {:error, :no_process}, state}

  def handle_call({:tee, pid}, _from, state) do
    case Tee.add(state.tee, pid) do
      {:ok, tee} -> {:reply, :ok, %{state | tee: tee}}
      error -> {:reply, error, state}
    end
  end

  def handle_call({:untee, pid}, _from, state),
    do: {:reply, :ok, %{state | tee: Tee.remove(state.tee, pid)}}

  def handle_call({:wait, timeout}, from, state) do
    if Lifecycle.ended?(state.life),
      do: {:reply, Lifecycle.answer(state.life), state},
      else: {:noreply, add_waiter(state, from, timeout)}
  end

  def handle_call({:stop, grace, signal}, from, state) do
    case Lifecycle.abort(state.life) do
      {:ok, life, effects} ->
        {:noreply, %{state | life: life} |> perform(effects) |> add_waiter(from, :infinity)}

      {{:error, :running}, life, []} ->
        if grace != :infinity, do: Process.send_after(self(), :kill, grace)

        state =
          %{state | life: life}
          |> to_agent({:grace, if(grace == :infinity, do: @for_ever, else: grace)})
          |> ask_tree_to_end(signal, from)

        {:noreply, add_waiter(state, from, :infinity)}

      {{:error, :no_process}, _life, []} ->
        {:reply, Lifecycle.answer(state.life), state}
    end
  end

  def handle_call(:pty?, _from, state), do: {:reply, state.life.pty?, state}

  def handle_call({:write, kind, bytes}, _from, state) do
    with :ok <- writable(state, kind),
         {:ok, input} <- InputWindow.push(state.input, bytes) do
      {:reply, :ok, flush_input(%{state | input: input})}
    else
      error -> {:reply, error, state}
    end
  end

  def handle_call(:close_stdin, _from, state) do
    case writable(state, :stdin) do
      :ok -> {:reply, :ok, flush_input(%{state | input: InputWindow.close(state.input)})}
      error -> {:reply, error, state}
    end
  end

  def handle_call({:winsize, size}, _from, state) do
    case writable(state, :pty) do
      :ok -> {:reply, :ok, to_agent(state, size)}
      error -> {:reply, error, state}
    end
  end

  defp owned(state, owner, loan) do
    state = %{state | owner: owner, loan: loan}
    grant(state, Credit.handed_over(state.credit))
  end

  defp ask_tree_to_end(%{life: %{stage: :running}} = state, signal, from) do
    state |> ask(signal, :tree, {:stop, from}) |> to_agent({:signal, 0, @sigcont, :tree})
  end

  # Told to proceed, and not there yet: sent once it is.
  defp ask_tree_to_end(state, signal, _from) do
    {:ok, life, []} = Lifecycle.signal(state.life, {signal, :tree})
    {:ok, life, []} = Lifecycle.signal(life, {@sigcont, :tree})
    %{state | life: life}
  end

  # Signals with id 0 have no caller waiting for the reply.
  defp ask(state, signal, to, from) do
    id = state.next_id
    Process.send_after(self(), {:unanswered, id}, @answer_timeout)
    asked = Map.put(state.asked, id, from)
    to_agent(%{state | asked: asked, next_id: id + 1}, {:signal, id, signal, to})
  end

  defp answered(state, id, result) do
    {from, asked} = Map.pop(state.asked, id)
    state = %{state | asked: asked}

    case {from, result} do
      {nil, _result} ->
        state

      # The kernel refuses the signal for every process of the tree, so a grace has no effect.
      {{:stop, _from}, {:error, %{errno: :eperm}}} ->
        kill(state)

      {{:stop, _from}, _result} ->
        state

      {from, result} ->
        GenServer.reply(from, result)
        state
    end
  end

  defp signal_result(0, _life), do: :ok
  defp signal_result(3, _life), do: {:error, :no_process}

  defp signal_result(errno, life),
    do: {:error, errno |> Error.from_agent(:signal) |> Explain.explain(life.subject)}

  defp act({reply, life, effects}, state),
    do: {:reply, reply, perform(%{state | life: life}, effects)}

  defp writable(%{life: %{pty?: false}}, :pty), do: {:error, :no_pty}
  defp writable(%{stdin?: false}, :stdin), do: {:error, :no_pipe}

  defp writable(state, _kind),
    do: if(Lifecycle.ended?(state.life), do: {:error, :no_process}, else: :ok)

  defp pin_answer(state) do
    cond do
      Lifecycle.ended?(state.life) -> {:error, :no_process}
      state.pin == nil -> {:error, :not_ready}
      true -> {:ok, state.pin}
    end
  end

  # -- messages ----------------------------------------------------------------------------------

  def handle_info({port, {:data, frame}}, %{port: port} = state) do
    case Protocol.decode(frame) do
      {:ok, {:written, count}} ->
        {:noreply, flush_input(%{state | input: InputWindow.done(state.input, count)})}

      {:ok, {:answered, id, errno}} when is_tuple(state.proof) and id == elem(state.proof, 0) ->
        proven(state, errno)

      {:ok, {:answered, id, errno}} ->
        {:noreply, answered(state, id, signal_result(errno, state.life))}

      {:ok, :descriptors} ->
        send_descriptors(state)

      {:ok, event} ->
        handle_event(state, event)

      :malformed ->
        handle_event(state, {:ended, {:error, Linx.Errno.code(:eproto), :malformed_ready}, nil})
    end
  end

  # The agent ended without a report. OTP can lose the exit status; the end of the port then
  # reports it.
  def handle_info({port, {:exit_status, status}}, %{port: port} = state) do
    kill_without_agent(state)
    handle_event(state, {:ended, {:error, status, :agent_died}, nil})
  end

  def handle_info({:EXIT, port, _reason}, %{port: port} = state) do
    kill_without_agent(state)
    handle_event(state, {:ended, {:error, -1, :agent_died}, nil})
  end

  def handle_info({:EXIT, pid, reason}, state) when is_pid(pid) and reason != :normal,
    do: {:stop, reason, state}

  def handle_info({:wait_timeout, from}, state) do
    {late, waiters} = Enum.split_with(state.waiters, &(&1 == from))
    Enum.each(late, &GenServer.reply(&1, {:error, :timeout}))
    {:noreply, %{state | waiters: waiters}}
  end

  # The agent is stopped, perhaps.
  def handle_info({:unanswered, id}, state) do
    {:noreply, answered(state, id, signal_result(Linx.Errno.code(:etimedout), state.life))}
  end

  def handle_info(:kill, state) do
    if Lifecycle.ended?(state.life),
      do: {:noreply, state},
      else: {:noreply, kill(state)}
  end

  # The closed port ends the agent once the kernel lets it go on.
  def handle_info(:stuck, state) do
    if Lifecycle.ended?(state.life) do
      {:noreply, state, :hibernate}
    else
      kill_without_agent(state)
      handle_event(state, {:ended, {:error, Linx.Errno.code(:etimedout), :kill}, nil})
    end
  end

  # A piece of a long input; `Reader.fed/1` asks for the next.
  def handle_info({:feed, reader, kind, bytes}, state) do
    with :ok <- writable(state, kind),
         {:ok, input} <- InputWindow.push(state.input, bytes) do
      {:noreply, flush_input(%{state | input: input, feeder: reader})}
    else
      _ended -> {:noreply, state}
    end
  end

  def handle_info({:DOWN, ref, :process, pid, _reason}, state) do
    case Loan.ended(state.loan, ref) do
      {owner, loan} -> {:noreply, owned(state, owner, loan)}
      :none -> {:noreply, %{state | tee: Tee.remove(state.tee, pid)}}
    end
  end

  def handle_info(:grant, state), do: {:noreply, grant(state, Credit.woken(state.credit))}
  def handle_info(:flush, state), do: {:noreply, flush(state)}

  # A session that has ended may have nothing more to do for as long as its caller lives: its
  # pidfd is closed when the pin is collected.
  def handle_info(:collect, state), do: {:noreply, state, :hibernate}
  def handle_info(_message, state), do: {:noreply, state}

  # The part of the agent's work that the session can do after its death: the cgroup, and the
  # workload, whose parent-death signal an exec of a set-user-ID program has cleared
  # (PR_SET_PDEATHSIG(2const)).
  defp kill_without_agent(state) do
    _ = kill_cgroup(state)
    if state.pin, do: Native.pid_kill(state.pin)
  rescue
    # Without the NIF library there is no pin.
    ErlangError -> :ok
  end

  # The agent listens for the descriptors that the workload gets beside 0 to 2, which this asks
  # for once.
  defp send_descriptors(%{descriptors: {sources, name}} = state) do
    state = %{state | descriptors: nil}

    with {:os_pid, agent} <- Port.info(state.port, :os_pid),
         {:error, errno} <- Descriptors.send(sources, name, agent) do
      handle_event(kill(state), {:ended, {:error, errno, :fds}, nil})
    else
      _sent_or_ended -> {:noreply, state}
    end
  end

  defp send_descriptors(state),
    do: handle_event(state, {:ended, {:error, Linx.Errno.code(:eproto), :malformed_ready}, nil})

  # The kernel marks the processes and returns, so the answer comes soon.
  defp kill_cgroup(%{cgroup: nil}), do: :ok

  defp kill_cgroup(%{cgroup: path}) do
    path
    |> Path.join("cgroup.kill")
    |> Native.kernel_file_write(@cgroup2, "1")
    |> Linx.Pool.Native.await()
  end

  # Events that arrive before the agent's answer wait for it; after the end there is no answer,
  # and no pin.
  defp handle_event(%{proof: {_id, _pin, late}} = state, {:ended, _outcome, _usage} = event),
    do: replay(%{state | proof: nil}, [event | late])

  defp handle_event(%{proof: {id, pin, late}} = state, event),
    do: {:noreply, %{state | proof: {id, pin, [event | late]}}}

  defp handle_event(state, event) do
    {life, effects} = Lifecycle.event(state.life, event)

    state =
      %{state | life: life}
      |> pin(event)
      |> perform(effects)
      |> spend_credit(event)
      |> check_target(event)

    life = state.life

    cond do
      Lifecycle.ended?(life) and not state.linger -> {:stop, Lifecycle.exit_reason(life), state}
      life.stage in [:starting, :spawned] -> {:noreply, state}
      true -> {:noreply, answer_parked(state)}
    end
  end

  # The reaper may have reaped the workload, and its pid may be another process's: the agent,
  # which holds a pidfd of the workload, confirms the process.
  defp pin(state, {:spawned, pid, _reaper, identity}) do
    case pin(state, {:spawned, pid}) do
      %{pin: nil} = state ->
        state

      %{pin: pin} = state when identity != 0 ->
        if Native.pid_identity(pin) == identity, do: state, else: %{state | pin: nil}

      state ->
        prove(state)
    end
  end

  # The agent has not reaped the process yet, so the number is still its own.
  defp pin(state, {:spawned, pid}) do
    case Native.pid_pin(pid) do
      {:ok, pin} -> %{state | pin: pin}
      {:error, _fault} -> state
    end
  rescue
    # Without the NIF library everything works but race-free targets.
    ErlangError -> state
  end

  defp pin(state, _event), do: state

  # Before Linux 6.9 a pidfd does not show whose it is: the agent is asked after the pin was
  # taken.
  defp prove(%{pin: pin, next_id: id} = state) do
    to_agent(
      %{state | pin: nil, proof: {id, pin, []}, next_id: id + 1},
      {:signal, id, 0, :workload}
    )
  end

  # ESRCH: the workload is reaped.
  defp proven(%{proof: {_id, pin, late}} = state, errno),
    do: replay(%{state | proof: nil, pin: if(errno != 3, do: pin)}, late)

  # Newest first.
  defp replay(state, late) do
    late
    |> Enum.reverse()
    |> Enum.reduce_while({:noreply, state}, fn event, {:noreply, state} ->
      case handle_event(state, event) do
        {:noreply, state} -> {:cont, {:noreply, state}}
        stop -> {:halt, stop}
      end
    end)
  end

  # The process that was entered had the number of the target's workload, which lives: so it was
  # that workload.
  defp check_target(%{target: target} = state, {:ready, _pid}) when target != nil do
    if Native.pid_alive(target),
      do: state |> order() |> proceed_entered(),
      else: then_act(%{state | target: :other}, &Lifecycle.abort/1)
  end

  defp check_target(state, _event), do: state

  defp order(state) do
    Enum.reduce(state.orders, %{state | target: nil, orders: []}, fn order, state ->
      then_act(state, &Lifecycle.command(&1, order))
    end)
  end

  defp proceed_entered(%{proceed?: true} = state), do: then_act(state, &Lifecycle.proceed/1)
  defp proceed_entered(state), do: state

  defp then_act(state, verb) do
    {_reply, life, effects} = verb.(state.life)
    perform(%{state | life: life}, effects)
  end

  defp answer_parked(state) do
    Enum.each(state.parked, &GenServer.reply(&1, :ok))
    %{state | parked: []}
  end

  # -- effects -----------------------------------------------------------------------------------

  defp perform(state, effects), do: Enum.reduce(effects, state, &effect(&2, &1))

  defp effect(state, {:owner, message}) do
    tell(state, message)
    %{state | loan: Loan.sent(state.loan, message, owner(state))}
  end

  defp effect(state, {:agent, {:signal, {signal, to}}}),
    do: to_agent(state, {:signal, 0, signal, to})

  defp effect(state, {:agent, {:signal, signal}}),
    do: to_agent(state, {:signal, 0, signal, :workload})

  defp effect(state, {:agent, :abort}), do: state |> to_agent(:abort) |> expect_end()
  defp effect(state, {:agent, command}), do: to_agent(state, command)

  # Closing the port ends the agent, which reads until then, so that no command meets a closed
  # pipe.
  defp effect(state, :ended) do
    answer = Lifecycle.answer(state.life)
    Enum.each(state.waiters, &GenServer.reply(&1, answer))
    state = Enum.reduce(Map.keys(state.asked), state, &answered(&2, &1, {:error, :no_process}))
    close(state.port)
    send(self(), :collect)

    answer_parked(%{
      state
      | port: nil,
        waiters: [],
        pin: nil,
        input: InputWindow.new(),
        outbox: :queue.new()
    })
  end

  defp tell(state, message) do
    with pid when is_pid(pid) <- owner(state), do: send(pid, message)
    Tee.tell(state.tee, message)
  end

  # A name is looked up each time: what its owner's successor is there for goes to the successor.
  # Nobody of that name is like an owner that has ended.
  defp owner(%{owner: pid}) when is_pid(pid), do: pid
  defp owner(%{owner: name}), do: Process.whereis(name)

  defp add_waiter(state, from, timeout) do
    if timeout != :infinity, do: Process.send_after(self(), {:wait_timeout, from}, timeout)
    %{state | waiters: [from | state.waiters]}
  end

  # -- the port ----------------------------------------------------------------------------------

  defp to_agent(%{port: nil} = state, _command), do: state

  defp to_agent(state, command) do
    frame = Protocol.encode(command)

    if :queue.is_empty(state.outbox) and deliver(state.port, frame) do
      state
    else
      if :queue.is_empty(state.outbox), do: Process.send_after(self(), :flush, @busy_retry)
      %{state | outbox: :queue.in(frame, state.outbox)}
    end
  end

  # A stopped agent is continued, so that the workload ends.
  defp kill(state) do
    state = state |> to_agent(:kill) |> expect_end()
    with {:os_pid, pid} <- Port.info(state.port, :os_pid), do: continue(pid)
    state
  end

  defp expect_end(state) do
    Process.send_after(self(), :stuck, state.stuck_timeout)
    state
  end

  defp continue(pid) do
    Native.process_continue(pid)
  rescue
    # Without the NIF library the command is in the pipe all the same.
    ErlangError -> :ok
  end

  # Never waits: a session whose agent is stopped still answers.
  defp deliver(port, frame) do
    Port.command(port, frame, [:nosuspend])
  rescue
    # The port is closed; its exit message is on the way.
    ArgumentError -> true
  end

  defp flush(state) do
    case :queue.out(state.outbox) do
      {:empty, _outbox} ->
        state

      {{:value, frame}, rest} ->
        if state.port == nil or deliver(state.port, frame) do
          flush(%{state | outbox: rest})
        else
          Process.send_after(self(), :flush, @busy_retry)
          state
        end
    end
  end

  defp close(port) do
    Port.close(port)
  rescue
    ArgumentError -> true
  end

  # -- flow --------------------------------------------------------------------------------------

  defp flush_input(state) do
    {commands, input} = InputWindow.take(state.input)
    ask_for_more(Enum.reduce(commands, %{state | input: input}, &to_agent(&2, &1)))
  end

  defp ask_for_more(%{feeder: nil} = state), do: state

  defp ask_for_more(state) do
    if InputWindow.low?(state.input) do
      Reader.fed(state.feeder)
      %{state | feeder: nil}
    else
      state
    end
  end

  defp spend_credit(state, {:out, _stream, bytes}) do
    state = %{state | tee: Tee.spend(state.tee, byte_size(bytes))}
    grant(state, Credit.spend(state.credit, byte_size(bytes)))
  end

  defp spend_credit(state, _event), do: state

  defp grant(state, credit) do
    case Credit.grant(credit, owner(state)) do
      {:grant, bytes, granted} -> grant(state, credit, bytes, granted)
      {:ask_again, delay, credit} -> ask_again(state, delay, credit)
      {:nothing, credit} -> %{state | credit: credit}
    end
  end

  # The owner may have more; a listener may have to be waited for.
  defp grant(state, credit, bytes, granted) do
    case Tee.look(state.tee, System.monotonic_time(:millisecond)) do
      {:go, tee} ->
        to_agent(%{state | tee: tee, credit: granted}, {:credit, bytes})

      {:wait, tee} ->
        ask_again(%{state | tee: tee}, @listener_retry, Credit.held(credit))
    end
  end

  defp ask_again(state, delay, credit) do
    Process.send_after(self(), :grant, delay)
    %{state | credit: credit}
  end

  # -- the end -----------------------------------------------------------------------------------

  def terminate(_reason, %{port: nil}), do: :ok

  def terminate(_reason, state) do
    _ = kill(state)
    timer = Process.send_after(self(), :reap_timeout, @reap_timeout)
    reap(state)
    Process.cancel_timer(timer)
    close(state.port)
  end

  # The report comes when the workload and all that it left are dead.
  defp reap(%{port: port} = state) do
    receive do
      {^port, {:data, frame}} ->
        case Protocol.decode(frame) do
          {:ok, {:ended, _outcome, _usage} = event} ->
            {life, effects} = Lifecycle.event(state.life, event)
            for {:owner, message} <- effects, do: tell(state, message)
            for from <- state.waiters, do: GenServer.reply(from, Lifecycle.answer(life))

          _other ->
            reap(state)
        end

      {^port, {:exit_status, _status}} ->
        kill_cgroup(state)

      {:EXIT, ^port, _reason} ->
        kill_cgroup(state)

      :reap_timeout ->
        :ok
    end
  end
end
