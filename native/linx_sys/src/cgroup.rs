//! Cgroup directories: their file system, and the wait until a cgroup is empty.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fstatfs, open, openat};
use rustix::io::{Errno, pread, retry_on_intr};

use crate::fault::{Fault, Stage};

/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2: u32 = 0x6367_7270;

/// Whether `path` names a directory of a cgroup2 file system. Symlinks are followed, as the verbs
/// follow them.
pub fn is_cgroup2(path: &CStr) -> Result<bool, Fault> {
    directory(path).map(|(_, cgroup2)| cgroup2)
}

fn directory(path: &CStr) -> Result<(OwnedFd, bool), Fault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory =
        retry_on_intr(|| open(path, flags, Mode::empty())).map_err(Stage::Open.errno())?;
    let cgroup2 = is_on_cgroup2(directory.as_fd())?;
    Ok((directory, cgroup2))
}

/// As `is_cgroup2`, for an open directory.
pub fn is_on_cgroup2(directory: BorrowedFd<'_>) -> Result<bool, Fault> {
    let found = fstatfs(directory).map_err(Stage::Open.errno())?;
    Ok(u32::try_from(found.f_type) == Ok(CGROUP2))
}

/// Waits until no process lives in the cgroup at `path` or below it; false after `limit`. The
/// kernel reports each change of `cgroup.events` as POLLPRI.
pub fn wait_empty(path: &CStr, limit: Duration) -> Result<bool, Fault> {
    let start = Instant::now();
    let (directory, cgroup2) = directory(path)?;
    if !cgroup2 {
        return Err(Stage::Open.fault(libc::EXDEV));
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let events = retry_on_intr(|| openat(&directory, c"cgroup.events", flags, Mode::empty()))
        .map_err(Stage::Open.errno())?;
    loop {
        // The file is read before each wait, because the kernel reports changes since the last
        // read.
        if !is_populated(&events)? {
            return Ok(true);
        }
        let Some(rest) = limit.checked_sub(start.elapsed()) else {
            return Ok(false);
        };
        let timeout = Timespec {
            tv_sec: i64::try_from(rest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: rest.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Stage::Read.errno()(errno)),
        }
    }
}

/// A cgroup that was removed meanwhile (ENODEV) has no process.
fn is_populated(events: &OwnedFd) -> Result<bool, Fault> {
    let mut text = [0_u8; 256];
    match retry_on_intr(|| pread(events, &mut text, 0)) {
        Ok(length) => Ok(!text
            .get(..length)
            .unwrap_or_default()
            .split(|byte| *byte == b'\n')
            .any(|line| line == b"populated 0")),
        Err(Errno::NODEV) => Ok(false),
        Err(errno) => Err(Stage::Read.errno()(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_cgroup_is_told() {
        assert_eq!(is_cgroup2(c"/proc"), Ok(false));
        assert_eq!(
            is_cgroup2(c"/no/such"),
            Err(Stage::Open.fault(libc::ENOENT))
        );
        assert_eq!(
            wait_empty(c"/proc", Duration::ZERO),
            Err(Stage::Open.fault(libc::EXDEV))
        );
    }
}
