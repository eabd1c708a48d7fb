//! Ending a session's processes: the workload by its pidfd, what it left behind by being its reaper, and its cgroup.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::{Errno, write};

use crate::clone::last_errno;
use crate::wait;

/// `pidfd_send_signal(2)`, by number: real-time signals have no name.
#[expect(unsafe_code, reason = "rustix takes named signals only")]
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    // SAFETY: no siginfo is passed, and a signal to another process touches no memory of ours.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            0usize,
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Kills every process of the cgroup and below (`cgroup.kill`, Documentation/admin-guide/cgroup-v2.rst).
pub fn cgroup(directory: &OwnedFd) {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(file) = openat(directory, c"cgroup.kill", flags, Mode::empty()) {
        let _ = write(&file, b"1");
    }
}

/// Reaps what has ended, `main` excepted. True when `main` is among it.
pub fn reap_orphans(main: i32) -> bool {
    while let Ok(Some(pid)) = wait::peek_any() {
        if pid == main {
            return true;
        }
        wait::reap_pid(pid);
    }
    false
}

/// Kills and reaps all that is left, for at most `patience`. True when nothing is left.
///
/// This process is the reaper of its descendants, so what loses its parent becomes our child; a child that forks
/// faster than we kill is caught by the next round.
pub fn sweep(patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        match wait::peek_any() {
            Ok(Some(pid)) => wait::reap_pid(pid),
            Err(Errno::INTR) => {}
            Err(_) => return true,
            Ok(None) => {
                kill_children();
                if Instant::now() >= deadline {
                    return false;
                }
                let millisecond = Timespec {
                    tv_sec: 0,
                    tv_nsec: 1_000_000,
                };
                let _ = poll(&mut [], Some(&millisecond));
            }
        }
    }
}

/// Kills our own children that are not reaped.
///
/// The numbers are those of the pid namespace of `/proc`, which need not be ours: a VM in a pid namespace may still see
/// the host's. So each is signalled through its directory there, which pidfd_send_signal(2) takes, and never by number.
pub fn kill_children() {
    let Ok(list) = std::fs::read_to_string("/proc/thread-self/children") else {
        return;
    };
    for child in list.split_ascii_whitespace() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(child) = open(format!("/proc/{child}"), flags, Mode::empty()) {
            let _ = signal(child.as_fd(), libc::SIGKILL);
        }
    }
}
