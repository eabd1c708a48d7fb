//! From the workload to the VM: read only against credit, so that a reader who stops stops the writer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, read};

use crate::etf::Writer;
use crate::frame::FrameWriter;

/// What a frame takes of the channel at most, its head included: as much as the VM reads at once
/// (ERTS_SYS_READ_BUF_SZ). One byte more would cost it another read and another copy of the whole.
const FRAME: usize = 64 * 1024;

/// Of a frame, and of a binary in it.
const LENGTH: usize = 4;

/// How long a terminal that nobody has open is left alone.
const QUIET_PTY: Duration = Duration::from_millis(100);

/// A frame costs the VM this much, however small it is.
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
    /// Nothing there now.
    Empty,
    Full,
    /// Nobody holds the other end.
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

/// The ends of the workload's output that we read.
#[derive(Debug, Default)]
pub struct Outputs {
    sources: Vec<Source>,
    credit: u64,
    /// A terminal that nobody has open, while its session leader lives, and when it is to be looked at again: it may have
    /// been opened again.
    quiet_pty: Option<(OwnedFd, Instant)>,
}

impl Outputs {
    pub fn add(&mut self, stream: Stream, fd: Option<OwnedFd>) {
        if let Some(fd) = fd {
            self.sources.push(Source::new(stream, fd));
        }
    }

    /// Another terminal in the place of the one there is.
    pub fn set_pty(&mut self, fd: OwnedFd) {
        self.sources.retain(|source| source.stream != Stream::Pty);
        self.sources.push(Source::new(Stream::Pty, fd));
    }

    pub fn grant(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_add(bytes);
    }

    /// Those to wait for: none without credit, so that a hang-up does not keep the loop awake.
    pub fn waiting(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let open = self.credit > 0;
        self.sources
            .iter()
            .filter(move |_| open)
            .map(|source| source.fd.as_fd())
    }

    /// How long until [`Outputs::wake_pty`] is to be called, whatever else happens meanwhile.
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

    /// Sends what is there, at most a frame of each.
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

    /// The workload is dead: sends what is left, without credit. The kernel's buffers bound it, unless somebody whom we
    /// could not kill goes on writing.
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
    /// `{out, Stream, Bytes}`, read straight into the frame.
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
