//! Priorities, CPUs and the OOM score of the parked workload, set by the agent.
//!
//! The agent sets them because the kernel checks them against the initial user namespace, where a
//! child in its own user namespace has no capability. Only the workload gets them: its reaper and
//! the agent keep the VM's.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::clone::last_errno;
use crate::stage::{Fault, Stage};

/// The exclusive bound of CPU numbers: NR_CPUS of the largest kernel configuration.
pub const MAX_CPUS: usize = 8192;

/// `struct sched_attr` (linux/sched/types.h), version 0: 48 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const _: () = assert!(size_of::<SchedAttr>() == 48);

const SCHED_DEADLINE: u32 = 6;
const IOPRIO_WHO_PROCESS: i32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A SCHED_* policy and a static priority, 0 if the policy has none.
    Plain(u32, i32),
    /// SCHED_DEADLINE, in nanoseconds.
    Deadline {
        runtime: u64,
        deadline: u64,
        period: u64,
    },
}

/// The scheduling options of a request; None keeps the VM's value.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    pub nice: Option<i32>,
    pub cpus: Option<Vec<u32>>,
    pub oom_score_adj: Option<i32>,
    pub policy: Option<Policy>,
    /// IOPRIO_PRIO_VALUE(class, level).
    pub io_priority: Option<u32>,
}

impl Schedule {
    pub fn is_empty(&self) -> bool {
        self.nice.is_none()
            && self.cpus.is_none()
            && self.oom_score_adj.is_none()
            && self.policy.is_none()
            && self.io_priority.is_none()
    }

    /// Sets all options on the parked workload of `pidfd` and `pid`. The pid cannot be reused: only
    /// the agent reaps a parked child, or a reaper that does not reap before the workload proceeds.
    #[inline(never)]
    pub fn apply(&self, pidfd: BorrowedFd<'_>, pid: i32) -> Result<(), Fault> {
        if let Some(nice) = self.nice {
            call(libc::SYS_setpriority, [0, pid, nice]).map_err(Stage::Nice.errno())?;
        }
        if let Some(cpus) = &self.cpus {
            set_cpus(pid, cpus).map_err(Stage::Cpus.errno())?;
        }
        if let Some(score) = self.oom_score_adj {
            set_oom_score_adj(pidfd, score)?;
        }
        if let Some(value) = self.io_priority {
            let arguments = [IOPRIO_WHO_PROCESS, pid, value.cast_signed()];
            call(libc::SYS_ioprio_set, arguments).map_err(Stage::IoPriority.errno())?;
        }
        if let Some(policy) = self.policy {
            set_policy(pid, policy).map_err(Stage::Scheduler.errno())?;
        }
        Ok(())
    }
}

/// A real-time priority of this process while the value lives (sched(7), SCHED_RR with
/// SCHED_RESET_ON_FORK, so that children do not inherit it). A nice value would count within one
/// session only where the kernel groups tasks by session (autogroup).
#[derive(Debug)]
pub struct Precedence(());

impl Precedence {
    /// Sets the priority. EBUSY: this process has another policy than SCHED_OTHER, and keeps it.
    pub fn take() -> Result<Self, Errno> {
        if policy()? != libc::SCHED_OTHER.cast_unsigned() {
            return Err(Errno::BUSY);
        }
        let round_robin = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
        set_plain(0, round_robin.cast_unsigned(), HIGHEST_PRIORITY)?;
        Ok(Self(()))
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        // A process that may set SCHED_RR may set SCHED_OTHER.
        let _ = set_plain(0, libc::SCHED_OTHER.cast_unsigned(), 0);
    }
}

/// `sched_get_priority_max(SCHED_RR)`: MAX_RT_PRIO - 1 (linux/sched/prio.h).
const HIGHEST_PRIORITY: i32 = 99;

/// Sets the CPU affinity. The kernel silently drops CPUs that the machine or the cpuset does not
/// have: EINVAL for those, too.
fn set_cpus(pid: i32, cpus: &[u32]) -> Result<(), Errno> {
    let mut wanted = [0u64; MAX_CPUS / 64];
    for &cpu in cpus {
        let word = wanted.get_mut(cpu as usize / 64).ok_or(Errno::INVAL)?;
        *word |= 1 << (cpu % 64);
    }
    let size = size_of_val(&wanted);
    affinity(libc::SYS_sched_setaffinity, pid, size, &mut wanted)?;
    let mut given = [0u64; MAX_CPUS / 64];
    affinity(libc::SYS_sched_getaffinity, pid, size, &mut given)?;
    if given == wanted {
        Ok(())
    } else {
        Err(Errno::INVAL)
    }
}

