pidfd = "native/linx_sys/src/pidfd.rs"
ns = "native/linx_sys/src/ns.rs"
pin = "native/linx_sys/src/pin.rs"
image = "native/linx_sys/src/image.rs"
enter = "c_src_replacement/src/enter.rs"
agent_image = "c_src_replacement/src/image.rs"
numbers = ["mix", "test", "test/integration/process/foreign_numbers_test.exs"]
images = ["mix", "test", "test/integration/process/image_test.exs"]
forged = ["mix", "test", "test/integration/forged_files_test.exs"]
entered = ["mix", "test", "test/integration/process/entered_test.exs"]
like = ["mix", "test", "test/integration/process/like_test.exs"]

[
  %{
    name: "pin-by-getpid-number",
    promise:
      "A file below /proc is found by the number that fdinfo shows for the pidfd, not by " <>
        "the one given.",
    file: pin,
    replace: "        let directory = pidfd::directory(self.pidfd(), stage);",
    with:
      "        let directory = rustix::fs::open(format!(\"/proc/{}\", self.pid), " <>
        "OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).map_err(stage.errno());",
    run: numbers
  },
  %{
    name: "fdinfo-of-nobody",
    promise: "A process that this /proc does not show is an error, not process 0 or self.",
    file: pidfd,
    replace: "        Some(0) | None => Err(libc::EXDEV),",
    with: "        Some(0) | None => Ok(1),",
    run: ["cargo", "test", "-p", "linx_sys", "pidfd"]
  },
  %{
    name: "reaped-directory",
    promise: "The number is read again after the directory is open: a reaped process has none.",
    file: pidfd,
    replace: "        Some(_) => Err(libc::ESRCH),",
    with: "        Some(_) => Ok(1),",
    run: ["cargo", "test", "-p", "linx_sys", "pidfd"]
  },
  %{
    name: "procfs-magic",
    promise: "A plain file below a forged /proc or /sys/fs/cgroup is neither read nor written.",
    file: pin,
    replace: "    if found.f_type as u32 == magic {",
    with: "    if found.f_type as u32 == magic || true {",
    run: forged
  },
  %{
    name: "unknown-namespace-is-same",
    promise: "A namespace whose comparison fails is never taken for the VM's own.",
    file: ns,
    replace: "        if pidfd::own_namespace(kind, Stage::CompareNs)?.is_none() {",
    with: "        if pidfd::own_namespace(kind, Stage::CompareNs).ok().flatten().is_none() {",
    run: ["mix", "test", "test/integration/process/old_kernel_test.exs"]
  },
  %{
    name: "enter-mask",
    promise: "enter/2 joins each namespace of the target that is not the VM's own.",
    file: enter,
    replace: "                mask |= kind.flag();",
    with: "                mask |= kind.flag() & !Kind::Uts.flag();",
    run: numbers
  },
  %{
    name: "sysctl-kind",
    promise: "A namespace file of another kind than the knob's is refused before a write.",
    file: ns,
    replace: "Self::from_file(open_file(path, stage)?)?;\n        if namespace.kind == kind {",
    with: "Self::from_file(open_file(path, stage)?)?;\n        if true {",
    run: forged
  },
  %{
    name: "image-seals",
    promise: "The agent's image in memory cannot be written to.",
    file: image,
    replace: "    fcntl_add_seals(&image, seals).map_err(Stage::Create.errno())?;\n",
    with:
      "    let _ = (seals, fcntl_add_seals::<&OwnedFd>);\n    fchmod(&image, " <>
        "Mode::RWXU).map_err(Stage::Create.errno())?;\n",
    run: images
  },
  %{
    name: "image-read-only",
    promise: "Behind its mount the agent's file cannot be written to.",
    file: image,
    replace: "    let attributes = [MOUNT_ATTR_RDONLY, 0, 0, 0];",
    with: "    let attributes = [MOUNT_ATTR_RDONLY & 0, 0, 0, 0];",
    run: images
  },
  %{
    name: "image-compare",
    promise: "What lies at the image's path is compared with the image before it is run.",
    file: image,
    replace: "        let number = own_number(stage)?;",
    with: "        let number = std::process::id();",
    run: images
  },
  %{
    name: "agent-seals-itself",
    promise: "An agent that was started from its plain file seals itself.",
    file: agent_image,
    replace: "        Ok(image) => execute(&image, arguments),",
    with: "        Ok(_) => return,",
    run: images
  },
  %{
    name: "plain-image-enters",
    promise: "From a plain file enter/2 and root's init are refused.",
    file: agent_image,
    replace: "        return Err(Stage::Image.fault(errno));",
    with: "        let _ = errno;",
    run: images
  },
  %{
    name: "visitor-kills-cgroup",
    promise: "A visitor's end leaves the cgroup that it was put in alone.",
    file: "c_src_replacement/src/start.rs",
    replace: "cgroup.filter(|_| !entered)",
    with: "cgroup.filter(|_| true)",
    run: entered
  },
  %{
    name: "entered-unchecked",
    promise:
      "The workload of enter/2 runs only once the process that was joined is known to be " <>
        "the session's.",
    file: "lib/linx/process/session.ex",
    replace: "    if Native.pid_alive(target),",
    with: "    if Native.pid_alive(target) or true,",
    run: entered
  },
  %{
    name: "like-capabilities",
    promise: "`like: :target` gives the visitor no capability that the target has not.",
    file: "lib/linx/process/like.ex",
    replace: "      {:drop_bounding, bxor(@all, bounding) &&& known()},",
    with: "      {:drop_bounding, bxor(@all, bounding) &&& known() &&& 0},",
    run: like
  },
  %{
    name: "like-ids",
    promise: "`like: :target` gives the ids as the target's own user namespace has them.",
    file: "lib/linx/process/like.ex",
    replace: "do: inside + id - outside",
    with: "do: id",
    run: like
  }
]
