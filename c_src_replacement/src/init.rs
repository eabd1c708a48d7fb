//! The reaper of `init: true`, between the agent and the workload.
//!
//! A workload that is pid 1 of its namespace ignores every signal without a handler, SIGTERM among
//! them, and inherits orphans that it does not expect. A reaper is pid 1 in its place: it forwards
//! signals, reaps, and ends with the workload's status. It stays beside the workload for the whole
//! session, so a workload must gain nothing from it: before the workload's exec the reaper gives up
//! its descriptors, its directory, its ids and its capabilities, and a filter allows only the
//! system calls of its loop.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;

use linx_wire::seccomp::Insn;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{DumpableBehavior, Signal, getpid, getppid, set_dumpable_behavior};
use rustix::process::{chdir, set_child_subreaper, set_parent_process_death_signal};
use rustix::thread::set_no_new_privs;

use crate::capability;
use crate::checkpoint;
use crate::child::{Plan, change_identity};
use crate::clone::{Exit, Side, clone3, last_errno};
use crate::descriptors;
use crate::last_words::{fail, leave};
use crate::page::Page;
use crate::seccomp;
use crate::signals;
use crate::stage::{Fault, Stage};

/// The workload's socket to its reaper, open until the reaper has given up its privileges.
#[derive(Debug)]
pub struct Gate {
    socket: OwnedFd,
    reaper: i32,
}

impl Gate {
    /// Sends that ids and root are final: the reaper gives up its privileges in parallel with the
    /// workload's own steps. `dropped` is the mask removed from the workload's bounding set.
    pub fn open(&self, dropped: u64) {
        let bytes = dropped.to_ne_bytes();
        if rustix::net::send(&self.socket, &bytes, rustix::net::SendFlags::NOSIGNAL).is_err() {
            // The reaper's fault is on the page.
            leave(0);
        }
    }

    /// Returns when the reaper has given up its privileges, which is before the workload's exec.
    pub fn pass(&self, page: &Page) {
        if received(&self.socket).is_some() || !page.reaper_is_ready() {
            leave(0);
        }
    }

    /// Whether the reaper has ended. Called after the parent-death signal is set, which a parent
    /// that ended earlier does not send.
    pub fn is_abandoned(&self) -> bool {
        getppid().map_or(0, |pid| pid.as_raw_nonzero().get()) != self.reaper
    }
}

/// The message before the end of file; None at the end of file. An error is no end of file.
fn received(socket: &OwnedFd) -> Option<u64> {
    let mut bytes = [0; 8];
    loop {
        match rustix::io::read(socket, &mut bytes) {
            Err(Errno::INTR) => {}
            Ok(0) => return None,
            _ => return Some(u64::from_ne_bytes(bytes)),
        }
    }
}

/// Clones the workload's process and returns in it; the caller becomes its reaper.
pub fn split(plan: &Plan<'_>, page: &Page, socket: &OwnedFd) -> Gate {
    let steps = || -> Result<(OwnedFd, Gate), Fault> {
        let init = Stage::Init.errno();
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(&init)?;
        if checkpoint::is_abandoned(socket) {
            leave(0);
        }
        signals::block_all().map_err(&init)?;
        // Checks rt_sigtimedwait(2): a pid 1 without it would spin or lose signals.
        match next_signal(Some(&NOW)) {
            Err(Errno::AGAIN) | Ok(_) => {}
            Err(errno) => return Err(init(errno)),
        }
        // Checks wait4(2): a reaper without it would end at once.
        match wait_any(&mut 0, libc::WNOHANG) {
            Err(Errno::CHILD) | Ok(_) => {}
            Err(errno) => return Err(init(errno)),
        }
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(&init)?;
        // Read again after the workload's descriptors have their numbers.
        let theirs = descriptors::above(theirs, &plan.options.fds.numbers)?;
        let reaper = getpid().as_raw_nonzero().get();
        let gate = Gate {
            socket: theirs,
            reaper,
        };
        Ok((ours, gate))
    };
    let (ours, gate) = match steps() {
        Ok(pair) => pair,
        Err(fault) => fail(page, fault),
    };
    match clone3(0, None, Exit::Sigchld) {
        Ok(Side::Child) => {
            drop(ours);
            if let Err(errno) = signals::undo() {
                fail(page, Stage::Init.errno()(errno));
            }
            // setsid(2) fails only for a process group leader, which a new child is not.
            if let Err(errno) = rustix::process::setsid() {
                fail(page, Stage::Init.errno()(errno));
            }
            gate
        }
        Ok(Side::Parent { pid, pidfd }) => {
            drop(gate);
            let reaper = Reaper {
                plan,
                page,
                socket,
                gate: ours,
                workload: pid,
            };
            reaper.run(&pidfd)
        }
        Err(errno) => fail(page, Stage::Fork.errno()(errno)),
    }
}

