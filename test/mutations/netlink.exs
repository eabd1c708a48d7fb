dump = "native/linx_nif/src/netlink/dump.rs"
sockets = ["mix", "test", "test/integration/netlink/socket_test.exs"]
busy = ["mix", "test", "test/integration/netlink/busy_sockets_test.exs"]
long = ["mix", "test", "test/integration/netlink/long_link_test.exs"]

[
  %{
    name: "wanted-any",
    promise: "Multicast on a request's socket is not taken for its answer.",
    file: dump,
    replace: "frame.port == self.port && (self.seqs.0..=self.seqs.1).contains(&frame.seq)",
    with: "frame.port == self.port || frame.port == 0",
    run: sockets
  },
  %{
    name: "wanted-any-number",
    promise: "The late answer to another request is not taken for that of this one.",
    file: dump,
    replace: "frame.port == self.port && (self.seqs.0..=self.seqs.1).contains(&frame.seq)",
    with: "frame.port == self.port",
    run: sockets
  },
  %{
    name: "socket-closed-here",
    promise: "No scheduler waits for the last close of a socket that went with its process.",
    file: "native/linx_nif/src/netlink.rs",
    replace: "        release(socket);\n",
    with: "        drop(socket);\n",
    run: busy
  },
  %{
    name: "lane-without-end",
    promise: "Slow netlink requests leave dirty I/O threads to file operations.",
    file: "native/linx_sys/src/lane.rs",
    replace: "pub const MAX_PLACES: usize = 4;",
    with: "pub const MAX_PLACES: usize = 64;",
    run: ["cargo", "test", "-p", "linx_sys", "lane"]
  },
  %{
    name: "lane-without-wake",
    promise: "The end of a short netlink request wakes one that waits.",
    file: "native/linx_sys/src/lane.rs",
    replace: "        if waited_for {\n",
    with: "        if waited_for && self.number >= MAX_PLACES {\n",
    run: ["cargo", "test", "-p", "linx_sys", "lane"]
  },
  %{
    name: "turn-of-the-killed",
    promise: "A process that is killed during its request passes its turn on.",
    file: "native/linx_nif/src/netlink/gate.rs",
    replace: "if called && sent.is_err() {",
    with: "if called && sent.is_ok() {",
    run: sockets
  },
  %{
    name: "lookup-once",
    promise: "A look-up by name whose answer was too long is repeated with a larger buffer.",
    file: "lib/linx/netlink/request.ex",
    replace: "errno: :emsgsize}} when tries < @retries ->\n        lookup",
    with: "errno: :emsgsize}} when tries < 0 ->\n        lookup",
    run: long
  },
  %{
    name: "flow-blind",
    promise: "A listener whose owner sleeps leaves a flood to the kernel.",
    file: "lib/linx/netlink/inbox/flow.ex",
    replace: "if unread(flow.buckets, length - flow.others) <= @window,",
    with: "if unread(flow.buckets, length - flow.others) <= @window * 1000,",
    run: ["mix", "test", "test/integration/netlink/sleeping_owner_test.exs"]
  },
  %{
    name: "flow-no-trial",
    promise: "An owner that picks the events out of a long mailbox gets them.",
    file: "lib/linx/netlink/inbox/flow.ex",
    replace: "    {:read, @max_datagrams, %__MODULE__{others: length, pause: pause}}",
    with:
      "    {:wait, @max_delay, %__MODULE__{stage: {:settling, length, 0}, buckets: [{0, 2 * " <>
        "@window}], pause: pause}}",
    run: ["mix", "test", "test/linx/netlink/flow_test.exs"]
  },
  %{
    name: "commit-of-any-size",
    promise: "A commit that would fill memory is told as a loss.",
    file: "lib/linx/netfilter/monitor.ex",
    replace: "    if cost > @max_held,",
    with: "    if cost > @max_held * 1000,",
    run: ["mix", "test", "test/integration/netlink/sleeping_owner_test.exs"]
  },
  %{
    name: "number-unchecked",
    promise:
      "A number names a socket only as long as its descriptor is the one that was given away.",
    file: "native/linx_sys/src/netlink/numbered.rs",
    replace: "(identity(socket)? == *known).then_some(socket)",
    with: "Some(socket).filter(|socket| identity(*socket).is_some() || *known == (0, 0))",
    run: ["cargo", "test", "-p", "linx_sys", "numbered"]
  }
]
