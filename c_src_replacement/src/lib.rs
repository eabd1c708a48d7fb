//! The agent: the program between the VM and the workload, one process for each session.
//!
//! The agent clones the child, parks it, sends it the records of the checkpoint, forwards its
//! output and reaps it. Descriptor 3 carries the commands of the VM and 4 the reports, as frames of
//! the external term format; 0 to 2 are the VM's and meant for the workload. The agent has one
//! thread, one loop and no state but the session's. The end of file on 3 means that the VM is dead,
//! and kills the session.
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

/// Runs the agent for one session. An error is one that cannot be reported to the VM.
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

/// Changes the agent's own process before the clone; returns /dev/null, and the signalfd for ended
/// children.
fn prepare() -> Result<(OwnedFd, OwnedFd), Fault> {
    let devnull = stdio::fill_holes().map_err(Stage::Stdio.errno())?;
    // Checks close(2): without it the end of file of a channel would never come.
    let spare = devnull
        .try_clone()
        .map_err(|error| Stage::Descriptors.fault(error.raw_os_error().unwrap_or(libc::EMFILE)))?;
    signals::close_owned(spare).map_err(Stage::Descriptors.errno())?;
    let children = signals::watch_children().map_err(Stage::Signals.errno())?;
    // Sets the name that ps shows: the name of an executed descriptor is its number. A refusal
    // changes the name only.
    let _ = rustix::thread::set_name(c"linx_process");
    environment::forget(environment::Forget::Secret);
    set_umask(0o022).map_err(Stage::Umask.errno())?;
    // Initialises the C library's clock before the clone: its first use writes to memory that agent
    // and child otherwise share.
    let _ = std::time::Instant::now();
    // The workload's orphans become children of the agent and end with the session.
    set_child_subreaper(Some(getpid())).map_err(Stage::Subreaper.errno())?;
    Ok((devnull, children))
}

/// Calls umask(2), which has no error: a second call must return the mask of the first.
pub fn set_umask(mask: u32) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(mask);
    umask(mode);
    if umask(mode) == mode {
        Ok(())
    } else {
        Err(Errno::PERM)
    }
}
