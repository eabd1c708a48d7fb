//! Values whose drop may wait for the kernel, dropped on threads of our own.
//!
//! The VM drops a resource on the thread that gives up its last reference: mostly an ordinary scheduler, at a process's
//! end or in a collection. The last `close(2)` of an NETLINK_NETFILTER socket waits for the namespace's commit mutex and
//! frees the tables that the socket owns (`nft_rcv_nl_event`); `munmap(2)` of a hundred megabytes takes milliseconds.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Several, so that one namespace whose mutex is held does not keep back the sockets of all others.
const MOST_THREADS: usize = 4;

const STACK: usize = 256 * 1024;

static RELEASER: Releaser = Releaser::new();

/// Drops `value` on a thread of our own, and in the caller's where the kernel refuses the thread.
pub fn release<T: Send + 'static>(value: T) {
    RELEASER.release(Box::new(value));
}

/// Threads that drop what is queued, and end with the queue.
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
        let mut state = self.lock();
        state.queue.push_back(value);
        if state.threads >= MOST_THREADS {
            return;
        }
        state.threads += 1;
        drop(state);
        let started = thread::Builder::new()
            .name("linx-release".into())
            .stack_size(STACK)
            .spawn(|| self.work());
        if started.is_err() {
            self.work();
        }
    }

    fn work(&self) {
        loop {
            let mut state = self.lock();
            let Some(value) = state.queue.pop_front() else {
                state.threads -= 1;
                return;
            };
            drop(state);
            drop(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Waits, when it is dropped, until the sender has gone, and says on which thread that was.
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
        assert_eq!(releaser.lock().threads, MOST_THREADS);
        drop(waiting);
        for _ in 0..101 {
            said.recv_timeout(LONG).unwrap();
        }
    }
}
