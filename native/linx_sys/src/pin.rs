//! A process pinned by a pidfd, so that a recycled pid is an error and never another process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fstatfs, openat};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::fault::{Fault, Stage};
use crate::ns::Kind;
use crate::pidfd;

/// A pinned process.
#[derive(Debug)]
pub struct Pin {
    pid: i32,
    pidfd: OwnedFd,
}

impl Pin {
    /// `pidfd_open(2)`. The process may be a zombie; a pid without a process is ESRCH.
    pub fn new(pid: i32) -> Result<Self, Fault> {
        let target = match pid {
            1.. => Pid::from_raw(pid),
            _ => None,
        };
        let target = target.ok_or(Stage::Pidfd.fault(libc::ESRCH))?;
        let pidfd = pidfd_open(target, PidfdFlags::empty()).map_err(Stage::Pidfd.errno())?;
        Ok(Self { pid, pidfd })
    }

    /// As `new`, for a verb at `stage`. A pid without a process is ENOENT, as for its `/proc` file:
    /// pidfd_open(2) itself returns ESRCH, or EINVAL for a thread that is no group leader.
    pub fn of(pid: i32, stage: Stage) -> Result<Self, Fault> {
        Self::new(pid).map_err(|fault| match fault.errno {
            libc::ESRCH | libc::EINVAL => stage.fault(libc::ENOENT),
            errno => stage.fault(errno),
        })
    }

    /// Sends SIGCONT, which changes nothing for a running process.
    pub fn resume(&self) -> Result<(), Fault> {
        pidfd_send_signal(&self.pidfd, Signal::CONT).map_err(Stage::Pidfd.errno())
    }

    /// Sends SIGKILL.
    pub fn kill(&self) -> Result<(), Fault> {
        pidfd_send_signal(&self.pidfd, Signal::KILL).map_err(Stage::Pidfd.errno())
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

    /// A namespace of the pinned process. A type that this kernel lacks is ENOENT.
    pub fn namespace(&self, kind: Kind, stage: Stage) -> Result<OwnedFd, Fault> {
        let opened = pidfd::namespace(self.pidfd(), kind, stage);
        // A zombie has lost some of its namespaces: the process's end is the reason, whatever the
        // errno.
        self.check_alive(stage)?;
        opened
    }

    /// Opens the file `name` below the `/proc` directory of the pinned process. A file of the
    /// directory fails once the process is gone.
    pub fn open(&self, name: &str, flags: OFlags, stage: Stage) -> Result<OwnedFd, Fault> {
        let opened = self.directory(stage).and_then(|directory| {
            let flags = flags | OFlags::CLOEXEC;
            retry_on_intr(|| openat(&directory, name, flags, Mode::empty())).map_err(stage.errno())
        });
        if opened.is_err() {
            self.check_alive(stage)?;
        }
        opened
    }

    fn directory(&self, stage: Stage) -> Result<OwnedFd, Fault> {
        let directory = pidfd::directory(self.pidfd(), stage);
        self.check_alive(stage)?;
        directory
    }
}

/// Checks that `file` lies on a procfs: a write for the kernel must not go to a plain file that is
/// mounted over `/proc`. Another file system is EXDEV.
pub fn check_procfs(file: BorrowedFd<'_>, stage: Stage) -> Result<(), Fault> {
    check_filesystem(file, libc::PROC_SUPER_MAGIC as u32, stage)
}

/// As `check_procfs`, for the file system type of `magic` (linux/magic.h).
pub fn check_filesystem(file: BorrowedFd<'_>, magic: u32, stage: Stage) -> Result<(), Fault> {
    let found = fstatfs(file).map_err(stage.errno())?;
    // The field is a signed word; its low 32 bits are the type.
    if found.f_type as u32 == magic {
        Ok(())
    } else {
        Err(stage.fault(libc::EXDEV))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("1000").spawn().unwrap()
    }

    fn pin(child: &Child) -> Pin {
        Pin::new(i32::try_from(child.id()).unwrap()).unwrap()
    }

    #[test]
    fn a_live_process_gives_its_files() {
        let mut child = sleeper();
        let pin = pin(&child);
        assert_eq!(pin.check_alive(Stage::Read), Ok(()));
        assert!(pin.open("status", OFlags::RDONLY, Stage::Read).is_ok());
        let absent = pin.open("no_such", OFlags::RDONLY, Stage::Read);
        assert_eq!(absent.map(drop), Err(Stage::Read.fault(libc::ENOENT)));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn one_that_dies_between_pin_and_use_is_esrch_as_a_zombie_and_after() {
        let mut child = sleeper();
        let pin = pin(&child);
        child.kill().unwrap();
        while pin.check_alive(Stage::Read).is_ok() {
            std::thread::yield_now();
        }
        for _ in 0..2 {
            for name in ["uid_map", "ns/net", "status"] {
                let opened = pin.open(name, OFlags::RDONLY, Stage::Open);
                assert_eq!(opened.map(drop), Err(Stage::Open.fault(libc::ESRCH)));
            }
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_file_opened_in_time_dies_with_its_process() {
        let mut child = sleeper();
        let pin = pin(&child);
        let directory = pin.directory(Stage::Open).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // The pid may be another process's now, but the directory is not.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = openat(&directory, "uid_map", flags, Mode::empty());
        assert!(opened.is_err());
    }

    #[test]
    fn numbers_that_are_nobodys_are_told() {
        for pid in [0, -1, i32::MIN, i32::MAX] {
            assert_eq!(
                Pin::new(pid).map(drop),
                Err(Stage::Pidfd.fault(libc::ESRCH))
            );
            assert_eq!(
                Pin::of(pid, Stage::OpenNs).map(drop),
                Err(Stage::OpenNs.fault(libc::ENOENT))
            );
        }
    }

    #[test]
    fn what_is_not_procfs_is_told() {
        let procfs = File::open("/proc/self/status").unwrap();
        assert_eq!(check_procfs(procfs.as_fd(), Stage::Read), Ok(()));
        let other = File::open("/").unwrap();
        assert_eq!(
            check_procfs(other.as_fd(), Stage::Read),
            Err(Stage::Read.fault(libc::EXDEV))
        );
    }
}
