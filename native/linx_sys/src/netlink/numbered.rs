//! Sockets that are given away as numbers, as `Linx.Netlink.Socket.Native` documents them.
//!
//! A number from outside is no descriptor: it is a key of the table of the sockets that were given
//! away, and it counts as long as the descriptor of that number is still the socket of that inode.
//! A number whose socket was closed by somebody else, and which names another file by now, is left
//! alone.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::fstat;
use rustix::net::bind as bind_socket;
use rustix::net::netlink::SocketAddrNetlink;

use super::EBADF;
use crate::fault::{Fault, Stage};
use crate::ns::Target;

/// Device and inode: of sockets, no two that are open have the same.
type Identity = (u64, u64);

static GIVEN: Mutex<BTreeMap<i32, Identity>> = Mutex::new(BTreeMap::new());

fn given() -> MutexGuard<'static, BTreeMap<i32, Identity>> {
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `socket(2)` in `target`'s network namespace, without options and unbound. The descriptor is the
/// caller's.
pub fn open(protocol: u32, target: Option<&Target<'_>>) -> Result<i32, Fault> {
    let socket = super::open(protocol, target)?;
    let identity = identity(&socket).ok_or(Stage::Socket.fault(EBADF))?;
    // In this order: one who closes the number of an earlier socket now finds another inode, and
    // leaves it alone.
    let number = socket.into_raw_fd();
    given().insert(number, identity);
    Ok(number)
}

/// `bind(2)` with a port of the kernel's choice and the first 32 multicast groups as a bitmask;
/// EBADF for a number that names no socket of `open`.
pub fn bind(number: i32, groups: u32) -> Result<(), Fault> {
    // A duplicate, because the kernel may load a module for a group, and nobody is to wait for the
    // table meanwhile.
    let socket = borrow(&given(), number)
        .ok_or(Stage::Bind.fault(EBADF))?
        .try_clone_to_owned()
        .map_err(Stage::Bind.errno())?;
    bind_socket(&socket, &SocketAddrNetlink::new(0, groups)).map_err(Stage::Bind.errno())
}

/// Takes a socket of `open` back, for the caller to drop; None for a number that names none.
#[expect(
    unsafe_code,
    reason = "the documented interface hands descriptors out as numbers"
)]
pub fn take(number: i32) -> Option<OwnedFd> {
    let mut given = given();
    let there = borrow(&given, number).is_some();
    given.remove(&number)?;
    // SAFETY: `open` gave this descriptor away by its number, the socket is still there, and as it
    // leaves the table here it is taken once.
    there.then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

#[expect(
    unsafe_code,
    reason = "the documented interface hands descriptors out as numbers"
)]
fn borrow<'a>(given: &'a BTreeMap<i32, Identity>, number: i32) -> Option<BorrowedFd<'a>> {
    let known = given.get(&number)?;
    // SAFETY: the numbers in the table are not -1. One whose socket was closed meanwhile gives
    // EBADF in fstat(2), or the identity of another file, and is used for nothing else.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    (identity(socket)? == *known).then_some(socket)
}

fn identity(socket: impl AsFd) -> Option<Identity> {
    fstat(socket).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use rustix::net::getsockname;

    use super::*;

    #[test]
    fn a_number_is_bound_and_taken_once() {
        let number = open(0, None).unwrap();
        assert_eq!(bind(number, 0), Ok(()));
        assert_eq!(bind(number, 0), Err(Stage::Bind.fault(libc::EINVAL)));
        let socket = take(number).unwrap();
        assert_eq!(socket.as_raw_fd(), number);
        assert!(take(number).is_none());
        assert_eq!(bind(number, 0), Err(Stage::Bind.fault(EBADF)));
    }

    #[test]
    fn a_netlink_socket_that_was_not_given_away_is_left_alone() {
        let ours = super::super::open(0, None).unwrap();
        assert_eq!(bind(ours.as_raw_fd(), 0), Err(Stage::Bind.fault(EBADF)));
        assert!(take(ours.as_raw_fd()).is_none());
        assert!(getsockname(&ours).is_ok());
    }

    #[test]
    fn a_number_that_names_another_socket_by_now_is_left_alone() {
        let number = open(0, None).unwrap();
        let identity = given()[&number];
        // Whoever adopts the number closes it and says nothing; a socket of somebody else's takes
        // its place.
        drop(take(number));
        let other = super::super::open(0, None).unwrap();
        given().insert(other.as_raw_fd(), identity);
        assert_eq!(bind(other.as_raw_fd(), 0), Err(Stage::Bind.fault(EBADF)));
        assert!(take(other.as_raw_fd()).is_none());
        assert!(getsockname(&other).is_ok());
    }
}
