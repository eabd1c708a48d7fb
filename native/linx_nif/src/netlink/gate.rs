//! Whose turn it is on a socket. Processes queue in order of arrival, and one that dies gives up
//! its place.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use linx_sys::release::release_quick;
use rustler::{Env, LocalPid, Monitor, OwnedEnv, Resource, ResourceArc};

use super::lock;

mod atoms {
    rustler::atoms! { wait, linx_netlink_turn }
}

struct Turn {
    pid: LocalPid,
    monitor: Monitor,
    ticket: u64,
}

/// The message that it is a process's turn. It is sent when this is dropped, on a thread of our
/// own.
struct Call(LocalPid, u64);

impl Drop for Call {
    fn drop(&mut self) {
        let message = (atoms::linx_netlink_turn(), self.1);
        // One that has died by now is found by its monitor.
        let _sent = OwnedEnv::new().send_and_clear(&self.0, |_| message);
    }
}

/// The ticket of a call that takes a turn which is free, and gives it back before it returns.
/// Nobody need be watched.
pub const PASSING: u64 = 0;

#[derive(Default)]
pub struct Gate {
    passing: bool,
    holder: Option<Turn>,
    queue: VecDeque<Turn>,
}

/// Takes the turn or queues for it; the caller is monitored until it leaves.
pub fn enter<R: Resource>(
    env: Env<'_>,
    resource: &ResourceArc<R>,
    gate: &Mutex<Gate>,
) -> (rustler::Atom, u64) {
    // Unique in the VM, so that a turn that was given up cannot be taken for another.
    static TICKETS: AtomicU64 = AtomicU64::new(1);

    let ticket = TICKETS.fetch_add(1, Ordering::Relaxed);
    let pid = env.pid();
    let mut gate = lock(gate);
    // A process that runs this is alive, so there is something to monitor.
    if let Some(monitor) = resource.monitor(Some(env), &pid) {
        let turn = Turn {
            pid,
            monitor,
            ticket,
        };
        if gate.passing || gate.holder.is_some() {
            gate.queue.push_back(turn);
            return (atoms::wait(), ticket);
        }
        gate.holder = Some(turn);
    }
    (rustler::types::atom::ok(), ticket)
}

impl Gate {
    /// Takes the turn for a call, if it is free.
    pub fn pass(&mut self) -> bool {
        let free = !self.passing && self.holder.is_none();
        self.passing |= free;
        free
    }

    /// Gives the turn back. A ticket that no longer holds it (its process died meanwhile) changes
    /// nothing. `called` is whether `env` is that of a NIF's caller; it belongs to no process on a
    /// thread of our own.
    pub fn leave<R: Resource>(
        &mut self,
        env: Env<'_>,
        called: bool,
        resource: &ResourceArc<R>,
        ticket: u64,
    ) {
        if ticket == PASSING {
            self.passing = false;
            self.next(env, called);
        } else if let Some(turn) = self.holder.take_if(|turn| turn.ticket == ticket) {
            resource.demonitor(called.then_some(env), &turn.monitor);
            self.next(env, called);
        }
    }

    pub fn down(&mut self, env: Env<'_>, monitor: &Monitor) {
        self.queue.retain(|turn| turn.monitor != *monitor);
        if self
            .holder
            .take_if(|turn| turn.monitor == *monitor)
            .is_some()
        {
            self.next(env, false);
        }
    }

    fn next(&mut self, env: Env<'_>, called: bool) {
        self.holder = self.queue.pop_front();
        let Some(&Turn { pid, ticket, .. }) = self.holder.as_ref() else {
            return;
        };
        let sent = env.send(&pid, (atoms::linx_netlink_turn(), ticket));
        // The VM sends nothing for a NIF whose caller was killed meanwhile (enif_send). Otherwise
        // the receiver has died, and is found by its monitor.
        if called && sent.is_err() {
            release_quick(Call(pid, ticket));
        }
    }
}
