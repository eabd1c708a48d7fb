//! One job in other namespaces, done by a thread that ends afterwards or, where the kernel refuses threads, by a
//! process of its own.
//!
//! setns(2) into a user or a time namespace is EINVAL for a process with several threads, and a pid namespace is
//! joined for children only. So for those the port program runs for one job: it has one thread and may join anything.
//! It is started by posix_spawn (no copy of the VM's page tables) with one end of a socket pair as its standard input;
//! the job and the namespaces' descriptors come through that, and the answer goes back.

use std::ffi::CString;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{
    DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal,
};

use crate::fault::{Errno, Fault, Stage};
use crate::mount::{self, Home, Mount, PivotRoot, Umount};
use crate::netlink;
use crate::ns::{self, Kind, Namespace, Target};
use crate::sysctl;
use crate::wire::{Reader, Writer};

/// The port program's first argument that asks for one job.
pub const MODE: &str = "job";

/// One of each kind.
const MAX_NAMESPACES: usize = Kind::ALL.len();

/// How long an answer of the program may take. Whoever is root in the namespaces that it joins can stop it, and must not
/// hold a thread of the VM with that. All that is mounted there are the kernel's own file systems and what a user
/// namespace may mount, and none of these takes its time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Far more than all of /proc/sys holds; what does not end there is no answer.
const MOST_ANSWER: u64 = 64 * 1024 * 1024;

/// What is to be done there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    Mount(Mount),
    Umount(Umount),
    PivotRoot(PivotRoot),
    SysctlRead(Vec<CString>),
    SysctlWrite(Vec<CString>, Vec<u8>),
    SysctlList(Vec<CString>),
    /// A socket of that protocol, which comes back as a descriptor.
    NetlinkSocket(u32),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Bytes(Vec<u8>),
    Entries(Vec<sysctl::Entry>),
}

/// The namespaces that a job is done in.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// Those that make the difference.
    pub needed: Vec<Namespace>,
    /// The user namespace that gives the right to join the others, for a caller who has no other right to.
    pub owner: Option<Namespace>,
}

/// Does `job` on a thread that ends before this returns, `program` being the port program.
pub fn run(program: &Path, namespaces: Namespaces, job: &Job) -> Result<Outcome, Fault> {
    ns::run_in(&[], || attempt(program, namespaces, job))
}

/// As `run`, on the calling thread, which is of no other use afterwards: it may have changed its namespaces, root and
/// working directory.
pub fn run_on_this_thread(
    program: &Path,
    namespaces: Namespaces,
    job: &Job,
) -> Result<Outcome, Fault> {
    ns::unshare_fs()?;
    attempt(program, namespaces, job)
}

fn attempt(program: &Path, namespaces: Namespaces, job: &Job) -> Result<Outcome, Fault> {
    let Namespaces { mut needed, owner } = namespaces;
    needed.retain(|namespace| !namespace.is_ours());
    let owner = owner.filter(|namespace| !namespace.is_ours());
    if needed.iter().any(is_for_a_process) {
        return match run_program(program, needed.iter(), job, PATIENCE) {
            Err(fault) if is_refusal(fault) && owner.is_some() => {
                run_program(program, owner.iter().chain(&needed), job, PATIENCE)
            }
            other => other,
        };
    }
    match run_here(&needed, job) {
        Err(fault) if is_refusal(fault) && owner.is_some() => {
            run_program(program, owner.iter().chain(&needed), job, PATIENCE)
        }
        other => other,
    }
}

fn is_for_a_process(namespace: &Namespace) -> bool {
    matches!(namespace.kind(), Kind::Pid | Kind::User | Kind::Time)
}

fn is_refusal(fault: Fault) -> bool {
    matches!(fault.stage, Stage::Setns | Stage::SetnsPid) && fault.errno == libc::EPERM
}

