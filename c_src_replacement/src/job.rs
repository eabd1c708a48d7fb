//! One job in other namespaces, for a caller with several threads (`linx_sys::job`): standard input is the socket
//! that it comes through and that the answer goes to.

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::stdio::stdin;

pub fn run() -> Result<(), Errno> {
    let socket = fcntl_dupfd_cloexec(stdin(), 3)?;
    linx_sys::job::serve(socket).map_err(|fault| Errno::from_raw_os_error(fault.errno))
}
