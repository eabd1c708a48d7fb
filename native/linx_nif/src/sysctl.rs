//! The NIFs of `Linx.Sysctl`: `/proc/sys` in the VM's namespaces or in others.

use std::ffi::CString;

use linx_sys::job::{Job, Outcome};
use linx_sys::sysctl::Tree;
use linx_sys::{Fault, Stage};
use rustler::{Binary, Env, Error, NifResult, Term};

use crate::list::List;
use crate::reply::{Bytes, Success, Value};
use crate::target::Places;
use crate::work::brief;

/// The candidate paths of a key below `/proc/sys`, the most probable first.
type Paths<'a> = List<Binary<'a>>;

/// A path below `/proc/sys`, and the file's content.
type Entries = Vec<(Bytes, Bytes)>;

#[rustler::nif(schedule = "DirtyIo")]
fn sysctl_read<'a>(
    env: Env<'a>,
    agent: Binary,
    places: Places,
    paths: Paths,
) -> NifResult<Term<'a>> {
    let job = Job::SysctlRead(texts(&paths.0)?);
    Ok(run(env, places, &agent, job, |outcome| match outcome {
        Ok(Outcome::Bytes(bytes)) => Ok(Value(Bytes(bytes))),
        other => Err(fault_of(other, Stage::Read)),
    }))
}

#[rustler::nif(schedule = "DirtyIo")]
fn sysctl_write<'a>(
    env: Env<'a>,
    agent: Binary,
    places: Places,
    paths: Paths,
    data: Binary,
) -> NifResult<Term<'a>> {
    let job = Job::SysctlWrite(texts(&paths.0)?, data.as_slice().to_vec());
    Ok(run(env, places, &agent, job, |outcome| outcome.map(|_| ())))
}

#[rustler::nif(schedule = "DirtyIo")]
fn sysctl_list<'a>(
    env: Env<'a>,
    agent: Binary,
    places: Places,
    paths: Paths,
) -> NifResult<Term<'a>> {
    let job = Job::SysctlList(texts(&paths.0)?);
    Ok(run(env, places, &agent, job, |outcome| match outcome {
        Ok(Outcome::Entries(entries)) => Ok(Value::<Entries>(
            entries
                .into_iter()
                .map(|(path, value)| (Bytes(path), Bytes(value)))
                .collect(),
        )),
        other => Err(fault_of(other, Stage::List)),
    }))
}

/// The pool's place of jobs in the VM's own namespaces.
const HERE: u64 = 0;

/// The VM's own values need no thread; without `/proc/sys` the error is the verb's own.
fn run<'a, T: Success + Send + 'static>(
    env: Env<'a>,
    places: Places,
    agent: &Binary,
    job: Job,
    finish: impl FnOnce(Result<Outcome, Fault>) -> Result<T, Fault> + Send + 'static,
) -> Term<'a> {
    match places.are_ours() {
        true => brief(env, HERE, move || finish(run_here(&job))),
        false => places.work(env, agent, job, finish),
    }
}

fn run_here(job: &Job) -> Result<Outcome, Fault> {
    let at = |stage: Stage| move |fault: Fault| stage.fault(fault.errno);
    match job {
        Job::SysctlRead(paths) => {
            let tree = Tree::open().map_err(at(Stage::Read))?;
            tree.read(paths).map(Outcome::Bytes)
        }
        Job::SysctlWrite(paths, data) => {
            let tree = Tree::open().map_err(at(Stage::Write))?;
            tree.write(paths, data).map(|()| Outcome::Done)
        }
        Job::SysctlList(paths) => {
            let tree = Tree::open().map_err(at(Stage::List))?;
            tree.list(paths).map(Outcome::Entries)
        }
        _ => Err(Stage::Read.fault(BROKEN)),
    }
}

/// An outcome of another kind of job cannot arrive; it is treated as a broken pipe.
fn fault_of(outcome: Result<Outcome, Fault>, stage: Stage) -> Fault {
    outcome.err().unwrap_or(stage.fault(BROKEN))
}

/// EPROTO.
const BROKEN: i32 = 71;

fn texts(paths: &[Binary]) -> NifResult<Vec<CString>> {
    paths
        .iter()
        .map(|path| CString::new(path.as_slice()).map_err(|_| Error::BadArg))
        .collect()
}
