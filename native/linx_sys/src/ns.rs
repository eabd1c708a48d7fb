//! One job inside other namespaces, on a thread that ends afterwards.
//!
//! `setns(2)` changes the calling thread only, and a thread that shares its root, working directory
//! or umask may not join a mount namespace. So each job gets a thread of its own, which unshares
//! the fs struct, joins, works and ends. No thread is reused, and no scheduler thread changes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::io::retry_on_intr;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::fault::{Fault, Stage};
use crate::pidfd;
use crate::pin::Pin;

/// `_IO(0xb7, 3)`, linux/nsfs.h.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// A namespace type with its `CLONE_NEW*` flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Mnt,
    Net,
    Uts,
    Ipc,
    Cgroup,
    /// Joined for the children of the caller only.
    Pid,
    /// Refused to a process with several threads: only the agent can join it.
    User,
    /// Refused to a process with several threads, too.
    Time,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::Mnt,
        Kind::Net,
        Kind::Uts,
        Kind::Ipc,
        Kind::Cgroup,
        Kind::Pid,
        Kind::User,
        Kind::Time,
    ];

    pub const fn file(self) -> &'static str {
        match self {
            Kind::Mnt => "mnt",
            Kind::Net => "net",
            Kind::Uts => "uts",
            Kind::Ipc => "ipc",
            Kind::Cgroup => "cgroup",
            Kind::Pid => "pid",
            Kind::User => "user",
            Kind::Time => "time",
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
            Kind::User => LinkNameSpaceType::User,
            Kind::Time => LinkNameSpaceType::Time,
        }
    }

    pub fn flag(self) -> u32 {
        self.link_type() as u32
    }

    pub fn from_flag(flag: u32) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.flag() == flag)
    }

    const fn open_stage(self) -> Stage {
        match self {
            Kind::Pid => Stage::OpenPidns,
            _ => Stage::OpenNs,
        }
    }

    const fn join_stage(self) -> Stage {
        match self {
            Kind::Pid => Stage::SetnsPid,
            _ => Stage::Setns,
        }
    }
}

/// The source of a namespace: a namespace file, a pid that this call pins, or a pinned process.
#[derive(Debug)]
pub enum Target<'a> {
    Path(PathBuf),
    Pid(i32),
    Pin(&'a Pin),
    /// An open namespace file; None once it is closed, which is EBADF.
    Held(Option<&'a OwnedFd>),
}

impl Target<'_> {
    /// Opens the namespace file in the caller's mount namespace. A missing process is ENOENT, as
    /// for its `/proc` file; a pinned process that has ended is ESRCH.
    pub fn open(&self, kind: Kind, stage: Stage) -> Result<Namespace, Fault> {
        let mut opened = self.open_all(&[(kind, stage)])?;
        opened.pop().ok_or(stage.fault(libc::ENOENT))
    }

    /// As `open`, for several namespaces of one target, at the stages documented for the verbs. A
    /// pid is pinned once, so that all namespaces are of one process.
    pub fn open_kinds(&self, kinds: &[Kind]) -> Result<Vec<Namespace>, Fault> {
        let wanted: Vec<_> = kinds
            .iter()
            .map(|kind| (*kind, kind.open_stage()))
            .collect();
        self.open_all(&wanted)
    }

    pub(crate) fn open_all(&self, wanted: &[(Kind, Stage)]) -> Result<Vec<Namespace>, Fault> {
        match self {
            Target::Path(path) => wanted
                .iter()
                .map(|(kind, stage)| Namespace::of_kind(path, *kind, *stage))
                .collect(),
            Target::Pin(pin) => open_pinned(pin, wanted),
            Target::Held(file) => wanted
                .iter()
                .map(|(kind, stage)| Namespace::duplicate(*file, *kind, *stage))
                .collect(),
            Target::Pid(pid) => {
                let stage = wanted.first().map_or(Stage::OpenNs, |(_, stage)| *stage);
                let pin = Pin::of(*pid, stage)?;
                open_pinned(&pin, wanted).map_err(|fault| match fault.errno {
                    libc::ESRCH => fault.stage.fault(libc::ENOENT),
                    _ => fault,
                })
            }
        }
    }
}

fn open_pinned(pin: &Pin, wanted: &[(Kind, Stage)]) -> Result<Vec<Namespace>, Fault> {
    wanted
        .iter()
        .map(|(kind, stage)| {
            let file = pin.namespace(*kind, *stage)?;
            Ok(Namespace { kind: *kind, file })
        })
        .collect()
}

