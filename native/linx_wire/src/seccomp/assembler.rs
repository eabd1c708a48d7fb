//! Writes a program from its end to its start.
//!
//! All jumps go forward, so every target is placed before the jump is written. A conditional jump
//! reaches 255 instructions; for a target further away an unconditional jump, which reaches all, is
//! inserted and also serves the jumps before it.

use std::collections::HashMap;

use super::insn::{Insn, JA};

/// A written instruction: its index counted from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Label(usize);

/// A conditional jump names two targets, and each may need a trampoline, which moves the other one
/// away by one.
const REACH: usize = u8::MAX as usize - 2;

#[derive(Debug, Default)]
pub struct Assembler {
    /// The instructions, the last one first.
    reversed: Vec<Insn>,
    /// The trampoline nearest to the start, for each target that needed one.
    trampolines: HashMap<Label, Label>,
}

impl Assembler {
    pub fn len(&self) -> usize {
        self.reversed.len()
    }

    /// Prepends an instruction. One that does not jump continues with the one written before it.
    pub fn push(&mut self, insn: Insn) -> Label {
        self.reversed.push(insn);
        Label(self.reversed.len() - 1)
    }

    /// Prepends a conditional jump.
    pub fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        let yes = self.near(yes);
        let no = self.near(no);
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(Insn::jump(code, k, jt, jf))
    }

    /// The program, first instruction first.
    pub fn finish(mut self) -> Vec<Insn> {
        self.reversed.reverse();
        self.reversed
    }

    /// The number of instructions between the next one to be written and the target.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - target.0 - 1
    }

    /// The target, or a trampoline to it that the next instruction can reach.
    fn near(&mut self, target: Label) -> Label {
        let nearest = self.trampolines.get(&target).copied().unwrap_or(target);
        if self.distance(nearest) <= REACH {
            return nearest;
        }
        let trampoline = self.push(Insn::stmt(JA, self.distance(target) as u32));
        self.trampolines.insert(target, trampoline);
        trampoline
    }
}
