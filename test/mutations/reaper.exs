init = "c_src_replacement/src/init.rs"
child = "c_src_replacement/src/child.rs"
start = "c_src_replacement/src/start.rs"
reaper = ["mix", "test", "test/integration/process/reaper_test.exs"]
hostile = ["mix", "test", "test/integration/hostile"]
limits = ["mix", "test", "test/integration/process/limits_test.exs"]
identity = ["mix", "test", "test/integration/process/identity_test.exs"]

[
  %{
    name: "reaper-directory",
    promise: "The reaper's working directory is the root of the workload.",
    file: init,
    replace: "        chdir(c\"/\").map_err(&init)?;\n",
    with: "",
    run: reaper
  },
  %{
    name: "reaper-capabilities",
    promise: "The reaper has no capabilities.",
    file: init,
    replace: "        capability::drop_all().map_err(&init)?;\n",
    with: "",
    run: reaper
  },
  %{
    name: "reaper-bounding-set",
    promise: "The reaper's bounding set holds no more than the workload's.",
    file: init,
    replace: "        capability::drop_bounding(dropped)?;\n",
    with: "        let _ = dropped;\n",
    run: reaper
  },
  %{
    name: "reaper-ids",
    promise: "The reaper has the workload's ids and groups.",
    file: init,
    replace: "        change_identity(self.plan, false)?;\n",
    with: "",
    run: reaper
  },
  %{
    name: "reaper-descriptors",
    promise: "The reaper holds no descriptor.",
    file: init,
    replace: "        signals::close_above(0, Some(self.gate.as_fd())).map_err(&init)?;\n",
    with: "",
    run: reaper
  },
  %{
    name: "reaper-no-new-privs",
    promise: "The reaper is never started before its filter is on.",
    file: init,
    replace: "        seccomp::install_plain(filter).map_err(&init)",
    with: "        let _ = filter;\n        Ok(())",
    run: reaper
  },
  %{
    name: "reaper-dumpable",
    promise: "Nobody without privileges traces the reaper or reads its memory.",
    file: init,
    replace: "DumpableBehavior::NotDumpable).map_err(&init)?;\n        set_no_new_privs",
    with: "DumpableBehavior::Dumpable).map_err(&init)?;\n        set_no_new_privs",
    run: hostile
  },
  %{
    name: "reaper-waits-for-no-one",
    promise: "The workload executes only when its reaper has given up all it had.",
    file: init,
    replace: "if received(&self.socket).is_some() || !page.reaper_is_ready() {",
    with: "if false {",
    run: reaper
  },
  %{
    name: "executed-behind-a-reaper",
    promise: "A workload behind a reaper that died before its exec never ran.",
    file: "c_src_replacement/src/session.rs",
    replace: "            true => Some(false),\n",
    with: "            true => None,\n",
    run: reaper
  },
  %{
    name: "session-is-its-reaper",
    promise: "A session's signals go to its workload, not to the reaper.",
    file: "c_src_replacement/src/session.rs",
    replace: "            .map_or(self.pidfd.as_fd(), AsFd::as_fd)",
    with: "            .map_or(self.pidfd.as_fd(), |_| self.pidfd.as_fd())",
    run: reaper
  },
  %{
    name: "visitor-dumpable",
    promise:
      "Root of the target cannot trace or read a visitor at its checkpoint (CVE-2016-9962).",
    file: child,
    replace: "set_dumpable_behavior(DumpableBehavior::NotDumpable)",
    with: "set_dumpable_behavior(DumpableBehavior::Dumpable)",
    run: hostile
  },
  %{
    name: "session-keyring",
    promise: "A container's workload has none of the keys of the VM's session keyring.",
    file: child,
    replace: "        if is_another(plan) {",
    with: "        if false && is_another(plan) {",
    run: hostile
  },
  %{
    name: "groups-enter",
    promise: "The VM's supplementary groups do not enter a user namespace.",
    file: start,
    replace: "    match set_thread_groups(&[]) {\n        Ok(()) => Ok(Some(groups)),",
    with: "    match Ok(()) {\n        Ok(()) => Ok(Some(groups)),",
    run: identity
  },
  %{
    name: "groups-lost",
    promise: "The agent has its groups again after the clone.",
    file: start,
    replace: "                set_thread_groups(&groups).map_err(Stage::Setgroups.errno())?;",
    with: "                let _ = groups;",
    run: identity
  },
  %{
    name: "sets-raised",
    promise: "A capability that one call dropped is not raised by a later one.",
    file: "c_src_replacement/src/capability.rs",
    replace: "            Some(sets) => sets,\n            None => current()",
    with:
      "            Some(_) => current().map_err(Stage::CapSetThread.errno())?,\n            " <>
        "None => current()",
    run: identity
  },
  %{
    name: "workload-exchanged",
    promise: "Whoever traces a parked child cannot exchange the process that its session means.",
    file: "c_src_replacement/src/session.rs",
    replace: "ChildMessage::Workload(pidfd) if self.init && self.workload.pidfd.is_none() => {",
    with: "ChildMessage::Workload(pidfd) => {",
    run: reaper
  },
  %{
    name: "second-checkpoint",
    promise: "Whoever traces a parked child cannot announce a second checkpoint.",
    file: "c_src_replacement/src/session.rs",
    replace: "ChildMessage::Parked(_) if self.was_parked => {",
    with: "ChildMessage::Parked(_) if false => {",
    run: reaper
  },
  %{
    name: "sets-without-a-model",
    promise: "Any sequence of the capability verbs ends as capset(2) says.",
    file: "c_src_replacement/src/capability.rs",
    replace: "        self.ambient = self.ambient.map(|mask| mask & permitted & inheritable);\n",
    with: "        let _ = (permitted, inheritable);\n",
    run: ["mix", "test", "test/integration/process/capability_orders_test.exs"]
  },
  %{
    name: "end-by-abort",
    promise: "A child that cannot leave by a system call ends itself and signals nobody.",
    file: "c_src_replacement/src/last_words.rs",
    replace: "libc::syscall(libc::SYS_exit_group, status) };\n    trap()",
    with: "libc::syscall(libc::SYS_exit_group, status) };\n    std::process::abort()",
    run: limits
  },
  %{
    name: "reaper-traced",
    promise: "A reaper that is traced with every capability makes no system call for its tracer.",
    file: init,
    replace: "    let refusal = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;",
    with: "    let refusal = libc::SECCOMP_RET_ALLOW;",
    run: hostile
  },
  %{
    name: "reaper-stopped",
    promise: "A workload that stops its reaper and ends has its own status.",
    file: "c_src_replacement/src/session.rs",
    replace: "            if has_left_others {",
    with: "            if false {",
    run: reaper
  },
  %{
    name: "reaper-killed-before-the-status",
    promise: "A workload that ended by itself is not told as killed when its grace is over.",
    file: "c_src_replacement/src/session/ending.rs",
    replace: "        if self.awaits_status() {\n            return;",
    with: "        if false {\n            return;",
    run: reaper
  },
  %{
    name: "cgroup-killed-before-the-status",
    promise:
      "A session's cgroup is not killed before the reaper in it knows the workload's status.",
    file: "c_src_replacement/src/session/ending.rs",
    replace: "        if !self.awaits_status() {",
    with: "        if true {",
    run: reaper
  },
  %{
    name: "reaper-taken-for-another",
    promise: "The reaper is told from its descendants without a descriptor left to ask with.",
    file: "c_src_replacement/src/tree.rs",
    replace: "        if let Some(pid) = self.pid.get() {",
    with: "        if let Some(pid) = self.pid.get().filter(|_| false) {",
    run: reaper
  },
  %{
    name: "reaper-killed-by-visitor",
    promise: "A visitor that kills its reaper and refuses to die with it ends with its session.",
    file: "c_src_replacement/src/session/ending.rs",
    replace: "        let orphan = self.kill_orphan();",
    with: "        let orphan = self.workload.pidfd.as_ref().map_or(Ok(()), |_| Ok(()));",
    run: reaper
  },
  %{
    name: "status-of-successor",
    promise: "The status is the workload's, not that of an orphan which has its number later.",
    file: init,
    replace: "Ok(pid) if pid == workload && !has_ended => {",
    with: "Ok(pid) if pid == workload || has_ended && pid == workload => {",
    run: reaper
  },
  %{
    name: "message-unknown",
    promise: "What is no message of a child's ends its session.",
    file: "c_src_replacement/src/checkpoint.rs",
    replace: "        _ => ChildMessage::Unknown,",
    with: "        _ => ChildMessage::Closed,",
    run: reaper
  },
  %{
    name: "pin-of-successor",
    promise: "A session with a reaper pins its workload, not whoever got the number after it.",
    file: "lib/linx/process/session.ex",
    replace: "pin: if(errno != 3, do: pin)}",
    with: "pin: if(errno >= 0, do: pin)}",
    run: ["mix", "test", "test/integration/process/fake_agent_test.exs"]
  },
  %{
    name: "pin-of-another-life",
    promise:
      "A pin is the process that the agent's descriptor shows, not whoever got the number " <>
        "after it.",
    file: "lib/linx/process/session.ex",
    replace: "if Native.pid_identity(pin) == identity, do: state,",
    with: "if Native.pid_identity(pin) != 0, do: state,",
    run: ["mix", "test", "test/integration/process/fake_agent_test.exs"]
  }
]
