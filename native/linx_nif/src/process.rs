//! The port program: its sealed image, and waking it up.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use linx_sys::image;
use linx_sys::pin::Pin;
use rustler::{Binary, NifResult, Resource, ResourceArc};

use crate::reply::{Reply, Value};

/// Keeps the descriptor open, and closes it with the last reference.
#[derive(Debug)]
pub struct ImageResource(#[expect(dead_code, reason = "held for its Drop")] OwnedFd);

#[rustler::resource_impl]
impl Resource for ImageResource {}

/// The descriptor's number, and what keeps it open.
type Image = (i32, ResourceArc<ImageResource>);

#[rustler::nif(schedule = "DirtyIo")]
fn process_image(path: Binary) -> NifResult<Reply<Value<Image>>> {
    let path = Path::new(OsStr::from_bytes(path.as_slice()));
    Ok(Reply(image::sealed_copy(path).map(|image| {
        Value((image.as_raw_fd(), ResourceArc::new(ImageResource(image))))
    })))
}

#[rustler::nif]
fn process_continue(pid: i32) -> NifResult<Reply<()>> {
    Ok(Reply(Pin::new(pid).and_then(|pin| pin.resume())))
}
