//! `ioctl_tty(2)` on descriptors that callers hold as numbers.

use std::os::fd::{BorrowedFd, RawFd};

use crate::fault::{Fault, Stage};

/// The structures that the terminal requests used here read and write.
pub(super) trait Argument {}
impl Argument for libc::winsize {}
impl Argument for libc::termios2 {}
impl Argument for u32 {}

#[expect(unsafe_code, reason = "ioctl(2) takes a pointer")]
pub(super) fn ioctl<T: Argument>(
    fd: RawFd,
    request: libc::Ioctl,
    argument: &mut T,
) -> nix::Result<()> {
    let pointer: *mut T = argument;
    // SAFETY: each request that window.rs and modes.rs pass reads or writes exactly one T (winsize, termios2, or the u32
    // of TIOCGDEV), which the pointer refers to for the whole call; a number that is no open terminal is EBADF or
    // ENOTTY and touches nothing.
    let result = unsafe { libc::ioctl(fd, request, pointer) };
    nix::errno::Errno::result(result).map(drop)
}

#[expect(unsafe_code, reason = "the documented interface is a number")]
pub(super) fn borrow<'fd>(fd: RawFd) -> Result<BorrowedFd<'fd>, Fault> {
    if fd < 0 {
        return Err(Stage::Tcgetattr.fault(libc::EBADF));
    }
    // SAFETY: the number is not -1, and it is only handed to calls that ask the kernel about it: when it is closed or
    // reused meanwhile they answer EBADF or are about the other file, whose identity is compared before any change.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}
