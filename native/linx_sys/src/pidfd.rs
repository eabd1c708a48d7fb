//! From a pidfd to the namespaces of its process and to its directory below `/proc`.
//!
//! A pid is a number of one pid namespace, and the current `/proc` may show another one:
//! `unshare --pid --fork` without `--mount-proc`, a container with the host's `/proc`. So the pidfd
//! decides. Namespaces come from the pidfd itself (`PIDFD_GET_*_NAMESPACE`, Linux 6.11); for a file
//! below `/proc` the pid is the one that this `/proc` shows for the pidfd, read again after the
//! directory is open.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, fstatfs, open, openat, openat2};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{PidfdFlags, pidfd_open};
use rustix::thread::gettid;

use crate::fault::{Errno as _, Fault, Stage};
use crate::ns::{Kind, namespace_type};
use crate::pin::check_procfs;

/// `PIDFD_THREAD` (linux/pidfd.h, Linux 6.9): the pidfd of a thread that leads no process.
const PIDFD_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL as u32);

/// `_IO(PIDFS_IOCTL_MAGIC, number)`.
const fn request(number: u32) -> libc::Ioctl {
    (0xff << 8 | number) as libc::Ioctl
}

/// `PIDFD_GET_*_NAMESPACE` (linux/pidfd.h).
const fn get_namespace(kind: Kind) -> libc::Ioctl {
    request(match kind {
        Kind::Cgroup => 1,
        Kind::Ipc => 2,
        Kind::Mnt => 3,
        Kind::Net => 4,
        Kind::Pid => 5,
        Kind::Time => 7,
        Kind::User => 9,
        Kind::Uts => 10,
    })
}

/// `PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE`.
const GET_PID_FOR_CHILDREN: libc::Ioctl = request(6);

/// The namespace of the process of `pidfd`, at `stage`. A kind that this kernel lacks is ENOENT.
pub fn namespace(pidfd: BorrowedFd<'_>, kind: Kind, stage: Stage) -> Result<OwnedFd, Fault> {
    match ask(pidfd, get_namespace(kind)) {
        Err(error) => match error.raw() {
            libc::ENOTTY => namespace_by_number(pidfd, kind, stage),
            libc::EOPNOTSUPP => Err(stage.fault(libc::ENOENT)),
            errno => Err(stage.fault(errno)),
        },
        Ok(file) => checked(file, kind, stage),
    }
}

/// As `namespace`, for a kernel before Linux 6.11: the file below `/proc`.
fn namespace_by_number(pidfd: BorrowedFd<'_>, kind: Kind, stage: Stage) -> Result<OwnedFd, Fault> {
    let directory = directory(pidfd, stage)?;
    let name = format!("ns/{}", kind.file());
    checked(open_at(&directory, &name, stage)?, kind, stage)
}

/// The namespace of the calling thread (for `pid`: the one of its next child). `None` if this
/// kernel lacks the kind.
pub fn own_namespace(kind: Kind, stage: Stage) -> Result<Option<OwnedFd>, Fault> {
    let request = match kind {
        Kind::Pid => GET_PID_FOR_CHILDREN,
        kind => get_namespace(kind),
    };
    let asked = pidfd_open(gettid(), PIDFD_THREAD)
        .map_err(io::Error::from)
        .and_then(|pidfd| ask(pidfd.as_fd(), request));
    match asked {
        Ok(file) => checked(file, kind, stage).map(Some),
        Err(error) => match error.raw() {
            libc::EOPNOTSUPP => Ok(None),
            // EINVAL: no PIDFD_THREAD; ENOTTY: no such ioctl.
            libc::EINVAL | libc::ENOTTY => own_namespace_by_name(kind, stage),
            errno => Err(stage.fault(errno)),
        },
    }
}

