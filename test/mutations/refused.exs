death = ["mix", "test", "test/integration/process/death_test.exs"]
stdio = ["mix", "test", "test/integration/process/stdio_test.exs"]
socket = ["mix", "test", "test/integration/netlink/socket_test.exs"]

[
  %{
    name: "executed-always",
    promise: "A child that died before its exec never ran.",
    file: "c_src_replacement/src/wait.rs",
    replace: "        Ok(_) => Some(false),\n",
    with: "        Ok(_) => Some(true),\n",
    run: death ++ ["--only", "test:test a child killed between proceed and its exec never ran"]
  },
  %{
    name: "end-without-drain",
    promise: "Output that is still in the kernel when the workload ends reaches the owner.",
    file: "c_src_replacement/src/output.rs",
    replace: "for source in self.sources.drain(..) {",
    with: "for source in self.sources.drain(..0) {",
    run:
      stdio ++
        [
          "--only",
          "test:test pipes output that nobody had read when the workload ended is all there",
          "--only",
          "test:test a terminal output that nobody had read when the workload ended is all there"
        ]
  },
  %{
    name: "netlink-wanted-always",
    promise: "A multicast message on a socket is not taken for an answer.",
    file: "native/linx_nif/src/netlink/dump.rs",
    replace: "frame.port == self.port && (self.seqs.0..=self.seqs.1).contains(&frame.seq)",
    with: "frame.port != !self.port || (self.seqs.0..=self.seqs.1).contains(&frame.seq)",
    run:
      socket ++
        ["--only", "test:test multicast on the same socket is not taken for an answer"]
  },
  %{
    name: "netlink-late-answer",
    promise: "The late answer of an abandoned request is not taken for another's.",
    file: "native/linx_nif/src/netlink/dump.rs",
    replace: "frame.port == self.port && (self.seqs.0..=self.seqs.1).contains(&frame.seq)",
    with: "frame.port == self.port && frame.seq > 0 && self.seqs.0 > 0",
    run: socket
  }
]
