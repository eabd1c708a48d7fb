//! One session, from the clone to the terminal report: one loop over the control channel, the child and its streams.

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
use crate::wait::{self, Dead, Ended, Outcome};

/// A filter is the largest thing that a command carries.
const MAX_COMMAND: usize = 256 * 1024;

/// How long the news of the clone waits to go with that of the checkpoint, and that, when the child need not wait, with
/// that of its exec. Each is a fraction of this away, unless the child was cloned into a frozen cgroup.
const HOLD: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 2_000_000,
};

/// How long a file or socket whose other end is not there yet waits to be tried again, and a dead workload to be reaped.
const RETRY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// How long a reaper may take to end after its workload before the processes below it are looked for: it ends at once
/// where there are none.
const REAPER: Duration = Duration::from_millis(1);

mod ending;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// On its way to the checkpoint.
    Setup,
    Parked,
    /// To go once its descriptors are open.
    Opening,
    /// Told to go; the exec is not known yet.
    Proceeding,
    Running,
}

/// Why a session ends other than by its workload's own end.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    Aborted,
    /// By the VM's order: what it was before decides what that is called.
    Killed,
    Failed(Fault),
}

/// The process behind a reaper, as it and the reaper said at the checkpoint.
#[derive(Debug, Default)]
struct Workload {
    pid: Option<i32>,
    pidfd: Option<OwnedFd>,
    /// When its end was seen.
    ended: Option<Instant>,
}

impl Workload {
    fn is_dead(&self) -> bool {
        self.ended.is_some()
    }

    /// It is dead, and its reaper, which is not, has had the time to end.
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
    /// The child has said so. With auto_proceed that may come after it was told to go.
    was_parked: bool,
    verdict: Option<Verdict>,
    /// The cloned child: the workload, or the reaper that stands before it.
    pid: i32,
    pidfd: OwnedFd,
    /// With a reaper: the workload behind it.
    workload: Workload,
    /// The cloned child has ended; who traces it may still keep us from reaping it.
    dead: bool,
    /// Until the child's end is closed.
    socket: Option<OwnedFd>,
    plumbing: Option<Plumbing>,
    controlling: bool,
    schedule: Schedule,
    descriptors: Vec<OwnedFd>,
    /// To go once the schedule is set, which needs the parked child.
    auto_proceed: bool,
    init: bool,
    devnull: OwnedFd,
    outputs: Outputs,
    input: InputQueue,
    pty: Option<OwnedFd>,
    cgroup: Option<OwnedFd>,
    /// It entered namespaces of somebody else's.
    is_visitor: bool,
    /// Its child may offer a terminal on its way to the checkpoint.
    awaits_pty: bool,
    /// Until when what the workload leaves behind may end by itself.
    grace: Option<Instant>,
    /// How long the workload may take to end by itself when the VM is gone.
    orphan_grace: Option<Duration>,
    /// The time by which whatever was killed has to be dead.
    deadline: Option<Instant>,
    /// The end of the cloned child, once it is reaped.
    ended: Option<Ended>,
    children: OwnedFd,
}

impl Session {
    /// `reads` and `writes` are two more descriptors of a terminal.
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
            is_visitor: started.is_visitor,
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
        // Some may have come with the request.
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

    /// The time until something is due that no descriptor announces.
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

    /// False when the VM has hung up.
    fn control(&mut self) -> bool {
        let input = self.reader.fill();
        self.commands();
        input != Input::End
    }

    /// Obeys what has arrived whole.
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

    /// A child that is dead already says itself what happened; its death is on its way.
    fn fail_unless_child_gone(&mut self, fault: Fault) {
        if fault.errno != libc::EPIPE && fault.errno != libc::ECONNRESET {
            self.fail(fault);
        }
    }

    /// Without a wait for the checkpoint, unless something is set on the child there, or it may offer a terminal: it finds
    /// the word to go when it gets there.
    pub fn auto_proceed(&mut self) {
        if self.schedule.is_empty() && !self.awaits_pty {
            self.proceed();
        } else {
            self.auto_proceed = true;
        }
    }

    /// Sets priorities and processors on the parked workload.
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

    /// Lets the child go, unless one of its descriptors has to wait for somebody else.
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

    /// Takes all that the child has sent. Also at its death: until it is reaped its entry in /proc still tells whether it
    /// got as far as its exec.
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
            // Each comes once: whoever traces a parked child may send on its socket, and must not exchange the process
            // that a session means, nor announce a second checkpoint.
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

    /// Takes a terminal of the target's devpts in the place of the VM's, as that one was set up meanwhile.
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

    /// The child is parked, and with a reaper its descriptor is here.
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
                    // Without one the VM asks about the number after its pin.
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

    /// The closed socket alone proves nothing: a child that was killed closes it too, before its death is announced.
    fn has_executed(&self) -> bool {
        // A workload behind a reaper is not our child, and may be reaped by now.
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

    /// Ends the session for a reason of its own.
    fn fail(&mut self, fault: Fault) {
        self.verdict.get_or_insert(Verdict::Failed(fault));
        self.kill();
    }

    fn signal(&self, signal: i32, to: Recipient) -> Result<(), Errno> {
        let pid = self.workload.pid.unwrap_or(self.pid);
        match to {
            // A number that is reaped may be somebody else's.
            Recipient::Workload if self.init || self.ended.is_some() => {
                kill::signal(self.workload(), signal)
            }
            Recipient::Workload => kill::signal_child(self.pidfd.as_fd(), self.pid, signal),
            Recipient::Group => kill::signal_group(self.workload(), pid, signal),
            Recipient::Tree => match self.signal_tree(signal) {
                answer @ (Ok(()) | Err(Errno::PERM | Errno::SRCH)) => answer,
                // The tree cannot be seen.
                Err(_) => self.signal(signal, Recipient::Workload),
            },
        }
    }

    /// Reaps the cloned child once it has ended, and what else has.
    fn reap_children(&mut self) -> Result<(), Errno> {
        drain_signals(&self.children);
        let Some(dead) = kill::reap_orphans(self.pid)? else {
            return Ok(());
        };
        self.dead = true;
        self.recv_child_messages();
        self.ended = Some(match dead {
            Dead::Reaped(ended) => ended,
            Dead::Zombie(pid) => wait::reap(self.pidfd.as_fd(), pid)?,
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
            // The reaper gave up without having seen the end of the workload.
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

/// One readable event may stand for many signals.
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
