//! AF_NETLINK sockets: `netlink(7)`.
//!
//! A socket belongs for life to the network namespace that its thread was in when it was made, so
//! one for another namespace is opened by a thread that has joined it (`ns::run_in`) and is used
//! from anywhere.

pub mod numbered;

use std::mem::size_of;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno as OsError;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getsockname,
    recvfrom, send, socket_with,
};

use crate::fault::{Fault, Stage};
use crate::job;
use crate::ns::{self, Kind, Namespace, Target};

// The errnos by which callers distinguish the answers of a request.
pub use libc::{EBADF, EBADMSG, EMSGSIZE, ENOBUFS, ETIMEDOUT};

/// Enough for about 2 500 unread acknowledgements: each is charged 832 bytes and the kernel doubles
/// what is asked for.
const RECEIVE_BUFFER: usize = 1 << 20;

/// A bound netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    port: u32,
    namespace: u64,
    /// Up to this the send buffer is known to be large enough.
    room: AtomicUsize,
}

/// One datagram as `receive` found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Its whole length, which may be more than the buffer took.
    pub length: usize,
    /// Whether the kernel sent it. Any process may send to a port it knows.
    pub from_kernel: bool,
}

impl Socket {
    /// `socket(2)` and `bind(2)` in `target`'s network namespace, ours if none is given.
    ///
    /// To join it takes CAP_SYS_ADMIN in our own user namespace as well. Without that the owner of
    /// a child's user namespace has every right in there and no way in: then the agent joins both,
    /// and hands the socket out.
    pub fn open(protocol: u32, target: Option<&Target<'_>>, agent: &Path) -> Result<Self, Fault> {
        let refused = |fault: &Fault| fault.stage == Stage::Setns && fault.errno == libc::EPERM;
        match (open(protocol, target), target) {
            (Err(fault), Some(target)) if refused(&fault) => {
                Self::adopt(job::netlink_socket(agent, target, protocol)?.ok_or(fault)?)
            }
            (opened, _) => Self::adopt(opened?),
        }
    }

    fn adopt(fd: OwnedFd) -> Result<Self, Fault> {
        // Each is refused by some kernel that we serve: extended acknowledgements came with 4.12,
        // strict checking with 4.20. Without them errors have no text and filters are not applied,
        // and both are handled above.
        for option in [
            libc::NETLINK_EXT_ACK,
            libc::NETLINK_CAP_ACK,
            libc::NETLINK_GET_STRICT_CHK,
        ] {
            let _ = set_option(fd.as_fd(), option, 1);
        }
        set_receive_buffer(fd.as_fd(), RECEIVE_BUFFER)?;
        bind(&fd, &SocketAddrNetlink::new(0, 0)).map_err(Stage::Bind.errno())?;
        let port = getsockname(&fd)
            .and_then(SocketAddrNetlink::try_from)
            .map_err(Stage::Bind.errno())?
            .pid();
        let namespace = namespace_cookie(fd.as_fd());
        let room = AtomicUsize::new(0);
        Ok(Self {
            fd,
            port,
            namespace,
            room,
        })
    }

    /// SO_NETNS_COOKIE of the socket's network namespace; 0 before Linux 5.14.
    pub fn namespace(&self) -> u64 {
        self.namespace
    }

    /// The socket's network namespace. It takes CAP_NET_ADMIN over the namespace.
    pub fn network(&self) -> Result<Namespace, Fault> {
        Namespace::from_file(namespace_file(self.fd())?)
    }

