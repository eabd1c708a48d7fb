defmodule Linx.Process.Explain.Stages do
  @moduledoc false
  # A text for each stage, whatever its errno: the system call or the condition that the name of
  # the stage stands for, and the limit or the filter that an errno of it points to.

  @refused [:eperm, :eacces, :enosys]
  @full [:emfile, :enfile]

  @texts %{
    posix_openpt:
      "no terminal can be opened at the /dev/ptmx of the VM, or at the /dev/pts/ptmx of the " <>
        "target",
    ptsetup: "the terminal's modes, its size, or unlockpt(3)",
    pts_open: "the workload's end of the terminal (TIOCGPTPEER, ioctl_tty(2))",
    pipe2: "pipes and sockets of the session",
    cgroup: "the directory of :cgroup",
    clone: "clone3(2) and clone(2), or the parent-death signal of the child",
    dumpable: "PR_SET_DUMPABLE(2const) of the child, without which others may trace it",
    descriptors: "closing what the child does not get: close_range(2), and close(2) of each",
    signals:
      "dispositions and mask of the child: rt_sigaction(2), rt_sigprocmask(2); signalfd(2) " <>
        "of the agent",
    propagation: "the propagation of the new mount namespace's mounts: mount(2) of /",
    init:
      "the reaper of init: true: its start, or what it gives up (ids, capabilities, " <>
        "directory, filter)",
    fork: "the clone in the namespaces that were joined",
    image:
      "the agent runs from a plain file, which a workload could write to: the machine " <>
        "allows neither memory that may be " <>
        "executed (vm.memfd_noexec, a filter) nor a mount of the VM's own; " <>
        "Linx.Doctor.print/0 says more",
    stdio: "the workload's descriptors 0 to 2: a socket, a file, the controlling terminal",
    rlimit: "setrlimit(2)",
    nice: "setpriority(2)",
    cpus: "sched_setaffinity(2)",
    oom_score_adj: "the workload's oom_score_adj below the VM's /proc",
    scheduler: "sched_setattr(2), sched_setscheduler(2)",
    io_priority: "ioprio_set(2)",
    time_offsets:
      "/proc/self/timens_offsets of the child: a /proc of another pid namespace, or none",
    hostname: "sethostname(2) in the new uts namespace",
    fds: "passing the descriptors of :fds and :listen_fds, or giving them their numbers",
    chdir: "the working directory",
    cap_drop_bounding: "PR_CAPBSET_DROP(2const)",
    cap_set_thread: "capset(2)",
    cap_set_ambient: "PR_CAP_AMBIENT(2const)",
    setgroups: "setgroups(2), getgroups(2)",
    setgid: "setresgid(2)",
    setuid: "setresuid(2)",
    keyring: "an empty session keyring: keyctl(2), KEYCTL_JOIN_SESSION_KEYRING(2const)",
    seccomp_no_new_privs: "PR_SET_NO_NEW_PRIVS(2const)",
    seccomp_install:
      "seccomp(2): filters of the workload that are malformed, or longer together than the " <>
        "kernel takes",
    execve: "execve(2)",
    malformed_request: "the agent does not understand the VM: two versions of Linx",
    request_too_big: "argv and environment are above 8 MiB",
    command_too_big: "an order at the checkpoint is above 256 KiB",
    ready_frame: "the child was killed from outside before its checkpoint, or somebody traces it",
    exec_outcome: "the child was killed from outside between its checkpoint and its exec",
    malformed_ready: "the agent said something that it cannot have said",
    agent_died: "somebody killed the agent, or it cannot run on this machine",
    open_port: "the agent cannot be started",
    subreaper:
      "PR_SET_CHILD_SUBREAPER(2const), without which the tree of a session cannot be ended",
    umask: "umask(2)",
    poll: "poll(2) and ppoll(2), without which the agent cannot wait",
    wait: "waitid(2) and wait4(2), without which no end is seen",
    signal: "pidfd_send_signal(2) and kill(2)",
    kill: "processes of the session are left; info/1 names them in :left",
    like: "a file of the target below the VM's /proc",
    timeout: "the time of :timeout is over",
    max_output: "the workload wrote more than :max_output"
  }

  @doc "The text of `stage` with `errno`, for a session of `subject`."
  @spec text(atom(), atom(), Linx.Process.Subject.t()) :: String.t() | nil
  def text(:kill, :eperm, _subject),
    do: "processes of the session became another user's, and go on; info/1 names them in :left"

  def text(:kill, :etimedout, _subject),
    do: "processes of the session are left 2 seconds after SIGKILL; info/1 names them in :left"

  def text(:signal, :eperm, _subject), do: "the workload became another user's"

  def text(:signal, :etimedout, _subject),
    do: "the agent did not answer within 5 seconds: somebody stopped it"

  def text(:fds, :emfile, _subject),
    do:
      "a number of :fds is not below the limit on descriptors of the agent (RLIMIT_NOFILE " <>
        "of the VM)"

  def text(:fds, :ebadf, _subject), do: "a source of :fds or :listen_fds was closed meanwhile"

  def text(:posix_openpt, :enospc, _subject),
    do: "the limit on terminals is reached: kernel.pty.max (sysctl), or max= of the devpts' mount"

  def text(:keyring, :edquot, _subject),
    do: "the quota of keys is reached: kernel.keys.maxkeys, kernel.keys.maxbytes (sysctl)"

  def text(:setgroups, :einval, _subject),
    do: "one of :groups is not mapped in the workload's user namespace"

  def text(:hostname, :eperm, _subject),
    do:
      "a filter of the VM's refuses sethostname(2), or CAP_SYS_ADMIN in the user namespace " <>
        "of the new uts namespace lacks"

  def text(:fork, :eagain, _subject),
    do: "a limit on processes is reached: RLIMIT_NPROC, pids.max of a cgroup, kernel.pid_max"

  def text(:fork, :enomem, _subject),
    do: "the pid namespace that was joined has ended, or there is no memory"

  def text(:compare_ns, _errno, subject) do
    "whether the namespaces of process #{subject.target} are the VM's own cannot be found " <>
      "out: the kernel is older than " <>
      "6.11 and /proc is not that of the VM's pid namespace"
  end

  def text(stage, errno, _subject) when errno in @full and is_map_key(@texts, stage),
    do:
      @texts[stage] <>
        "; a limit on descriptors is reached: RLIMIT_NOFILE of the VM, fs.file-max (sysctl)"

  # Calls that need no privilege: only a filter refuses them.
  def text(stage, errno, _subject)
      when errno in @refused and
             stage in [
               :dumpable,
               :descriptors,
               :signals,
               :init,
               :keyring,
               :seccomp_no_new_privs,
               :subreaper,
               :umask,
               :poll,
               :wait
             ],
      do: @texts[stage] <> "; a seccomp filter of the VM's refuses it, or a security module"

  def text(stage, _errno, subject) do
    case Atom.to_string(stage) do
      "open_ns_" <> kind -> "the #{kind} namespace of process #{subject.target}"
      "setns_" <> kind -> "joining the #{kind} namespace of process #{subject.target}: setns(2)"
      _ -> @texts[stage]
    end
  end
end
