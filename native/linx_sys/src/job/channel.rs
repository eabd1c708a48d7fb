//! The socket between the VM and the agent: jobs and answers, and the descriptors that go with
//! them.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::request::{Job, Outcome, decode_job, encode_answer, encode_job};
use crate::fault::{Errno, Fault, Stage};
use crate::job_message::Writer;
use crate::ns::{Kind, Namespace};

/// The most descriptors of one job: one of each namespace type, and the mapping.
const MAX_NAMESPACES: usize = Kind::ALL.len();

pub(super) fn send_job(
    socket: BorrowedFd<'_>,
    namespaces: &[&Namespace],
    job: &Job,
) -> Result<(), Fault> {
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
    // The agent may be dead already: EPIPE instead of SIGPIPE.
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

pub(super) fn receive_job(socket: &OwnedFd) -> Result<(Vec<Namespace>, Job), Fault> {
    let broken = Stage::Pipe.fault(libc::EPROTO);
    let mut head = [0_u8; 4];
    let Received {
        count,
        files,
        is_cut,
    } = receive(socket.as_fd(), &mut head).map_err(Stage::Pipe.errno())?;
    // Read to its end before any error: an answer beside unread bytes is ECONNRESET.
    let mut stream = Stream(socket.as_fd());
    let rest = head.get_mut(count..).ok_or(broken)?;
    stream.read_exact(rest).map_err(Stage::Pipe.errno())?;
    let length = u32::from_le_bytes(head) as usize;
    let mut payload = Vec::new();
    stream
        .take(length as u64)
        .read_to_end(&mut payload)
        .map_err(Stage::Pipe.errno())?;
    let job = decode_job(&payload).ok_or(broken)?;
    // Without one of its namespaces the job would be done in the VM's.
    if is_cut {
        return Err(Stage::Pipe.fault(libc::EMFILE));
    }
    let namespaces = files
        .into_iter()
        .map(Namespace::from_file)
        .collect::<Result<_, _>>()?;
    Ok((namespaces, job))
}

/// A borrowed socket: a duplicate could exceed the limit of descriptors.
struct Stream<'a>(BorrowedFd<'a>);

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        Ok(retry_on_intr(|| rustix::io::read(self.0, &mut *buffer))?)
    }
}

/// A part of a message.
#[derive(Debug)]
pub(super) struct Received {
    pub count: usize,
    pub files: Vec<OwnedFd>,
    /// The kernel dropped descriptors (MSG_CTRUNC): this process has no number for them
    /// (RLIMIT_NOFILE), or a security module refused them.
    pub is_cut: bool,
}

/// Receives the available bytes and their descriptors.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> Result<Received, rustix::io::Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_NAMESPACES + 1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        let mut parts = [IoSliceMut::new(bytes)];
        recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            files.extend(rights);
        }
    }
    Ok(Received {
        count: received.bytes,
        files,
        is_cut: received.flags.contains(ReturnFlags::CTRUNC),
    })
}

/// Answers with a descriptor.
pub(super) fn hand_over(socket: &OwnedFd, file: &OwnedFd) -> Result<(), Fault> {
    let message = encode_answer(&Ok(Outcome::Done));
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(Stage::Pipe.fault(libc::E2BIG));
    }
    // The answer is a few bytes, which the socket takes at once.
    retry_on_intr(|| {
        let parts = [IoSlice::new(&message)];
        sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)
    })
    .map(|_| ())
    .map_err(Stage::Pipe.errno())
}

/// Writes the outcome of a job, also of one that could not be read.
pub(super) fn answer(socket: OwnedFd, outcome: &Result<Outcome, Fault>) -> Result<(), Fault> {
    UnixStream::from(socket)
        .write_all(&encode_answer(outcome))
        .map_err(|error| Stage::Pipe.fault(Errno::raw(&error)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    /// More descriptors than the buffer of `receive` holds: the kernel drops the rest.
    #[test]
    fn a_job_without_all_of_its_namespaces_is_refused() {
        const COUNT: usize = 2 * MAX_NAMESPACES;
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let namespace = Namespace::of_any_kind(Path::new("/proc/self/ns/net")).unwrap();
        let mut message = Writer::default();
        message.bytes(&encode_job(&Job::SysctlRead(vec![c"kernel/ostype".into()])));
        let message = message.into_bytes();
        for (count, expected) in [(1, Ok(1)), (COUNT, Err(Stage::Pipe.fault(libc::EMFILE)))] {
            let files = vec![namespace.file(); count];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(COUNT))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
            let parts = [IoSlice::new(&message)];
            sendmsg(&ours, &parts, &mut control, SendFlags::NOSIGNAL).unwrap();
            let received = receive_job(&theirs).map(|(namespaces, _)| namespaces.len());
            assert_eq!(received, expected);
        }
    }
}