fn open_file(path: &Path, stage: Stage) -> Result<OwnedFd, Fault> {
    // NONBLOCK: a FIFO at the path must not block the caller.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    retry_on_intr(|| open(path, flags, Mode::empty())).map_err(stage.errno())
}

/// An open namespace file.
#[derive(Debug)]
pub struct Namespace {
    kind: Kind,
    file: OwnedFd,
}

impl Namespace {
    /// Opens a namespace file of any type (`NS_GET_NSTYPE`). Another file is EINVAL, as for
    /// setns(2).
    pub fn of_any_kind(path: &Path) -> Result<Self, Fault> {
        let file = open_file(path, Stage::OpenNs)?;
        Self::from_file(file)
    }

    /// Opens a namespace file of `kind`. A file of another type is EINVAL, as for setns(2).
    pub fn of_kind(path: &Path, kind: Kind, stage: Stage) -> Result<Self, Fault> {
        let namespace = Self::from_file(open_file(path, stage)?)?;
        if namespace.kind == kind {
            Ok(namespace)
        } else {
            Err(kind.join_stage().fault(libc::EINVAL))
        }
    }

    fn duplicate(file: Option<&OwnedFd>, kind: Kind, stage: Stage) -> Result<Self, Fault> {
        let file = file.ok_or(stage.fault(libc::EBADF))?.try_clone();
        let namespace = Self::from_file(file.map_err(stage.errno())?)?;
        if namespace.kind == kind {
            Ok(namespace)
        } else {
            Err(kind.join_stage().fault(libc::EINVAL))
        }
    }

