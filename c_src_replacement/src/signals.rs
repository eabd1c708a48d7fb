//! The state that exec inherits: signal dispositions, the signal mask, and descriptors.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, Mode, OFlags, fstatfs, open};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::clone::{last_errno, own};

/// `_NSIG`: asm/signal.h of every architecture but mips.
const LAST: i32 = 64;

/// Every signal; the C libraries leave out the ones that they use themselves.
pub static ALL: u64 = u64::MAX;

/// Sets every disposition to its default and unblocks all signals. The VM ignores SIGPIPE and
/// SIGFPE, and exec keeps that: `yes | head` would never end.
fn reset() -> Result<(), Errno> {
    for signal in (1..=LAST).filter(|signal| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP)) {
        set_default(signal)?;
    }
    set_mask(libc::SIG_SETMASK, 0)
}

/// Child: undoes the agent's changes since [`reset`].
pub fn undo() -> Result<(), Errno> {
    set_default(libc::SIGPIPE)?;
    set_mask(libc::SIG_SETMASK, 0)
}

/// Reaper: blocks all signals; blocked signals stay pending even for a pid 1 that would ignore
/// them.
pub fn block_all() -> Result<(), Errno> {
    set_mask(libc::SIG_SETMASK, ALL)
}

/// A length that no architecture's `struct sigaction` exceeds: a handler, flags and a restorer,
/// each an address wide, and a mask.
const SIGACTION_MAX: usize = 64;
const _: () = assert!(3 * size_of::<usize>() + size_of::<u64>() <= SIGACTION_MAX);

#[expect(
    unsafe_code,
    reason = "the C library refuses to touch its own two signals"
)]
fn set_default(signal: i32) -> Result<(), Errno> {
    // The kernel's `struct sigaction` with SIG_DFL is zeros on every architecture.
    let zeros = [0u64; SIGACTION_MAX / 8];
    // SAFETY: the kernel reads a struct no longer than `zeros`; a default handler runs no code of
    // ours.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            zeros.as_ptr(),
            0usize,
            8usize,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

#[expect(unsafe_code, reason = "rt_sigprocmask(2)")]
fn set_mask(how: i32, mask: u64) -> Result<(), Errno> {
    // SAFETY: the kernel reads eight bytes; the mask concerns this process alone, which has one
    // thread.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            how,
            &raw const mask,
            0usize,
            8usize,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Closes every descriptor from `first` on, except `keep`.
pub fn close_above(first: u32, keep: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    match keep {
        Some(keep) => {
            let keep = keep.as_raw_fd() as u32;
            if keep > first {
                close_range(first, keep - 1, 0)?;
            }
            close_range(keep + 1, u32::MAX, 0)
        }
        None => close_range(first, u32::MAX, 0),
    }
}

/// Sets close-on-exec on every descriptor from `first` on.
pub fn close_on_exec_above(first: u32) -> Result<(), Errno> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: u32) -> Result<(), Errno> {
    match raw_close_range(first, last, flags) {
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => one_by_one(first, last, flags),
        other => other,
    }
}

/// Closes the descriptors that /proc lists; without /proc every number up to the limit.
fn one_by_one(first: u32, last: u32, flags: u32) -> Result<(), Errno> {
    const MAX_NUMBER: u64 = 1 << 20;
    match open_numbers() {
        Ok(numbers) => {
            for number in numbers.into_iter().filter(|n| (first..=last).contains(n)) {
                close_one(number, flags)?;
            }
        }
        Err(errno) => {
            let limit = getrlimit(Resource::Nofile);
            let end = limit
                .maximum
                .filter(|&end| end <= MAX_NUMBER)
                .ok_or(errno)?;
            for number in (u64::from(first)..end).filter(|n| *n <= u64::from(last)) {
                close_one(number as u32, flags)?;
            }
        }
    }
    Ok(())
}

/// The descriptors of this process. The list includes the descriptor that reads it, which is closed
/// by then.
fn open_numbers() -> Result<Vec<u32>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(c"/proc/self/fd", flags, Mode::empty())?;
    if fstatfs(&directory)?.f_type != libc::PROC_SUPER_MAGIC {
        return Err(Errno::NODEV);
    }
    let mut numbers = Vec::new();
    for entry in Dir::read_from(&directory)? {
        numbers.extend(
            entry?
                .file_name()
                .to_str()
                .ok()
                .and_then(|name| name.parse::<u32>().ok()),
        );
    }
    Ok(numbers)
}

fn close_one(number: u32, flags: u32) -> Result<(), Errno> {
    let result = if flags & libc::CLOSE_RANGE_CLOEXEC != 0 {
        close_on_exec(number as i32)
    } else {
        close(number as i32)
    };
    match result {
        -1 if last_errno() != Errno::BADF => Err(last_errno()),
        _ => Ok(()),
    }
}

#[expect(unsafe_code, reason = "a descriptor by number")]
fn close_on_exec(number: i32) -> i32 {
    // SAFETY: F_SETFD touches no memory.
    unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }
}

/// Closes a descriptor and returns the result.
pub fn close_owned(fd: OwnedFd) -> Result<(), Errno> {
    match close(std::os::fd::IntoRawFd::into_raw_fd(fd)) {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}

#[expect(unsafe_code, reason = "a descriptor by number")]
fn close(number: i32) -> i32 {
    // SAFETY: called in a child on its way to exec, which uses none of the descriptors that it
    // closes.
    unsafe { libc::close(number) }
}

#[expect(unsafe_code, reason = "no crate wraps close_range(2)")]
fn raw_close_range(first: u32, last: u32, flags: u32) -> Result<(), Errno> {
    // SAFETY: called in a child on its way to exec, which uses none of the descriptors that it
    // closes.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Resets the agent's dispositions, ignores SIGPIPE so that a write to a closed pipe fails with
/// EPIPE, and returns a signalfd for SIGCHLD.
pub fn watch_children() -> Result<OwnedFd, Errno> {
    reset()?;
    ignore_sigpipe()?;
    block_sigchld()
}

#[expect(unsafe_code, reason = "signal(2)")]
fn ignore_sigpipe() -> Result<(), Errno> {
    // SAFETY: SIG_IGN installs no handler.
    match unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) } {
        libc::SIG_ERR => Err(last_errno()),
        _ => Ok(()),
    }
}

#[expect(unsafe_code, reason = "signalfd(2) has no wrapper here")]
fn block_sigchld() -> Result<OwnedFd, Errno> {
    let set: u64 = 1 << (libc::SIGCHLD - 1);
    set_mask(libc::SIG_BLOCK, set)?;
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
