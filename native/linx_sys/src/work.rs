//! A bounded pool of threads for system calls that may never return.
//!
//! A system call on a file system that does not answer (a FUSE daemon that hangs, a server that is
//! gone) cannot be taken back: its thread waits as long as the process lives. Somebody else's mount
//! namespace can hold such a file system on purpose. So such a call is made on a thread of its own,
//! and the thread that asked for it waits for a bounded time:
//!
//! | Bound | Of |
//! |---|---|
//! | [`MAX_WAITING`] | callers' threads that wait for an answer at the same time |
//! | [`PATIENCE`] | the time that each of them waits, [`BRIEF`] while a job is late |
//! | [`Room`] | jobs in the same place whose owners live; further ones queue in order of arrival |
//! | [`MAX_THREADS`] | threads, also those whose owners have died; a further job is EAGAIN |
//! | [`MAX_QUEUED`] | jobs in the queue; a further one is EAGAIN |
//!
//! A job whose owner dies leaves the queue, or gives up its place in favour of the next job.
//!
//! No thread is used twice: a job may have changed its thread's namespaces. For the same reason
//! only threads that have joined nothing start others: the caller's, and while there is a queue the
//! dispatcher's.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::fault::{Fault, Stage};
use crate::release::release_quick;

/// The VM has ten dirty I/O threads by default, and all file operations of the VM need them.
pub const MAX_WAITING: usize = 4;

/// How long a caller's thread waits for an answer.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// How long it waits while an earlier job has not answered within [`PATIENCE`].
pub const BRIEF: Duration = Duration::from_millis(10);

/// Jobs of one place at the same time, so that one place that hangs leaves room for the others.
pub const MAX_IN_PLACE: usize = 128;

/// The file system or namespace that a job may hang on, and how many jobs may run there at the same
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    place: u64,
    most: usize,
}

impl Room {
    /// [`MAX_IN_PLACE`] jobs.
    pub fn shared(place: u64) -> Self {
        Self {
            place,
            most: MAX_IN_PLACE,
        }
    }

    /// One job: for what takes turns in the kernel anyway, where those that wait for the turn would
    /// keep processors busy (a contended mutex is spun on).
    pub fn single(place: u64) -> Self {
        Self {
            // Beside those that share the place.
            place: !place,
            most: 1,
        }
    }
}

pub const MAX_THREADS: usize = 512;

pub const MAX_QUEUED: usize = 16_384;

/// Far more than a job needs.
const STACK: usize = 512 * 1024;

type Answer<T> = Result<T, Fault>;

/// A job in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

struct Queued {
    ticket: Ticket,
    room: Room,
    start: Starter,
}

/// Starts the job's thread.
type Starter = Box<dyn FnOnce() -> Option<JoinHandle<()>> + Send>;

/// A job that has a thread.
struct Running {
    place: u64,
    abandoned: bool,
    late: bool,
}

struct State {
    last: u64,
    waiting: usize,
    running: BTreeMap<Ticket, Running>,
    queue: VecDeque<Queued>,
    dispatching: bool,
}

impl State {
    fn is_full(&self) -> bool {
        self.running.len() >= MAX_THREADS
    }

    fn has_room(&self, Room { place, most }: Room) -> bool {
        let there = |job: &&Running| job.place == place && !job.abandoned;
        !self.is_full() && self.running.values().filter(there).count() < most
    }

    /// Whether a job of this room waits: one that comes later does not overtake it, also when a
    /// place is free already and the dispatcher has not seen it yet.
    fn is_waited_for(&self, room: Room) -> bool {
        self.queue.iter().any(|job| job.room == room)
    }

    fn run(&mut self, ticket: Ticket, place: u64) {
        self.running.insert(
            ticket,
            Running {
                place,
                abandoned: false,
                late: false,
            },
        );
    }

    /// The first job of the queue whose place has room.
    fn next(&mut self) -> Option<Queued> {
        let mut full = Vec::new();
        let at = self.queue.iter().position(|job| {
            let room = !full.contains(&job.room) && self.has_room(job.room);
            if !room {
                full.push(job.room);
            }
            room
        })?;
        self.queue.remove(at)
    }
}

/// The pool. One for the process: a static of the library that uses it.
pub struct Pool {
    state: Mutex<State>,
    /// A place has become free, or the queue shorter.
    changed: Condvar,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Pool")
            .field("running", &state.running.len())
            .field("queued", &state.queue.len())
            .finish_non_exhaustive()
    }
}

