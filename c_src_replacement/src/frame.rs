//! Frames on descriptors 3 and 4: four bytes of length in network order, then the term.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, FdFlags, fcntl_setfd, read, write};
use rustix::pipe::fcntl_setpipe_size;

/// A parked session keeps no more than this, and most frames fit.
const MIN_READ: usize = 256;

/// Never more at once, whatever length a frame announces.
const MAX_READ: usize = 64 * 1024;

/// What the pipe to the VM holds once it has been full: the frames that the VM's credit allows. A user has a limit on
/// what all his pipes hold together (`fs.pipe-user-pages-soft`), so who says little keeps what pipe(2) gives, and a
/// refusal changes nothing.
const ROOM: usize = 256 * 1024;

/// What a read of the control channel brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// Perhaps a frame; ask [`FrameReader::next`].
    Bytes,
    Nothing,
    /// The VM has closed its end, or has died.
    End,
}

#[derive(Debug, PartialEq, Eq)]
pub struct TooBig;

/// Collects frames without ever waiting.
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

    /// Over a descriptor that is prepared.
    pub fn over(fd: OwnedFd, limit: usize) -> Self {
        Self {
            fd,
            buffer: Vec::new(),
            limit,
            broken: false,
        }
    }

    /// From now on frames of at most `limit` bytes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Reads what is there, at most what the frame at hand still lacks or a little more.
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

    /// Reads, and forgets what it read.
    pub fn discard(&mut self) -> Input {
        let input = self.fill();
        self.buffer = Vec::new();
        input
    }

    /// From now on a read waits for bytes or the end.
    pub fn set_blocking(&self) -> Result<(), Errno> {
        fcntl_setfl(&self.fd, fcntl_getfl(&self.fd)? - OFlags::NONBLOCK)
    }

    /// The stream makes no sense any more: from now on there are no frames in it.
    pub fn ignore(&mut self) {
        self.broken = true;
    }

    /// The next whole frame, taken out of the buffer. A length above the limit is refused before it is waited for.
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
            // The buffer becomes the frame: what was allocated last is freed first.
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

/// Frames on their way to the VM. Whatever a full pipe does not take stays here.
#[derive(Debug)]
pub struct FrameWriter {
    fd: OwnedFd,
    pending: Vec<u8>,
    written: usize,
    /// The VM does not listen any more.
    closed: bool,
    /// What is pending goes with the next frame.
    holding: bool,
    /// The pipe has been asked for more room.
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

    /// Appends one frame whose bytes `build` writes, and sends what the pipe takes.
    pub fn send(&mut self, build: impl FnOnce(&mut Vec<u8>)) {
        self.send_if(|frame| {
            build(frame);
            true
        });
    }

    /// Appends one frame that goes with the next.
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

    /// The same, unless `build` says that there is nothing to send after all.
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

    /// Whether there is more room now. Asked once.
    fn grow(&mut self) -> bool {
        !std::mem::replace(&mut self.grown, true) && fcntl_setpipe_size(&self.fd, ROOM).is_ok()
    }
}

impl AsFd for FrameWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Never waits, and goes to no workload: one that held it could speak to the VM in our name.
pub fn prepare(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    fcntl_setfd(fd, FdFlags::CLOEXEC)?;
    fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)
}
