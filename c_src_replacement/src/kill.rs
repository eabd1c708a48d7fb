//! Ends a session's processes: the workload by its pidfd, its descendants by the process tree, and
//! its cgroup.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, write};
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};

use crate::clone::last_errno;
use crate::poll::pause;
use crate::schedule::Precedence;
use crate::tree::{Member, Members, Tree};
use crate::wait::{self, Dead};

/// `pidfd_send_signal(2)`, by number: real-time signals have no name.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    send(pidfd, signal, 0)
}

/// PIDFD_SIGNAL_PROCESS_GROUP (linux/pidfd.h), since Linux 6.9.
const PROCESS_GROUP: u32 = 1 << 2;

/// Signals the process group of the leader `pidfd`, whose pid is `pid`. The workload leads one from
/// its first instruction, and a group's number is not reused before the leader is reaped.
pub fn signal_group(pidfd: BorrowedFd<'_>, pid: i32, signal: i32) -> Result<(), Errno> {
    match send(pidfd, signal, PROCESS_GROUP) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            send(pidfd, 0, 0)?;
            kill_by_number(-pid, signal)
        }
        other => other,
    }
}

#[expect(unsafe_code, reason = "rustix takes named signals only")]
fn send(pidfd: BorrowedFd<'_>, signal: i32, flags: u32) -> Result<(), Errno> {
    // SAFETY: no siginfo is passed, and a signal to another process touches no memory of ours.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            0usize,
            flags,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// As [`signal`], for an unreaped child, whose pid cannot be reused: if pidfd_send_signal(2) is
/// refused, kill(2) is equivalent.
pub fn signal_child(pidfd: BorrowedFd<'_>, pid: i32, number: i32) -> Result<(), Errno> {
    match signal(pidfd, number) {
        Err(Errno::NOSYS | Errno::PERM) => kill_by_number(pid, number),
        other => other,
    }
}

#[expect(unsafe_code, reason = "kill(2) by number")]
fn kill_by_number(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: a signal to another process touches no memory of ours.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// Kills every process of the cgroup and its descendants (`cgroup.kill`,
/// Documentation/admin-guide/cgroup-v2.rst), frozen ones too. Best effort: older kernels lack the
/// file, and the process tree is killed as well.
pub fn cgroup(directory: &OwnedFd) {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(file) = openat(directory, c"cgroup.kill", flags, Mode::empty()) {
        let _ = write(&file, b"1");
    }
}

/// Reaps ended children except `main`, which stays a zombie if waitid(2) allows it, and is
/// returned.
pub fn reap_orphans(main: i32) -> Result<Option<Dead>, Errno> {
    loop {
        match wait::any()? {
            Some(Dead::Zombie(pid)) if pid != main => wait::reap_pid(pid)?,
            Some(Dead::Reaped(ended)) if ended.pid != main => {}
            main => return Ok(main),
        }
    }
}

/// Whether a living child is left; dead ones are reaped. True if no wait call works.
pub fn has_children() -> bool {
    loop {
        match wait::any() {
            Ok(Some(Dead::Zombie(pid))) if wait::reap_pid(pid).is_ok() => {}
            Ok(Some(Dead::Reaped(_))) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

/// The processes that a sweep could not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// EPERM: they run as another user. ETIMEDOUT: killed, and still there. Any other: the reason
    /// why they cannot be found.
    pub errno: Errno,
    /// Their pids in the agent's pid namespace, as far as known.
    pub pids: Vec<i32>,
    /// kill(2) failed with EPERM for each of them, so that a further sweep has no effect.
    pub hopeless: bool,
}

/// Kills and reaps all descendants, for at most `patience`.
///
/// The agent is a subreaper, so orphaned descendants become its children. A process that forks
/// faster than it is killed would win, so the whole tree is stopped first, in rounds, until a round
/// finds no new process. The kernel serialises a signal with a fork (kernel/fork.c, copy_process):
/// a stopped process has no further children. Only then are the processes killed, so that no limit
/// on processes makes room meanwhile.
pub fn sweep(patience: Duration) -> Result<(), Left> {
    if !has_children() {
        return Ok(());
    }
    let deadline = Instant::now() + patience;
    let tree = Tree::open();
    let _precedence = raise_priority_in(&tree);
    loop {
        let round = match &tree {
            Ok(tree) => stop_and_kill(tree, None),
            Err(errno) => kill_children_by_number(*errno),
        };
        if !has_children() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(round.left());
        }
        if round.is_settled {
            pause(Duration::from_millis(1));
        }
    }
}

/// Raises the agent's scheduling priority above the processes to stop, until the returned value is
/// dropped, and the limit of its descriptors. Without CAP_SYS_NICE or CAP_SYS_RESOURCE the sweep
/// takes longer. The agent clones no process afterwards that would inherit either.
#[must_use]
fn raise_priority() -> Option<Precedence> {
    let precedence = Precedence::take().ok();
    if precedence.is_none() {
        let _ = setpriority_process(None, -20);
    }
    raise_descriptor_limit();
    precedence
}

/// Raises RLIMIT_NOFILE to the hard limit, for trees of more processes than the soft limit has
/// descriptors. If that is refused, the tree is seen as far as there are descriptors. The workload,
/// which has the VM's limits, was cloned before.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, most);
}

/// As [`raise_priority`], if /proc shows the tree. Without it every possible pid is tried, which
/// takes seconds: too long at a priority that keeps all other processes from the processor.
fn raise_priority_in(tree: &Result<Tree, Errno>) -> Option<Precedence> {
    tree.as_ref().ok().and_then(|_| raise_priority())
}

#[derive(Debug, Default)]
struct Round {
    members: Vec<i32>,
    denied: usize,
    error: Option<Errno>,
    /// The last round found no new process.
    is_settled: bool,
}

impl Round {
    /// The round of a tree that no procfs shows.
    fn unknown(errno: Errno) -> Self {
        Self {
            error: Some(errno),
            is_settled: true,
            ..Self::default()
        }
    }

    /// Kills those of `pids` that are living children: a pid is not reused before the agent reaps
    /// the child.
    fn kill_children(&mut self, pids: impl Iterator<Item = i32>) {
        for pid in pids.filter(|&pid| wait::is_running_child(pid)) {
            self.members.push(pid);
            if kill_by_number(pid, libc::SIGKILL).is_err() {
                self.denied += 1;
            }
        }
    }

    fn left(self) -> Left {
        let hopeless = self.denied > 0 && self.denied == self.members.len();
        let errno = match self.error {
            Some(errno) => errno,
            None if self.denied > 0 => Errno::PERM,
            None => Errno::TIMEDOUT,
        };
        Left {
            errno,
            pids: self.members,
            hopeless,
        }
    }
}

/// The bound of the rounds in which a tree may grow while it is stopped. A tree that still grows
/// (its processes replace each other) is killed as far as it is known, and searched again.
const MAX_ROUNDS: usize = 8;

fn stop_and_kill(tree: &Tree, except: Option<i32>) -> Round {
    stop_and_kill_all(tree, &mut Members::default(), except)
}

/// As [`stop_and_kill`], with the processes that are in `members` already.
fn stop_and_kill_all(tree: &Tree, members: &mut Members, except: Option<i32>) -> Round {
    let excepted = |member: &Member| except.is_some() && member.pid() == except;
    let mut is_settled = false;
    for _ in 0..MAX_ROUNDS {
        let before = members.len();
        tree.extend(members, |member| {
            if !excepted(member) {
                // SIGKILL below fails in the same way and is counted.
                let _ = member.signal(libc::SIGSTOP);
            }
        });
        is_settled = members.len() == before;
        if is_settled {
            break;
        }
    }
    // All processes before any other step: a process with a pending SIGKILL forks no more.
    let killed: Vec<_> = members
        .iter()
        .filter(|member| !excepted(member))
        .map(|member| (member, member.signal(libc::SIGKILL)))
        .collect();
    let mut round = Round {
        is_settled,
        ..Round::default()
    };
    for (member, result) in killed {
        // A zombie accepts signals; only its parent can reap it.
        let Some(pid) = member.live_pid() else {
            continue;
        };
        round.members.push(pid);
        if !matches!(result, Ok(()) | Err(Errno::SRCH)) {
            round.denied += 1;
        }
    }
    let hidden = tree.hidden_children().into_iter();
    round.kill_children(hidden.filter(|&pid| Some(pid) != except));
    round
}

/// PID_MAX_LIMIT (linux/threads.h) on 64-bit machines.
const LAST_PID: i32 = 4 * 1024 * 1024;

/// Kills the agent's children where no procfs shows them: waitid(2) tells of each pid whether it is
/// a child, and a pid is not reused before the child is reaped. Grandchildren become children for
/// the next call. `errno` is the reason why the tree cannot be seen.
fn kill_children_by_number(errno: Errno) -> Round {
    // Settled: a pause follows, in which the orphans become children of the agent.
    let mut round = Round {
        is_settled: true,
        ..Round::default()
    };
    round.kill_children(2..=LAST_PID);
    if round.members.is_empty() {
        round.error = Some(errno);
    }
    round
}

/// Sends `number` once to each process of the tree except `reaper`. The result is the first refusal
/// if no process accepted the signal, and the processes of the tree.
///
/// All processes are found before the first is signalled, because the children of a dead process
/// are no longer below it. A second search finds the processes that were born meanwhile.
///
/// With `hidepid=` /proc may hide the reaper but show the `workload` and its descendants.
pub fn signal_tree(
    number: i32,
    reaper: Option<i32>,
    workload: Option<i32>,
) -> (Result<(), Errno>, Members) {
    raise_descriptor_limit();
    let mut members = Members::default();
    let tree = match Tree::open() {
        Ok(tree) => tree,
        Err(errno) => return (Err(errno), members),
    };
    let mut answer = Err(Errno::SRCH);
    let is_reaper = |member: &Member| reaper.is_some() && member.pid() == reaper;
    // Reads the member's pid while there is a free descriptor for it.
    let look = |member: &Member| {
        let _ = is_reaper(member);
    };
    for _ in 0..2 {
        let known = members.len();
        tree.extend(&mut members, look);
        if let (0, Some(reaper), Some(workload)) = (members.len(), reaper, workload) {
            tree.add_child_of(&mut members, workload, reaper);
            tree.extend(&mut members, look);
        }
        for member in members.iter().skip(known) {
            if is_reaper(member) {
                continue;
            }
            let sent = member.signal(number);
            if answer.is_err() && sent != Err(Errno::SRCH) {
                answer = sent;
            }
        }
    }
    (answer, members)
}

/// The processes of the session of `leader`, a child that is not reaped.
pub fn session(leader: i32) -> Members {
    Tree::open().map_or_else(|_| Members::default(), |tree| tree.session(leader))
}

/// Adds the agent's descendants to `members` and kills all of them once, except `except`. Where no
/// procfs shows the tree, it is killed as far as it becomes the agent's own.
pub fn kill_into(members: &mut Members, except: Option<i32>) {
    let _precedence = raise_priority();
    if let Ok(tree) = Tree::open() {
        stop_and_kill_all(&tree, members, except);
    }
}

/// Kills the processes of `lost` and their descendants, for at most `patience`. They are no
/// descendants of the agent, so none is reaped.
pub fn end_lost(lost: &mut Members, patience: Duration) -> Result<(), Left> {
    if !lost.has_living() {
        return Ok(());
    }
    let deadline = Instant::now() + patience;
    let tree = match Tree::open() {
        Ok(tree) => tree,
        Err(errno) => return Err(Round::unknown(errno).left()),
    };
    loop {
        let round = stop_and_kill_all(&tree, lost, None);
        if !lost.has_living() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(round.left());
        }
        pause(Duration::from_millis(1));
    }
}

/// Whether /proc hides `child` and therefore its descendants.
pub fn hides(child: i32) -> bool {
    Tree::open().is_ok_and(|tree| tree.hidden_children().contains(&child))
}

/// Kills the agent's descendants except `except` once, and reaps none: the caller repeats it.
pub fn kill_descendants(except: Option<i32>) -> Left {
    let _precedence = raise_priority();
    match Tree::open() {
        Ok(tree) => stop_and_kill(&tree, except).left(),
        Err(errno) => Round::unknown(errno).left(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs CAP_SYS_NICE"]
    fn a_tree_that_is_not_seen_is_looked_for_without_precedence() {
        assert!(raise_priority_in(&Err(Errno::NODEV)).is_none());
        assert!(raise_priority_in(&Tree::open()).is_some());
    }
}
