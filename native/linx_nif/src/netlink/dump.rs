//! The data messages of an answer, as bytes until they are wanted as terms.
//!
//! A hundred thousand routes as terms in one call would have the caller's heap grown, and all of it copied, several times
//! over. So a long answer stays here, with the number of its messages, by which the caller makes room once; then it is
//! taken in portions that an ordinary scheduler has time for.

use std::sync::Mutex;

use linx_wire::netlink::{Frame, Frames};
use rustler::{Env, Resource, Term};

use super::lock;
use super::terms::{self, Form};

/// What becomes terms at once, and the size of a portion: at most 500 routes, a tenth of a millisecond.
const PORTION: usize = 32 * 1024;

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
    taken: usize,
}

impl Dump {
    pub fn new(bytes: Vec<u8>, wanted: Wanted) -> Self {
        Self {
            bytes,
            count: 0,
            wanted,
            taken: 0,
        }
    }

    /// The last `padding` bytes belong to no message, and the next datagram's first message stands where one may.
    pub fn end_datagram(&mut self, padding: usize) {
        let end = self.bytes.len() - padding;
        self.bytes.truncate(end);
        self.bytes.resize(end.next_multiple_of(4), 0);
    }

    pub fn is_long(&self) -> bool {
        self.wanted.form == Form::Rtnl && self.bytes.len() > PORTION
    }

    pub fn terms<'a>(&mut self, env: Env<'a>) -> Vec<Term<'a>> {
        self.portion(env, self.bytes.len())
    }

    fn portion<'a>(&mut self, env: Env<'a>, most: usize) -> Vec<Term<'a>> {
        let mut terms = Vec::with_capacity(self.count.min(1024));
        let total = self.bytes.len();
        let mut frames = Frames::new(self.bytes.get(self.taken..).unwrap_or_default());
        let stop = self.taken.saturating_add(most);
        while self.taken < stop {
            let Some(Ok(frame)) = frames.next() else {
                self.taken = total;
                break;
            };
            self.taken = total - frames.left();
            if self.wanted.has(&frame) && !(1..=NLMSG_OVERRUN).contains(&frame.kind) {
                terms.push(terms::message(env, &frame, self.wanted.form));
            }
        }
        terms
    }
}

pub struct DumpResource(Mutex<Dump>);

#[rustler::resource_impl]
impl Resource for DumpResource {}

impl DumpResource {
    pub fn new(dump: Dump) -> Self {
        Self(Mutex::new(dump))
    }

    /// The next messages; none at the end.
    pub fn take<'a>(&self, env: Env<'a>) -> Vec<Term<'a>> {
        let mut dump = lock(&self.0);
        loop {
            let terms = dump.portion(env, PORTION);
            if !terms.is_empty() {
                return terms;
            }
            if dump.taken >= dump.bytes.len() {
                // The collector would come for it much later.
                dump.bytes = Vec::new();
                return terms;
            }
        }
    }
}