    pub fn from_file(file: OwnedFd) -> Result<Self, Fault> {
        let flag = namespace_type(file.as_fd()).map_err(|_| Stage::Setns.fault(libc::EINVAL))?;
        let kind = Kind::from_flag(flag).ok_or(Stage::Setns.fault(libc::EINVAL))?;
        Ok(Self { kind, file })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub fn inode(&self) -> Result<u64, Fault> {
        inode(&self.file)
    }

    pub fn into_file(self) -> OwnedFd {
        self.file
    }

    /// Whether the calling thread is in this namespace (for `pid`: whether its children would be).
    /// A failing comparison is a fault of the `compare_ns` stage: the namespace may be another one.
    pub fn is_ours(&self) -> Result<bool, Fault> {
        let stage = Stage::CompareNs;
        let Some(ours) = pidfd::own_namespace(self.kind, stage)? else {
            return Err(stage.fault(libc::ENOENT));
        };
        let ours = fstat(&ours).map_err(stage.errno())?;
        let theirs = fstat(&self.file).map_err(stage.errno())?;
        Ok((theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino))
    }

    /// The calling thread's own namespace of `kind`; a kind that this kernel lacks is ENOENT.
    pub fn own(kind: Kind, stage: Stage) -> Result<Self, Fault> {
        let file = pidfd::own_namespace(kind, stage)?.ok_or(stage.fault(libc::ENOENT))?;
        Ok(Self { kind, file })
    }

    /// The namespace of `kind` of a pinned process, if it differs from the calling thread's; None
    /// if it is the same, or if this kernel has no namespaces of the kind. A namespace that cannot
    /// be opened is a fault at `stage`.
    pub fn other_of(pin: &Pin, kind: Kind, stage: Stage) -> Result<Option<Self>, Fault> {
        if pidfd::own_namespace(kind, Stage::CompareNs)?.is_none() {
            return Ok(None);
        }
        let file = pin.namespace(kind, stage)?;
        let theirs = Self { kind, file };
        Ok((!theirs.is_ours()?).then_some(theirs))
    }

    /// setns(2) of the calling thread.
    pub fn join(&self) -> Result<(), Fault> {
        move_into_link_name_space(self.file.as_fd(), Some(self.kind.link_type()))
            .map_err(self.kind.join_stage().errno())
    }
}

/// The inode number of an open namespace file, which `/proc` shows in the namespace's name.
pub fn inode(file: &OwnedFd) -> Result<u64, Fault> {
    let found = fstat(file).map_err(Stage::Open.errno())?;
    Ok(found.st_ino)
}

#[expect(
    unsafe_code,
    reason = "ioctl(2) is variadic; no wrapper for NS_GET_NSTYPE"
)]
pub(crate) fn namespace_type(file: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: NS_GET_NSTYPE takes no argument and returns the type; on a descriptor that is no
    // namespace file the kernel answers ENOTTY and touches no memory of ours.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
    u32::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// Runs `job` on a new thread that has joined the `namespaces` that differ from the VM's.
///
/// The thread has an fs struct (root, working directory, umask) of its own. A panic of the job is a
/// fault of the `thread` stage and does not end the VM.
pub fn run_in<T: Send>(
    namespaces: &[Namespace],
    job: impl FnOnce() -> Result<T, Fault> + Send,
) -> Result<T, Fault> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("linx-ns".into())
            .spawn_scoped(scope, || {
                unshare_fs()?;
                for namespace in namespaces {
                    if !namespace.is_ours()? {
                        namespace.join()?;
                    }
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
pub(crate) fn unshare_fs() -> Result<(), Fault> {
    // SAFETY: CLONE_FS gives this thread its own cwd, root and umask; the fd table stays shared, so
    // no descriptor changes meaning.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }.map_err(Stage::Unshare.errno())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(kind: Kind) -> Namespace {
        let path = PathBuf::from(format!("/proc/self/ns/{}", kind.file()));
        Namespace::of_any_kind(&path).unwrap()
    }

    #[test]
    fn a_namespace_file_tells_its_kind() {
        for kind in Kind::ALL {
            assert_eq!(own(kind).kind(), kind);
            assert_eq!(Kind::from_flag(kind.flag()), Some(kind));
            assert_eq!(own(kind).is_ours(), Ok(true));
        }
        assert_eq!(Kind::from_flag(0), None);
        assert_eq!(Kind::from_flag(3), None);
    }

    #[test]
    fn what_is_no_namespace_is_einval_as_setns_says() {
        let opened = Namespace::of_any_kind(Path::new("/proc/self/status"));
        assert_eq!(opened.map(drop), Err(Stage::Setns.fault(libc::EINVAL)));
        let opened = Namespace::of_any_kind(Path::new("/no/such"));
        assert_eq!(opened.map(drop), Err(Stage::OpenNs.fault(libc::ENOENT)));
    }

    #[test]
    fn an_absent_pid_is_enoent_at_the_stage_of_the_namespace() {
        let target = Target::Pid(i32::MAX);
        let opened = target.open_kinds(&[Kind::Pid, Kind::Mnt]);
        assert_eq!(opened.map(drop), Err(Stage::OpenPidns.fault(libc::ENOENT)));
        let opened = target.open(Kind::Net, Stage::Open);
        assert_eq!(opened.map(drop), Err(Stage::Open.fault(libc::ENOENT)));
    }

    #[test]
    fn the_job_has_a_working_directory_of_its_own() {
        let before = std::env::current_dir().unwrap();
        let there = run_in(&[], || {
            std::env::set_current_dir("/").map_err(Stage::Chdir.errno())?;
            std::env::current_dir().map_err(Stage::Chdir.errno())
        });
        assert_eq!(there, Ok(PathBuf::from("/")));
        assert_eq!(std::env::current_dir().unwrap(), before);
    }

    #[test]
    fn a_panic_of_the_job_is_a_fault() {
        let answer: Result<(), _> = run_in(&[], || panic!("a job that panics, on purpose"));
        assert_eq!(answer, Err(Stage::Thread.fault(libc::EIO)));
    }

    #[test]
    #[ignore = "needs CAP_SYS_ADMIN"]
    fn the_thread_leaves_and_nobody_else_does() {
        let mut child = std::process::Command::new("unshare")
            .args(["--uts", "cat"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let theirs = || std::fs::read_link(format!("/proc/{pid}/ns/uts"));
        let ours = std::fs::read_link("/proc/thread-self/ns/uts").unwrap();
        while theirs().is_ok_and(|link| link == ours) {
            thread::yield_now();
        }
        let namespace = Target::Pid(pid).open(Kind::Uts, Stage::OpenNs).unwrap();
        assert_eq!(namespace.is_ours(), Ok(false));
        let there = run_in(std::slice::from_ref(&namespace), || {
            std::fs::read_link("/proc/thread-self/ns/uts").map_err(Stage::Read.errno())
        });
        assert_eq!(there.unwrap(), theirs().unwrap());
        assert_eq!(
            std::fs::read_link("/proc/thread-self/ns/uts").unwrap(),
            ours
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
