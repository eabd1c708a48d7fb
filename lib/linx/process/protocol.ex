defmodule Linx.Process.Protocol do
  @moduledoc false
  # The messages of the port: terms in the external term format. Only existing atoms are accepted
  # from the agent, so every name that it sends is listed here.

  @stages ~w(posix_openpt ptsetup pts_open ptsname sigprocmask signalfd pipe2 clone dumpable
    signals descriptors subreaper umask poll wait signal kill fork init cgroup open_ns_user
    open_ns_mnt open_ns_uts open_ns_ipc open_ns_cgroup open_ns_net open_ns_time open_ns_pid
    compare_ns image setns_user setns_mnt setns_uts setns_ipc setns_cgroup setns_net setns_time
    setns_pid propagation stdio rlimit nice cpus oom_score_adj scheduler io_priority time_offsets
    hostname fds chdir cap_drop_bounding cap_set_thread cap_set_ambient setgroups setgid setuid
    keyring seccomp_no_new_privs seccomp_install execve malformed_request request_too_big
    command_too_big ready_frame malformed_ready exec_outcome agent_died)a

  @type outcome() ::
          {:exited, non_neg_integer()}
          | {:signaled, pos_integer()}
          | :aborted
          | {:error, integer(), atom()}
  @type event() ::
          {:spawned, pos_integer()}
          | {:spawned, pos_integer(), reaper :: pos_integer(), identity :: non_neg_integer()}
          | {:ready, pos_integer()}
          | :running
          | :descriptors
          | {:out, :pty | :stdout | :stderr, binary()}
          | {:written, non_neg_integer()}
          | {:answered, non_neg_integer(), errno :: non_neg_integer()}
          | {:left, [pos_integer()]}
          | {:ended, outcome(), map() | nil}

  @doc "A request or command as the agent reads it."
  @spec encode(term()) :: binary()
  def encode(term), do: :erlang.term_to_binary(term, minor_version: 2)

  # erl_ext_dist(5): the version, a tuple of three, atoms of the names' length, a binary.
  @out <<131, 104, 3, 119, 3, "out">>

  @doc """
  Decodes a report of the agent; `:malformed` for any that the agent does not send.

  Output is taken out of its frame where it lies: `binary_to_term/2` would copy all of it, and
  that copy cost more than the rest of the way through the VM.
  """
  @spec decode(binary()) :: {:ok, event()} | :malformed
  def decode(<<@out, 119, 3, "pty", 109, size::32, bytes::binary-size(size)>>),
    do: {:ok, {:out, :pty, bytes}}

  def decode(<<@out, 119, 6, "stdout", 109, size::32, bytes::binary-size(size)>>),
    do: {:ok, {:out, :stdout, bytes}}

  def decode(<<@out, 119, 6, "stderr", 109, size::32, bytes::binary-size(size)>>),
    do: {:ok, {:out, :stderr, bytes}}

  def decode(frame) do
    frame |> :erlang.binary_to_term([:safe]) |> event()
  rescue
    ArgumentError -> :malformed
  end

  defp event({:written, count}) when is_integer(count) and count >= 0,
    do: {:ok, {:written, count}}

  defp event({:signaled, id, errno})
       when is_integer(id) and id >= 0 and is_integer(errno) and errno >= 0,
       do: {:ok, {:answered, id, errno}}

  defp event({:status, :left, pids}) when is_binary(pids) and rem(byte_size(pids), 4) == 0,
    do: {:ok, {:left, for(<<pid::32 <- pids>>, do: pid)}}

  defp event({:status, :spawned, pid}) when is_integer(pid) and pid > 0,
    do: {:ok, {:spawned, pid}}

  defp event({:status, :spawned, pid, reaper}),
    do: event({:status, :spawned, pid, reaper, <<0::64>>})

  defp event({:status, :spawned, pid, reaper, <<identity::64>>})
       when is_integer(pid) and pid > 0 and is_integer(reaper) and reaper > 0,
       do: {:ok, {:spawned, pid, reaper, identity}}

  defp event({:status, :ready, pid}) when is_integer(pid) and pid > 0, do: {:ok, {:ready, pid}}
  defp event({:status, :running}), do: {:ok, :running}
  defp event({:status, :descriptors}), do: {:ok, :descriptors}

  defp event({:status, :error, errno, stage}) when is_integer(errno) and stage in @stages,
    do: {:ok, {:ended, {:error, errno, stage}, nil}}

  defp event({:status, :exited, code, usage}) when is_integer(code) and code >= 0,
    do: ended({:exited, code}, usage)

  defp event({:status, :signaled, signal, usage}) when is_integer(signal) and signal > 0,
    do: ended({:signaled, signal}, usage)

  defp event({:status, :aborted, nil, usage}), do: ended(:aborted, usage)
  defp event(_term), do: :malformed

  # In the order of c_src_replacement/src/wait.rs.
  defp ended(
         outcome,
         {user, system, rss, minor, major, blocks_in, blocks_out, voluntary, involuntary}
       ) do
    usage = %{
      user_time: user,
      system_time: system,
      max_rss: rss * 1024,
      minor_faults: minor,
      major_faults: major,
      blocks_in: blocks_in,
      blocks_out: blocks_out,
      voluntary_switches: voluntary,
      involuntary_switches: involuntary
    }

    {:ok, {:ended, outcome, usage}}
  end

  defp ended(_outcome, _usage), do: :malformed
end
