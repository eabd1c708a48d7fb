//! The error of a failed operation: a stage and an errno.

use std::io;

/// The stage of an operation that failed, and the kernel's errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: errno {errno}", .stage.name())]
pub struct Fault {
    pub stage: Stage,
    pub errno: i32,
}

macro_rules! stages {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// A stage of an operation; `name` is the documented atom.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Stage { $($(#[$doc])* $variant,)* }

        impl Stage {
            pub const ALL: &[Stage] = &[$(Stage::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Stage::$variant => $name,)* }
            }
        }
    };
}

stages! {
    Bind => "bind",
    Chdir => "chdir",
    Close => "close",
    CompareNs => "compare_ns",
    Create => "create",
    Fork => "fork",
    Image => "image",
    Ioctl => "ioctl",
    List => "list",
    Lock => "lock",
    Mkdir => "mkdir",
    Mount => "mount",
    MountSetattr => "mount_setattr",
    MoveMount => "move_mount",
    Open => "open",
    OpenNs => "open_ns",
    OpenPidns => "open_pidns",
    OpenTree => "open_tree",
    Pidfd => "pidfd",
    Pipe => "pipe",
    PivotRoot => "pivot_root",
    Read => "read",
    Recv => "recv",
    Send => "send",
    Setns => "setns",
    SetnsPid => "setns_pid",
    Share => "share",
    Socket => "socket",
    Sockopt => "sockopt",
    Tcgetattr => "tcgetattr",
    Tcsetattr => "tcsetattr",
    Thread => "thread",
    Umount => "umount",
    Unlink => "unlink",
    Unshare => "unshare",
    Write => "write",
}

/// An error of a library, as the kernel's number.
pub trait Errno {
    fn raw(&self) -> i32;
}

impl Errno for rustix::io::Errno {
    fn raw(&self) -> i32 {
        self.raw_os_error()
    }
}

impl Errno for nix::errno::Errno {
    fn raw(&self) -> i32 {
        *self as i32
    }
}

impl Errno for io::Error {
    fn raw(&self) -> i32 {
        self.raw_os_error().unwrap_or(libc::EIO)
    }
}

impl Stage {
    /// Converts a library's error to a fault at this stage, for `map_err`.
    pub fn errno<E: Errno>(self) -> impl Fn(E) -> Fault {
        move |error| self.fault(error.raw())
    }

    pub const fn fault(self, errno: i32) -> Fault {
        Fault { stage: self, errno }
    }
}