impl Pool {
    #[expect(clippy::new_without_default, reason = "const, for a static")]
    pub const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                last: 0,
                waiting: 0,
                running: BTreeMap::new(),
                queue: VecDeque::new(),
                dispatching: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts `job`, or queues it. `room` is of whatever it may hang on, such as a mount namespace.
    /// A panic of the job is a fault of the `thread` stage, not of the VM.
    pub fn start<T: Send + 'static>(
        &'static self,
        room: Room,
        job: impl FnOnce() -> Answer<T> + Send + 'static,
    ) -> Result<Work<T>, Fault> {
        let shared = Arc::new(Shared {
            progress: Mutex::new(Progress::Working),
            ended: Condvar::new(),
        });
        let mut state = self.lock();
        if state.is_full() || state.queue.len() >= MAX_QUEUED {
            return Err(Stage::Thread.fault(libc::EAGAIN));
        }
        state.last += 1;
        let ticket = Ticket(state.last);
        let start = self.starter(ticket, Arc::clone(&shared), job);
        if state.has_room(room) && !state.is_waited_for(room) {
            state.run(ticket, room.place);
        } else {
            if !state.dispatching {
                self.dispatch()?;
                state.dispatching = true;
            }
            state.queue.push_back(Queued {
                ticket,
                room,
                start,
            });
            return Ok(Work {
                pool: self,
                ticket,
                shared,
                thread: None,
            });
        }
        drop(state);
        let thread = start();
        Ok(Work {
            pool: self,
            ticket,
            shared,
            thread,
        })
    }

    /// The closure that starts the thread of a job; where the kernel refuses a thread, its errno is
    /// the job's answer.
    fn starter<T: Send + 'static>(
        &'static self,
        ticket: Ticket,
        shared: Arc<Shared<T>>,
        job: impl FnOnce() -> Answer<T> + Send + 'static,
    ) -> Starter {
        Box::new(move || {
            let theirs = Arc::clone(&shared);
            let started = thread::Builder::new()
                .name("linx-work".into())
                .stack_size(STACK)
                .spawn(move || {
                    let answer = catch_unwind(AssertUnwindSafe(job));
                    self.leave(ticket);
                    theirs.end(answer.unwrap_or(Err(Stage::Thread.fault(libc::EIO))));
                });
            match started {
                Ok(thread) => Some(thread),
                Err(error) => {
                    self.leave(ticket);
                    shared.end(Err(Stage::Thread.errno()(error)));
                    None
                }
            }
        })
    }

    /// A thread that starts the jobs of the queue, and ends with it.
    fn dispatch(&'static self) -> Result<(), Fault> {
        thread::Builder::new()
            .name("linx-dispatch".into())
            .stack_size(STACK)
            .spawn(move || {
                let mut state = self.lock();
                loop {
                    if let Some(job) = state.next() {
                        state.run(job.ticket, job.room.place);
                        drop(state);
                        drop((job.start)());
                        state = self.lock();
                    } else if state.queue.is_empty() {
                        state.dispatching = false;
                        return;
                    } else {
                        state = self
                            .changed
                            .wait(state)
                            .unwrap_or_else(PoisonError::into_inner);
                    }
                }
            })
            .map(drop)
            .map_err(Stage::Thread.errno())
    }

    fn leave(&self, ticket: Ticket) {
        self.lock().running.remove(&ticket);
        self.changed.notify_all();
    }

    /// The owner of a job has died: the job leaves the queue, or its thread gives up its place.
    pub fn abandon(&self, ticket: Ticket) {
        let mut state = self.lock();
        let queued = state.queue.iter().position(|job| job.ticket == ticket);
        let dropped = queued.and_then(|at| state.queue.remove(at));
        if let Some(job) = state.running.get_mut(&ticket) {
            job.abandoned = true;
        }
        drop(state);
        // This is a scheduler's thread, and others may wait for what the job holds.
        release_quick(dropped);
        self.changed.notify_all();
    }

    /// The time that the calling thread may wait for a job, and the right to do so.
    fn patience(&self, ticket: Ticket) -> Option<Duration> {
        let mut state = self.lock();
        if state.waiting >= MAX_WAITING || state.queue.iter().any(|job| job.ticket == ticket) {
            return None;
        }
        state.waiting += 1;
        let late = state.running.values().any(|job| job.late);
        Some(if late { BRIEF } else { PATIENCE })
    }

    fn waited(&self, ticket: Ticket, late: bool) {
        let mut state = self.lock();
        state.waiting -= 1;
        if let Some(job) = state.running.get_mut(&ticket) {
            job.late |= late;
        }
    }
}

enum Progress<T> {
    Working,
    Ended(Answer<T>),
    /// Nobody waits any more: this takes the answer.
    Left(Box<dyn FnOnce(Answer<T>) + Send>),
    Taken,
}

