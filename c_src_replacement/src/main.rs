//! The port program: one runs for each session, between the VM and the workload.
//!
//! It makes the child, parks it, tells it what to do to itself before its exec, carries its output and reaps it. Descriptor
//! 3 brings what the VM asks and 4 takes what is to be said, as frames of the external term format; 0 to 2 are the VM's
//! and meant for the workload. One thread, one loop, no state but the session's. The end of file on 3 is the death of
//! the VM, and kills all.
#![deny(unsafe_code)]
// The standard library's own entry sets up what a program of one thread does not need, and takes a millisecond for it.
#![cfg_attr(not(test), no_main)]

mod checkpoint;
mod child;
mod clone;
mod command;
mod enter;
mod etf;
mod frame;
mod init;
mod input;
mod kill;
mod output;
mod page;
mod pty;
mod request;
mod seccomp;
mod session;
mod signals;
mod stage;
mod stdio;
mod wait;

#[cfg(not(test))]
mod entry {
    use std::os::fd::OwnedFd;

    use rustix::fs::Mode;
    use rustix::io::Errno;
    use rustix::process::{getpid, set_child_subreaper, umask};

    use crate::frame::{FrameReader, FrameWriter};
    use crate::{clone, session, signals, stdio};

    #[expect(unsafe_code, reason = "the name is the C library's")]
    #[unsafe(no_mangle)]
    pub extern "C" fn main() -> i32 {
        match start() {
            Ok(()) => 0,
            Err(errno) => errno.raw_os_error(),
        }
    }

    fn start() -> Result<(), Errno> {
        let devnull = stdio::fill_holes()?;
        let children: OwnedFd = signals::watch_children()?;
        umask(Mode::from_raw_mode(0o022));
        // What a workload leaves behind becomes our child and ends with the session.
        set_child_subreaper(Some(getpid()))?;
        let reader = FrameReader::new(clone::own(3), session::MOST_REQUEST)?;
        let writer = FrameWriter::new(clone::own(4))?;
        session::run(reader, writer, devnull, children);
        Ok(())
    }
}
