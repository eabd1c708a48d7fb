//! The child, from clone to exec: it parks, receives records, and becomes the workload.
//!
//! Every failure is written to the shared page with its stage and ends the child. The order of the
//! steps after the checkpoint follows from what each step needs: privileges are dropped before the
//! identity that could no longer drop them, the parent-death signal is set after the identity
//! change that clears it, and only the exec follows the filters.

use std::ffi::{CStr, c_char};
use std::hint::black_box;
use std::mem::{ManuallyDrop, take};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Resource, Rlimit, Signal, Uid};
use rustix::{process, stdio, thread};

use crate::capability;
use crate::checkpoint::{self, Record};
use crate::clone::last_errno;
use crate::descriptors;
use crate::environment;
use crate::init::{self, Gate};
use crate::keyring;
use crate::last_words::{self, fail, leave};
use crate::page::Page;
use crate::request::Options;
use crate::seccomp::Filters;
use crate::signals;
use crate::stage::{Fault, Stage};
use crate::target_pty;

/// The id of a user without a mapping in the user namespace (`kernel.overflowuid`'s default).
const OVERFLOW_ID: u32 = 65534;

/// The child's input, complete before the clone.
#[derive(Debug)]
pub struct Plan<'a> {
    pub options: &'a Options,
    /// The child owns or joins a user namespace.
    pub user_namespace: bool,
    /// Until its exec the child is not dumpable: unprivileged processes can neither trace it nor
    /// read its files in /proc. Set where the VM may access it in /proc all the same, or where the
    /// child joins namespaces and the VM needs none of its files.
    pub hidden: bool,
    /// The device of the VM's devpts, where the workload has a terminal and joins another mount
    /// namespace.
    pub vm_devpts: Option<u64>,
}

impl Plan<'_> {
    /// Whether this process has no id in the user namespace that it owns or joined.
    pub fn is_unmapped(&self) -> Result<bool, Errno> {
        Ok(self.user_namespace && own_id(process::getuid().as_raw())? == OVERFLOW_ID)
    }
}

/// The records that the parked child has received.
#[derive(Debug, Default)]
struct Orders {
    capabilities: capability::Orders,
    filters: Filters,
    descriptors: Vec<OwnedFd>,
}

/// Runs the child. `devnull` replaces descriptors 0 to 2 until the exec, so that a parked process
/// in a container holds no descriptor of the VM.
pub fn run(plan: &Plan<'_>, page: &'static Page, socket: OwnedFd, devnull: &OwnedFd) -> ! {
    last_words::begin(page);
    if let Err(fault) = prepare(plan, &socket, devnull) {
        fail(page, fault);
    }
    let socket = match descriptors::above(socket, &plan.options.fds.numbers) {
        Ok(socket) => socket,
        Err(fault) => fail(page, fault),
    };
    let gate = plan.options.init.then(|| init::split(plan, page, &socket));
    page.child_pid.store(
        process::getpid().as_raw_nonzero().get(),
        std::sync::atomic::Ordering::Release,
    );
    if checkpoint::send_parked(socket.as_fd()).is_err() {
        leave(0);
    }
    let mut orders = Orders::default();
    let (controlling, descriptors) = loop {
        match checkpoint::recv_record(socket.as_fd()) {
            None => leave(0),
            Some((Record::Proceed { controlling }, descriptors)) => {
                break (controlling, descriptors);
            }
            Some((record, _)) => {
                if let Err(fault) = orders.take(record, socket.as_fd()) {
                    fail(page, fault);
                }
            }
        }
    };
    if let Some(gate) = gate.as_ref().filter(|_| !plan.options.auto_proceed) {
        gate.open(orders.capabilities.dropped());
    }
    let terminal = Descriptors {
        stdio: descriptors,
        controlling,
    };
    fail(
        page,
        become_workload(plan, page, &mut orders, &socket, gate.as_ref(), &terminal),
    )
}

