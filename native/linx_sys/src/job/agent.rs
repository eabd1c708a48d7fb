//! The VM's side: starts the agent for one job, sends the job, reads the answer.

use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::channel::{Received, receive, send_job};
use super::request::{Job, Outcome, decode_answer};
use crate::fault::{Errno, Fault, Stage};
use crate::ns::{Kind, Namespace, Target};

/// The first argument of an agent that does one job.
pub const MODE: &str = "job";

/// The time limit of an answer. Root in the joined namespaces can stop the agent, which must not
/// hold a thread of the VM. The mounts there are the kernel's own file systems and those that a
/// user namespace may mount, none of which is slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The size limit of an answer, far above the size of /proc/sys; a longer one is refused.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// A netlink socket in `target`'s network namespace, opened by way of its user namespace. None if
/// that is the VM's own, which gives no further privilege.
pub fn netlink_socket(
    agent: &Path,
    target: &Target<'_>,
    protocol: u32,
) -> Result<Option<OwnedFd>, Fault> {
    if matches!(target, Target::Path(_) | Target::Held(_)) {
        return Ok(None);
    }
    let stage = Stage::Open;
    let namespaces = target.open_all(&[(Kind::User, stage), (Kind::Net, stage)])?;
    match namespaces.first() {
        Some(owner) if !owner.is_ours()? => {}
        _ => return Ok(None),
    }
    let job = Job::NetlinkSocket(protocol);
    talk_to_agent(agent, namespaces.iter(), &job, PATIENCE).map(|(_, file)| file)
}

pub(super) fn run_agent<'n>(
    agent: &Path,
    namespaces: impl Iterator<Item = &'n Namespace>,
    job: &Job,
    limit: Duration,
) -> Result<Outcome, Fault> {
    talk_to_agent(agent, namespaces, job, limit).map(|(outcome, _)| outcome)
}

/// The job's outcome, and the descriptor of its answer.
type Answer = (Outcome, Option<OwnedFd>);

fn talk_to_agent<'n>(
    agent: &Path,
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
    let mut child = Command::new(agent)
        .arg(MODE)
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Stage::Fork.errno())?;
    let answer = exchange(ours, &namespaces, job, limit);
    if answer.is_err() {
        // The agent may be stopped, or may not have read its job. After its end the signal has no
        // target.
        let _gone = child.kill();
    }
    // The agent ends after its answer; its end without an answer is the report. ECHILD: the VM
    // ignores SIGCHLD, so the kernel has reaped the agent.
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
    // The descriptor arrives with the first byte.
    let mut answer = vec![0];
    let Received {
        count,
        mut files,
        is_cut,
    } = receive(socket.as_fd(), &mut answer).map_err(|errno| late(errno.into()))?;
    answer.truncate(count);
    socket
        .take(MAX_ANSWER)
        .read_to_end(&mut answer)
        .map_err(late)?;
    if is_cut {
        return Err(Stage::Pipe.fault(libc::EMFILE));
    }
    decode_answer(&answer)
        .unwrap_or(Err(Stage::Fork.fault(libc::EIO)))
        .map(|outcome| (outcome, files.pop()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_ostype(agent: &Path, limit: Duration) -> Result<Outcome, Fault> {
        let job = Job::SysctlRead(vec![c"kernel/ostype".into()]);
        run_agent(agent, [].iter(), &job, limit)
    }

    #[test]
    fn a_program_that_is_not_there_is_told() {
        let answer = read_ostype(Path::new("/no/such/program"), PATIENCE);
        assert_eq!(answer, Err(Stage::Fork.fault(libc::ENOENT)));
    }

    #[test]
    fn a_program_that_ends_without_an_answer_is_told() {
        let answer = read_ostype(Path::new("/bin/false"), PATIENCE).unwrap_err();
        // The program ends before the job is sent or after.
        assert!(matches!(answer.stage, Stage::Fork | Stage::Pipe));
        assert!(matches!(
            answer.errno,
            libc::EIO | libc::EPIPE | libc::ECONNRESET
        ));
    }

    #[test]
    fn a_program_that_never_answers_is_given_up_and_killed() {
        let folder = std::env::temp_dir().join(format!("linx-job-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let agent = folder.join("mute");
        // Another process writes the file: a child of another test would inherit the descriptor for
        // a moment, and a file that is open for writing cannot be executed.
        let write = concat!(
            r##"printf '#!/bin/sh\necho $$ >"%s"\nexec sleep 1000\n' "$0/pid" >"$0/mute"; "##,
            r#"chmod +x "$0/mute""#
        );
        let written = Command::new("sh")
            .arg("-c")
            .arg(write)
            .arg(&folder)
            .status();
        assert!(written.unwrap().success());
        // On a busy machine the script may start late.
        let mut limit = Duration::from_secs(2);
        let pid = loop {
            let answer = read_ostype(&agent, limit);
            assert_eq!(answer, Err(Stage::Fork.fault(libc::ETIMEDOUT)));
            match std::fs::read_to_string(folder.join("pid")) {
                Ok(pid) if pid.ends_with('\n') => break pid,
                _ => limit *= 2,
            }
        };
        assert!(!Path::new(&format!("/proc/{}", pid.trim())).exists());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
