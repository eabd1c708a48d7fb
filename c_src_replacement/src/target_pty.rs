//! A terminal of the target's own devpts, for a workload that joins its mount namespace: the
//! terminal has a path there.
//!
//! The child opens it before the checkpoint: a path there may lead to a file system that blocks,
//! which must not stop the agent. The agent receives the master and replaces the one of the VM's
//! devpts.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fchown, fstat, fstatfs, openat2};
use rustix::io::Errno;
use rustix::process::Uid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

use crate::checkpoint;
use crate::child::Plan;
use crate::stage::{Fault, Stage};

/// DEVPTS_SUPER_MAGIC (linux/magic.h).
const DEVPTS: libc::c_long = 0x1cd1;

/// Opens a terminal of the devpts at `/dev/pts` and sends its master to the agent. Does nothing
/// without a devpts there, or if it is the VM's, which has device `vm`.
pub fn offer(plan: &Plan<'_>, vm: u64, socket: &OwnedFd) -> Result<(), Fault> {
    let Some(directory) = devpts(vm)? else {
        return Ok(());
    };
    let uid = owner(plan)?;
    let stage = Stage::PosixOpenpt;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_XDEV
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master =
        openat2(&directory, c"ptmx", flags, Mode::empty(), resolve).map_err(stage.errno())?;
    unlockpt(&master).map_err(Stage::Ptsetup.errno())?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).map_err(Stage::PtsOpen.errno())?;
    // Best effort, as for a terminal of the VM's devpts: an unmapped id owns nothing.
    let _ = fchown(&slave, uid, None);
    checkpoint::send_pty(socket, &master).map_err(stage.errno())
}

/// The devpts at `/dev/pts`. None if the path cannot be reached or is another file system: the
/// workload's terminal is then of the VM's devpts.
fn devpts(vm: u64) -> Result<Option<OwnedFd>, Fault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_MAGICLINKS;
    let directory = match openat2(CWD, c"/dev/pts", flags, Mode::empty(), resolve) {
        Ok(directory) => directory,
        Err(
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::ACCESS
            | Errno::NOSYS
            | Errno::PERM
            | Errno::OPNOTSUPP,
        ) => return Ok(None),
        Err(errno) => return Err(Stage::PosixOpenpt.errno()(errno)),
    };
    let found = fstatfs(&directory).map_err(Stage::PosixOpenpt.errno())?;
    let device = fstat(&directory)
        .map_err(Stage::PosixOpenpt.errno())?
        .st_dev;
    Ok((found.f_type == DEVPTS && device != vm).then_some(directory))
}

/// The owner of the terminal. A process without an id in the user namespace becomes root there for
/// files already now, as it does before its exec: a node of an unmapped id could not be given to
/// another user.
fn owner(plan: &Plan<'_>) -> Result<Option<Uid>, Fault> {
    if plan.is_unmapped().map_err(Stage::PosixOpenpt.errno())? {
        set_file_ids();
        // A change of ids sets the dumpable flag to `fs.suid_dumpable`.
        crate::child::hide()?;
    }
    Ok(plan.options.uid.map(Uid::from_raw))
}

/// Calls setfsuid(2) and setfsgid(2), which return no errors.
#[expect(unsafe_code, reason = "no crate wraps setfsuid(2) and setfsgid(2)")]
fn set_file_ids() {
    // SAFETY: changes an id of this process alone, which has one thread, and no memory.
    unsafe { libc::syscall(libc::SYS_setfsgid, 0) };
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_setfsuid, 0) };
}
