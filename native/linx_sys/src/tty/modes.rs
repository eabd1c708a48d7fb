//! A terminal's modes: read, made raw, kept as bytes and put back.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{OFlags, fstat};
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;

use super::controlling::{is_controlling, open_controlling};
use super::ioctl::{borrow, ioctl};
use crate::fault::{Fault, Stage};

/// What to put back: the terminal's `struct termios2`, and which file it belongs to, so that a descriptor number that
/// was closed and used again meanwhile is left alone.
#[derive(Clone, Copy)]
pub struct Saved {
    pub(super) termios: libc::termios2,
    identity: Identity,
}

/// The terminal device behind a descriptor: `/dev/tty` is one file for every terminal, so the device is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    dev: u64,
    ino: u64,
    device: u32,
}

impl Saved {
    /// NCCS of <asm-generic/termbits.h>; the C library's own struct has room for more.
    const NCCS: usize = 19;
    /// Four flag words, the line discipline, the control characters, two speeds; then dev, ino, device.
    pub const LEN: usize = 16 + 1 + Self::NCCS + 8 + 8 + 8 + 4;

    pub(super) fn of(fd: RawFd) -> Result<Self, Fault> {
        let termios = attributes(fd)?;
        let identity = Identity::of(fd)?;
        Ok(Self { termios, identity })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let t = &self.termios;
        let mut bytes = Vec::with_capacity(Self::LEN);
        for flags in [t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag] {
            bytes.extend_from_slice(&flags.to_ne_bytes());
        }
        bytes.push(t.c_line);
        bytes.extend_from_slice(&t.c_cc);
        for speed in [t.c_ispeed, t.c_ospeed] {
            bytes.extend_from_slice(&speed.to_ne_bytes());
        }
        bytes.extend_from_slice(&self.identity.dev.to_ne_bytes());
        bytes.extend_from_slice(&self.identity.ino.to_ne_bytes());
        bytes.extend_from_slice(&self.identity.device.to_ne_bytes());
        bytes
    }

    /// None for anything but the exact length: the bytes come back from a caller.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::LEN {
            return None;
        }
        let mut rest = bytes;
        let mut take = |n: usize| {
            let (head, tail) = rest.split_at_checked(n)?;
            rest = tail;
            Some(head)
        };
        let mut word = || Some(u32::from_ne_bytes(take(4)?.try_into().ok()?));
        let [c_iflag, c_oflag, c_cflag, c_lflag] = [word()?, word()?, word()?, word()?];
        let c_line = *take(1)?.first()?;
        let c_cc = take(Self::NCCS)?.try_into().ok()?;
        let mut word = || Some(u32::from_ne_bytes(take(4)?.try_into().ok()?));
        let [c_ispeed, c_ospeed] = [word()?, word()?];
        let mut long = || Some(u64::from_ne_bytes(take(8)?.try_into().ok()?));
        let [dev, ino] = [long()?, long()?];
        let device = u32::from_ne_bytes(take(4)?.try_into().ok()?);
        Some(Self {
            termios: libc::termios2 {
                c_iflag,
                c_oflag,
                c_cflag,
                c_lflag,
                c_line,
                c_cc,
                c_ispeed,
                c_ospeed,
            },
            identity: Identity { dev, ino, device },
        })
    }
}

impl std::fmt::Debug for Saved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Saved")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Identity {
    fn of(fd: RawFd) -> Result<Self, Fault> {
        let stat = fstat(borrow(fd)?).map_err(Stage::Tcgetattr.errno())?;
        let mut device = 0u32;
        ioctl(fd, libc::TIOCGDEV, &mut device).map_err(Stage::Tcgetattr.errno())?;
        Ok(Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            device,
        })
    }
}

/// Opens `/dev/tty` and makes it raw, as `cfmakeraw(3)` does. ENXIO: the VM has no controlling terminal.
pub fn open_raw() -> Result<(RawFd, Saved), Fault> {
    let fd = open_controlling(OFlags::empty())?;
    let saved = Saved::of(fd.as_raw_fd())?;
    apply(fd.as_fd(), raw(saved.termios))?;
    Ok((fd.into_raw_fd(), saved))
}

/// Puts `saved` back on `fd` and closes it. Does nothing when `fd` is not open, or is another file by now.
pub fn restore(fd: RawFd, saved: &Saved) -> Result<(), Fault> {
    match Identity::of(fd) {
        Ok(identity) if identity == saved.identity => {}
        Ok(_) => return Ok(()),
        // Hung up: the terminal has nothing to restore any more, but the descriptor is still ours to close.
        Err(Fault {
            errno: libc::EIO, ..
        }) => {
            return close(fd);
        }
        Err(_) => return Ok(()),
    }
    let restored = apply(borrow(fd)?, saved.termios);
    close(fd)?;
    match restored {
        Err(Fault {
            errno: libc::EBADF | libc::EIO,
            ..
        }) => Ok(()),
        other => other,
    }
}

