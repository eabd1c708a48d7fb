//! `waitid(2)` with the kernel's rusage, which the C library's wrapper leaves out.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::clone::last_errno;

/// The way in which a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Exited(i32),
    Signaled(i32),
}

/// The resource usage of a process and the descendants that it waited for (`getrusage(2)`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub user_us: i64,
    pub system_us: i64,
    pub max_rss_kb: i64,
    pub minor_faults: i64,
    pub major_faults: i64,
    pub blocks_in: i64,
    pub blocks_out: i64,
    pub voluntary_switches: i64,
    pub involuntary_switches: i64,
}

impl Usage {
    pub fn fields(&self) -> [i64; 9] {
        [
            self.user_us,
            self.system_us,
            self.max_rss_kb,
            self.minor_faults,
            self.major_faults,
            self.blocks_in,
            self.blocks_out,
            self.voluntary_switches,
            self.involuntary_switches,
        ]
    }
}

/// `struct rusage` (linux/resource.h): every member is a long of the kernel. The C library's struct
/// has wider times where its time_t has 64 bits on a 32-bit processor.
#[repr(C)]
struct Rusage {
    user_time: [libc::c_long; 2],
    system_time: [libc::c_long; 2],
    max_rss: libc::c_long,
    _memory_integrals: [libc::c_long; 3],
    minor_faults: libc::c_long,
    major_faults: libc::c_long,
    _swaps: libc::c_long,
    blocks_in: libc::c_long,
    blocks_out: libc::c_long,
    _messages_and_signals: [libc::c_long; 3],
    voluntary_switches: libc::c_long,
    involuntary_switches: libc::c_long,
}

const _: () = assert!(size_of::<Rusage>() == 18 * size_of::<usize>());
/// SI_MAX_SIZE (asm-generic/siginfo.h).
const _: () = assert!(size_of::<libc::siginfo_t>() == 128);

#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub pid: i32,
    pub outcome: Outcome,
    pub usage: Usage,
}

