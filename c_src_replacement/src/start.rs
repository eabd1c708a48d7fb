//! The start of a session: from the request to the cloned child.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use linx_sys::ns::Kind;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::{Errno, read};
use rustix::process::{DumpableBehavior, Gid, getgroups, set_dumpable_behavior};
use rustix::thread::set_thread_groups;

use crate::capability;
use crate::checkpoint;
use crate::child::{self, Plan};
use crate::clone::{Exit, Side, clone3, has_clone3};
use crate::enter::{Birthplace, Passage, Target};
use crate::environment::{Forget, forget};
use crate::image;
use crate::page::Page;
use crate::poll::{poll, timespec};
use crate::request::{Join, Request};
use crate::schedule::Schedule;
use crate::stage::{Fault, Stage};
use crate::stdio::{OurEnds, Plumbing};
use crate::wait;

/// A cloned child with the resources of its session.
#[derive(Debug)]
pub struct Started {
    pub page: &'static Page,
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub socket: OwnedFd,
    pub plumbing: Plumbing,
    pub ours: OurEnds,
    pub cgroup: Option<OwnedFd>,
    pub devnull: OwnedFd,
    pub init: bool,
    pub joins_pid_namespace: bool,
    /// The child may send a terminal of the target's devpts.
    pub awaits_pty: bool,
    pub orphan_grace: Option<Duration>,
    pub auto_proceed: bool,
    pub credit: u64,
    pub schedule: Schedule,
    /// The workload's descriptors except 0 to 2.
    pub descriptors: Vec<OwnedFd>,
}

/// Opens the cgroup. A directory of another file system is EXDEV, where clone3 would return EBADF.
/// A frozen cgroup is EBUSY: a child in it does not reach its checkpoint.
fn open_cgroup(path: &CStr) -> Result<OwnedFd, Fault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(path, flags, Mode::empty()).map_err(Stage::Cgroup.errno())?;
    match linx_sys::cgroup::is_on_cgroup2(directory.as_fd()) {
        Ok(true) if is_frozen(&directory) => Err(Stage::Cgroup.fault(libc::EBUSY)),
        Ok(true) => Ok(directory),
        Ok(false) => Err(Stage::Cgroup.fault(libc::EXDEV)),
        Err(fault) => Err(Stage::Cgroup.fault(fault.errno)),
    }
}

/// Clones the child of `request`. Does not return in the child.
pub fn start(
    request: &Request,
    descriptors: Vec<OwnedFd>,
    devnull: OwnedFd,
) -> Result<Started, Fault> {
    let Request { target, options } = request;
    let target = *target;
    let entered = target.is_some();
    // The namespaces of `enter`, or the ones joined in addition to new ones.
    let entering = target.map(|pid| Join::Process {
        pid,
        mask: options.namespaces,
    });
    let joined = entering.or(options.join);
    image::check(joined.is_some(), options)?;
    let passage = Passage {
        target: joined.map(Target::of).transpose()?,
        new: if entered { 0 } else { options.namespaces },
        time_offsets: options.time_offsets,
    };
    let cgroup = match &options.cgroup {
        Some(path) => Some(open_cgroup(path)?),
        None => None,
    };
    if options.env.is_some() {
        forget(Forget::All);
    }
    let (plumbing, ours) = Plumbing::new(&options.stdio, options.uid)?;
    let page = Page::map().map_err(Stage::Pipe2.errno())?;
    let (socket, childs) = checkpoint::pair().map_err(Stage::Pipe2.errno())?;
    let init = options.init;
    if init {
        checkpoint::pass_credentials(&socket).map_err(Stage::Pipe2.errno())?;
    }
    let user_namespace = passage.new & libc::CLONE_NEWUSER as u32 != 0
        || passage
            .target
            .as_ref()
            .is_some_and(|target| target.joins(Kind::User));
    let is_visitor = passage.target.is_some();
    let joins = |kind: Kind| {
        let target = passage.target.as_ref();
        target.is_some_and(|target| target.joins(kind))
    };
    let joins_pid_namespace = joins(Kind::Pid);
    let vm_devpts = match joins(Kind::Mnt) {
        true => plumbing.devpts()?,
        false => None,
    };
    let awaits_pty = vm_devpts.is_some();
    let orphan_grace = options.orphan_grace.map(Duration::from_millis);
    let auto_proceed = options.auto_proceed;
    let credit = options.credit;
    let schedule = options.schedule.clone();
    let plan = Plan {
        options,
        user_namespace,
        hidden: is_visitor || capability::sees_hidden_processes(),
        vm_devpts,
    };
    let groups = if user_namespace {
        give_up_groups()?
    } else {
        None
    };
    let directory = cgroup.as_ref().map(AsFd::as_fd);
    // A reaper never calls exec.
    let exit = if init { Exit::Sigchld } else { Exit::Silent };
    let birthplace = directory.map(|directory| match has_clone3() {
        true => Birthplace::Named(directory),
        false => Birthplace::Ours(directory),
    });
    let mut side = match birthplace {
        Some(Birthplace::Ours(_)) => passage.clone(page, birthplace, exit)?,
        _ if !passage.is_direct() => passage.clone(page, birthplace, exit)?,
        _ => clone3(passage.new.into(), directory, exit).map_err(Stage::Clone.errno())?,
    };
    if let (Some(Birthplace::Named(directory)), Side::Parent { pid, pidfd }) = (birthplace, &side)
        && is_stillborn(*pid, pidfd, &socket)
    {
        wait::reap(pidfd.as_fd(), *pid).map_err(Stage::Clone.errno())?;
        page.host_pid.store(0, Ordering::Relaxed);
        side = passage.clone(page, Some(Birthplace::Ours(directory)), exit)?;
    }
    match side {
        Side::Child => child::run(&plan, page, childs, &devnull),
        Side::Parent { pid, pidfd } => {
            if let Some(groups) = groups {
                // The agent opens files of the session with its groups.
                set_thread_groups(&groups).map_err(Stage::Setgroups.errno())?;
            }
            hide().map_err(Stage::Dumpable.errno())?;
            // An entered cgroup holds other processes, which stay when the visitor ends.
            let cgroup = cgroup.filter(|_| !entered);
            Ok(Started {
                page,
                pid,
                pidfd,
                socket,
                plumbing,
                ours,
                cgroup,
                devnull,
                init,
                joins_pid_namespace,
                awaits_pty,
                orphan_grace,
                auto_proceed,
                credit,
                schedule,
                descriptors,
            })
        }
    }
}

