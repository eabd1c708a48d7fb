//! The rule that lets a filtered process start its workload, and nothing else.
//!
//! A filter is installed before the workload's execve, so a list without `execve` would stop the
//! start itself. The kernel ignores the sixth argument of `execveat(2)`, which takes five, but
//! shows it to the filter. With a random value there that only the caller knows, one call passes;
//! afterwards the value is gone with the old address space. The same value lets `seccomp(2)`, which
//! takes three, put the next filter on top.
//!
//! On a 32-bit architecture the argument, and so the value, has 32 bits: a workload that is denied
//! `execve` with an errno finds it after 2^31 attempts on average. A filter that kills gives it one
//! attempt.

use super::arch::Arch;
use super::insn::{Insn, JEQ, LD, OFFSET_ARCH, OFFSET_NR, RET, offset_arg_high, offset_arg_low};

/// The length of [`exec_prefix`], by which a filter must be shorter.
pub const PREFIX_LEN: usize = 10;

const COOKIE_ARG: u8 = 5;

/// The code before a filter: allows `execveat` and `seccomp` with `cookie` as their sixth argument,
/// and falls through to the filter otherwise. Other calls run three of these instructions, which
/// read the number only, so that the kernel keeps its cache of always allowed numbers.
pub const fn exec_prefix(arch: Arch, cookie: u64) -> [Insn; PREFIX_LEN] {
    [
        Insn::stmt(LD, OFFSET_NR),
        Insn::jump(JEQ, arch.execveat(), 1, 0),
        Insn::jump(JEQ, arch.seccomp(), 0, 7),
        Insn::stmt(LD, OFFSET_ARCH),
        Insn::jump(JEQ, arch.audit(), 0, 5),
        Insn::stmt(LD, offset_arg_low(COOKIE_ARG)),
        Insn::jump(JEQ, cookie as u32, 0, 3),
        Insn::stmt(LD, offset_arg_high(COOKIE_ARG)),
        Insn::jump(JEQ, (cookie >> 32) as u32, 0, 1),
        Insn::stmt(RET, libc::SECCOMP_RET_ALLOW),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_host_are_libcs() {
        if let Some(arch) = Arch::HOST {
            assert_eq!(
                libc::c_long::from(arch.execveat() as i32),
                libc::SYS_execveat
            );
            assert_eq!(libc::c_long::from(arch.seccomp() as i32), libc::SYS_seccomp);
        }
    }

    #[test]
    fn both_halves_of_the_cookie_are_compared() {
        let prefix = exec_prefix(Arch::X86_64, 0x1122_3344_5566_7788);
        assert_eq!(prefix[6].k, 0x5566_7788);
        assert_eq!(prefix[8].k, 0x1122_3344);
    }

    // Each miss must land on the first instruction after the prefix.
    #[test]
    fn a_miss_falls_through_to_the_filter() {
        for (at, insn) in exec_prefix(Arch::Aarch64, 1).iter().enumerate() {
            if insn.code == JEQ && insn.jf > 0 {
                assert_eq!(at + 1 + insn.jf as usize, PREFIX_LEN);
            }
        }
    }
}