/// Waits for the end of the process of `pidfd`, whose pid is `pid`, and reaps it.
pub fn reap(pidfd: BorrowedFd<'_>, pid: i32) -> Result<Ended, Errno> {
    loop {
        match waitid(libc::P_PIDFD, pidfd.as_raw_fd() as u32, 0) {
            Err(Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => {
                return wait4(pid, 0)?.ok_or(Errno::CHILD);
            }
            Ok(Some(ended)) => return Ok(ended),
            Ok(None) => return Err(Errno::CHILD),
            Err(errno) => return Err(errno),
        }
    }
}

/// A child that has ended: a zombie or reaped.
#[derive(Debug)]
pub enum Dead {
    /// Not reaped: its entry in /proc still exists.
    Zombie(i32),
    Reaped(Ended),
}

/// Any child that has ended. `Ok(None)`: all children run. ECHILD: there is no child.
pub fn any() -> Result<Option<Dead>, Errno> {
    match waitid(libc::P_ALL, 0, libc::WNOHANG | libc::WNOWAIT) {
        Err(Errno::NOSYS | Errno::PERM) => Ok(wait4(-1, libc::WNOHANG)?.map(Dead::Reaped)),
        other => Ok(other?.map(|ended| Dead::Zombie(ended.pid))),
    }
}

/// Whether `pid` is a child that has not ended.
pub fn is_running_child(pid: i32) -> bool {
    let flags = libc::WNOHANG | libc::WNOWAIT;
    matches!(waitid(libc::P_PID, pid as u32, flags), Ok(None))
}

/// Whether an unreaped child that was cloned with [`Exit::Silent`](crate::clone::Exit), alive or
/// dead, has called exec. None if waitid(2) is refused.
pub fn has_child_executed(pid: i32) -> Option<bool> {
    let flags = libc::WNOHANG | libc::WNOWAIT | libc::__WCLONE;
    match waitid(libc::P_PID, pid as u32, flags) {
        Ok(_) => Some(false),
        // The exec has set its exit signal to SIGCHLD.
        Err(Errno::CHILD) => Some(true),
        Err(_) => None,
    }
}

/// Whether the child `pid` was killed by SIGKILL; it is not reaped.
pub fn is_killed_child(pid: i32) -> bool {
    let flags = libc::WNOHANG | libc::WNOWAIT;
    matches!(
        waitid(libc::P_PID, pid as u32, flags),
        Ok(Some(ended)) if ended.outcome == Outcome::Signaled(libc::SIGKILL)
    )
}

/// Reaps a child by its pid, which is not reused before.
pub fn reap_pid(pid: i32) -> Result<(), Errno> {
    match waitid(libc::P_PID, pid as u32, libc::WNOHANG) {
        Err(Errno::NOSYS | Errno::PERM) => wait4(pid, libc::WNOHANG).map(drop),
        other => other.map(drop),
    }
}

/// Calls wait4(2), for kernels and filters that refuse waitid(2); wait4(2) cannot leave a zombie.
#[expect(unsafe_code, reason = "wait4(2) with its rusage")]
fn wait4(pid: i32, flags: i32) -> Result<Option<Ended>, Errno> {
    let mut status = 0;
    let mut usage = MaybeUninit::<Rusage>::zeroed();
    let found = loop {
        // SAFETY: the kernel writes one int and one rusage, and both outlive the call.
        let found = unsafe {
            libc::syscall(
                libc::SYS_wait4,
                pid,
                &raw mut status,
                flags | libc::__WALL,
                usage.as_mut_ptr(),
            )
        };
        if found != -1 || last_errno() != Errno::INTR {
            break found;
        }
    };
    match found {
        -1 => Err(last_errno()),
        0 => Ok(None),
        pid => {
            // SAFETY: all of it is plain numbers, for which the zeros it was made of are valid.
            let usage = unsafe { usage.assume_init() };
            Ok(Some(Ended {
                pid: pid as i32,
                outcome: outcome_of(status),
                usage: convert(&usage),
            }))
        }
    }
}

/// The flag that selects children of every exit signal (`clone::Exit`), unless `flags` select one
/// kind.
const fn kind_of_children(flags: i32) -> i32 {
    if flags & libc::__WCLONE != 0 {
        0
    } else {
        libc::__WALL
    }
}

#[expect(unsafe_code, reason = "waitid(2) with its fifth argument")]
fn waitid(kind: libc::idtype_t, id: u32, flags: i32) -> Result<Option<Ended>, Errno> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<Rusage>::zeroed();
    // SAFETY: the kernel writes one siginfo and one rusage, and both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            kind,
            id,
            info.as_mut_ptr(),
            flags | libc::WEXITED | kind_of_children(flags),
            usage.as_mut_ptr(),
        )
    };
    if result != 0 {
        return Err(last_errno());
    }
    // SAFETY: all of it is plain numbers, for which the zeros it was made of are valid.
    let info = unsafe { info.assume_init() };
    // SAFETY: as above.
    let usage = unsafe { usage.assume_init() };
    // SAFETY: waitid fills the fields of SIGCHLD, or leaves the zeros when no child has ended.
    let pid = unsafe { info.si_pid() };
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    Ok(Some(Ended {
        pid,
        outcome: if info.si_code == libc::CLD_EXITED {
            Outcome::Exited(status)
        } else {
            Outcome::Signaled(status)
        },
        usage: convert(&usage),
    }))
}

fn convert(usage: &Rusage) -> Usage {
    let microseconds = |time: [libc::c_long; 2]| wide(time[0]) * 1_000_000 + wide(time[1]);
    Usage {
        user_us: microseconds(usage.user_time),
        system_us: microseconds(usage.system_time),
        max_rss_kb: wide(usage.max_rss),
        minor_faults: wide(usage.minor_faults),
        major_faults: wide(usage.major_faults),
        blocks_in: wide(usage.blocks_in),
        blocks_out: wide(usage.blocks_out),
        voluntary_switches: wide(usage.voluntary_switches),
        involuntary_switches: wide(usage.involuntary_switches),
    }
}

/// The fields of `struct rusage` are longs: 32 bits on a 32-bit architecture, where microseconds of
/// more than 35 minutes would overflow.
fn wide(value: impl Into<i64>) -> i64 {
    value.into()
}

