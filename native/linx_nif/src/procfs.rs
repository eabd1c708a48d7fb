//! Files below `/proc/<pid>`, and files of the kernel's file systems in general.

use linx_sys::ns::Namespace;
use linx_sys::procfs;
use rustler::{Binary, Error, NifResult};

use crate::reply::{Bytes, Reply, Value};
use crate::target::{self, Target};

#[rustler::nif(schedule = "DirtyIo")]
fn procfs_read(target: Target, name: &str) -> NifResult<Reply<Value<Bytes>>> {
    let target = target.as_ns().ok_or(Error::BadArg)?;
    Ok(Reply(
        procfs::read_file(&target, name).map(|bytes| Value(Bytes(bytes))),
    ))
}

#[rustler::nif(schedule = "DirtyIo")]
fn procfs_write(target: Target, name: &str, data: Binary) -> NifResult<Reply<()>> {
    let target = target.as_ns().ok_or(Error::BadArg)?;
    Ok(Reply(procfs::write_file(&target, name, data.as_slice())))
}

#[rustler::nif(schedule = "DirtyIo")]
fn kernel_file_read(path: Binary, magic: u32) -> Reply<Value<Bytes>> {
    Reply(procfs::read_kernel_file(&target::path(&path), magic).map(|bytes| Value(Bytes(bytes))))
}

#[rustler::nif(schedule = "DirtyIo")]
fn kernel_file_write(path: Binary, magic: u32, data: Binary) -> Reply<()> {
    let path = target::path(&path);
    Reply(procfs::write_kernel_file(&path, magic, data.as_slice()))
}

/// The `CLONE_NEW*` flag of the namespace that the file at `path` is.
#[rustler::nif(schedule = "DirtyIo")]
fn namespace_kind(path: Binary) -> Reply<Value<u32>> {
    let namespace = Namespace::of_any_kind(&target::path(&path));
    Reply(namespace.map(|namespace| Value(namespace.kind().flag())))
}
