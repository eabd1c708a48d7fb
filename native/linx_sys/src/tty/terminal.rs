//! The takeover of the controlling terminal: a thread reads it, and it is restored at the end.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::sys::signal::SigSet;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::OFlags;

use super::controlling::{is_controlling, open_controlling};
use super::modes::{Saved, apply, raw};
use super::window::{WindowSize, window_size};
use crate::fault::{Errno, Fault, Stage};

/// An event of a terminal's reader thread.
#[derive(Debug)]
pub enum Input<'a> {
    Bytes(&'a [u8]),
    /// The terminal hung up; the last event.
    End,
}

/// The controlling terminal, raw until closed or dropped: every byte passes in both directions.
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
    /// Whether the reader may read once more.
    wanted: AtomicBool,
    /// The eventfd that wakes the reader when `wanted` has changed.
    wake: OwnedFd,
    /// The eventfd that is readable from the close on.
    stop: OwnedFd,
}

impl Terminal {
    /// Opens the terminal. With `standard`, only if descriptors 0 and 1 are this terminal; else
    /// ENOTTY.
    pub fn open(standard: bool) -> Result<Self, Fault> {
        // A new open file description, so that O_NONBLOCK does not affect the VM's standard
        // descriptors.
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

    /// Makes the terminal raw again after another program (a shell that continued the VM) has set
    /// other modes.
    pub fn reapply(&self) -> Result<(), Fault> {
        apply(self.shared.tty.as_fd(), raw(self.shared.saved.termios))
    }

    /// Starts the reader thread, which reads once for each [`Terminal::want`]. It ends at close, at
    /// the terminal's end, or when `sink` returns false.
    pub fn start(&self, sink: impl FnMut(Input<'_>) -> bool + Send + 'static) -> Result<(), Fault> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name("linx-tty".into())
            .spawn(move || {
                // SIGTTIN would stop the whole VM when it is in the background; blocked, the read
                // is EIO.
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

    /// Writes all of `bytes`, waiting while the terminal is stopped or slow. EPIPE when closed
    /// meanwhile.
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

    /// Stops the reader, waits for it, and restores the terminal. A second close does nothing.
    pub fn close(&self) -> Result<(), Fault> {
        signal(&self.shared.stop);
        let reader = self
            .reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(reader) = reader {
            // The reader has panicked.
            let _ = reader.join();
        }
        self.shared.restore()
    }
}

impl Drop for Terminal {
    /// The drop may run on a scheduler, so a thread does the work and holds its resources.
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
            // Hung up: there is no terminal to restore.
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