/// Whether a child that was cloned into its cgroup died before its first message.
///
/// A cgroup counts its kills (`cgroup.kill`), and a clone compares the count of the parent's cgroup
/// with the child's (kernel/cgroup/cgroup.c, `kill_seq`): kernels since 6.16 at least kill each
/// child that is cloned into a cgroup which was killed before. A child whose parent moved there
/// first is not killed.
fn is_stillborn(pid: i32, pidfd: &OwnedFd, socket: &OwnedFd) -> bool {
    let mut fds = [
        PollFd::new(pidfd, PollFlags::IN),
        PollFd::new(socket, PollFlags::IN),
    ];
    // The session's loop handles a child that neither sends nor ends.
    let limit = timespec(Duration::from_secs(1));
    let answered = poll(&mut fds, Some(&limit)).is_ok_and(|count| count > 0);
    answered && fds[1].revents().is_empty() && wait::is_killed_child(pid)
}

/// Whether `cgroup.events` has the line `frozen 1` (since Linux 5.2).
fn is_frozen(cgroup: &OwnedFd) -> bool {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut text = [0; 256];
    openat(cgroup, c"cgroup.events", flags, Mode::empty())
        .and_then(|file| read(&file, &mut text))
        .is_ok_and(|length| {
            text[..length]
                .split(|byte| *byte == b'\n')
                .any(|line| line == b"frozen 1")
        })
}

/// Makes the agent not dumpable: processes of the same user can neither read its memory nor use its
/// descriptors, with which they could send frames to the VM, and it leaves no core file. Called
/// after the clone only: the child's /proc files must stay the VM's, which writes its id maps and
/// opens its namespaces there.
fn hide() -> Result<(), Errno> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Drops the agent's groups before a user namespace is created or joined, whose rules may forbid it
/// later: the kernel checks files against a process's groups even if they are not mapped
/// (user_namespaces(7)). Returns the dropped groups, to be restored; None without groups or without
/// the privilege.
fn give_up_groups() -> Result<Option<Vec<Gid>>, Fault> {
    let groups = getgroups().map_err(Stage::Setgroups.errno())?;
    if groups.is_empty() {
        return Ok(None);
    }
    match set_thread_groups(&[]) {
        Ok(()) => Ok(Some(groups)),
        Err(Errno::PERM) => Ok(None),
        Err(errno) => Err(Stage::Setgroups.errno()(errno)),
    }
}
