//! The request of the VM: its first frame.

use std::ffi::CString;

use rustix::process::Gid;

use crate::descriptors::{self, Wanted};
use crate::etf::{Malformed, Reader, Result};
use crate::schedule::{Policy, Schedule};

/// The first frame: `{spawn, Options}` or `{enter, Pid, Options}`.
#[derive(Debug)]
pub struct Request {
    /// The process whose namespaces are joined instead of creating new ones.
    pub target: Option<i32>,
    pub options: Options,
}

#[derive(Debug)]
pub struct Options {
    pub argv: Vec<CString>,
    /// None inherits the VM's environment.
    pub env: Option<Vec<CString>>,
    pub cwd: Option<CString>,
    /// The file to execute, if it is not the first of `argv`.
    pub path: Option<CString>,
    /// The CLONE_NEW* flags of the namespaces to create, or to join.
    pub namespaces: u32,
    pub stdio: Stdio,
    pub no_new_privs: bool,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub groups: Option<Vec<Gid>>,
    pub rlimits: Vec<Rlimit>,
    pub umask: Option<u32>,
    pub init: bool,
    /// The child does not wait at the checkpoint.
    pub auto_proceed: bool,
    pub cgroup: Option<CString>,
    /// The MS_* flag for every mount of a new mount namespace; 0 leaves them unchanged.
    pub propagation: u32,
    pub schedule: Schedule,
    /// The name of a new uts namespace.
    pub hostname: Option<Vec<u8>>,
    /// The offsets of a new time namespace's monotonic and boottime clocks, in seconds.
    pub time_offsets: Option<[i64; 2]>,
    /// The namespaces to join in addition to the new ones.
    pub join: Option<Join>,
    /// The milliseconds that the workload has to end by itself when the VM is gone.
    pub orphan_grace: Option<u64>,
    pub fds: Wanted,
    /// The number of `fds`, counted from the end, for sd_listen_fds(3), and their names.
    pub listen: Option<(u32, CString)>,
    /// The initial credit: the bytes of output that may be sent before more is granted.
    pub credit: u64,
}

