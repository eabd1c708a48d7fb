//! The input of the compiler. Actions are the kernel's return values (`SECCOMP_RET_*`), with their
//! data.

use super::arch::Arch;

/// The verdict on every system call of one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub arch: Arch,
    /// The action for calls that no rule matches.
    pub default: u32,
    /// The rules; the first matching rule of a number decides.
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub number: u32,
    pub action: u32,
    /// The conditions, which must all hold; an empty list always holds.
    pub conditions: Vec<Condition>,
}

/// A comparison of one argument, taken as an unsigned 64-bit number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// 0 to 5.
    pub arg: u8,
    pub op: Op,
    pub value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// The argument's bits under the mask equal the value.
    MaskedEq(u64),
}

impl Policy {
    /// The action of a number without rules.
    pub fn unruled(&self, number: u32) -> u32 {
        let foreign = self.arch.foreign_numbers();
        if foreign.iter().any(|range| range.contains(&number)) {
            self.foreign_action()
        } else {
            self.default
        }
    }

    /// The action for calls of the architecture's other ABI, which the rules do not name: the
    /// default if that denies, else kill. A deny list could otherwise be bypassed by setting a bit.
    pub fn foreign_action(&self) -> u32 {
        match self.default & libc::SECCOMP_RET_ACTION_FULL {
            libc::SECCOMP_RET_KILL_PROCESS
            | libc::SECCOMP_RET_KILL_THREAD
            | libc::SECCOMP_RET_TRAP
            | libc::SECCOMP_RET_ERRNO => self.default,
            _ => libc::SECCOMP_RET_KILL_PROCESS,
        }
    }
}
