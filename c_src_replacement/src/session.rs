//! One session, from the clone to the report of its end: one loop over the control channel, the
//! child and its streams.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::checkpoint::{self, ChildMessage, Record};
use crate::command::{Command, Recipient};
use crate::frame::{FrameReader, FrameWriter, Input, TooBig};
use crate::input::InputQueue;
use crate::kill;
use crate::output::{Outputs, Stream};
use crate::page::Page;
use crate::poll::{poll, timespec};
use crate::pty;
use crate::report;
use crate::schedule::Schedule;
use crate::seccomp::MAX_FILTER;
use crate::stage::{Fault, Stage};
use crate::start::Started;
use crate::stdio::Plumbing;
use crate::tree::Members;
use crate::wait::{self, Dead, Ended, Outcome};

/// The size limit of a command; the largest one carries a filter.
const MAX_COMMAND: usize = 256 * 1024;

/// The time for which the `spawned` frame is held so that it can share a write with `ready`, and
/// `ready` with `running` if the child proceeds at once. Each follows within a fraction of this
/// time, unless the child was cloned into a frozen cgroup.
const HOLD: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 2_000_000,
};

/// The interval for retrying to open a file or socket whose other end is missing, and to reap a
/// dead workload.
const RETRY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// The interval of looking for processes that are no children of the agent, in a grace.
const LOST: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// The time that a reaper has to end after its workload before its descendants are searched:
/// without descendants it ends at once.
const REAPER: Duration = Duration::from_millis(1);

mod ending;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The child has not reached the checkpoint.
    Setup,
    Parked,
    /// The child proceeds once its descriptors are open.
    Opening,
    /// The record to proceed is sent; the exec is not confirmed.
    Proceeding,
    Running,
}

/// The reason of an end other than the workload's own.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    Aborted,
    /// By the VM's `kill` command; the phase decides how the end is reported.
    Killed,
    Failed(Fault),
}

/// The workload behind a reaper, as it and the reaper sent it at the checkpoint.
#[derive(Debug, Default)]
struct Workload {
    pid: Option<i32>,
    pidfd: Option<OwnedFd>,
    /// The time at which the agent saw its end.
    ended: Option<Instant>,
}

impl Workload {
    fn is_dead(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether the workload is dead and its reaper has outlived the time to end.
    fn has_left_others(&self) -> bool {
        self.ended.is_some_and(|at| at.elapsed() >= REAPER)
    }
}

#[derive(Debug)]
pub struct Session {
    reader: FrameReader,
    writer: FrameWriter,
    page: &'static Page,
    phase: Phase,
    /// The child has sent `Parked`. With auto_proceed that may arrive after the record to proceed
    /// was sent.
    was_parked: bool,
    verdict: Option<Verdict>,
    /// The cloned child: the workload, or its reaper.
    pid: i32,
    pidfd: OwnedFd,
    /// With a reaper: its workload.
    workload: Workload,
    /// The cloned child has ended; a tracer may still delay its reaping.
    dead: bool,
    /// The checkpoint socket, until the child's end is closed.
    socket: Option<OwnedFd>,
    plumbing: Option<Plumbing>,
    controlling: bool,
    schedule: Schedule,
    descriptors: Vec<OwnedFd>,
    /// The child proceeds once the schedule is set, which needs the parked child.
    auto_proceed: bool,
    init: bool,
    devnull: OwnedFd,
    outputs: Outputs,
    input: InputQueue,
    pty: Option<OwnedFd>,
    cgroup: Option<OwnedFd>,
    /// The child joined another process's pid namespace, whose init gets its orphans.
    joins_pid_namespace: bool,
    /// Processes of the session that are, or may become, children of that init.
    lost: Members,
    /// The child may send a terminal before the checkpoint.
    awaits_pty: bool,
    /// The time until which the workload's descendants may end by themselves.
    grace: Option<Instant>,
    /// The time that the workload has to end by itself when the VM is gone.
    orphan_grace: Option<Duration>,
    /// The time by which killed processes have to be dead.
    deadline: Option<Instant>,
    /// The wait status and usage of the cloned child, once it is reaped.
    ended: Option<Ended>,
    children: OwnedFd,
}

impl Session {
    /// `reads` and `writes` are duplicates of a terminal's master.
    pub fn new(
        mut reader: FrameReader,
        writer: FrameWriter,
        started: Started,
        [reads, writes]: [Option<OwnedFd>; 2],
        children: OwnedFd,
    ) -> Self {
        reader.set_limit(MAX_COMMAND);
        let mut outputs = Outputs::default();
        outputs.grant(started.credit);
        let ours = started.ours;
        outputs.add(Stream::Pty, reads);
        outputs.add(Stream::Stdout, ours.stdout);
        outputs.add(Stream::Stderr, ours.stderr);
        let input = InputQueue::new(writes.or(ours.stdin));
        Self {
            reader,
            writer,
            page: started.page,
            phase: Phase::Setup,
            was_parked: false,
            verdict: None,
            pid: started.pid,
            pidfd: started.pidfd,
            workload: Workload::default(),
            dead: false,
            socket: Some(started.socket),
            controlling: started.plumbing.is_pty,
            plumbing: Some(started.plumbing),
            init: started.init,
            schedule: started.schedule,
            descriptors: started.descriptors,
            auto_proceed: false,
            devnull: started.devnull,
            outputs,
            input,
            pty: ours.pty,
            cgroup: started.cgroup,
            joins_pid_namespace: started.joins_pid_namespace,
            lost: Members::default(),
            awaits_pty: started.awaits_pty,
            grace: None,
            orphan_grace: started.orphan_grace,
            deadline: None,
            ended: None,
            children,
        }
    }

