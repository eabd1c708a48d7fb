//! `poll(2)` with `ppoll(2)` as its replacement, or the other way round: the C library's poll(3)
//! calls either, depending on the architecture, and a filter may allow only one.

use std::time::Duration;

use rustix::event::{PollFd, Timespec};
use rustix::io::Errno;

#[cfg(any(target_arch = "x86_64", target_arch = "arm"))]
use crate::clone::last_errno;

/// Waits for at most `limit`. EINTR counts as no event: the caller checks everything anyway.
pub fn poll(fds: &mut [PollFd<'_>], limit: Option<&Timespec>) -> Result<usize, Errno> {
    match rustix::event::poll(fds, limit) {
        Err(Errno::INTR) => Ok(0),
        Err(Errno::NOSYS | Errno::PERM) => other_poll(fds, limit),
        other => other,
    }
}

// ppoll(2) reads `struct __kernel_timespec` (linux/time_types.h) and `struct pollfd`.
const _: () = assert!(size_of::<Timespec>() == 16);
const _: () = assert!(size_of::<PollFd<'static>>() == 8);

pub fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// Sleeps for `time`; returns at once if no call can wait.
pub fn pause(time: Duration) {
    let limit = timespec(time);
    if poll(&mut [], Some(&limit)).is_err() {
        std::thread::sleep(time);
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "arm")))]
fn other_poll(_fds: &mut [PollFd<'_>], _limit: Option<&Timespec>) -> Result<usize, Errno> {
    // These architectures have ppoll(2) only.
    Err(Errno::NOSYS)
}

/// rustix calls ppoll(2) for a limit with a fraction of a millisecond, and poll(2) otherwise.
#[cfg(any(target_arch = "x86_64", target_arch = "arm"))]
fn other_poll(fds: &mut [PollFd<'_>], limit: Option<&Timespec>) -> Result<usize, Errno> {
    let milliseconds = limit.map_or(-1, |limit| {
        limit.tv_sec * 1000 + (limit.tv_nsec + 999_999) / 1_000_000
    });
    match by_poll(fds, milliseconds.try_into().unwrap_or(i32::MAX)) {
        Err(Errno::NOSYS | Errno::PERM) => by_ppoll(fds, limit),
        Err(Errno::INTR) => Ok(0),
        other => other,
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "arm"))]
#[expect(
    unsafe_code,
    reason = "the one of two calls that rustix did not choose"
)]
fn by_poll(fds: &mut [PollFd<'_>], milliseconds: i32) -> Result<usize, Errno> {
    // SAFETY: `PollFd` has the layout of `struct pollfd`, and the kernel writes no more than
    // `fds.len()` of them.
    match unsafe { libc::syscall(libc::SYS_poll, fds.as_mut_ptr(), fds.len(), milliseconds) } {
        -1 => Err(last_errno()),
        count => Ok(count as usize),
    }
}

/// The call whose timespec has two 64-bit members, as [`Timespec`] has.
#[cfg(target_arch = "x86_64")]
const PPOLL: libc::c_long = libc::SYS_ppoll;
/// ppoll_time64 (asm-generic/unistd.h), which the libc crate does not name.
#[cfg(target_arch = "arm")]
const PPOLL: libc::c_long = 414;

#[cfg(any(target_arch = "x86_64", target_arch = "arm"))]
#[expect(
    unsafe_code,
    reason = "the one of two calls that rustix did not choose"
)]
fn by_ppoll(fds: &mut [PollFd<'_>], limit: Option<&Timespec>) -> Result<usize, Errno> {
    let mut limit = limit.copied();
    let pointer = limit
        .as_mut()
        .map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: as above; the kernel may write what is left of the time into our copy, and reads no
    // signal set.
    let count =
        unsafe { libc::syscall(PPOLL, fds.as_mut_ptr(), fds.len(), pointer, 0usize, 8usize) };
    match count {
        -1 if last_errno() == Errno::INTR => Ok(0),
        -1 => Err(last_errno()),
        count => Ok(count as usize),
    }
}
