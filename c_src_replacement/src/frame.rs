//! Frames on descriptors 3 and 4: four bytes of length in network order, then the term.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, FdFlags, fcntl_setfd, read, write};
use rustix::pipe::fcntl_setpipe_size;

/// The capacity that a parked session keeps; most frames fit.
const MIN_READ: usize = 256;

/// The limit of one read, whatever length a frame announces.
const MAX_READ: usize = 64 * 1024;

/// The size of the pipe to the VM after it was full: the frames that the VM's credit allows. The
/// size counts against a user's limit for all pipes (`fs.pipe-user-pages-soft`), so only a session
/// that fills its pipe asks for more; a refusal changes nothing.
const ROOM: usize = 256 * 1024;

/// The result of a read of the control channel.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// Bytes, perhaps a whole frame: see [`FrameReader::next_frame`].
    Bytes,
    Nothing,
    /// The VM has closed its end or is dead.
    End,
}

#[derive(Debug, PartialEq, Eq)]
pub struct TooBig;

/// Collects frames without blocking.
#[derive(Debug)]
pub struct FrameReader {
    fd: OwnedFd,
    buffer: Vec<u8>,
    limit: usize,
    broken: bool,
}

impl FrameReader {
    pub fn new(fd: OwnedFd, limit: usize) -> Result<Self, Errno> {
        prepare(fd.as_fd())?;
        Ok(Self::over(fd, limit))
    }

    /// Makes the value over a descriptor that [`prepare`] was called for.
    pub fn over(fd: OwnedFd, limit: usize) -> Self {
        Self {
            fd,
            buffer: Vec::new(),
            limit,
            broken: false,
        }
    }

    /// Limits the frames from now on to `limit` bytes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Reads the available bytes, at most the rest of the current frame or a little more.
    pub fn fill(&mut self) -> Input {
        let lacking = match self.buffer.split_first_chunk::<4>() {
            Some((head, rest)) => (u32::from_be_bytes(*head) as usize).saturating_sub(rest.len()),
            None => 0,
        };
        self.buffer.reserve(lacking.clamp(MIN_READ, MAX_READ));
        match read(&self.fd, spare_capacity(&mut self.buffer)) {
            Ok(0) => Input::End,
            Ok(_) => {
                if self.broken {
                    self.buffer.clear();
                }
                Input::Bytes
            }
            Err(Errno::AGAIN | Errno::INTR) => Input::Nothing,
            Err(_) => Input::End,
        }
    }

    /// Reads and drops the bytes.
    pub fn discard(&mut self) -> Input {
        let input = self.fill();
        self.buffer = Vec::new();
        input
    }

    /// Makes each read block until there are bytes or the end.
    pub fn set_blocking(&self) -> Result<(), Errno> {
        fcntl_setfl(&self.fd, fcntl_getfl(&self.fd)? - OFlags::NONBLOCK)
    }

    /// Stops looking for frames: the stream is out of step.
    pub fn ignore(&mut self) {
        self.broken = true;
    }

    /// Takes the next whole frame out of the buffer. A length above the limit is refused before the
    /// frame is complete.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, TooBig> {
        let Some((head, rest)) = self
            .buffer
            .split_first_chunk::<4>()
            .filter(|_| !self.broken)
        else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*head) as usize;
        if length > self.limit {
            return Err(TooBig);
        }
        if rest.len() < length {
            return Ok(None);
        }
        if rest.len() == length {
            // The buffer becomes the frame, so that the last allocation is the first one freed.
            let mut frame = std::mem::take(&mut self.buffer);
            frame.drain(..4);
            return Ok(Some(frame));
        }
        let frame = rest[..length].to_vec();
        self.buffer.drain(..4 + length);
        Ok(Some(frame))
    }
}

impl AsFd for FrameReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The frames to the VM. Bytes that a full pipe does not take stay pending.
#[derive(Debug)]
pub struct FrameWriter {
    fd: OwnedFd,
    pending: Vec<u8>,
    written: usize,
    /// The VM has closed its end.
    closed: bool,
    /// The pending bytes wait for the next frame.
    holding: bool,
    /// F_SETPIPE_SZ has been called.
    grown: bool,
}

impl FrameWriter {
    pub fn new(fd: OwnedFd) -> Result<Self, Errno> {
        prepare(fd.as_fd())?;
        Ok(Self::over(fd))
    }

    /// Over a descriptor that is prepared.
    pub fn over(fd: OwnedFd) -> Self {
        Self {
            fd,
            pending: Vec::new(),
            written: 0,
            closed: false,
            holding: false,
            grown: false,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Appends one frame whose bytes `build` writes, and writes what the pipe takes.
    pub fn send(&mut self, build: impl FnOnce(&mut Vec<u8>)) {
        self.send_if(|frame| {
            build(frame);
            true
        });
    }

    /// Appends one frame that is written together with the next.
    pub fn hold(&mut self, build: impl FnOnce(&mut Vec<u8>)) {
        self.holding = true;
        self.append(|frame| {
            build(frame);
            true
        });
    }

    pub fn is_holding(&self) -> bool {
        self.holding
    }

    /// As `send`, unless `build` returns false.
    pub fn send_if(&mut self, build: impl FnOnce(&mut Vec<u8>) -> bool) {
        if self.append(build) {
            self.flush();
        }
    }

    fn append(&mut self, build: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let start = self.pending.len();
        self.pending.extend([0; 4]);
        if !build(&mut self.pending) {
            self.pending.truncate(start);
            return false;
        }
        let length = (self.pending.len() - start - 4) as u32;
        self.pending[start..start + 4].copy_from_slice(&length.to_be_bytes());
        true
    }

    pub fn flush(&mut self) {
        self.holding = false;
        while self.written < self.pending.len() && !self.closed {
            match write(&self.fd, &self.pending[self.written..]) {
                Ok(count) => self.written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if !self.grow() {
                        return;
                    }
                }
                Err(_) => self.closed = true,
            }
        }
        self.pending.clear();
        self.written = 0;
    }

    /// Enlarges the pipe, once; whether it grew.
    fn grow(&mut self) -> bool {
        !std::mem::replace(&mut self.grown, true) && fcntl_setpipe_size(&self.fd, ROOM).is_ok()
    }
}

impl AsFd for FrameWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sets O_NONBLOCK and FD_CLOEXEC: a workload with this descriptor could send frames to the VM.
pub fn prepare(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    fcntl_setfd(fd, FdFlags::CLOEXEC)?;
    fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)
}