    pub fn run(mut self) {
        if !self.init {
            report::spawned(&mut self.writer, self.pid, None);
        }
        // Some commands may have arrived with the request.
        self.commands();
        let ended = loop {
            if self.writer.is_closed() {
                return self.end_unreported();
            }
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(errno) => return self.abandon(Stage::Poll.errno()(errno)),
            };
            if ready.control && !self.control() {
                return self.end_unreported();
            }
            if !self.writer.is_holding() {
                self.writer.flush();
            }
            if ready.socket {
                self.recv_child_messages();
            }
            if self.phase == Phase::Opening && self.verdict.is_none() {
                self.try_proceed();
            }
            if self.phase == Phase::Running {
                self.transfer();
            }
            if self.ended.is_none()
                && (ready.children || self.dead)
                && let Err(errno) = self.reap_children()
            {
                return self.abandon(Stage::Wait.errno()(errno));
            }
            let has_left_others = !self.dead && self.workload.has_left_others();
            if has_left_others {
                self.continue_reaper();
            }
            if let Some(ended) = self.ended {
                if !self.spares_descendants() {
                    break ended;
                }
            } else if self.dead {
                self.kill_tracers();
            } else if has_left_others && !self.is_in_grace() {
                self.kill_behind_reaper();
            }
            if !self.dead && self.deadline.is_some_and(|at| at <= Instant::now()) {
                return self.give_up();
            }
        };
        self.end(ended);
    }

