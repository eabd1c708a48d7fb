//! mount(2), umount2(2) and pivot_root(2), in the VM's own mount namespace or in one that the
//! thread has joined.
//!
//! A path in another process's mount namespace is untrusted: its processes plant symlinks and swap
//! them during a lookup (CVE-2021-30465 and its kin). So a path there is resolved once, by
//! openat2(2), to a descriptor, and the call is made on that descriptor through `/proc/self/fd`,
//! whose directory was opened before the thread joined: the namespace's own `/proc` may be missing
//! or forged.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2, readlinkat,
    statat, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};
use rustix::mount::{UnmountFlags, unmount};
use rustix::param::page_size;
use rustix::process::{chdir, fchdir, getcwd, pivot_root as pivot};

use crate::fault::{Fault, Stage};
use crate::pidfd::absent;
use crate::pin::check_procfs;

mod detached;

pub use detached::{Attributes, Bind, Setattr, bind, bind_plainly, setattr, setattr_plainly};

/// The number of symlinks that the kernel follows in one resolution (`MAXSYMLINKS`).
const MAX_SYMLINKS: usize = 40;

/// The attempts of openat2(2), which returns EAGAIN when a rename raced with a `..` that must not
/// escape.
const MAX_RACES: usize = 256;

/// The arguments of mount(2). Empty fields are NULL for the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    pub source: CString,
    pub target: CString,
    pub fstype: CString,
    pub flags: u32,
    pub data: CString,
    /// Creates an empty file at the target if nothing is there.
    pub create: bool,
    pub lookup: Lookup,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Umount {
    pub target: CString,
    pub flags: u32,
    pub lookup: Lookup,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PivotRoot {
    pub new_root: CString,
    pub put_old: CString,
}

/// The rules for the lookup of the target's path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// The directory that the target must not escape; empty for the namespace's root.
    pub root: CString,
    pub no_symlinks: bool,
    /// Whether `:in` names a mount namespace, even if it is the VM's own.
    pub foreign: bool,
}

impl Lookup {
    pub fn is_plain(&self) -> bool {
        !self.foreign && self.root.is_empty() && !self.no_symlinks
    }
}

/// The descriptors that are opened before a thread leaves the VM's mount namespace.
#[derive(Debug)]
pub struct Home {
    descriptors: OwnedFd,
    root: (u64, u64),
}

impl Home {
    pub fn open() -> Result<Self, Fault> {
        let stage = Stage::OpenNs;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| open(c"/proc/self/fd", flags, Mode::empty()));
        let descriptors = opened.map_err(|errno| match errno {
            Errno::NOENT => absent(stage),
            errno => stage.errno()(errno),
        })?;
        check_procfs(descriptors.as_fd(), stage)?;
        let root = fstat(root_directory(stage)?).map_err(stage.errno())?;
        Ok(Self {
            descriptors,
            root: (root.st_dev, root.st_ino),
        })
    }

    /// Changes the working directory to `/proc/self/fd`, so that a descriptor's number is its path.
    fn enter_descriptors(&self, stage: Stage) -> Result<(), Fault> {
        fchdir(&self.descriptors).map_err(stage.errno())
    }
}

/// Mounts. Changes the calling thread's working directory, so the thread must be a pool's.
pub fn mount(home: &Home, request: &Mount) -> Result<(), Fault> {
    if request.lookup.is_plain() {
        return mount_plainly(request);
    }
    let Mount { target, lookup, .. } = request;
    on_target(home, target, request.create, lookup, |tree, target| {
        tree.mount(home, request, target.as_fd())
    })
}

/// Calls `work` with a descriptor of the target. An empty file that was created for it is removed
/// if `work` fails.
fn on_target(
    home: &Home,
    target: &CStr,
    create: bool,
    lookup: &Lookup,
    work: impl FnOnce(&Tree, OwnedFd) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let tree = Tree::new(home, lookup, Stage::Mount)?;
    let (target, made) = match tree.open(target, Stage::Mount) {
        Err(Fault {
            errno: libc::ENOENT,
            ..
        }) if create => tree.create(target)?,
        other => (other?, None),
    };
    let done = work(&tree, target);
    if let (Err(_), Some(made)) = (&done, made) {
        made.remove();
    }
    done
}

