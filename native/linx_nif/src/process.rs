//! The NIFs of `Linx.Process`: the agent's image, its continuation, and the system calls that it
//! needs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use linx_sys::image::{Image, Protection};
use linx_sys::pin::Pin;
use linx_sys::probe;
use rustler::{Binary, NifResult, Resource, ResourceArc, atoms};

use crate::reply::{Bytes, Reply, Value};

atoms! { sealed, read_only }

/// The open image, closed with the last reference.
#[derive(Debug)]
pub struct ImageResource(Image);

#[rustler::resource_impl]
impl Resource for ImageResource {}

#[rustler::nif(schedule = "DirtyIo")]
fn process_image(path: Binary) -> Reply<Value<(rustler::Atom, ResourceArc<ImageResource>)>> {
    let path = Path::new(OsStr::from_bytes(path.as_slice()));
    Reply(Image::new(path).map(|image| {
        let protection = match image.protection() {
            Protection::Sealed => sealed(),
            Protection::ReadOnly => read_only(),
        };
        Value((protection, ResourceArc::new(ImageResource(image))))
    }))
}

#[rustler::nif]
fn process_image_path(image: ResourceArc<ImageResource>) -> Reply<Value<Bytes>> {
    let path = image.0.path();
    Reply(path.map(|path| Value(Bytes(path.as_os_str().as_bytes().to_vec()))))
}

/// `{memfd_create, clone3, close_range}`, each 0 or its errno, and the VM's
/// `{pid in /proc, pid in its pid namespace}`, the first 0 if `/proc` does not show the VM.
#[rustler::nif]
fn process_calls() -> ((i32, i32, i32), (u32, u32)) {
    (probe::calls(), (probe::number(), std::process::id()))
}

#[rustler::nif]
fn process_continue(pid: i32) -> NifResult<Reply<()>> {
    Ok(Reply(Pin::new(pid).and_then(|pin| pin.resume())))
}