    fn wait(&mut self) -> Result<Ready, Errno> {
        let running = self.phase == Phase::Running;
        let writer_idle = self.writer.is_idle() || self.writer.is_holding();
        let mut fds = Vec::with_capacity(8);
        fds.push(PollFd::new(&self.reader, PollFlags::IN));
        fds.push(PollFd::new(&self.children, PollFlags::IN));
        let pidfd_at = fds.len();
        if !self.dead {
            fds.push(PollFd::new(&self.pidfd, PollFlags::IN));
        }
        if !writer_idle {
            fds.push(PollFd::new(&self.writer, PollFlags::OUT));
        }
        let socket_at = fds.len();
        if let Some(socket) = &self.socket {
            fds.push(PollFd::new(socket, PollFlags::IN));
        }
        let input = self.input.waiting();
        if let Some(input) = input.as_ref().filter(|_| running) {
            fds.push(PollFd::new(input, PollFlags::OUT));
        }
        let outputs: Vec<_> = self.outputs.waiting().collect();
        if running && writer_idle {
            fds.extend(outputs.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        }
        let workload_at = fds.len();
        let is_alive = !self.workload.is_dead();
        if let Some(pidfd) = self.workload.pidfd.as_ref().filter(|_| is_alive) {
            fds.push(PollFd::new(pidfd, PollFlags::IN));
        }
        let holding = self.writer.is_holding();
        let timeout = self.timeout();
        let count = poll(&mut fds, timeout.as_ref())?;
        let ready = Ready {
            control: !fds[0].revents().is_empty(),
            children: !fds[1].revents().is_empty(),
            socket: self.socket.is_some() && !fds[socket_at].revents().is_empty(),
        };
        let dead = !self.dead && !fds[pidfd_at].revents().is_empty();
        self.dead |= dead;
        let workload = fds.get(workload_at);
        if workload.is_some_and(|fd| !fd.revents().is_empty()) {
            self.workload.ended.get_or_insert_with(Instant::now);
        }
        if count == 0 && holding {
            self.writer.flush();
        }
        self.outputs.wake_pty();
        Ok(ready)
    }

    /// The time until the next event that no descriptor announces.
    fn timeout(&self) -> Option<Timespec> {
        if self.writer.is_holding() {
            return Some(HOLD);
        }
        let retries = self.ended.is_none()
            && (self.phase == Phase::Opening
                || self.dead
                || self.workload.has_left_others() && !self.is_in_grace());
        if retries {
            return Some(RETRY);
        }
        if self.ended.is_some() && self.is_in_grace() && !self.lost.is_empty() {
            return Some(LOST);
        }
        let now = Instant::now();
        let until = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(now));
        let ending = self.ended.is_some() || self.workload.is_dead();
        let waits = self.workload.ended.filter(|_| self.ended.is_none());
        let waits = waits.filter(|_| !self.workload.has_left_others());
        let due = [
            until(waits.map(|at| at + REAPER)),
            self.outputs.quiet_for(),
            until(self.grace.filter(|_| ending)),
            until(self.deadline.filter(|_| !self.dead)),
        ];
        due.into_iter().flatten().min().map(timespec)
    }

    fn transfer(&mut self) {
        let done = self.input.flush();
        if done > 0 {
            report::written(&mut self.writer, done);
        }
        self.outputs.send(&mut self.writer);
    }

    /// Reads commands; false when the VM has hung up.
    fn control(&mut self) -> bool {
        let input = self.reader.fill();
        self.commands();
        input != Input::End
    }

