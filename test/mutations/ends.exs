kill = "c_src_replacement/src/kill.rs"
tree = "c_src_replacement/src/tree.rs"
start = "c_src_replacement/src/start.rs"
session = "c_src_replacement/src/session.rs"
ending = "c_src_replacement/src/session/ending.rs"
bombs = ["mix", "test", "test/integration/process/bomb_test.exs"]
ends = ["mix", "test", "test/integration/process/ends_test.exs"]

[
  %{
    name: "ends-whole-tree",
    promise: "The sweep looks for the children of children.",
    file: tree,
    replace: "            self.add(members, children);\n            at += 1;",
    with: "            let _ = children;\n            at += 1;",
    run: ["cargo", "test", "-p", "linx_process", "the_tree_holds_children_of_children"]
  },
  %{
    name: "ends-detached-procfs",
    promise: "A covered /proc does not hide the tree.",
    file: kill,
    replace: "            Err(errno) => kill_children_by_number(*errno),",
    with: "            Err(errno) => Round::unknown(*errno),",
    run: bombs
  },
  %{
    name: "ends-frozen-cgroup",
    promise: "A frozen cgroup is refused before the clone.",
    file: start,
    replace: "Ok(true) if is_frozen(&directory) =>",
    with: "Ok(true) if false && is_frozen(&directory) =>",
    run: ends
  },
  %{
    name: "ends-deadline",
    promise: "What was killed and does not end is reported after two seconds.",
    file: session,
    replace: "self.deadline.is_some_and(|at| at <= Instant::now())",
    with: "self.deadline.is_some_and(|_| false)",
    run: ends
  },
  %{
    name: "ends-left",
    promise: "The pids that are left are in Info.left.",
    file: ending,
    replace: "        self.writer.flush();\n        report::left(&mut self.writer, &left.pids);",
    with: "        self.writer.flush();",
    run: ends
  },
  %{
    name: "ends-signal-answer",
    promise: "A refused signal is answered with its errno.",
    file: session,
    replace: "errno.map_or(0, Errno::raw_os_error)",
    with: "errno.map_or(0, |_| 0)",
    run: ends
  },
  %{
    name: "ends-grace-of-tree",
    promise: "The grace of a stop is for what the workload leaves behind too.",
    file: ending,
    replace: "self.grace.is_some_and(|until| Instant::now() < until)",
    with: "self.grace.is_some_and(|_| false)",
    run: ends
  },
  %{
    name: "ends-orphan-grace",
    promise: "orphan_policy: {:kill, grace} asks the tree to end when the VM is gone.",
    file: ending,
    replace: "            self.ask_to_end(grace);",
    with: "            let _ = grace;",
    run: ends
  },
  %{
    name: "ends-signal-group",
    promise: "to: :group reaches the process group.",
    file: session,
    replace: "Recipient::Group => kill::signal_group(self.workload(), pid, signal)",
    with:
      "Recipient::Group => {\n                let _ = pid;\n                " <>
        "kill::signal(self.workload(), signal)\n            }",
    run: ends
  },
  %{
    name: "ends-abort-in-every-phase",
    promise: "abort goes to the agent without a wait for the checkpoint.",
    file: "lib/linx/process/lifecycle.ex",
    replace: "do: {:ok, %{life | abort?: true}, [{:agent, :abort}]}",
    with: "do: {:ok, %{life | abort?: true}, []}",
    run: ["mix", "test", "test/linx/process/lifecycle_test.exs"]
  },
  %{
    name: "ends-kill-without-agent",
    promise: "A set-user-ID workload dies with its agent while the VM lives.",
    file: "lib/linx/process/session.ex",
    replace: "if state.pin, do: Native.pid_kill(state.pin)",
    with: "state.pin",
    run: ends
  },
  %{
    name: "ends-stopped-agent-signal",
    promise: "A signal that a stopped agent does not take is an error.",
    file: "lib/linx/process/session.ex",
    replace:
      "{:noreply, answered(state, id, signal_result(Linx.Errno.code(:etimedout), state.life))}",
    with: "{:noreply, answered(state, id, signal_result(0, state.life))}",
    run: ends
  },
  %{
    name: "ends-stopped-agent-stop",
    promise: "A stopped agent does not keep its workload from its end.",
    file: "lib/linx/process/session.ex",
    replace: "with {:os_pid, pid} <- Port.info(state.port, :os_pid), do: continue(pid)",
    with: "with {:os_pid, pid} <- Port.info(state.port, :os_pid), do: pid",
    run: ends
  },
  %{
    name: "ends-keep_killing",
    promise: "The agent goes on killing what did not end.",
    file: ending,
    replace: "while !hopeless {",
    with: "while !hopeless && self.dead && false {",
    run: ends
  },
  %{
    name: "ends-hopeless",
    promise: "The agent leaves when all that are left are another user's.",
    file: kill,
    replace: "let hopeless = self.denied > 0 && self.denied == self.members.len();",
    with: "let hopeless = false;",
    run: ends
  },
  %{
    name: "ends-end_unreported-tree",
    promise: "The tree ends with the VM.",
    file: ending,
    replace: "        self.kill();\n        if let Err(left) = self.end_tree() {",
    with: "        self.kill();\n        if let Err(left) = Ok::<(), Left>(()) {",
    run: [
      "mix",
      "test",
      "test/integration/process/death_test.exs",
      "--only",
      "test:test kill -9 of the VM while its sessions are running leaves nothing"
    ]
  },
  %{
    name: "tree-of-the-soft-limit",
    promise:
      "A signal for the tree reaches more processes than the VM's soft limit of descriptors.",
    file: "c_src_replacement/src/kill.rs",
    replace: "    raise_descriptor_limit();\n    let mut members = Members::default();\n",
    with: "    let mut members = Members::default();\n",
    run: ["mix", "test", "test/integration/process/ends_test.exs"]
  },
  %{
    name: "ends-pidfd",
    promise: "A session that has ended and stays holds no pidfd.",
    file: "lib/linx/process/session.ex",
    replace: "  def handle_info(:collect, state), do: {:noreply, state, :hibernate}\n",
    with: "  def handle_info(:collect, state), do: {:noreply, state}\n",
    run: ["mix", "test", "test/integration/process/session_test.exs"]
  }
]
