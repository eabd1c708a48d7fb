//! A process pinned by the VM: the pidfd lives as long as the term.

use linx_sys::Stage;
use linx_sys::ns::{Kind, Namespace};
use linx_sys::pin::Pin;
use rustler::{NifResult, Resource, ResourceArc};

use crate::reply::{Reply, Value};

#[derive(Debug)]
pub struct PinResource(pub Pin);

#[rustler::resource_impl]
impl Resource for PinResource {}

#[rustler::nif]
fn pid_pin(pid: i32) -> NifResult<Reply<Value<ResourceArc<PinResource>>>> {
    Ok(Reply(
        Pin::new(pid).map(|pin| Value(ResourceArc::new(PinResource(pin)))),
    ))
}

#[rustler::nif]
fn pid_alive(pin: ResourceArc<PinResource>) -> bool {
    pin.0.check_alive(Stage::Pidfd).is_ok()
}

/// 0 where the kernel has none.
#[rustler::nif]
fn pid_identity(pin: ResourceArc<PinResource>) -> u64 {
    linx_sys::pidfd::identity(pin.0.pidfd()).unwrap_or(0)
}

/// Whether the pinned process is in the VM's user namespace. Without PIDFD_GET_USER_NAMESPACE the
/// namespace is opened through /proc.
#[rustler::nif(schedule = "DirtyIo")]
fn pid_shares_user_namespace(pin: ResourceArc<PinResource>) -> Reply<Value<bool>> {
    let other = Namespace::other_of(&pin.0, Kind::User, Stage::OpenNs);
    Reply(other.map(|other| Value(other.is_none())))
}

#[rustler::nif]
fn pid_of(pin: ResourceArc<PinResource>) -> i32 {
    pin.0.pid()
}

#[rustler::nif]
fn pid_kill(pin: ResourceArc<PinResource>) -> NifResult<Reply<()>> {
    Ok(Reply(pin.0.kill()))
}