/// Joins `namespaces`, the mount namespace last, and does `job`: what must be opened in our own view is opened first.
/// For a thread or a process of its own; none of this is undone.
fn run_here<'n>(
    namespaces: impl IntoIterator<Item = &'n Namespace> + Clone,
    job: &Job,
) -> Result<Outcome, Fault> {
    for namespace in namespaces.clone() {
        if namespace.kind() != Kind::Mnt {
            namespace.join()?;
        }
    }
    match job {
        Job::Mount(request) => {
            let home = leave(namespaces)?;
            mount::mount(&home, request).map(|()| Outcome::Done)
        }
        Job::Umount(request) => {
            let home = leave(namespaces)?;
            mount::umount(&home, request).map(|()| Outcome::Done)
        }
        Job::PivotRoot(request) => {
            let home = leave(namespaces)?;
            mount::pivot_root(&home, request).map(|()| Outcome::Done)
        }
        Job::SysctlRead(paths) => sysctl::Tree::open()?.read(paths).map(Outcome::Bytes),
        Job::SysctlWrite(paths, data) => sysctl::Tree::open()?
            .write(paths, data)
            .map(|()| Outcome::Done),
        Job::SysctlList(paths) => sysctl::Tree::open()?.list(paths).map(Outcome::Entries),
        // Only the program's to do (`netlink_socket`).
        Job::NetlinkSocket(_) => Err(Stage::Socket.fault(libc::EINVAL)),
    }
}

/// Opens what has to be opened in our own view, then joins the mount namespace.
fn leave<'n>(namespaces: impl IntoIterator<Item = &'n Namespace>) -> Result<Home, Fault> {
    let home = Home::open()?;
    for namespace in namespaces {
        if namespace.kind() == Kind::Mnt {
            namespace.join()?;
        }
    }
    Ok(home)
}

// -- our side: start the program, hand over the job, read the answer ---------------------------------------------------

/// A netlink socket in `target`'s network namespace by way of its user namespace. None if that is ours: it gives no
/// right that we have not.
pub fn netlink_socket(
    program: &Path,
    target: &Target<'_>,
    protocol: u32,
) -> Result<Option<OwnedFd>, Fault> {
    if matches!(target, Target::Path(_)) {
        return Ok(None);
    }
    let stage = Stage::Open;
    let namespaces = target.open_all(&[(Kind::User, stage), (Kind::Net, stage)])?;
    if namespaces.first().is_none_or(Namespace::is_ours) {
        return Ok(None);
    }
    let job = Job::NetlinkSocket(protocol);
    talk_to_program(program, namespaces.iter(), &job, PATIENCE).map(|(_, file)| file)
}

fn run_program<'n>(
    program: &Path,
    namespaces: impl Iterator<Item = &'n Namespace>,
    job: &Job,
    limit: Duration,
) -> Result<Outcome, Fault> {
    talk_to_program(program, namespaces, job, limit).map(|(outcome, _)| outcome)
}

/// What came of the job, and the descriptor that came with it.
type Answer = (Outcome, Option<OwnedFd>);

fn talk_to_program<'n>(
    program: &Path,
    namespaces: impl Iterator<Item = &'n Namespace>,
    job: &Job,
    limit: Duration,
) -> Result<Answer, Fault> {
    let namespaces: Vec<_> = namespaces.collect();
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(Stage::Pipe.errno())?;
    let mut child = Command::new(program)
        .arg(MODE)
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Stage::Fork.errno())?;
    let answer = exchange(ours, &namespaces, job, limit);
    if answer.is_err() {
        // It may be stopped, or never have read its job. If it has ended there is nothing to kill.
        let _gone = child.kill();
    }
    // It ends once it has answered, and its end is its own report where it did not. ECHILD: the VM was told to ignore
    // SIGCHLD, and the kernel has reaped it.
    let _status = child.wait();
    answer
}

