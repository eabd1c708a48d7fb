//! A process pinned by a pidfd, so that a recycled pid is an error and never another process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fstatfs, open, openat};
use rustix::io::retry_on_intr;
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
        let target = match pid {
            1.. => Pid::from_raw(pid),
            _ => None,
        };
        let target = target.ok_or(Stage::Pidfd.fault(libc::ESRCH))?;
        let pidfd = pidfd_open(target, PidfdFlags::empty()).map_err(Stage::Pidfd.errno())?;
        Ok(Self { pid, pidfd })
    }

    /// As `new`, for a verb at `stage`. A pid that names nobody is ENOENT, as opening its `/proc` file would say:
    /// pidfd_open(2) itself says ESRCH, or EINVAL for a thread that leads no process.
    pub fn of(pid: i32, stage: Stage) -> Result<Self, Fault> {
        Self::new(pid).map_err(|fault| match fault.errno {
            libc::ESRCH | libc::EINVAL => stage.fault(libc::ENOENT),
            errno => stage.fault(errno),
        })
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// A pidfd becomes readable when its process has ended.
    pub fn check_alive(&self, stage: Stage) -> Result<(), Fault> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let ready = retry_on_intr(|| {
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
            poll(&mut fds, Some(&now))
        });
        match ready.map_err(stage.errno())? {
            0 => Ok(()),
            _ => Err(stage.fault(libc::ESRCH)),
        }
    }

    /// Opens `/proc/<pid>/<name>` of this process and no other: the directory is opened first and the process seen
    /// alive after that, so the directory is its own; what is opened below it fails once the process is gone.
    pub fn open(&self, name: &str, flags: OFlags, stage: Stage) -> Result<OwnedFd, Fault> {
        let directory = self.directory(stage)?;
        let opened =
            retry_on_intr(|| openat(&directory, name, flags | OFlags::CLOEXEC, Mode::empty()));
        match opened {
            Ok(file) => Ok(file),
            Err(errno) => {
                self.check_alive(stage)?;
                Err(stage.errno()(errno))
            }
        }
    }

    /// `/proc/<pid>`, of a proc filesystem and not of something mounted over it.
    fn directory(&self, stage: Stage) -> Result<OwnedFd, Fault> {
        let path = format!("/proc/{}", self.pid);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| open(Path::new(&path), flags, Mode::empty()));
        self.check_alive(stage)?;
        let directory = opened.map_err(stage.errno())?;
        check_procfs(directory.as_fd(), stage)?;
        Ok(directory)
    }
}

/// That `file` lies on a proc filesystem: a write meant for the kernel must not end in a plain file that somebody
/// mounted over `/proc`. What else is there is EXDEV.
pub fn check_procfs(file: BorrowedFd<'_>, stage: Stage) -> Result<(), Fault> {
    let found = fstatfs(file).map_err(stage.errno())?;
    if found.f_type == libc::PROC_SUPER_MAGIC {
        Ok(())
    } else {
        Err(stage.fault(libc::EXDEV))
    }
}
