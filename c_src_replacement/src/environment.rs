//! The workload's environment: the list of the request, or the environment that the agent inherited
//! from the VM.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use crate::request::Options;

/// The variable with the cluster's cookie, which would let the workload join the cluster.
const SECRET: &[u8] = b"RELEASE_COOKIE=";

/// A null terminated array for exec. The inherited strings are not copied.
pub fn pointers(list: Option<&[CString]>) -> Vec<*const c_char> {
    let mut pointers = match list {
        Some(list) => list.iter().map(|entry| entry.as_ptr()).collect(),
        None => inherited(),
    };
    pointers.push(ptr::null());
    pointers
}

/// The workload's array, with the variables of sd_listen_fds(3). Called in the process that
/// executes the workload, whose pid is in the array, before its resource limits are set.
pub fn of_workload(options: &Options) -> Vec<*const c_char> {
    let mut pointers = pointers(options.env.as_deref());
    if let Some((count, names)) = &options.listen {
        pointers.pop();
        // The VM may have listen variables of its own.
        pointers.retain(|&entry| !is_of_listeners(entry));
        let pid = rustix::process::getpid().as_raw_nonzero();
        for (name, value) in [
            ("LISTEN_PID", pid.to_string()),
            ("LISTEN_FDS", count.to_string()),
        ] {
            pointers.push(leak(format!("{name}={value}").into_bytes()));
        }
        pointers.push(leak([b"LISTEN_FDNAMES=", names.to_bytes()].concat()));
        pointers.push(ptr::null());
    }
    pointers
}

/// Leaks the string; the exec frees it.
fn leak(entry: Vec<u8>) -> *const c_char {
    CString::new(entry).unwrap_or_default().into_raw()
}

fn is_of_listeners(entry: *const c_char) -> bool {
    const NAMES: [&[u8]; 3] = [b"LISTEN_PID=", b"LISTEN_FDS=", b"LISTEN_FDNAMES="];
    let entry = text(entry.cast_mut()).to_bytes();
    NAMES.iter().any(|name| entry.starts_with(name))
}

/// The part of the environment to overwrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forget {
    Secret,
    /// Every variable: the request has a list for the workload.
    All,
}

/// Overwrites variables that the workload must not read, in the memory where the kernel put them.
/// `/proc/<pid>/environ`, a debugger or a core file would show them in the agent, in the child
/// until its exec, and in a reaper.
pub fn forget(what: Forget) {
    for entry in entries() {
        let length = text(entry).count_bytes();
        if what == Forget::All || text(entry).to_bytes().starts_with(SECRET) {
            overwrite(entry, length);
        }
    }
}

/// The VM's variables; an overwritten one is empty.
fn inherited() -> Vec<*const c_char> {
    entries()
        .filter(|&entry| !text(entry).is_empty())
        .map(<*mut c_char>::cast_const)
        .collect()
}

#[expect(unsafe_code, reason = "environ(7) is a variable of the C library")]
unsafe extern "C" {
    static environ: *const *mut c_char;
}

#[expect(unsafe_code, reason = "environ(7) is a variable of the C library")]
fn start() -> *const *mut c_char {
    // SAFETY: the C library sets it before main, and the agent never changes the array.
    unsafe { environ }
}

fn entries() -> impl Iterator<Item = *mut c_char> {
    let mut at = start();
    std::iter::from_fn(move || {
        let entry = entry(at)?;
        at = at.wrapping_add(1);
        Some(entry)
    })
}

#[expect(unsafe_code, reason = "environ(7) is an array of C strings")]
fn entry(at: *const *mut c_char) -> Option<*mut c_char> {
    if at.is_null() {
        return None;
    }
    // SAFETY: the walk starts at the array and ends at its null, so `at` is within it.
    let string = unsafe { *at };
    (!string.is_null()).then_some(string)
}

#[expect(unsafe_code, reason = "environ(7) is an array of C strings")]
fn text<'a>(entry: *mut c_char) -> &'a CStr {
    // SAFETY: the kernel put a NUL terminated string there, which stays until the exec. No caller
    // keeps the reference over a call of `overwrite`.
    unsafe { CStr::from_ptr(entry) }
}

#[expect(
    unsafe_code,
    reason = "the kernel put the environment into memory of ours"
)]
fn overwrite(entry: *mut c_char, length: usize) {
    // SAFETY: `length` bytes before the NUL of a string on the program's own stack, which it may
    // write to; the program has one thread and nothing refers to the string now.
    unsafe { entry.write_bytes(0, length) };
}
