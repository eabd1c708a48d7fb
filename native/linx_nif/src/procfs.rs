//! Files below `/proc/<pid>`.

use linx_sys::procfs;
use rustler::{Binary, Error, NifResult};

use crate::reply::{Bytes, Reply, Value};
use crate::target::Target;

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