/// Prepares the child for the checkpoint, where other processes may enter its namespaces.
fn prepare(plan: &Plan<'_>, socket: &OwnedFd, devnull: &OwnedFd) -> Result<(), Fault> {
    // setsid(2) fails only for a process group leader, which a new child is not. A controlling
    // terminal needs a session.
    process::setsid().map_err(Stage::Stdio.errno())?;
    if plan.hidden {
        hide()?;
    }
    hold_only(socket, devnull).map_err(Stage::Descriptors.errno())?;
    if plan.options.propagation != 0 {
        crate::propagation::set(plan.options.propagation).map_err(Stage::Propagation.errno())?;
    }
    if let Some(name) = &plan.options.hostname {
        rustix::system::sethostname(name).map_err(Stage::Hostname.errno())?;
    }
    signals::undo().map_err(Stage::Signals.errno())?;
    match plan.vm_devpts {
        Some(vm) => target_pty::offer(plan, vm, socket),
        None => Ok(()),
    }
}

/// Makes this process not dumpable. Until the exec no process without privileges in the VM's user
/// namespace, and no process of the joined namespaces, may trace it or read its descriptors and
/// memory (CVE-2016-9962, CVE-2019-5736). Its children inherit the flag.
pub fn hide() -> Result<(), Fault> {
    process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Stage::Dumpable.errno())
}

/// Keeps the socket, duplicates /dev/null to 0 to 2, and closes all other descriptors.
fn hold_only(socket: &OwnedFd, devnull: &OwnedFd) -> Result<(), Errno> {
    stdio::dup2_stdin(devnull)?;
    stdio::dup2_stdout(devnull)?;
    stdio::dup2_stderr(devnull)?;
    signals::close_above(3, Some(socket.as_fd()))
}

impl Orders {
    fn take(&mut self, record: Record, socket: BorrowedFd<'_>) -> Result<(), Fault> {
        match record {
            Record::DropBounding(mask) => self.capabilities.drop_bounding(mask)?,
            Record::ThreadSets(sets) => self.capabilities.take_sets(sets)?,
            Record::Ambient(mask) => self.capabilities.take_ambient(mask),
            Record::Filter(length) => self.filters.recv(length, socket)?,
            Record::Descriptors(count) => self.descriptors = descriptors::recv(socket, count)?,
            Record::Proceed { .. } => {}
        }
        Ok(())
    }
}

/// The workload's descriptors 0 to 2, and whether 0 becomes its controlling terminal.
struct Descriptors {
    stdio: [Option<OwnedFd>; 3],
    controlling: bool,
}

fn become_workload(
    plan: &Plan<'_>,
    page: &Page,
    orders: &mut Orders,
    socket: &OwnedFd,
    gate: Option<&Gate>,
    stdio: &Descriptors,
) -> Fault {
    let options = plan.options;
    // The resource limits may forbid every further allocation, and the filters even munmap(2): all
    // memory is allocated before them and never freed.
    let argv = ManuallyDrop::new(environment::pointers(Some(&options.argv)));
    let envp = ManuallyDrop::new(environment::of_workload(options));
    if !options.rlimits.is_empty() {
        reserve_stack();
    }
    let mut steps = || -> Result<usize, Fault> {
        take_stdio(stdio).map_err(Stage::Stdio.errno())?;
        descriptors::place(take(&mut orders.descriptors), &options.fds.numbers)?;
        // No step after this one opens a descriptor.
        signals::close_on_exec_above(3).map_err(Stage::Descriptors.errno())?;
        descriptors::keep(&options.fds.numbers)?;
        if options.no_new_privs || !orders.filters.is_empty() {
            thread::set_no_new_privs(true).map_err(Stage::SeccompNoNewPrivs.errno())?;
        }
        let cookie = orders.filters.prepare()?;
        set_rlimits(options)?;
        if let Some(umask) = options.umask {
            crate::set_umask(umask).map_err(Stage::Umask.errno())?;
        }
        let chdir = change_directory(options);
        change_identity(plan, !orders.capabilities.is_empty())?;
        if is_another(plan) {
            keyring::leave_session().map_err(Stage::Keyring.errno())?;
        }
        // The new identity may have access where the old one has none, such as root on an NFS root.
        match chdir {
            Err(Errno::ACCESS) => change_directory(options),
            other => other,
        }
        .map_err(Stage::Chdir.errno())?;
        check_directory(options).map_err(Stage::Chdir.errno())?;
        orders.capabilities.apply()?;
        // The change of ids clears the parent-death signal and may set the dumpable flag.
        if plan.hidden {
            hide()?;
        }
        process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(Stage::Clone.errno())?;
        if let Some(gate) = gate {
            gate.pass(page);
        }
        // If the agent is gone the fault has no reader.
        if checkpoint::is_abandoned(socket) || gate.is_some_and(Gate::is_abandoned) {
            return Err(Stage::ExecOutcome.fault(libc::EIO));
        }
        orders.filters.install(cookie)?;
        Ok(cookie)
    };
    match steps() {
        Err(fault) => fault,
        Ok(cookie) => {
            page.executes.store(1, std::sync::atomic::Ordering::Release);
            let errno = match execveat(options.path(), &argv, &envp, cookie) {
                // Only the filters' prefix compares the sixth argument.
                Errno::NOSYS | Errno::PERM if orders.filters.is_empty() => {
                    execve(options.path(), &argv, &envp)
                }
                errno => errno,
            };
            Stage::Execve.errno()(errno)
        }
    }
}

