//! Joins the namespaces of another process.
//!
//! An intermediate process calls setns and then clones the child as its sibling (CLONE_PARENT), so
//! that the agent never leaves the VM's mount namespace, and a container never sees the agent.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use linx_sys::ns::{Kind, Namespace};
use linx_sys::pin::Pin;
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::{Errno, write};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::child::hide;
use crate::clone::{Exit, Side, clone3, join_cgroup, last_errno, own};
use crate::last_words::{self, fail, leave};
use crate::page::Page;
use crate::request::Join;
use crate::stage::{Fault, Stage};
use crate::wait;

/// The namespace types with the stages of opening and joining, in the order of the attempts.
const TYPES: [(Kind, Stage, Stage); 8] = [
    (Kind::User, Stage::OpenNsUser, Stage::SetnsUser),
    (Kind::Mnt, Stage::OpenNsMnt, Stage::SetnsMnt),
    (Kind::Uts, Stage::OpenNsUts, Stage::SetnsUts),
    (Kind::Ipc, Stage::OpenNsIpc, Stage::SetnsIpc),
    (Kind::Cgroup, Stage::OpenNsCgroup, Stage::SetnsCgroup),
    (Kind::Net, Stage::OpenNsNet, Stage::SetnsNet),
    (Kind::Time, Stage::OpenNsTime, Stage::SetnsTime),
    (Kind::Pid, Stage::OpenNsPid, Stage::SetnsPid),
];

/// The descriptor for setns(2).
#[derive(Debug)]
enum Source {
    Process(Pin),
    Netns(Namespace),
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Source::Process(pin) => pin.pidfd(),
            Source::Netns(namespace) => namespace.file(),
        }
    }
}

/// A pinned target, and the CLONE_NEW* mask of its namespaces that differ from the agent's.
#[derive(Debug)]
pub struct Target {
    source: Source,
    mask: u32,
}

impl Target {
    pub fn of(join: Join) -> Result<Self, Fault> {
        match join {
            Join::Process { pid, mask } => Self::open(pid, mask),
            Join::Netns { vm, number, inode } => {
                Self::open_netns(vm, number, inode).map_err(|fault| at(Stage::OpenNsNet, fault))
            }
        }
    }

    /// Opens a descriptor of the VM. EBADF: it was closed meanwhile, or its number is another
    /// file's now.
    fn open_netns(vm: i32, number: u32, inode: u64) -> Result<Self, linx_sys::Fault> {
        let stage = linx_sys::Stage::OpenNs;
        let file = Pin::of(vm, stage)?.open(&format!("fd/{number}"), OFlags::RDONLY, stage)?;
        let namespace = Namespace::from_file(file)?;
        if namespace.kind() != Kind::Net || namespace.inode()? != inode {
            return Err(stage.fault(libc::EBADF));
        }
        let mask = match namespace.is_ours()? {
            true => 0,
            false => Kind::Net.flag(),
        };
        let source = Source::Netns(namespace);
        Ok(Self { source, mask })
    }

    /// A missing process is ENOENT at the first namespace. A namespace is left out only if it is
    /// proven to be the agent's own, or if this kernel has no namespace of its type.
    fn open(pid: i32, wanted: u32) -> Result<Self, Fault> {
        let absent = TYPES
            .iter()
            .find(|(kind, ..)| wanted & kind.flag() != 0)
            .map_or(Stage::OpenNsUser, |&(_, open, _)| open)
            .fault(libc::ENOENT);
        let pin = Pin::of(pid, linx_sys::Stage::OpenNs).map_err(|_| absent)?;
        let mut mask = 0;
        for (kind, open, _) in TYPES {
            if wanted & kind.flag() == 0 {
                continue;
            }
            let other = Namespace::other_of(&pin, kind, linx_sys::Stage::OpenNs);
            if other.map_err(|fault| at(open, fault))?.is_some() {
                mask |= kind.flag();
            }
        }
        // The files belonged to this process if it is still alive.
        pin.check_alive(linx_sys::Stage::OpenNs)
            .map_err(|_| absent)?;
        let source = Source::Process(pin);
        Ok(Self { source, mask })
    }

    pub fn joins(&self, kind: Kind) -> bool {
        self.mask & kind.flag() != 0
    }
}

/// The intermediate process: its child is born in the namespaces that it joins and creates.
#[derive(Debug)]
pub struct Passage {
    pub target: Option<Target>,
    /// The CLONE_NEW* flags of the namespaces to create.
    pub new: u32,
    /// The offsets of the monotonic and the boottime clock of a new time namespace, in seconds. The
    /// kernel accepts them only while the namespace has no process.
    pub time_offsets: Option<[i64; 2]>,
}

