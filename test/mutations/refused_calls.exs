run = ["mix", "test", "test/integration/process/refused_test.exs"]

[
  %{
    name: "clone-without-fall-back",
    promise: "A session starts where clone3(2) is refused.",
    file: "c_src_replacement/src/clone.rs",
    replace: "Err(Errno::NOSYS | Errno::PERM) => older_clone(",
    with: "Err(Errno::NOENT) => older_clone(",
    run: ["mix", "test", "test/integration/process/environments_test.exs"]
  },
  %{
    name: "getcwd-taken-for-reachable",
    promise: "A refused getcwd(2) is no proof that the working directory lies within the root.",
    file: "c_src_replacement/src/child.rs",
    replace: "        errno => Err(errno),\n    }\n}\n\n/// An id as",
    with: "        _ => Ok(true),\n    }\n}\n\n/// An id as",
    run: run
  },
  %{
    name: "ids-of-an-errno",
    promise: "A refused getuid(2) is not taken for the id of a user.",
    file: "c_src_replacement/src/child.rs",
    replace: "errno @ 1..=MOST_ERRNO => Err(Errno::from_raw_os_error(errno as i32)),",
    with: "_errno @ 1..=MOST_ERRNO => Ok(id),",
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
      "            if self.writer.is_closed() {\n                return self.vanish();\n            }\n            let ready",
    with: "            let ready",
    run: run
  }
]
