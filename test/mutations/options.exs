descriptors = ["mix", "test", "test/integration/process/descriptors_option_test.exs"]
schedule = ["mix", "test", "test/integration/process/schedule_test.exs"]
agent = ["cargo", "test", "-p", "linx_process", "--lib", "descriptors"]

[
  %{
    name: "fds-all-kept",
    promise: "Only the descriptors that were asked for outlive the exec.",
    file: "c_src_replacement/src/child.rs",
    replace:
      "        signals::close_on_exec_above(3).map_err(Stage::Descriptors.errno())?;\n" <>
        "        descriptors::keep(&options.fds.numbers)?;\n",
    with: "        descriptors::keep(&[3, 4, 5, 6, 7, 8, 9])?;\n",
    run: descriptors
  },
  %{
    name: "fds-not-kept",
    promise: "A descriptor that was asked for outlives the exec.",
    file: "c_src_replacement/src/descriptors.rs",
    replace: "fcntl_setfd(borrow(number), FdFlags::empty())",
    with: "fcntl_setfd(borrow(number), FdFlags::CLOEXEC)",
    run: descriptors
  },
  %{
    name: "fds-agent-peer",
    promise: "The agent takes descriptors from no process but the VM.",
    file: "c_src_replacement/src/descriptors.rs",
    replace: "peer.pid.as_raw_nonzero().get() == vm && peer.uid == geteuid()",
    with: "peer.uid == geteuid() && vm != 0",
    run: agent
  },
  %{
    name: "fds-vm-peer",
    promise: "The VM sends descriptors to no process but the agent.",
    file: "lib/linx/process/descriptors.ex",
    replace: "{:ok, <<^agent::32-native, _uid::32, _gid::32>>} -> :ok",
    with: "{:ok, <<_pid::32-native, _uid::32, _gid::32>>} when agent > 0 -> :ok",
    run: descriptors
  },
  %{
    name: "listen-pid-agent",
    promise: "LISTEN_PID is the workload's pid, not another process's.",
    file: "c_src_replacement/src/environment.rs",
    replace: "let pid = rustix::process::getpid().as_raw_nonzero();",
    with: "let pid = rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get());",
    run: descriptors
  },
  %{
    name: "listen-inherited",
    promise: "`LISTEN_*` of the given environment do not reach a workload with listen_fds.",
    file: "c_src_replacement/src/environment.rs",
    replace: "        pointers.retain(|&entry| !is_of_listeners(entry));\n",
    with: "        pointers.retain(|&entry| !is_of_listeners(entry) || count > &0);\n",
    run: descriptors
  },
  %{
    name: "cpus-dropped",
    promise: "A CPU that is not there is an error, not left out.",
    file: "c_src_replacement/src/schedule.rs",
    replace: "    if given == wanted {",
    with: "    if given == wanted || given != [0; MAX_CPUS / 64] {",
    run: schedule
  },
  %{
    name: "schedule-of-the-reaper",
    promise: "Priorities are set on the workload, not on its reaper.",
    file: "c_src_replacement/src/session.rs",
    replace: "        self.schedule.apply(self.workload(), pid)\n",
    with:
      "        self.schedule.apply(self.pidfd.as_fd(), if pid == 0 { pid } else { self.pid })\n",
    run: schedule
  },
  %{
    name: "hostname-unset",
    promise: "The new uts namespace has its name before the workload runs.",
    file: "c_src_replacement/src/child.rs",
    replace: "rustix::system::sethostname(name).map_err(Stage::Hostname.errno())?;",
    with: "let _ = name;",
    run: schedule
  },
  %{
    name: "time-stage",
    promise: "Offsets that the kernel refuses are an error of their own stage.",
    file: "c_src_replacement/src/enter.rs",
    replace: "        let stage = Stage::TimeOffsets;\n",
    with: "        let stage = Stage::Clone;\n",
    run: schedule
  },
  %{
    name: "join-cgroup-only",
    promise: "join: takes the namespaces of the target that it names.",
    file: "c_src_replacement/src/start.rs",
    replace: ".or(options.join);",
    with:
      ".or(options.join.map(|join| match join {\n" <>
        "        Join::Process { pid, .. } => Join::Process { pid, mask: libc::CLONE_NEWUTS " <>
        "as u32 },\n" <>
        "        other => other,\n    }));",
    run: schedule
  },
  %{
    name: "pty-of-target",
    promise: "A visitor's terminal has a name in the target.",
    file: "c_src_replacement/src/target_pty.rs",
    replace: "Ok((found.f_type == DEVPTS && device != vm).then_some(directory))",
    with: "Ok((found.f_type == DEVPTS && device != vm && vm == 0).then_some(directory))",
    run: ["mix", "test", "test/integration/process/target_pty_test.exs"]
  },
  %{
    name: "pty-proven",
    promise: "What is no devpts is not opened for a terminal.",
    file: "c_src_replacement/src/target_pty.rs",
    replace: "(found.f_type == DEVPTS && device != vm)",
    with: "(found.f_type != 0 && device != vm)",
    run: ["mix", "test", "test/integration/process/target_pty_test.exs"]
  },
  %{
    name: "pty-covered",
    promise: "What is mounted over the ptmx of a devpts is not opened.",
    file: "c_src_replacement/src/target_pty.rs",
    replace: "        | ResolveFlags::NO_XDEV\n",
    with: "",
    run: ["mix", "test", "test/integration/process/target_pty_test.exs"]
  },
  %{
    name: "pty-owner",
    promise: "A visitor's terminal is its own by the ids of the target's user namespace.",
    file: "c_src_replacement/src/target_pty.rs",
    replace: "        set_file_ids();\n",
    with: "        let _ = set_file_ids;\n",
    run: ["mix", "test", "test/integration/process/target_pty_test.exs"]
  }
]
