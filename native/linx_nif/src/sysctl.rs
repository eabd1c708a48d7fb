//! `/proc/sys` in other namespaces.

use std::ffi::CString;

use linx_sys::job::{Job, Outcome};
use linx_sys::sysctl::Tree;
use linx_sys::{Fault, Stage};
use rustler::{Binary, Error, NifResult};

use crate::list::List;
use crate::reply::{Bytes, Reply, Value};
use crate::target::Places;

/// The paths below `/proc/sys` that a key may mean, the likeliest first.
type Paths<'a> = List<Binary<'a>>;

/// Path below `/proc/sys`, and content.
type Entries = Vec<(Bytes, Bytes)>;

#[rustler::nif(schedule = "DirtyIo")]
fn sysctl_read(program: Binary, places: Places, paths: Paths) -> NifResult<Reply<Value<Bytes>>> {
    let job = Job::SysctlRead(texts(&paths.0)?);
    Ok(Reply(match run(&places, &program, &job) {
        Ok(Outcome::Bytes(bytes)) => Ok(Value(Bytes(bytes))),
        other => Err(fault_of(other, Stage::Read)),
    }))
}

#[rustler::nif(schedule = "DirtyIo")]
fn sysctl_write(
    program: Binary,
    places: Places,
    paths: Paths,
    data: Binary,
) -> NifResult<Reply<()>> {
    let job = Job::SysctlWrite(texts(&paths.0)?, data.as_slice().to_vec());
    Ok(Reply(run(&places, &program, &job).map(|_| ())))
}

#[rustler::nif(schedule = "DirtyIo")]
fn sysctl_list(program: Binary, places: Places, paths: Paths) -> NifResult<Reply<Value<Entries>>> {
    let job = Job::SysctlList(texts(&paths.0)?);
    Ok(Reply(match run(&places, &program, &job) {
        Ok(Outcome::Entries(entries)) => Ok(Value(
            entries
                .into_iter()
                .map(|(path, value)| (Bytes(path), Bytes(value)))
                .collect(),
        )),
        other => Err(fault_of(other, Stage::List)),
    }))
}

/// The VM's own values need no thread of their own; that there is no `/proc/sys` is an error of the verb itself then.
fn run(places: &Places, program: &Binary, job: &Job) -> Result<Outcome, Fault> {
    if !places.are_ours() {
        return places.run(program, job);
    }
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

/// An answer of another job's kind cannot come; if it did it would be a broken pipe.
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
