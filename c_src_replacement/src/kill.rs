//! Ending a session's processes: the workload by its pidfd, what it started by the tree of processes, and its cgroup.

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

/// Signals the process group that the process of `pidfd`, whose number is `pid`, leads. The workload leads one from its
/// first instruction, and a number that is a group's is nobody else's while the process is not reaped.
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

/// As [`signal`], for a child of ours that is not reaped, whose number `pid` is its own therefore: where the call by
/// descriptor is refused the call by number is as good.
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

/// Kills every process of the cgroup and below (`cgroup.kill`, Documentation/admin-guide/cgroup-v2.rst), frozen ones too.
/// Best effort: the file is younger than cgroups, and the tree of processes is killed as well.
pub fn cgroup(directory: &OwnedFd) {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(file) = openat(directory, c"cgroup.kill", flags, Mode::empty()) {
        let _ = write(&file, b"1");
    }
}

/// Reaps what has ended, but for `main`, which is left in place where that can be: how it is found.
pub fn reap_orphans(main: i32) -> Result<Option<Dead>, Errno> {
    loop {
        match wait::any()? {
            Some(Dead::Zombie(pid)) if pid != main => wait::reap_pid(pid)?,
            Some(Dead::Reaped(ended)) if ended.pid != main => {}
            main => return Ok(main),
        }
    }
}

/// Whether a child of ours is left, dead ones reaped. Where nothing can be waited for none can be told from another.
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

/// What a sweep could not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// EPERM: they are somebody else's by now. ETIMEDOUT: killed, and still there. Another: why they cannot be found.
    pub errno: Errno,
    /// Their pids in our pid namespace, as far as known.
    pub pids: Vec<i32>,
    /// Every one of them answered EPERM: to try again is of no use.
    pub hopeless: bool,
}

/// Kills and reaps all that is left, for at most `patience`.
///
/// This process is the reaper of its descendants, so what loses its parent becomes our child. A process that forks
/// faster than it is killed would win: so all of the tree is stopped first, in rounds until one finds nobody new. A
/// signal and a fork exclude each other in the kernel (kernel/fork.c, copy_process): the children that a stopped process
/// shows are all it has. Only then are they killed, so that no limit on processes makes room meanwhile.
pub fn sweep(patience: Duration) -> Result<(), Left> {
    if !has_children() {
        return Ok(());
    }
    let deadline = Instant::now() + patience;
    let tree = Tree::open();
    let _precedence = prevail_in(&tree);
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

/// Takes the processor before the processes that are to be stopped, for as long as the answer lives, and a descriptor for
/// each of them. Without CAP_SYS_NICE or CAP_SYS_RESOURCE the sweep has what everybody has, and takes longer. Nothing is
/// started any more that would inherit either.
#[must_use]
fn prevail() -> Option<Precedence> {
    let precedence = Precedence::take().ok();
    if precedence.is_none() {
        let _ = setpriority_process(None, -20);
    }
    raise_descriptor_limit();
    precedence
}

/// To the hard limit, for a tree of more processes than the soft one has descriptors for. Refused, the tree is seen as far as
/// there are any. The workload, which has the VM's limits, is born before.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, most);
}

/// As [`prevail`], where the tree is seen. Elsewhere every number that a process may have is asked for, which takes seconds:
/// too long for a policy that keeps everybody else from the processor.
fn prevail_in(tree: &Result<Tree, Errno>) -> Option<Precedence> {
    tree.as_ref().ok().and_then(|_| prevail())
}

#[derive(Debug, Default)]
struct Round {
    members: Vec<i32>,
    denied: usize,
    error: Option<Errno>,
    /// The last look found no process that the one before had not.
    is_settled: bool,
}

impl Round {
    /// The tree cannot be seen.
    fn unknown(errno: Errno) -> Self {
        Self {
            error: Some(errno),
            is_settled: true,
            ..Self::default()
        }
    }

    /// Kills those of `pids` that are children of ours and run: until we reap one its number is its own.
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

/// Rounds in which a tree may grow while it is stopped. One that grows on (its processes continue each other) is killed
/// as far as it is known, and looked at again.
const MAX_ROUNDS: usize = 8;

fn stop_and_kill(tree: &Tree, except: Option<i32>) -> Round {
    let excepted = |member: &Member| except.is_some() && member.pid() == except;
    let mut members = Members::default();
    let mut is_settled = false;
    for _ in 0..MAX_ROUNDS {
        let before = members.len();
        tree.extend(&mut members, |member| {
            if !excepted(member) {
                // A refusal comes again with the next signal, which counts it.
                let _ = member.signal(libc::SIGSTOP);
            }
        });
        is_settled = members.len() == before;
        if is_settled {
            break;
        }
    }
    // All of them before anything else: a process that is to die does not fork any more.
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
        // A zombie takes signals, and only its parent can end it further.
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

/// Kills our own children where no procfs shows them: waitid(2) says of each number whether it is a child of ours, and
/// until we reap it the number is its own. The children of these become ours, for the next call. `errno` says why the
/// tree cannot be seen.
fn kill_children_by_number(errno: Errno) -> Round {
    // Settled: a pause follows, in which the children of those that die become ours.
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

/// Sends `number` to each process of the tree but `reaper`, once. The first refusal is the answer, when nobody took it.
///
/// All are found before the first is signalled: the children of a process that dies are no longer below it. A second look
/// finds those that were born meanwhile.
///
/// A /proc that hides the reaper shows the `workload` all the same, and what is below it.
pub fn signal_tree(number: i32, reaper: Option<i32>, workload: Option<i32>) -> Result<(), Errno> {
    raise_descriptor_limit();
    let tree = Tree::open()?;
    let mut members = Members::default();
    let mut answer = Err(Errno::SRCH);
    let is_reaper = |member: &Member| reaper.is_some() && member.pid() == reaper;
    // While there is a descriptor to find its number with.
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
    answer
}

/// Whether /proc hides `child`, and with it all that is below it.
pub fn hides(child: i32) -> bool {
    Tree::open().is_ok_and(|tree| tree.hidden_children().contains(&child))
}

/// Kills our own descendants but `except`, once, and reaps none: whoever calls this calls it again.
pub fn kill_descendants(except: Option<i32>) -> Left {
    let _precedence = prevail();
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
        assert!(prevail_in(&Err(Errno::NODEV)).is_none());
        assert!(prevail_in(&Tree::open()).is_some());
    }
}
