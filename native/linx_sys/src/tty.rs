//! Terminals: window sizes, termios saved and put back, and the controlling terminal taken over for a while.
//!
//! Two faces. The plain calls work on descriptor numbers that the caller holds ([`open_raw`], [`restore`],
//! [`window_size`]). [`Terminal`] owns its descriptor, reads on a thread of its own and puts the terminal back when it
//! is dropped.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::sys::signal::{SigSet, Signal};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{Mode as FileMode, OFlags, fstat, open};
use rustix::process::{getpgrp, getsid};
use rustix::termios::{tcgetpgrp, tcgetsid};

use crate::fault::{Errno, Fault, Stage};

/// `struct winsize` of `<asm-generic/termios.h>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    pub rows: u16,
    pub cols: u16,
    pub xpixel: u16,
    pub ypixel: u16,
}

/// `TIOCGWINSZ` of `ioctl_tty(2)`, on a number that need not be an open descriptor.
pub fn window_size(fd: RawFd) -> Result<WindowSize, Fault> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    ioctl(fd, libc::TIOCGWINSZ, &mut size).map_err(Stage::Ioctl.errno())?;
    Ok(WindowSize {
        rows: size.ws_row,
        cols: size.ws_col,
        xpixel: size.ws_xpixel,
        ypixel: size.ws_ypixel,
    })
}

/// `TIOCSWINSZ` of `ioctl_tty(2)`. A change sends SIGWINCH to the terminal's foreground process group.
pub fn set_window_size(fd: RawFd, size: WindowSize) -> Result<(), Fault> {
    let mut size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.cols,
        ws_xpixel: size.xpixel,
        ws_ypixel: size.ypixel,
    };
    ioctl(fd, libc::TIOCSWINSZ, &mut size).map_err(Stage::Ioctl.errno())
}

/// What to put back: the terminal's `struct termios2`, and which file it belongs to, so that a descriptor number that
/// was closed and used again meanwhile is left alone.
#[derive(Clone, Copy)]
pub struct Saved {
    termios: libc::termios2,
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