fn own_namespace_by_name(kind: Kind, stage: Stage) -> Result<Option<OwnedFd>, Fault> {
    let root = proc_root(stage)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let directory = below(&root, "thread-self/ns", flags).map_err(foreign(stage))?;
    let name = match kind {
        Kind::Pid => "pid_for_children",
        kind => kind.file(),
    };
    match open_at(&directory, name, stage) {
        Ok(file) => checked(file, kind, stage).map(Some),
        Err(fault) if fault.errno == libc::ENOENT => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn checked(file: OwnedFd, kind: Kind, stage: Stage) -> Result<OwnedFd, Fault> {
    match namespace_type(file.as_fd()) {
        Ok(flag) if flag == kind.flag() => Ok(file),
        _ => Err(stage.fault(libc::EXDEV)),
    }
}

#[expect(unsafe_code, reason = "ioctl(2) is variadic; no wrapper for pidfds")]
fn ask(pidfd: BorrowedFd<'_>, request: libc::Ioctl) -> io::Result<OwnedFd> {
    // SAFETY: these requests take no argument and touch no memory of ours; a descriptor that knows
    // none of them answers ENOTTY.
    let answer = unsafe { libc::ioctl(pidfd.as_raw_fd(), request, 0) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(answer) })
}

/// `/proc/<number>` of the process of `pidfd`, which may be a zombie: an `O_PATH` descriptor.
///
/// EXDEV: what is mounted on `/proc` is no procfs, or one that does not show this process or us.
/// EACCES: it is hidden there (`hidepid`). ESRCH: the process is reaped.
pub fn directory(pidfd: BorrowedFd<'_>, stage: Stage) -> Result<OwnedFd, Fault> {
    let root = proc_root(stage)?;
    let number = number_below(&root, pidfd, stage)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let opened = below(&root, &number.to_string(), flags);
    // The pid was this process's before and after the open, so also in between.
    if !is_unreaped(pidfd) && number_below(&root, pidfd, stage)? != number {
        return Err(stage.fault(libc::ESRCH));
    }
    opened.map_err(|errno| match errno {
        Errno::NOENT => stage.fault(libc::EACCES),
        errno => stage.errno()(errno),
    })
}

/// Whether the process still has its pid: signal 0 reaches a process until it is reaped. A refusal
/// proves nothing.
#[expect(unsafe_code, reason = "signal 0 has no name in rustix")]
fn is_unreaped(pidfd: BorrowedFd<'_>) -> bool {
    // SAFETY: no siginfo is passed, and nothing is sent; no memory is touched.
    let answer =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), 0, 0usize, 0) };
    answer == 0
}

/// The inode number of the pidfd, unique to the process while the machine runs. `None` before Linux
/// 6.9, whose pidfds share one inode, and where an inode number has 32 bits.
pub fn identity(pidfd: BorrowedFd<'_>) -> Option<u64> {
    /// `PIDFS_SUPER_MAGIC` (linux/magic.h is younger than the file system).
    const PIDFS_MAGIC: u32 = 0x5049_4446;
    // The field is a signed word; its low 32 bits are the type.
    let is_pidfs = fstatfs(pidfd).is_ok_and(|found| found.f_type as u32 == PIDFS_MAGIC);
    if !is_pidfs || usize::BITS < 64 {
        return None;
    }
    fstat(pidfd).ok().map(|found| found.st_ino)
}

/// The calling process's pid in this `/proc`, which may differ from getpid(2)'s.
pub fn own_number(stage: Stage) -> Result<u32, Fault> {
    let root = proc_root(stage)?;
    let link = rustix::fs::readlinkat(&root, c"self", Vec::new()).map_err(foreign(stage))?;
    link.to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(stage.fault(libc::EXDEV))
}

/// The errno for a missing file below `/proc`: EXDEV if no procfs that shows this process is
/// mounted there, else ENOENT.
pub(crate) fn absent(stage: Stage) -> Fault {
    own_number(stage).err().unwrap_or(stage.fault(libc::ENOENT))
}

/// `/proc`, which has to be a procfs.
pub(crate) fn proc_root(stage: Stage) -> Result<OwnedFd, Fault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = retry_on_intr(|| open(c"/proc", flags, Mode::empty())).map_err(stage.errno())?;
    check_procfs(root.as_fd(), stage)?;
    Ok(root)
}

/// Opens `path` below `root` on the same mount, so that no mount over it is entered.
fn below(root: &OwnedFd, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC;
    retry_on_intr(|| openat2(root, path, flags, Mode::empty(), resolve))
}

fn open_at(directory: &OwnedFd, name: &str, stage: Stage) -> Result<OwnedFd, Fault> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    retry_on_intr(|| openat(directory, name, flags, Mode::empty())).map_err(stage.errno())
}

/// A procfs without an entry for the caller shows a pid namespace that the caller is not in.
fn foreign(stage: Stage) -> impl Fn(Errno) -> Fault {
    move |errno| match errno {
        Errno::NOENT => stage.fault(libc::EXDEV),
        errno => stage.errno()(errno),
    }
}