/// Mounts in the calling thread's own namespace, as mount(8) would: symlinks are followed.
pub fn mount_plainly(request: &Mount) -> Result<(), Fault> {
    let mut made = false;
    if request.create {
        match open_new(rustix::fs::CWD, &request.target) {
            Ok(_) => made = true,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(Stage::Create.errno()(errno)),
        }
    }
    let mounted = call_mount(&request.source, &request.target, request);
    if made && mounted.is_err() {
        let _ = unlinkat(rustix::fs::CWD, &request.target, AtFlags::empty());
    }
    mounted
}

/// Unmounts.
pub fn umount(home: &Home, request: &Umount) -> Result<(), Fault> {
    if request.lookup.is_plain() {
        return umount_plainly(request);
    }
    let tree = Tree::new(home, &request.lookup, Stage::Umount)?;
    let flags = UnmountFlags::from_bits_retain(request.flags);
    let mut path = request.target.as_bytes().to_vec();
    for _ in 0..=MAX_SYMLINKS {
        let (parent, name) = tree.open_parent(&path, Stage::Umount)?;
        let Some(name) = name else {
            // "/", "." or "..": the thread's working directory keeps it busy, as any process's
            // would.
            fchdir(&parent).map_err(Stage::Umount.errno())?;
            drop(parent);
            return unmount(c".", flags).map_err(Stage::Umount.errno());
        };
        // A descriptor of the mount itself would keep it busy, so it is named from its parent; a
        // symlink that replaces it meanwhile is not followed. The mount is not looked up before,
        // which would unmark an expiring mount.
        fchdir(&parent).map_err(Stage::Umount.errno())?;
        let refused = match unmount(name.as_c_str(), flags | UnmountFlags::NOFOLLOW) {
            Err(Errno::INVAL) => Stage::Umount.fault(libc::EINVAL),
            other => return other.map_err(Stage::Umount.errno()),
        };
        // EINVAL: no mount point. A symlink is none.
        match link_target(parent.as_fd(), &name, Stage::Umount)? {
            Some(_) if tree.no_symlinks() => return Err(Stage::Umount.fault(libc::ELOOP)),
            Some(link) if !flags.contains(UnmountFlags::NOFOLLOW) => path = beside(&path, &link),
            _ => return Err(refused),
        }
    }
    Err(Stage::Umount.fault(libc::ELOOP))
}

/// Unmounts in the calling thread's own namespace, as umount(8) would.
pub fn umount_plainly(request: &Umount) -> Result<(), Fault> {
    let flags = UnmountFlags::from_bits_retain(request.flags);
    unmount(request.target.as_c_str(), flags).map_err(Stage::Umount.errno())
}

/// Swaps the root of the mount namespace that the calling thread has joined. The kernel refuses a
/// `put_old` that is not below `new_root`, so a symlink there leads nowhere else.
pub fn pivot_root(home: &Home, request: &PivotRoot) -> Result<(), Fault> {
    let open = |path: &CStr, stage: Stage| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_MAGICLINKS;
        open_resolved(rustix::fs::CWD, path, flags, resolve, stage)
    };
    let new_root = open(&request.new_root, Stage::Chdir)?;
    let put_old = open(&request.put_old, Stage::PivotRoot)?;
    home.enter_descriptors(Stage::Chdir)?;
    pivot(
        name_of(new_root.as_fd()).as_c_str(),
        name_of(put_old.as_fd()).as_c_str(),
    )
    .map_err(Stage::PivotRoot.errno())
}

/// Swaps the root of the calling thread's own mount namespace. Needs no `/proc`, which the VM's
/// root may lack by then. Changes the thread's working directory, so the thread must be a pool's.
pub fn pivot_root_plainly(request: &PivotRoot) -> Result<(), Fault> {
    let mut put_old = request.put_old.clone();
    if !put_old.as_bytes().starts_with(b"/") {
        // A relative path starts at the VM's working directory.
        let here = getcwd(Vec::new()).map_err(Stage::PivotRoot.errno())?;
        let path = [here.as_bytes(), b"/", put_old.as_bytes()].concat();
        put_old = c_string(&path, Stage::PivotRoot)?;
    }
    chdir(request.new_root.as_c_str()).map_err(Stage::Chdir.errno())?;
    pivot(c".", put_old.as_c_str()).map_err(Stage::PivotRoot.errno())
}

