//! The agent's side: receives one job, does it, answers.

use std::os::fd::OwnedFd;

use rustix::io::retry_on_intr;
use rustix::process::{
    DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal,
};

use super::channel::{answer, hand_over, receive_job};
use super::here::{is_for_a_process, run_here};
use super::request::{Job, Outcome};
use crate::fault::{Fault, Stage};
use crate::netlink;
use crate::ns::{Kind, Namespace};

/// Receives one job from `socket`, does it and answers. Only for a process with one thread.
pub fn serve(socket: OwnedFd) -> Result<(), Fault> {
    // Not dumpable, so that it is no way back to the VM's files: its /proc/<pid>/exe could
    // otherwise be opened for writing from the namespaces that it joins (CVE-2019-5736).
    if let Err(fault) = hide() {
        return refuse(socket, fault);
    }
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

/// Receives one job and answers with a fault. If the agent ended with the job unread, the VM's send
/// would be EPIPE and its read ECONNRESET.
pub fn refuse(socket: OwnedFd, fault: Fault) -> Result<(), Fault> {
    // A job that does not arrive gets the same answer.
    let _job = receive_job(&socket);
    answer(socket, &Err(fault))
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
            None,
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

fn hide() -> Result<(), Fault> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Stage::Fork.errno())
}

/// Joins the user namespace first, which gives the privilege to join the others. Joining it sets
/// the dumpable flag to `fs.suid_dumpable` (commit_creds), so the flag is cleared again.
fn join_owner(namespaces: &[Namespace]) -> Result<(), Fault> {
    for kind in [Kind::User, Kind::Time] {
        for namespace in namespaces {
            if namespace.kind() == kind {
                namespace.join()?;
            }
        }
    }
    hide()
}

/// A pid namespace is entered by the children of the process that joins it.
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
                None,
            )
        })),
        Ok(Some(child)) => {
            // The child holds the last descriptor of its end, so that its death without an answer
            // is an end of file.
            let _ = socket;
            wait_for(child);
            Served::InChild
        }
    }
}

#[expect(unsafe_code, reason = "fork(2)")]
fn fork() -> Result<Option<rustix::process::Pid>, Fault> {
    // SAFETY: the agent has one thread when it serves a job, so the child inherits no locked lock.
    match unsafe { libc::fork() } {
        -1 => Err(Stage::Fork.errno()(std::io::Error::last_os_error())),
        pid => Ok(rustix::process::Pid::from_raw(pid)),
    }
}

/// A stopped child must die with the process that waits for it.
fn end_with_parent() -> Result<(), Fault> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Stage::Fork.errno())
}

fn wait_for(child: rustix::process::Pid) {
    let options = rustix::process::WaitOptions::empty();
    // The child sends the answer itself.
    let _status = retry_on_intr(|| rustix::process::waitpid(Some(child), options));
}
