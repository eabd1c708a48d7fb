//! Network namespaces without a process: created on a thread that ends, kept by a descriptor or by
//! a name.
//!
//! A name is a file in a directory, `/run/netns`, on which the namespace is mounted, as ip-netns(8)
//! does it. The directory is a shared mount, so that a name reaches the mount namespaces that were
//! copied from this one.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, fchmod, flock, fstat, mkdir, open,
    openat, statat, unlink,
};
use rustix::io::{Errno, retry_on_intr};
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_bind_recursive,
    mount_change, move_mount, open_tree, unmount,
};
use rustix::thread::UnshareFlags;

use crate::fault::{Fault, Stage};
use crate::ns::{Kind, Namespace};
use crate::pidfd::proc_root;
use crate::pin::check_filesystem;

/// `NSFS_MAGIC`, linux/magic.h.
const NSFS: u32 = 0x6e73_6673;

/// The bound of stacked mounts on one file, above any that arises by accident.
const MAX_MOUNTS: usize = 64;

/// Creates a network namespace. The calling thread is in it afterwards and must end.
#[expect(
    unsafe_code,
    reason = "unshare(2) is unsafe in rustix for the sake of CLONE_FILES"
)]
pub fn make() -> Result<Namespace, Fault> {
    // SAFETY: CLONE_NEWNET changes the network namespace of this thread; the fd table stays shared,
    // so no descriptor changes meaning.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
        .map_err(Stage::Unshare.errno())?;
    Namespace::own(Kind::Net, Stage::Open)
}

/// The processes that `/proc` shows in `namespace`, in ascending order: those whose namespace the
/// caller may look at.
pub fn processes(namespace: &Namespace) -> Result<Vec<u32>, Fault> {
    let stage = Stage::Read;
    let wanted = namespace.inode()?;
    let root = proc_root(stage)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(&root, c".", flags, Mode::empty()).map_err(stage.errno())?;
    let mut found = Vec::new();
    for entry in Dir::new(directory).map_err(stage.errno())? {
        let entry = entry.map_err(stage.errno())?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .ok()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process that has ended, or that the caller may not inspect, is left out.
        let path = format!("{pid}/ns/net");
        if statat(&root, path.as_str(), AtFlags::empty()).is_ok_and(|it| it.st_ino == wanted) {
            found.push(pid);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Gives `source`, or a new network namespace, the name `name` in `directory`. The calling thread
/// must end.
///
/// EEXIST: the name is taken. A failing step undoes the steps before it, except the directory.
pub fn create(directory: &Path, name: &OsStr, source: Option<Namespace>) -> Result<(), Fault> {
    prepare(directory)?;
    let path = directory.join(name);
    // O_EXCL: one of several creators gets the name. The file has no mode bits, as with
    // ip-netns(8), because the namespace is opened instead.
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = retry_on_intr(|| open(&path, flags, Mode::empty()));
    drop(file.map_err(Stage::Create.errno())?);
    let mounted = source
        .map_or_else(make, Ok)
        .and_then(|namespace| attach(&namespace, &path));
    if mounted.is_err() {
        // The first fault is reported. A file that stays is empty, and delete() removes it.
        let _gone = unlink(&path);
    }
    mounted
}

fn attach(namespace: &Namespace, path: &Path) -> Result<(), Fault> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let clone = open_tree(namespace.file(), c"", flags).map_err(Stage::OpenTree.errno())?;
    // Without MOVE_MOUNT_T_SYMLINKS: the target is the created file itself.
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&clone, c"", rustix::fs::CWD, path, flags).map_err(Stage::MoveMount.errno())
}

/// The directory, as a shared mount. A lock orders its creators: two of them would mount it on
/// itself twice.
fn prepare(directory: &Path) -> Result<(), Fault> {
    let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
    let made = match mkdir(directory, mode) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(Stage::Mkdir.errno()(errno)),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let lock = retry_on_intr(|| open(directory, flags, Mode::empty()));
    let lock = lock.map_err(Stage::Mkdir.errno())?;
    if made {
        // Sets the mode whatever the VM's umask.
        fchmod(&lock, mode).map_err(Stage::Mkdir.errno())?;
    }
    retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive)).map_err(Stage::Lock.errno())?;
    let share = || {
        let flags = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
        mount_change(directory, flags)
    };
    match share() {
        // The directory is no mount yet.
        Err(Errno::INVAL) => {
            mount_bind_recursive(directory, directory).map_err(Stage::Share.errno())?;
            share().map_err(Stage::Share.errno())
        }
        shared => shared.map_err(Stage::Share.errno()),
    }
}

/// Removes the name `name` from `directory`. The namespace lives as long as another reference to
/// it.
///
/// EINVAL at `open`: the file is neither a namespace nor the empty file of an interrupted creation.
pub fn delete(directory: &Path, name: &OsStr) -> Result<(), Fault> {
    let path = directory.join(name);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = open(&path, flags, Mode::empty()).map_err(Stage::Open.errno())?;
    if check_filesystem(file.as_fd(), NSFS, Stage::Open).is_err() && !is_empty_file(&file)? {
        return Err(Stage::Open.fault(libc::EINVAL));
    }
    drop(file);
    for _ in 0..MAX_MOUNTS {
        match unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // No mount is left on it.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(Stage::Umount.errno()(errno)),
        }
    }
    unlink(&path).map_err(Stage::Unlink.errno())
}

fn is_empty_file(file: &OwnedFd) -> Result<bool, Fault> {
    let found = fstat(file).map_err(Stage::Open.errno())?;
    Ok(FileType::from_raw_mode(found.st_mode) == FileType::RegularFile && found.st_size == 0)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_is_no_name_is_not_deleted() {
        let directory = std::env::temp_dir().join(format!("linx-netns-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("text"), "text").unwrap();
        std::os::unix::fs::symlink("text", directory.join("link")).unwrap();
        std::fs::create_dir_all(directory.join("folder")).unwrap();
        for name in ["text", "link", "folder"] {
            let deleted = delete(&directory, OsStr::new(name));
            assert_eq!(deleted, Err(Stage::Open.fault(libc::EINVAL)), "{name}");
        }
        let deleted = delete(&directory, OsStr::new("absent"));
        assert_eq!(deleted, Err(Stage::Open.fault(libc::ENOENT)));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    #[ignore = "needs CAP_SYS_ADMIN"]
    fn a_namespace_is_made_on_the_thread_and_nobody_elses_changes() {
        let before = Namespace::own(Kind::Net, Stage::Open).unwrap();
        let made = thread::spawn(make).join().unwrap().unwrap();
        assert_eq!(made.is_ours(), Ok(false));
        assert_eq!(before.is_ours(), Ok(true));
    }
}
