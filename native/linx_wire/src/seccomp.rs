//! Seccomp filters: classic BPF programs over `struct seccomp_data` (linux/seccomp.h,
//! linux/filter.h).

mod arch;
mod assembler;
mod compile;
mod condition;
pub mod insn;
mod policy;
mod prefix;

pub use arch::Arch;
pub use compile::{TooLong, compile};
pub use insn::{INSN_SIZE, Insn, MAX_INSNS};
pub use policy::{Condition, Op, Policy, Rule};
pub use prefix::{PREFIX_LEN, exec_prefix};