struct Shared<T> {
    progress: Mutex<Progress<T>>,
    ended: Condvar,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Progress<T>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, answer: Answer<T>) {
        let mut progress = self.lock();
        match mem::replace(&mut *progress, Progress::Taken) {
            Progress::Left(take) => {
                drop(progress);
                take(answer);
            }
            _ => {
                *progress = Progress::Ended(answer);
                self.ended.notify_one();
            }
        }
    }
}

/// A job that runs or is queued.
pub struct Work<T> {
    pool: &'static Pool,
    ticket: Ticket,
    shared: Arc<Shared<T>>,
    thread: Option<JoinHandle<()>>,
}

impl<T> fmt::Debug for Work<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Work<T> {
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// The answer, if the pool lets the caller wait and it comes in time; the thread has ended
    /// then. Otherwise what `leave` makes takes the answer, on the job's own thread and whenever it
    /// comes.
    pub fn wait<F>(self, leave: impl FnOnce() -> F) -> Option<Answer<T>>
    where
        F: FnOnce(Answer<T>) + Send + 'static,
    {
        let Some(limit) = self.pool.patience(self.ticket) else {
            return self.take(leave);
        };
        let working = |progress: &mut Progress<T>| matches!(progress, Progress::Working);
        let (progress, _) = self
            .shared
            .ended
            .wait_timeout_while(self.shared.lock(), limit, working)
            .unwrap_or_else(PoisonError::into_inner);
        let late = matches!(*progress, Progress::Working);
        drop(progress);
        self.pool.waited(self.ticket, late);
        self.take(leave)
    }

