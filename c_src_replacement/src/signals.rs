//! What a program inherits besides its memory: signal dispositions, the mask, and descriptors.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::clone::{last_errno, own};

/// `_NSIG`: asm/signal.h of every architecture but mips.
const LAST: i32 = 64;

/// Every disposition default and nothing blocked. The VM leaves SIGPIPE and SIGFPE ignored, and an exec keeps that:
/// `yes | head` would hang for ever.
fn reset() {
    (1..=LAST).for_each(set_default);
    unblock();
}

/// In the child: what this program changed for itself after [`reset`].
pub fn undo() {
    set_default(libc::SIGPIPE);
    unblock();
}

#[expect(
    unsafe_code,
    reason = "the C library refuses to touch its own two signals"
)]
fn set_default(signal: i32) {
    // A `struct sigaction` of the kernel that says SIG_DFL is zeros on every architecture.
    let zeros = [0u64; 8];
    // SAFETY: the kernel reads a struct no longer than `zeros`; a default handler runs no code of ours. KILL and STOP
    // answer EINVAL, which is right.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            zeros.as_ptr(),
            0usize,
            8usize,
        )
    };
}

#[expect(unsafe_code, reason = "sigprocmask(2)")]
fn unblock() {
    let none = 0u64;
    // SAFETY: the kernel reads eight bytes.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            0usize,
            8usize,
        )
    };
}

/// Closes every descriptor from `first` on, but `keep`.
pub fn close_above(first: u32, keep: Option<BorrowedFd<'_>>) {
    match keep {
        Some(keep) => {
            let keep = keep.as_raw_fd() as u32;
            if keep > first {
                close_range(first, keep - 1, 0);
            }
            close_range(keep + 1, u32::MAX, 0);
        }
        None => close_range(first, u32::MAX, 0),
    }
}

/// Descriptors from `first` on end with the next exec.
pub fn close_on_exec_above(first: u32) {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
}

#[expect(unsafe_code, reason = "no crate wraps close_range(2)")]
fn close_range(first: u32, last: u32, flags: u32) {
    if first > last {
        return;
    }
    // SAFETY: called in a child on its way to exec, which uses none of the descriptors that it closes.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
}

/// Gives this program defaults of its own, writes to a closed pipe an errno, and a descriptor that becomes readable when
/// a child ends.
pub fn watch_children() -> Result<OwnedFd, Errno> {
    reset();
    ignore_sigpipe();
    block_sigchld()
}

#[expect(unsafe_code, reason = "signal(2)")]
fn ignore_sigpipe() {
    // SAFETY: ignoring runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

#[expect(unsafe_code, reason = "signalfd(2) has no wrapper here")]
fn block_sigchld() -> Result<OwnedFd, Errno> {
    let set: u64 = 1 << (libc::SIGCHLD - 1);
    // SAFETY: the kernel reads eight bytes of `set`.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_BLOCK,
            &raw const set,
            0usize,
            8usize,
        )
    };
    // SAFETY: the kernel reads eight bytes of `set` and makes a descriptor.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const set,
            8usize,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )
    };
    match fd {
        -1 => Err(last_errno()),
        fd => Ok(own(fd as i32)),
    }
}