/// Decodes a wait status of wait(2).
pub fn outcome_of(status: i32) -> Outcome {
    if libc::WIFSIGNALED(status) {
        Outcome::Signaled(libc::WTERMSIG(status))
    } else {
        Outcome::Exited(libc::WEXITSTATUS(status))
    }
}

/// Whether the process has called exec since its clone: PF_FORKNOEXEC (linux/sched.h) in field 9 of
/// `/proc/<pid>/stat`, which a zombie still has. None if /proc is not usable.
///
/// The pidfd locates the file, whatever the pid namespace of this /proc.
pub fn has_executed(pidfd: BorrowedFd<'_>) -> Option<bool> {
    let directory = linx_sys::pidfd::directory(pidfd, linx_sys::Stage::Read).ok()?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(&directory, c"stat", flags, Mode::empty()).ok()?;
    // The field lies within the buffer; the kernel returns it in one read.
    let mut buffer = [0; 256];
    let length = rustix::io::read(&file, &mut buffer).ok()?;
    executed(&buffer[..length])
}

/// Decodes `/proc/<pid>/stat`, in which the process chooses its name.
pub fn executed(stat: &[u8]) -> Option<bool> {
    const PF_FORKNOEXEC: u64 = 0x40;
    // The name may hold spaces and parentheses; the last `)` ends it.
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let flags = stat
        .get(name_end + 2..)?
        .split(|&byte| byte == b' ')
        .nth(6)?;
    let flags: u64 = std::str::from_utf8(flags).ok()?.parse().ok()?;
    Some(flags & PF_FORKNOEXEC == 0)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[expect(
        unsafe_code,
        reason = "wait4(2) into a buffer that is longer than its struct"
    )]
    #[expect(clippy::zombie_processes, reason = "the call reaps it")]
    fn wait4_writes_one_rusage_and_no_more() {
        const UNWRITTEN: u8 = 0xaa;
        let child = Command::new("/bin/true").spawn().unwrap();
        let mut status = -1;
        let mut buffer = [UNWRITTEN; 512];
        // SAFETY: the kernel writes one int and one rusage, which is shorter than the buffer.
        let found = unsafe {
            libc::syscall(
                libc::SYS_wait4,
                child.id(),
                &raw mut status,
                0,
                buffer.as_mut_ptr(),
            )
        };
        assert_eq!((found, status), (libc::c_long::from(child.id() as i32), 0));
        let (usage, rest) = buffer.split_at(size_of::<Rusage>());
        assert_eq!(usage[usage.len() - size_of::<libc::c_long>()..][3], 0);
        assert!(rest.iter().all(|&byte| byte == UNWRITTEN));
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "the calls reap it")]
    fn both_calls_read_the_same_child_alike() {
        for by_pidfd in [true, false] {
            let child = Command::new("/bin/sh")
                .args(["-c", "exit 7"])
                .spawn()
                .unwrap();
            let pid = child.id() as i32;
            let ended = if by_pidfd {
                waitid(libc::P_PID, child.id(), 0)
            } else {
                wait4(pid, 0)
            };
            let ended = ended.unwrap().unwrap();
            assert_eq!((ended.pid, ended.outcome), (pid, Outcome::Exited(7)));
            let usage = ended.usage;
            assert!((100..1_000_000).contains(&usage.max_rss_kb), "{usage:?}");
            assert!((1..1_000_000).contains(&usage.minor_faults), "{usage:?}");
            assert!((0..60_000_000).contains(&usage.user_us), "{usage:?}");
            assert!((0..60_000_000).contains(&usage.system_us), "{usage:?}");
        }
    }

    #[test]
    fn the_name_of_a_process_does_not_move_the_field_behind_it() {
        let stat = |name: &str, flags: u64| {
            executed(format!("7 ({name}) S 1 7 7 0 -1 {flags} 104 0").as_bytes())
        };
        for name in ["sh", ") S 1 7 7 0 -1 64 ", "a b", ""] {
            assert_eq!(stat(name, 0x0040_0000), Some(true));
            assert_eq!(stat(name, 0x0040_0040), Some(false));
        }
        assert_eq!(executed(b"7 (sh) S 1 7 7 0 -1"), None);
        assert_eq!(executed(b"7 (sh)"), None);
    }
}