/// Writes `oom_score_adj` of the workload in the VM's `/proc`, found by the pidfd.
fn set_oom_score_adj(pidfd: BorrowedFd<'_>, score: i32) -> Result<(), Fault> {
    let stage = Stage::OomScoreAdj;
    let directory = linx_sys::pidfd::directory(pidfd, linx_sys::Stage::Open)
        .map_err(|fault| stage.fault(fault.errno))?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file =
        openat(directory.as_fd(), c"oom_score_adj", flags, Mode::empty()).map_err(stage.errno())?;
    rustix::io::write(&file, score.to_string().as_bytes())
        .map(drop)
        .map_err(stage.errno())
}

fn set_policy(pid: i32, policy: Policy) -> Result<(), Errno> {
    match policy {
        Policy::Plain(policy, priority) => set_plain(pid, policy, priority),
        Policy::Deadline {
            runtime,
            deadline,
            period,
        } => set_deadline(
            pid,
            &SchedAttr {
                size: size_of::<SchedAttr>() as u32,
                policy: SCHED_DEADLINE,
                runtime,
                deadline,
                period,
                ..SchedAttr::default()
            },
        ),
    }
}

#[expect(unsafe_code, reason = "a system call of three integers")]
fn call(number: libc::c_long, arguments: [i32; 3]) -> Result<(), Errno> {
    let [a, b, c] = arguments.map(libc::c_long::from);
    // SAFETY: called with setpriority(2) and ioprio_set(2) only, whose arguments are integers; no
    // memory is touched.
    answer(unsafe { libc::syscall(number, a, b, c) })
}

#[expect(unsafe_code, reason = "sched_setaffinity(2) with a mask of any size")]
fn affinity(
    number: libc::c_long,
    pid: i32,
    size: usize,
    mask: &mut [u64; MAX_CPUS / 64],
) -> Result<(), Errno> {
    // SAFETY: the kernel reads or writes at most `size` bytes of `mask`, which is as long and
    // outlives the call.
    answer(unsafe { libc::syscall(number, pid, size, mask.as_mut_ptr()) })
}

/// The policy of this thread, without SCHED_RESET_ON_FORK.
#[expect(
    unsafe_code,
    reason = "musl's sched_getscheduler answers ENOSYS always"
)]
fn policy() -> Result<u32, Errno> {
    // SAFETY: the call takes one integer and touches no memory of ours.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    answer(policy)?;
    Ok(policy as u32 & !libc::SCHED_RESET_ON_FORK.cast_unsigned())
}

#[expect(
    unsafe_code,
    reason = "musl's sched_setscheduler answers ENOSYS always"
)]
fn set_plain(pid: i32, policy: u32, priority: i32) -> Result<(), Errno> {
    // SAFETY: the kernel reads one int, the priority of `struct sched_param`, which outlives the
    // call.
    answer(unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            pid,
            policy,
            &raw const priority,
        )
    })
}

#[expect(unsafe_code, reason = "no crate wraps sched_setattr(2)")]
fn set_deadline(pid: i32, attributes: &SchedAttr) -> Result<(), Errno> {
    // SAFETY: the kernel reads `size` bytes of the struct, which outlives the call.
    answer(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, attributes, 0) })
}

fn answer(value: libc::c_long) -> Result<(), Errno> {
    if value < 0 { Err(last_errno()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs CAP_SYS_NICE"]
    fn precedence_ends_with_its_value_and_leaves_another_policy_alone() -> Result<(), Errno> {
        let ordinary = libc::SCHED_OTHER.cast_unsigned();
        let precedence = Precedence::take()?;
        assert_eq!(policy(), Ok(libc::SCHED_RR.cast_unsigned()));
        assert_eq!(Precedence::take().err(), Some(Errno::BUSY));
        drop(precedence);
        assert_eq!(policy(), Ok(ordinary));

        let batch = libc::SCHED_BATCH.cast_unsigned();
        set_plain(0, batch, 0)?;
        assert_eq!(Precedence::take().err(), Some(Errno::BUSY));
        assert_eq!(policy(), Ok(batch));
        set_plain(0, ordinary, 0)
    }
}
