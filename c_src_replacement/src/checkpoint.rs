//! The channel between the agent and the parked child: one packet socket, whose end of file at the
//! agent means the exec.
//!
//! The agent sends records of a fixed size, which it has validated; a filter's instructions follow
//! their record in a packet of their own. The child sends one byte when it is parked; a reaper
//! sends the workload's pidfd.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg,
    socketpair,
};

use crate::poll::poll;

/// A record from the agent to the parked child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    DropBounding(u64),
    ThreadSets([u64; 3]),
    Ambient(u64),
    /// The number of bytes of instructions that follow.
    Filter(u64),
    /// The number of descriptors that follow.
    Descriptors(u64),
    /// The record that ends the checkpoint; its packet carries descriptors 0 to 2. `controlling`:
    /// descriptor 0 becomes the controlling terminal.
    Proceed {
        controlling: bool,
    },
}

const SIZE: usize = 32;

impl Record {
    fn to_bytes(self) -> [u8; SIZE] {
        let (kind, [a, b, c]) = match self {
            Record::DropBounding(mask) => (1u64, [mask, 0, 0]),
            Record::ThreadSets(sets) => (2, sets),
            Record::Ambient(mask) => (3, [mask, 0, 0]),
            Record::Filter(length) => (4, [length, 0, 0]),
            Record::Descriptors(count) => (6, [count, 0, 0]),
            Record::Proceed { controlling } => (5, [u64::from(controlling), 0, 0]),
        };
        let mut bytes = [0; SIZE];
        for (slot, word) in bytes.chunks_exact_mut(8).zip([kind, a, b, c]) {
            slot.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; SIZE]) -> Option<Record> {
        let mut words = [0; 4];
        for (word, slot) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(slot.try_into().ok()?);
        }
        let [kind, a, b, c] = words;
        Some(match kind {
            1 => Record::DropBounding(a),
            2 => Record::ThreadSets([a, b, c]),
            3 => Record::Ambient(a),
            4 => Record::Filter(a),
            5 => Record::Proceed {
                controlling: a != 0,
            },
            6 => Record::Descriptors(a),
            _ => return None,
        })
    }
}

/// The agent's end and the child's.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// The time within which a full socket must become writable.
const SEND_TIMEOUT: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// Sends; if the socket is full, waits once for room, because many filters arrive faster than the
/// child is scheduled. A child that does not read within that time is stopped: that is an error.
fn send_when_writable(
    socket: BorrowedFd<'_>,
    mut send: impl FnMut() -> Result<(), Errno>,
) -> Result<(), Errno> {
    match send() {
        Err(Errno::AGAIN) => {
            let mut room = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
            poll(&mut room, Some(&SEND_TIMEOUT))?;
            send()
        }
        answer => answer,
    }
}

/// Sends one record with its descriptors.
pub fn send_record(
    socket: BorrowedFd<'_>,
    record: Record,
    stdio: Option<[BorrowedFd<'_>; 3]>,
) -> Result<(), Errno> {
    let bytes = record.to_bytes();
    send_when_writable(socket, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if let Some(stdio) = &stdio {
            ancillary.push(SendAncillaryMessage::ScmRights(stdio));
        }
        sendmsg(
            socket,
            &[IoSlice::new(&bytes)],
            &mut ancillary,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        )
        .map(drop)
    })
}

pub fn send_bytes(socket: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    send_when_writable(socket, || {
        send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(drop)
    })
}

/// Agent: each packet from now on carries the pid of its sender, in the agent's pid namespace.
pub fn pass_credentials(socket: &OwnedFd) -> Result<(), Errno> {
    set_socket_passcred(socket, true)
}

/// A message from the child to the agent.
#[derive(Debug)]
pub enum ChildMessage {
    /// The process with this pid is parked.
    Parked(Option<i32>),
    /// The pidfd of the workload, from a reaper.
    Workload(OwnedFd),
    /// The master of a terminal of the target's devpts.
    Pty(OwnedFd),
    /// A packet that no child sends: another process writes to the socket.
    Unknown,
    Nothing,
    /// The child's end is closed: the child has executed the workload or is dead.
    Closed,
}

const PARKED: u8 = 1;
const WORKLOAD: u8 = 2;
const PTY: u8 = 3;

/// The next message, without blocking.
pub fn recv_child_message(socket: BorrowedFd<'_>) -> ChildMessage {
    let mut byte = [0; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let parts = &mut [IoSliceMut::new(&mut byte)];
    let bytes = match recvmsg(socket, parts, &mut ancillary, flags) {
        Ok(message) => message.bytes,
        Err(Errno::AGAIN | Errno::INTR) => return ChildMessage::Nothing,
        Err(_) => return ChildMessage::Closed,
    };
    let (mut sender, mut descriptor) = (None, None);
    for message in ancillary.drain() {
        match message {
            RecvAncillaryMessage::ScmCredentials(credentials) => {
                sender = Some(credentials.pid.as_raw_nonzero().get());
            }
            RecvAncillaryMessage::ScmRights(mut fds) => descriptor = fds.next(),
            _ => {}
        }
    }
    match (bytes, byte, descriptor) {
        (1, [PARKED], _) => ChildMessage::Parked(sender),
        (1, [WORKLOAD], Some(pidfd)) => ChildMessage::Workload(pidfd),
        (1, [PTY], Some(master)) => ChildMessage::Pty(master),
        (0, ..) => ChildMessage::Closed,
        _ => ChildMessage::Unknown,
    }
}

/// Child: sends that it is parked.
pub fn send_parked(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    send(socket, &[PARKED], SendFlags::NOSIGNAL).map(drop)
}

/// Reaper: sends the workload's pidfd.
pub fn send_workload(socket: BorrowedFd<'_>, pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    send_descriptor(socket, WORKLOAD, pidfd)
}

/// Child: sends the master of a terminal.
pub fn send_pty(socket: &OwnedFd, master: &OwnedFd) -> Result<(), Errno> {
    send_descriptor(socket.as_fd(), PTY, master.as_fd())
}

fn send_descriptor(
    socket: BorrowedFd<'_>,
    message: u8,
    descriptor: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let bytes = [message];
    let parts = &[IoSlice::new(&bytes)];
    sendmsg(socket, parts, &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

/// Child: the next record with its descriptors; None once the agent is gone.
pub fn recv_record(socket: BorrowedFd<'_>) -> Option<(Record, [Option<OwnedFd>; 3])> {
    let mut bytes = [0; SIZE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let parts = &mut [IoSliceMut::new(&mut bytes)];
        match recvmsg(socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other,
        }
    };
    match received {
        Ok(message) if message.bytes == SIZE => {}
        _ => return None,
    }
    let mut stdio = [None, None, None];
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            for (slot, fd) in stdio.iter_mut().zip(fds) {
                *slot = Some(fd);
            }
        }
    }
    Record::from_bytes(&bytes).map(|record| (record, stdio))
}

/// Child: fills `buffer` from the packet that follows a record.
pub fn recv_bytes(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> bool {
    let wanted = buffer.len();
    loop {
        match recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((_, count)) => return count == wanted,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Child: whether the agent has closed its end, which happens only when the agent ends.
pub fn is_abandoned(socket: &impl AsFd) -> bool {
    let mut byte = [0; 1];
    matches!(
        recv(socket, &mut byte[..], RecvFlags::DONTWAIT | RecvFlags::PEEK),
        Ok((_, 0))
    )
}
