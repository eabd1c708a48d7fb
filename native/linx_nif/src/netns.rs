//! Network namespaces that the VM holds by a descriptor, and those that have a name.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linx_sys::netns;
use linx_sys::ns::{self, Kind, Namespace};
use linx_sys::release::release;
use linx_sys::{Fault, Stage};
use rustler::{Binary, Env, LocalPid, Monitor, NifResult, Resource, ResourceArc, Term};

use crate::reply::{Reply, Success, Value};
use crate::target::{self, Target};
use crate::work::work;

/// EBADF, ESRCH.
const EBADF: i32 = 9;
const ESRCH: i32 = 3;

/// A descriptor whose last user need not close it: what drops it may be a scheduler.
#[derive(Debug)]
pub struct HeldFile(Option<OwnedFd>);

impl HeldFile {
    pub fn get(&self) -> Option<&OwnedFd> {
        self.0.as_ref()
    }
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        if let Some(file) = self.0.take() {
            release(file);
        }
    }
}

/// A namespace's descriptor. It is open until its owner ends or it is closed, also while no term
/// refers to it: its number may be part of a path that is in use.
pub struct HeldNetns(Mutex<State>);

#[derive(Default)]
struct State {
    file: Option<Arc<HeldFile>>,
    /// Keeps the resource, and with it the monitor of the owner.
    kept: Option<ResourceArc<HeldNetns>>,
}

#[rustler::resource_impl]
impl Resource for HeldNetns {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        drop(self.take());
    }
}

impl HeldNetns {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None once it is closed.
    pub fn file(&self) -> Option<Arc<HeldFile>> {
        self.lock().file.clone()
    }

    /// The descriptor's number and the namespace's inode number, of the same moment.
    fn number(&self) -> Result<(i32, u64), Fault> {
        let state = self.lock();
        let file = state.file.as_ref().and_then(|file| file.get());
        let file = file.ok_or(Stage::Open.fault(EBADF))?;
        Ok((file.as_raw_fd(), ns::inode(file)?))
    }

    /// The descriptor, if no call uses it now. The last of those that do releases it.
    fn take(&self) -> Option<HeldFile> {
        let state = std::mem::take(&mut *self.lock());
        state.file.and_then(Arc::into_inner)
    }
}

/// `{:ok, {resource, number}}`, owned by a process.
struct Owned(ResourceArc<HeldNetns>, i32);

impl Owned {
    /// ESRCH: the owner has ended.
    fn new(file: OwnedFd, owner: &LocalPid) -> Result<Self, Fault> {
        let number = file.as_raw_fd();
        let held = ResourceArc::new(HeldNetns(Mutex::new(State {
            file: Some(Arc::new(HeldFile(Some(file)))),
            kept: None,
        })));
        held.lock().kept = Some(held.clone());
        if held.monitor(None, owner).is_none() {
            drop(held.take());
            return Err(Stage::Open.fault(ESRCH));
        }
        Ok(Self(held, number))
    }
}

impl Success for Owned {
    fn term<'a>(&self, env: Env<'a>) -> Term<'a> {
        Value((self.0.clone(), self.1)).term(env)
    }
}

/// A network namespace of its own.
#[rustler::nif(schedule = "DirtyIo")]
fn netns_make(env: Env<'_>, owner: LocalPid) -> Term<'_> {
    work(env, 0, move || {
        Owned::new(netns::make()?.into_file(), &owner)
    })
}

/// The target's network namespace.
#[rustler::nif(schedule = "DirtyIo")]
fn netns_hold(env: Env<'_>, target: Target, owner: LocalPid) -> Term<'_> {
    // A path may lead to a file system that does not answer.
    work(env, target.place(), move || {
        Owned::new(open(&target)?.into_file(), &owner)
    })
}

fn open(target: &Target) -> Result<Namespace, Fault> {
    match target.as_ns() {
        Some(target) => target.open(Kind::Net, Stage::Open),
        None => Namespace::own(Kind::Net, Stage::Open),
    }
}

#[rustler::nif(schedule = "DirtyIo")]
fn netns_close(held: ResourceArc<HeldNetns>) -> rustler::Atom {
    // Closed when this returns: the thread is for calls that take their time.
    if let Some(mut file) = held.take() {
        drop(file.0.take());
    }
    rustler::types::atom::ok()
}

/// The descriptor's number, and the namespace's inode number; EBADF once it is closed.
#[rustler::nif]
fn netns_number(held: ResourceArc<HeldNetns>) -> NifResult<Reply<Value<(i32, u64)>>> {
    Ok(Reply(held.number().map(Value)))
}

/// The inode number of the target's network namespace.
#[rustler::nif(schedule = "DirtyIo")]
fn netns_inode(env: Env<'_>, target: Target) -> Term<'_> {
    work(env, target.place(), move || {
        open(&target)?.inode().map(Value)
    })
}

/// The processes in the target's network namespace that the VM's /proc shows.
#[rustler::nif(schedule = "DirtyIo")]
fn netns_processes(env: Env<'_>, target: Target) -> Term<'_> {
    work(env, target.place(), move || {
        netns::processes(&open(&target)?).map(Value)
    })
}

/// Names the target's network namespace, or with `:new` one that is made for it.
#[rustler::nif(schedule = "DirtyIo")]
fn netns_create<'a>(
    env: Env<'a>,
    directory: Binary,
    name: Binary,
    source: Term<'a>,
) -> NifResult<Term<'a>> {
    let source = match source.is_atom() {
        true => None,
        false => Some(source.decode::<Target>()?),
    };
    let (directory, name) = (target::path(&directory), target::path(&name));
    Ok(work(
        env,
        Target::Path(directory.clone()).place(),
        move || {
            let source = source.as_ref().map(open).transpose()?;
            netns::create(&directory, name.as_os_str(), source)
        },
    ))
}

#[rustler::nif(schedule = "DirtyIo")]
fn netns_delete<'a>(env: Env<'a>, directory: Binary, name: Binary) -> Term<'a> {
    let (directory, name) = (target::path(&directory), target::path(&name));
    work(env, Target::Path(directory.clone()).place(), move || {
        netns::delete(&directory, name.as_os_str())
    })
}
