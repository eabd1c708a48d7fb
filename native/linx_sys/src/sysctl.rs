//! `/proc/sys` of other namespaces.
//!
//! `/proc/sys` shows the values of the reading task's namespaces, whichever mount of `/proc` is
//! read. So the directory is opened in the VM's mount namespace, where it is the kernel's, before
//! the thread joins any namespace: a mount over a container's `/proc` has no effect.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, open, openat, openat2};
use rustix::io::{Errno, retry_on_intr};
use rustix::system::{setdomainname, sethostname};

use crate::fault::{Fault, Stage};
use crate::pidfd::absent;
use crate::pin::check_procfs;
use crate::procfs::{read_to_end, write_once};

/// `/proc/sys` itself has five levels; an interface name adds none.
const MAX_DEPTH: usize = 16;

/// The path of a sysctl below `/proc/sys`, and its bytes.
pub type Entry = (Vec<u8>, Vec<u8>);

/// `/proc/sys`, opened in the caller's mount namespace.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
}

impl Tree {
    pub fn open() -> Result<Self, Fault> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(c"/proc/sys", flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => absent(Stage::OpenNs),
            errno => Stage::OpenNs.errno()(errno),
        })?;
        check_procfs(root.as_fd(), Stage::OpenNs)?;
        Ok(Self { root })
    }

    /// Reads the first of `paths` that exists. A key with dots in one of its names has several.
    pub fn read(&self, paths: &[CString]) -> Result<Vec<u8>, Fault> {
        let (file, _) = self.first(paths, OFlags::RDONLY, Stage::Read)?;
        read_to_end(&file)
    }

    pub fn write(&self, paths: &[CString], data: &[u8]) -> Result<(), Fault> {
        match self.first(paths, OFlags::WRONLY, Stage::Write) {
            Ok((file, _)) => write_once(&file, data),
            Err(fault) if fault.errno == libc::EACCES => write_name(paths, data).ok_or(fault),
            Err(fault) => Err(fault),
        }
    }

    /// Every readable sysctl below the first of `paths` that exists, or that sysctl alone.
    pub fn list(&self, paths: &[CString]) -> Result<Vec<Entry>, Fault> {
        let (file, path) = match self.first(paths, OFlags::RDONLY, Stage::List) {
            // A write-only sysctl is left out here as below a prefix.
            Err(fault) if matches!(fault.errno, libc::EACCES | libc::EPERM) => {
                return Ok(Vec::new());
            }
            other => other?,
        };
        let found = rustix::fs::fstat(&file).map_err(Stage::List.errno())?;
        let mut entries = Vec::new();
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            walk(file, path.to_bytes(), MAX_DEPTH, &mut entries);
        } else if let Ok(value) = read_to_end(&file) {
            entries.push((path.to_bytes().to_vec(), value));
        }
        Ok(entries)
    }

    fn first<'p>(
        &self,
        paths: &'p [CString],
        flags: OFlags,
        stage: Stage,
    ) -> Result<(OwnedFd, &'p CStr), Fault> {
        // The errno of the plain path, if none of the others exists either.
        let mut absent = None;
        for path in paths {
            match self.open_below(path, flags) {
                Ok(file) => return Ok((file, path)),
                Err(errno @ (Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG)) => {
                    absent.get_or_insert(errno);
                }
                Err(errno) => return Err(stage.errno()(errno)),
            }
        }
        Err(stage.errno()(absent.unwrap_or(Errno::NOENT)))
    }

    fn open_below(&self, path: &CStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = match path.is_empty() {
            true => c".",
            false => path,
        };
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        retry_on_intr(|| openat2(&self.root, path, flags, Mode::empty(), resolve))
    }
}

/// The files of the two names allow only the machine's root; the system calls allow root of the UTS
/// namespace's owner.
fn write_name(paths: &[CString], data: &[u8]) -> Option<()> {
    let name = data.strip_suffix(b"\n").unwrap_or(data);
    let done = match paths.first()?.as_bytes() {
        b"kernel/hostname" => sethostname(name),
        b"kernel/domainname" => setdomainname(name),
        _ => return None,
    };
    done.ok()
}

/// Nodes that cannot be opened or read are left out: write-only ones, secrets, nodes that disappear
/// meanwhile.
fn walk(directory: OwnedFd, path: &[u8], depth: usize, entries: &mut Vec<Entry>) {
    let Ok(names) = Dir::read_from(&directory) else {
        return;
    };
    for name in names.flatten() {
        let name = name.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Some((file, kind)) = open_node(directory.as_fd(), name) else {
            continue;
        };
        let path = join(path, name.to_bytes());
        match kind {
            FileType::Directory if depth > 0 => walk(file, &path, depth - 1, entries),
            FileType::RegularFile => {
                if let Ok(value) = read_to_end(&file) {
                    entries.push((path, value));
                }
            }
            _ => {}
        }
    }
}

fn open_node(directory: BorrowedFd<'_>, name: &CStr) -> Option<(OwnedFd, FileType)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = retry_on_intr(|| openat(directory, name, flags, Mode::empty())).ok()?;
    let found = rustix::fs::fstat(&file).ok()?;
    Some((file, FileType::from_raw_mode(found.st_mode)))
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    match path {
        b"" => name.to_vec(),
        _ => [path, b"/", name].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(paths: &[&str]) -> Vec<CString> {
        paths
            .iter()
            .map(|path| CString::new(*path).unwrap())
            .collect()
    }

    #[test]
    fn reads_the_first_path_that_exists() {
        let tree = Tree::open().unwrap();
        let value = tree.read(&paths(&["kernel/no/such", "kernel/ostype"]));
        assert_eq!(value, Ok(b"Linux\n".to_vec()));
    }

    #[test]
    fn nothing_above_the_tree_is_reached() {
        let tree = Tree::open().unwrap();
        assert!(tree.read(&paths(&["../version"])).is_err());
        assert!(tree.read(&paths(&["/proc/version"])).is_err());
    }

    #[test]
    fn lists_a_leaf_and_a_directory() {
        let tree = Tree::open().unwrap();
        assert_eq!(
            tree.list(&paths(&["kernel/ostype"])),
            Ok(vec![(b"kernel/ostype".to_vec(), b"Linux\n".to_vec())])
        );
        let all = tree.list(&paths(&["kernel"])).unwrap();
        assert!(all.iter().any(|(path, _)| path == b"kernel/ostype"));
        assert!(all.iter().all(|(path, _)| path.starts_with(b"kernel/")));
    }

    #[test]
    fn what_is_absent_says_so_as_its_plain_path_does() {
        let tree = Tree::open().unwrap();
        let long = "a".repeat(5000);
        for (path, errno) in [
            ("kernel/ostype/x", libc::ENOTDIR),
            (long.as_str(), libc::ENAMETOOLONG),
        ] {
            let paths = paths(&[path, "no/such"]);
            assert_eq!(tree.read(&paths), Err(Stage::Read.fault(errno)));
            assert_eq!(tree.list(&paths), Err(Stage::List.fault(errno)));
        }
    }

    #[test]
    fn an_absent_prefix_is_enoent() {
        let tree = Tree::open().unwrap();
        assert_eq!(
            tree.list(&paths(&["no/such"])),
            Err(Stage::List.fault(libc::ENOENT))
        );
    }
}
