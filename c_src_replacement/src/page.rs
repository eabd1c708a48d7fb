//! The memory page that agent and child share until the exec: the child's report of a failure.
//!
//! Shared memory needs no system call, which the child's own filters may refuse when execve fails.

use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use crate::stage::{Fault, Stage};

/// States of `Page::failed`.
const NONE: u32 = 0;
const CLAIMED: u32 = 1;
const FAILED: u32 = 2;

#[repr(C)]
#[derive(Debug)]
pub struct Page {
    failed: AtomicU32,
    stage: AtomicU32,
    errno: AtomicI32,
    /// The child's pid in its own pid namespace.
    pub child_pid: AtomicI32,
    /// With an intermediate process: the child's pid and pidfd, as clone returned them.
    pub host_pid: AtomicI32,
    pub pidfd: AtomicI32,
    /// With a reaper: the workload's wait status, and whether it is set.
    pub workload_status: AtomicI32,
    pub workload_ended: AtomicU32,
    /// With a reaper: the reaper has given up its privileges.
    pub reaper_ready: AtomicU32,
    /// The child's next system call is its exec.
    pub executes: AtomicU32,
}

impl Page {
    /// Maps a new page that lives as long as the process; a clone shares it, an exec unmaps it.
    pub fn map() -> Result<&'static Page, Errno> {
        let length = size_of::<Page>();
        let address = map_shared(length)?;
        Ok(zeroed(address))
    }

    /// Records the first fault: a reaper and its workload may both have one.
    pub fn fail(&self, fault: Fault) {
        let claimed =
            self.failed
                .compare_exchange(NONE, CLAIMED, Ordering::Relaxed, Ordering::Relaxed);
        if claimed.is_ok() {
            self.stage.store(fault.stage as u32, Ordering::Relaxed);
            self.errno.store(fault.errno, Ordering::Relaxed);
            self.failed.store(FAILED, Ordering::Release);
        }
    }

    pub fn fault(&self) -> Option<Fault> {
        if self.failed.load(Ordering::Acquire) != FAILED {
            return None;
        }
        let stage = Stage::from_number(self.stage.load(Ordering::Relaxed));
        Some(match stage {
            Some(stage) => stage.fault(self.errno.load(Ordering::Relaxed)),
            None => Stage::ExecOutcome.fault(libc::EPROTO),
        })
    }

    pub fn is_at_its_exec(&self) -> bool {
        self.executes.load(Ordering::Acquire) != 0
    }

    pub fn reaper_is_ready(&self) -> bool {
        self.reaper_ready.load(Ordering::Acquire) != 0
    }

    pub fn workload_status(&self) -> Option<i32> {
        (self.workload_ended.load(Ordering::Acquire) != 0)
            .then(|| self.workload_status.load(Ordering::Relaxed))
    }
}

#[expect(unsafe_code, reason = "mmap(2) is unsafe in rustix")]
fn map_shared(length: usize) -> Result<NonNull<Page>, Errno> {
    // SAFETY: a null hint without MAP_FIXED lets the kernel choose free addresses, so no mapping of
    // ours is replaced.
    let address = unsafe {
        mmap_anonymous(
            null_mut(),
            length,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
        )
    }?;
    NonNull::new(address.cast()).ok_or(Errno::NOMEM)
}

#[expect(unsafe_code, reason = "the mapping becomes a reference")]
fn zeroed(address: NonNull<Page>) -> &'static Page {
    // SAFETY: the mapping is page aligned, at least a page long, zero filled (valid for every
    // field), never unmapped, and all access to it goes through atomics, so that another process
    // writing to it is no data race.
    unsafe { address.as_ref() }
}