    /// The address by which the kernel answers: `nlmsg_pid` of a reply to us.
    pub fn port(&self) -> u32 {
        self.port
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The receive buffer in the kernel's own count, twice what was asked for.
    pub fn receive_buffer(&self) -> Result<usize, Fault> {
        sockopt::socket_recv_buffer_size(&self.fd).map_err(Stage::Sockopt.errno())
    }

    /// `SO_RCVBUFFORCE`, or `SO_RCVBUF` (which stops at net.core.rmem_max) for one who may not.
    pub fn set_receive_buffer(&self, bytes: usize) -> Result<(), Fault> {
        set_receive_buffer(self.fd(), bytes)
    }

    pub fn join(&self, group: u32) -> Result<(), Fault> {
        set_option(self.fd(), libc::NETLINK_ADD_MEMBERSHIP, group)
    }

    pub fn leave(&self, group: u32) -> Result<(), Fault> {
        set_option(self.fd(), libc::NETLINK_DROP_MEMBERSHIP, group)
    }

    /// `send(2)`: for every family that answers at once, the kernel does the work before this
    /// returns.
    pub fn send(&self, bytes: &[u8]) -> Result<(), Fault> {
        self.make_room(bytes.len());
        loop {
            match send(&self.fd, bytes, SendFlags::NOSIGNAL) {
                Err(OsError::INTR) => {}
                Err(error) => return Err(Stage::Send.errno()(error)),
                Ok(_) => return Ok(()),
            }
        }
    }

    // A message longer than sk_sndbuf less 32 is EMSGSIZE (netlink_sendmsg); where growing is
    // refused, so is sending.
    fn make_room(&self, bytes: usize) {
        let wanted = bytes + 4096;
        if wanted <= self.room.load(Relaxed) {
            return;
        }
        match sockopt::socket_send_buffer_size(&self.fd) {
            Ok(size) if size >= wanted => self.room.store(size, Relaxed),
            _ => {
                let _ = sockopt::set_socket_send_buffer_size_force(&self.fd, wanted)
                    .or_else(|_| sockopt::set_socket_send_buffer_size(&self.fd, wanted));
            }
        }
    }

    /// `recvfrom(2)` of one datagram that is there already, at most `most` bytes of it, to the end
    /// of `buffer`; None if none is.
    pub fn receive(&self, buffer: &mut Vec<u8>, most: usize) -> Result<Option<Datagram>, Fault> {
        buffer.reserve(most);
        loop {
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            let spare = rustix::buffer::spare_capacity(buffer);
            match recvfrom(&self.fd, spare, flags) {
                Err(OsError::INTR) => {}
                Err(OsError::AGAIN) => return Ok(None),
                Err(error) => return Err(Stage::Recv.errno()(error)),
                Ok((_, length, sender)) => {
                    let port = sender.map(SocketAddrNetlink::try_from);
                    return Ok(Some(Datagram {
                        length,
                        from_kernel: matches!(port, Some(Ok(address)) if address.pid() == 0),
                    }));
                }
            }
        }
    }

    /// `poll(2)` for something to receive; false when nothing came in time.
    pub fn wait(&self, time: Duration) -> Result<bool, Fault> {
        let timeout = Timespec {
            tv_sec: time.as_secs() as i64,
            tv_nsec: i64::from(time.subsec_nanos()),
        };
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(OsError::INTR) => Ok(false),
            Err(error) => Err(Stage::Recv.errno()(error)),
        }
    }
}

/// `socket(2)` in `target`'s network namespace, without options and unbound.
pub fn open(protocol: u32, target: Option<&Target<'_>>) -> Result<OwnedFd, Fault> {
    match target {
        None => create(protocol),
        Some(target) => {
            let namespace = target.open(Kind::Net, Stage::Open)?;
            ns::run_in(&[namespace], || create(protocol))
        }
    }
}

pub(crate) fn create(protocol: u32) -> Result<OwnedFd, Fault> {
    socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        NonZeroU32::new(protocol).map(Protocol::from_raw),
    )
    .map_err(Stage::Socket.errno())
}

fn set_receive_buffer(fd: BorrowedFd<'_>, bytes: usize) -> Result<(), Fault> {
    sockopt::set_socket_recv_buffer_size_force(fd, bytes)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(fd, bytes))
        .map_err(Stage::Sockopt.errno())
}

#[expect(
    unsafe_code,
    reason = "neither rustix nor nix sets options of SOL_NETLINK"
)]
fn set_option(fd: BorrowedFd<'_>, option: i32, value: u32) -> Result<(), Fault> {
    // SAFETY: the kernel reads size_of::<u32>() bytes at the address of `value`, which lives until
    // the call returns.
    let status = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const value).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    match status {
        0 => Ok(()),
        _ => Err(Stage::Sockopt.errno()(std::io::Error::last_os_error())),
    }
}

/// linux/sockios.h
const SIOCGSKNS: libc::Ioctl = 0x894c;

#[expect(unsafe_code, reason = "ioctl(2) is variadic; no wrapper for SIOCGSKNS")]
fn namespace_file(fd: BorrowedFd<'_>) -> Result<OwnedFd, Fault> {
    // SAFETY: SIOCGSKNS takes no argument; the kernel touches no memory of ours.
    let file = unsafe { libc::ioctl(fd.as_raw_fd(), SIOCGSKNS) };
    if file < 0 {
        return Err(Stage::OpenNs.errno()(std::io::Error::last_os_error()));
    }
    // SAFETY: the descriptor is new (the kernel sets FD_CLOEXEC), and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}

#[expect(unsafe_code, reason = "neither rustix nor nix knows SO_NETNS_COOKIE")]
fn namespace_cookie(fd: BorrowedFd<'_>) -> u64 {
    let mut cookie = 0_u64;
    let mut size = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to the address of `cookie`, and the size that
    // it wrote to that of `size`; both live until the call returns.
    let status = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    if status == 0 { cookie } else { 0 }
}
