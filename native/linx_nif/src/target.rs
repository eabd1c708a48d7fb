//! The target of a verb: `""` for the VM's own namespaces, a path, a pid, a pin, or a held network
//! namespace.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use linx_sys::job::{self, Job, Namespaces, Outcome};
use linx_sys::ns::{self, Kind, Namespace};
use linx_sys::{Fault, Stage};
use rustler::{Binary, Decoder, Env, Error, NifResult, ResourceArc, Term};

use crate::list::List;
use crate::netns::{HeldFile, HeldNetns};
use crate::pin::PinResource;
use crate::reply::Success;
use crate::work::work;

pub enum Target {
    Ours,
    Path(PathBuf),
    Pid(i32),
    Pin(ResourceArc<PinResource>),
    /// A held network namespace; None once it is closed.
    Held(Option<Arc<HeldFile>>),
}

impl<'a> Decoder<'a> for Target {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        if let Ok(path) = term.decode::<Binary>() {
            return Ok(match path.as_slice() {
                [] => Target::Ours,
                _ => Target::Path(self::path(&path)),
            });
        }
        if let Ok(pid) = term.decode::<i32>() {
            return Ok(Target::Pid(pid));
        }
        if let Ok((held, _number)) = term.decode::<(ResourceArc<HeldNetns>, i32)>() {
            return Ok(Target::Held(held.file()));
        }
        term.decode().map(Target::Pin).map_err(|_| Error::BadArg)
    }
}

/// A path of a binary.
pub fn path(bytes: &Binary) -> PathBuf {
    OsStr::from_bytes(bytes.as_slice()).into()
}

impl Target {
    /// The pool's place of a job there: a job that hangs in one target's namespaces takes no other
    /// target's room.
    pub fn place(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self {
            Target::Ours => return 0,
            Target::Path(path) => path.hash(&mut hasher),
            Target::Pid(pid) => pid.hash(&mut hasher),
            Target::Pin(pin) => pin.0.pid().hash(&mut hasher),
            Target::Held(file) => file.as_ref().map(Arc::as_ptr).hash(&mut hasher),
        }
        hasher.finish()
    }

    /// The target's user namespace; None without a target.
    pub fn user_namespace(&self) -> Result<Option<Namespace>, Fault> {
        let open = |target: ns::Target<'_>| target.open(Kind::User, Stage::OpenNs);
        self.as_ns().map(open).transpose()
    }

    /// The target; None for the VM's own namespaces.
    pub fn as_ns(&self) -> Option<ns::Target<'_>> {
        match self {
            Target::Ours => None,
            Target::Path(path) => Some(ns::Target::Path(path.clone())),
            Target::Pid(pid) => Some(ns::Target::Pid(*pid)),
            Target::Pin(pin) => Some(ns::Target::Pin(&pin.0)),
            Target::Held(file) => Some(ns::Target::Held(file.as_ref().and_then(|file| file.get()))),
        }
    }
}

/// `[{target, [clone_flag], owner}]`: the namespaces that a job joins, 0 for a path's namespace of
/// any type; with `owner` the target's user namespace may be joined if the others are refused
/// without it.
pub struct Places {
    of: Vec<(Target, List<u32>, bool)>,
    idmap: Target,
}

impl<'a> Decoder<'a> for Places {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        term.decode().map(|List(of)| Places {
            of,
            idmap: Target::Ours,
        })
    }
}

impl Places {
    pub fn are_ours(&self) -> bool {
        self.of
            .iter()
            .all(|(target, _, _)| matches!(target, Target::Ours))
    }

    fn open(&self) -> Result<Namespaces, Fault> {
        let mut namespaces = Namespaces::default();
        for (target, flags, owner) in &self.of {
            let Some(target) = target.as_ns() else {
                continue;
            };
            if let (ns::Target::Path(path), [0]) = (&target, flags.0.as_slice()) {
                namespaces.needed.push(Namespace::of_any_kind(path)?);
                continue;
            }
            let mut kinds: Vec<_> = flags
                .0
                .iter()
                .filter_map(|flag| Kind::from_flag(*flag))
                .collect();
            if *owner {
                kinds.push(Kind::User);
            }
            let mut opened = target.open_kinds(&kinds)?;
            if *owner {
                namespaces.owner = opened.pop();
            }
            namespaces.needed.append(&mut opened);
        }
        namespaces.idmap = self.idmap.user_namespace()?;
        Ok(namespaces)
    }

    /// Adds the target whose user namespace is the mapping of a mount.
    pub fn with_idmap(self, idmap: Target) -> Self {
        Self { idmap, ..self }
    }

    /// Does `job` there; the result is `finish` of its outcome. `agent` is the agent's path.
    pub fn work<'a, T: Success + Send + 'static>(
        self,
        env: Env<'a>,
        agent: &Binary,
        job: Job,
        finish: impl FnOnce(Result<Outcome, Fault>) -> Result<T, Fault> + Send + 'static,
    ) -> Term<'a> {
        let agent = path(agent);
        let place = self.of.first().map_or(0, |(target, _, _)| target.place());
        work(env, place, move || {
            finish(
                self.open()
                    .and_then(|namespaces| job::run_on_this_thread(&agent, namespaces, &job)),
            )
        })
    }
}
