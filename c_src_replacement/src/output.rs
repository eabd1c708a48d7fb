//! From the workload to the VM: read only against credit, so that a reader who stops stops the writer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, read};

use crate::etf::Writer;
use crate::frame::FrameWriter;

/// One frame holds at most this much; what the kernel hands out in small reads is gathered up to it.
const FRAME: usize = 64 * 1024;

/// A frame costs the VM this much, however small it is.
const LEAST_COST: u64 = 4096;

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

/// The ends of the workload's output that we read.
#[derive(Debug, Default)]
pub struct Outputs {
    sources: Vec<(Stream, OwnedFd)>,
    credit: u64,
    /// A terminal that nobody has open, while its session leader lives: it may be opened again.
    quiet_pty: Option<OwnedFd>,
}

impl Outputs {
    pub fn add(&mut self, stream: Stream, fd: Option<OwnedFd>) {
        if let Some(fd) = fd {
            self.sources.push((stream, fd));
        }
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
            .map(|(_, fd)| fd.as_fd())
    }

    /// Whether a terminal is to be looked at again in a while.
    pub fn has_quiet_pty(&self) -> bool {
        self.quiet_pty.is_some()
    }

    pub fn wake_pty(&mut self) {
        if let Some(pty) = self.quiet_pty.take() {
            self.sources.push((Stream::Pty, pty));
        }
    }

    /// Sends what is there, at most a frame of each.
    pub fn pump(&mut self, writer: &mut FrameWriter) {
        let mut at = 0;
        while at < self.sources.len() && self.credit > 0 && writer.is_idle() {
            let (stream, fd) = &self.sources[at];
            let (sent, state) = send_frame(*stream, fd.as_fd(), writer);
            self.credit = self.credit.saturating_sub(cost(sent));
            if state == Read::End {
                let (stream, fd) = self.sources.swap_remove(at);
                if stream == Stream::Pty {
                    self.quiet_pty = Some(fd);
                }
            } else {
                at += 1;
            }
        }
    }

    /// The workload is dead: sends what is left, without credit. The kernel's buffers bound it, unless somebody whom we
    /// could not kill goes on writing.
    pub fn drain(&mut self, writer: &mut FrameWriter) {
        const MOST: usize = 8 * 1024 * 1024;
        self.wake_pty();
        for (stream, fd) in self.sources.drain(..) {
            let mut total = 0;
            loop {
                let (sent, state) = send_frame(stream, fd.as_fd(), writer);
                total += sent;
                if state != Read::Full || total > MOST {
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
        (sent as u64).max(LEAST_COST)
    }
}

/// `{out, Stream, Bytes}`, read straight into the frame.
fn send_frame(stream: Stream, fd: BorrowedFd<'_>, writer: &mut FrameWriter) -> (usize, Read) {
    let mut sent = 0;
    let mut state = Read::Full;
    writer.send_if(|frame| {
        Writer::new(frame)
            .tuple(3)
            .atom("out")
            .atom(stream.name())
            .binary_head(0);
        let head = frame.len();
        frame.reserve_exact(FRAME);
        while sent < FRAME {
            match read(fd, spare_capacity(frame)) {
                Ok(0) => {
                    state = Read::End;
                    break;
                }
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
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
        frame[head - 4..head].copy_from_slice(&(sent as u32).to_be_bytes());
        sent > 0
    });
    (sent, state)
}
