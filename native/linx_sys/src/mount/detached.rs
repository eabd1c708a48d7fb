//! open_tree(2), mount_setattr(2) and move_mount(2): a mount that has its attributes before any
//! process can reach it.
//!
//! mount(2) silently drops every flag of a new bind mount but MS_REC, and a later remount leaves a
//! moment in which the mount is writable. So a bind mount with attributes is cloned detached,
//! changed, and only then attached.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, unlinkat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::{Home, Lookup, Tree, on_target, open_new};
use crate::fault::{Fault, Stage};
use crate::ns::Namespace;

/// `AT_RECURSIVE` of linux/fcntl.h: the mounts below, too.
const AT_RECURSIVE: u32 = 0x8000;
/// `MOUNT_ATTR_IDMAP` of linux/mount.h.
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// The changes of mount_setattr(2): `MOUNT_ATTR_*` to set and to clear, and one of `MS_SHARED`,
/// `MS_SLAVE`, `MS_PRIVATE` and `MS_UNBINDABLE`, or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub set: u64,
    pub clear: u64,
    pub propagation: u64,
    pub recursive: bool,
}

/// A bind mount with `attributes` from the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bind {
    pub source: CString,
    pub target: CString,
    pub attributes: Attributes,
    /// Creates an empty file at the target if nothing is there.
    pub create: bool,
    pub lookup: Lookup,
}

/// A change of an existing mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setattr {
    pub target: CString,
    pub attributes: Attributes,
    pub lookup: Lookup,
}

/// Binds. Changes the calling thread's working directory, so the thread must be a pool's.
pub fn bind(home: &Home, request: &Bind, idmap: Option<&Namespace>) -> Result<(), Fault> {
    if request.lookup.is_plain() {
        return bind_plainly(request, idmap);
    }
    let Bind { target, lookup, .. } = request;
    on_target(home, target, request.create, lookup, |tree, target| {
        let source = tree.open_source(&request.source, lookup)?;
        let clone = clone_file(source.as_fd(), &request.attributes)?;
        set_attributes(clone.as_fd(), c"", &request.attributes, idmap)?;
        attach(&clone, target.as_fd())
    })
}

/// Binds in the calling thread's own namespace, as mount(8) would: symlinks are followed.
pub fn bind_plainly(request: &Bind, idmap: Option<&Namespace>) -> Result<(), Fault> {
    let flags = clone_flags(&request.attributes);
    let clone = open_tree(CWD, request.source.as_c_str(), flags).map_err(clone_stage())?;
    set_attributes(clone.as_fd(), c"", &request.attributes, idmap)?;
    let mut made = false;
    if request.create {
        match open_new(CWD, &request.target) {
            Ok(_) => made = true,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(Stage::Create.errno()(errno)),
        }
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH
        | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS
        | MoveMountFlags::MOVE_MOUNT_T_AUTOMOUNTS;
    let attached = move_mount(&clone, c"", CWD, request.target.as_c_str(), flags);
    if made && attached.is_err() {
        let _gone = unlinkat(CWD, &request.target, AtFlags::empty());
    }
    attached.map_err(Stage::MoveMount.errno())
}

/// Changes the mount at the target. With `idmap`, a mapped clone of the mount covers it, because
/// the kernel maps no mount that is in use.
pub fn setattr(home: &Home, request: &Setattr, idmap: Option<&Namespace>) -> Result<(), Fault> {
    if request.lookup.is_plain() {
        return setattr_plainly(request, idmap);
    }
    let tree = Tree::new(home, &request.lookup, Stage::MountSetattr)?;
    let target = tree.open(&request.target, Stage::MountSetattr)?;
    match idmap {
        None => set_attributes(target.as_fd(), c"", &request.attributes, None),
        Some(_) => cover(target.as_fd(), &request.attributes, idmap),
    }
}

/// As `setattr`, in the calling thread's own namespace: symlinks are followed.
pub fn setattr_plainly(request: &Setattr, idmap: Option<&Namespace>) -> Result<(), Fault> {
    match idmap {
        None => set_attributes(CWD, &request.target, &request.attributes, None),
        Some(_) => {
            let flags = clone_flags(&Attributes::default()) - OpenTreeFlags::OPEN_TREE_CLONE;
            let target = open_tree(CWD, request.target.as_c_str(), flags).map_err(clone_stage())?;
            cover(target.as_fd(), &request.attributes, idmap)
        }
    }
}

fn cover(
    target: BorrowedFd<'_>,
    attributes: &Attributes,
    idmap: Option<&Namespace>,
) -> Result<(), Fault> {
    let clone = clone_file(target, attributes)?;
    set_attributes(clone.as_fd(), c"", attributes, idmap)?;
    attach(&clone, target)
}

fn clone_flags(attributes: &Attributes) -> OpenTreeFlags {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if attributes.recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    flags
}

/// The errors of a lookup and of a bind are those of mount(2), at the caller's stage. A missing
/// call is a stage of its own: an old kernel, or a filter.
fn clone_stage() -> impl Fn(Errno) -> Fault {
    |errno| match errno {
        Errno::NOSYS | Errno::PERM => Stage::OpenTree.errno()(errno),
        _ => Stage::Mount.errno()(errno),
    }
}

fn clone_file(source: BorrowedFd<'_>, attributes: &Attributes) -> Result<OwnedFd, Fault> {
    let flags = clone_flags(attributes) | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(source, c"", flags).map_err(clone_stage())
}

fn attach(clone: &OwnedFd, target: BorrowedFd<'_>) -> Result<(), Fault> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(clone, c"", target, c"", flags).map_err(Stage::MoveMount.errno())
}

/// `struct mount_attr` of linux/mount.h, its first version.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// MOUNT_ATTR_SIZE_VER0 (linux/mount.h).
const _: () = assert!(size_of::<MountAttr>() == 32);

/// mount_setattr(2). An empty path means the descriptor's own mount.
#[expect(unsafe_code, reason = "no wrapper for mount_setattr(2)")]
fn set_attributes(
    at: BorrowedFd<'_>,
    path: &CStr,
    attributes: &Attributes,
    idmap: Option<&Namespace>,
) -> Result<(), Fault> {
    let mut attr = MountAttr {
        set: attributes.set,
        clear: attributes.clear,
        propagation: attributes.propagation,
        user_namespace: 0,
    };
    if let Some(namespace) = idmap {
        attr.set |= MOUNT_ATTR_IDMAP;
        attr.user_namespace = u64::from(namespace.file().as_raw_fd().unsigned_abs());
    }
    let mut flags = 0;
    if path.is_empty() {
        flags |= AtFlags::EMPTY_PATH.bits();
    }
    if attributes.recursive {
        flags |= AT_RECURSIVE;
    }
    // SAFETY: the path ends in NUL, the struct has the size that is named, and both outlive the
    // call, which only reads them; the descriptors are open for as long.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Stage::MountSetattr.errno()(std::io::Error::last_os_error())),
    }
}
