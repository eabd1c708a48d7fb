//! The protection of the agent's executable: the agent leaves a file that other processes may write
//! to before any other step.
//!
//! The VM executes an image in sealed memory where it can (`Linx.Process.AgentImage`). If the VM
//! started the agent from the plain file, the agent makes such an image itself and executes it. The
//! path of the executable distinguishes the two without /proc.

use std::ffi::{CStr, OsStr, c_char};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use linx_sys::image::Image;
use rustix::fs::{Access, AtFlags, CWD, accessat, stat};
use rustix::process::geteuid;

use crate::request::Options;
use crate::stage::{Fault, Stage};

/// linux/auxvec.h.
const AT_EXECFN: libc::c_ulong = 31;

/// The errno because of which the executable is a plain file; 0 for a protected image.
static PLAIN: AtomicI32 = AtomicI32::new(0);

/// Whether this user may write to the plain file.
static OURS: AtomicBool = AtomicBool::new(false);

/// Returns in a protected image, or stores the errno because of which there is none.
///
/// Called first, with the arguments of `main`.
pub fn protect(arguments: *const *const c_char) {
    let Some(path) = executed_by() else {
        PLAIN.store(libc::ENOENT, Ordering::Relaxed);
        OURS.store(true, Ordering::Relaxed);
        return;
    };
    if !is_descriptor(path.to_bytes()) {
        leave_file(path, arguments);
    }
}

/// Out of line, so that `protect`'s frame has no buffers of the copy.
#[cold]
#[inline(never)]
fn leave_file(path: &CStr, arguments: *const *const c_char) {
    let file = Path::new(OsStr::from_bytes(path.to_bytes()));
    let errno = match Image::new(file) {
        Ok(image) => execute(&image, arguments),
        Err(fault) => fault.errno,
    };
    PLAIN.store(errno, Ordering::Relaxed);
    OURS.store(may_write(file), Ordering::Relaxed);
}

/// Refuses a session that shows a process of the agent to a workload that may write to the plain
/// file.
pub fn check(enters: bool, options: &Options) -> Result<(), Fault> {
    let Some(errno) = plain() else {
        return Ok(());
    };
    let fresh_user = options.namespaces & libc::CLONE_NEWUSER as u32 != 0;
    let stranger = !fresh_user && options.uid.is_some_and(|uid| uid != 0 && uid != owner());
    if enters || options.init && OURS.load(Ordering::Relaxed) && !stranger {
        return Err(Stage::Image.fault(errno));
    }
    Ok(())
}

/// The errno because of which the executable is a plain file; None for a protected image.
pub fn plain() -> Option<i32> {
    match PLAIN.load(Ordering::Relaxed) {
        0 => None,
        errno => Some(errno),
    }
}

fn owner() -> u32 {
    geteuid().as_raw()
}

fn may_write(file: &Path) -> bool {
    let writable = accessat(CWD, file, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    geteuid().is_root() || writable || stat(file).is_ok_and(|found| found.st_uid == owner())
}

/// Whether the path is `/proc/<pid>/fd/<n>`, which the VM has proven to be its image, or
/// `/dev/fd/<n>`, the kernel's name for a descriptor given to execveat(2).
fn is_descriptor(path: &[u8]) -> bool {
    let number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let mut parts = path.split(|byte| *byte == b'/');
    // A fixed array, since this runs before the first allocation.
    let mut parts = [(); 6].map(|()| parts.next());
    match &mut parts {
        [
            Some(b""),
            Some(b"proc"),
            Some(pid),
            Some(b"fd"),
            Some(fd),
            None,
        ] => number(pid) && number(fd),
        [Some(b""), Some(b"dev"), Some(b"fd"), Some(fd), None, None] => number(fd),
        _ => false,
    }
}

#[expect(unsafe_code, reason = "getauxval(3) gives an address")]
fn executed_by() -> Option<&'static CStr> {
    // SAFETY: reads a table that the kernel has put on the stack.
    let address = unsafe { libc::getauxval(AT_EXECFN) } as *const c_char;
    if address.is_null() {
        return None;
    }
    // SAFETY: AT_EXECFN is the address of a string on the stack, which lives as long as the
    // process.
    Some(unsafe { CStr::from_ptr(address) })
}

/// Executes `image`; returns the errno of a failure.
#[expect(unsafe_code, reason = "execveat(2) with the arguments of main")]
fn execute(image: &Image, arguments: *const *const c_char) -> i32 {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    let file: BorrowedFd<'_> = std::os::fd::AsFd::as_fd(image.file());
    // SAFETY: the arguments are main's and the environment the C library's, null terminated arrays
    // of strings that the call only reads; the path is empty.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            arguments,
            environ,
            libc::AT_EMPTY_PATH,
        )
    };
    crate::clone::last_errno().raw_os_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_descriptor_is_taken_for_an_image() {
        for path in ["/proc/1/fd/18", "/proc/123/fd/4", "/dev/fd/3"] {
            assert!(is_descriptor(path.as_bytes()), "{path}");
        }
        for path in [
            "/usr/lib/linx/priv/linx_process",
            "/proc/1/root/linx_process",
            "/proc/self/fd/3",
            "/proc/1/fd/",
            "/proc//fd/3",
            "/proc/1/fd/3/x",
            "/dev/fd/",
            "/srv/dev/fd/3",
            "",
        ] {
            assert!(!is_descriptor(path.as_bytes()), "{path}");
        }
    }
}
