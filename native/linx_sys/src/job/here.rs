//! The job itself, on a thread or in a process that ends afterwards.

use super::request::{Job, Outcome};
use crate::fault::{Fault, Stage};
use crate::mount::{self, Home};
use crate::ns::{Kind, Namespace};
use crate::sysctl;

/// Joins `namespaces`, the mount namespace last, and does `job`; files of the VM's mount namespace
/// are opened first. Nothing is undone, so the thread or process must end afterwards. `idmap` is
/// the user namespace of a mount's mapping.
pub(super) fn run_here<'n>(
    namespaces: impl IntoIterator<Item = &'n Namespace> + Clone,
    job: &Job,
    idmap: Option<&Namespace>,
) -> Result<Outcome, Fault> {
    for namespace in namespaces.clone() {
        if namespace.kind() != Kind::Mnt {
            namespace.join()?;
        }
    }
    match job {
        Job::Mount(request) => {
            let home = leave(namespaces)?;
            mount::mount(&home, request).map(|()| Outcome::Done)
        }
        Job::Bind(request) => {
            let home = leave(namespaces)?;
            mount::bind(&home, request, idmap).map(|()| Outcome::Done)
        }
        Job::Setattr(request) => {
            let home = leave(namespaces)?;
            mount::setattr(&home, request, idmap).map(|()| Outcome::Done)
        }
        Job::Umount(request) => {
            let home = leave(namespaces)?;
            mount::umount(&home, request).map(|()| Outcome::Done)
        }
        Job::PivotRoot(request) => {
            let home = leave(namespaces)?;
            mount::pivot_root(&home, request).map(|()| Outcome::Done)
        }
        Job::SysctlRead(paths) => sysctl::Tree::open()?.read(paths).map(Outcome::Bytes),
        Job::SysctlWrite(paths, data) => sysctl::Tree::open()?
            .write(paths, data)
            .map(|()| Outcome::Done),
        Job::SysctlList(paths) => sysctl::Tree::open()?.list(paths).map(Outcome::Entries),
        // Only the agent opens sockets (`netlink_socket`).
        Job::NetlinkSocket(_) => Err(Stage::Socket.fault(libc::EINVAL)),
    }
}

/// Opens the files of the VM's mount namespace, then joins the target's.
fn leave<'n>(namespaces: impl IntoIterator<Item = &'n Namespace>) -> Result<Home, Fault> {
    let home = Home::open()?;
    for namespace in namespaces {
        if namespace.kind() == Kind::Mnt {
            namespace.join()?;
        }
    }
    Ok(home)
}

pub(super) fn is_for_a_process(namespace: &Namespace) -> bool {
    matches!(namespace.kind(), Kind::Pid | Kind::User | Kind::Time)
}