fn exchange(
    ours: OwnedFd,
    namespaces: &[&Namespace],
    job: &Job,
    limit: Duration,
) -> Result<Answer, Fault> {
    send_job(ours.as_fd(), namespaces, job)?;
    let socket = UnixStream::from(ours);
    socket
        .set_read_timeout(Some(limit))
        .map_err(Stage::Pipe.errno())?;
    let late = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock => Stage::Fork.fault(libc::ETIMEDOUT),
        _ => Stage::Pipe.fault(Errno::raw(&error)),
    };
    // A descriptor comes with the first byte.
    let mut answer = vec![0];
    let (count, mut files) =
        receive(socket.as_fd(), &mut answer).map_err(|errno| late(errno.into()))?;
    answer.truncate(count);
    socket
        .take(MOST_ANSWER)
        .read_to_end(&mut answer)
        .map_err(late)?;
    decode_answer(&answer)
        .unwrap_or(Err(Stage::Fork.fault(libc::EIO)))
        .map(|outcome| (outcome, files.pop()))
}

fn send_job(socket: BorrowedFd<'_>, namespaces: &[&Namespace], job: &Job) -> Result<(), Fault> {
    let payload = encode_job(job);
    let mut message = Writer::default();
    message.bytes(&payload);
    let message = message.into_bytes();

    let files: Vec<_> = namespaces
        .iter()
        .map(|namespace| namespace.file())
        .collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_NAMESPACES + 1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(Stage::Pipe.fault(libc::E2BIG));
    }
    // The child may be gone already: EPIPE, not SIGPIPE.
    let flags = SendFlags::NOSIGNAL;
    let mut sent =
        retry_on_intr(|| sendmsg(socket, &[IoSlice::new(&message)], &mut control, flags))
            .map_err(Stage::Pipe.errno())?;
    while let Some(rest @ [_, ..]) = message.get(sent..) {
        sent += retry_on_intr(|| rustix::net::send(socket, rest, flags))
            .map_err(Stage::Pipe.errno())?;
    }
    Ok(())
}

// -- the program's side ------------------------------------------------------------------------------------------------

/// The port program's part: takes one job from `socket`, does it and answers. Only for a process with one thread.
pub fn serve(socket: OwnedFd) -> Result<(), Fault> {
    // In there it must not be a way back to our own files: without this its /proc/<pid>/exe could be opened for
    // writing from the namespaces that it joins (CVE-2019-5736).
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Stage::Fork.errno())?;
    let (namespaces, job) = match receive_job(&socket) {
        Ok(received) => received,
        Err(fault) => return answer(socket, &Err(fault)),
    };
    if let Job::NetlinkSocket(protocol) = job {
        return match join_and_open(&namespaces, protocol) {
            Ok(file) => hand_over(&socket, &file),
            Err(fault) => answer(socket, &Err(fault)),
        };
    }
    let outcome = match namespaces
        .iter()
        .any(|namespace| namespace.kind() == Kind::Pid)
    {
        true => serve_in_child(&namespaces, &job, &socket),
        false => join_and_run(&namespaces, &job),
    };
    match outcome {
        Served::Here(outcome) => answer(socket, &outcome),
        Served::InChild => Ok(()),
    }
}

enum Served {
    Here(Result<Outcome, Fault>),
    InChild,
}

fn join_and_run(namespaces: &[Namespace], job: &Job) -> Served {
    Served::Here(join_owner(namespaces).and_then(|()| {
        run_here(
            namespaces
                .iter()
                .filter(|namespace| !is_for_a_process(namespace)),
            job,
        )
    }))
}

fn join_and_open(namespaces: &[Namespace], protocol: u32) -> Result<OwnedFd, Fault> {
    join_owner(namespaces)?;
    namespaces
        .iter()
        .filter(|namespace| !is_for_a_process(namespace))
        .try_for_each(Namespace::join)?;
    netlink::create(protocol)
}

