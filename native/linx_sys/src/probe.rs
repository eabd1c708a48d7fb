//! Whether the calls that a session is best off with are there: each is made in a way that does nothing.

use std::io;

use crate::fault::{Errno, Stage};
use crate::image::executable_memory;
use crate::pidfd::own_number;

/// The errno of memfd_create(2) for a program, of clone3(2) and of close_range(2); 0 for one that is there.
pub fn calls() -> (i32, i32, i32) {
    let memory = executable_memory().err().map_or(0, |errno| errno.raw());
    (memory, clone3(), close_range())
}

/// The caller's number in the `/proc` in view; 0 where that does not show it.
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

/// 0 where the last call was refused for its arguments: it exists.
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