/// `cfmakeraw(3)`.
pub(super) fn raw(mut t: libc::termios2) -> libc::termios2 {
    t.c_iflag &= !(libc::IGNBRK
        | libc::BRKINT
        | libc::PARMRK
        | libc::ISTRIP
        | libc::INLCR
        | libc::IGNCR
        | libc::ICRNL
        | libc::IXON);
    t.c_oflag &= !libc::OPOST;
    t.c_lflag &= !(libc::ECHO | libc::ECHONL | libc::ICANON | libc::ISIG | libc::IEXTEN);
    t.c_cflag = t.c_cflag & !(libc::CSIZE | libc::PARENB) | libc::CS8;
    t.c_cc[libc::VMIN] = 1;
    t.c_cc[libc::VTIME] = 0;
    t
}

fn attributes(fd: RawFd) -> Result<libc::termios2, Fault> {
    let mut termios = libc::termios2 {
        c_iflag: 0,
        c_oflag: 0,
        c_cflag: 0,
        c_lflag: 0,
        c_line: 0,
        c_cc: [0; Saved::NCCS],
        c_ispeed: 0,
        c_ospeed: 0,
    };
    ioctl(fd, libc::TCGETS2, &mut termios).map_err(Stage::Tcgetattr.errno())?;
    Ok(termios)
}

/// `tcsetattr(3)` with TCSANOW, never stopping the VM: SIGTTOU goes to the whole process group of a background
/// process, so it is blocked, on a thread of its own because a scheduler's mask is not ours to change. A VM in the
/// background may not change the terminal that its shell uses: EIO, as the kernel tells an orphaned group.
pub(super) fn apply(tty: BorrowedFd<'_>, mut termios: libc::termios2) -> Result<(), Fault> {
    if let Ok(foreground) = tcgetpgrp(tty)
        && is_controlling(tty)
        && foreground != getpgrp()
    {
        return Err(Stage::Tcsetattr.fault(libc::EIO));
    }
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("linx-tty-set".into())
            .spawn_scoped(scope, || {
                let mut mask = SigSet::empty();
                mask.add(Signal::SIGTTOU);
                let _ = mask.thread_block();
                ioctl(tty.as_raw_fd(), libc::TCSETS2, &mut termios)
                    .map_err(Stage::Tcsetattr.errno())
            })
            .map_err(Stage::Thread.errno())?;
        thread.join().unwrap_or(Err(Stage::Thread.fault(libc::EIO)))
    })
}

fn close(fd: RawFd) -> Result<(), Fault> {
    nix::unistd::close(fd).map_err(Stage::Close.errno())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tty::pair::pair;
    use crate::tty::window_size;
    use rustix::fs::{Mode, open};

    #[test]
    fn saved_settings_survive_the_way_through_bytes() {
        let (_master, slave) = pair();
        let saved = Saved::of(slave.as_raw_fd()).unwrap();
        let bytes = saved.to_bytes();
        assert_eq!(bytes.len(), Saved::LEN);
        let again = Saved::from_bytes(&bytes).unwrap();
        assert_eq!(again.to_bytes(), bytes);
        for n in (0..Saved::LEN).chain([Saved::LEN + 1]) {
            assert!(Saved::from_bytes(&vec![0xA5; n]).is_none());
        }
    }

    #[test]
    fn raw_is_what_cfmakeraw_makes() {
        let (_master, slave) = pair();
        let mut expected = rustix::termios::tcgetattr(&slave).unwrap();
        expected.make_raw();
        apply(slave.as_fd(), raw(attributes(slave.as_raw_fd()).unwrap())).unwrap();
        let made = rustix::termios::tcgetattr(&slave).unwrap();
        assert_eq!(made.input_modes, expected.input_modes);
        assert_eq!(made.output_modes, expected.output_modes);
        assert_eq!(made.local_modes, expected.local_modes);
        assert_eq!(made.control_modes, expected.control_modes);
    }

    #[test]
    fn restore_touches_the_terminal_it_was_saved_from_and_no_other_file() {
        let (_master, slave) = pair();
        let saved = Saved::of(slave.as_raw_fd()).unwrap();
        apply(slave.as_fd(), raw(saved.termios)).unwrap();

        let (_other_master, other) = pair();
        restore(other.as_raw_fd(), &saved).unwrap();
        assert!(rustix::io::fcntl_getfd(&other).is_ok());
        let file = open("/dev/null", OFlags::RDONLY, Mode::empty()).unwrap();
        restore(file.as_raw_fd(), &saved).unwrap();
        assert!(rustix::io::fcntl_getfd(&file).is_ok());

        // A number that no other test's open gets when it is free again.
        let fd = rustix::io::fcntl_dupfd_cloexec(&slave, 700)
            .unwrap()
            .into_raw_fd();
        restore(fd, &saved).unwrap();
        assert_eq!(window_size(fd), Err(Stage::Ioctl.fault(libc::EBADF)));
        let again = Saved::of(slave.as_raw_fd()).unwrap();
        assert_eq!(again.to_bytes(), saved.to_bytes());
        restore(fd, &saved).unwrap();
    }

    #[test]
    fn a_terminal_that_was_hung_up_is_closed_all_the_same() {
        let (master, slave) = pair();
        let saved = Saved::of(slave.as_raw_fd()).unwrap();
        let fd = rustix::io::fcntl_dupfd_cloexec(&slave, 800)
            .unwrap()
            .into_raw_fd();
        drop(master);
        restore(fd, &saved).unwrap();
        assert_eq!(window_size(fd), Err(Stage::Ioctl.fault(libc::EBADF)));
    }
}