/// The user namespace first: it gives the right to join the others.
fn join_owner(namespaces: &[Namespace]) -> Result<(), Fault> {
    for kind in [Kind::User, Kind::Time] {
        for namespace in namespaces {
            if namespace.kind() == kind {
                namespace.join()?;
            }
        }
    }
    Ok(())
}

/// A pid namespace is entered by the children of who joins it.
fn serve_in_child(namespaces: &[Namespace], job: &Job, socket: &OwnedFd) -> Served {
    let joined = join_owner(namespaces).and_then(|()| {
        namespaces
            .iter()
            .filter(|namespace| namespace.kind() == Kind::Pid)
            .try_for_each(Namespace::join)
    });
    if let Err(fault) = joined {
        return Served::Here(Err(fault));
    }
    match fork() {
        Err(fault) => Served::Here(Err(fault)),
        Ok(None) => Served::Here(end_with_parent().and_then(|()| {
            run_here(
                namespaces
                    .iter()
                    .filter(|namespace| !is_for_a_process(namespace)),
                job,
            )
        })),
        Ok(Some(child)) => {
            // Its end of the socket must be the last one, so that its death without an answer is the end of file.
            let _ = socket;
            wait_for(child);
            Served::InChild
        }
    }
}

#[expect(unsafe_code, reason = "fork(2)")]
fn fork() -> Result<Option<rustix::process::Pid>, Fault> {
    // SAFETY: the port program has one thread when it serves a job, so the child holds no lock that nobody will
    // release.
    match unsafe { libc::fork() } {
        -1 => Err(Stage::Fork.errno()(std::io::Error::last_os_error())),
        pid => Ok(rustix::process::Pid::from_raw(pid)),
    }
}

/// Stopped in there, it must go with the one that waits for it out here.
fn end_with_parent() -> Result<(), Fault> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Stage::Fork.errno())
}

fn wait_for(child: rustix::process::Pid) {
    let options = rustix::process::WaitOptions::empty();
    // The child answers for itself; here nothing is left to report.
    let _status = retry_on_intr(|| rustix::process::waitpid(Some(child), options));
}

fn receive_job(socket: &OwnedFd) -> Result<(Vec<Namespace>, Job), Fault> {
    let broken = Stage::Pipe.fault(libc::EPROTO);
    let mut head = [0_u8; 4];
    let (count, files) = receive(socket.as_fd(), &mut head).map_err(Stage::Pipe.errno())?;
    let namespaces = files
        .into_iter()
        .map(Namespace::from_file)
        .collect::<Result<_, _>>()?;
    let mut stream = UnixStream::from(socket.try_clone().map_err(Stage::Pipe.errno())?);
    let rest = head.get_mut(count..).ok_or(broken)?;
    stream.read_exact(rest).map_err(Stage::Pipe.errno())?;
    let length = u32::from_le_bytes(head) as usize;
    let mut payload = Vec::new();
    stream
        .take(length as u64)
        .read_to_end(&mut payload)
        .map_err(Stage::Pipe.errno())?;
    let job = decode_job(&payload).ok_or(broken)?;
    Ok((namespaces, job))
}

/// Bytes, as many as come at once, and the descriptors that came with them.
fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> Result<(usize, Vec<OwnedFd>), rustix::io::Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_NAMESPACES + 1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        let mut parts = [std::io::IoSliceMut::new(bytes)];
        recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            files.extend(rights);
        }
    }
    Ok((received.bytes, files))
}

/// Answers with a descriptor.
fn hand_over(socket: &OwnedFd, file: &OwnedFd) -> Result<(), Fault> {
    let message = encode_answer(&Ok(Outcome::Done));
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(Stage::Pipe.fault(libc::E2BIG));
    }
    // A few bytes: the socket takes them at once.
    retry_on_intr(|| {
        let parts = [IoSlice::new(&message)];
        sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)
    })
    .map(|_| ())
    .map_err(Stage::Pipe.errno())
}