/// The way in which a child gets into its cgroup.
#[derive(Clone, Copy, Debug)]
pub enum Birthplace<'a> {
    /// CLONE_INTO_CGROUP.
    Named(BorrowedFd<'a>),
    /// The intermediate process moves into the cgroup first and the child inherits it: a cgroup
    /// namespace has its root there, and no child of a reaper is born before the move. The
    /// intermediate process counts against `pids.max` until it is reaped.
    Ours(BorrowedFd<'a>),
}

impl Passage {
    /// Whether no intermediate process is needed.
    pub fn is_direct(&self) -> bool {
        self.target.is_none() && self.time_offsets.is_none()
    }

    /// Clones a child of the agent there. The intermediate process shares the agent's descriptor
    /// table, so the child's pidfd is the agent's too, and the child inherits the exit signal.
    pub fn clone(
        &self,
        page: &'static Page,
        cgroup: Option<Birthplace<'_>>,
        exit: Exit,
    ) -> Result<Side, Fault> {
        let fork = Stage::Fork.errno();
        match clone3(libc::CLONE_FILES as u64, None, exit).map_err(&fork)? {
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
            Side::Parent { pid, pidfd } => {
                wait::reap(pidfd.as_fd(), pid).map_err(&fork)?;
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

    fn join_and_clone(&self, cgroup: Option<Birthplace<'_>>) -> Result<Side, Fault> {
        let cgroup = match cgroup {
            Some(Birthplace::Ours(cgroup)) => {
                // Moves before setns(2) changes the capabilities to those of the target's user
                // namespace.
                join_cgroup(cgroup).map_err(Stage::Cgroup.errno())?;
                None
            }
            Some(Birthplace::Named(cgroup)) => Some(cgroup),
            None => None,
        };
        // Opened before setns(2): the target's /proc may be forged or may block.
        let time = match self.time_offsets {
            Some(offsets) => Some((own_directory()?, offsets)),
            None => None,
        };
        if let Some(target) = &self.target {
            target.join()?;
        }
        let mut new = self.new;
        if let Some((directory, offsets)) = time {
            new = self.make_time_namespace(&directory, offsets)?;
        }
        let stage = if new == 0 { Stage::Fork } else { Stage::Clone };
        let flags = libc::CLONE_PARENT as u64 | u64::from(new);
        clone3(flags, cgroup, Exit::Silent).map_err(stage.errno())
    }

    /// Creates the time namespace and the user namespace that owns it; returns the types that are
    /// left to create.
    fn make_time_namespace(
        &self,
        directory: &OwnedFd,
        [monotonic, boottime]: [i64; 2],
    ) -> Result<u32, Fault> {
        let stage = Stage::TimeOffsets;
        let made = self.new & (Kind::Time.flag() | Kind::User.flag());
        unshare(made).map_err(Stage::Clone.errno())?;
        if self.target.is_none() {
            // A new user namespace sets the dumpable flag to `fs.suid_dumpable`; a process that is
            // not dumpable has /proc files of root.
            set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(Stage::Dumpable.errno())?;
        }
        let text = format!("monotonic {monotonic} 0\nboottime {boottime} 0\n");
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file =
            openat(directory, c"timens_offsets", flags, Mode::empty()).map_err(stage.errno())?;
        // The kernel accepts all lines or none.
        write(&file, text.as_bytes()).map_err(stage.errno())?;
        Ok(self.new & !made)
    }
}

/// The `/proc` directory of this process.
fn own_directory() -> Result<OwnedFd, Fault> {
    let stage = Stage::TimeOffsets;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(c"/proc/self", flags, Mode::empty()).map_err(stage.errno())?;
    linx_sys::pin::check_procfs(directory.as_fd(), linx_sys::Stage::Open)
        .map_err(|fault| stage.fault(fault.errno))?;
    Ok(directory)
}

impl Target {
    fn join(&self) -> Result<(), Fault> {
        hide()?;
        if self.mask != 0 {
            setns(self.source.as_fd(), self.mask).map_err(|errno| self.culprit(errno))?;
        }
        // Joining a user namespace sets the dumpable flag to `fs.suid_dumpable` (commit_creds).
        hide()
    }

    /// Finds the namespace type that setns(2) refuses: one call joins all or none, so each type is
    /// tried alone.
    fn culprit(&self, errno: Errno) -> Fault {
        let mut first = None;
        for (kind, _, stage) in TYPES {
            if self.mask & kind.flag() != 0 {
                first = first.or(Some(stage));
                if let Err(errno) = setns(self.source.as_fd(), kind.flag()) {
                    return stage.errno()(errno);
                }
            }
        }
        first.unwrap_or(Stage::SetnsUser).errno()(errno)
    }
}

/// Converts a fault of linx_sys to a stage of the session.
fn at(open: Stage, fault: linx_sys::Fault) -> Fault {
    match fault.stage {
        linx_sys::Stage::CompareNs => Stage::CompareNs.fault(fault.errno),
        // The process has ended: ENOENT, as for a pid that does not exist.
        _ if fault.errno == libc::ESRCH => open.fault(libc::ENOENT),
        _ => open.fault(fault.errno),
    }
}

#[expect(
    unsafe_code,
    reason = "unshare(2) with a mask that holds CLONE_NEWTIME"
)]
fn unshare(mask: u32) -> Result<(), Errno> {
    // SAFETY: changes the namespaces of this process, or of its children, and no memory.
    match unsafe { libc::unshare(mask as i32) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

#[expect(unsafe_code, reason = "setns(2) with a mask that holds CLONE_NEWTIME")]
fn setns(target: BorrowedFd<'_>, mask: u32) -> Result<(), Errno> {
    // SAFETY: changes the namespaces of this process, which has one thread and no state that
    // depends on them.
    match unsafe { libc::setns(target.as_raw_fd(), mask as i32) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}
