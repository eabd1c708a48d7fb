//! Input from the VM to the workload. Bytes that its terminal or pipe does not take stay pending,
//! and the VM gets a count of the bytes that were written, so that it never sends more than a
//! window.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, write};

#[derive(Debug, Default)]
pub struct InputQueue {
    target: Option<OwnedFd>,
    pending: Vec<u8>,
    written: usize,
    /// Close the target once no bytes are pending.
    closing: bool,
}

impl InputQueue {
    pub fn new(target: Option<OwnedFd>) -> Self {
        Self {
            target,
            ..Self::default()
        }
    }

    pub fn set_target(&mut self, target: OwnedFd) {
        self.target = Some(target);
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    pub fn close(&mut self) {
        self.closing = true;
    }

    /// The descriptor to poll for POLLOUT.
    pub fn waiting(&self) -> Option<BorrowedFd<'_>> {
        let waits = self.written < self.pending.len();
        self.target.as_ref().filter(|_| waits).map(AsFd::as_fd)
    }

    /// Writes the pending bytes that fit and returns the number of bytes that are done. If the
    /// workload has closed its end the rest is dropped, as by a pipe.
    pub fn flush(&mut self) -> usize {
        let before = self.written;
        let done = loop {
            if self.written == self.pending.len() {
                break self.written - before;
            }
            let Some(target) = &self.target else {
                break self.pending.len() - before;
            };
            match write(target, &self.pending[self.written..]) {
                Ok(count) => self.written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return self.written - before,
                Err(_) => {
                    self.target = None;
                }
            }
        };
        self.pending = Vec::new();
        self.written = 0;
        if self.closing {
            self.target = None;
        }
        done
    }
}
