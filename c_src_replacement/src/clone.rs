//! `clone3(2)`, with fork's semantics: the child continues here on a copy of this stack.

use std::io::Error;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, write};

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

/// How a child's parent is told of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Sigchld,
    /// By its pidfd alone, until it executes.
    Silent,
}

/// Makes a child in the namespaces that `flags` (CLONE_NEW*) name, and in `cgroup` from its first instruction.
///
/// With CLONE_PARENT it becomes a sibling, whose exit signal is the caller's.
///
/// Where clone3 is refused, `clone(2)` serves, and a cgroup is an error (see [`has_clone3`]).
///
/// `exit` is the signal of its end. [`Exit::Silent`] tells until its exec that it has made none: the exec makes it SIGCHLD
/// (fs/exec.c, de_thread), and waitid(2) tells children of the one kind from those of the other.
///
/// The program has one thread, so the child may run any code; it leaves by exec or `_exit` and never returns through
/// the caller's frames.
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
        // Container engines answer so by default, since their filters cannot look into the struct.
        Err(Errno::NOSYS | Errno::PERM) if cgroup.is_none() => older_clone(&args),
        other => other,
    }
}

/// Whether clone3(2) can be called, so that a child can be born in a cgroup that is named. Without arguments it is EINVAL.
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

/// `clone(2)`, in the caller's cgroup. A time namespace, which it cannot make, is unshared before.
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

/// Moves this process: 0 is the caller (cgroups(7)).
pub fn join_cgroup(cgroup: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(cgroup, c"cgroup.procs", flags, Mode::empty())?;
    write(&file, b"0").map(drop)
}

/// linux/sched.h; it shares its bit with the exit signal of clone(2).
const CLONE_NEWTIME: u64 = 0x80;

/// For the children of this process, of which there is one.
#[expect(
    unsafe_code,
    reason = "unshare(2) is unsafe for the sake of CLONE_FILES"
)]
fn unshare_time() -> Result<(), Errno> {
    // SAFETY: changes what namespace the next child is born in and nothing of this process.
    match unsafe { libc::unshare(CLONE_NEWTIME as i32) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

#[expect(unsafe_code, reason = "clone(2) without a stack, which no crate wraps")]
fn raw_clone(flags: usize, pidfd: &mut RawFd) -> libc::c_long {
    // SAFETY: as for `raw_clone3`. The third argument is where CLONE_PIDFD puts its descriptor, on every architecture
    // whose first two are the flags and the stack.
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