/// The tree that a target's path must not escape.
struct Tree {
    root: OwnedFd,
    resolve: ResolveFlags,
}

impl Tree {
    /// With `root`, that directory: symlinks below it are followed as by a process with that root.
    /// Without, the namespace's root; if that is still the VM's own root, the workload's files
    /// cannot be told from the VM's, and symlinks are not followed at all.
    fn new(home: &Home, lookup: &Lookup, stage: Stage) -> Result<Self, Fault> {
        let mut root = root_directory(stage)?;
        let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        if !lookup.root.is_empty() {
            let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let (base, within) = match lookup.foreign {
                true => (root.as_fd(), resolve),
                false => (rustix::fs::CWD, ResolveFlags::NO_MAGICLINKS),
            };
            root = open_resolved(base, &lookup.root, directory, within, stage)?;
        } else if lookup.foreign {
            let found = fstat(&root).map_err(stage.errno())?;
            if (found.st_dev, found.st_ino) == home.root {
                resolve |= ResolveFlags::NO_SYMLINKS;
            }
        }
        if lookup.no_symlinks {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        Ok(Self { root, resolve })
    }

    fn no_symlinks(&self) -> bool {
        self.resolve.contains(ResolveFlags::NO_SYMLINKS)
    }

    fn open(&self, path: &CStr, stage: Stage) -> Result<OwnedFd, Fault> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        open_resolved(self.root.as_fd(), path, flags, self.resolve, stage)
    }

    /// The directory of the last component, and that component; None for a path without a name of
    /// its own.
    fn open_parent(&self, path: &[u8], stage: Stage) -> Result<(OwnedFd, Option<CString>), Fault> {
        let (directory, name) = split(path);
        let (path, name) = match name {
            b"" | b"." | b".." => (path, None),
            name => (directory, Some(c_string(name, stage)?)),
        };
        let path = match path {
            b"" => c"/".to_owned(),
            path => c_string(path, stage)?,
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = open_resolved(self.root.as_fd(), &path, flags, self.resolve, stage)?;
        Ok((parent, name))
    }

    fn mount(&self, home: &Home, request: &Mount, target: BorrowedFd<'_>) -> Result<(), Fault> {
        let source = self.source(request)?;
        let name = source.as_ref().map(|file| name_of(file.as_fd()));
        home.enter_descriptors(Stage::Mount)?;
        call_mount(
            name.as_deref().unwrap_or(&request.source),
            &name_of(target),
            request,
        )
    }

    /// Creates an empty file if nothing is there; a file that appears meanwhile is used if it is no
    /// symlink.
    fn create(&self, path: &CStr) -> Result<(OwnedFd, Option<Placeholder>), Fault> {
        let stage = Stage::Create;
        let (parent, name) = self.open_parent(path.to_bytes(), stage)?;
        let name = name.ok_or(stage.fault(libc::EISDIR))?;
        let made = match open_new(parent.as_fd(), &name) {
            Ok(file) => Some(file),
            Err(Errno::EXIST) => None,
            Err(errno) => return Err(stage.errno()(errno)),
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = open_resolved(parent.as_fd(), &name, flags, ResolveFlags::BENEATH, stage)?;
        let found = fstat(&file).map_err(stage.errno())?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Symlink => Err(stage.fault(libc::ELOOP)),
            _ => Ok((file, made.map(|file| Placeholder { parent, name, file }))),
        }
    }

    /// The source of a bind or a move. The source of other mounts is a name for the file system.
    fn source(&self, request: &Mount) -> Result<Option<OwnedFd>, Fault> {
        let kind = request.flags & (libc::MS_BIND | libc::MS_MOVE | libc::MS_REMOUNT) as u32;
        if kind != libc::MS_BIND as u32 && kind != libc::MS_MOVE as u32 {
            return Ok(None);
        }
        self.open_source(&request.source, &request.lookup).map(Some)
    }

    /// A source below `root` is resolved inside it: its symlinks lead nowhere else. Any other is
    /// resolved as the thread sees it.
    fn open_source(&self, path: &CStr, lookup: &Lookup) -> Result<OwnedFd, Fault> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        if let Some(inside) = below(path.to_bytes(), lookup.root.as_bytes()) {
            let inside = c_string(inside, Stage::Mount)?;
            return self.open(&inside, Stage::Mount);
        }
        let resolve = match lookup {
            lookup if lookup.no_symlinks => ResolveFlags::NO_SYMLINKS,
            lookup if lookup.foreign => ResolveFlags::NO_MAGICLINKS,
            _ => ResolveFlags::empty(),
        };
        match open_resolved(rustix::fs::CWD, path, flags, resolve, Stage::Mount) {
            Err(fault) if fault.errno == libc::ELOOP && resolve == ResolveFlags::NO_MAGICLINKS => {
                open_magic(path).ok_or(fault)
            }
            other => other,
        }
    }
}

