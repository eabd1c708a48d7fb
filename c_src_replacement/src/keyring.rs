//! The session keyring (session-keyring(7)), which clone and exec inherit.
//!
//! The possessor of a keyring may read its keys whatever their owner, so root of a user namespace
//! would read the VM's.

use rustix::io::Errno;

use crate::clone::last_errno;

/// linux/keyctl.h.
const KEYCTL_GET_KEYRING_ID: libc::c_long = 0;
const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
const KEY_SPEC_SESSION_KEYRING: libc::c_long = -3;

/// Gives this process a new empty session keyring. Also returns Ok if this process and its
/// descendants cannot call keyctl(2) at all: a kernel without keyrings, or an inherited filter.
pub fn leave_session() -> Result<(), Errno> {
    match keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0) {
        Err(Errno::NOSYS) => Ok(()),
        Err(Errno::PERM) if keyctl_is_filtered() => Ok(()),
        other => other,
    }
}

/// KEYCTL_GET_KEYRING_ID of the own keyring needs no permission, so EPERM is a filter's.
fn keyctl_is_filtered() -> bool {
    keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING) == Err(Errno::PERM)
}

#[expect(unsafe_code, reason = "no crate wraps keyctl(2)")]
fn keyctl(operation: libc::c_long, argument: libc::c_long) -> Result<(), Errno> {
    // SAFETY: of these two operations one takes a null name and the other an id; neither touches
    // memory of ours.
    match unsafe { libc::syscall(libc::SYS_keyctl, operation, argument, 0) } {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}
