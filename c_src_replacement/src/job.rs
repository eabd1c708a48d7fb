//! One job in other namespaces, for a caller with several threads (`linx_sys::job`). Standard input
//! is the socket of the job and of its answer.

use linx_sys::Stage;
use rustix::io::Errno;

use crate::clone::own;
use crate::signals::close_above;

pub fn run() -> Result<(), Errno> {
    // The process will be visible from inside other namespaces, so it keeps no descriptor of the
    // VM.
    let closed = close_above(3, None).map_err(Stage::Fork.errno());
    // Not duplicated: the limit of descriptors may leave no other number.
    let socket = own(0);
    let served = match (closed, crate::image::plain()) {
        (Err(fault), _) => linx_sys::job::refuse(socket, fault),
        (Ok(()), Some(errno)) => linx_sys::job::refuse(socket, Stage::Image.fault(errno)),
        (Ok(()), None) => linx_sys::job::serve(socket),
    };
    served.map_err(|fault| Errno::from_raw_os_error(fault.errno))
}
