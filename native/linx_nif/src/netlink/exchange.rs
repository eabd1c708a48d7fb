//! A request and its answers on one socket, and the reading of a socket that only listens.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use linx_sys::netlink::{EBADF, EBADMSG, EMSGSIZE, ENOBUFS, ETIMEDOUT, Socket};
use linx_sys::{Fault, Stage};
use linx_wire::netlink::{Frames, Verdict};
use rustler::{Env, ResourceArc, Term};

use super::dump::{Dump, DumpResource, Wanted};
use super::lock;
use super::terms::{self, Form};

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const NLM_F_DUMP_INTR: u16 = 0x10;

/// The kernel fills at most 32 KiB of a datagram with a dump; a single link with many virtual
/// functions can be longer.
const BUFFER: usize = 64 * 1024;

/// A full datagram of a dump. With room for it before the datagram that ends an answer, most
/// answers are read without growing into what malloc(3) maps and unmaps for each (128 KiB).
const FIRST: usize = 32 * 1024;
const _: () = assert!(BUFFER + FIRST < 128 * 1024);

/// Answers are queued before send(2) returns, so silence means that they were lost.
const SILENCE: Duration = Duration::from_secs(10);
const SLICE: Duration = Duration::from_millis(100);

/// The kernel works for at least a tenth of a millisecond on as many bytes.
const LONG: usize = 128 * 1024;

/// A burst of large events is read in several calls: this much is copied in well under a
/// millisecond.
const DRAIN: usize = 256 * 1024;

/// The state that the requests on one socket share.
pub struct Exchange {
    buffer: AtomicUsize,
    running: Mutex<()>,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            buffer: AtomicUsize::new(BUFFER),
            running: Mutex::default(),
        }
    }
}

/// Framed messages, and how their answers are read.
pub struct Request {
    bytes: Vec<u8>,
    seqs: (u32, u32),
    form: Form,
    /// Whether the answer to the last is waited for; otherwise what is there counts.
    wait: bool,
}

impl Request {
    pub fn new(bytes: Vec<u8>, seqs: (u32, u32), form: Form, wait: bool) -> Self {
        Self {
            bytes,
            seqs,
            form,
            wait,
        }
    }

    /// Known to keep the kernel busy for longer than a switch of threads takes.
    pub fn is_long(&self) -> bool {
        self.bytes.len() > LONG
    }
}

/// The answer to a request.
pub struct Answer {
    pub data: Data,
    pub errors: Vec<Failure>,
    /// NLM_F_DUMP_INTR: the objects changed while they were listed, and some may be missing or
    /// twice there.
    pub interrupted: bool,
}

pub enum Data {
    Short(Dump),
    Long(ResourceArc<DumpResource>, usize),
}

/// An answer as far as it has been read.
struct Collected {
    data: Dump,
    errors: Vec<Failure>,
    interrupted: bool,
}

impl From<Collected> for Answer {
    fn from(
        Collected {
            data,
            errors,
            interrupted,
        }: Collected,
    ) -> Self {
        let data = match data.is_long() {
            true => {
                let count = data.count;
                Data::Long(ResourceArc::new(DumpResource::new(data)), count)
            }
            false => Data::Short(data),
        };
        Self {
            data,
            errors,
            interrupted,
        }
    }
}

/// The kernel's refusal of one message.
pub struct Failure {
    pub seq: u32,
    pub errno: i32,
    pub offset: Option<u32>,
    pub text: Option<Vec<u8>>,
    pub missing: Option<u32>,
}

impl Failure {
    fn new(seq: u32, verdict: &Verdict<'_>) -> Self {
        Self {
            seq,
            errno: verdict.errno,
            offset: verdict.offset,
            text: verdict.text.map(<[u8]>::to_vec),
            missing: verdict.missing,
        }
    }
}

/// How an answer stands.
#[derive(Default)]
struct Progress {
    done: bool,
    lost: bool,
}

/// The messages that a listening socket received.
pub struct Events<'a> {
    pub messages: Vec<Term<'a>>,
    pub state: State,
    /// The bytes that the messages were.
    pub bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Empty,
    More,
    /// ENOBUFS: messages were dropped before this point.
    Overrun,
}

impl Exchange {
    /// `open` says whether the socket is still wanted while an answer is waited for.
    pub fn run(
        &self,
        socket: &Socket,
        request: &Request,
        open: &dyn Fn() -> bool,
    ) -> Result<Answer, Fault> {
        // Taken in turn already, except while the request of a process that was killed still runs.
        let _running = lock(&self.running);
        socket.send(&request.bytes)?;
        let wanted = Wanted {
            port: socket.port(),
            seqs: request.seqs,
            form: request.form,
        };
        let answer = self.collect(socket, wanted, request.wait.then_some(open));
        if answer.is_err() {
            // The rest of a dump that we gave up would make the kernel refuse the next one (EBUSY).
            self.discard(socket);
        }
        answer.map(Answer::from)
    }

