//! From a request to a child on its way to the checkpoint.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::checkpoint;
use crate::child::{self, Plan};
use crate::clone::{Side, clone3};
use crate::enter::Target;
use crate::environment::{Forget, forget};
use crate::page::Page;
use crate::request::Request;
use crate::stage::{Fault, Stage};
use crate::stdio::{OurEnds, Plumbing};

/// A child on its way, with all that belongs to it.
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
    pub auto_proceed: bool,
    pub credit: u64,
}

/// Makes the child that `request` asks for. In the child this does not return.
pub fn start(request: Request, devnull: OwnedFd) -> Result<Started, Fault> {
    let Request { target, options } = request;
    let target = target
        .map(|pid| Target::open(pid, options.namespaces))
        .transpose()?;
    let cgroup = match &options.cgroup {
        Some(path) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Some(open(path, flags, Mode::empty()).map_err(Stage::Cgroup.errno())?)
        }
        None => None,
    };
    if options.env.is_some() {
        forget(Forget::All);
    }
    let (plumbing, ours) = Plumbing::new(&options.stdio, options.uid)?;
    let page = Page::map().map_err(Stage::Pipe2.errno())?;
    let (socket, childs) = checkpoint::pair().map_err(Stage::Pipe2.errno())?;
    let new = u64::from(options.namespaces);
    let init = options.init;
    let user_namespace = match &target {
        Some(target) => target.joins_user(),
        None => new & libc::CLONE_NEWUSER as u64 != 0,
    };
    let auto_proceed = options.auto_proceed;
    let credit = options.credit;
    // Never dropped here: the child reads it, and freeing it would make every page of it a copy.
    let plan = ManuallyDrop::new(Plan {
        options,
        user_namespace,
    });
    let side = match &target {
        Some(target) => target.clone(page, cgroup.as_ref().map(AsFd::as_fd))?,
        None => clone3(new, cgroup.as_ref().map(AsFd::as_fd)).map_err(Stage::Clone.errno())?,
    };
    match side {
        Side::Child => child::run(&plan, page, childs, &devnull),
        Side::Parent { pid, pidfd } => {
            hide();
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
                auto_proceed,
                credit,
            })
        }
    }
}

/// From now on nobody of this user's reaches into this program's memory or descriptors (whoever did could speak to the VM),
/// and it leaves no core file, whatever the limit and wherever the kernel would pipe it. Only after the clone: what the
/// child has in /proc has to stay the VM's, which writes its maps and opens its namespaces there.
fn hide() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
