//! The workload's descriptors 0 to 2, and our ends of them.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Mode, OFlags, fchown, open};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Uid;

use crate::pty;
use crate::request::{Direction, FileMode, Stdio};
use crate::stage::{Fault, Stage};

/// Where a descriptor of the workload comes from once it goes.
#[derive(Debug)]
enum Source {
    Inherit,
    Devnull,
    Ready(OwnedFd),
    Later(Direction),
}

/// Our ends.
#[derive(Debug, Default)]
pub struct OurEnds {
    pub pty: Option<OwnedFd>,
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// What the workload will get.
#[derive(Debug)]
pub struct Plumbing {
    sources: [Source; 3],
    pub is_pty: bool,
}

impl Plumbing {
    /// Makes the pty or the pipes. Files and sockets are opened when the workload goes, always in the VM's own view.
    pub fn new(stdio: &Stdio, owner: Option<u32>) -> Result<(Self, OurEnds), Fault> {
        match stdio {
            Stdio::Pty(options) => {
                let (master, slave) = pty::open(*options)?;
                give_to(&slave, owner);
                let again = |fd: &OwnedFd| fd.try_clone().map_err(fault(Stage::PtsOpen));
                let sources = [
                    Source::Ready(again(&slave)?),
                    Source::Ready(again(&slave)?),
                    Source::Ready(slave),
                ];
                let ours = OurEnds {
                    pty: Some(master),
                    ..OurEnds::default()
                };
                Ok((
                    Self {
                        sources,
                        is_pty: true,
                    },
                    ours,
                ))
            }
            Stdio::Each(directions) => Self::each(directions, owner),
        }
    }

    fn each(directions: &[Direction; 3], owner: Option<u32>) -> Result<(Self, OurEnds), Fault> {
        let mut ends = [None, None, None];
        let mut sources = [Source::Inherit, Source::Inherit, Source::Inherit];
        for (number, direction) in directions.iter().enumerate() {
            sources[number] = match direction {
                Direction::Inherit => Source::Inherit,
                Direction::Devnull => Source::Devnull,
                Direction::Pipe => {
                    let (read, write) =
                        pipe_with(PipeFlags::CLOEXEC).map_err(Stage::Pipe2.errno())?;
                    let (ours, theirs) = if number == 0 {
                        (write, read)
                    } else {
                        (read, write)
                    };
                    pty::nonblocking(&ours).map_err(Stage::Pipe2.errno())?;
                    give_to(&theirs, owner);
                    ends[number] = Some(ours);
                    Source::Ready(theirs)
                }
                later => Source::Later(later.clone()),
            };
        }
        let [stdin, stdout, stderr] = ends;
        let ours = OurEnds {
            pty: None,
            stdin,
            stdout,
            stderr,
        };
        Ok((
            Self {
                sources,
                is_pty: false,
            },
            ours,
        ))
    }

    /// The three descriptors, opened.
    pub fn finish(self, devnull: &OwnedFd) -> Result<[OwnedFd; 3], Fault> {
        let [stdin, stdout, stderr] = self.sources;
        Ok([
            stdin.finish(rustix::stdio::stdin(), devnull)?,
            stdout.finish(rustix::stdio::stdout(), devnull)?,
            stderr.finish(rustix::stdio::stderr(), devnull)?,
        ])
    }
}

impl Source {
    fn finish(self, inherited: BorrowedFd<'_>, devnull: &OwnedFd) -> Result<OwnedFd, Fault> {
        let stdio = Stage::Stdio;
        match self {
            Source::Ready(fd) => Ok(fd),
            Source::Inherit => inherited.try_clone_to_owned().map_err(fault(stdio)),
            Source::Devnull => devnull.try_clone().map_err(fault(stdio)),
            Source::Later(Direction::ConnectUnix(path)) => connect(&path),
            Source::Later(Direction::File(path, mode)) => {
                let flags = match mode {
                    FileMode::Read => OFlags::RDONLY,
                    FileMode::Write => OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
                    FileMode::Append => OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND,
                };
                let flags = flags | OFlags::NOCTTY | OFlags::CLOEXEC;
                open(&path, flags, Mode::from_raw_mode(0o666)).map_err(stdio.errno())
            }
            Source::Later(_) => Err(stdio.fault(libc::EINVAL)),
        }
    }
}

fn connect(path: &[u8]) -> Result<OwnedFd, Fault> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    UnixStream::connect(Path::new(OsStr::from_bytes(path)))
        .map(OwnedFd::from)
        .map_err(fault(Stage::Stdio))
}

/// So that the workload may open its `/dev/stdout`, and its terminal is its own. Best effort: an id that our user
/// namespace does not hold cannot own anything.
fn give_to(fd: &OwnedFd, owner: Option<u32>) {
    if let Some(uid) = owner {
        let _ = fchown(fd, Some(Uid::from_raw(uid)), None);
    }
}

fn fault(stage: Stage) -> impl Fn(io::Error) -> Fault {
    move |error| stage.fault(error.raw_os_error().unwrap_or(libc::EINVAL))
}

/// Makes sure that 0 to 2 are taken, so that nothing else lands there: a VM may have been started without them.
pub fn fill_holes() -> Result<OwnedFd, Errno> {
    loop {
        let devnull = open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        if std::os::fd::AsRawFd::as_raw_fd(&devnull) > 2 {
            return Ok(devnull);
        }
        std::mem::forget(devnull);
    }
}
