//! The rule that lets a filtered process start its workload, and nothing after that.
//!
//! A filter is installed before the workload's execve, so a list without `execve` would stop the start itself. The
//! kernel ignores the sixth argument of `execveat(2)`, which takes five, but shows it to the filter. With a random value
//! there that only the caller knows, one call passes; afterwards the value is gone with the old address space.

use super::arch::Arch;
use super::insn::{Insn, JEQ, LD, OFFSET_ARCH, OFFSET_NR, RET, offset_arg_high, offset_arg_low};

/// The instructions of [`exec_prefix`]: a filter behind it has that many fewer.
pub const PREFIX_LEN: usize = 9;

const COOKIE_ARG: u8 = 5;

/// Goes in front of a filter: allows `execveat` with `cookie` as its sixth argument, and falls through to the filter
/// for everything else. Other calls pay for two of these instructions.
pub const fn exec_prefix(arch: Arch, cookie: u64) -> [Insn; PREFIX_LEN] {
    [
        Insn::stmt(LD, OFFSET_NR),
        Insn::jump(JEQ, arch.execveat(), 0, 7),
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
        }
    }

    #[test]
    fn both_halves_of_the_cookie_are_compared() {
        let prefix = exec_prefix(Arch::X86_64, 0x1122_3344_5566_7788);
        assert_eq!(prefix[5].k, 0x5566_7788);
        assert_eq!(prefix[7].k, 0x1122_3344);
    }

    // Each miss must land on the first instruction behind the prefix, whatever stands there.
    #[test]
    fn a_miss_falls_through_to_the_filter() {
        for (at, insn) in exec_prefix(Arch::Aarch64, 1).iter().enumerate() {
            if insn.code == JEQ {
                assert_eq!(insn.jt, 0);
                assert_eq!(at + 1 + insn.jf as usize, PREFIX_LEN);
            }
        }
    }
}
