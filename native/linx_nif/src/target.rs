//! Whose namespaces a verb means, as the Elixir side says it: `""` for ours, a path, a pid, or a pin.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linx_sys::Fault;
use linx_sys::job::{self, Job, Namespaces, Outcome};
use linx_sys::ns::{self, Kind, Namespace};
use rustler::{Binary, Decoder, Error, NifResult, ResourceArc, Term};

use crate::list::List;
use crate::pin::PinResource;

pub enum Target {
    Ours,
    Path(PathBuf),
    Pid(i32),
    Pin(ResourceArc<PinResource>),
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
        term.decode().map(Target::Pin).map_err(|_| Error::BadArg)
    }
}

/// A path from the Elixir side.
pub fn path(bytes: &Binary) -> PathBuf {
    OsStr::from_bytes(bytes.as_slice()).into()
}

impl Target {
    /// None for the VM's own namespaces.
    pub fn as_ns(&self) -> Option<ns::Target<'_>> {
        match self {
            Target::Ours => None,
            Target::Path(path) => Some(ns::Target::Path(path.clone())),
            Target::Pid(pid) => Some(ns::Target::Pid(*pid)),
            Target::Pin(pin) => Some(ns::Target::Pin(&pin.0)),
        }
    }
}

/// `[{target, [clone_flag], owner}]`: the namespaces that a job needs, 0 standing for whatever a path names; with
/// `owner`, the target's user namespace may be joined where the others are refused without it.
pub struct Places(Vec<(Target, List<u32>, bool)>);

impl<'a> Decoder<'a> for Places {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        term.decode().map(|List(places)| Places(places))
    }
}

impl Places {
    pub fn are_ours(&self) -> bool {
        self.0
            .iter()
            .all(|(target, _, _)| matches!(target, Target::Ours))
    }

    fn open(&self) -> Result<Namespaces, Fault> {
        let mut namespaces = Namespaces::default();
        for (target, flags, owner) in &self.0 {
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
        Ok(namespaces)
    }

    /// Does `job` there; `program` is the port program's path.
    pub fn run(&self, program: &Binary, job: &Job) -> Result<Outcome, Fault> {
        self.open()
            .and_then(|namespaces| job::run(&path(program), namespaces, job))
    }

    /// As `run`, on the calling thread, which is of no other use afterwards.
    pub fn run_on_this_thread(&self, program: &Path, job: &Job) -> Result<Outcome, Fault> {
        self.open()
            .and_then(|namespaces| job::run_on_this_thread(program, namespaces, job))
    }
}
