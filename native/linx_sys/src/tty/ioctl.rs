//! `ioctl_tty(2)` on descriptors that callers hold as numbers.

use std::os::fd::RawFd;

/// The structures that the terminal requests used here read and write.
pub(super) trait Argument {}
impl Argument for libc::winsize {}
impl Argument for libc::termios2 {}

/// _IOC_SIZE (asm-generic/ioctl.h): the size of the argument, which a request's number holds.
const fn size_in(request: libc::Ioctl) -> usize {
    request as usize >> 16 & 0x3fff
}

// TIOCGWINSZ and TIOCSWINSZ are older than this scheme.
const _: () = assert!(size_of::<libc::winsize>() == 8);
const _: () = assert!(size_of::<libc::termios2>() == 44);
const _: () = assert!(size_in(libc::TCGETS2) == 44 && size_in(libc::TCSETS2) == 44);

#[expect(unsafe_code, reason = "ioctl(2) takes a pointer")]
pub(super) fn ioctl<T: Argument>(
    fd: RawFd,
    request: libc::Ioctl,
    argument: &mut T,
) -> nix::Result<()> {
    let pointer: *mut T = argument;
    // SAFETY: each request that window.rs and modes.rs pass reads or writes exactly one T (winsize
    // or termios2), which the pointer refers to for the whole call; a number that is no open
    // terminal is EBADF or ENOTTY and touches nothing.
    let result = unsafe { libc::ioctl(fd, request, pointer) };
    nix::errno::Errno::result(result).map(drop)
}
