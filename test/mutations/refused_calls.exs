run = ["mix", "test", "test/integration/process/refused_test.exs"]

[
  %{
    name: "clone-without-fall-back",
    promise: "A session starts where clone3(2) is refused.",
    file: "c_src_replacement/src/clone.rs",
    replace: "Err(Errno::NOSYS | Errno::PERM) if cgroup.is_none()",
    with: "Err(Errno::NOENT) if cgroup.is_none()",
    run: ["mix", "test", "test/integration/process/environments_test.exs"]
  },
  %{
    name: "getcwd-taken-for-reachable",
    promise: "A refused getcwd(2) is no proof that the working directory lies within the root.",
    file: "c_src_replacement/src/child.rs",
    replace: "        errno => Err(errno),\n    }\n}\n\n/// Checks the result of getuid(2)",
    with: "        _ => Ok(true),\n    }\n}\n\n/// Checks the result of getuid(2)",
    run: run
  },
  %{
    name: "ids-of-an-errno",
    promise: "A refused getuid(2) is not taken for the id of a user.",
    file: "c_src_replacement/src/child.rs",
    replace: "errno @ 1..=MAX_ERRNO => Err(Errno::from_raw_os_error(errno as i32)),",
    with: "_errno @ 1..=MAX_ERRNO => Ok(id),",
    run: run
  },
  %{
    name: "identity-dropped",
    promise: "A refused change to the root of the user namespace ends the session.",
    file: "c_src_replacement/src/child.rs",
    replace: "        Err(Errno::INVAL) if !asked => Ok(()),",
    with: "        Err(_) if !asked => Ok(()),",
    run: run
  },
  %{
    name: "reaper-without-wait",
    promise: "A reaper that cannot wait is an error before the workload runs.",
    file: "c_src_replacement/src/init.rs",
    replace: "            Err(Errno::CHILD) | Ok(_) => {}\n",
    with: "            Err(_) | Ok(_) => {}\n",
    run: run
  },
  %{
    name: "umask-unchecked",
    promise: "A refused umask(2) is an error.",
    file: "c_src_replacement/src/lib.rs",
    replace: "    if umask(mode) == mode {",
    with: "    if umask(mode) == mode || true {",
    run: run
  },
  %{
    name: "deaf-writer",
    promise: "An agent whose VM takes nothing ends all and itself.",
    file: "c_src_replacement/src/session.rs",
    replace:
      "            if self.writer.is_closed() {\n                return " <>
        "self.end_unreported();\n            }\n            let ready",
    with: "            let ready",
    run: run
  },
  %{
    name: "close-range",
    promise: "A refused close_range(2) leaves no descriptor open.",
    file: "c_src_replacement/src/signals.rs",
    replace: "Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => one_by_one(first, last, flags),",
    with: "Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => Ok(()),",
    run: run
  },
  %{
    name: "pidfd-send-signal",
    promise: "A refused pidfd_send_signal(2) does not keep the workload alive.",
    file: "c_src_replacement/src/kill.rs",
    replace: "Err(Errno::NOSYS | Errno::PERM) => kill_by_number(pid, number),",
    with: "Err(Errno::NOSYS | Errno::PERM) => Ok(()),",
    run: run
  },
  %{
    name: "waitid",
    promise: "A refused waitid(2) does not hide the workload's end.",
    file: "c_src_replacement/src/wait.rs",
    replace:
      "Err(Errno::NOSYS | Errno::PERM) => Ok(wait4(-1, libc::WNOHANG)?.map(Dead::Reaped)),",
    with: "Err(Errno::NOSYS | Errno::PERM) => Ok(None),",
    run: run
  },
  %{
    name: "poll",
    promise: "A refused poll(2) keeps no processor busy.",
    file: "c_src_replacement/src/poll.rs",
    replace: "        Err(Errno::NOSYS | Errno::PERM) => other_poll(fds, limit),",
    with:
      "        Err(Errno::NOSYS | Errno::PERM) => {\n            let _ = other_poll(&mut " <>
        "[], limit);\n            Ok(0)\n        }",
    run: run
  },
  %{
    name: "rt-sigtimedwait",
    promise: "A reaper that cannot wait for signals is an error before the workload runs.",
    file: "c_src_replacement/src/init.rs",
    replace: "            Err(Errno::AGAIN) | Ok(_) => {}\n",
    with: "            Err(_) | Ok(_) => {}\n",
    run: run
  },
  %{
    name: "memfd-create",
    promise:
      "A refused memfd_create(2) is no session in namespaces of others from a file that " <>
        "they can write to.",
    file: "c_src_replacement/src/image.rs",
    replace: "        return Err(Stage::Image.fault(errno));",
    with: "        let _ = errno;",
    run: ["mix", "test", "test/integration/process/image_test.exs"]
  },
  %{
    name: "setgroups-dropped",
    promise: "A refused setgroups(2) is an error for whoever asked for ids.",
    file: "c_src_replacement/src/child.rs",
    replace: "Err(errno) if implied => Err(Stage::Setgroups.errno()(errno)),",
    with:
      "Err(errno) if implied && errno == Errno::NOENT => Err(Stage::Setgroups.errno()(errno)),",
    run: run
  },
  %{
    name: "signalfd4",
    promise: "An agent that cannot start says at which stage.",
    file: "c_src_replacement/src/lib.rs",
    replace: "        Err(fault) => serve::refuse(reader, writer, fault),",
    with: "        Err(fault) => return Err(Errno::from_raw_os_error(fault.errno)),",
    run: run
  }
]
