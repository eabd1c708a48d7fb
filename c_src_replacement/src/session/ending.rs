//! The end of a session: what the workload started ends too, and what does not is named.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::{Phase, Session, drain_signals};
use crate::kill::{self, Left};
use crate::poll::{pause, poll, timespec};
use crate::report;
use crate::serve::wait_for_hangup;
use crate::stage::{Fault, Stage};
use crate::wait::Ended;

/// How long the report waits for what the workload left behind to die.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// How often what would not die is killed again, and how long each time.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const SWEEP_TIME: Duration = Duration::from_millis(20);

/// The pause after an attempt, in lengths of the attempt: one that asks for every number takes seconds.
const SWEEP_PAUSE_FACTOR: u32 = 20;

/// How long an end takes whose signal was sent already.
const PDEATHSIG_TIMEOUT: Duration = Duration::from_millis(200);

/// How often somebody who may end by himself is looked for.
const ORPHAN_POLL: Duration = Duration::from_millis(10);

impl Session {
    /// Kills the workload; its descendants follow once it is dead. Whatever is left after `END_TIMEOUT` is reported.
    pub(super) fn kill(&mut self) {
        self.grace = None;
        self.expect_end();
        if self.ended.is_some() {
            return;
        }
        // ESRCH: dead already. EPERM: another user's, which the deadline reports.
        let _ = kill::signal(self.workload(), libc::SIGKILL);
        if self.init && self.is_visitor {
            // Whatever the reaper leaves in a pid namespace of others becomes a child of that namespace's init.
            kill::kill_descendants(Some(self.pid));
        }
        if self.awaits_status() {
            return;
        }
        // ESRCH and EPERM: as above.
        let _ = kill::signal_child(self.pidfd.as_fd(), self.pid, libc::SIGKILL);
    }

    /// The workload ended by itself and its reaper has not stored the wait status yet: a reaper that is killed now takes the
    /// status with it. `kill_behind_reaper` ends who keeps the reaper from it, and the deadline whoever it does not end.
    fn awaits_status(&self) -> bool {
        let lives = self.init && !self.dead;
        lives && self.workload.is_dead() && self.page.workload_status().is_none()
    }

    fn expect_end(&mut self) {
        self.deadline
            .get_or_insert_with(|| Instant::now() + END_TIMEOUT);
    }

    /// The workload has ended, and is not ours to reap while somebody traces it, who may be a descendant of its own and
    /// never let go: those end with it anyway. For a debugger from elsewhere we wait.
    pub(super) fn kill_tracers(&self) {
        self.kill_cgroup();
        kill::kill_descendants(None);
    }

    /// The workload has ended, and its reaper ends when no process is left below it.
    pub(super) fn kill_behind_reaper(&mut self) {
        self.expect_end();
        // The reaper is in the cgroup, too.
        if !self.awaits_status() {
            self.kill_cgroup();
        }
        let left = kill::kill_descendants(Some(self.pid));
        // A /proc that hides the reaper hides what is below it, which becomes ours, or ends with the pid namespace, when the
        // reaper is killed. It is of no more use once the status of the workload is known.
        if left.pids.is_empty() && self.page.workload_status().is_some() && kill::hides(self.pid) {
            // ESRCH: it has ended meanwhile. EPERM: the deadline reports it.
            let _ = kill::signal_child(self.pidfd.as_fd(), self.pid, libc::SIGKILL);
        }
    }

    /// Signals all of the tree but the reaper.
    pub(super) fn signal_tree(&self, signal: i32) -> Result<(), Errno> {
        let reaper = self.init.then_some(self.pid);
        kill::signal_tree(signal, reaper, self.workload.pid)
    }

    /// The workload has ended, and its reaper is to see that, whoever stopped it: a workload of root's can.
    pub(super) fn continue_reaper(&self) {
        // ESRCH: dead already. EPERM: the deadline reports it.
        let _ = kill::signal_child(self.pidfd.as_fd(), self.pid, libc::SIGCONT);
    }

