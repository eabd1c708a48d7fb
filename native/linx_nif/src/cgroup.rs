//! The NIFs of `Linx.Cgroup`: checks of cgroup directories.

use std::ffi::CString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use linx_sys::cgroup;
use rustler::{Binary, Env, Error, NifResult, Term};

use crate::reply::Value;
use crate::work::{later, work};

/// The pool's place of jobs in the VM's own namespaces.
const HERE: u64 = 0;

#[rustler::nif(schedule = "DirtyIo")]
fn cgroup_is<'a>(env: Env<'a>, path: Binary) -> NifResult<Term<'a>> {
    let path = text(&path)?;
    Ok(work(env, HERE, move || {
        cgroup::is_cgroup2(&path).map(Value)
    }))
}

/// Waits until the cgroup is empty; `limit` in milliseconds.
#[rustler::nif(schedule = "DirtyIo")]
fn cgroup_wait_empty<'a>(env: Env<'a>, path: Binary, limit: u32) -> NifResult<Term<'a>> {
    let path = text(&path)?;
    Ok(later(env, place(&path), move || {
        cgroup::wait_empty(&path, Duration::from_millis(limit.into())).map(Value)
    }))
}

fn text(path: &Binary) -> NifResult<CString> {
    CString::new(path.as_slice()).map_err(|_| Error::BadArg)
}

fn place(path: &CString) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}
