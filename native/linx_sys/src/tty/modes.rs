//! A terminal's modes: read, made raw, saved as bytes and restored.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use rustix::fs::OFlags;
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;

use super::controlling::{is_controlling, open_controlling};
use super::ioctl::ioctl;
use crate::fault::{Fault, Stage};

/// The saved settings: the terminal's `struct termios2`, and the number of the opening, so that a
/// descriptor number that was closed and reused meanwhile is left alone.
#[derive(Clone, Copy)]
pub struct Saved {
    pub(super) termios: libc::termios2,
    opening: u64,
}

/// The descriptors that [`open_raw`] opened, by number. The documented interface is a number that
/// any process of the VM may hold, and two may restore at once: the table owns the descriptor, and
/// only the call that removes it from the table closes it. So no number is closed after another
/// file has got it.
static OPEN: Mutex<Table> = Mutex::new(Table {
    opened: 0,
    by_number: BTreeMap::new(),
});

struct Table {
    opened: u64,
    by_number: BTreeMap<RawFd, (u64, OwnedFd)>,
}

impl Saved {
    /// NCCS of <asm-generic/termbits.h>; the C library's own struct has room for more.
    const NCCS: usize = 19;
    /// Four flag words, the line discipline, the control characters, two speeds; then the number of
    /// the opening.
    pub const LEN: usize = 16 + 1 + Self::NCCS + 8 + 8;

    /// The settings of a terminal outside the table.
    pub(super) fn of(fd: RawFd) -> Result<Self, Fault> {
        let termios = attributes(fd)?;
        Ok(Self {
            termios,
            opening: 0,
        })
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
        bytes.extend_from_slice(&self.opening.to_ne_bytes());
        bytes
    }

    /// Decodes a caller's binary; None for any other length.
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
        let opening = u64::from_ne_bytes(take(8)?.try_into().ok()?);
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
            opening,
        })
    }
}

impl std::fmt::Debug for Saved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Saved")
            .field("opening", &self.opening)
            .finish_non_exhaustive()
    }
}

/// Opens `/dev/tty` and makes it raw, as `cfmakeraw(3)` does. ENXIO: the VM has no controlling
/// terminal.
pub fn open_raw() -> Result<(RawFd, Saved), Fault> {
    keep(open_controlling(OFlags::empty())?)
}

fn keep(tty: OwnedFd) -> Result<(RawFd, Saved), Fault> {
    let mut saved = Saved::of(tty.as_raw_fd())?;
    apply(tty.as_fd(), raw(saved.termios))?;
    let fd = tty.as_raw_fd();
    let mut table = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    table.opened += 1;
    saved.opening = table.opened;
    table.by_number.insert(fd, (saved.opening, tty));
    Ok((fd, saved))
}

/// Restores `saved` on `fd` and closes it. Does nothing if `fd` is not the descriptor that was
/// opened with `saved`: an earlier or concurrent call has closed it.
pub fn restore(fd: RawFd, saved: &Saved) -> Result<(), Fault> {
    let mut table = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let tty = match table.by_number.get(&fd) {
        Some((opening, _)) if *opening == saved.opening => table.by_number.remove(&fd),
        _ => None,
    };
    let Some((_, tty)) = tty else { return Ok(()) };
    // The table stays locked until the terminal is restored, so that a second call finds it
    // restored.
    match apply(tty.as_fd(), saved.termios) {
        // Hung up: the terminal has no settings to restore.
        Err(Fault {
            errno: libc::EIO, ..
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

/// `tcsetattr(3)` with TCSANOW that never stops the VM: SIGTTOU goes to the whole process group of
/// a background process, so it is blocked, on a thread of its own because a scheduler's mask must
/// not change. A VM in the background may not change the terminal that its shell uses: EIO, as for
/// an orphaned group.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tty::pair::pair;
    use crate::tty::window_size;

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

    fn open(fd: RawFd) -> bool {
        window_size(fd) != Err(Stage::Ioctl.fault(libc::EBADF))
    }

    /// A number that no other test's open takes when it is free again.
    fn kept(slave: &OwnedFd, least: RawFd) -> (RawFd, Saved) {
        keep(rustix::io::fcntl_dupfd_cloexec(slave, least).unwrap()).unwrap()
    }

    #[test]
    fn restore_touches_the_descriptor_it_was_saved_with_and_no_other() {
        let (_master, slave) = pair();
        let before = Saved::of(slave.as_raw_fd()).unwrap();
        let (fd, saved) = kept(&slave, 700);

        // Another of the same terminal, another terminal, another file.
        let (second, saved_second) = kept(&slave, 710);
        let (_other_master, other) = pair();
        restore(second, &saved).unwrap();
        restore(other.as_raw_fd(), &saved).unwrap();
        restore(slave.as_raw_fd(), &saved).unwrap();
        assert!(open(second) && open(other.as_raw_fd()) && open(slave.as_raw_fd()));
        restore(second, &saved_second).unwrap();
        assert!(!open(second));

        restore(fd, &saved).unwrap();
        assert!(!open(fd));
        let again = Saved::of(slave.as_raw_fd()).unwrap();
        assert_eq!(again.to_bytes(), before.to_bytes());
        restore(fd, &saved).unwrap();
    }

    #[test]
    fn the_number_opened_again_is_not_closed_by_what_was_saved_before() {
        let (_master, slave) = pair();
        let (fd, saved) = kept(&slave, 720);
        restore(fd, &saved).unwrap();
        let (again, saved_again) = kept(&slave, 720);
        assert_eq!(again, fd);
        restore(fd, &saved).unwrap();
        assert!(open(fd));
        restore(fd, &saved_again).unwrap();
        assert!(!open(fd));
    }

    #[test]
    fn restored_twice_at_once_no_innocent_descriptor_is_closed() {
        let (_master, slave) = pair();
        for _ in 0..500 {
            let (fd, saved) = kept(&slave, 740);
            let start = std::sync::Barrier::new(3);
            thread::scope(|scope| {
                let twice = [(); 2].map(|()| {
                    scope.spawn(|| {
                        start.wait();
                        restore(fd, &saved)
                    })
                });
                // The number is taken by another file as soon as it is free.
                start.wait();
                let file = loop {
                    let file = rustix::io::fcntl_dupfd_cloexec(&slave, fd).unwrap();
                    if file.as_raw_fd() == fd {
                        break file;
                    }
                };
                for thread in twice {
                    assert_eq!(thread.join().unwrap(), Ok(()));
                }
                assert!(rustix::io::fcntl_getfd(&file).is_ok());
            });
        }
    }

    #[test]
    fn a_terminal_that_was_hung_up_is_closed_all_the_same() {
        let (master, slave) = pair();
        let (fd, saved) = kept(&slave, 800);
        drop(master);
        restore(fd, &saved).unwrap();
        assert!(!open(fd));
    }
}
