//! Doing one thing inside other namespaces, on a thread that ends afterwards.
//!
//! `setns(2)` changes the calling thread only, and a thread that shares its root, working directory or umask with
//! others may not join a mount namespace. So each job gets a thread of its own, which gives up the shared fs struct,
//! joins, works and ends. No thread is reused and no scheduler thread ever changes.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::thread;

use rustix::fs::{Mode, OFlags, fstat, open, stat};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::fault::{Fault, Stage};
use crate::pin::Pin;

/// A namespace type that a thread of the VM can join. `user` and `time` are not among them: `setns(2)` refuses both
/// to a process with several threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Mnt,
    Net,
    Uts,
    Ipc,
    Cgroup,
    /// Joined for the children of the thread only.
    Pid,
}

impl Kind {
    pub const fn file(self) -> &'static str {
        match self {
            Kind::Mnt => "mnt",
            Kind::Net => "net",
            Kind::Uts => "uts",
            Kind::Ipc => "ipc",
            Kind::Cgroup => "cgroup",
            Kind::Pid => "pid",
        }
    }

    const fn link_type(self) -> LinkNameSpaceType {
        match self {
            Kind::Mnt => LinkNameSpaceType::Mount,
            Kind::Net => LinkNameSpaceType::Network,
            Kind::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
            Kind::Ipc => LinkNameSpaceType::InterProcessCommunication,
            Kind::Cgroup => LinkNameSpaceType::ControlGroup,
            Kind::Pid => LinkNameSpaceType::ProcessID,
        }
    }
}

/// Whose namespace: a namespace file, a pid that this call pins, or a process pinned earlier.
#[derive(Debug)]
pub enum Target<'a> {
    Path(PathBuf),
    Pid(i32),
    Pin(&'a Pin),
}

impl Target<'_> {
    /// Opens the namespace file in the caller's view. A missing process is ENOENT, as opening its `/proc` file says.
    pub fn open(&self, kind: Kind, stage: Stage) -> Result<Namespace, Fault> {
        let name = format!("ns/{}", kind.file());
        let file = match self {
            Target::Path(path) => open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(stage.errno())?,
            Target::Pid(pid) => Pin::new(*pid)
                .and_then(|pin| pin.open(&name, OFlags::RDONLY, stage))
                .map_err(|fault| match fault {
                    // A pid that names nobody: pidfd_open says ESRCH (or EINVAL for a thread), /proc says ENOENT.
                    Fault {
                        stage: Stage::Pidfd,
                        ..
                    } => stage.fault(libc::ENOENT),
                    Fault {
                        errno: libc::ESRCH, ..
                    } => stage.fault(libc::ENOENT),
                    other => other,
                })?,
            Target::Pin(pin) => pin.open(&name, OFlags::RDONLY, stage)?,
        };
        Ok(Namespace { kind, file })
    }
}

/// An open namespace file.
#[derive(Debug)]
pub struct Namespace {
    kind: Kind,
    file: OwnedFd,
}

impl Namespace {
    /// Whether this is the namespace that the VM itself is in.
    fn is_ours(&self) -> bool {
        let path = format!("/proc/self/ns/{}", self.kind.file());
        match (fstat(&self.file), stat(path)) {
            (Ok(theirs), Ok(ours)) => (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino),
            _ => false,
        }
    }

    fn join(&self) -> Result<(), Fault> {
        let stage = if self.kind == Kind::Pid {
            Stage::SetnsPid
        } else {
            Stage::Setns
        };
        move_into_link_name_space(self.file.as_fd(), Some(self.kind.link_type()))
            .map_err(stage.errno())
    }
}

/// Runs `job` on a new thread that has joined those of `namespaces` that are not ours already.
///
/// The thread has a filesystem struct (root, working directory, umask) of its own. A panic of the job is a fault of
/// the `thread` stage, not of the VM.
pub fn run_in<T: Send>(
    namespaces: &[Namespace],
    job: impl FnOnce() -> Result<T, Fault> + Send,
) -> Result<T, Fault> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("linx-ns".into())
            .spawn_scoped(scope, || {
                unshare_fs()?;
                for namespace in namespaces.iter().filter(|namespace| !namespace.is_ours()) {
                    namespace.join()?;
                }
                job()
            })
            .map_err(Stage::Thread.errno())?;
        thread.join().unwrap_or(Err(Stage::Thread.fault(libc::EIO)))
    })
}

#[expect(
    unsafe_code,
    reason = "unshare(2) is unsafe in rustix for the sake of CLONE_FILES"
)]
fn unshare_fs() -> Result<(), Fault> {
    // SAFETY: CLONE_FS gives this thread its own cwd, root and umask; the fd table stays shared, so no descriptor
    // changes meaning.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }.map_err(Stage::Unshare.errno())
}

/// The path of a namespace file, for messages.
pub fn path_of(pid: i32, kind: Kind) -> OsString {
    format!("/proc/{pid}/ns/{}", kind.file()).into()
}