/// The empty file for a mount.
struct Placeholder {
    parent: OwnedFd,
    name: CString,
    file: OwnedFd,
}

impl Placeholder {
    /// Removes the file, on which nothing was mounted. Another file that has taken its name stays.
    fn remove(&self) {
        let named = statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        if let (Ok(named), Ok(ours)) = (named, fstat(&self.file))
            && (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)
        {
            let _ = unlinkat(&self.parent, &self.name, AtFlags::empty());
        }
    }
}

/// A magic link that the caller named in full, such as `/proc/<pid>/ns/net`, and that no symlink
/// led to. For a thread of the VM a magic link behind a planted symlink, such as `/proc/self/root`,
/// is an escape from the joined namespace.
fn open_magic(path: &CStr) -> Option<OwnedFd> {
    let (directory, name) = split(path.to_bytes());
    let stage = Stage::Mount;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS;
    let directory = c_string(directory, stage).ok()?;
    let parent = open_resolved(rustix::fs::CWD, &directory, flags, resolve, stage).ok()?;
    check_procfs(parent.as_fd(), stage).ok()?;
    let name = c_string(name, stage).ok()?;
    openat(
        &parent,
        &name,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()
}

fn root_directory(stage: Stage) -> Result<OwnedFd, Fault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(c"/", flags, Mode::empty()).map_err(stage.errno())
}

fn open_resolved(
    base: BorrowedFd<'_>,
    path: &CStr,
    flags: OFlags,
    resolve: ResolveFlags,
    stage: Stage,
) -> Result<OwnedFd, Fault> {
    for _ in 0..MAX_RACES {
        match openat2(base, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other.map_err(stage.errno()),
        }
    }
    Err(stage.fault(libc::EAGAIN))
}

/// Creates an empty file and opens no existing one: opening a device or a FIFO has effects.
fn open_new(base: BorrowedFd<'_>, path: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    retry_on_intr(|| openat(base, path, flags, mode))
}

/// The target of the symlink `name`; None if it is no symlink.
fn link_target(
    parent: BorrowedFd<'_>,
    name: &CStr,
    stage: Stage,
) -> Result<Option<Vec<u8>>, Fault> {
    match readlinkat(parent, name, Vec::new()) {
        Ok(link) => Ok(Some(link.into_bytes())),
        Err(Errno::INVAL) => Ok(None),
        Err(errno) => Err(stage.errno()(errno)),
    }
}

/// Directory part and last component; trailing slashes are dropped.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(0, |last| last + 1);
    let path = path.get(..end).unwrap_or_default();
    let cut = path
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |slash| slash + 1);
    path.split_at_checked(cut).unwrap_or_default()
}

/// The path that a symlink at `path` leads to: below `path`'s directory, or from the root.
fn beside(path: &[u8], link: &[u8]) -> Vec<u8> {
    match link {
        [b'/', ..] => link.to_vec(),
        _ => [split(path).0, link].concat(),
    }
}