/// Touches the stack that the steps may need: RLIMIT_AS and RLIMIT_STACK also apply to its growth,
/// and the result is SIGSEGV.
#[cold]
#[inline(never)]
fn reserve_stack() {
    let mut space = [0u8; 64 * 1024];
    black_box(&mut space);
}

/// Whether the workload differs from the VM: namespaces or ids of its own.
fn is_another(plan: &Plan<'_>) -> bool {
    let options = plan.options;
    options.namespaces != 0 || options.uid.is_some() || options.gid.is_some()
}

fn take_stdio(descriptors: &Descriptors) -> Result<(), Errno> {
    let [stdin, stdout, stderr] = &descriptors.stdio;
    let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err(Errno::BADF);
    };
    stdio::dup2_stdin(stdin)?;
    stdio::dup2_stdout(stdout)?;
    stdio::dup2_stderr(stderr)?;
    if descriptors.controlling {
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

/// The resource of a number of asm-generic/resource.h.
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

/// Uses a buffer of PATH_MAX bytes only if the short buffer is too small.
fn is_reachable() -> Result<bool, Errno> {
    match is_reachable_within::<256>() {
        Err(Errno::RANGE) => is_reachable_by_long_path(),
        other => other,
    }
}

/// Out of line, so that the common path has no frame of a page.
#[cold]
#[inline(never)]
fn is_reachable_by_long_path() -> Result<bool, Errno> {
    match is_reachable_within::<4096>() {
        // A path that is too long for the buffer is reachable.
        Err(Errno::RANGE | Errno::NAMETOOLONG) => Ok(true),
        other => other,
    }
}

/// A working directory outside the root is an escape from it (CVE-2024-21626). An inherited one is
/// replaced by `/`, one that `cwd` names is an error.
fn check_directory(options: &Options) -> Result<(), Errno> {
    if is_reachable()? {
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
fn is_reachable_within<const N: usize>() -> Result<bool, Errno> {
    let mut path = [0u8; N];
    // SAFETY: the kernel writes at most `path.len()` bytes into `path`, which outlives the call.
    let length = unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) };
    if length >= 0 {
        return Ok(path[0] == b'/');
    }
    match last_errno() {
        // The directory was removed.
        Errno::NOENT => Ok(false),
        // No other errno proves that the directory is unreachable.
        errno => Err(errno),
    }
}

/// Checks the result of getuid(2) or getgid(2). These calls cannot fail; a seccomp filter that
/// refuses them returns an errno as the id.
fn own_id(id: u32) -> Result<u32, Errno> {
    const MAX_ERRNO: u32 = 4095;
    match id.wrapping_neg() {
        errno @ 1..=MAX_ERRNO => Err(Errno::from_raw_os_error(errno as i32)),
        _ => Ok(id),
    }
}

/// Ignores EINVAL of a change of ids that no option asked for: the user namespace may map no root.
fn unless_asked(answer: Result<(), Errno>, asked: bool) -> Result<(), Errno> {
    match answer {
        Err(Errno::INVAL) if !asked => Ok(()),
        other => other,
    }
}

/// Changes groups, gid and uid of the workload or of its reaper. With `keep`, capabilities survive
/// a change from root.
pub fn change_identity(plan: &Plan<'_>, keep: bool) -> Result<(), Fault> {
    let options = plan.options;
    let unmapped = |id: u32| plan.user_namespace && id == OVERFLOW_ID;
    // A process without an id in its user namespace becomes root there if root is mapped, as with
    // nsenter and runc: with an unmapped id the exec would drop every capability of that namespace.
    let own_uid = own_id(process::getuid().as_raw()).map_err(Stage::Setuid.errno())?;
    let own_gid = own_id(process::getgid().as_raw()).map_err(Stage::Setgid.errno())?;
    let uid = options.uid.or(unmapped(own_uid).then_some(0));
    let gid = options.gid.or(unmapped(own_gid).then_some(0));
    let keep = keep && options.uid.is_some();
    if keep {
        thread::set_keep_capabilities(true).map_err(Stage::CapSetThread.errno())?;
    }
    set_groups(plan, unmapped(own_gid))?;
    if let Some(gid) = gid {
        let id = Gid::from_raw(gid);
        unless_asked(
            thread::set_thread_res_gid(id, id, id),
            options.gid.is_some(),
        )
        .map_err(Stage::Setgid.errno())?;
    }
    if let Some(uid) = uid {
        let id = Uid::from_raw(uid);
        unless_asked(
            thread::set_thread_res_uid(id, id, id),
            options.uid.is_some(),
        )
        .map_err(Stage::Setuid.errno())?;
    }
    if keep {
        thread::set_keep_capabilities(false).map_err(Stage::CapSetThread.errno())?;
    }
    Ok(())
}

/// Sets the supplementary groups. A new user must not keep the groups of the old one, so a uid or a
/// gid without `groups` means an empty list.
///
/// The agent drops its groups, if it may, before the child gets a user namespace. Where the agent
/// may not, the child may not either: a uid or gid option is then refused, and without one the
/// child keeps the VM's groups.
fn set_groups(plan: &Plan<'_>, unmapped: bool) -> Result<(), Fault> {
    let options = plan.options;
    let implied = options.uid.is_some() || options.gid.is_some();
    if let Some(groups) = &options.groups {
        return thread::set_thread_groups(groups).map_err(Stage::Setgroups.errno());
    }
    if !implied && !unmapped || !has_groups().map_err(Stage::Setgroups.errno())? {
        return Ok(());
    }
    match thread::set_thread_groups(&[]) {
        Err(errno) if implied => Err(Stage::Setgroups.errno()(errno)),
        _ => Ok(()),
    }
}

#[expect(unsafe_code, reason = "the libraries' getgroups allocates")]
fn has_groups() -> Result<bool, Errno> {
    // SAFETY: with a size of 0 the kernel counts and writes nothing.
    match unsafe { libc::syscall(libc::SYS_getgroups, 0, 0usize) } {
        -1 => Err(last_errno()),
        count => Ok(count > 0),
    }
}

/// Calls execveat(2) with a sixth argument, which the kernel ignores and the filters' prefix
/// compares.
#[expect(unsafe_code, reason = "execveat(2) with a sixth argument")]
fn execveat(path: &CStr, argv: &[*const c_char], envp: &[*const c_char], cookie: usize) -> Errno {
    // SAFETY: path and both arrays are NUL terminated strings and null terminated arrays of such,
    // and outlive the call, which only reads them.
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

#[expect(unsafe_code, reason = "execve(2) with arrays that are ready")]
fn execve(path: &CStr, argv: &[*const c_char], envp: &[*const c_char]) -> Errno {
    // SAFETY: as for `execveat`.
    unsafe {
        libc::syscall(
            libc::SYS_execve,
            path.as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
        )
    };
    last_errno()
}
