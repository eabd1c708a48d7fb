//! `clone3(2)`, with fork's semantics: the child continues here on a copy of this stack.

use std::io::Error;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

/// linux/sched.h: above the 32 bits that the C library's constants have.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` (linux/sched.h), version 2: 88 bytes, with the cgroup.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Which process this is, after the call.
#[derive(Debug)]
pub enum Side {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

/// Makes a child in the namespaces that `flags` (CLONE_NEW*) name, and in `cgroup` from its first instruction.
///
/// With CLONE_PARENT it becomes a sibling, whose exit signal is the caller's.
///
/// The program has one thread, so the child may run any code; it leaves by exec or `_exit` and never returns through
/// the caller's frames.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Side, Errno> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: if flags & libc::CLONE_PARENT as u64 != 0 {
            0
        } else {
            libc::SIGCHLD as u64
        },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    match raw_clone3(&args) {
        -1 => Err(last_errno()),
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent {
            pid: pid as i32,
            pidfd: own(pidfd),
        }),
    }
}

#[expect(unsafe_code, reason = "no crate wraps clone3(2)")]
fn raw_clone3(args: &CloneArgs) -> i64 {
    // SAFETY: no CLONE_VM, so the child has its own copy of all memory and its own stack; no other thread exists whose
    // locks could be held in the copy. The kernel reads `args` and writes one int through `pidfd`, which outlives the
    // call.
    unsafe { libc::syscall(libc::SYS_clone3, args, size_of::<CloneArgs>()) }
}

#[expect(unsafe_code, reason = "a descriptor number becomes owned")]
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

pub fn last_errno() -> Errno {
    Errno::from_raw_os_error(Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}
