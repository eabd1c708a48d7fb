//! Joining another process's namespaces.
//!
//! A process in between does it: it calls setns and then clones the child as its sibling (CLONE_PARENT), so that this
//! program never leaves the VM's own view of files, and a container never sees it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::fs::stat;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, pidfd_open, set_dumpable_behavior};

use crate::clone::{Side, clone3, last_errno, own};
use crate::last_words::{self, fail, leave};
use crate::page::Page;
use crate::stage::{Fault, Stage};
use crate::wait;

/// Namespace type, its file, and the stages of opening and joining it, in the order in which they are tried.
const TYPES: [(u32, &str, Stage, Stage); 8] = [
    (
        libc::CLONE_NEWUSER as u32,
        "user",
        Stage::OpenNsUser,
        Stage::SetnsUser,
    ),
    (
        libc::CLONE_NEWNS as u32,
        "mnt",
        Stage::OpenNsMnt,
        Stage::SetnsMnt,
    ),
    (
        libc::CLONE_NEWUTS as u32,
        "uts",
        Stage::OpenNsUts,
        Stage::SetnsUts,
    ),
    (
        libc::CLONE_NEWIPC as u32,
        "ipc",
        Stage::OpenNsIpc,
        Stage::SetnsIpc,
    ),
    (
        libc::CLONE_NEWCGROUP as u32,
        "cgroup",
        Stage::OpenNsCgroup,
        Stage::SetnsCgroup,
    ),
    (
        libc::CLONE_NEWNET as u32,
        "net",
        Stage::OpenNsNet,
        Stage::SetnsNet,
    ),
    // linux/sched.h; it shares its bit with the exit signal of the old clone(2).
    (0x80, "time", Stage::OpenNsTime, Stage::SetnsTime),
    (
        libc::CLONE_NEWPID as u32,
        "pid",
        Stage::OpenNsPid,
        Stage::SetnsPid,
    ),
];

/// A target that stays the same process, and those of its namespaces that are not ours already.
#[derive(Debug)]
pub struct Target {
    pidfd: OwnedFd,
    mask: u32,
}

impl Target {
    /// A process that is not there is ENOENT at the first namespace file.
    pub fn open(pid: i32, wanted: u32) -> Result<Self, Fault> {
        let absent = TYPES
            .iter()
            .find(|(bit, ..)| wanted & bit != 0)
            .map_or(Stage::OpenNsUser, |&(_, _, open, _)| open)
            .fault(libc::ENOENT);
        let id = Pid::from_raw(pid).ok_or(absent)?;
        let pidfd = pidfd_open(id, PidfdFlags::empty()).map_err(|_| absent)?;
        let mut mask = 0;
        for (bit, file, open, _) in TYPES {
            if wanted & bit == 0 {
                continue;
            }
            // A kernel built without this type has no such file, for us neither.
            let Ok(ours) = stat(format!("/proc/self/ns/{file}")) else {
                continue;
            };
            let theirs = stat(format!("/proc/{pid}/ns/{file}")).map_err(open.errno())?;
            if (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino) {
                mask |= bit;
            }
        }
        // What was looked at belonged to this process if it still holds its number.
        if crate::kill::signal(pidfd.as_fd(), 0) == Err(Errno::SRCH) {
            return Err(absent);
        }
        Ok(Self { pidfd, mask })
    }

    pub fn joins_user(&self) -> bool {
        self.mask & libc::CLONE_NEWUSER as u32 != 0
    }

    /// Clones a child of ours there. The joining process shares our descriptors, so the child's pidfd is ours too.
    pub fn clone(
        &self,
        page: &'static Page,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<Side, Fault> {
        let fork = Stage::Fork.errno();
        match clone3(libc::CLONE_FILES as u64, None).map_err(&fork)? {
            Side::Child => {
                last_words::begin(page);
                match self.join_and_clone(cgroup) {
                    Ok(Side::Child) => Ok(Side::Child),
                    Ok(Side::Parent { pid, pidfd }) => {
                        page.pidfd.store(pidfd.as_raw_fd(), Ordering::Relaxed);
                        page.host_pid.store(pid, Ordering::Release);
                        leave(0)
                    }
                    Err(fault) => fail(page, fault),
                }
            }
            Side::Parent { pidfd, .. } => {
                wait::reap(pidfd.as_fd()).map_err(&fork)?;
                match (page.fault(), page.host_pid.load(Ordering::Acquire)) {
                    (Some(fault), _) => Err(fault),
                    (None, 0) => Err(Stage::Fork.fault(libc::EIO)),
                    (None, pid) => Ok(Side::Parent {
                        pid,
                        pidfd: own(page.pidfd.load(Ordering::Relaxed)),
                    }),
                }
            }
        }
    }

    fn join_and_clone(&self, cgroup: Option<BorrowedFd<'_>>) -> Result<Side, Fault> {
        // Until exec nobody in there may trace us or look through our descriptors (CVE-2016-9962, CVE-2019-5736).
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Stage::Dumpable.errno())?;
        if self.mask != 0 {
            setns(self.pidfd.as_fd(), self.mask).map_err(|errno| self.culprit(errno))?;
        }
        clone3(libc::CLONE_PARENT as u64, cgroup).map_err(Stage::Fork.errno())
    }

    /// One call joins all or none and does not say which type was refused: try each.
    fn culprit(&self, errno: Errno) -> Fault {
        let mut first = None;
        for (bit, _, _, stage) in TYPES {
            if self.mask & bit != 0 {
                first = first.or(Some(stage));
                if let Err(errno) = setns(self.pidfd.as_fd(), bit) {
                    return stage.errno()(errno);
                }
            }
        }
        first.unwrap_or(Stage::SetnsUser).errno()(errno)
    }
}

#[expect(unsafe_code, reason = "setns(2) with a mask that holds CLONE_NEWTIME")]
fn setns(pidfd: BorrowedFd<'_>, mask: u32) -> Result<(), Errno> {
    // SAFETY: changes the namespaces of this process, which has one thread and no state that depends on them.
    match unsafe { libc::setns(pidfd.as_raw_fd(), mask as i32) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}