/// Writes what came of a job: also for one that could not even be read.
pub fn answer(socket: OwnedFd, outcome: &Result<Outcome, Fault>) -> Result<(), Fault> {
    UnixStream::from(socket)
        .write_all(&encode_answer(outcome))
        .map_err(|error| Stage::Pipe.fault(Errno::raw(&error)))
}

// -- between the two ---------------------------------------------------------------------------------------------------

pub fn encode_job(job: &Job) -> Vec<u8> {
    let mut w = Writer::default();
    match job {
        Job::Mount(request) => {
            w.number(0);
            w.text(&request.source);
            w.text(&request.target);
            w.text(&request.fstype);
            w.number(request.flags);
            w.text(&request.data);
            w.number(u32::from(request.create));
            w.lookup(&request.lookup);
        }
        Job::Umount(request) => {
            w.number(1);
            w.text(&request.target);
            w.number(request.flags);
            w.lookup(&request.lookup);
        }
        Job::PivotRoot(request) => {
            w.number(2);
            w.text(&request.new_root);
            w.text(&request.put_old);
        }
        Job::SysctlRead(paths) => {
            w.number(3);
            w.texts(paths);
        }
        Job::SysctlWrite(paths, data) => {
            w.number(4);
            w.texts(paths);
            w.bytes(data);
        }
        Job::SysctlList(paths) => {
            w.number(5);
            w.texts(paths);
        }
        Job::NetlinkSocket(protocol) => {
            w.number(6);
            w.number(*protocol);
        }
    }
    w.into_bytes()
}

/// None for anything that [`encode_job`] does not write.
pub fn decode_job(bytes: &[u8]) -> Option<Job> {
    let mut r = Reader::new(bytes);
    let job = match r.number()? {
        0 => Job::Mount(Mount {
            source: r.text()?,
            target: r.text()?,
            fstype: r.text()?,
            flags: r.number()?,
            data: r.text()?,
            create: r.number()? != 0,
            lookup: r.lookup()?,
        }),
        1 => Job::Umount(Umount {
            target: r.text()?,
            flags: r.number()?,
            lookup: r.lookup()?,
        }),
        2 => Job::PivotRoot(PivotRoot {
            new_root: r.text()?,
            put_old: r.text()?,
        }),
        3 => Job::SysctlRead(r.texts()?),
        4 => Job::SysctlWrite(r.texts()?, r.bytes()?.to_vec()),
        5 => Job::SysctlList(r.texts()?),
        6 => Job::NetlinkSocket(r.number()?),
        _ => return None,
    };
    r.end().then_some(job)
}

pub fn encode_answer(answer: &Result<Outcome, Fault>) -> Vec<u8> {
    let mut w = Writer::default();
    match answer {
        Err(fault) => {
            let stage = Stage::ALL.iter().position(|stage| *stage == fault.stage);
            w.number(0);
            w.number(
                stage
                    .and_then(|at| u32::try_from(at).ok())
                    .unwrap_or(u32::MAX),
            );
            w.number(fault.errno.unsigned_abs());
        }
        Ok(Outcome::Done) => w.number(1),
        Ok(Outcome::Bytes(bytes)) => {
            w.number(2);
            w.bytes(bytes);
        }
        Ok(Outcome::Entries(entries)) => {
            w.number(3);
            w.number(u32::try_from(entries.len()).unwrap_or(0));
            for (path, value) in entries {
                w.bytes(path);
                w.bytes(value);
            }
        }
    }
    w.into_bytes()
}

