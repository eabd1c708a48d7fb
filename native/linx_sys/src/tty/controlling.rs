//! The terminal that controls the VM's session.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::getsid;
use rustix::termios::tcgetsid;

use crate::fault::{Fault, Stage};

/// Opens the controlling terminal. ENXIO: there is none.
pub(super) fn open_controlling(flags: OFlags) -> Result<OwnedFd, Fault> {
    open(
        "/dev/tty",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | flags,
        Mode::empty(),
    )
    .map_err(Stage::Open.errno())
}

/// Whether `fd` is the controlling terminal of the VM's session, which `/dev/tty` opens.
pub(super) fn is_controlling(fd: BorrowedFd<'_>) -> bool {
    match (tcgetsid(fd), getsid(None)) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        _ => false,
    }
}
