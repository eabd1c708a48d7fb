//! Jobs that may take long: the answer where it comes soon, else `{:pending, reference}`, and `{reference, answer}` is
//! sent to the caller when it is known.

use linx_sys::Fault;
use linx_sys::work::{Pool, Ticket};
use rustler::env::OwnedEnv;
use rustler::{Encoder, Env, LocalPid, Monitor, Resource, ResourceArc, Term, atoms};

use crate::reply::{Reply, Success};

atoms! { pending }

static POOL: Pool = Pool::new();

/// A job that somebody is sent the answer of; its owner's death takes it out of the pool.
#[derive(Debug)]
pub struct Owned(Ticket);

#[rustler::resource_impl]
impl Resource for Owned {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        POOL.abandon(self.0);
    }
}

/// What comes of `job`, which may hang on what `place` stands for.
pub fn work<'a, T: Success + Send + 'static>(
    env: Env<'a>,
    place: u64,
    job: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Term<'a> {
    start(env, place, true, job)
}

/// As `work`, for a job that waits for something by design: no thread of the VM waits for it.
pub fn later<'a, T: Success + Send + 'static>(
    env: Env<'a>,
    place: u64,
    job: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Term<'a> {
    start(env, place, false, job)
}

fn start<'a, T: Success + Send + 'static>(
    env: Env<'a>,
    place: u64,
    patient: bool,
    job: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Term<'a> {
    let work = match POOL.start(place, job) {
        Ok(work) => work,
        Err(fault) => return Reply::<T>(Err(fault)).encode(env),
    };
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
    match answer {
        Some(answer) => Reply(answer).encode(env),
        None => (pending(), reference).encode(env),
    }
}
