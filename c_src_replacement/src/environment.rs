//! The workload's environment: a list of its own, or the VM's as this program got it.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

/// Would let the workload join the cluster.
const SECRET: &[u8] = b"RELEASE_COOKIE=";

/// A null terminated array for exec. The VM's entries are not copied: they lie where the kernel put them.
pub fn pointers(list: Option<&[CString]>) -> Vec<*const c_char> {
    let mut pointers = match list {
        Some(list) => list.iter().map(|entry| entry.as_ptr()).collect(),
        None => inherited(),
    };
    pointers.push(ptr::null());
    pointers
}

fn inherited() -> Vec<*const c_char> {
    let mut entries = Vec::new();
    let mut at = start();
    while let Some(entry) = entry(at) {
        if !entry.to_bytes().starts_with(SECRET) {
            entries.push(entry.as_ptr());
        }
        at = at.wrapping_add(1);
    }
    entries
}

#[expect(unsafe_code, reason = "environ(7) is a variable of the C library")]
unsafe extern "C" {
    static environ: *const *const c_char;
}

#[expect(unsafe_code, reason = "environ(7) is a variable of the C library")]
fn start() -> *const *const c_char {
    // SAFETY: the C library set it before main, and nothing in this program changes the environment.
    unsafe { environ }
}

#[expect(unsafe_code, reason = "environ(7) is an array of C strings")]
fn entry(at: *const *const c_char) -> Option<&'static CStr> {
    if at.is_null() {
        return None;
    }
    // SAFETY: the walk starts at the array and ends at its null, so `at` is within it.
    let string = unsafe { *at };
    if string.is_null() {
        return None;
    }
    // SAFETY: the kernel put a NUL terminated string there, which stays until the exec.
    Some(unsafe { CStr::from_ptr(string) })
}
