//! `poll(2)`, and where it is refused `ppoll(2)`, or the other way round: what the C library's name stands for differs by
//! architecture, and a filter may know only one.

use std::time::Duration;

use rustix::event::{PollFd, Timespec};
use rustix::io::Errno;

#[cfg(any(target_arch = "x86_64", target_arch = "arm"))]
use crate::clone::last_errno;

/// Waits for at most `limit`. INTR is an answer of nobody: the caller looks at everything anyway.
pub fn poll(fds: &mut [PollFd<'_>], limit: Option<&Timespec>) -> Result<usize, Errno> {
    match rustix::event::poll(fds, limit) {
        Err(Errno::INTR) => Ok(0),
        Err(Errno::NOSYS | Errno::PERM) => other_poll(fds, limit),
        other => other,
    }
}

pub fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// Sleeps; at once back where no call can wait.
pub fn pause(time: Duration) {
    let limit = timespec(time);
    if poll(&mut [], Some(&limit)).is_err() {
        std::thread::sleep(time);
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "arm")))]
fn other_poll(_fds: &mut [PollFd<'_>], _limit: Option<&Timespec>) -> Result<usize, Errno> {
    // These have ppoll(2) alone.
    Err(Errno::NOSYS)
}

/// rustix takes ppoll(2) where there is a limit below milliseconds, and poll(2) otherwise.
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
    // SAFETY: `PollFd` has the layout of `struct pollfd`, and the kernel writes no more than `fds.len()` of them.
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
    // SAFETY: as above; the kernel may write what is left of the time into our copy, and reads no signal set.
    let count =
        unsafe { libc::syscall(PPOLL, fds.as_mut_ptr(), fds.len(), pointer, 0usize, 8usize) };
    match count {
        -1 if last_errno() == Errno::INTR => Ok(0),
        -1 => Err(last_errno()),
        count => Ok(count as usize),
    }
}