struct Reaper<'a> {
    plan: &'a Plan<'a>,
    page: &'a Page,
    socket: &'a OwnedFd,
    gate: OwnedFd,
    workload: i32,
}

impl Reaper<'_> {
    fn run(self, pidfd: &OwnedFd) -> ! {
        if let Err(fault) = self.introduce(pidfd) {
            fail(self.page, fault);
        }
        // Called before the filter, which refuses getpid(2).
        let is_first = getpid().as_raw_nonzero().get() == 1;
        let filter = filter(self.workload);
        if let Some(dropped) = self.dropped() {
            if let Err(fault) = self.harden(dropped, &filter) {
                fail(self.page, fault);
            }
            self.page.reaper_ready.store(1, Ordering::Release);
        }
        // The end of file lets the workload proceed.
        close(self.gate.as_raw_fd());
        reap(self.page, self.workload, is_first)
    }

    /// Makes the reaper not dumpable and sends the agent the pidfd of the workload.
    fn introduce(&self, pidfd: &OwnedFd) -> Result<(), Fault> {
        let init = Stage::Init.errno();
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(&init)?;
        // Outside a new pid namespace orphans become children of the nearest subreaper.
        set_child_subreaper(Some(getpid())).map_err(&init)?;
        checkpoint::send_workload(self.socket.as_fd(), pidfd.as_fd()).map_err(&init)
    }

    /// The capabilities removed from the workload's bounding set, received once its ids and root
    /// are final; None if the workload ended at its checkpoint. With auto_proceed no record changes
    /// them, so there is no message.
    fn dropped(&self) -> Option<u64> {
        if self.plan.options.auto_proceed {
            Some(0)
        } else {
            received(&self.gate)
        }
    }

    /// Gives up all privileges that the loop does not need. The bounding set, which limits an exec
    /// only, is the workload's.
    fn harden(&self, dropped: u64, filter: &[Insn]) -> Result<(), Fault> {
        let init = Stage::Init.errno();
        chdir(c"/").map_err(&init)?;
        capability::drop_bounding(dropped)?;
        change_identity(self.plan, false)?;
        capability::drop_all().map_err(&init)?;
        // The change of ids clears the parent-death signal and may set the dumpable flag.
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(&init)?;
        if checkpoint::is_abandoned(self.socket) {
            leave(0);
        }
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(&init)?;
        set_no_new_privs(true).map_err(&init)?;
        signals::close_above(0, Some(self.gate.as_fd())).map_err(&init)?;
        seccomp::install_plain(filter).map_err(&init)
    }
}

/// The filter that allows the calls of [`reap`]. Other calls return EPERM: a tracer gains nothing
/// from the reaper, and the container stays alive.
fn filter(workload: i32) -> Vec<Insn> {
    const CALLS: [u32; 6] = [
        libc::SYS_wait4 as u32,
        libc::SYS_rt_sigtimedwait as u32,
        libc::SYS_restart_syscall as u32,
        libc::SYS_close as u32,
        libc::SYS_exit_group as u32,
        libc::SYS_exit as u32,
    ];
    let refusal = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    seccomp::allow_list(&CALLS, workload as u32, refusal)
}

fn reap(page: &Page, workload: i32, is_first: bool) -> ! {
    let mut flags = libc::WNOHANG;
    let mut has_ended = false;
    loop {
        let mut status = 0;
        match wait_any(&mut status, flags) {
            // Once: an orphan may get the same pid later.
            Ok(pid) if pid == workload && !has_ended => {
                has_ended = true;
                page.workload_status.store(status, Ordering::Relaxed);
                page.workload_ended.store(1, Ordering::Release);
                // The end of a pid namespace's init kills all other processes of the namespace.
                // Elsewhere they would become children of another process, so the agent kills them
                // first and this process ends last.
                if is_first {
                    leave(0);
                }
                flags = 0;
            }
            Err(Errno::INTR) if flags == 0 => {}
            Ok(0) | Err(Errno::INTR) => match next_signal(None) {
                Ok(libc::SIGCHLD) | Err(Errno::INTR | Errno::AGAIN) => {}
                Ok(signal) => forward(workload, signal),
                // Without rt_sigtimedwait(2) the reaper forwards no signals but still reaps,
                // blocking in wait4(2).
                Err(_) => flags = 0,
            },
            Ok(_) => {}
            Err(_) => leave(0),
        }
    }
}