    /// Kills a workload whose reaper ended before it. It may have refused the parent-death signal, and in a pid namespace
    /// of others it is that namespace's now, where no sweep finds it.
    fn kill_orphan(&self) -> Result<(), Left> {
        let Some(pidfd) = &self.workload.pidfd else {
            return Ok(());
        };
        let left = |errno| Left {
            errno,
            pids: self.workload.pid.into_iter().collect(),
            hopeless: errno == Errno::PERM,
        };
        let (refusal, patience) = match kill::signal(pidfd.as_fd(), libc::SIGKILL) {
            Ok(()) => (Errno::TIMEDOUT, END_TIMEOUT),
            Err(Errno::SRCH) => return Ok(()),
            // It ends by its parent-death signal, unless it refused that one too.
            Err(errno) => (errno, PDEATHSIG_TIMEOUT),
        };
        let patience = timespec(patience);
        match poll(
            &mut [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)],
            Some(&patience),
        ) {
            Ok(0) => Err(left(refusal)),
            _ => Ok(()),
        }
    }

    /// A stop gives what the workload leaves behind the rest of its grace.
    pub(super) fn is_in_grace(&self) -> bool {
        self.grace.is_some_and(|until| Instant::now() < until)
    }

    /// The workload has ended, and processes that it started still have time to.
    pub(super) fn spares_descendants(&self) -> bool {
        drain_signals(&self.children);
        self.is_in_grace() && kill::has_children()
    }

    /// The workload was killed and does not end: reports the processes that are left, and goes on killing them.
    pub(super) fn give_up(mut self) {
        self.kill_cgroup();
        let left = kill::kill_descendants(None);
        self.report_left(&left);
        self.keep_killing(&left);
    }

    fn report_left(&mut self, left: &Left) {
        self.writer.flush();
        report::left(&mut self.writer, &left.pids);
        report::error(&mut self.writer, Stage::Kill.errno()(left.errno));
        wait_for_hangup(&mut self.reader, &mut self.writer);
    }

    /// The workload has ended: its descendants too, then what it said, then the report.
    pub(super) fn end(mut self, ended: Ended) {
        let swept = self.end_tree();
        self.writer.flush();
        if self.phase == Phase::Running {
            self.outputs.drain(&mut self.writer);
        }
        match swept {
            Ok(()) => self.report_end(ended),
            Err(left) => {
                self.report_left(&left);
                return self.keep_killing(&left);
            }
        }
        wait_for_hangup(&mut self.reader, &mut self.writer);
    }

    /// The VM is gone: end everything, and report to nobody.
    pub(super) fn end_unreported(mut self) {
        if let Some(grace) = self.orphan_grace {
            self.ask_to_end(grace);
        }
        self.kill();
        if let Err(left) = self.end_tree() {
            self.keep_killing(&left);
        }
    }

    /// This program cannot go on: ends everything, and says what it lacks.
    pub(super) fn abandon(mut self, fault: Fault) {
        self.kill();
        let swept = self.end_tree();
        if let Err(left) = &swept {
            report::left(&mut self.writer, &left.pids);
        }
        report::error(&mut self.writer, fault);
        self.writer.flush();
        if let Err(left) = swept {
            self.keep_killing(&left);
        }
    }

    /// Ends the processes of the session, wherever they are, at each of its ends.
    fn end_tree(&self) -> Result<(), Left> {
        self.kill_cgroup();
        let orphan = self.kill_orphan();
        kill::sweep(END_TIMEOUT).and(orphan)
    }

    pub(super) fn kill_cgroup(&self) {
        if let Some(cgroup) = &self.cgroup {
            kill::cgroup(cgroup);
        }
    }

    fn ask_to_end(&self, grace: Duration) {
        let until = Instant::now() + grace;
        // Refused or not: what is left after the grace is killed.
        let _ = self.signal_tree(libc::SIGTERM);
        let _ = self.signal_tree(libc::SIGCONT);
        while Instant::now() < until && kill::has_children() {
            pause(ORPHAN_POLL);
        }
    }

    /// Tries on until nobody is left, or until all that are left are somebody else's.
    fn keep_killing(&self, left: &Left) {
        let mut hopeless = left.hopeless;
        let mut took = Duration::ZERO;
        while !hopeless {
            pause(SWEEP_INTERVAL.max(took * SWEEP_PAUSE_FACTOR));
            let start = Instant::now();
            self.kill_cgroup();
            match kill::sweep(SWEEP_TIME) {
                Ok(()) => return,
                Err(left) => hopeless = left.hopeless,
            }
            took = start.elapsed();
        }
    }
}