    fn collect(
        &self,
        socket: &Socket,
        wanted: Wanted,
        open: Option<&dyn Fn() -> bool>,
    ) -> Result<Collected, Fault> {
        let most = self.buffer.load(Relaxed);
        let mut answer = Collected {
            data: Dump::new(Vec::with_capacity(most + FIRST), wanted),
            errors: Vec::new(),
            interrupted: false,
        };
        let mut progress = Progress::default();
        let mut silent = None;
        loop {
            let start = answer.data.bytes.len();
            let datagram = match socket.receive(&mut answer.data.bytes, most) {
                // Something was dropped. What is queued still counts, so read on; a final answer
                // that is missing is then known to be lost.
                Err(fault) if fault.errno == ENOBUFS => {
                    progress.lost = true;
                    continue;
                }
                other => other?,
            };
            let Some(datagram) = datagram else {
                match open {
                    _ if progress.lost => return Err(Stage::Recv.fault(ENOBUFS)),
                    None => return Ok(answer),
                    Some(open) if !open() => return Err(Stage::Recv.fault(EBADF)),
                    Some(_) if silent.get_or_insert_with(Instant::now).elapsed() > SILENCE => {
                        return Err(Stage::Recv.fault(ETIMEDOUT));
                    }
                    Some(_) => socket.wait(SLICE)?,
                };
                continue;
            };
            if !datagram.from_kernel {
                answer.data.bytes.truncate(start);
                continue;
            }
            if datagram.length > answer.data.bytes.len() - start {
                self.set_buffer(datagram.length.next_power_of_two());
                return Err(Stage::Recv.fault(EMSGSIZE));
            }
            silent = None;
            answer.read(start, &mut progress)?;
            // Several requests share one final answer, and a lost error of an earlier one would
            // read as success.
            if progress.done && open.is_some() {
                return match progress.lost && wanted.seqs.0 != wanted.seqs.1 {
                    true => Err(Stage::Recv.fault(ENOBUFS)),
                    false => Ok(answer),
                };
            }
        }
    }

    fn discard(&self, socket: &Socket) {
        let most = self.buffer.load(Relaxed);
        let mut buffer = Vec::with_capacity(most);
        loop {
            match socket.receive(&mut buffer, most) {
                Ok(Some(_)) => buffer.clear(),
                Err(fault) if fault.errno == ENOBUFS => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    pub fn set_buffer(&self, bytes: usize) {
        self.buffer.store(bytes.max(1), Relaxed);
    }

    /// Reads at most `most` datagrams of a listening socket.
    pub fn drain<'a>(
        &self,
        env: Env<'a>,
        socket: &Socket,
        form: Form,
        most: u32,
    ) -> Result<Events<'a>, Fault> {
        let room = self.buffer.load(Relaxed);
        let mut buffer = Vec::with_capacity(room);
        let mut events = Events {
            messages: Vec::new(),
            state: State::More,
            bytes: 0,
        };
        for _ in 0..most {
            if events.bytes > DRAIN {
                break;
            }
            buffer.clear();
            let datagram = match socket.receive(&mut buffer, room) {
                Ok(Some(datagram)) => datagram,
                Ok(None) => {
                    events.state = State::Empty;
                    break;
                }
                Err(fault) if fault.errno == ENOBUFS => {
                    events.state = State::Overrun;
                    break;
                }
                Err(fault) => return Err(fault),
            };
            if !datagram.from_kernel {
                continue;
            }
            events.bytes += buffer.len();
            let frames: Result<Vec<_>, _> = Frames::new(&buffer).collect();
            match frames {
                Ok(frames) if datagram.length <= buffer.len() => {
                    let wanted = frames.iter().filter(|frame| frame.kind > NLMSG_OVERRUN);
                    let terms = wanted.map(|frame| terms::message(env, frame, form));
                    events.messages.extend(terms);
                }
                // A datagram that was cut or is malformed is as good as lost.
                _ => {
                    let longer = datagram.length.next_power_of_two();
                    self.buffer.fetch_max(longer, Relaxed);
                    events.state = State::Overrun;
                    break;
                }
            }
        }
        Ok(events)
    }
}

impl Collected {
    /// Reads the datagram that stands from `start` on.
    fn read(&mut self, start: usize, progress: &mut Progress) -> Result<(), Fault> {
        let mut frames = Frames::new(self.data.bytes.get(start..).unwrap_or_default());
        for frame in frames.by_ref() {
            let frame = frame.map_err(|_| Stage::Recv.fault(EBADMSG))?;
            if !self.data.wanted.has(&frame) {
                continue;
            }
            self.interrupted |= frame.flags & NLM_F_DUMP_INTR != 0;
            let verdict = match frame.kind {
                NLMSG_NOOP => continue,
                NLMSG_OVERRUN => {
                    progress.lost = true;
                    continue;
                }
                NLMSG_ERROR => Verdict::of_error(frame.flags, frame.payload),
                NLMSG_DONE => Verdict::of_done(frame.flags, frame.payload),
                _ => {
                    self.data.count += 1;
                    continue;
                }
            };
            if verdict.errno != 0 {
                self.errors.push(Failure::new(frame.seq, &verdict));
            }
            progress.done |= frame.seq == self.data.wanted.seqs.1;
        }
        // The next datagram follows at once, so what was padding here must not be in its way.
        let padding = frames.left();
        self.data.end_datagram(padding);
        Ok(())
    }
}
