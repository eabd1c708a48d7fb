test = ["mix", "test", "test/integration/process/environments_test.exs"]
only = fn name -> test ++ ["--only", "test:test " <> name] end

[
  %{
    name: "env-hidden-tree",
    promise: "A /proc that hides the reaper does not keep what is below it alive.",
    file: "c_src_replacement/src/tree.rs",
    replace: "if self.depth != 0 || !self.lists_children {",
    with: "if self.depth != 0 || !self.lists_children || self.own != 0 {",
    run: only.("as an ordinary user whom /proc hides others' processes from, sessions work")
  },
  %{
    name: "env-hidden-signal",
    promise: "A /proc that hides the reaper does not keep a signal from what is below it.",
    file: "c_src_replacement/src/kill.rs",
    replace: "            tree.add_child_of(&mut members, workload, reaper);\n",
    with: "            let _ = (workload, reaper);\n",
    run: only.("as an ordinary user whom /proc hides others' processes from, sessions work")
  },
  %{
    name: "env-memfd-exec",
    promise: "The image's memory may be executed where vm.memfd_noexec is 1.",
    file: "native/linx_sys/src/image.rs",
    replace: "match memfd_create(c\"linx_process\", flags | MemfdFlags::EXEC) {",
    with: "match memfd_create(c\"linx_process\", flags) {",
    run: only.("with vm.memfd_noexec 1 sessions work")
  },
  %{
    name: "env-memfd-2",
    promise: "Where vm.memfd_noexec is 2 the image is behind a read-only mount.",
    file: "native/linx_sys/src/image.rs",
    replace: "read_only(path).map_err(|_| refused)?",
    with: "read_only(path).and(Err(refused))?",
    run: only.("with vm.memfd_noexec 2 sessions work")
  },
  %{
    name: "env-outer-proc",
    promise: "In a VM with an outer /proc a session's files are its own.",
    file: "native/linx_sys/src/pin.rs",
    replace: "        let directory = pidfd::directory(self.pidfd(), stage);",
    with:
      "        let directory = rustix::fs::open(format!(\"/proc/{}\", self.pid), " <>
        "OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).map_err(stage.errno());",
    run: only.("in a pid namespace with an outer /proc sessions work")
  },
  %{
    name: "env-no-proc",
    promise: "Without /proc the agent finds the session's tree in a procfs of its own.",
    file: "c_src_replacement/src/tree.rs",
    replace: "            Err(errno) => detached_procfs()\n",
    with: "            Err(errno) => Err::<OwnedFd, _>(errno)\n",
    run: only.("without /proc sessions work")
  },
  %{
    name: "env-process-1",
    promise: "A VM that is process 1 is its agents' VM all the same.",
    file: "c_src_replacement/src/descriptors.rs",
    replace: "Ok(peer.pid.as_raw_nonzero().get() == vm && peer.uid == geteuid())",
    with:
      "if vm == 1 {\n        return Err(Errno::PERM);\n    }\n    " <>
        "Ok(peer.pid.as_raw_nonzero().get() == vm && peer.uid == geteuid())",
    run: only.("as process 1 of a pid namespace with its own /proc sessions work")
  },
  %{
    name: "env-ordinary-user",
    promise: "The parked child of a VM without privileges does not hide from it.",
    file: "c_src_replacement/src/start.rs",
    replace: "hidden: is_visitor || capability::sees_hidden_processes(),",
    with: "hidden: is_visitor || capability::sees_hidden_processes() || true,",
    run: only.("as an ordinary user sessions work, and ids of another user are refused by name")
  },
  %{
    name: "env-docker",
    promise: "A session starts behind the profile that answers clone3(2) with ENOSYS.",
    file: "c_src_replacement/src/clone.rs",
    replace: "Err(Errno::NOSYS | Errno::PERM) if cgroup.is_none()",
    with: "Err(Errno::PERM) if cgroup.is_none()",
    run:
      only.(
        "behind a container engine's default seccomp profile and capabilities Docker's: " <>
          "sessions work, namespaces are refused by name, and the doctor tells the cause"
      )
  },
  %{
    name: "cgroup-without-clone3",
    promise: "Without clone3(2) the workload is born in its cgroup, behind a reaper as well.",
    file: "c_src_replacement/src/start.rs",
    replace: "        false => Birthplace::Ours(directory),\n",
    with: "        false => Birthplace::Named(directory),\n",
    run: ["mix", "test", "test/integration/process/old_kernel_test.exs"]
  }
]