/// `struct timespec` of rt_sigtimedwait(2): two longs of the kernel. The C library's struct has
/// wider members where its time_t has 64 bits on a 32-bit processor.
type Timespec = [libc::c_long; 2];

const NOW: Timespec = [0, 0];

/// Waits for a blocked signal; EAGAIN after `limit`.
#[expect(unsafe_code, reason = "rt_sigtimedwait(2)")]
fn next_signal(limit: Option<&Timespec>) -> Result<i32, Errno> {
    let limit = limit.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the kernel reads eight bytes and, where `limit` is not null, a timespec; it is asked
    // for no siginfo.
    let signal = unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const signals::ALL,
            0usize,
            limit,
            8usize,
        )
    };
    match signal {
        -1 => Err(last_errno()),
        signal => Ok(signal as i32),
    }
}

#[expect(unsafe_code, reason = "wait4(2) of any child")]
fn wait_any(status: &mut i32, flags: i32) -> Result<i32, Errno> {
    // SAFETY: the kernel writes one int through `status`, and no rusage is asked for.
    let pid = unsafe { libc::syscall(libc::SYS_wait4, -1, &raw mut *status, flags, 0usize) };
    match pid {
        -1 => Err(last_errno()),
        pid => Ok(pid as i32),
    }
}

/// Forwards a signal. EPERM: the workload runs as another user, whom the reaper without privileges
/// may not signal.
#[expect(unsafe_code, reason = "kill(2) takes real-time signals as numbers")]
fn forward(workload: i32, signal: i32) {
    // SAFETY: the workload is our own child and not reaped yet, so the pid is its own; no memory is
    // touched.
    unsafe { libc::syscall(libc::SYS_kill, workload, signal) };
}

#[expect(unsafe_code, reason = "the descriptor's owner never ends")]
fn close(fd: i32) {
    // SAFETY: closed once; what follows uses no descriptor and does not return, so its owner is
    // never dropped.
    unsafe { libc::syscall(libc::SYS_close, fd) };
}

#[cfg(test)]
mod tests {
    use linx_wire::seccomp::Arch;
    use linx_wire::seccomp::insn::{JEQ, LD, RET};

    use super::*;

    #[test]
    fn the_filter_allows_the_calls_of_the_loop_and_signals_to_the_workload_alone() {
        const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
        let filter = filter(7);
        let answer = |call: libc::c_long, argument: u64| {
            let arch = Arch::HOST.map_or(0, Arch::audit);
            run(
                &filter,
                &[
                    call as u32,
                    arch,
                    0,
                    0,
                    argument as u32,
                    (argument >> 32) as u32,
                ],
            )
        };
        let allowed = [
            libc::SYS_wait4,
            libc::SYS_rt_sigtimedwait,
            libc::SYS_restart_syscall,
            libc::SYS_close,
            libc::SYS_exit_group,
            libc::SYS_exit,
        ];
        for call in 0..500 {
            let expected = if allowed.contains(&call) {
                ALLOWED
            } else {
                REFUSED
            };
            assert_eq!(answer(call, 0), expected, "{call}");
        }
        assert_eq!(answer(libc::SYS_kill, 7), ALLOWED);
        for target in [1, 8, u64::MAX, 7 | 1 << 32, u64::from(u32::MAX) - 6] {
            assert_eq!(answer(libc::SYS_kill, target), REFUSED, "{target}");
        }
        // x32 numbers, and those of another architecture.
        assert_eq!(answer(libc::SYS_wait4 | 0x4000_0000, 0), REFUSED);
        if Arch::HOST.is_some() {
            assert_eq!(
                run(&filter, &[libc::SYS_wait4 as u32, 0x4000_0003, 0, 0, 0, 0]),
                REFUSED
            );
        }
    }

    /// The classic BPF of the filter over the words of a `struct seccomp_data` (little-endian).
    fn run(filter: &[Insn], data: &[u32; 6]) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let Insn { code, jt, jf, k } = filter[at];
            at += 1;
            match code {
                LD => value = data[k as usize / 4],
                JEQ => at += usize::from(if value == k { jt } else { jf }),
                RET => return k,
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn the_gate_of_a_reaper_that_ended_is_abandoned() {
        let flags = SocketFlags::CLOEXEC;
        let (socket, _theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        let gate = |reaper| Gate {
            socket: socket.try_clone().unwrap(),
            reaper,
        };
        let parent = getppid().unwrap().as_raw_nonzero().get();
        assert!(!gate(parent).is_abandoned());
        assert!(gate(i32::MAX).is_abandoned());
    }
}
