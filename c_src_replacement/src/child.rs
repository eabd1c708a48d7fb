//! The child, from clone to exec: parks, takes what it is told, becomes the workload.
//!
//! Every failure is written to the shared page with its step, and ends the process. The order of the steps after the
//! checkpoint is fixed by what each needs: privileges go before the identity that could not give them up any more, the
//! parent-death signal comes after the identity change that clears it, and nothing but exec follows the filters.

use std::ffi::{CStr, c_char};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Gid, Resource, Rlimit, Signal, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use rustix::{process, stdio, thread};

use crate::checkpoint::{self, Record};
use crate::clone::last_errno;
use crate::environment;
use crate::keyring;
use crate::page::Page;
use crate::request::Options;
use crate::seccomp::Filters;
use crate::signals;
use crate::stage::{Fault, Stage};

/// What a process looks like when its user has no id in its user namespace (`kernel.overflowuid`'s default).
const OVERFLOW_ID: u32 = 65534;

/// Everything the child needs, ready before it exists.
#[derive(Debug)]
pub struct Plan {
    pub options: Options,
    /// It owns or joins a user namespace.
    pub user_namespace: bool,
}

/// What the parked child was told to do to itself.
#[derive(Debug, Default)]
struct Orders {
    thread_sets: Option<[u64; 3]>,
    ambient: Option<u64>,
    filters: Filters,
}

/// Runs the child. `devnull` stands in for 0 to 2 until exec: a parked process in a container holds nothing of ours.
pub fn run(plan: &Plan, page: &Page, socket: OwnedFd, devnull: &OwnedFd) -> ! {
    let _ = process::setsid();
    if let Err(errno) = hold_only(&socket, devnull) {
        fail(page, Stage::Stdio.errno()(errno));
    }
    signals::undo();
    page.child_pid.store(
        process::getpid().as_raw_nonzero().get(),
        std::sync::atomic::Ordering::Release,
    );
    if checkpoint::say_parked(socket.as_fd()).is_err() {
        leave(0);
    }
    let mut orders = Orders::default();
    let (controlling, descriptors) = loop {
        match checkpoint::hear(socket.as_fd()) {
            None => leave(0),
            Some((Record::Go { controlling }, descriptors)) => break (controlling, descriptors),
            Some((record, _)) => {
                if let Err(fault) = orders.take(record, socket.as_fd()) {
                    fail(page, fault);
                }
            }
        }
    };
    if plan.options.init {
        crate::init::split(page, &socket);
    }
    fail(
        page,
        become_workload(plan, &orders, &socket, controlling, &descriptors),
    )
}

/// Keeps the socket, puts /dev/null in the place of 0 to 2, and closes the rest.
fn hold_only(socket: &OwnedFd, devnull: &OwnedFd) -> Result<(), Errno> {
    stdio::dup2_stdin(devnull)?;
    stdio::dup2_stdout(devnull)?;
    stdio::dup2_stderr(devnull)?;
    signals::close_above(3, Some(socket.as_fd()));
    Ok(())
}

impl Orders {
    fn take(&mut self, record: Record, socket: BorrowedFd<'_>) -> Result<(), Fault> {
        match record {
            // At once: the capability this needs may be given up by an order that came earlier but is carried out later.
            Record::DropBounding(mask) => drop_bounding(mask)?,
            Record::ThreadSets(sets) => {
                check_thread_sets(sets)?;
                self.thread_sets = Some(sets);
            }
            Record::Ambient(mask) => self.ambient = Some(mask),
            Record::Filter(length) => self.filters.hear(length, socket)?,
            Record::Go { .. } => {}
        }
        Ok(())
    }
}

fn become_workload(
    plan: &Plan,
    orders: &Orders,
    socket: &OwnedFd,
    controlling: bool,
    descriptors: &[Option<OwnedFd>; 3],
) -> Fault {
    let options = &plan.options;
    let steps = || -> Result<(), Fault> {
        take_stdio(descriptors, controlling).map_err(Stage::Stdio.errno())?;
        if options.no_new_privs || !orders.filters.is_empty() {
            thread::set_no_new_privs(true).map_err(Stage::SeccompNoNewPrivs.errno())?;
        }
        set_rlimits(options)?;
        if let Some(umask) = options.umask {
            process::umask(rustix::fs::Mode::from_raw_mode(umask));
        }
        let chdir = change_directory(options);
        change_identity(plan, orders)?;
        if is_another(plan) {
            keyring::leave_session().map_err(Stage::Keyring.errno())?;
        }
        // The new identity may be the one that can enter the directory, as the old one can an NFS root.
        match chdir {
            Err(Errno::ACCESS) => change_directory(options),
            other => other,
        }
        .map_err(Stage::Chdir.errno())?;
        check_directory(options).map_err(Stage::Chdir.errno())?;
        set_capabilities(orders)?;
        process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(Stage::Clone.errno())?;
        if checkpoint::is_abandoned(socket) {
            leave(0);
        }
        signals::close_on_exec_above(3);
        Ok(())
    };
    if let Err(fault) = steps() {
        return fault;
    }
    // Never freed: behind the filters even that system call may be forbidden, and what follows is exec or the end.
    let argv = ManuallyDrop::new(environment::pointers(Some(&options.argv)));
    let envp = ManuallyDrop::new(environment::pointers(options.env.as_deref()));
    let cookie = match orders.filters.install() {
        Ok(cookie) => cookie,
        Err(fault) => return fault,
    };
    Stage::Execve.errno()(execveat(options.path(), &argv, &envp, cookie))
}

