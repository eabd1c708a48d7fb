//! The agent: the program between the VM and the workload, one process for each session.
//!
//! It makes the child, parks it, tells it what to do to itself before its exec, carries its output and reaps it. Descriptor
//! 3 brings what the VM asks and 4 takes what is to be said, as frames of the external term format; 0 to 2 are the VM's
//! and meant for the workload. One thread, one loop, no state but the session's. The end of file on 3 is the death of
//! the VM, and kills all.
#![deny(unsafe_code)]

pub mod arena;
pub mod capability;
pub mod checkpoint;
pub mod child;
pub mod clone;
pub mod command;
pub mod descriptors;
pub mod enter;
pub mod environment;
pub mod etf;
pub mod frame;
pub mod image;
pub mod init;
pub mod input;
pub mod job;
pub mod keyring;
pub mod kill;
pub mod last_words;
pub mod output;
pub mod page;
pub mod poll;
mod propagation;
pub mod pty;
pub mod report;
pub mod request;
pub mod schedule;
pub mod seccomp;
pub mod serve;
pub mod session;
pub mod signals;
pub mod stage;
pub mod start;
pub mod stdio;
mod target_pty;
pub mod tree;
pub mod wait;

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{getpid, set_child_subreaper, umask};

use frame::{FrameReader, FrameWriter};
use stage::{Fault, Stage};

/// The whole program. An error is one that the VM cannot be told.
pub fn run() -> Result<(), Errno> {
    last_words::watch_panics();
    let (requests, reports) = (clone::own(3), clone::own(4));
    let channel = channel(&requests, &reports);
    let reader = FrameReader::over(requests, serve::MAX_REQUEST);
    let writer = FrameWriter::over(reports);
    let prepared = channel
        .map_err(Stage::Descriptors.errno())
        .and_then(|()| prepare());
    match prepared {
        Ok((devnull, children)) => serve::run(reader, writer, devnull, children),
        Err(fault) => serve::refuse(reader, writer, fault),
    }
    Ok(())
}

/// Prepares both ends of the channel to the VM.
fn channel(requests: &OwnedFd, reports: &OwnedFd) -> Result<(), Errno> {
    frame::prepare(requests.as_fd())?;
    frame::prepare(reports.as_fd())
}

/// What the program changes for itself before it makes a child: /dev/null, and what becomes readable when a child ends.
fn prepare() -> Result<(OwnedFd, OwnedFd), Fault> {
    let devnull = stdio::fill_holes().map_err(Stage::Stdio.errno())?;
    // Whose end of file is waited for would never come where nothing can be closed.
    let spare = devnull
        .try_clone()
        .map_err(|error| Stage::Descriptors.fault(error.raw_os_error().unwrap_or(libc::EMFILE)))?;
    signals::close_owned(spare).map_err(Stage::Descriptors.errno())?;
    let children = signals::watch_children().map_err(Stage::Signals.errno())?;
    // The image has no name of its own: it is a descriptor of the VM's. A refusal changes what ps shows.
    let _ = rustix::thread::set_name(c"linx_process");
    environment::forget(environment::Forget::Secret);
    set_umask(0o022).map_err(Stage::Umask.errno())?;
    // The C library looks its clock up at the first use, and that is a write that agent and child do not both have to make.
    let _ = std::time::Instant::now();
    // What a workload leaves behind becomes our child and ends with the session.
    set_child_subreaper(Some(getpid())).map_err(Stage::Subreaper.errno())?;
    Ok((devnull, children))
}

/// umask(2), which cannot say that it was refused: asked again it must answer what it was told.
pub fn set_umask(mask: u32) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(mask);
    umask(mode);
    if umask(mode) == mode {
        Ok(())
    } else {
        Err(Errno::PERM)
    }
}