    /// As `wait`, without waiting: for a job that takes its time by design.
    pub fn take<F>(self, leave: impl FnOnce() -> F) -> Option<Answer<T>>
    where
        F: FnOnce(Answer<T>) + Send + 'static,
    {
        let mut progress = self.shared.lock();
        match mem::replace(&mut *progress, Progress::Taken) {
            Progress::Ended(answer) => {
                drop(progress);
                let _ended = self.thread.map(JoinHandle::join);
                Some(answer)
            }
            _ => {
                *progress = Progress::Left(Box::new(leave()));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn pool() -> &'static Pool {
        Box::leak(Box::new(Pool::new()))
    }

    fn nobody<T>() -> impl FnOnce(Answer<T>) + Send + 'static {
        |_| panic!("left, though the answer came in time")
    }

    /// Jobs that wait for the sender's end, and the answers of those that nobody waited for.
    fn hung(pool: &'static Pool, place: u64, count: usize) -> (Vec<mpsc::Sender<()>>, Vec<Ticket>) {
        (0..count)
            .map(|_| {
                let (go, gone) = mpsc::channel::<()>();
                let work = pool
                    .start(Room::shared(place), move || {
                        let _ended = gone.recv();
                        Ok(())
                    })
                    .unwrap();
                let ticket = work.ticket();
                assert_eq!(work.take(|| |_| ()), None);
                (go, ticket)
            })
            .unzip()
    }

    fn until(condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < LONG);
            thread::yield_now();
        }
    }

    #[test]
    fn an_answer_in_time_is_given_at_once() {
        let pool = pool();
        let work = pool.start(Room::shared(0), || Ok(7)).unwrap();
        assert_eq!(work.wait(nobody), Some(Ok(7)));
        let work = pool
            .start::<()>(Room::shared(0), || Err(Stage::Mount.fault(libc::EBUSY)))
            .unwrap();
        assert_eq!(
            work.wait(nobody),
            Some(Err(Stage::Mount.fault(libc::EBUSY)))
        );
    }

    #[test]
    fn a_late_one_goes_to_whom_it_was_left_and_others_wait_less_meanwhile() {
        let pool = pool();
        let (go, gone) = mpsc::channel::<()>();
        let (leave, left) = mpsc::channel();
        let work = pool
            .start(Room::shared(0), move || {
                gone.recv().map_err(|_| Stage::Read.fault(libc::EIO))
            })
            .unwrap();
        let answer = work.wait(|| move |answer| leave.send(answer).unwrap());
        assert_eq!(answer, None);
        let (_hung, tickets) = hung(pool, 0, 1);
        assert_eq!(pool.patience(tickets[0]), Some(BRIEF));
        go.send(()).unwrap();
        assert_eq!(left.recv_timeout(LONG), Ok(Ok(())));
        assert_eq!(pool.patience(tickets[0]), Some(PATIENCE));
    }

    #[test]
    fn a_panic_is_a_fault() {
        let work = pool()
            .start::<()>(Room::shared(0), || panic!("a job that panics, on purpose"))
            .unwrap();
        let (leave, left) = mpsc::channel();
        // It prints the panic first, which may take longer than anybody waits.
        let answer = match work.wait(|| move |answer| leave.send(answer).unwrap()) {
            None => left.recv_timeout(LONG).unwrap(),
            Some(answer) => answer,
        };
        assert_eq!(answer, Err(Stage::Thread.fault(libc::EIO)));
    }

    #[test]
    fn few_wait_at_the_same_time() {
        let pool = pool();
        let (_hung, tickets) = hung(pool, 0, MAX_WAITING + 1);
        for ticket in &tickets[..MAX_WAITING] {
            assert_eq!(pool.patience(*ticket), Some(PATIENCE));
        }
        assert_eq!(pool.patience(tickets[MAX_WAITING]), None);
        pool.waited(tickets[0], false);
        assert_eq!(pool.patience(tickets[MAX_WAITING]), Some(PATIENCE));
    }

    #[test]
    fn a_place_that_is_full_queues_and_leaves_the_others_alone() {
        let pool = pool();
        let (mut jobs, tickets) = hung(pool, 1, MAX_IN_PLACE + 2);
        assert_eq!(pool.lock().running.len(), MAX_IN_PLACE);
        assert_eq!(pool.patience(tickets[MAX_IN_PLACE]), None);
        assert_eq!(
            pool.start(Room::shared(2), || Ok(7)).unwrap().wait(nobody),
            Some(Ok(7))
        );

        // The end of a job, and the death of an owner, make room for one each, in order of arrival.
        drop(jobs.remove(0));
        until(|| pool.lock().queue.len() == 1);
        assert_eq!(pool.lock().queue[0].ticket, tickets[MAX_IN_PLACE + 1]);
        pool.abandon(tickets[1]);
        until(|| pool.lock().queue.is_empty());
        drop(jobs);
        until(|| pool.lock().running.is_empty() && !pool.lock().dispatching);
    }

    #[test]
    fn a_place_for_one_takes_one_at_a_time_beside_those_that_share_it() {
        let pool = pool();
        let (jobs, _) = hung(pool, 1, 2);
        let (go, gone) = mpsc::channel::<()>();
        let (say, said) = mpsc::channel();
        let first = pool.start(Room::single(1), move || {
            let _ended = gone.recv();
            Ok(())
        });
        assert_eq!(first.unwrap().take(|| |_| ()), None);
        let second = pool.start(Room::single(1), || Ok(()));
        assert_eq!(
            second
                .unwrap()
                .take(|| move |answer| say.send(answer).unwrap()),
            None
        );
        assert_eq!(pool.lock().running.len(), 3);
        assert_eq!(pool.lock().queue.len(), 1);
        drop(go);
        assert_eq!(said.recv_timeout(LONG), Ok(Ok(())));
        drop(jobs);
    }

    #[test]
    fn a_job_does_not_overtake_those_that_wait() {
        let pool = pool();
        let (say, said) = mpsc::channel();
        let start = |number: u32| {
            let say = say.clone();
            let job = move || {
                say.send(number).unwrap();
                Ok(())
            };
            let _answer = pool.start(Room::single(1), job).unwrap().take(|| |_| ());
        };
        pool.lock().run(Ticket(0), Room::single(1).place);
        start(1);
        // A place is free, of which the dispatcher has not been told.
        pool.lock().running.clear();
        start(2);
        pool.changed.notify_all();
        assert_eq!(said.recv_timeout(LONG), Ok(1));
        assert_eq!(said.recv_timeout(LONG), Ok(2));
    }

    #[test]
    fn an_abandoned_job_never_starts() {
        let pool = pool();
        let (jobs, _) = hung(pool, 1, MAX_IN_PLACE);
        let (run, ran) = mpsc::channel();
        let work = pool
            .start(Room::shared(1), move || {
                run.send(()).unwrap();
                Ok(())
            })
            .unwrap();
        let ticket = work.ticket();
        assert_eq!(work.take(|| |_| ()), None);
        pool.abandon(ticket);
        drop(jobs);
        assert_eq!(
            ran.recv_timeout(LONG),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
    }

    #[test]
    fn the_number_of_threads_has_an_end() {
        let pool = pool();
        let mut all = Vec::new();
        for _ in 0..MAX_THREADS {
            let (jobs, tickets) = hung(pool, 1, 1);
            all.extend(jobs);
            // Whether or not somebody still waits for it.
            pool.abandon(tickets[0]);
        }
        let refused = pool.start(Room::shared(2), || Ok(())).map(drop);
        assert_eq!(refused, Err(Stage::Thread.fault(libc::EAGAIN)));
        drop(all);
        until(|| pool.lock().running.is_empty());
        assert_eq!(
            pool.start(Room::shared(2), || Ok(())).unwrap().wait(nobody),
            Some(Ok(()))
        );
    }
}
