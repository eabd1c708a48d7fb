//! Probes of the optional system calls of a session: each is made with arguments that have no
//! effect.

use std::io;

use crate::fault::{Errno, Stage};
use crate::image::executable_memory;
use crate::pidfd::own_number;

/// The errnos of memfd_create(2) of an executable, clone3(2) and close_range(2); 0 for a call that
/// exists.
pub fn calls() -> (i32, i32, i32) {
    let memory = executable_memory().err().map_or(0, |errno| errno.raw());
    (memory, clone3(), close_range())
}

/// The caller's pid in the current `/proc`; 0 if that does not show the caller.
pub fn number() -> u32 {
    own_number(Stage::Read).unwrap_or(0)
}

#[expect(unsafe_code, reason = "clone3(2) has no wrapper")]
fn clone3() -> i32 {
    // SAFETY: a struct of size 0 is refused with EINVAL before anything is read or made.
    unsafe { libc::syscall(libc::SYS_clone3, 0_usize, 0_usize) };
    there(libc::EINVAL)
}

#[expect(unsafe_code, reason = "close_range(2) has no wrapper")]
fn close_range() -> i32 {
    // SAFETY: a range that ends before it begins is refused with EINVAL before anything is closed.
    unsafe { libc::syscall(libc::SYS_close_range, 1_u32, 0_u32, 0_u32) };
    there(libc::EINVAL)
}

/// 0 if the last call failed with EINVAL, so that it exists.
fn there(expected: i32) -> i32 {
    match io::Error::last_os_error().raw() {
        errno if errno == expected => 0,
        errno => errno,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_kernel_has_is_there() {
        assert_eq!(calls(), (0, 0, 0));
        assert_ne!(number(), 0);
    }
}
