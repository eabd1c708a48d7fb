defmodule Linx.Process do
  @moduledoc """
  Linux processes with a checkpoint between their creation and their first instruction.

  `fork` and `exec` in one go leave no moment in which a process exists and its program has not
  started. `spawn/1` opens that moment: it clones a child, in fresh namespaces if asked to, and
  parks it. Everything that has to be in place before the workload starts is done then, from
  outside, by pid or by session: user maps, cgroup, network, mounts, capabilities, seccomp
  filters. `proceed/1` makes the child execute the workload; `abort/1` drops it.

      {:ok, session} = Linx.Process.spawn(argv: ["/bin/echo", "hello"], namespaces: [:uts])
      # {:linx_process, :ready, host_pid} has arrived; configure it here
      :ok = Linx.Process.proceed(session)
      {:ok, {:exited, 0}} = Linx.Process.wait(session)

  This module does not configure anything itself: that is what the other modules of Linx do at the
  checkpoint. It is no container engine either: images, networks and restart policies are its
  users' business.

  ## Sessions

  A session is a process of the VM; every function here takes its pid. Each session runs one
  agent, a small program of Linx that is a port of the VM (`priv/linx_process`): clone(2) and
  unshare(2) inside the VM would concern single threads of it. The agent makes the workload:

      VM -- agent -- workload -- its descendants

  A crash in one session touches no other. `spawn/1` links the session to its caller and ends with
  it.

  ## Events

  The owner, by default the caller of `spawn/1`, gets these messages:

    * `{:linx_process, :ready, host_pid}`: parked at the checkpoint. The pid is the host's; the
      workload's own view is in `info/1`.
    * `{:linx_process, :running}`: the workload executes.
    * `{:linx_process, :pty_out, bytes}`: output of a workload with a terminal.
    * `{:linx_process, :stdout, bytes}`, `{:linx_process, :stderr, bytes}`: output through pipes.
    * one of four ends, and nothing after it: `{:linx_process, :exited, code}`,
      `{:linx_process, :signaled, signal}`, `{:linx_process, :aborted}`,
      `{:linx_process, :error, errno, stage}`.

  The session itself stays after the end, so that `wait/1` and `info/1` answer, until its linked
  caller ends or, with `linger: false`, stops at once.

  ## Stages of `:error`

  `errno` is the kernel's number, but for the last row.

  | Stage | What failed |
  |---|---|
  | `:posix_openpt`, `:ptsetup`, `:pts_open` | making the terminal |
  | `:pipe2` | pipes and sockets of the session |
  | `:cgroup` | opening the directory of `:cgroup`; EXDEV if it is not on a cgroup2 file system |
  | `:clone` | clone3(2); the parent-death signal |
  | `:dumpable`, `:descriptors`, `:signals` | hiding the child from whoever enters its namespaces (PR_SET_DUMPABLE(2const)), closing what it does not get, its dispositions and mask |
  | `:propagation` | making the mounts of a new mount namespace private, or what `:propagation` says |
  | `:init` | the reaper of `init: true`: starting it, or taking away what it does not need |
  | `:open_ns_<type>`, `:setns_<type>`, `:fork` | `enter/2`: finding, joining, and the clone after it; `<type>` is user, mnt, uts, ipc, cgroup, net, time or pid |
  | `:image` | `enter/2`, and `init: true` of a workload with ids that may write to the agent's file: the agent runs from a plain file, since the machine allows neither memory that may be executed nor a mount of its own; the errno is memfd_create(2)'s |
  | `:compare_ns` | `enter/2`: whether a namespace of the target is the VM's own cannot be found out |
  | `:stdio` | the workload's descriptors: a socket, a file, the controlling terminal |
  | `:keyring` | an empty session keyring for a workload with namespaces or ids of its own |
  | `:nice`, `:cpus`, `:oom_score_adj`, `:scheduler`, `:io_priority` | the option of that name, set on the parked child |
  | `:hostname`, `:time_offsets` | the option of that name, set on the new namespace |
  | `:fds` | `:fds`, `:listen_fds`: passing the descriptors, or giving them their numbers |
  | `:rlimit`, `:setgroups`, `:setgid`, `:setuid` | the option of that name |
  | `:chdir` | `:cwd`, or a working directory that lies outside the root |
  | `:cap_drop_bounding`, `:cap_set_thread`, `:cap_set_ambient` | `Linx.Capabilities` |
  | `:seccomp_no_new_privs`, `:seccomp_install` | `no_new_privs:`, `Linx.Seccomp` |
  | `:kill` | processes of the session were left 2 seconds after they were killed; `info/1` names them. EPERM: they became another user; ETIMEDOUT: they do not end |
  | `:poll`, `:wait`, `:subreaper` | what the agent itself cannot do without |
  | `:umask` | the option of that name, or the agent's own |
  | `:execve` | the workload's file |
  | `:malformed_request`, `:request_too_big` (above 8 MiB), `:command_too_big` | the channel to the agent |
  | `:ready_frame` | the child died before it was parked (EIO) |
  | `:exec_outcome` | the child was killed from outside between the checkpoint and the exec (EIO) |
  | `:malformed_ready` | the agent said something that it cannot have said (EPROTO) |
  | `:agent_died` | the agent ended without a report: the number is its exit status, 128 and the signal if killed, -1 if OTP did not get it |

  ## What a workload inherits

  Descriptors 0 to 2 and those of `:fds` and `:listen_fds`; every signal at its default and none
  blocked; umask 0022; the VM's environment without `RELEASE_COOKIE`; the VM's limits, ids,
  priorities and CPUs; a session of its own without a terminal. Each has an option. A workload
  with namespaces or ids of its own gets an empty session keyring (session-keyring(7)).

  ## How it ends

  The workload, and all that it started, dies with its session: when the workload itself ends,
  when the session stops for whatever reason (`Process.exit(session, :kill)` included), and when
  the VM is killed. Should the agent itself be killed with SIGKILL, the workload dies with it; of
  its descendants those in a pid namespace or a `:cgroup` of the session do too, while a process
  that left by a double fork lives on.

  Orphans of a workload that joined another process's pid namespace (`enter/2`, `:join`) become
  children of the init of that namespace. Those in the workload's own session (setsid(2)), and
  those that `stop/3` found below it, end with it. A daemon, which has a session of its own, ends
  with it under `init: true` only.

  Sources: clone(2), setns(2), execveat(2), pidfd_send_signal(2), prctl(2), cgroups(7),
  pid_namespaces(7).
  """

  @behaviour GenServer

  import Kernel, except: [spawn: 1]

  alias Linx.Native
  alias Linx.Process.{Error, Info, Like, Options, Run, Session, Signals, Status, Stream}

  @typedoc "A kind of namespace."
  @type namespace() :: :net | :mount | :pid | :uts | :ipc | :user | :cgroup | :time

  @typedoc "A session."
  @type t() :: pid()

  @type outcome() :: {:exited, non_neg_integer()} | {:signaled, pos_integer()} | :aborted

  # Cloning and parking takes milliseconds; a machine that needs longer gets its :ready later.
  @parked_timeout 10_000

  @child_spec_keys [:id, :restart, :shutdown]

  @doc """
  Makes a process and parks it before its first instruction.

  Returns when it is parked or has failed; the failure is the session's terminal event, so that
  the answer is `{:ok, session}` all the same. `{:error, reason}` is for wrong options, found
  before anything is started, and, as a `Linx.Process.Error` of the stage `:open_port`, for an
  agent that cannot be started (`:emfile`).

  ## Options

    * `:argv` (required): the workload and its arguments. The first is the absolute path of the
      file; `PATH` is not searched.
    * `:namespaces`: kinds to make fresh, of `t:namespace/0`. Default none. All but `:user` need
      CAP_SYS_ADMIN, or `:user` beside them. The mounts of a new mount namespace are made private:
      what is mounted there does not appear on the host, nor what is mounted on the host there.
    * `:propagation`: what the mounts of a new mount namespace are instead: `:slave` (mounts of
      the host's do appear there), `:shared`, or `:unchanged` (as they were: under a shared `/`,
      which is what systemd makes, they come and go on both sides, and what the workload's set-up
      mounts stays on the host). Source: mount_namespaces(7).
    * `:env`: the whole environment as `"KEY=VALUE"` strings. Without it the VM's is inherited,
      but for `RELEASE_COOKIE`. `{:clean, list}` is the list and a default `PATH` unless it has
      one.
    * `:cwd`: the working directory, as the workload's root sees it. Default: the VM's, or `/`
      where that lies outside the workload's root.
    * `:arg0`: what the workload sees as its name, instead of the path.
    * `:stdio`, `:pty`: see below.
    * `:uid`, `:gid`, `:groups`: numeric ids, set after everything that needs privilege. A uid or
      gid without `:groups` clears the supplementary groups. In a user namespace they are ids of
      that namespace; without `:uid` the workload becomes its root where that is mapped and the
      VM's own user is not.
    * `:no_new_privs`: true makes exec grant nothing (set-user-ID, file capabilities); default
      false.
    * `:rlimits`: such as `[nofile: 1024, core: {0, :infinity}]`, soft and hard or both at once,
      with the names of setrlimit(2) in lower case. Units are the kernel's.
    * `:umask`: default `0o022`.
    * `:join`: `{target, kinds}`: namespaces of another process, a host pid or a session, that the
      workload gets beside its new ones, such as
      `namespaces: [:mount, :pid], join: {pod, [:net, :uts, :ipc]}`. No kind may be in both.
      Errors are those of `enter/2`. A `Linx.Netns` is a target too, with `[:net]`; closed, it is
      `{:error, {:bad_join, netns}}`.
    * `:hostname`: 1 to 64 bytes, the name in a new uts namespace (`namespaces: [:uts]`), set
      before the checkpoint.
    * `:time_offsets`: `[monotonic: seconds, boottime: seconds]`, how far the clocks of a new time
      namespace (`namespaces: [:time]`) are ahead; negative is behind. Needs CAP_SYS_TIME in the
      user namespace that owns it, which `:user` beside it gives.
    * `:fds`: `[{number, source}]`, descriptors that the workload gets beside 0 to 2, numbers from
      3 on, at most 128. A source is a socket of `:socket`, `:gen_tcp` or `:gen_udp` (both inet
      backends), or a raw file of the caller's (`:raw`, without `:delayed_write`). It stays the
      VM's too, and may be closed there once `spawn/1` has returned: what both share is the open
      file, with its offset and its O_NONBLOCK, which OTP sets on sockets. No other descriptor of
      the VM's reaches the workload.
    * `:listen_fds`: sockets, or `{name, socket}`, that get the numbers from 3 on, and
      `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES` in the environment, as sd_listen_fds(3)
      reads them.
    * `:nice`: -20 (most favoured) to 19. Below the VM's it needs CAP_SYS_NICE or RLIMIT_NICE.
    * `:cpus`: a list or range of CPU numbers to run on. A CPU that the machine or the cpuset has
      not got is EINVAL.
    * `:oom_score_adj`: -1000 (never killed) to 1000 (first). Below the VM's it needs
      CAP_SYS_RESOURCE. It is written through the VM's `/proc`.
    * `:scheduler`: `:other`, `:batch`, `:idle`, `{:fifo, 1..99}`, `{:rr, 1..99}`, or
      `{:deadline, runtime: ns, deadline: ns, period: ns}` with 1024 <= runtime <= deadline <=
      period. The real-time ones need CAP_SYS_NICE or RLIMIT_RTPRIO, deadline CAP_SYS_NICE.
    * `:io_priority`: `:idle`, `{:best_effort, 0..7}` or `{:realtime, 0..7}`, 0 the highest;
      `:realtime` needs CAP_SYS_NICE or CAP_SYS_ADMIN.

      The agent sets these five on the parked workload, with the VM's privileges and before any
      change of ids. An option that is not given keeps the VM's value: nice value, CPUs,
      scheduling policy, I/O priority and `oom_score_adj` are inherited. The reaper of
      `init: true` keeps the VM's.
    * `:init`: true puts a small reaper between the session and the workload. In a pid namespace
      it is pid 1, forwards signals and reaps, so that SIGTERM ends a workload that has no handler
      for it. Before the workload executes the reaper gives up its descriptors, directory, ids and
      capabilities, and a filter leaves it the system calls of its loop. `host_pid/1` and every
      verb mean the workload, `Linx.Process.Info` names the reaper too. Default false.
    * `:cgroup`: absolute path of a cgroup v2 directory to start in. When the session ends, every
      process in it is killed (`cgroup.kill`; a threaded cgroup and Linux before 5.14 refuse it,
      and the descendants of the workload are killed alone). In one that was killed before, and
      where clone3(2) is refused, a process that starts the workload is there first and counts
      against `pids.max` for a moment.
    * `:orphan_policy`: what becomes of the workload and all that it started when the VM dies.
      `:kill` (default) at once, or `{:kill, grace}`: SIGTERM, and SIGKILL for whoever is left
      after `grace` milliseconds.
    * `:owner`: who gets the events, a pid or a registered name, which may move to another process
      meanwhile. Default: the caller.
    * `:id`: a term that names the session in OTP's reports. Default none; `child_spec/1` gives
      its own.
    * `:linger`: true (default) keeps the session after its end; false stops it with the exit
      reason that `child_spec/1` lists.
    * `:auto_proceed`: true goes past the checkpoint at once. Default false.

  ## Stdio

  `:stdio` is one word for all three descriptors, or a keyword list with `:stdin`, `:stdout`,
  `:stderr`:

    * `:inherit` (default): the VM's own. A workload that is handed the terminal of an `iex` may
      put characters into it.
    * `:devnull`
    * `:pipe`: output arrives as `{:linx_process, :stdout | :stderr, bytes}`; input goes through
      `stdin_write/2` and ends with `stdin_close/1`.
    * `{:connect_unix, path}`: a stream socket, connected when the workload goes, so that its
      listener may be made at the checkpoint. A path that is another kind of file already is
      `{:bad_stdio, stdio}`.
    * `:stdout` (only for stderr): the same pipe or file as standard output, so that what is
      written to both comes in order as `{:linx_process, :stdout, bytes}`.
    * `{:file, path, mode}`: `:read` for stdin, `:write` (truncates) or `:append` for the others.
      New files get 0666 less 0022. Standard output and error of one path share one open file;
      `:write` for one and `:append` for the other is refused.
    * `:pty` (only for all three): a terminal of its own, in a session of its own. Output arrives
      as `{:linx_process, :pty_out, bytes}`, input goes through `pty_write/2`. `:pty` as an option
      sets it up: `pty: [rows: 24, cols: 80, xpixel: 0, ypixel: 0, echo: true, onlcr: true]`.

  Paths are the VM's, also when the workload's root is another one. A fifo whose other end is not
  open, or a socket whose listener is behind, keeps the workload waiting for it, before its exec,
  and the session's verbs not.

  Output is read only as fast as the owner takes it: an owner that stops reading stops the
  workload, not the VM, and `wait/1` then waits for ever. How long the owner's mailbox is for
  other reasons costs the session nothing; while it holds more than 16 messages, output comes in
  small steps until the session has seen that it is read.

  With `enter/2` into, or a `:join` of, a mount namespace that has a devpts of its own at
  `/dev/pts`, the terminal is one of that devpts and has a name there; one that cannot be opened
  is an error of the stage `:posix_openpt` (ENOSPC: its `max=` is reached). Everywhere else it is
  one of the VM's devpts, which a container with another one has no name for. A devpts that is
  mounted at the checkpoint comes too late.

      iex> {:ok, session} = Linx.Process.spawn(argv: ["/bin/true"], auto_proceed: true)
      iex> Linx.Process.wait(session)
      {:ok, {:exited, 0}}

      iex> Linx.Process.spawn(argv: ["/bin/true"], namespaces: [:typo])
      {:error, {:bad_namespaces, [:typo]}}

  Sources: clone(2), namespaces(7), execveat(2), setrlimit(2), credentials(7).
  """
  @spec spawn(keyword()) :: {:ok, t()} | {:error, term()}
  def spawn(opts) do
    with {:ok, options} <- Options.parse(:spawn, opts) do
      case options.request do
        %{join: {target, kinds}} when is_pid(target) ->
          spawn_beside(target, kinds, options)

        request ->
          with {:ok, request} <- held(request), do: start(:spawn, {:spawn, request}, options)
      end
    end
  end

  # A network namespace without a process is joined by the VM's descriptor, whose inode number the
  # agent compares.
  defp held(%{join: {%{__struct__: Linx.Netns, handle: handle} = netns, _kinds}} = request) do
    case Native.netns_number(handle) do
      {:ok, {number, inode}} ->
        vm = String.to_integer(System.pid())
        {:ok, %{request | join: {vm, number, inode}}}

      {:error, _closed} ->
        {:error, {:bad_join, netns}}
    end
  end

  defp held(request), do: {:ok, request}

  defp spawn_beside(target, kinds, options) do
    with {:ok, host_pid} <- host_pid(target),
         {:ok, pin} <- pin(target) do
      start_checked(pin, options, [], &{:spawn, Map.put(&1, :join, {host_pid, kinds})})
    end
  end

  @doc """
  Makes a process inside the namespaces of another, and parks it like `spawn/1`.

  `target` is a host pid, or a session, which cannot be mistaken for another process that got its
  number.

  Takes the options of `spawn/1` but `:join`, `:hostname`, `:time_offsets` and `:propagation`,
  where `:namespaces` lists the kinds to join and defaults to all. Kinds that target and VM share
  are skipped. Without `:uid` the process becomes root of a user namespace that it joins, if that
  has one.

  `like: :target` gives the process what the target has, as `docker exec` does, each overridden by
  the option of its own: its cgroup (`:cgroup`), effective uid and gid (`:uid`, `:gid`) and groups
  (`:groups`) as its user namespace has them, `:no_new_privs`, and its five capability sets, which
  the verbs of `Linx.Capabilities` may lower further at the checkpoint. Where `:namespaces` leaves
  the target's user namespace out, the ids are those that the target has in the VM's, and the
  process has no capability, as the target has none there. An exec gives root its
  whole bounding set, so that of a root target is what the target is permitted. What the kernel
  does not give out stays: the process has none of the target's seccomp filters, limits or
  environment. Errors of its own: `{:bad_like, value}`; `%Linx.Process.Error{stage: :like}` where
  a file of the target cannot be read, `:cgroup` where no mount of the VM's shows its cgroup,
  `:setuid` or `:setgid` where its id has no name in its user namespace.

  With a session as target the process that was joined is compared with it at the checkpoint,
  before the workload runs, also with `auto_proceed: true`: `{:error, :no_process}` if it was
  another. What is in a `:cgroup` beside the process stays when the session ends: it is the
  target's.

  A namespace that cannot be joined is named by the stage of the terminal event: `:open_ns_<type>`
  (a target that does not exist is ENOENT there) or `:setns_<type>`.

  Source: setns(2).
  """
  @spec enter(pos_integer() | t(), keyword()) :: {:ok, t()} | {:error, term()}
  def enter(target, opts) when is_integer(target) and target in 1..0x7FFFFFFF do
    with {:ok, like, rest} <- Like.pop(opts),
         {:ok, options} <- Options.parse(:enter, rest) do
      case like && Native.pid_pin(target) do
        {:ok, pin} -> enter(target, pin, like, rest)
        # No process has pid 0: the agent reports the missing target.
        _ -> start(:enter, {:enter, target, options.request}, options)
      end
    end
  end

  def enter(target, opts) when is_pid(target) do
    with {:ok, host_pid} <- host_pid(target),
         {:ok, pin} <- pin(target),
         {:ok, like, opts} <- Like.pop(opts),
         do: enter(host_pid, pin, like, opts)
  end

  def enter(target, _opts), do: {:error, {:bad_target, target}}

  defp enter(host_pid, pin, like, opts) do
    with {:ok, _checked} <- Options.parse(:enter, opts),
         {:ok, opts, orders} <- like(like, pin, opts),
         {:ok, options} <- Options.parse(:enter, opts) do
      start_checked(pin, options, orders, &{:enter, host_pid, &1})
    end
  end

  defp like(nil, _pin, opts), do: {:ok, opts, []}
  defp like(:target, pin, opts), do: Like.resolve(pin, opts)

  # The agent finds the target by its number. At the checkpoint the session sees whether the
  # pinned process still has it, which proves that it had it before; only then does the session
  # proceed.
  defp start_checked(pin, options, orders, message) do
    request = %{options.request | auto_proceed: false}
    options = Map.merge(options, %{request: request, target: pin, orders: orders})
    message = message.(request)

    with {:ok, session} <- start(elem(message, 0), message, options) do
      if call(session, :entered) == :other, do: drop(session), else: {:ok, session}
    end
  end

  defp drop(session) do
    _ = stop(session, 0)
    {:error, :no_process}
  end

  defp start(mode, request, options) do
    with {:ok, session} <- GenServer.start_link(__MODULE__, {mode, request, options}) do
      await_parked(session, options)
      {:ok, session}
    end
  end

  # A session of checked options, for Linx.Process.Reader: without waiting for its checkpoint,
  # unless what it joins is to be checked there.
  @doc false
  @spec launch(Options.t()) :: {:ok, t()} | {:error, term()}
  def launch(options) do
    case options.request do
      %{join: {target, kinds}} when is_pid(target) ->
        spawn_beside(target, kinds, options)

      request ->
        with {:ok, request} <- held(request),
             do: GenServer.start_link(__MODULE__, {:spawn, {:spawn, request}, options})
    end
  end

  # A session that does not linger may have stopped already; its link says so.
  # A raw file is its owner's, the caller's, who must not close it before it is sent.
  defp await_parked(session, options) do
    timeout = if options.descriptors, do: :infinity, else: @parked_timeout
    GenServer.call(session, :await_parked, timeout)
  catch
    :exit, _reason -> :ok
  end

  @doc """
  Runs a workload to its end and collects its output.

  Takes the options of `spawn/1`, but `:owner`, `:linger`, `:fds` and `:listen_fds`; the workload
  runs at once, without a checkpoint. A stream that `:stdio` does not name is a pipe, and standard
  input is `/dev/null` unless there is `:input`. And:

    * `:input`: iodata for the standard input, which is closed after it. With `stdio: :pty` it is
      typed, and nothing is closed. Any size: it is written while the output is read.
    * `:timeout`: milliseconds until the workload and its tree are ended. Default `:infinity`.
    * `:max_output`: bytes of standard output and standard error together beyond which they are
      ended. Default `:infinity`: then the output is as large as the workload makes it.

  The answer is a map:

    * `:outcome`: as of `wait/1`;
    * `:stdout`, `:stderr`: all that came through pipes, as binaries. A terminal's output is in
      `:stdout`;
    * `:rusage`: as in `Linx.Process.Info`.

  The end is the workload's own: a process that it leaves behind, with the pipes open, is ended
  with the session and does not delay the answer. Nothing of the session reaches the caller's
  mailbox, and no other message in it is touched. When the caller is killed meanwhile, the session
  and its tree end.

  `{:error, reason}` is as from `spawn/1` for wrong options; a `Linx.Process.Error` when the
  workload did not run, as from `wait/1`; one of the stage `:timeout` (`:etimedout`) or
  `:max_output` (`:emsgsize`), whose `:output` is the map with what was read; or `:no_process`
  when somebody ended the session itself.

      iex> {:ok, run} =
      ...>   Linx.Process.run(argv: ["/bin/sh", "-c", "tr a-z A-Z; exit 3"], input: "quiet")
      iex> {run.outcome, run.stdout, run.stderr}
      {{:exited, 3}, "QUIET", ""}

      iex> {:error, error} =
      ...>   Linx.Process.run(argv: ["/bin/sh", "-c", "echo so far; sleep 60"], timeout: 500)
      iex> {error.stage, error.output.stdout}
      {:timeout, "so far\n"}

  Sources: pipe(7), wait4(2).
  """
  @spec run(keyword()) ::
          {:ok,
           %{outcome: outcome(), stdout: binary(), stderr: binary(), rusage: Info.rusage() | nil}}
          | {:error, Error.t() | term()}
  def run(opts), do: Run.run(opts)

  @doc """
  A workload's output as an enumerable, read as fast as it is consumed.

  Takes the options of `run/1`. Each enumeration is a session of its own. The elements are
  `{:stdout, bytes}`, `{:stderr, bytes}` or `{:pty, bytes}`, in pieces of any size, and last
  `{:exit, outcome}`. A consumer that is slow slows the workload.

  Halting the enumeration ends the session and its tree before it returns (`Enum.take/2`, an
  exception in the consumer); so does the death of the consumer.

  Wrong options raise `ArgumentError` at the call. A workload that cannot be started, a `:timeout`
  and a `:max_output` that is passed raise `Linx.Process.Error` in the enumeration, behind the
  output that came before.

      iex> Linx.Process.stream(argv: ["/bin/echo", "hello"]) |> Enum.to_list()
      [stdout: "hello\n", exit: {:exited, 0}]

      iex> [argv: ["/usr/bin/yes"]] |> Linx.Process.stream() |> Enum.take(1) |> length()
      1

  Source: pipe(7).
  """
  @spec stream(keyword()) :: Enumerable.t()
  def stream(opts), do: Stream.stream(opts)

  @doc """
  Sends what `listener` reads of a session beside its owner: its output from now on, and its end.

  The listener gets `{:linx_process, :tee, session, event}`, where `event` is `{:pty_out, bytes}`,
  `{:stdout, bytes}`, `{:stderr, bytes}` or an end: `{:exited, code}`, `{:signaled, signal}`,
  `{:aborted}`, `{:error, errno, stage}`.

  A listener has a credit of its own: with more than 256 KiB sent since its mailbox was last short
  (16 messages), the session waits for it, at most half a second, and then drops it with
  `{:linx_process, :tee_dropped, session}`; it gets nothing after that. A listener that ends, or
  is given to `untee/2`, is forgotten. The owner's own pace stays: without it nothing is read.

  A session has at most 16, `{:error, :too_many_listeners}`. `{:error, {:bad_listener, term}}` for
  anything but a pid of this node, `{:error, :no_process}` after the end.
  """
  @spec tee(t(), pid()) :: :ok | {:error, term()}
  def tee(session, listener) when is_pid(listener) and node(listener) == node(),
    do: call(session, {:tee, listener})

  def tee(_session, listener), do: {:error, {:bad_listener, listener}}

  @doc """
  Sends `listener` nothing more of the session. `:ok` also for one that gets nothing;
  `{:error, {:bad_listener, term}}` for what is no pid.
  """
  @spec untee(t(), pid()) :: :ok | {:error, :no_process | {:bad_listener, term()}}
  def untee(session, listener) when is_pid(listener), do: call(session, {:untee, listener})
  def untee(_session, listener), do: {:error, {:bad_listener, listener}}

  @doc """
  A supervisor's child specification that runs `spawn/1`.

  Takes its options, and `:id` (default `Linx.Process`), `:restart` (`:permanent`), `:shutdown`
  (5000 ms). `:linger` is false unless given, so that the session stops when the workload ends:

  | End | Exit reason | Restarted when `:transient` |
  |---|---|---|
  | exit 0 | `:normal` | no |
  | exit n | `{:exited, n}` | yes |
  | killed | `{:signaled, signal}` | yes |
  | aborted | `{:shutdown, :aborted}` | no |
  | setup failed | `{:error, %Linx.Process.Error{}}` | yes |

  The report of a bad end is short: a line names `:id` and the beginning of `:argv`, none of it
  the environment or a byte of input or output.

  Give `:owner`, or the events go to the supervisor, which drops them; and `auto_proceed: true`,
  unless that owner proceeds.
  """
  @spec child_spec(keyword()) :: Supervisor.child_spec()
  def child_spec(opts) do
    {controls, opts} = Keyword.split(opts, @child_spec_keys)
    opts = Keyword.put_new(opts, :linger, false)
    # A name that was given is in the session's reports too.
    opts = Keyword.take(controls, [:id]) ++ opts

    %{
      id: Keyword.get(controls, :id, __MODULE__),
      start: {__MODULE__, :spawn, [opts]},
      restart: Keyword.get(controls, :restart, :permanent),
      shutdown: Keyword.get(controls, :shutdown, 5_000),
      type: :worker
    }
  end

  @doc """
  Lets the parked child execute its workload.

  `:ok` says that it was told to; `:running` or an error arrives as an event. Before the
  checkpoint `{:error, :not_ready}`, after it `{:error, :running}`, after `abort/1` and after the
  end `{:error, :no_process}`.
  """
  @spec proceed(t()) :: :ok | {:error, term()}
  def proceed(session), do: call(session, :proceed)

  @doc """
  Ends a session before its workload runs.

  At the checkpoint at once; before it, as soon as it is reached. The end is
  `{:linx_process, :aborted}` and `{:ok, :aborted}` from `wait/1`. After `proceed/1`
  `{:error, :running}`, after the end `{:error, :no_process}`.
  """
  @spec abort(t()) :: :ok | {:error, :running | :no_process}
  def abort(session), do: call(session, :abort)

  @doc """
  Sends `signal`, a number or a name such as `:term`, to the workload.

  Options: `to: :workload` (default), `:group` (the process group that the workload leads) or
  `:tree` (the workload and all that it started).

  Signals before `:running` are kept and sent then, in order. After the end
  `{:error, :no_process}`. A refusal is an error of the stage `:signal`: `:eperm` for a workload
  that became another user, and `:etimedout` after 5 seconds for an agent that somebody stopped.
  `{:bad_signal, signal}` and `{:bad_option, {key, value}}` name a wrong argument. `:ok` does not
  say that the signal did anything: pid 1 of a pid namespace ignores those that it has no handler
  for (see `:init` of `spawn/1`), SIGKILL and SIGSTOP excepted.

  Sources: pidfd_send_signal(2), kill(2), signal(7).
  """
  @spec signal(t(), pos_integer() | atom(), to: :workload | :group | :tree) ::
          :ok | {:error, term()}
  def signal(session, signal, opts \\ []) do
    with {:ok, number} <- Signals.number(signal),
         {:ok, to} <- recipient(opts) do
      call(session, {:signal, number, to})
    end
  end

  defp recipient(opts) do
    with {:ok, to} <- single(opts, :to, :workload) do
      if to in [:workload, :group, :tree], do: {:ok, to}, else: {:error, {:bad_option, {:to, to}}}
    end
  end

  # The value of the one option that a verb has.
  defp single(opts, name, default) do
    with true <- Keyword.keyword?(opts) || {:error, {:bad_options, opts}},
         nil <- Enum.find(opts, fn {key, _value} -> key != name end) do
      {:ok, Keyword.get(opts, name, default)}
    else
      {:error, _reason} = error -> error
      other -> {:error, {:bad_option, other}}
    end
  end

  @doc """
  Ends the workload and all that it started: SIGTERM to each, with SIGCONT should it be stopped,
  and SIGKILL for whoever is left after `grace` milliseconds.

  Option: `signal:` in place of SIGTERM, a number or a name such as `:hup`. A `grace` that is no
  time raises `ArgumentError`.

  A parked session is aborted, and so is one whose child does not reach its checkpoint; one that
  was told to go and has not executed its workload yet is killed, which is `{:ok, {:signaled, 9}}`
  too. Answers like `wait/1`, once it is over. `{:error, %Linx.Process.Error{stage: :kill}}` says
  that processes were left 2 seconds after SIGKILL; `info/1` names them. Its errno is `:eperm`
  where they became another user's: then the grace is not waited for. The same error, 20 seconds
  after SIGKILL, is that of an agent that hangs in the kernel: at the path of an option in a file
  system that does not answer.
  """
  @spec stop(t(), timeout(), signal: pos_integer() | atom()) ::
          {:ok, outcome()}
          | {:error, Error.t() | :no_process | {:bad_signal | :bad_option | :bad_options, term()}}
  def stop(session, grace \\ 5_000, opts \\ []) do
    check_timeout!(:grace, grace)

    with {:ok, signal} <- single(opts, :signal, :term),
         {:ok, number} <- Signals.number(signal),
         do: call(session, {:stop, grace, number})
  end

  # The range of erlang:send_after/3.
  defp check_timeout!(_name, :infinity), do: :ok
  defp check_timeout!(_name, time) when is_integer(time) and time in 0..0xFFFFFFFF, do: :ok

  defp check_timeout!(name, time) do
    raise ArgumentError,
          "#{name} is milliseconds, 0 to 4294967295, or :infinity, not " <>
            "#{inspect(time, limit: 20)}"
  end

  @doc """
  Waits for the end.

    * `{:ok, {:exited, code}}`, `{:ok, {:signaled, signal}}`, `{:ok, :aborted}`;
    * `{:error, %Linx.Process.Error{}}`: the workload never ran;
    * `{:error, :timeout}` after `timeout` milliseconds; the session is not touched;
    * `{:error, :no_process}`: the session itself is gone.

  Any number of processes may wait, before or after the end.

  Waiting reads nothing. A workload whose output goes to the caller, through pipes or a terminal,
  ends when that is read; above some hundred kilobytes it stands still until then, and so does
  whoever waits before reading. `run/1` does both.
  """
  @spec wait(t(), timeout()) :: {:ok, outcome()} | {:error, term()}
  def wait(session, timeout \\ :infinity) do
    check_timeout!(:timeout, timeout)
    call(session, {:wait, timeout})
  end

  @doc "The session's state as a `Linx.Process.Info`, at any time."
  @spec info(t()) :: {:ok, Info.t()} | {:error, term()}
  def info(session), do: call(session, :info)

  @doc """
  The workload's pid in the host's pid namespace: what procfs paths and the other modules want.

  `{:error, :not_ready}` while there is none.
  """
  @spec host_pid(t()) :: {:ok, pos_integer()} | {:error, :not_ready | :no_process}
  def host_pid(session), do: call(session, :host_pid)

  @doc """
  Makes `new_owner` the one that gets the events from now on.

  Nothing is lost or sent twice in between: what was sent before went to the old owner, what comes
  after goes to the new one. An end that has passed is not repeated; `info/1` has it. A registered
  name will do for a pid; `{:error, {:bad_owner, term}}` for anything else.
  """
  @spec set_owner(t(), pid() | atom()) :: :ok | {:error, :no_process | {:bad_owner, term()}}
  def set_owner(session, new_owner)
      when is_pid(new_owner) or
             (is_atom(new_owner) and new_owner != nil and not is_boolean(new_owner)),
      do: call(session, {:set_owner, new_owner})

  def set_owner(_session, owner), do: {:error, {:bad_owner, owner}}

  # For Linx.Tty: the session's events go to `to` until it is taken back or `to` ends. Gives the
  # owner, and the output of the terminal that the owner may not have read, newest first. `:busy`
  # when it is lent already.
  @doc false
  @spec lend(t(), pid()) ::
          {:ok, {pid() | atom(), [binary()]}} | {:error, :busy | :no_pty | :no_process}
  def lend(session, to), do: call(session, {:lend, to})

  @doc false
  @spec take_back(t(), pid()) :: :ok | {:error, :no_process}
  def take_back(session, to), do: call(session, {:take_back, to})

  @doc """
  `{:ok, session}` if the workload has a terminal: the session is what reads and writes go
  through.
  """
  @spec pty_master(t()) :: {:ok, t()} | {:error, term()}
  def pty_master(session) do
    case call(session, :pty?) do
      true -> {:ok, session}
      false -> {:error, :no_pty}
      error -> error
    end
  end

  @doc """
  Types `bytes` into the workload's terminal.

  Never waits: what the terminal does not take at once is kept and follows in order.
  `{:error, :busy}` above 64 MiB of that, where each call counts for 64 bytes more than it writes,
  `{:error, :no_pty}` without a terminal, `{:error, :no_process}` after the end. A terminal in
  line mode drops what goes beyond 4095 bytes of a line (termios(3)).
  """
  @spec pty_write(t(), iodata()) :: :ok | {:error, term()}
  def pty_write(session, bytes), do: call(session, {:write, :pty, IO.iodata_to_binary(bytes)})

  @doc """
  Sets the terminal's size; the workload gets SIGWINCH if it changed.

  Takes `{rows, cols, xpixel, ypixel}` or a map with these keys, such as `Linx.Tty.WindowSize`.
  """
  @spec pty_set_winsize(
          t(),
          {non_neg_integer(), non_neg_integer(), non_neg_integer(), non_neg_integer()}
          | %{
              :rows => non_neg_integer(),
              :cols => non_neg_integer(),
              :xpixel => non_neg_integer(),
              :ypixel => non_neg_integer(),
              optional(any()) => any()
            }
        ) :: :ok | {:error, term()}
  def pty_set_winsize(session, {rows, cols, xpixel, ypixel})
      when rows in 0..0xFFFF and cols in 0..0xFFFF and xpixel in 0..0xFFFF and
             ypixel in 0..0xFFFF,
      do: call(session, {:winsize, {:winsize, rows, cols, xpixel, ypixel}})

  def pty_set_winsize(session, %{rows: rows, cols: cols, xpixel: xpixel, ypixel: ypixel}),
    do: pty_set_winsize(session, {rows, cols, xpixel, ypixel})

  def pty_set_winsize(_session, bad), do: {:error, {:bad_winsize, bad}}

  @doc """
  Writes to the standard input of a workload with `stdin: :pipe`.

  Never waits, as `pty_write/2`. `{:error, :no_pipe}` without a pipe, `{:error, :closed}` after
  `stdin_close/1`. What a workload that has closed its input does not take is dropped.
  """
  @spec stdin_write(t(), iodata()) :: :ok | {:error, term()}
  def stdin_write(session, bytes), do: call(session, {:write, :stdin, IO.iodata_to_binary(bytes)})

  @doc """
  Closes the standard input of a workload with `stdin: :pipe`, once all that was written is
  through.
  """
  @spec stdin_close(t()) :: :ok | {:error, term()}
  def stdin_close(session), do: call(session, :close_stdin)

  # The records that Linx.Capabilities and Linx.Seccomp send to the parked child:
  #
  #   {:drop_bounding, mask}, {:set_thread_sets, effective, permitted, inheritable},
  #   {:set_ambient, mask}, {:seccomp, sock_filters}
  #
  # Bounding drops are carried out at once, the rest on the way to the exec, in the order that
  # each needs.
  @doc false
  @spec command(t(), tuple()) :: :ok | {:error, :not_ready | :running | :no_process}
  def command(session, command), do: call(session, {:command, command})

  # The workload's process, pinned when it was made, for verbs that take a target.
  @doc false
  @spec pin(t()) :: {:ok, Native.pin()} | {:error, :not_ready | :no_process}
  def pin(session), do: call(session, :pin)

  # This module is the GenServer; what it does as one is in Linx.Process.Session.

  @doc false
  @impl GenServer
  defdelegate init(arguments), to: Session

  @doc false
  @impl GenServer
  defdelegate handle_call(request, from, state), to: Session

  @doc false
  @impl GenServer
  defdelegate handle_info(message, state), to: Session

  @doc false
  @impl GenServer
  defdelegate terminate(reason, state), to: Session

  @doc false
  @impl GenServer
  defdelegate format_status(status), to: Status, as: :format

  # The session never waits for anything while it handles a call, so neither needs its caller a
  # limit.
  defp call(session, request) do
    GenServer.call(session, request, :infinity)
  catch
    :exit, _reason -> {:error, :no_process}
  end
end
