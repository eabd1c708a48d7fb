[
  %{
    name: "cookie-kept",
    promise: "RELEASE_COOKIE does not reach the workload.",
    file: "c_src_replacement/src/environment.rs",
    replace: "const SECRET: &[u8] = b\"RELEASE_COOKIE=\";",
    with: "const SECRET: &[u8] = b\"RELEASE_COOKIE_X=\";",
    run: ["mix", "test", "test/integration/process/inherit_test.exs"]
  },
  %{
    name: "sigpipe-ignored",
    promise: "Every signal of the workload has its default disposition.",
    file: "c_src_replacement/src/signals.rs",
    replace: "    set_default(libc::SIGPIPE)?;\n",
    with: "",
    run: ["mix", "test", "test/integration/process/inherit_test.exs"]
  },
  %{
    name: "exec-cookie-half",
    promise: "A workload whose filter forbids execve cannot use the exec of its own start again.",
    file: "native/linx_wire/src/seccomp/prefix.rs",
    replace: "Insn::jump(JEQ, (cookie >> 32) as u32, 0, 1),",
    with: "Insn::jump(JEQ, (cookie >> 32) as u32, 0, 0),",
    run: ["cargo", "test", "-p", "linx_wire", "--test", "seccomp"]
  },
  %{
    name: "x32-allowed",
    promise: "A deny list is not walked around with the numbers of x32.",
    file: "native/linx_wire/src/seccomp/compile.rs",
    replace: "starts.insert(range.start, unruled(range.start));",
    with: "starts.insert(range.start, Outcome::always(libc::SECCOMP_RET_ALLOW));",
    run: ["mix", "test", "test/integration/seccomp_test.exs"]
  },
  %{
    name: "mask-kept",
    promise: "The workload's signal mask is empty.",
    file: "c_src_replacement/src/signals.rs",
    replace: "    set_default(libc::SIGPIPE)?;\n    set_mask(libc::SIG_SETMASK, 0)\n",
    with: "    set_default(libc::SIGPIPE)\n",
    run: ["mix", "test", "test/integration/process/inherit_test.exs"]
  },
  %{
    name: "descriptors-kept",
    promise: "A parked process holds no descriptor of the VM's.",
    file: "c_src_replacement/src/child.rs",
    replace: "    signals::close_above(3, Some(socket.as_fd()))\n",
    with: "    let _ = socket;\n    Ok(())\n",
    run: ["mix", "test", "test/integration/process/session_test.exs"]
  },
  %{
    name: "death-signal-unset",
    promise: "The workload dies with its agent, whatever the VM does.",
    file: "c_src_replacement/src/child.rs",
    replace: "        process::set_parent_process_death_signal(Some(Signal::KILL))\n",
    with: "        process::set_parent_process_death_signal(None)\n",
    run: ["mix", "test", "test/integration/process/death_test.exs"]
  }
]
