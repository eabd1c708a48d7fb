//! The workload's descriptors 0 to 2, and the agent's ends of them.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fchown, fcntl_getfl, fcntl_setfl, fstat, open, stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, tee};
use rustix::process::Uid;

use crate::pty;
use crate::request::{Direction, FileMode, Stdio};
use crate::stage::{Fault, Stage};

/// The source of a descriptor of the workload.
#[derive(Debug)]
enum Source {
    Inherit,
    Devnull,
    Ready(OwnedFd),
    Later(Direction),
    /// A duplicate of the descriptor of that number.
    Same(usize),
}

/// The agent's ends.
#[derive(Debug, Default)]
pub struct OurEnds {
    pub pty: Option<OwnedFd>,
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

impl OurEnds {
    /// Two duplicates of the terminal's master: one to read, one to write. The original sets the
    /// window size.
    pub fn more_of_pty(&self) -> Result<[Option<OwnedFd>; 2], Fault> {
        let clone = || self.pty.as_ref().map(OwnedFd::try_clone).transpose();
        let clone = || clone().map_err(fault(Stage::PtsOpen));
        Ok([clone()?, clone()?])
    }
}

/// The workload's ends.
#[derive(Debug)]
pub struct Plumbing {
    sources: [Source; 3],
    pub is_pty: bool,
}

impl Plumbing {
    /// Creates the terminal or the pipes. Files and sockets are opened when the workload proceeds,
    /// always in the VM's mount namespace.
    pub fn new(stdio: &Stdio, owner: Option<u32>) -> Result<(Self, OurEnds), Fault> {
        match stdio {
            Stdio::Pty(options) => {
                let (master, slave) = pty::open(*options)?;
                give_to(&slave, owner);
                let sources = three_times(slave)?;
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

    /// Replaces the terminal.
    pub fn set_pty(&mut self, slave: OwnedFd) -> Result<(), Fault> {
        self.sources = three_times(slave)?;
        Ok(())
    }

    /// The device of the devpts of the workload's terminal.
    pub fn devpts(&self) -> Result<Option<u64>, Fault> {
        match &self.sources[0] {
            Source::Ready(slave) if self.is_pty => {
                let found = fstat(slave).map_err(Stage::PtsOpen.errno())?;
                Ok(Some(found.st_dev))
            }
            _ => Ok(None),
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
                Direction::Stdout => Source::Same(1),
                later => match directions[..number]
                    .iter()
                    .position(|one| one.is_same_file(later))
                {
                    Some(first) => Source::Same(first),
                    None => Source::Later(later.clone()),
                },
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

    /// Opens the remaining files and sockets. EAGAIN: another process has to open its end first;
    /// the caller retries.
    pub fn open(&mut self, devnull: &OwnedFd) -> Result<(), Fault> {
        let inherited = [
            rustix::stdio::stdin(),
            rustix::stdio::stdout(),
            rustix::stdio::stderr(),
        ];
        for (number, inherited) in inherited.into_iter().enumerate() {
            let (before, rest) = self.sources.split_at_mut(number);
            match &mut rest[0] {
                Source::Same(other) => {
                    let same = before.get(*other).and_then(Source::opened);
                    let same = same.ok_or(Stage::Stdio.fault(libc::EINVAL))?;
                    rest[0] =
                        Source::Ready(same.try_clone_to_owned().map_err(fault(Stage::Stdio))?);
                }
                source => source.open(inherited, devnull)?,
            }
        }
        Ok(())
    }

    /// The three descriptors; None before all are open.
    pub fn descriptors(&self) -> Option<[BorrowedFd<'_>; 3]> {
        let [stdin, stdout, stderr] = &self.sources;
        Some([stdin.opened()?, stdout.opened()?, stderr.opened()?])
    }
}

fn three_times(slave: OwnedFd) -> Result<[Source; 3], Fault> {
    let again = |fd: &OwnedFd| fd.try_clone().map_err(fault(Stage::PtsOpen));
    Ok([
        Source::Ready(again(&slave)?),
        Source::Ready(again(&slave)?),
        Source::Ready(slave),
    ])
}

impl Source {
    fn opened(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Source::Ready(fd) => Some(fd.as_fd()),
            _ => None,
        }
    }

    fn open(&mut self, inherited: BorrowedFd<'_>, devnull: &OwnedFd) -> Result<(), Fault> {
        let stdio = Stage::Stdio;
        let fd = match self {
            Source::Ready(_) => return Ok(()),
            Source::Inherit => inherited.try_clone_to_owned().map_err(fault(stdio))?,
            Source::Devnull => devnull.try_clone().map_err(fault(stdio))?,
            Source::Later(Direction::ConnectUnix(path)) => connect(path).map_err(stdio.errno())?,
            Source::Later(Direction::File(path, mode)) => {
                file(path, *mode).map_err(stdio.errno())?
            }
            Source::Later(_) | Source::Same(_) => return Err(stdio.fault(libc::EINVAL)),
        };
        *self = Source::Ready(fd);
        Ok(())
    }
}

/// Opens a file without blocking, because the agent must always answer its VM: a fifo without its
/// other end is EAGAIN.
fn file(path: &CStr, mode: FileMode) -> Result<OwnedFd, Errno> {
    let flags = match mode {
        FileMode::Read => OFlags::RDONLY,
        FileMode::Write => OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
        FileMode::Append => OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND,
    };
    let flags = flags | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match open(path, flags, Mode::from_raw_mode(0o666)) {
        Err(Errno::NXIO) if is_fifo(stat(path)?.st_mode) => return Err(Errno::AGAIN),
        other => other?,
    };
    if mode == FileMode::Read && is_fifo(fstat(&file)?.st_mode) && !has_writer(&file)? {
        return Err(Errno::AGAIN);
    }
    let flags = fcntl_getfl(&file)?;
    fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(file)
}

fn is_fifo(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::Fifo
}

/// Whether the fifo has a writer. An empty fifo is at end of file without a writer and would block
/// with one; tee(2) shows the difference and consumes nothing.
fn has_writer(fifo: &OwnedFd) -> Result<bool, Errno> {
    let (_read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    match tee(fifo, &write, 1, SpliceFlags::NONBLOCK) {
        Ok(count) => Ok(count > 0),
        Err(Errno::AGAIN) => Ok(true),
        Err(errno) => Err(errno),
    }
}

fn connect(path: &[u8]) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &address)?;
    let flags = fcntl_getfl(&socket)?;
    fcntl_setfl(&socket, flags - OFlags::NONBLOCK)?;
    Ok(socket)
}

/// Gives the descriptor to the workload's user, so that the workload may open its `/dev/stdout` and
/// owns its terminal. Best effort: an id without a mapping in the agent's user namespace cannot own
/// a file.
fn give_to(fd: &OwnedFd, owner: Option<u32>) {
    if let Some(uid) = owner {
        let _ = fchown(fd, Some(Uid::from_raw(uid)), None);
    }
}

fn fault(stage: Stage) -> impl Fn(io::Error) -> Fault {
    move |error| stage.fault(error.raw_os_error().unwrap_or(libc::EINVAL))
}

/// Opens /dev/null until 0 to 2 are taken: a VM may have been started without them.
pub fn fill_holes() -> Result<OwnedFd, Errno> {
    loop {
        let devnull = open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        if std::os::fd::AsRawFd::as_raw_fd(&devnull) > 2 {
            return Ok(devnull);
        }
        std::mem::forget(devnull);
    }
}
