[
  %{
    name: "tty-request-left",
    promise: "An attach over OTP's group leader leaves none of its requests behind.",
    file: "lib/linx/tty/group.ex",
    replace: "Others = queue:filter(fun({_, I}) -> element(2, I) =/= K end, element(13, S)),",
    with: "Others = element(13, S),",
    run: ["mix", "test", "test/linx/tty/keyboard_test.exs"]
  },
  %{
    name: "tty-dead-reader",
    promise: "The request of a reader that is dead leaves every key to the next reader.",
    file: "lib/linx/tty/group.ex",
    replace: "case node(K) =/= node() orelse is_process_alive(K) of",
    with: "case node(K) =/= node() orelse is_pid(K) of",
    run: ["mix", "test", "test/linx/tty/keyboard_test.exs"]
  },
  %{
    name: "tty-ctrl-c-shell",
    promise: "Ctrl-c during an attach never reaches the shell, however often it comes.",
    file: "lib/linx/tty/group.ex",
    replace: "Shell = case is_pid(element(7, S)) of true -> K; false -> element(7, S) end,",
    with: "Shell = element(7, S),",
    run: ["mix", "test", "test/linx/tty/keyboard_test.exs"]
  },
  %{
    name: "tty-undelivered-lost",
    promise: "What was typed and not delivered is the shell's.",
    file: "lib/linx/tty/group.ex",
    replace: "Left -> Typed ++ unicode:characters_to_list(Left)",
    with: "Left -> unicode:characters_to_list(Left)",
    run: ["mix", "test", "test/linx/tty/keyboard_test.exs"]
  },
  %{
    name: "tty-cut-to-bytes",
    promise: "A character that is no byte is not cut to one.",
    file: "lib/linx/tty/keyboard.ex",
    replace: "if char < 256, do: <<char>>, else: <<char::utf8>>",
    with: "<<char>>",
    run: ["mix", "test", "test/linx/tty/keyboard_test.exs"]
  },
  %{
    name: "tty-any-output",
    promise: "An attach takes only its own session's output out of its owner's mailbox.",
    file: "lib/linx/tty/relay.ex",
    replace: "{:linx_process, :pty_out, ^bytes} -> unread(older, [bytes | earlier])",
    with: "{:linx_process, :pty_out, any} -> unread(older, [any | earlier])",
    run: ["mix", "test", "test/linx/tty_test.exs"]
  },
  %{
    name: "tty-owner-lost",
    promise: "A borrowed session goes back to its owner when the attaching process is killed.",
    file: "lib/linx/process/loan.ex",
    replace: "{owner, %__MODULE__{sent: sent, bytes: bytes, events: length(sent)}}",
    with: "{to, %__MODULE__{sent: sent, bytes: bytes, events: length(sent), lent: owner && nil}}",
    run: ["mix", "test", "test/linx/tty_test.exs"]
  },
  %{
    name: "tty-answers-typed",
    promise: "Answers to a workload's terminal queries are not typed at the shell.",
    file: "lib/linx/tty/attach_loop.ex",
    replace: "if state.asked and options.answers == :discard, do: answered(state), else: rest",
    with: "rest",
    run: ["mix", "test", "test/integration/tty_attach_test.exs"]
  },
  %{
    name: "tty-close-twice",
    promise: "restore_and_close/2 closes only the descriptor that it was opened with.",
    file: "native/linx_sys/src/tty/modes.rs",
    replace: "Some((opening, _)) if *opening == saved.opening =>",
    with: "Some((opening, _)) if *opening != 0 =>",
    run: ["cargo", "test", "-p", "linx_sys", "tty"]
  },
  %{
    name: "tty-remote-forgotten",
    promise: "A remote terminal is put back when the shell's node dies.",
    file: "lib/linx/tty/watcher.ex",
    replace: "{'DOWN', M, _, _, _} -> [catch erl_eval:exprs(F, B) || {F, B} <- Undo]",
    with: "{'DOWN', M, _, _, _} -> Undo",
    run: [
      "mix",
      "test",
      "test/integration/tty_node_test.exs",
      "--only",
      "test:test --remsh: the other node dies amid an attach, and the person's terminal is " <>
        "put back"
    ]
  },
  %{
    name: "tty-slow-terminal",
    promise: "One slow terminal does not hold up another.",
    file: "lib/linx/tty/guard.ex",
    replace: "_ -> {:reply, :ok, Map.put(claims, key, {holder, Process.monitor(holder)})}",
    with:
      "_ -> {:reply, :ok, tap(Map.put(claims, key, {holder, Process.monitor(holder)}), fn _ " <>
        "-> with {_, leader} <- Process.info(holder, :group_leader) do send(leader, " <>
        "{:io_request, self(), make_ref(), :getopts}); receive(do: ({:io_reply, _, _} -> " <>
        ":ok), after: (1_000 -> :ok)) end end)}",
    run: [
      "mix",
      "test",
      "test/linx/tty_test.exs",
      "--only",
      "test:test one slow terminal does not hold up another"
    ]
  },
  %{
    name: "tty-dispositions",
    promise: "An attach leaves the VM's signal handlers as they were.",
    file: "lib/linx/tty/hold.ex",
    replace: "defp put_back({:signal, signal, before}, _, _), do: :os.set_signal(signal, before)",
    with: "defp put_back({:signal, signal, before}, _, _), do: {signal, before}",
    run: [
      "mix",
      "test",
      "test/integration/tty_attach_test.exs",
      "--only",
      "test:test a program without a shell has its signals as before"
    ]
  },
  %{
    name: "tty-unsent",
    promise: "An attach keeps no more input than its bound for a workload that takes none.",
    file: "lib/linx/tty/attach_loop.ex",
    replace: "when unsent != \"\", do: %{state | want: true}",
    with: "when unsent == :never, do: %{state | want: true}",
    run: [
      "mix",
      "test",
      "test/linx/tty_test.exs",
      "--only",
      "test:test a workload that takes no input stops the reading of keys"
    ]
  }
]