/// The part of `path` below `root`, a prefix of it component by component. None for `root` itself,
/// without a root, and for a `..` before that part, behind which the text does not determine the
/// directory.
fn below<'p>(path: &'p [u8], root: &[u8]) -> Option<&'p [u8]> {
    if root.is_empty() || path.starts_with(b"/") != root.starts_with(b"/") {
        return None;
    }
    let mut rest = path;
    let mut next = || loop {
        let start = rest.iter().position(|byte| *byte != b'/')?;
        let from = rest.get(start..)?;
        let length = from
            .iter()
            .position(|byte| *byte == b'/')
            .unwrap_or(from.len());
        let (component, after) = from.split_at_checked(length)?;
        rest = after;
        if component != b"." {
            return Some(component);
        }
    };
    let components = root.split(|byte| *byte == b'/');
    for component in components.filter(|name| !matches!(name, [] | [b'.'])) {
        if component == b".." || next() != Some(component) {
            return None;
        }
    }
    rest.iter().any(|byte| *byte != b'/').then_some(rest)
}

fn c_string(bytes: &[u8], stage: Stage) -> Result<CString, Fault> {
    CString::new(bytes).map_err(|_| stage.fault(libc::EINVAL))
}

/// The name of a descriptor in `/proc/self/fd`.
fn name_of(file: BorrowedFd<'_>) -> CString {
    CString::new(file.as_raw_fd().to_string()).unwrap_or_default()
}

#[expect(
    unsafe_code,
    reason = "rustix takes no NULL for source, type and data, \
              and an empty source is not the same to the kernel"
)]
fn call_mount(source: &CStr, target: &CStr, request: &Mount) -> Result<(), Fault> {
    // The kernel copies one page of data and silently truncates the rest (copy_mount_options).
    if request.data.count_bytes() >= page_size() {
        return Err(Stage::Mount.fault(libc::E2BIG));
    }
    let or_null = |text: &CStr| match text.is_empty() {
        true => ptr::null(),
        false => text.as_ptr(),
    };
    // SAFETY: each pointer is NULL or a string that ends in NUL and outlives the call; the data is
    // shorter than the page that the kernel copies, and copying past its end stops at the first
    // page that is not mapped.
    let result = unsafe {
        libc::mount(
            or_null(source),
            target.as_ptr(),
            or_null(&request.fstype),
            libc::c_ulong::from(request.flags),
            or_null(&request.data).cast(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Stage::Mount.errno()(std::io::Error::last_os_error())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_takes_the_last_component() {
        assert_eq!(split(b"/a/b"), (&b"/a/"[..], &b"b"[..]));
        assert_eq!(split(b"/a/b///"), (&b"/a/"[..], &b"b"[..]));
        assert_eq!(split(b"b"), (&b""[..], &b"b"[..]));
        assert_eq!(split(b"/"), (&b""[..], &b""[..]));
        assert_eq!(split(b""), (&b""[..], &b""[..]));
        assert_eq!(split(b"/a/.."), (&b"/a/"[..], &b".."[..]));
    }

    #[test]
    fn a_path_is_below_a_root_by_its_words() {
        assert_eq!(below(b"/r/a/b", b"/r/a"), Some(&b"/b"[..]));
        assert_eq!(below(b"//r/./a//b/../c", b"/r/a/"), Some(&b"//b/../c"[..]));
        assert_eq!(below(b"r/b", b"./r"), Some(&b"/b"[..]));
        assert_eq!(below(b"/b", b"/"), Some(&b"/b"[..]));
        for (path, root) in [
            ("/r/ab", "/r/a"),
            ("/r/a/", "/r/a"),
            ("/r/../r/a/b", "/r/a"),
            ("r/a/b", "/r/a"),
            ("/r/a/b", ""),
            ("/r/a/b", "/r/x/../a"),
        ] {
            assert_eq!(below(path.as_bytes(), root.as_bytes()), None);
        }
    }

    #[test]
    fn a_relative_symlink_is_read_beside_itself() {
        assert_eq!(beside(b"/a/link", b"x/y"), b"/a/x/y");
        assert_eq!(beside(b"/a/link/", b"../x"), b"/a/../x");
        assert_eq!(beside(b"/a/link", b"/x"), b"/x");
    }
}