/// `None` of a limit is RLIM_INFINITY.
#[derive(Clone, Copy, Debug)]
pub struct Rlimit {
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

#[derive(Debug)]
pub enum Stdio {
    Pty(PtyOptions),
    Each([Direction; 3]),
}

#[derive(Clone, Copy, Debug, Default)]
pub struct PtyOptions {
    pub size: Option<[u16; 4]>,
    pub no_echo: bool,
    pub no_onlcr: bool,
}

/// The source of one of the workload's descriptors 0 to 2.
#[derive(Clone, Debug)]
pub enum Direction {
    Inherit,
    Devnull,
    Pipe,
    ConnectUnix(Vec<u8>),
    File(CString, FileMode),
    /// For stderr only: the same open file as stdout.
    Stdout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileMode {
    Read,
    Write,
    Append,
}

impl Request {
    pub fn decode(frame: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(frame)?;
        let arity = reader.tuple()?;
        let target = match (arity, reader.atom()?) {
            (2, b"spawn") => None,
            (3, b"enter") => Some(reader.int()?),
            _ => return Err(Malformed),
        };
        let options = Options::decode(&mut reader)?;
        reader.end()?;
        Ok(Self { target, options })
    }
}

/// The source of the joined namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// The namespaces of a process with these CLONE_NEW* flags.
    Process { pid: i32, mask: u32 },
    /// The network namespace behind a descriptor of the VM.
    Netns { vm: i32, number: u32, inode: u64 },
}

impl Options {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let mut options = Self {
            argv: Vec::new(),
            env: None,
            cwd: None,
            path: None,
            namespaces: 0,
            stdio: Stdio::Each([Direction::Inherit, Direction::Inherit, Direction::Inherit]),
            no_new_privs: false,
            uid: None,
            gid: None,
            groups: None,
            rlimits: Vec::new(),
            umask: None,
            init: false,
            auto_proceed: false,
            cgroup: None,
            propagation: 0,
            schedule: Schedule::default(),
            hostname: None,
            time_offsets: None,
            join: None,
            orphan_grace: None,
            fds: Wanted::default(),
            listen: None,
            credit: 0,
        };
        for _ in 0..reader.map()? {
            match reader.atom()? {
                b"argv" => options.argv = strings(reader)?,
                b"env" => options.env = Some(strings(reader)?),
                b"cwd" => options.cwd = Some(string(reader)?),
                b"path" => options.path = Some(string(reader)?),
                b"namespaces" => options.namespaces = reader.int()?,
                b"stdio" => options.stdio = Stdio::decode(reader)?,
                b"no_new_privs" => options.no_new_privs = reader.boolean()?,
                b"uid" => options.uid = Some(reader.int()?),
                b"gid" => options.gid = Some(reader.int()?),
                b"groups" => {
                    let ids: Vec<u32> = reader.integers()?;
                    options.groups = Some(ids.into_iter().map(Gid::from_raw).collect());
                }
                b"rlimits" => options.rlimits = rlimits(reader)?,
                b"umask" => options.umask = Some(reader.int()?),
                b"auto_proceed" => options.auto_proceed = reader.boolean()?,
                b"init" => options.init = reader.boolean()?,
                b"credit" => options.credit = reader.int()?,
                b"propagation" => options.propagation = reader.int()?,
                b"nice" => options.schedule.nice = Some(reader.int()?),
                b"cpus" => options.schedule.cpus = Some(reader.integers()?),
                b"oom_score_adj" => options.schedule.oom_score_adj = Some(reader.int()?),
                b"scheduler" => options.schedule.policy = Some(policy(reader)?),
                b"io_priority" => options.schedule.io_priority = Some(reader.int()?),
                b"hostname" => options.hostname = Some(reader.binary()?.to_vec()),
                b"time_offsets" => options.time_offsets = Some(time_offsets(reader)?),
                b"fds" => options.fds = wanted(reader)?,
                b"listen" => options.listen = Some(listen(reader)?),
                b"join" => options.join = Some(join(reader)?),
                b"orphan_grace" => options.orphan_grace = Some(reader.int()?),
                b"cgroup" => options.cgroup = Some(string(reader)?),
                _ => return Err(Malformed),
            }
        }
        if options.argv.is_empty() {
            return Err(Malformed);
        }
        Ok(options)
    }

    /// The file to execute.
    pub fn path(&self) -> &CString {
        self.path.as_ref().unwrap_or(&self.argv[0])
    }
}

impl Stdio {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        if !reader.at_tuple() {
            return Err(Malformed);
        }
        match reader.tuple()? {
            4 => {
                if reader.atom()? != b"pty" {
                    return Err(Malformed);
                }
                let size = if reader.at_tuple() {
                    reader.tuple().and_then(|arity| four(arity, reader))?.into()
                } else {
                    reader.atom()?;
                    None
                };
                Ok(Stdio::Pty(PtyOptions {
                    size,
                    no_echo: !reader.boolean()?,
                    no_onlcr: !reader.boolean()?,
                }))
            }
            3 => Ok(Stdio::Each([
                Direction::decode(reader)?,
                Direction::decode(reader)?,
                Direction::decode(reader)?,
            ])),
            _ => Err(Malformed),
        }
    }
}

/// Rows, columns and the two pixel counts of `struct winsize`.
pub fn four(arity: usize, reader: &mut Reader<'_>) -> Result<[u16; 4]> {
    if arity != 4 {
        return Err(Malformed);
    }
    Ok([reader.int()?, reader.int()?, reader.int()?, reader.int()?])
}

