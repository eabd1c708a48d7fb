//! A process pinned by a pidfd, so that a recycled pid is an error and never another process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::fault::{Fault, Stage};

/// A process as it was when it was pinned.
#[derive(Debug)]
pub struct Pin {
    pid: i32,
    pidfd: OwnedFd,
}

impl Pin {
    /// `pidfd_open(2)`. The process may be a zombie; a pid that names nobody is ESRCH.
    pub fn new(pid: i32) -> Result<Self, Fault> {
        let target = Pid::from_raw(pid).ok_or(Stage::Pidfd.fault(libc::ESRCH))?;
        let pidfd = pidfd_open(target, PidfdFlags::empty()).map_err(Stage::Pidfd.errno())?;
        Ok(Self { pid, pidfd })
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// A pidfd becomes readable when its process has ended.
    pub fn check_alive(&self, stage: Stage) -> Result<(), Fault> {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match poll(&mut fds, Some(&now)).map_err(stage.errno())? {
            0 => Ok(()),
            _ => Err(stage.fault(libc::ESRCH)),
        }
    }

    /// Opens `/proc/<pid>/<name>` of this process: whatever the number names once the file is open is checked to be
    /// the process that was pinned.
    pub fn open(&self, name: &str, flags: OFlags, stage: Stage) -> Result<OwnedFd, Fault> {
        let path = format!("/proc/{}/{name}", self.pid);
        let file = open(path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(stage.errno())?;
        self.check_alive(stage)?;
        Ok(file)
    }
}
