//! Values whose drop may wait for the kernel, dropped on threads of the library.
//!
//! The VM drops a resource on the thread that gives up its last reference: mostly an ordinary
//! scheduler, at a process's end or in a collection. The last `close(2)` of an NETLINK_NETFILTER
//! socket waits for the namespace's commit mutex and frees the tables that the socket owns
//! (`nft_rcv_nl_event`); `munmap(2)` of a hundred megabytes takes milliseconds.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Several threads, so that one namespace with a held mutex does not delay the sockets of all
/// others.
const MAX_THREADS: usize = 4;

const STACK: usize = 256 * 1024;

static RELEASER: Releaser = Releaser::new();

/// The queue of quick drops, which slow ones do not delay.
static QUICK: Releaser = Releaser::new();

/// Drops `value` on a thread of the library, or on the caller's if the kernel refuses the thread.
pub fn release<T: Send + 'static>(value: T) {
    RELEASER.release(Box::new(value));
}

/// As [`release`], for a value whose drop is quick but not allowed on this thread, which another
/// may wait for. If the kernel refuses the thread, the value is dropped with the next one.
pub fn release_quick<T: Send + 'static>(value: T) {
    if QUICK.push(Box::new(value)) {
        let _refused = QUICK.start();
    }
}

/// The threads that drop the queued values, and end with the queue.
struct Releaser {
    state: Mutex<State>,
}

struct State {
    queue: VecDeque<Box<dyn Any + Send>>,
    threads: usize,
}

impl fmt::Debug for Releaser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Releaser").finish_non_exhaustive()
    }
}

impl Releaser {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                threads: 0,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&'static self, value: Box<dyn Any + Send>) {
        if self.push(value) && self.start().is_err() {
            self.lock().threads += 1;
            self.work();
        }
    }

    /// Whether one more thread is to be started.
    fn push(&self, value: Box<dyn Any + Send>) -> bool {
        let mut state = self.lock();
        state.queue.push_back(value);
        state.threads < MAX_THREADS
    }

    fn start(&'static self) -> std::io::Result<()> {
        self.lock().threads += 1;
        let started = thread::Builder::new()
            .name("linx-release".into())
            .stack_size(STACK)
            .spawn(|| self.work());
        started.map(drop).inspect_err(|_| self.lock().threads -= 1)
    }

    fn work(&self) {
        loop {
            let mut state = self.lock();
            let Some(value) = state.queue.pop_front() else {
                state.threads -= 1;
                return;
            };
            drop(state);
            // A panic would remove the thread from the count for good.
            let _panicked = catch_unwind(AssertUnwindSafe(move || drop(value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A value whose drop waits until the sender is gone and sends the id of its thread.
    struct Slow(Receiver<()>, Sender<Option<String>>);

    impl Drop for Slow {
        fn drop(&mut self) {
            let _gone = self.0.recv();
            let name = thread::current().name().map(str::to_owned);
            let _heard = self.1.send(name);
        }
    }

    #[test]
    fn a_slow_drop_keeps_back_neither_the_caller_nor_the_next() {
        let releaser: &'static Releaser = Box::leak(Box::new(Releaser::new()));
        let (go, gone) = channel();
        let (say, said) = channel();
        releaser.release(Box::new(Slow(gone, say.clone())));
        let (none, quick) = channel();
        drop(none);
        releaser.release(Box::new(Slow(quick, say)));
        let name = Ok(Some("linx-release".into()));
        assert_eq!(said.recv_timeout(LONG), name);
        drop(go);
        assert_eq!(said.recv_timeout(LONG), name);
    }

    #[test]
    fn a_quick_one_does_not_stand_behind_slow_ones() {
        let (go, gone) = channel::<()>();
        drop(gone);
        let mut waiting = vec![go];
        let (say, _said) = channel();
        for _ in 0..10 * MAX_THREADS {
            let (go, gone) = channel::<()>();
            waiting.push(go);
            release(Slow(gone, say.clone()));
        }
        let (none, quick) = channel();
        drop(none);
        let (say, said) = channel();
        release_quick(Slow(quick, say));
        assert_eq!(said.recv_timeout(LONG), Ok(Some("linx-release".into())));
        drop(waiting);
    }

    #[test]
    fn a_panic_takes_no_thread_away() {
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                std::panic::resume_unwind(Box::new("as meant"));
            }
        }
        let releaser: &'static Releaser = Box::leak(Box::new(Releaser::new()));
        for _ in 0..10 * MAX_THREADS {
            releaser.release(Box::new(Panics));
        }
        let (none, quick) = channel();
        drop(none);
        let (say, said) = channel();
        releaser.release(Box::new(Slow(quick, say)));
        assert_eq!(said.recv_timeout(LONG), Ok(Some("linx-release".into())));
    }

    #[test]
    fn many_are_dropped_by_few() {
        let releaser: &'static Releaser = Box::leak(Box::new(Releaser::new()));
        let (go, gone) = channel::<()>();
        let (say, said) = channel();
        let mut waiting = vec![go];
        releaser.release(Box::new(Slow(gone, say.clone())));
        for _ in 0..100 {
            let (go, gone) = channel();
            waiting.push(go);
            releaser.release(Box::new(Slow(gone, say.clone())));
        }
        assert_eq!(releaser.lock().threads, MAX_THREADS);
        drop(waiting);
        for _ in 0..101 {
            said.recv_timeout(LONG).unwrap();
        }
    }
}