/// Whether the workload is to have less than the VM: namespaces or ids of its own.
fn is_another(plan: &Plan) -> bool {
    let options = &plan.options;
    options.namespaces != 0 || options.uid.is_some() || options.gid.is_some()
}

fn take_stdio(descriptors: &[Option<OwnedFd>; 3], controlling: bool) -> Result<(), Errno> {
    let [stdin, stdout, stderr] = descriptors;
    let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err(Errno::BADF);
    };
    stdio::dup2_stdin(stdin)?;
    stdio::dup2_stdout(stdout)?;
    stdio::dup2_stderr(stderr)?;
    if controlling {
        process::ioctl_tiocsctty(stdin)?;
    }
    Ok(())
}

fn set_rlimits(options: &Options) -> Result<(), Fault> {
    for limit in &options.rlimits {
        let resource = resource(limit.resource).ok_or(Stage::Rlimit.fault(libc::EINVAL))?;
        let infinite = |value| (value != u64::MAX).then_some(value);
        let value = Rlimit {
            current: infinite(limit.soft),
            maximum: infinite(limit.hard),
        };
        process::setrlimit(resource, value).map_err(Stage::Rlimit.errno())?;
    }
    Ok(())
}

/// asm-generic/resource.h's numbers.
fn resource(number: u32) -> Option<Resource> {
    const ALL: [Resource; 16] = [
        Resource::Cpu,
        Resource::Fsize,
        Resource::Data,
        Resource::Stack,
        Resource::Core,
        Resource::Rss,
        Resource::Nproc,
        Resource::Nofile,
        Resource::Memlock,
        Resource::As,
        Resource::Locks,
        Resource::Sigpending,
        Resource::Msgqueue,
        Resource::Nice,
        Resource::Rtprio,
        Resource::Rttime,
    ];
    ALL.get(number as usize).copied()
}

fn change_directory(options: &Options) -> Result<(), Errno> {
    match &options.cwd {
        Some(cwd) => process::chdir(cwd),
        None => Ok(()),
    }
}

/// A directory outside the root is a way out of it (CVE-2024-21626). The inherited one is left for `/`, one that was
/// asked for is an error.
fn check_directory(options: &Options) -> Result<(), Errno> {
    if is_reachable() {
        Ok(())
    } else if options.cwd.is_some() {
        Err(Errno::NOENT)
    } else {
        process::chdir(c"/")
    }
}

#[expect(
    unsafe_code,
    reason = "the libraries' getcwd hides the kernel's \"(unreachable)\""
)]
fn is_reachable() -> bool {
    let mut path = [0u8; 4096];
    // SAFETY: the kernel writes at most `path.len()` bytes into `path`, which outlives the call.
    let length = unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) };
    // Too long for the buffer is reachable all the same; a directory that was removed is ENOENT.
    length < 0 && last_errno() != Errno::NOENT || length > 0 && path[0] == b'/'
}

fn change_identity(plan: &Plan, orders: &Orders) -> Result<(), Fault> {
    let options = &plan.options;
    let unmapped = |id: u32| plan.user_namespace && id == OVERFLOW_ID;
    // Whoever has no id in its user namespace becomes its root where that is mapped, as nsenter and runc do: with an
    // unmapped id the exec would lose every capability there.
    let uid = options
        .uid
        .or_else(|| unmapped(process::getuid().as_raw()).then_some(0));
    let gid = options
        .gid
        .or_else(|| unmapped(process::getgid().as_raw()).then_some(0));
    let keep = options.uid.is_some() && (orders.thread_sets.is_some() || orders.ambient.is_some());
    if keep {
        thread::set_keep_capabilities(true).map_err(Stage::CapSetThread.errno())?;
    }
    set_groups(options, unmapped(process::getgid().as_raw()))?;
    if let Some(gid) = gid {
        let id = Gid::from_raw(gid);
        match thread::set_thread_res_gid(id, id, id) {
            Err(errno) if options.gid.is_some() => return Err(Stage::Setgid.errno()(errno)),
            _ => {}
        }
    }
    if let Some(uid) = uid {
        let id = Uid::from_raw(uid);
        match thread::set_thread_res_uid(id, id, id) {
            Err(errno) if options.uid.is_some() => return Err(Stage::Setuid.errno()(errno)),
            _ => {}
        }
    }
    if keep {
        thread::set_keep_capabilities(false).map_err(Stage::CapSetThread.errno())?;
    }
    Ok(())
}