/// None for anything that [`encode_answer`] does not write: it comes from other namespaces.
pub fn decode_answer(bytes: &[u8]) -> Option<Result<Outcome, Fault>> {
    let mut r = Reader::new(bytes);
    let answer = match r.number()? {
        0 => {
            let stage = *Stage::ALL.get(r.number()? as usize)?;
            Err(stage.fault(i32::try_from(r.number()?).ok()?))
        }
        1 => Ok(Outcome::Done),
        2 => Ok(Outcome::Bytes(r.bytes()?.to_vec())),
        3 => {
            let count = r.number()?;
            let mut entries = Vec::new();
            for _ in 0..count {
                entries.push((r.bytes()?.to_vec(), r.bytes()?.to_vec()));
            }
            Ok(Outcome::Entries(entries))
        }
        _ => return None,
    };
    r.end().then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::Lookup;

    fn jobs() -> Vec<Job> {
        let lookup = Lookup {
            root: c"/srv/root".into(),
            no_symlinks: true,
            foreign: true,
        };
        vec![
            Job::Mount(Mount {
                source: c"tmpfs".into(),
                target: c"/mnt".into(),
                fstype: c"tmpfs".into(),
                flags: 7,
                data: c"size=1M".into(),
                create: true,
                lookup: lookup.clone(),
            }),
            Job::Umount(Umount {
                target: c"/mnt".into(),
                flags: 2,
                lookup,
            }),
            Job::PivotRoot(PivotRoot {
                new_root: c"/a".into(),
                put_old: c"/a/b".into(),
            }),
            Job::SysctlRead(vec![c"kernel/ostype".into()]),
            Job::SysctlWrite(vec![c"a/b".into(), c"a.b".into()], b"1".to_vec()),
            Job::SysctlList(vec![c"".into()]),
            Job::NetlinkSocket(16),
        ]
    }

    #[test]
    fn a_job_survives_the_way_and_none_that_is_cut_does() {
        for job in jobs() {
            let bytes = encode_job(&job);
            assert_eq!(decode_job(&bytes), Some(job));
            for length in 0..bytes.len() {
                assert_eq!(decode_job(&bytes[..length]), None);
            }
        }
    }

    fn read_ostype(program: &Path, limit: Duration) -> Result<Outcome, Fault> {
        let job = Job::SysctlRead(vec![c"kernel/ostype".into()]);
        run_program(program, [].iter(), &job, limit)
    }

    #[test]
    fn a_program_that_is_not_there_is_told() {
        let answer = read_ostype(Path::new("/no/such/program"), PATIENCE);
        assert_eq!(answer, Err(Stage::Fork.fault(libc::ENOENT)));
    }

    #[test]
    fn a_program_that_ends_without_an_answer_is_told() {
        let answer = read_ostype(Path::new("/bin/false"), PATIENCE).unwrap_err();
        // Whether it ended before the job was sent or after.
        assert!(matches!(answer.stage, Stage::Fork | Stage::Pipe));
        assert!(matches!(
            answer.errno,
            libc::EIO | libc::EPIPE | libc::ECONNRESET
        ));
    }

    #[test]
    fn a_program_that_never_answers_is_given_up_and_killed() {
        use std::os::unix::fs::PermissionsExt;

        let folder = std::env::temp_dir().join(format!("linx-job-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("mute");
        std::fs::write(
            &program,
            "#!/bin/sh\necho $$ > \"${0%/*}/pid\"\nexec sleep 1000\n",
        )
        .unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let answer = read_ostype(&program, Duration::from_secs(3));
        assert_eq!(answer, Err(Stage::Fork.fault(libc::ETIMEDOUT)));
        let pid = std::fs::read_to_string(folder.join("pid")).unwrap();
        assert!(!Path::new(&format!("/proc/{}", pid.trim())).exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_answer_survives_the_way_and_none_that_is_cut_does() {
        let answers = [
            Ok(Outcome::Done),
            Ok(Outcome::Bytes(b"Linux\n".to_vec())),
            Ok(Outcome::Entries(vec![(b"a/b".to_vec(), b"1".to_vec())])),
            Err(Stage::Mount.fault(libc::EBUSY)),
        ];
        for answer in answers {
            let bytes = encode_answer(&answer);
            assert_eq!(decode_answer(&bytes), Some(answer));
            for length in 0..bytes.len() {
                assert_eq!(decode_answer(&bytes[..length]), None);
            }
        }
    }
}
