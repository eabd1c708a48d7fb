//! `clone3(2)`, with fork's semantics: the child continues here on a copy of this stack.

use std::io::Error;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, write};

/// linux/sched.h. The C library's constants have 32 bits only.
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

const _: () = assert!(size_of::<CloneArgs>() == 88 && align_of::<CloneArgs>() <= 8);

/// The process that the call returns in.
#[derive(Debug)]
pub enum Side {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

/// The notification of a child's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Sigchld,
    /// No signal until the child's exec: its pidfd becomes readable.
    Silent,
}

/// Clones a child into new namespaces of `flags` (CLONE_NEW*), and into `cgroup`.
///
/// With CLONE_PARENT the child is a sibling and has the caller's exit signal.
///
/// If clone3 is refused, `clone(2)` is called; with a cgroup that is an error (see [`has_clone3`]).
///
/// `exit` is the child's exit signal. [`Exit::Silent`] shows whether the child has called exec:
/// exec sets the exit signal to SIGCHLD (fs/exec.c, de_thread), and waitid(2) with __WCLONE finds
/// children without SIGCHLD only.
///
/// The agent has one thread, so the child may run any code. The child ends with exec or `_exit` and
/// never returns through the caller's frames.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>, exit: Exit) -> Result<Side, Errno> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: match exit {
            Exit::Sigchld => libc::SIGCHLD as u64,
            Exit::Silent => 0,
        },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    let side = |answer: libc::c_long, pidfd: RawFd| match answer {
        -1 => Err(last_errno()),
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent {
            pid: pid as i32,
            pidfd: own(pidfd),
        }),
    };
    match side(raw_clone3(&args), pidfd) {
        // Default seccomp profiles of container engines refuse clone3, since a filter cannot read
        // its struct.
        Err(Errno::NOSYS | Errno::PERM) if cgroup.is_none() => older_clone(&args),
        other => other,
    }
}

/// Whether clone3(2) can be called, so that a child can be cloned into a cgroup. Without arguments
/// it returns EINVAL.
pub fn has_clone3() -> bool {
    clone3_of_nothing() == Errno::INVAL
}

#[expect(unsafe_code, reason = "clone3(2) that is refused")]
fn clone3_of_nothing() -> Errno {
    // SAFETY: the kernel refuses a struct of no bytes before it reads any, so no process is made.
    match unsafe { libc::syscall(libc::SYS_clone3, 0usize, 0usize) } {
        -1 => last_errno(),
        _ => Errno::NOSYS,
    }
}

/// Calls `clone(2)`, in the caller's cgroup. A time namespace, which clone(2) cannot create, is
/// unshared before.
fn older_clone(args: &CloneArgs) -> Result<Side, Errno> {
    if args.flags & CLONE_NEWTIME != 0 {
        unshare_time()?;
    }
    // Flags of clone(2) have 32 bits, as its argument has on a 32-bit architecture.
    let flags = args.flags & !CLONE_NEWTIME | args.exit_signal;
    let mut pidfd: RawFd = -1;
    match raw_clone(flags as usize, &mut pidfd) {
        -1 => Err(last_errno()),
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent {
            pid: pid as i32,
            pidfd: own(pidfd),
        }),
    }
}

/// Moves this process into `cgroup`: 0 means the caller (cgroups(7)).
pub fn join_cgroup(cgroup: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(cgroup, c"cgroup.procs", flags, Mode::empty())?;
    write(&file, b"0").map(drop)
}

/// linux/sched.h. The bit lies within the exit signal of clone(2).
const CLONE_NEWTIME: u64 = 0x80;

/// Unshares the time namespace of the next child.
#[expect(
    unsafe_code,
    reason = "unshare(2) is unsafe for the sake of CLONE_FILES"
)]
fn unshare_time() -> Result<(), Errno> {
    // SAFETY: the call changes the time namespace of future children only.
    match unsafe { libc::unshare(CLONE_NEWTIME as i32) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

#[expect(unsafe_code, reason = "clone(2) without a stack, which no crate wraps")]
fn raw_clone(flags: usize, pidfd: &mut RawFd) -> libc::c_long {
    // SAFETY: as for `raw_clone3`. The third argument is where CLONE_PIDFD puts its descriptor, on
    // every architecture whose first two are the flags and the stack.
    unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags,
            0usize,
            &raw mut *pidfd,
            0usize,
            0usize,
        )
    }
}

#[expect(unsafe_code, reason = "no crate wraps clone3(2)")]
fn raw_clone3(args: &CloneArgs) -> libc::c_long {
    // SAFETY: no CLONE_VM, so the child has its own copy of all memory and its own stack; no other
    // thread exists whose locks could be held in the copy. The kernel reads `args` and writes one
    // int through `pidfd`, which outlives the call.
    unsafe { libc::syscall(libc::SYS_clone3, args, size_of::<CloneArgs>()) }
}

#[expect(unsafe_code, reason = "a descriptor number becomes owned")]
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us, or our parent has left it to us, and
    // nobody else uses its number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

pub fn last_errno() -> Errno {
    Errno::from_raw_os_error(Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}