/// A new user must not keep the groups of the old one, so a uid or a gid without `groups` means none.
fn set_groups(options: &Options, unmapped: bool) -> Result<(), Fault> {
    let implied = options.uid.is_some() || options.gid.is_some();
    match &options.groups {
        None if unmapped => {
            // Refused where the namespace denies setgroups: then the groups stay, unmapped.
            let _ = thread::set_thread_groups(&[]);
            Ok(())
        }
        None if !implied => Ok(()),
        groups => {
            let wanted = groups.as_deref().unwrap_or_default();
            let groups: Vec<Gid> = wanted.iter().map(|&id| Gid::from_raw(id)).collect();
            thread::set_thread_groups(&groups).map_err(Stage::Setgroups.errno())
        }
    }
}

fn drop_bounding(mask: u64) -> Result<(), Fault> {
    for bit in (0..64).filter(|bit| mask & (1 << bit) != 0) {
        thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit))
            .map_err(Stage::CapDropBounding.errno())?;
    }
    Ok(())
}

/// The two rules of capset(2) that can be judged before it is called, so that the error comes while the child is
/// parked: no set may gain what permitted lacks.
fn check_thread_sets([effective, permitted, _]: [u64; 3]) -> Result<(), Fault> {
    let now = thread::capabilities(None).map_err(Stage::CapSetThread.errno())?;
    if permitted & !now.permitted.bits() != 0 || effective & !permitted != 0 {
        return Err(Stage::CapSetThread.fault(libc::EPERM));
    }
    Ok(())
}

fn set_capabilities(orders: &Orders) -> Result<(), Fault> {
    let stage = Stage::CapSetThread;
    match orders.thread_sets {
        Some([effective, permitted, inheritable]) => thread::set_capabilities(
            None,
            CapabilitySets {
                effective: CapabilitySet::from_bits_retain(effective),
                permitted: CapabilitySet::from_bits_retain(permitted),
                inheritable: CapabilitySet::from_bits_retain(inheritable),
            },
        )
        .map_err(stage.errno())?,
        // Inheritable capabilities that nobody asked for widen what a program with file capabilities gets
        // (CVE-2022-24769).
        None if orders.ambient.is_none() => {
            let mut sets = thread::capabilities(None).map_err(stage.errno())?;
            if !sets.inheritable.is_empty() {
                sets.inheritable = CapabilitySet::empty();
                thread::set_capabilities(None, sets).map_err(stage.errno())?;
            }
        }
        None => {}
    }
    if let Some(mask) = orders.ambient {
        let stage = Stage::CapSetAmbient;
        thread::clear_ambient_capability_set().map_err(stage.errno())?;
        for bit in (0..64).filter(|bit| mask & (1 << bit) != 0) {
            let capability = CapabilitySet::from_bits_retain(1 << bit);
            thread::configure_capability_in_ambient_set(capability, true).map_err(stage.errno())?;
        }
    }
    Ok(())
}

/// The sixth argument means nothing to the kernel; the filters look at it.
#[expect(unsafe_code, reason = "execveat(2) with a sixth argument")]
fn execveat(path: &CStr, argv: &[*const c_char], envp: &[*const c_char], cookie: u64) -> Errno {
    // SAFETY: path and both arrays are NUL terminated strings and null terminated arrays of such, and outlive the call,
    // which only reads them.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            libc::AT_FDCWD,
            path.as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            0,
            cookie,
        )
    };
    last_errno()
}

/// Writes down what failed, and ends.
pub fn fail(page: &Page, fault: Fault) -> ! {
    page.fail(fault);
    leave(127)
}

/// Ends without running anything at exit. Where a filter forbids even that, a trap does it.
#[expect(
    unsafe_code,
    reason = "exit_group(2) of a process that shares its parent's image"
)]
pub fn leave(status: i32) -> ! {
    // SAFETY: ends the process; no state of ours is used afterwards, and the parent has its own copy.
    unsafe { libc::syscall(libc::SYS_exit_group, status) };
    std::process::abort()
}
