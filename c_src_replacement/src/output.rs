//! Output from the workload to the VM, read only against credit, so that an owner who stops reading
//! stops the writer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, read};

use crate::etf::Writer;
use crate::frame::FrameWriter;

/// The size limit of a frame with its head: the bytes that the VM reads at once
/// (ERTS_SYS_READ_BUF_SZ). One byte more would cost a second read and a second copy of the whole
/// frame.
const FRAME: usize = 64 * 1024;

/// The bytes of a length: of a frame, and of a binary in it.
const LENGTH: usize = 4;

/// The pause after which a terminal that no process has open is read again.
const QUIET_PTY: Duration = Duration::from_millis(100);

/// The credit that a frame costs at least, whatever its size.
const MIN_COST: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Pty,
    Stdout,
    Stderr,
}

impl Stream {
    const fn name(self) -> &'static str {
        match self {
            Stream::Pty => "pty",
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Read {
    /// No bytes are available.
    Empty,
    Full,
    /// No process holds the other end.
    End,
}

#[derive(Debug)]
struct Source {
    stream: Stream,
    fd: OwnedFd,
}

impl Source {
    const fn new(stream: Stream, fd: OwnedFd) -> Self {
        Self { stream, fd }
    }
}

/// The agent's ends of the workload's output.
#[derive(Debug, Default)]
pub struct Outputs {
    sources: Vec<Source>,
    credit: u64,
    /// A terminal that no process has open while its session leader lives, and the time to read it
    /// again: a process may open it again.
    quiet_pty: Option<(OwnedFd, Instant)>,
}

impl Outputs {
    pub fn add(&mut self, stream: Stream, fd: Option<OwnedFd>) {
        if let Some(fd) = fd {
            self.sources.push(Source::new(stream, fd));
        }
    }

    /// Replaces the terminal.
    pub fn set_pty(&mut self, fd: OwnedFd) {
        self.sources.retain(|source| source.stream != Stream::Pty);
        self.sources.push(Source::new(Stream::Pty, fd));
    }

    pub fn grant(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_add(bytes);
    }

    /// The descriptors to poll: none without credit, so that a hang-up does not keep the loop
    /// awake.
    pub fn waiting(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let open = self.credit > 0;
        self.sources
            .iter()
            .filter(move |_| open)
            .map(|source| source.fd.as_fd())
    }

    /// The time until [`Outputs::wake_pty`] is due.
    pub fn quiet_for(&self) -> Option<Duration> {
        let (_, until) = self.quiet_pty.as_ref()?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    pub fn wake_pty(&mut self) {
        if self.quiet_for() == Some(Duration::ZERO) {
            self.resume_pty();
        }
    }

    fn resume_pty(&mut self) {
        if let Some((pty, _)) = self.quiet_pty.take() {
            self.sources.push(Source::new(Stream::Pty, pty));
        }
    }

    /// Sends the available output, at most one frame of each stream.
    pub fn send(&mut self, writer: &mut FrameWriter) {
        let mut at = 0;
        while at < self.sources.len() && self.credit > 0 && writer.is_idle() {
            let (sent, state) = self.sources[at].send_frame(writer);
            self.credit = self.credit.saturating_sub(cost(sent));
            if state == Read::End {
                let source = self.sources.swap_remove(at);
                if source.stream == Stream::Pty {
                    self.quiet_pty = Some((source.fd, Instant::now() + QUIET_PTY));
                }
            } else {
                at += 1;
            }
        }
    }

    /// Sends the rest after the workload's end, without credit. The kernel's buffers bound it,
    /// unless a process that could not be killed goes on writing.
    pub fn drain(&mut self, writer: &mut FrameWriter) {
        const MAX_DRAIN: usize = 8 * 1024 * 1024;
        self.resume_pty();
        for source in self.sources.drain(..) {
            let mut total = 0;
            loop {
                let (sent, state) = source.send_frame(writer);
                total += sent;
                if state != Read::Full || total > MAX_DRAIN {
                    break;
                }
            }
        }
    }
}

fn cost(sent: usize) -> u64 {
    if sent == 0 {
        0
    } else {
        (sent as u64).max(MIN_COST)
    }
}

impl Source {
    /// Sends one `{out, Stream, Bytes}`, read directly into the frame.
    fn send_frame(&self, writer: &mut FrameWriter) -> (usize, Read) {
        let mut sent = 0;
        let mut state = Read::Full;
        writer.send_if(|frame| {
            let end = frame.len() - LENGTH + FRAME;
            Writer::new(frame)
                .tuple(3)
                .atom("out")
                .atom(self.stream.name())
                .binary_head(0);
            let head = frame.len();
            frame.reserve_exact(end - head);
            while frame.len() < end {
                match read(&self.fd, spare_capacity(frame)) {
                    Ok(0) => {
                        state = Read::End;
                        break;
                    }
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => {
                        state = Read::Empty;
                        break;
                    }
                    // EIO: no process has the terminal open.
                    Err(_) => {
                        state = Read::End;
                        break;
                    }
                }
            }
            sent = frame.len() - head;
            frame[head - LENGTH..head].copy_from_slice(&(sent as u32).to_be_bytes());
            sent > 0
        });
        (sent, state)
    }
}
