//! The number of the VM's dirty I/O threads that calls which are usually short may hold.
//!
//! The VM has ten such threads by default, for all its file operations. A call that is usually
//! short (a request to rtnetlink, a read of procfs) may wait in the kernel for a lock that somebody
//! else holds for seconds. So few of these calls run on the VM's threads at the same time: one that
//! finds no place waits for the end of a short one, and is otherwise made on a thread of the pool
//! (`work`).

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Calls on the VM's threads at the same time. The pool's callers may wait on as many.
pub const MAX_PLACES: usize = 4;

/// The age up to which a call counts as a short one.
pub const SHORT: Duration = Duration::from_millis(2);

pub struct Lane {
    /// [`SHORT`], except in a test that must tell a notification from its end.
    short: Duration,
    state: Mutex<State>,
    left: Condvar,
}

struct State {
    /// The start of each call.
    places: [Option<Instant>; MAX_PLACES],
    /// Threads in `left`. Its notification is a system call, whether or not somebody waits: with it
    /// an acknowledged request would be of three instead of two.
    waiting: usize,
}

/// The right to make a call on the VM's thread.
#[derive(Debug)]
pub struct Place {
    lane: &'static Lane,
    number: usize,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.lock().places.iter().flatten().count();
        f.debug_struct("Lane").field("taken", &taken).finish()
    }
}

impl Lane {
    #[expect(clippy::new_without_default, reason = "const, for a static")]
    pub const fn new() -> Self {
        Self::with_short(SHORT)
    }

    const fn with_short(short: Duration) -> Self {
        Self {
            short,
            state: Mutex::new(State {
                places: [None; MAX_PLACES],
                waiting: 0,
            }),
            left: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, or None while a call that is not short holds one of those taken. Waits for
    /// [`SHORT`] at most.
    pub fn enter(&'static self) -> Option<Place> {
        let mut now = Instant::now();
        let mut state = self.lock();
        loop {
            if let Some(number) = state.places.iter().position(Option::is_none) {
                state.places[number] = Some(now);
                return Some(Place { lane: self, number });
            }
            let oldest = state.places.iter().flatten().min().copied()?;
            let rest = self
                .short
                .checked_sub(now.saturating_duration_since(oldest))
                .filter(|rest| !rest.is_zero())?;
            state.waiting += 1;
            (state, _) = self
                .left
                .wait_timeout(state, rest)
                .unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
            now = Instant::now();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.lane.lock();
        if let Some(place) = state.places.get_mut(self.number) {
            *place = None;
        }
        let waited_for = state.waiting > 0;
        drop(state);
        if waited_for {
            self.lane.left.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn lane() -> &'static Lane {
        Box::leak(Box::new(Lane::new()))
    }

    #[test]
    fn few_are_in_it_and_each_leaves_its_place_to_another() {
        let lane = lane();
        let mut places = full(lane, Instant::now());
        assert!(lane.enter().is_none());
        places.pop();
        assert!(lane.enter().is_some());
    }

    fn full(lane: &'static Lane, start: Instant) -> Vec<Place> {
        let places = (0..MAX_PLACES).map(|_| lane.enter().unwrap()).collect();
        lane.lock().places = [Some(start); MAX_PLACES];
        places
    }

    #[test]
    fn the_vm_keeps_threads_for_its_files() {
        // Ten by default.
        const { assert!(MAX_PLACES + crate::work::MAX_WAITING <= 8) };
    }

    #[test]
    fn the_end_of_a_short_call_wakes_one_that_waits() {
        const LONG: Duration = Duration::from_secs(600);
        let lane: &Lane = Box::leak(Box::new(Lane::with_short(LONG)));
        let mut places = full(lane, Instant::now());
        let (send, entered) = mpsc::channel();
        thread::spawn(move || send.send(lane.enter().is_some()).unwrap());
        while lane.lock().waiting == 0 {
            thread::yield_now();
        }
        places.pop();
        assert_eq!(entered.recv_timeout(LONG / 20), Ok(true));
        assert_eq!(lane.lock().waiting, 0);
    }

    #[test]
    fn a_long_call_is_not() {
        let lane = lane();
        let mut places = full(lane, Instant::now() - SHORT);
        assert!(lane.enter().is_none());
        places.pop();
        assert!(lane.enter().is_some());
    }
}
