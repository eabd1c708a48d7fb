//! Work on a thread of its own, which whoever asked for it may stop waiting for.
//!
//! A system call on a file system that does not answer (a FUSE daemon that hangs, a server that is gone) cannot be taken
//! back: its thread waits as long as the process lives. Somebody else's mount namespace can hold such a file system on
//! purpose. So what goes there is not done on a thread that others need too.

use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::fault::{Fault, Stage};

type Answer<T> = Result<T, Fault>;

enum State<T> {
    Working,
    Ended(Answer<T>),
    /// Nobody waits any more: this takes the answer.
    Left(Box<dyn FnOnce(Answer<T>) + Send>),
    Taken,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    ended: Condvar,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, answer: Answer<T>) {
        let mut state = self.lock();
        match mem::replace(&mut *state, State::Taken) {
            State::Left(take) => {
                drop(state);
                take(answer);
            }
            _ => {
                *state = State::Ended(answer);
                self.ended.notify_one();
            }
        }
    }
}

/// A job that runs.
pub struct Work<T> {
    shared: Arc<Shared<T>>,
    thread: JoinHandle<()>,
}

impl<T> fmt::Debug for Work<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("thread", &self.thread)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Work<T> {
    /// A panic of the job is a fault of the `thread` stage, not of the VM.
    pub fn start(job: impl FnOnce() -> Answer<T> + Send + 'static) -> Result<Self, Fault> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::Working),
            ended: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("linx-work".into())
            .spawn(move || {
                let answer = catch_unwind(AssertUnwindSafe(job));
                theirs.end(answer.unwrap_or(Err(Stage::Thread.fault(libc::EIO))));
            })
            .map_err(Stage::Thread.errno())?;
        Ok(Self { shared, thread })
    }

    /// The answer, if it comes within `limit`; the thread has ended then. Otherwise what `leave` makes takes the answer,
    /// on the job's own thread and whenever it comes.
    pub fn wait<F>(self, limit: Duration, leave: impl FnOnce() -> F) -> Option<Answer<T>>
    where
        F: FnOnce(Answer<T>) + Send + 'static,
    {
        let working = |state: &mut State<T>| matches!(state, State::Working);
        let (mut state, _) = self
            .shared
            .ended
            .wait_timeout_while(self.shared.lock(), limit, working)
            .unwrap_or_else(PoisonError::into_inner);
        match mem::replace(&mut *state, State::Taken) {
            State::Ended(answer) => {
                drop(state);
                let _ended = self.thread.join();
                Some(answer)
            }
            _ => {
                *state = State::Left(Box::new(leave()));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn nobody<T>() -> impl FnOnce(Answer<T>) + Send + 'static {
        |_| panic!("left, though the answer came in time")
    }

    #[test]
    fn an_answer_in_time_is_given_at_once() {
        let work = Work::start(|| Ok(7)).unwrap();
        assert_eq!(work.wait(LONG, nobody), Some(Ok(7)));
        let work = Work::<()>::start(|| Err(Stage::Mount.fault(libc::EBUSY))).unwrap();
        assert_eq!(
            work.wait(LONG, nobody),
            Some(Err(Stage::Mount.fault(libc::EBUSY)))
        );
    }

    #[test]
    fn a_late_one_goes_to_whom_it_was_left() {
        let (go, gone) = mpsc::channel::<()>();
        let (leave, left) = mpsc::channel();
        let work =
            Work::start(move || gone.recv().map_err(|_| Stage::Read.fault(libc::EIO))).unwrap();
        let answer = work.wait(Duration::from_millis(10), || {
            move |answer| leave.send(answer).unwrap()
        });
        assert_eq!(answer, None);
        go.send(()).unwrap();
        assert_eq!(left.recv_timeout(LONG), Ok(Ok(())));
    }

    #[test]
    fn a_panic_is_a_fault() {
        let work = Work::<()>::start(|| panic!("a job that panics, on purpose")).unwrap();
        assert_eq!(
            work.wait(LONG, nobody),
            Some(Err(Stage::Thread.fault(libc::EIO)))
        );
    }
}