    /// Handles all complete commands.
    fn commands(&mut self) {
        loop {
            match self.reader.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => match Command::decode(&frame) {
                    Ok(command) => self.handle_command(command),
                    Err(_) => self.fail(Stage::MalformedRequest.fault(libc::EINVAL)),
                },
                Err(TooBig) => {
                    self.reader.ignore();
                    self.fail(Stage::CommandTooBig.fault(libc::EMSGSIZE));
                    break;
                }
            }
        }
    }

    fn handle_command(&mut self, command: Command<'_>) {
        match command {
            Command::Proceed => self.proceed(),
            Command::Abort if self.phase != Phase::Running => {
                self.verdict.get_or_insert(Verdict::Aborted);
                self.kill();
            }
            Command::Abort => {}
            Command::Kill => {
                self.verdict.get_or_insert(Verdict::Killed);
                self.kill();
            }
            Command::Signal { id, signal, to } => {
                let errno = self.signal(signal, to).err();
                report::signaled(&mut self.writer, id, errno.map_or(0, Errno::raw_os_error));
            }
            Command::Grace(milliseconds) => {
                self.grace = Some(Instant::now() + Duration::from_millis(milliseconds));
            }
            Command::Write(bytes) => self.input.push(bytes),
            Command::CloseStdin => self.input.close(),
            Command::Winsize(size) => {
                if let Some(pty) = &self.pty {
                    pty::set_size(pty, size);
                }
            }
            Command::Credit(bytes) => self.outputs.grant(bytes),
            Command::DropBounding(mask) => {
                self.send_record(Record::DropBounding(mask), Stage::CapDropBounding);
            }
            Command::SetThreadSets(sets) => {
                self.send_record(Record::ThreadSets(sets), Stage::CapSetThread);
            }
            Command::SetAmbient(mask) => {
                self.send_record(Record::Ambient(mask), Stage::CapSetAmbient)
            }
            Command::Seccomp(program) => self.send_filter(program),
        }
    }

    fn send_record(&mut self, record: Record, stage: Stage) {
        if self.phase != Phase::Parked {
            return;
        }
        let sent = |socket: &OwnedFd| checkpoint::send_record(socket.as_fd(), record, None);
        if let Some(Err(errno)) = self.socket.as_ref().map(sent) {
            self.fail_unless_child_gone(stage.errno()(errno));
        }
    }

    fn send_filter(&mut self, program: &[u8]) {
        let stage = Stage::SeccompInstall;
        if self.phase != Phase::Parked {
            return;
        }
        if program.is_empty() || !program.len().is_multiple_of(8) || program.len() > MAX_FILTER {
            self.fail(stage.fault(libc::EINVAL));
            return;
        }
        self.send_record(Record::Filter(program.len() as u64), stage);
        let sent = |socket: &OwnedFd| checkpoint::send_bytes(socket.as_fd(), program);
        if let Some(Err(errno)) = self.socket.as_ref().map(sent) {
            self.fail_unless_child_gone(stage.errno()(errno));
        }
    }

    /// Ends the session with `fault`, unless the errno means that the child is dead: its own end is
    /// then reported.
    fn fail_unless_child_gone(&mut self, fault: Fault) {
        if fault.errno != libc::EPIPE && fault.errno != libc::ECONNRESET {
            self.fail(fault);
        }
    }

    /// Proceeds before the checkpoint, where the child finds the record; but at the checkpoint if
    /// the agent sets a schedule there, or if the child may send a terminal.
    pub fn auto_proceed(&mut self) {
        if self.schedule.is_empty() && !self.awaits_pty {
            self.proceed();
        } else {
            self.auto_proceed = true;
        }
    }

    /// Sets priorities and CPUs of the parked workload.
    fn set_schedule(&self) -> Result<(), Fault> {
        if self.schedule.is_empty() {
            return Ok(());
        }
        let pid = self.workload.pid.filter(|_| self.init).unwrap_or(self.pid);
        self.schedule.apply(self.workload(), pid)
    }

    pub fn proceed(&mut self) {
        if matches!(self.phase, Phase::Setup | Phase::Parked) {
            self.phase = Phase::Opening;
            self.try_proceed();
        }
    }

    /// Sends the record to proceed, unless a descriptor of the child must wait for another process.
    fn try_proceed(&mut self) {
        let Some(mut plumbing) = self.plumbing.take() else {
            return;
        };
        match plumbing.open(&self.devnull) {
            Err(fault) if fault.errno == libc::EAGAIN => self.plumbing = Some(plumbing),
            Err(fault) => self.fail(fault),
            Ok(()) => self.send_proceed(&plumbing),
        }
    }

    fn send_proceed(&mut self, plumbing: &Plumbing) {
        self.phase = Phase::Proceeding;
        self.send_descriptors();
        let proceed = Record::Proceed {
            controlling: self.controlling,
        };
        let sent = |socket: &OwnedFd| {
            checkpoint::send_record(socket.as_fd(), proceed, plumbing.descriptors())
        };
        if let Some(Err(errno)) = self.socket.as_ref().map(sent) {
            self.fail_unless_child_gone(Stage::ExecOutcome.errno()(errno));
        }
    }

    fn send_descriptors(&mut self) {
        let descriptors = std::mem::take(&mut self.descriptors);
        let (Some(socket), false) = (&self.socket, descriptors.is_empty()) else {
            return;
        };
        let record = Record::Descriptors(descriptors.len() as u64);
        let sent = checkpoint::send_record(socket.as_fd(), record, None)
            .and_then(|()| crate::descriptors::send(socket.as_fd(), &descriptors));
        if let Err(errno) = sent {
            self.fail_unless_child_gone(Stage::Fds.errno()(errno));
        }
    }

    fn workload(&self) -> BorrowedFd<'_> {
        self.workload
            .pidfd
            .as_ref()
            .map_or(self.pidfd.as_fd(), AsFd::as_fd)
    }

    /// Receives all messages of the child. Also called at its death: before it is reaped its entry
    /// in /proc shows whether it reached its exec.
    fn recv_child_messages(&mut self) {
        while let Some(socket) = &self.socket {
            match checkpoint::recv_child_message(socket.as_fd()) {
                ChildMessage::Nothing => return,
                message => self.handle_child_message(message),
            }
        }
    }

    fn handle_child_message(&mut self, message: ChildMessage) {
        match message {
            ChildMessage::Nothing => {}
            // Each message comes once: a tracer of a parked child may send on its socket, and must
            // neither replace the workload of the session nor announce a second checkpoint.
            ChildMessage::Workload(pidfd) if self.init && self.workload.pidfd.is_none() => {
                self.workload.pidfd = Some(pidfd);
                self.parked();
            }
            ChildMessage::Pty(master) if self.awaits_pty && !self.was_parked => {
                self.awaits_pty = false;
                if let Err(fault) = self.take_pty(master) {
                    self.fail(fault);
                }
            }
            ChildMessage::Workload(_) | ChildMessage::Pty(_) | ChildMessage::Unknown => {
                self.fail(Stage::ReadyFrame.fault(libc::EPROTO));
            }
            ChildMessage::Parked(_) if self.was_parked => {
                self.fail(Stage::ReadyFrame.fault(libc::EPROTO));
            }
            ChildMessage::Parked(sender) => {
                self.was_parked = true;
                self.workload.pid = sender;
                self.parked();
            }
            ChildMessage::Closed => {
                self.socket = None;
                if self.phase == Phase::Proceeding && self.has_executed() {
                    self.running();
                }
            }
        }
    }

    /// Replaces the VM's terminal by one of the target's devpts, with the same modes and size.
    fn take_pty(&mut self, master: OwnedFd) -> Result<(), Fault> {
        let (Some(old), Some(plumbing)) = (&self.pty, &mut self.plumbing) else {
            return Err(Stage::Ptsetup.fault(libc::EINVAL));
        };
        let slave = pty::succeed(&master, old).map_err(Stage::Ptsetup.errno())?;
        plumbing.set_pty(slave)?;
        let again = |master: &OwnedFd| {
            let again = master.try_clone();
            again
                .map_err(|error| Stage::PtsOpen.fault(error.raw_os_error().unwrap_or(libc::EMFILE)))
        };
        self.outputs.set_pty(again(&master)?);
        self.input.set_target(again(&master)?);
        self.pty = Some(master);
        Ok(())
    }

    /// Handles the checkpoint once the child, and with a reaper the workload's pidfd, has arrived.
    fn parked(&mut self) {
        if !self.was_parked || self.init && self.workload.pidfd.is_none() {
            return;
        }
        if self.phase == Phase::Setup {
            self.phase = Phase::Parked;
        }
        if self.init {
            match self.workload.pid {
                Some(pid) => {
                    // Without an identity the VM verifies the pid with its pin.
                    let identity = linx_sys::pidfd::identity(self.workload());
                    report::spawned(&mut self.writer, pid, Some((self.pid, identity)));
                }
                None => return self.fail(Stage::ReadyFrame.fault(libc::ESRCH)),
            }
        }
        if let Err(fault) = self.set_schedule() {
            return self.fail(fault);
        }
        if std::mem::take(&mut self.auto_proceed) {
            self.proceed();
        }
        let child_pid = self
            .page
            .child_pid
            .load(std::sync::atomic::Ordering::Acquire);
        report::ready(&mut self.writer, child_pid, self.phase == Phase::Proceeding);
    }

    /// Whether the child has called exec. The closed socket alone is no proof: a killed child
    /// closes it too, before its death is visible.
    fn has_executed(&self) -> bool {
        // A workload behind a reaper is no child of the agent, and may be reaped by now.
        let by_wait = match self.init {
            true if self.page.is_at_its_exec() => None,
            true => Some(false),
            false => wait::has_child_executed(self.pid),
        };
        let by_proc = || wait::has_executed(self.workload());
        self.page.fault().is_none() && by_wait.or_else(by_proc).unwrap_or(true)
    }

    fn running(&mut self) {
        self.phase = Phase::Running;
        report::running(&mut self.writer);
    }

    /// Ends the session with `fault`.
    fn fail(&mut self, fault: Fault) {
        self.verdict.get_or_insert(Verdict::Failed(fault));
        self.kill();
    }

    fn signal(&mut self, signal: i32, to: Recipient) -> Result<(), Errno> {
        let pid = self.workload.pid.unwrap_or(self.pid);
        match to {
            // The pid of a reaped child may be another process's.
            Recipient::Workload if self.init || self.ended.is_some() => {
                kill::signal(self.workload(), signal)
            }
            Recipient::Workload => kill::signal_child(self.pidfd.as_fd(), self.pid, signal),
            Recipient::Group => kill::signal_group(self.workload(), pid, signal),
            Recipient::Tree => match self.signal_tree(signal) {
                answer @ (Ok(()) | Err(Errno::PERM | Errno::SRCH)) => answer,
                // No procfs shows the tree.
                Err(_) => self.signal(signal, Recipient::Workload),
            },
        }
    }

    /// Reaps the cloned child once it has ended, and other ended children.
    fn reap_children(&mut self) -> Result<(), Errno> {
        drain_signals(&self.children);
        let Some(dead) = kill::reap_orphans(self.pid)? else {
            return Ok(());
        };
        self.dead = true;
        self.recv_child_messages();
        self.ended = Some(match dead {
            Dead::Reaped(ended) => ended,
            Dead::Zombie(pid) => {
                self.find_lost();
                wait::reap(self.pidfd.as_fd(), pid)?
            }
        });
        Ok(())
    }

    fn report_end(&mut self, ended: Ended) {
        let fault = match (self.verdict, self.page.fault()) {
            (Some(Verdict::Aborted), _) => return report::aborted(&mut self.writer, ended.usage),
            (Some(Verdict::Failed(fault)), _) | (_, Some(fault)) => Some(fault),
            (killed, None) => match self.phase {
                Phase::Running => None,
                Phase::Setup | Phase::Parked if killed.is_some() => {
                    return report::aborted(&mut self.writer, ended.usage);
                }
                Phase::Opening | Phase::Proceeding if killed.is_some() => None,
                _ if !self.was_parked => Some(Stage::ReadyFrame.fault(libc::EIO)),
                _ => Some(Stage::ExecOutcome.fault(libc::EIO)),
            },
        };
        if let Some(fault) = fault {
            return report::error(&mut self.writer, fault);
        }
        let status = self.page.workload_status();
        if self.init && status.is_none() && matches!(ended.outcome, Outcome::Exited(_)) {
            // The reaper ended without the wait status of the workload.
            return report::error(&mut self.writer, Stage::Wait.fault(libc::ECHILD));
        }
        let outcome = match status {
            Some(status) if self.init => wait::outcome_of(status),
            _ => ended.outcome,
        };
        report::ended(&mut self.writer, outcome, ended.usage);
    }
}

#[derive(Debug)]
struct Ready {
    control: bool,
    children: bool,
    socket: bool,
}

/// Empties the signalfd: one readable event may stand for many signals.
fn drain_signals(children: &OwnedFd) {
    let mut buffer = [0; 1024];
    loop {
        match rustix::io::read(children, &mut buffer) {
            Ok(count) if count == buffer.len() => {}
            Err(Errno::INTR) => {}
            _ => return,
        }
    }
}
