//! An executable image of the agent that no process can write to.
//!
//! A process that joins a container runs the agent's image until its exec, and root in the
//! container reaches that file through `/proc/<pid>/exe` (CVE-2019-5736). So the agent is executed
//! from sealed memory, or, where the machine forbids that (`vm.memfd_noexec`, a filter), through a
//! read-only mount of its file that is in no mount tree.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{
    CWD, MemfdFlags, Mode, OFlags, SealFlags, fchmod, fcntl_add_seals, fstat, memfd_create, open,
    stat,
};
use rustix::io::{Errno, retry_on_intr};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::fault::{Fault, Stage};
use crate::pidfd::own_number;

/// `MOUNT_ATTR_RDONLY` (linux/mount.h).
const MOUNT_ATTR_RDONLY: u64 = 1;

/// The protection of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    Sealed,
    ReadOnly,
}

/// An image that no process can write to, root included.
#[derive(Debug)]
pub struct Image {
    file: OwnedFd,
    protection: Protection,
    /// The path that the first call of `path` found.
    known: OnceLock<PathBuf>,
}

impl Image {
    /// Makes the image of the file at `path`: in sealed memory, else behind a read-only mount. The
    /// fault is that of the sealed memory, which names the machine's policy.
    pub fn new(path: &Path) -> Result<Self, Fault> {
        let refused = match sealed_copy(path) {
            Ok(file) => {
                return Ok(Self::over(file, Protection::Sealed));
            }
            Err(refused) => refused,
        };
        let file = read_only(path).map_err(|_| refused)?;
        Ok(Self::over(file, Protection::ReadOnly))
    }

    fn over(file: OwnedFd, protection: Protection) -> Self {
        Self {
            file,
            protection,
            known: OnceLock::new(),
        }
    }

    pub fn protection(&self) -> Protection {
        self.protection
    }

    pub fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// The path by which other processes of this user execute the image: the caller's own pid in
    /// the current `/proc`, if the file there is this image. EXDEV: it is another file.
    ///
    /// The path is made once and verified each time: another file system may be mounted on `/proc`.
    pub fn path(&self) -> Result<PathBuf, Fault> {
        match self.known.get() {
            Some(path) if self.is_at(path) == Ok(true) => Ok(path.clone()),
            _ => {
                let path = self.find()?;
                // Another thread may have set it first.
                let _ = self.known.set(path.clone());
                Ok(path)
            }
        }
    }

    fn find(&self) -> Result<PathBuf, Fault> {
        let stage = Stage::Image;
        let number = own_number(stage)?;
        // Text for execve(2), proven below to name this file.
        let mut path = PathBuf::from("/proc");
        path.push(number.to_string());
        path.push("fd");
        path.push(self.file.as_raw_fd().to_string());
        if self.is_at(&path).map_err(stage.errno())? {
            Ok(path)
        } else {
            Err(stage.fault(libc::EXDEV))
        }
    }

    fn is_at(&self, path: &Path) -> rustix::io::Result<bool> {
        let found = retry_on_intr(|| stat(path))?;
        let ours = fstat(&self.file)?;
        Ok((found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino))
    }
}

/// Copies the file at `path` to a `memfd_create(2)` file that its owner can execute and no process
/// can change.
pub fn sealed_copy(path: &Path) -> Result<OwnedFd, Fault> {
    let mut source = File::open(path).map_err(Stage::Open.errno())?;
    let mut target = File::from(executable_memory().map_err(Stage::Create.errno())?);
    io::copy(&mut source, &mut target).map_err(Stage::Write.errno())?;
    let image = OwnedFd::from(target);
    fchmod(&image, Mode::RUSR | Mode::XUSR).map_err(Stage::Create.errno())?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&image, seals).map_err(Stage::Create.errno())?;
    Ok(image)
}

/// EACCES where `vm.memfd_noexec` is 2.
pub fn executable_memory() -> rustix::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(c"linx_process", flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 there is no such flag and every memfd may be executed.
        Err(Errno::INVAL) => memfd_create(c"linx_process", flags),
        other => other,
    }
}

/// Opens the file at `path` through a detached mount of its own.
fn read_only(path: &Path) -> Result<OwnedFd, Fault> {
    let stage = Stage::Mount;
    let source =
        open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(stage.errno())?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags).map_err(stage.errno())?;
    set_read_only(&tree).map_err(stage.errno())?;
    let identity = |file: &OwnedFd| fstat(file).map(|found| (found.st_dev, found.st_ino));
    if identity(&source) == identity(&tree) {
        Ok(tree)
    } else {
        Err(stage.fault(libc::EXDEV))
    }
}

#[expect(unsafe_code, reason = "no crate wraps mount_setattr(2)")]
fn set_read_only(tree: &OwnedFd) -> io::Result<()> {
    // struct mount_attr: set, clear, propagation, userns_fd.
    let attributes = [MOUNT_ATTR_RDONLY, 0, 0, 0];
    // SAFETY: the kernel reads an empty path and the four words of a struct mount_attr, both of
    // which outlive the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    match answer {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::Command;

    use super::*;

    const PROGRAM: &str = "/bin/true";

    #[test]
    fn a_sealed_copy_cannot_be_written_and_can_be_run() {
        let image = Image::new(Path::new(PROGRAM)).unwrap();
        assert_eq!(image.protection(), Protection::Sealed);
        let path = image.path().unwrap();
        let opened = File::options().write(true).open(&path);
        assert!(opened.and_then(|mut file| file.write_all(b"x")).is_err());
        assert!(Command::new(path).status().unwrap().success());
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_not_given_again() {
        let image = Image::new(Path::new(PROGRAM)).unwrap();
        let path = image.path().unwrap();
        assert_eq!(image.path().unwrap(), path);
        let elsewhere = Image {
            known: OnceLock::from(PathBuf::from(PROGRAM)),
            ..image
        };
        assert_eq!(elsewhere.path().unwrap(), path);
        assert_eq!(elsewhere.known.get().unwrap(), Path::new(PROGRAM));
    }

    #[test]
    #[ignore = "needs CAP_SYS_ADMIN"]
    fn behind_a_read_only_mount_it_cannot_be_written_and_can_be_run() {
        let file = std::env::temp_dir().join(format!("linx-image-{}", std::process::id()));
        std::fs::copy(PROGRAM, &file).unwrap();
        let image = Image::over(read_only(&file).unwrap(), Protection::ReadOnly);
        let path = image.path().unwrap();
        let refused = File::options().write(true).open(&path).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
        // The file's own path is writable, so the mount is needed.
        File::options().write(true).open(&file).unwrap();
        assert!(run(&path));
        std::fs::remove_file(file).unwrap();
    }

    /// A child of another test may hold the file open for writing until its exec: ETXTBSY.
    fn run(path: &Path) -> bool {
        loop {
            match Command::new(path).status() {
                Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {
                    std::thread::yield_now();
                }
                status => return status.unwrap().success(),
            }
        }
    }
}
