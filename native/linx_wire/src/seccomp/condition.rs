//! Comparisons of 64-bit arguments on a machine with 32-bit registers: the high half first, the low
//! half if the high halves are equal.

use super::arch::Arch;
use super::assembler::{Assembler, Label};
use super::insn::{AND, Insn, JEQ, JGE, JGT, LD, offset_arg_high, offset_arg_low};
use super::policy::{Condition, Op};

impl Condition {
    /// Prepends code that jumps to `yes` if the condition holds and to `no` otherwise.
    pub(super) fn emit(self, arch: Arch, asm: &mut Assembler, yes: Label, no: Label) -> Label {
        match self.op {
            Op::Eq => self.masked(arch, asm, u64::MAX, yes, no),
            Op::Ne => self.masked(arch, asm, u64::MAX, no, yes),
            Op::MaskedEq(mask) => self.masked(arch, asm, mask, yes, no),
            Op::Ge => self.ordered(arch, asm, JGE, yes, no),
            Op::Gt => self.ordered(arch, asm, JGT, yes, no),
            Op::Lt => self.ordered(arch, asm, JGE, no, yes),
            Op::Le => self.ordered(arch, asm, JGT, no, yes),
        }
    }

    fn low(self) -> u32 {
        self.value as u32
    }

    fn high(self) -> u32 {
        (self.value >> 32) as u32
    }

    fn masked(self, arch: Arch, asm: &mut Assembler, mask: u64, yes: Label, no: Label) -> Label {
        if arch.argument_bits() == 32 && self.high() != 0 {
            return no;
        }
        let low = half(
            asm,
            offset_arg_low(self.arg),
            mask as u32,
            self.low(),
            yes,
            no,
        );
        if arch.argument_bits() == 32 {
            return low;
        }
        half(
            asm,
            offset_arg_high(self.arg),
            (mask >> 32) as u32,
            self.high(),
            low,
            no,
        )
    }

    /// `code` compares the low halves of two numbers whose high halves are equal.
    fn ordered(self, arch: Arch, asm: &mut Assembler, code: u16, yes: Label, no: Label) -> Label {
        // A value above 32 bits is above every 32-bit argument.
        if arch.argument_bits() == 32 && self.high() != 0 {
            return no;
        }
        asm.branch(code, self.low(), yes, no);
        let low = asm.push(Insn::stmt(LD, offset_arg_low(self.arg)));
        if arch.argument_bits() == 32 {
            return low;
        }
        let equal = asm.branch(JEQ, self.high(), low, no);
        asm.branch(JGT, self.high(), yes, equal);
        asm.push(Insn::stmt(LD, offset_arg_high(self.arg)))
    }
}

/// One half of a masked comparison. A mask of no bits compares nothing.
fn half(asm: &mut Assembler, offset: u32, mask: u32, value: u32, yes: Label, no: Label) -> Label {
    if mask == 0 {
        return if value == 0 { yes } else { no };
    }
    asm.branch(JEQ, value, yes, no);
    if mask != u32::MAX {
        asm.push(Insn::stmt(AND, mask));
    }
    asm.push(Insn::stmt(LD, offset))
}
