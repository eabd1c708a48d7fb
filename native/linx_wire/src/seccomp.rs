//! Seccomp filters: classic BPF programs over `struct seccomp_data` (linux/seccomp.h, linux/filter.h).

mod arch;
pub mod insn;
mod prefix;

pub use arch::Arch;
pub use insn::{INSN_SIZE, Insn, MAX_INSNS};
pub use prefix::{PREFIX_LEN, exec_prefix};
