condition = "native/linx_wire/src/seccomp/condition.rs"
compile = "native/linx_wire/src/seccomp/compile.rs"
second = ["cargo", "test", "-p", "linx_wire", "--test", "seccompiler"]

[
  %{
    name: "seccomp-border",
    promise: "A comparison with <= holds at its border.",
    file: condition,
    replace: "Op::Le => self.ordered(arch, asm, JGT, no, yes),",
    with: "Op::Le => self.ordered(arch, asm, JGE, no, yes),",
    run: second
  },
  %{
    name: "seccomp-high-half",
    promise: "A comparison of 64 bits compares the high half.",
    file: condition,
    replace: "        asm.branch(JGT, self.high(), yes, equal);\n",
    with: "        asm.branch(JGT, u32::MAX, yes, equal);\n",
    run: second
  },
  %{
    name: "seccomp-any-condition",
    promise: "All conditions of a rule must hold.",
    file: compile,
    replace: "label = condition.emit(arch, &mut self.asm, label, no);",
    with: "label = condition.emit(arch, &mut self.asm, label, label);",
    run: second
  }
]
