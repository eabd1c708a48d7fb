//! A thread that polls sockets for processes that also wait for other messages.
//!
//! `epoll(7)` keeps no socket open: the owner of the descriptor may close it at any time.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::fault::{Fault, Stage};

const STACK: usize = 256 * 1024;

/// The key of the eventfd that ends the thread.
const STOP: u64 = 0;

/// The function that is called once, when a socket has something to read or an error to report.
type Sink = Box<dyn FnOnce() + Send>;

/// The watched sockets. One for the process: a static of the library that uses it.
pub struct Watcher {
    state: Mutex<State>,
}

struct State {
    last: u64,
    sinks: BTreeMap<u64, Option<Sink>>,
    poll: Option<Arc<Poll>>,
}

/// The epoll set of a thread. It ends with the last watch; the next watch makes another.
#[derive(Debug)]
struct Poll {
    epoll: OwnedFd,
    stop: OwnedFd,
}

/// A watched socket, until this value is dropped.
pub struct Watch {
    watcher: &'static Watcher,
    poll: Arc<Poll>,
    key: u64,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watched = self.lock().sinks.len();
        f.debug_struct("Watcher")
            .field("watched", &watched)
            .finish()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Watcher {
    #[expect(clippy::new_without_default, reason = "const, for a static")]
    pub const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                last: STOP,
                sinks: BTreeMap::new(),
                poll: None,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds `socket`; no event is reported before it is armed.
    pub fn watch(&'static self, socket: BorrowedFd<'_>) -> Result<Watch, Fault> {
        let mut state = self.lock();
        let poll = match &state.poll {
            Some(poll) => Arc::clone(poll),
            None => {
                let poll = self.start()?;
                state.poll = Some(Arc::clone(&poll));
                poll
            }
        };
        state.last += 1;
        let key = state.last;
        state.sinks.insert(key, None);
        drop(state);
        let watch = Watch {
            watcher: self,
            poll,
            key,
        };
        let none = EventFlags::ONESHOT;
        epoll::add(&watch.poll.epoll, socket, EventData::new_u64(key), none)
            .map_err(Stage::Recv.errno())?;
        Ok(watch)
    }

    fn start(&'static self) -> Result<Arc<Poll>, Fault> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(Stage::Recv.errno())?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC).map_err(Stage::Recv.errno())?;
        epoll::add(&epoll, &stop, EventData::new_u64(STOP), EventFlags::IN)
            .map_err(Stage::Recv.errno())?;
        let poll = Arc::new(Poll { epoll, stop });
        let theirs = Arc::clone(&poll);
        thread::Builder::new()
            .name("linx-watch".into())
            .stack_size(STACK)
            .spawn(move || self.run(&theirs))
            .map_err(Stage::Thread.errno())?;
        Ok(poll)
    }

    fn run(&self, poll: &Poll) {
        let mut events: Vec<Event> = Vec::with_capacity(64);
        loop {
            events.clear();
            let room = spare_capacity(&mut events);
            match epoll::wait(&poll.epoll, room, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            for event in &events {
                let key = event.data.u64();
                if key == STOP {
                    return;
                }
                let sink = self.lock().sinks.get_mut(&key).and_then(Option::take);
                if let Some(sink) = sink {
                    sink();
                }
            }
        }
    }
}

impl Watch {
    /// Calls `sink` once, on the watcher's thread, as soon as `socket` is readable or has an error
    /// to report. Replaces a `sink` that has not been called.
    pub fn arm(
        &self,
        socket: BorrowedFd<'_>,
        sink: impl FnOnce() + Send + 'static,
    ) -> Result<(), Fault> {
        self.watcher
            .lock()
            .sinks
            .insert(self.key, Some(Box::new(sink)));
        let flags = EventFlags::IN | EventFlags::ONESHOT;
        epoll::modify(
            &self.poll.epoll,
            socket,
            EventData::new_u64(self.key),
            flags,
        )
        .map_err(Stage::Recv.errno())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.watcher.lock();
        let sink = state.sinks.remove(&self.key);
        if state.sinks.is_empty()
            && let Some(poll) = state.poll.take()
        {
            // A counter of one cannot be too large.
            let _written = rustix::io::write(&poll.stop, &1_u64.to_ne_bytes());
        }
        drop(state);
        drop(sink);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn watcher() -> &'static Watcher {
        Box::leak(Box::new(Watcher::new()))
    }

    #[test]
    fn a_sink_is_called_once_for_what_comes_and_for_what_is_there() {
        let watcher = watcher();
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let watch = watcher.watch(ours.as_fd()).unwrap();
        let (say, said) = channel();
        let arm = |number: u32| {
            let say = say.clone();
            watch
                .arm(ours.as_fd(), move || say.send(number).unwrap())
                .unwrap();
        };
        arm(1);
        theirs.send(b"x").unwrap();
        assert_eq!(said.recv_timeout(LONG), Ok(1));
        // The socket is still watched.
        arm(2);
        assert_eq!(said.recv_timeout(LONG), Ok(2));
        theirs.send(b"y").unwrap();
        assert_eq!(said.try_recv().ok(), None);
    }

    #[test]
    fn a_watch_that_is_dropped_calls_nobody_and_the_thread_ends_with_the_last() {
        let watcher = watcher();
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let watch = watcher.watch(ours.as_fd()).unwrap();
        let (say, said) = channel::<()>();
        watch
            .arm(ours.as_fd(), move || say.send(()).unwrap())
            .unwrap();
        let poll = Arc::downgrade(&watch.poll);
        drop(watch);
        theirs.send(b"x").unwrap();
        assert_eq!(said.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
        while poll.upgrade().is_some() {
            thread::yield_now();
        }
        // The next watch has another set.
        let watch = watcher.watch(ours.as_fd()).unwrap();
        let (say, said) = channel();
        watch
            .arm(ours.as_fd(), move || say.send(()).unwrap())
            .unwrap();
        assert_eq!(said.recv_timeout(LONG), Ok(()));
    }
}
