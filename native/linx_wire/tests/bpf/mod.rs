//! An interpreter of seccomp filters, as strict as the kernel's own check of a program
//! (`seccomp_check_filter`).

use linx_wire::seccomp::Insn;
use linx_wire::seccomp::insn::{AND, JA, JEQ, JGE, JGT, LD, RET};

/// `struct seccomp_data` without its instruction pointer, which no filter of ours may read.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub number: u32,
    pub arch: u32,
    pub args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.arch,
            16..64 if offset.is_multiple_of(4) => {
                let arg = self.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) {
                    arg as u32
                } else {
                    (arg >> 32) as u32
                }
            }
            _ => panic!(
                "a load at {offset}, which is no word of the number, architecture or arguments"
            ),
        }
    }
}

/// The verdict on a call, and the number of instructions that ran.
pub fn run(program: &[Insn], call: &Call) -> (u32, usize) {
    let (mut at, mut a, mut steps) = (0, 0, 0);
    loop {
        let insn = program[at];
        steps += 1;
        at += 1;
        match insn.code {
            LD => a = call.word(insn.k),
            AND => a &= insn.k,
            JA => at += insn.k as usize,
            RET => return (insn.k, steps),
            code => {
                let holds = match code {
                    JEQ => a == insn.k,
                    JGT => a > insn.k,
                    JGE => a >= insn.k,
                    _ => panic!("unknown instruction {insn:?}"),
                };
                at += usize::from(if holds { insn.jt } else { insn.jf });
            }
        }
    }
}
