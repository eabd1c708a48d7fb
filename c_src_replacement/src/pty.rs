//! A pseudo-terminal for the workload.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    LocalModes, OptionalActions, OutputModes, Winsize, tcgetattr, tcgetwinsize, tcsetattr,
    tcsetwinsize,
};

use crate::request::PtyOptions;
use crate::stage::{Fault, Stage};

/// Opens a pair: the nonblocking master, and the workload's slave.
///
/// The agent leads a session without a terminal, so a terminal opened without NOCTTY would become
/// its controlling one. TIOCGPTPEER opens the slave of this very master, whatever is mounted on
/// /dev/pts.
pub fn open(options: PtyOptions) -> Result<(OwnedFd, OwnedFd), Fault> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).map_err(Stage::PosixOpenpt.errno())?;
    unlockpt(&master).map_err(Stage::Ptsetup.errno())?;
    let slave = ioctl_tiocgptpeer(&master, flags).map_err(Stage::PtsOpen.errno())?;
    nonblocking(&master).map_err(Stage::Ptsetup.errno())?;
    if options.no_echo || options.no_onlcr {
        let mut modes = tcgetattr(&slave).map_err(Stage::Ptsetup.errno())?;
        modes.local_modes.set(LocalModes::ECHO, !options.no_echo);
        modes
            .output_modes
            .set(OutputModes::ONLCR, !options.no_onlcr);
        tcsetattr(&slave, OptionalActions::Now, &modes).map_err(Stage::Ptsetup.errno())?;
    }
    if let Some(size) = options.size {
        set_size(&master, size);
    }
    Ok((master, slave))
}

/// Opens the slave of `master` and copies the modes and the size of `old`.
pub fn succeed(master: &OwnedFd, old: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(master, flags)?;
    nonblocking(master)?;
    tcsetattr(&slave, OptionalActions::Now, &tcgetattr(old)?)?;
    tcsetwinsize(master, tcgetwinsize(old)?)?;
    Ok(slave)
}

/// TIOCSWINSZ: the foreground group gets SIGWINCH if the size changed.
pub fn set_size(master: &OwnedFd, [rows, cols, xpixel, ypixel]: [u16; 4]) {
    let size = Winsize {
        ws_row: rows,
        ws_col: cols,
        ws_xpixel: xpixel,
        ws_ypixel: ypixel,
    };
    // An open master has a size whatever the state of its slave; after a refusal the workload keeps
    // the old size.
    let _ = tcsetwinsize(master, size);
}

pub fn nonblocking(fd: impl AsFd) -> rustix::io::Result<()> {
    fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)
}
