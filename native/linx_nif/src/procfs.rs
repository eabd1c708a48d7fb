//! The NIFs of `Linx.Procfs`: files below `/proc/<pid>`, and files of the kernel's file systems in
//! general.

use linx_sys::ns::Namespace;
use linx_sys::{Stage, procfs};
use rustler::{Binary, Env, Error, NifResult, Term};

use crate::reply::{Bytes, Value};
use crate::target::{self, Target};
use crate::work::{brief, work};

#[rustler::nif(schedule = "DirtyIo")]
fn procfs_read<'a>(env: Env<'a>, target: Target, name: &str) -> NifResult<Term<'a>> {
    let name = name.to_owned();
    let place = place(&target)?;
    Ok(work(env, place, move || {
        let target = target.as_ns().ok_or(Stage::Open.fault(EINVAL))?;
        procfs::read_file(&target, &name).map(|bytes| Value(Bytes(bytes)))
    }))
}

#[rustler::nif(schedule = "DirtyIo")]
fn procfs_write<'a>(env: Env<'a>, target: Target, name: &str, data: Binary) -> NifResult<Term<'a>> {
    let (name, data) = (name.to_owned(), data.as_slice().to_vec());
    let place = place(&target)?;
    Ok(work(env, place, move || {
        let target = target.as_ns().ok_or(Stage::Open.fault(EINVAL))?;
        procfs::write_file(&target, &name, &data)
    }))
}

#[rustler::nif(schedule = "DirtyIo")]
fn kernel_file_read<'a>(env: Env<'a>, path: Binary, magic: u32) -> Term<'a> {
    let path = target::path(&path);
    brief(env, HERE, move || {
        procfs::read_kernel_file(&path, magic).map(|bytes| Value(Bytes(bytes)))
    })
}

#[rustler::nif(schedule = "DirtyIo")]
fn kernel_file_write<'a>(env: Env<'a>, path: Binary, magic: u32, data: Binary) -> Term<'a> {
    let (path, data) = (target::path(&path), data.as_slice().to_vec());
    brief(env, HERE, move || {
        procfs::write_kernel_file(&path, magic, &data)
    })
}

/// The `CLONE_NEW*` flag of the namespace file at `path`.
#[rustler::nif(schedule = "DirtyIo")]
fn namespace_kind<'a>(env: Env<'a>, path: Binary) -> Term<'a> {
    let path = target::path(&path);
    // The path may lead to a file system that does not answer.
    work(env, HERE, move || {
        Namespace::of_any_kind(&path).map(|namespace| Value(namespace.kind().flag()))
    })
}

/// The pool's place of jobs in the VM's own namespaces.
const HERE: u64 = 0;

/// A target without a process: the VM's own namespaces.
fn place(target: &Target) -> NifResult<u64> {
    match target {
        Target::Ours => Err(Error::BadArg),
        other => Ok(other.place()),
    }
}

/// EINVAL.
const EINVAL: i32 = 22;
