//! The data messages of an answer, as bytes until they are wanted as terms.
//!
//! A hundred thousand routes as terms in one call would have the caller's heap grown, and all of it
//! copied, several times over. So a long answer stays here, with the number of its messages, by
//! which the caller makes room once; then it is taken in portions that an ordinary scheduler has
//! time for.

use std::sync::Mutex;

use linx_sys::release::release;
use linx_wire::netlink::{Frame, Frames, rtnl};
use rustler::{Env, Resource, Term};

use super::lock;
use super::terms::{self, Form};

/// Bytes that become terms at once, and the size of a portion: at most 500 routes, a tenth of a
/// millisecond.
pub const PORTION: usize = 32 * 1024;

// Types up to this are netlink's own: NLMSG_NOOP, _ERROR, _DONE and _OVERRUN.
const NLMSG_OVERRUN: u16 = 4;

/// Whose answer it is.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub port: u32,
    pub seqs: (u32, u32),
    pub form: Form,
}

impl Wanted {
    /// Multicast, and the late answer to a request that was given up, are not ours.
    pub fn has(&self, frame: &Frame<'_>) -> bool {
        frame.port == self.port && (self.seqs.0..=self.seqs.1).contains(&frame.seq)
    }
}

/// Whole datagrams as they came.
#[derive(Debug)]
pub struct Dump {
    pub bytes: Vec<u8>,
    pub count: usize,
    pub wanted: Wanted,
}

impl Dump {
    pub fn new(bytes: Vec<u8>, wanted: Wanted) -> Self {
        Self {
            bytes,
            count: 0,
            wanted,
        }
    }

    /// The last `padding` bytes belong to no message, and the next datagram's first message stands
    /// where one may.
    pub fn end_datagram(&mut self, padding: usize) {
        let end = self.bytes.len() - padding;
        self.bytes.truncate(end);
        self.bytes.resize(end.next_multiple_of(4), 0);
    }

    pub fn is_long(&self) -> bool {
        self.wanted.form == Form::Rtnl && self.bytes.len() > PORTION
    }

    pub fn terms<'a>(&self, env: Env<'a>) -> Vec<Term<'a>> {
        self.portion(env, 0, self.bytes.len()).0
    }

    fn is_object(&self, frame: &Frame<'_>) -> bool {
        !(1..=NLMSG_OVERRUN).contains(&frame.kind)
            && (self.wanted.form == Form::Raw || rtnl::is_listed(frame.kind, frame.payload))
    }

    /// The messages from `start` on in at most about `most` bytes, and where they end.
    fn portion<'a>(&self, env: Env<'a>, start: usize, most: usize) -> (Vec<Term<'a>>, usize) {
        let mut terms = Vec::with_capacity(self.count.min(1024));
        let total = self.bytes.len();
        let mut taken = start;
        let mut frames = Frames::new(self.bytes.get(start..).unwrap_or_default());
        let stop = start.saturating_add(most);
        while taken < stop {
            let Some(Ok(frame)) = frames.next() else {
                taken = total;
                break;
            };
            taken = total - frames.left();
            if self.wanted.has(&frame) && self.is_object(&frame) {
                terms.push(terms::message(env, &frame, self.wanted.form));
            }
        }
        (terms, taken)
    }
}

/// Above this its memory goes back to the kernel page by page, which takes a millisecond for some
/// ten megabytes.
const LARGE: usize = 1 << 20;

/// A dump whose messages are taken in portions.
pub struct DumpResource(Mutex<Taking>);

struct Taking {
    dump: Dump,
    taken: usize,
}

impl Taking {
    fn free(&mut self) {
        let bytes = std::mem::take(&mut self.dump.bytes);
        if bytes.capacity() > LARGE {
            release(bytes);
        }
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.free();
    }
}

#[rustler::resource_impl]
impl Resource for DumpResource {}

impl DumpResource {
    pub fn new(dump: Dump) -> Self {
        Self(Mutex::new(Taking { dump, taken: 0 }))
    }

    /// The next messages; none at the end.
    pub fn take<'a>(&self, env: Env<'a>) -> Vec<Term<'a>> {
        let mut taking = lock(&self.0);
        loop {
            let (terms, taken) = taking.dump.portion(env, taking.taken, PORTION);
            taking.taken = taken;
            if !terms.is_empty() {
                return terms;
            }
            if taken >= taking.dump.bytes.len() {
                // The collector would come for it much later.
                taking.free();
                return terms;
            }
        }
    }
}
