//! The end of a session: the workload's descendants end too, and the remaining ones are named.

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

/// The time for which the report waits for the descendants' death.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The interval of further sweeps for processes that do not die, and the time of each.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const SWEEP_TIME: Duration = Duration::from_millis(20);

/// The pause after a sweep, as a multiple of its length: a sweep over every possible pid takes
/// seconds.
const SWEEP_PAUSE_FACTOR: u32 = 20;

/// The time that a process takes to end by its parent-death signal.
const PDEATHSIG_TIMEOUT: Duration = Duration::from_millis(200);

/// The interval of looking for descendants that may end by themselves.
const ORPHAN_POLL: Duration = Duration::from_millis(10);

impl Session {
    /// Kills the workload; its descendants are killed once it is dead. Processes that are left
    /// after `END_TIMEOUT` are reported.
    pub(super) fn kill(&mut self) {
        self.grace = None;
        self.expect_end();
        if self.ended.is_some() {
            return;
        }
        // Before their parents: orphans in a pid namespace of others become children of that
        // namespace's init.
        // `end_tree` waits for them: a reaper that is killed below reaps none.
        if self.joins_pid_namespace {
            kill::kill_into(&mut self.lost, self.init.then_some(self.pid));
        }
        // ESRCH: already dead. EPERM: a process of another user, which the deadline reports.
        let _ = kill::signal(self.workload(), libc::SIGKILL);
        if self.awaits_status() {
            return;
        }
        // ESRCH and EPERM: as above.
        let _ = kill::signal_child(self.pidfd.as_fd(), self.pid, libc::SIGKILL);
    }

    /// Whether the workload ended by itself and its reaper has not stored the wait status yet,
    /// which would be lost if the reaper were killed now. `kill_behind_reaper` ends a process that
    /// stops the reaper, and the deadline covers the rest.
    fn awaits_status(&self) -> bool {
        let lives = self.init && !self.dead;
        lives && self.workload.is_dead() && self.page.workload_status().is_none()
    }

    fn expect_end(&mut self) {
        self.deadline
            .get_or_insert_with(|| Instant::now() + END_TIMEOUT);
    }

    /// Kills the tracers of an ended workload, which cannot be reaped while it is traced. A tracer
    /// may be its descendant and never detach; descendants end with the session anyway. The agent
    /// waits for a debugger from elsewhere.
    pub(super) fn kill_tracers(&self) {
        self.kill_cgroup();
        kill::kill_descendants(None);
    }

    /// Kills the descendants of a reaper whose workload has ended, so that the reaper ends.
    pub(super) fn kill_behind_reaper(&mut self) {
        self.expect_end();
        // The cgroup holds the reaper, too.
        if !self.awaits_status() {
            self.kill_cgroup();
        }
        let left = kill::kill_descendants(Some(self.pid));
        // A /proc that hides the reaper hides its descendants. When the reaper is killed they
        // become children of the agent, or end with the pid namespace. The reaper is of no use once
        // the wait status of the workload is known.
        if left.pids.is_empty() && self.page.workload_status().is_some() && kill::hides(self.pid) {
            // ESRCH: the reaper has ended meanwhile. EPERM: the deadline reports it.
            let _ = kill::signal_child(self.pidfd.as_fd(), self.pid, libc::SIGKILL);
        }
    }

    /// Signals the whole tree except the reaper.
    pub(super) fn signal_tree(&mut self, signal: i32) -> Result<(), Errno> {
        let reaper = self.init.then_some(self.pid);
        let (answer, members) = kill::signal_tree(signal, reaper, self.workload.pid);
        if self.has_no_reaper_there() && self.grace.is_some() {
            self.lost.merge(members);
        }
        answer
    }

    /// Whether orphans of the workload become children of the init of another process's pid
    /// namespace.
    fn has_no_reaper_there(&self) -> bool {
        self.joins_pid_namespace && !self.init
    }

    /// Finds the processes that the workload, which is dead and not reaped, left in its session. A
    /// process that made a session of its own, and whose parents are dead, is not found.
    pub(super) fn find_lost(&mut self) {
        if self.has_no_reaper_there() {
            self.lost.merge(kill::session(self.pid));
        }
    }

    /// Continues the reaper of an ended workload: a workload with root's rights may have stopped
    /// it.
    pub(super) fn continue_reaper(&self) {
        // ESRCH: already dead. EPERM: the deadline reports it.
        let _ = kill::signal_child(self.pidfd.as_fd(), self.pid, libc::SIGCONT);
    }

    /// Kills a workload whose reaper ended before it. The workload may have cleared its
    /// parent-death signal, and in a pid namespace of others it is a child of that namespace's init
    /// now, where no sweep finds it.
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
            // The workload ends by its parent-death signal, unless it cleared that.
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

    /// Whether the grace of a stop, which also covers the workload's descendants, has not ended.
    pub(super) fn is_in_grace(&self) -> bool {
        self.grace.is_some_and(|until| Instant::now() < until)
    }

    /// Whether the workload's descendants still have time to end by themselves.
    pub(super) fn spares_descendants(&self) -> bool {
        drain_signals(&self.children);
        self.is_in_grace() && (kill::has_children() || self.lost.has_living())
    }

    /// Reports the processes that are left of a killed workload, and goes on killing them.
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

    /// Ends the descendants of an ended workload, drains its output, and reports the end.
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

    /// Ends the session of a VM that is gone, without a report.
    pub(super) fn end_unreported(mut self) {
        if let Some(grace) = self.orphan_grace {
            self.ask_to_end(grace);
        }
        self.kill();
        if let Err(left) = self.end_tree() {
            self.keep_killing(&left);
        }
    }

    /// Ends the session because a call fails that the agent needs, and reports that fault.
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

    /// Ends the processes of the session: in the cgroup, behind a dead reaper, and in the tree.
    fn end_tree(&mut self) -> Result<(), Left> {
        self.kill_cgroup();
        let orphan = self.kill_orphan();
        let lost = kill::end_lost(&mut self.lost, END_TIMEOUT);
        kill::sweep(END_TIMEOUT).and(orphan).and(lost)
    }

    pub(super) fn kill_cgroup(&self) {
        if let Some(cgroup) = &self.cgroup {
            kill::cgroup(cgroup);
        }
    }

    fn ask_to_end(&mut self, grace: Duration) {
        let until = Instant::now() + grace;
        self.grace = Some(until);
        // A refusal changes nothing: the rest is killed after the grace.
        let _ = self.signal_tree(libc::SIGTERM);
        let _ = self.signal_tree(libc::SIGCONT);
        while self.spares_descendants() {
            pause(ORPHAN_POLL);
        }
    }

    /// Sweeps until no process is left, or until all that are left run as another user.
    fn keep_killing(&mut self, left: &Left) {
        let mut hopeless = left.hopeless;
        let mut took = Duration::ZERO;
        while !hopeless {
            pause(SWEEP_INTERVAL.max(took * SWEEP_PAUSE_FACTOR));
            let start = Instant::now();
            self.kill_cgroup();
            let lost = kill::end_lost(&mut self.lost, SWEEP_TIME);
            match kill::sweep(SWEEP_TIME).and(lost) {
                Ok(()) => return,
                Err(left) => hopeless = left.hopeless,
            }
            took = start.elapsed();
        }
    }
}