    fn of(fd: RawFd) -> Result<Self, Fault> {
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

/// What a terminal's reader thread found.
#[derive(Debug)]
pub enum Input<'a> {
    Bytes(&'a [u8]),
    /// Hung up. Nothing follows.
    End,
}

/// The controlling terminal, raw until closed or dropped: every byte passes, both ways.
#[derive(Debug)]
pub struct Terminal {
    shared: Arc<Shared>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    tty: OwnedFd,
    saved: Saved,
    restored: AtomicBool,
    /// The reader may read once more.
    wanted: AtomicBool,
    /// Wakes the reader: `wanted` has changed.
    wake: OwnedFd,
    /// Becomes readable at close and stays so.
    stop: OwnedFd,
}

impl Terminal {
    /// With `standard`, only where descriptors 0 and 1 are this terminal; ENOTTY elsewhere.
    pub fn open(standard: bool) -> Result<Self, Fault> {
        // An open file description of our own: O_NONBLOCK does not reach the VM's standard descriptors.
        let tty = open_controlling(OFlags::NONBLOCK)?;
        let (input, output) = (std::io::stdin(), std::io::stdout());
        if standard && !(is_controlling(input.as_fd()) && is_controlling(output.as_fd())) {
            return Err(Stage::Open.fault(libc::ENOTTY));
        }
        let saved = Saved::of(tty.as_raw_fd())?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = eventfd(0, flags).map_err(Stage::Pipe.errno())?;
        let stop = eventfd(0, flags).map_err(Stage::Pipe.errno())?;
        let terminal = Self {
            shared: Arc::new(Shared {
                tty,
                saved,
                restored: AtomicBool::new(false),
                wanted: AtomicBool::new(false),
                wake,
                stop,
            }),
            reader: Mutex::new(None),
        };
        terminal.reapply()?;
        Ok(terminal)
    }

    /// Makes it raw again, after somebody else (a shell that continued us) has set other modes.
    pub fn reapply(&self) -> Result<(), Fault> {
        apply(self.shared.tty.as_fd(), raw(self.shared.saved.termios))
    }

    /// Starts the thread that reads: once for each [`Terminal::want`]. It ends at close, at the terminal's end, or
    /// when `sink` answers false.
    pub fn start(&self, sink: impl FnMut(Input<'_>) -> bool + Send + 'static) -> Result<(), Fault> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name("linx-tty".into())
            .spawn(move || {
                // SIGTTIN would stop the whole VM when it is in the background; blocked, the read is EIO.
                let _ = SigSet::all().thread_block();
                shared.read_loop(sink);
            })
            .map_err(Stage::Thread.errno())?;
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Lets the reader deliver once more.
    pub fn want(&self) {
        self.shared.wanted.store(true, Ordering::Release);
        signal(&self.shared.wake);
    }

    /// Writes all of `bytes`, waiting while the terminal is stopped or slow. EPIPE when closed meanwhile.
    pub fn write(&self, mut bytes: &[u8]) -> Result<(), Fault> {
        let Shared { tty, stop, .. } = &*self.shared;
        while !bytes.is_empty() {
            match rustix::io::write(tty, bytes) {
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    let mut fds = [
                        PollFd::new(tty, PollFlags::OUT),
                        PollFd::new(stop, PollFlags::IN),
                    ];
                    wait(&mut fds).map_err(Stage::Write.errno())?;
                    if !fds[1].revents().is_empty() {
                        return Err(Stage::Write.fault(libc::EPIPE));
                    }
                }
                Err(error) => return Err(Stage::Write.fault(error.raw())),
            }
        }
        Ok(())
    }

    pub fn window_size(&self) -> Result<WindowSize, Fault> {
        window_size(self.shared.tty.as_raw_fd())
    }

    /// Stops the reader, waits for it, and puts the terminal back. A second close does nothing.
    pub fn close(&self) -> Result<(), Fault> {
        signal(&self.shared.stop);
        let reader = self
            .reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(reader) = reader {
            // A panic of the reader has been its end.
            let _ = reader.join();
        }
        self.shared.restore()
    }
}

impl Drop for Terminal {
    /// May run on a scheduler: the work is a thread's, which holds what it needs.
    fn drop(&mut self) {
        signal(&self.shared.stop);
        if self.shared.restored.load(Ordering::Acquire) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let _ = thread::Builder::new()
            .name("linx-tty-drop".into())
            .spawn(move || shared.restore());
    }
}

impl Shared {
    fn restore(&self) -> Result<(), Fault> {
        if self.restored.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        match apply(self.tty.as_fd(), self.saved.termios) {
            // Hung up: there is no terminal to put back.
            Err(Fault {
                errno: libc::EIO, ..
            }) => Ok(()),
            other => other,
        }
    }

    fn read_loop(&self, mut sink: impl FnMut(Input<'_>) -> bool) {
        let mut buffer = [0u8; 4096];
        loop {
            let wanted = self.wanted.load(Ordering::Acquire);
            let tty_events = if wanted {
                PollFlags::IN
            } else {
                PollFlags::empty()
            };
            let mut fds = [
                PollFd::new(&self.stop, PollFlags::IN),
                PollFd::new(&self.wake, PollFlags::IN),
                PollFd::new(&self.tty, tty_events),
            ];
            if wait(&mut fds).is_err() || !fds[0].revents().is_empty() {
                return;
            }
            let [_, wake, tty] = fds.map(|fd| fd.revents());
            if !wake.is_empty() {
                let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
            }
            if tty.is_empty() {
                continue;
            }
            let alive = match rustix::io::read(&self.tty, &mut buffer) {
                Ok(0) => {
                    sink(Input::End);
                    false
                }
                Ok(n) => {
                    self.wanted.store(false, Ordering::Release);
                    sink(Input::Bytes(buffer.get(..n).unwrap_or_default()))
                }
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => true,
                Err(_) => {
                    sink(Input::End);
                    false
                }
            };
            if !alive {
                return;
            }
        }
    }
}

fn wait(fds: &mut [PollFd<'_>]) -> rustix::io::Result<usize> {
    rustix::io::retry_on_intr(|| poll(fds, None))
}

fn signal(eventfd: &OwnedFd) {
    // EAGAIN means that the counter is full, so it is readable already.
    let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
}

fn open_controlling(flags: OFlags) -> Result<OwnedFd, Fault> {
    open(
        "/dev/tty",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | flags,
        FileMode::empty(),
    )
    .map_err(Stage::Open.errno())
}

/// Whether `fd` is the controlling terminal of our session, which is what `/dev/tty` opens.
fn is_controlling(fd: BorrowedFd<'_>) -> bool {
    match (tcgetsid(fd), getsid(None)) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        _ => false,
    }
}

fn raw(mut t: libc::termios2) -> libc::termios2 {
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
fn apply(tty: BorrowedFd<'_>, mut termios: libc::termios2) -> Result<(), Fault> {
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

/// The structures that the terminal requests used here read and write.
trait Argument {}
impl Argument for libc::winsize {}
impl Argument for libc::termios2 {}
impl Argument for u32 {}

#[expect(unsafe_code, reason = "ioctl(2) takes a pointer")]
fn ioctl<T: Argument>(fd: RawFd, request: libc::Ioctl, argument: &mut T) -> nix::Result<()> {
    let pointer: *mut T = argument;
    // SAFETY: each request passed in this module reads or writes exactly one T (winsize, termios2, or the u32 of
    // TIOCGDEV), which the pointer refers to for the whole call; a number that is no open terminal is EBADF or
    // ENOTTY and touches nothing.
    let result = unsafe { libc::ioctl(fd, request, pointer) };
    nix::errno::Errno::result(result).map(drop)
}

#[expect(unsafe_code, reason = "the documented interface is a number")]
fn borrow<'fd>(fd: RawFd) -> Result<BorrowedFd<'fd>, Fault> {
    if fd < 0 {
        return Err(Stage::Tcgetattr.fault(libc::EBADF));
    }
    // SAFETY: the number is not -1, and it is only handed to calls that ask the kernel about it: when it is closed or
    // reused meanwhile they answer EBADF or are about the other file, whose identity is compared before any change.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

    /// Both ends of a terminal that controls nobody.
    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        (master, slave)
    }

    #[test]
    fn a_size_is_read_as_it_was_set() {
        let (master, slave) = pair();
        let size = WindowSize {
            rows: 42,
            cols: 132,
            xpixel: 7,
            ypixel: u16::MAX,
        };
        set_window_size(master.as_raw_fd(), size).unwrap();
        assert_eq!(window_size(slave.as_raw_fd()), Ok(size));
        assert_eq!(window_size(-1), Err(Stage::Ioctl.fault(libc::EBADF)));
    }

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
        let file = open("/dev/null", OFlags::RDONLY, FileMode::empty()).unwrap();
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