/// The pid that the procfs of `root` shows for `pidfd`: the `Pid:` line of its fdinfo.
fn number_below(root: &OwnedFd, pidfd: BorrowedFd<'_>, stage: Stage) -> Result<i32, Fault> {
    let path = format!("thread-self/fdinfo/{}", pidfd.as_raw_fd());
    let file = below(root, &path, OFlags::RDONLY).map_err(foreign(stage))?;
    let mut info = [0; 512];
    let length = retry_on_intr(|| rustix::io::read(&file, &mut info)).map_err(stage.errno())?;
    number_in(&info[..length]).map_err(|errno| stage.fault(errno))
}

/// The pid in the fdinfo of a pidfd: 0 for a process that this pid namespace does not show, -1 for
/// a reaped one.
fn number_in(fdinfo: &[u8]) -> Result<i32, i32> {
    match pid_line(fdinfo) {
        Some(number @ 1..) => Ok(number),
        Some(0) | None => Err(libc::EXDEV),
        Some(_) => Err(libc::ESRCH),
    }
}

fn pid_line(fdinfo: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(fdinfo).ok()?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    pid.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use rustix::fs::stat;
    use rustix::process::Pid;

    use super::*;

    fn sleeper() -> (Child, OwnedFd) {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        (child, pidfd)
    }

    fn identity(file: &OwnedFd) -> (u64, u64) {
        let found = fstat(file).unwrap();
        (found.st_dev, found.st_ino)
    }

    #[test]
    fn the_pidfd_and_the_number_give_the_same_namespaces() {
        let (mut child, pidfd) = sleeper();
        for kind in Kind::ALL {
            let asked = namespace(pidfd.as_fd(), kind, Stage::OpenNs).unwrap();
            let found = namespace_by_number(pidfd.as_fd(), kind, Stage::OpenNs).unwrap();
            let own = own_namespace(kind, Stage::OpenNs).unwrap().unwrap();
            let named = own_namespace_by_name(kind, Stage::OpenNs).unwrap().unwrap();
            for other in [&found, &own, &named] {
                assert_eq!(identity(&asked), identity(other), "{kind:?}");
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn the_directory_is_that_of_the_process_until_it_is_reaped() {
        let (mut child, pidfd) = sleeper();
        let expected = stat(format!("/proc/{}", child.id())).unwrap();
        let directory = directory(pidfd.as_fd(), Stage::Open).unwrap();
        assert_eq!(identity(&directory), (expected.st_dev, expected.st_ino));
        child.kill().unwrap();
        child.wait().unwrap();
        let reaped = super::directory(pidfd.as_fd(), Stage::Open);
        assert_eq!(reaped.map(drop), Err(Stage::Open.fault(libc::ESRCH)));
    }

    #[test]
    fn a_process_that_is_not_shown_and_one_that_is_reaped_have_no_number() {
        assert_eq!(number_in(b"pos:\t0\nPid:\t12\nNSpid:\t12\n"), Ok(12));
        assert_eq!(
            number_in(b"pos:\t0\nPid:\t0\nNSpid:\t0\n"),
            Err(libc::EXDEV)
        );
        assert_eq!(number_in(b"pos:\t0\nPid:\t-1\n"), Err(libc::ESRCH));
        assert_eq!(number_in(b"pos:\t0\n"), Err(libc::EXDEV));
        assert_eq!(number_in(b"\xff"), Err(libc::EXDEV));
    }

    #[test]
    fn two_pidfds_of_a_process_have_one_identity_that_no_other_process_has() {
        let (mut first, pidfd) = sleeper();
        let (mut second, other) = sleeper();
        let pid = Pid::from_raw(i32::try_from(first.id()).unwrap()).unwrap();
        let again = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let own = super::identity(pidfd.as_fd());
        assert_eq!(own, super::identity(again.as_fd()));
        assert!(own.is_none() || own != super::identity(other.as_fd()));
        let file = std::fs::File::open("/proc/self/status").unwrap();
        assert_eq!(super::identity(file.as_fd()), None);
        for child in [&mut first, &mut second] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn what_is_no_pidfd_has_no_directory() {
        let file = std::fs::File::open("/proc/self/status").unwrap();
        let found = directory(file.as_fd(), Stage::Open);
        assert_eq!(found.map(drop), Err(Stage::Open.fault(libc::EXDEV)));
    }

    #[test]
    fn our_own_number_is_that_of_proc_self() {
        let link = std::fs::read_link("/proc/self").unwrap();
        let number = own_number(Stage::Open).unwrap();
        assert_eq!(link.to_str(), Some(number.to_string().as_str()));
    }
}
