//! Files below `/proc` of exactly the named process.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read, retry_on_intr, write};

use crate::fault::{Fault, Stage};
use crate::ns::Target;
use crate::pidfd::absent;
use crate::pin::{Pin, check_filesystem};

const PROC: u32 = libc::PROC_SUPER_MAGIC as u32;

/// The size limit of these files, above a mount table of a million lines. A longer file is EFBIG.
const MAX_FILE: usize = 256 << 20;

/// Reads the whole of `/proc/<pid>/<name>`.
pub fn read_file(target: &Target<'_>, name: &str) -> Result<Vec<u8>, Fault> {
    of_process(target, Stage::Read, |pin| {
        let file = pin.open(name, OFlags::RDONLY, Stage::Read)?;
        read_to_end(&file)
    })
}

/// One write(2) to `/proc/<pid>/<name>`: the kernel accepts a whole map or nothing.
pub fn write_file(target: &Target<'_>, name: &str, data: &[u8]) -> Result<(), Fault> {
    of_process(target, Stage::Write, |pin| {
        let file = pin.open(name, OFlags::WRONLY, Stage::Write)?;
        write_once(&file, data)
    })
}

/// Reads the whole file at `path`, which has to lie on a file system of the kernel with that
/// `magic` (linux/magic.h).
pub fn read_kernel_file(path: &Path, magic: u32) -> Result<Vec<u8>, Fault> {
    read_to_end(&open_kernel_file(path, magic, OFlags::RDONLY, Stage::Read)?)
}

/// One write(2) to the file at `path`, which has to be there and lie on a file system of that
/// `magic`.
pub fn write_kernel_file(path: &Path, magic: u32, data: &[u8]) -> Result<(), Fault> {
    let file = open_kernel_file(path, magic, OFlags::WRONLY, Stage::Write)?;
    write_once(&file, data)
}

fn open_kernel_file(
    path: &Path,
    magic: u32,
    flags: OFlags,
    stage: Stage,
) -> Result<OwnedFd, Fault> {
    // NONBLOCK: a FIFO at the path must not block the caller.
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = retry_on_intr(|| open(path, flags, Mode::empty())).map_err(|errno| match errno {
        Errno::NOENT if magic == PROC => absent(stage),
        errno => stage.errno()(errno),
    })?;
    check_filesystem(file.as_fd(), magic, stage)?;
    Ok(file)
}

/// Pins a pid for the time of `work`; an end meanwhile is ENOENT, as for a missing process.
fn of_process<T>(
    target: &Target<'_>,
    stage: Stage,
    work: impl FnOnce(&Pin) -> Result<T, Fault>,
) -> Result<T, Fault> {
    match target {
        Target::Pin(pin) => work(pin),
        Target::Pid(pid) => work(&Pin::of(*pid, stage)?).map_err(|fault| match fault.errno {
            libc::ESRCH => stage.fault(libc::ENOENT),
            _ => fault,
        }),
        Target::Path(_) | Target::Held(_) => Err(stage.fault(libc::EINVAL)),
    }
}

pub(crate) fn write_once(file: &OwnedFd, data: &[u8]) -> Result<(), Fault> {
    // A short count means that the kernel parsed only that much.
    retry_on_intr(|| write(file, data))
        .map(|_| ())
        .map_err(Stage::Write.errno())
}

pub(crate) fn read_to_end(file: &OwnedFd) -> Result<Vec<u8>, Fault> {
    let mut content = Vec::new();
    let mut chunk = [0_u8; 4096];
    while content.len() < MAX_FILE {
        let count =
            retry_on_intr(|| read(file.as_fd(), &mut chunk)).map_err(Stage::Read.errno())?;
        match chunk.get(..count) {
            None | Some([]) => return Ok(content),
            Some(bytes) => content.extend_from_slice(bytes),
        }
    }
    Err(Stage::Read.fault(libc::EFBIG))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_file_is_not_taken_for_one_of_the_kernel() {
        let path = std::env::temp_dir().join(format!("linx-plain-{}", std::process::id()));
        std::fs::write(&path, "before").unwrap();
        assert_eq!(
            read_kernel_file(&path, PROC),
            Err(Stage::Read.fault(libc::EXDEV))
        );
        assert_eq!(
            write_kernel_file(&path, PROC, b"after"),
            Err(Stage::Write.fault(libc::EXDEV))
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"before");
        std::fs::remove_file(&path).unwrap();
        assert!(read_kernel_file(Path::new("/proc/self/status"), PROC).is_ok());
    }
}
