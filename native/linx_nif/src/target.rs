//! Whose namespaces a verb means, as the Elixir side says it: `""` for ours, a path, a pid, or a pin.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use linx_sys::ns;
use rustler::{Binary, Decoder, Error, NifResult, ResourceArc, Term};

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
                bytes => Target::Path(OsStr::from_bytes(bytes).into()),
            });
        }
        if let Ok(pid) = term.decode::<i32>() {
            return Ok(Target::Pid(pid));
        }
        term.decode().map(Target::Pin).map_err(|_| Error::BadArg)
    }
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