impl Direction {
    /// Whether both name one file with the same mode: one open file then serves both, so that
    /// neither overwrites the other.
    pub fn is_same_file(&self, other: &Direction) -> bool {
        match (self, other) {
            (Direction::File(path, mode), Direction::File(theirs, their_mode)) => {
                *mode != FileMode::Read && mode == their_mode && path == theirs
            }
            _ => false,
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        if !reader.at_tuple() {
            return match reader.atom()? {
                b"inherit" => Ok(Direction::Inherit),
                b"devnull" => Ok(Direction::Devnull),
                b"pipe" => Ok(Direction::Pipe),
                b"stdout" => Ok(Direction::Stdout),
                _ => Err(Malformed),
            };
        }
        match (reader.tuple()?, reader.atom()?) {
            (2, b"connect_unix") => Ok(Direction::ConnectUnix(reader.binary()?.to_vec())),
            (3, b"file") => Ok(Direction::File(string(reader)?, FileMode::decode(reader)?)),
            _ => Err(Malformed),
        }
    }
}

impl FileMode {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        match reader.atom()? {
            b"read" => Ok(FileMode::Read),
            b"write" => Ok(FileMode::Write),
            b"append" => Ok(FileMode::Append),
            _ => Err(Malformed),
        }
    }
}

fn string(reader: &mut Reader<'_>) -> Result<CString> {
    CString::new(reader.binary()?).map_err(|_| Malformed)
}

fn strings(reader: &mut Reader<'_>) -> Result<Vec<CString>> {
    let mut strings = Vec::new();
    reader.list(|reader| {
        strings.push(string(reader)?);
        Ok(())
    })?;
    Ok(strings)
}

/// `{Policy, Priority}`, or `{Policy, Runtime, Deadline, Period}` of SCHED_DEADLINE.
fn policy(reader: &mut Reader<'_>) -> Result<Policy> {
    let arity = reader.tuple()?;
    let policy = reader.int()?;
    match (arity, policy) {
        (2, _) => Ok(Policy::Plain(policy, reader.int()?)),
        (4, 6) => Ok(Policy::Deadline {
            runtime: reader.int()?,
            deadline: reader.int()?,
            period: reader.int()?,
        }),
        _ => Err(Malformed),
    }
}

fn time_offsets(reader: &mut Reader<'_>) -> Result<[i64; 2]> {
    match reader.tuple()? {
        2 => Ok([reader.int()?, reader.int()?]),
        _ => Err(Malformed),
    }
}

/// `{Pid, Mask}` or `{Vm, Number, Inode}`.
fn join(reader: &mut Reader<'_>) -> Result<Join> {
    match reader.tuple()? {
        2 => Ok(Join::Process {
            pid: reader.int()?,
            mask: reader.int()?,
        }),
        3 => Ok(Join::Netns {
            vm: reader.int()?,
            number: reader.int()?,
            inode: reader.int()?,
        }),
        _ => Err(Malformed),
    }
}

/// `{Name, VM, Numbers}`.
fn wanted(reader: &mut Reader<'_>) -> Result<Wanted> {
    if reader.tuple()? != 3 {
        return Err(Malformed);
    }
    let wanted = Wanted {
        name: reader.binary()?.to_vec(),
        vm: reader.int()?,
        numbers: reader.integers()?,
    };
    let numbers = &wanted.numbers;
    if numbers.len() > descriptors::MAX
        || numbers
            .iter()
            .any(|&number| number < 3 || number == i32::MAX)
    {
        return Err(Malformed);
    }
    Ok(wanted)
}

fn listen(reader: &mut Reader<'_>) -> Result<(u32, CString)> {
    match reader.tuple()? {
        2 => Ok((reader.int()?, string(reader)?)),
        _ => Err(Malformed),
    }
}

fn rlimits(reader: &mut Reader<'_>) -> Result<Vec<Rlimit>> {
    let mut limits = Vec::new();
    reader.list(|reader| {
        if reader.tuple()? != 3 {
            return Err(Malformed);
        }
        limits.push(Rlimit {
            resource: reader.int()?,
            soft: reader.int()?,
            hard: reader.int()?,
        });
        Ok(())
    })?;
    Ok(limits)
}
