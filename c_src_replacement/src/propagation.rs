//! The propagation between a new mount namespace and the one that it was copied from.
//!
//! A copy shares its peer groups with the original: under a shared `/`, systemd's default, a mount
//! of the new namespace appears on the host too, and stays there when the namespace ends.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{PidfdFlags, chroot, fchdir, getpid, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

/// Sets `propagation` (an MS_* of mount(2)) on every mount of the calling process's namespace.
pub fn set(propagation: u32) -> Result<(), Errno> {
    let flags = MountPropagationFlags::from_bits_retain(propagation) | MountPropagationFlags::REC;
    match mount_change(c"/", flags) {
        // EINVAL: the root is no mount point, because the VM is in a chroot(2).
        Err(Errno::INVAL) => outside_chroot(|| mount_change(c"/", flags)),
        other => other,
    }
}

/// Calls `work` with the root of the mount namespace, to which setns(2) moves, and restores root
/// and directory.
fn outside_chroot(work: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(c"/", flags, Mode::empty())?;
    let directory = open(c".", flags, Mode::empty())?;
    let ours = pidfd_open(getpid(), PidfdFlags::empty())?;
    move_into_thread_name_spaces(ours.as_fd(), ThreadNameSpaceType::MOUNT)?;
    let done = work();
    fchdir(&root)?;
    chroot(c".")?;
    fchdir(&directory)?;
    done
}
