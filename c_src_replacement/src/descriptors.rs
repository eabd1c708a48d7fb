//! Descriptors of the VM for the workload: their way to the agent, and to their numbers in the
//! child.
//!
//! The agent may not take the descriptors out of the VM: `pidfd_getfd(2)` needs the right to
//! ptrace, which yama and container profiles refuse. So the VM sends them: the agent listens on an
//! abstract socket with the random name of the request, the VM connects, and each side reads the
//! other's credentials (SO_PEERCRED). Any process of this network namespace may connect; the agent
//! closes a connection that is not the VM's.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    accept_with, bind, listen, recvmsg, sendmsg, socket_with,
};
use rustix::process::geteuid;

use crate::clone::last_errno;
use crate::frame::{FrameReader, FrameWriter, Input};
use crate::poll::poll;
use crate::report;
use crate::stage::{Fault, Stage};

/// The most descriptors of one message; the kernel's limit is 253 (SCM_MAX_FD).
pub const MAX: usize = 128;

/// The descriptors that a request asks for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The abstract name to listen on.
    pub name: Vec<u8>,
    /// The process that may connect.
    pub vm: i32,
    /// Their numbers in the workload, in the order in which the VM sends them.
    pub numbers: Vec<i32>,
}

/// The reason why no descriptors came: a fault, or None when the VM has hung up.
type Refusal = Option<Fault>;

fn refusal(errno: Errno) -> Refusal {
    Some(Stage::Fds.errno()(errno))
}

/// Requests the descriptors from the VM and waits for them.
pub fn receive(
    wanted: &Wanted,
    reader: &mut FrameReader,
    writer: &mut FrameWriter,
) -> Result<Vec<OwnedFd>, Refusal> {
    if wanted.numbers.is_empty() {
        return Ok(Vec::new());
    }
    let listener = listener(&wanted.name).map_err(refusal)?;
    report::wants_descriptors(writer);
    loop {
        wait(listener.as_fd(), reader)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let peer = match accept_with(&listener, flags) {
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => continue,
            other => other.map_err(refusal)?,
        };
        if is_vm(&peer, wanted.vm).map_err(refusal)? {
            return take(&peer, wanted.numbers.len(), reader);
        }
    }
}

fn listener(name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrUnix::new_abstract_name(name)?)?;
    listen(&socket, 128)?;
    Ok(socket)
}

/// Whether the process that connected is the VM.
fn is_vm(peer: &OwnedFd, vm: i32) -> Result<bool, Errno> {
    let peer = socket_peercred(peer)?;
    Ok(peer.pid.as_raw_nonzero().get() == vm && peer.uid == geteuid())
}

/// Receives one message with all descriptors, and a second one without, which the VM sends after it
/// has verified the peer.
fn take(peer: &OwnedFd, count: usize, reader: &mut FrameReader) -> Result<Vec<OwnedFd>, Refusal> {
    let (bytes, taken) = message(peer, reader)?;
    if bytes == 0 || taken.len() != count {
        // The kernel drops descriptors for which this process has no free number.
        return Err(refusal(if bytes == 0 {
            Errno::BADF
        } else {
            Errno::MFILE
        }));
    }
    match message(peer, reader)? {
        (1, _) => Ok(taken),
        _ => Err(refusal(Errno::BADF)),
    }
}

fn message(peer: &OwnedFd, reader: &mut FrameReader) -> Result<(usize, Vec<OwnedFd>), Refusal> {
    loop {
        wait(peer.as_fd(), reader)?;
        match receive_rights(peer.as_fd(), RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => {}
            other => return other.map_err(refusal),
        }
    }
}

/// Returns when `fd` is readable. A hang-up of the VM takes precedence.
fn wait(fd: BorrowedFd<'_>, reader: &mut FrameReader) -> Result<(), Refusal> {
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(fd, PollFlags::IN),
            PollFd::new(&*reader, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            other => other.map_err(refusal)?,
        };
        let (ready, control) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if control && reader.fill() == Input::End {
            return Err(None);
        }
        if ready {
            return Ok(());
        }
    }
}

/// Receives one message of one byte: its length and its descriptors.
fn receive_rights(
    socket: BorrowedFd<'_>,
    flags: RecvFlags,
) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut byte = [0; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut byte)],
            &mut ancillary,
            flags,
        ) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut taken = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            taken.extend(fds);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        taken.clear();
    }
    Ok((received.bytes, taken))
}

/// Agent: sends the descriptors to the parked child.
pub fn send(socket: BorrowedFd<'_>, descriptors: &[OwnedFd]) -> Result<(), Errno> {
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(Errno::INVAL);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(socket, &[IoSlice::new(&[1])], &mut ancillary, flags).map(drop)
}

/// Child: receives the descriptors from the agent.
pub fn recv(socket: BorrowedFd<'_>, count: u64) -> Result<Vec<OwnedFd>, Fault> {
    let stage = Stage::Fds;
    let (_, taken) = receive_rights(socket, RecvFlags::empty()).map_err(stage.errno())?;
    if taken.len() as u64 == count {
        Ok(taken)
    } else {
        Err(stage.fault(libc::EMFILE))
    }
}

/// Child: duplicates the descriptor above all numbers of the workload.
pub fn above(fd: OwnedFd, numbers: &[i32]) -> Result<OwnedFd, Fault> {
    match numbers.iter().max() {
        None => Ok(fd),
        Some(&highest) => fcntl_dupfd_cloexec(&fd, highest + 1).map_err(Stage::Fds.errno()),
    }
}

/// Child: duplicates each descriptor to its number, still close-on-exec.
pub fn place(descriptors: Vec<OwnedFd>, numbers: &[i32]) -> Result<(), Fault> {
    let moved: Vec<_> = descriptors
        .into_iter()
        .map(|fd| above(fd, numbers))
        .collect::<Result<_, _>>()?;
    if moved.len() != numbers.len() {
        return Err(Stage::Fds.fault(libc::EBADF));
    }
    for (fd, &number) in moved.iter().zip(numbers) {
        duplicate(fd, number).map_err(Stage::Fds.errno())?;
    }
    Ok(())
}

/// Child: clears close-on-exec of these numbers.
pub fn keep(numbers: &[i32]) -> Result<(), Fault> {
    for &number in numbers {
        fcntl_setfd(borrow(number), FdFlags::empty()).map_err(Stage::Fds.errno())?;
    }
    Ok(())
}

#[expect(unsafe_code, reason = "dup3(2) onto a number that nothing here owns")]
fn duplicate(fd: &OwnedFd, number: i32) -> Result<(), Errno> {
    // SAFETY: dup3(2) closes the previous descriptor of that number, which the child never uses or
    // closes again, as its next steps are exec or the end. No memory is touched.
    match unsafe { libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) } {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}

#[expect(unsafe_code, reason = "a number that `duplicate` has filled")]
fn borrow(number: i32) -> BorrowedFd<'static> {
    // SAFETY: `place` put a descriptor there, which nothing closes before the exec.
    unsafe { BorrowedFd::borrow_raw(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_was_named_is_the_vm() {
        let flags = SocketFlags::CLOEXEC;
        let (ours, _theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        let own = rustix::process::getpid().as_raw_nonzero().get();
        assert_eq!(is_vm(&ours, own), Ok(true));
        assert_eq!(is_vm(&ours, own + 1), Ok(false));
    }
}
