//! Jobs that may block: the reply if it comes soon, else `{:pending, reference}`, and later the
//! message `{reference, reply}` to the caller.

use std::sync::{Arc, Mutex, PoisonError};

use linx_sys::lane::{Lane, Place};
use linx_sys::work::{Pool, Room, Ticket};
use linx_sys::{Fault, Stage};
use rustler::env::OwnedEnv;
use rustler::{Encoder, Env, LocalPid, Monitor, Resource, ResourceArc, Term, atoms};

use crate::reply::{Reply, Success};

atoms! { pending }

static POOL: Pool = Pool::new();

/// The calls of this library that are usually short.
static LANE: Lane = Lane::new();

/// A job whose reply is sent as a message; the owner's death takes the job out of the pool.
#[derive(Debug)]
pub struct Owned(Ticket);

#[rustler::resource_impl]
impl Resource for Owned {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        POOL.abandon(self.0);
    }
}

/// Runs `job`, which may hang on the file system or namespace of `place`.
pub fn work<'a, T: Success + Send + 'static>(
    env: Env<'a>,
    place: u64,
    job: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Term<'a> {
    start(env, Room::shared(place), true, job)
        .unwrap_or_else(|fault| Reply::<T>(Err(fault)).encode(env))
}

/// As `work`, for a job that waits by design: no thread of the VM waits for it.
pub fn later<'a, T: Success + Send + 'static>(
    env: Env<'a>,
    place: u64,
    job: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Term<'a> {
    start(env, Room::shared(place), false, job)
        .unwrap_or_else(|fault| Reply::<T>(Err(fault)).encode(env))
}

/// As `work`, for a job that is usually short: on this thread while few such jobs are, else
/// `apart`.
pub fn brief<'a, T: Success + Send + 'static>(
    env: Env<'a>,
    place: u64,
    job: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Term<'a> {
    match lane() {
        Some(_place) => Reply(job()).encode(env),
        None => apart(env, Room::shared(place), job),
    }
}

/// The right to do a usually short job on the calling thread of the VM; None if the pool has to do
/// it.
pub fn lane() -> Option<Place> {
    LANE.enter()
}

/// Runs the job on a thread of the pool, for which no thread of the VM waits; a job that the pool
/// refuses runs on this thread.
pub fn apart<'a, T: Success + Send + 'static>(
    env: Env<'a>,
    room: Room,
    job: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Term<'a> {
    let job = Arc::new(Mutex::new(Some(job)));
    let theirs = Arc::clone(&job);
    let started = start(env, room, false, move || match take(&theirs) {
        Some(job) => job(),
        None => Err(Stage::Thread.fault(0)),
    });
    started.unwrap_or_else(|fault| {
        let answer = take(&job).map_or(Err(fault), |job| job());
        Reply(answer).encode(env)
    })
}

fn take<T>(job: &Mutex<Option<T>>) -> Option<T> {
    job.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn start<'a, T: Success + Send + 'static>(
    env: Env<'a>,
    room: Room,
    patient: bool,
    job: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<Term<'a>, Fault> {
    let work = POOL.start(room, job)?;
    let ticket = work.ticket();
    let caller = env.pid();
    let reference = env.make_ref();
    let leave = || {
        let owned = ResourceArc::new(Owned(ticket));
        if owned.monitor(Some(env), &caller).is_none() {
            // The caller was killed meanwhile.
            POOL.abandon(ticket);
        }
        let mut letter = OwnedEnv::new();
        let reference = letter.save(reference);
        move |answer| {
            // A caller that has ended needs no answer.
            let _sent = letter.send_and_clear(&caller, |env| (reference.load(env), Reply(answer)));
            drop(owned);
        }
    };
    let answer = if patient {
        work.wait(leave)
    } else {
        work.take(leave)
    };
    Ok(match answer {
        Some(answer) => Reply(answer).encode(env),
        None => (pending(), reference).encode(env),
    })
}
