//! The stage of a session at which a call failed. The names are the documented atoms; the number
//! crosses the shared page.

macro_rules! stages {
    ($($variant:ident => $name:literal,)*) => {
        /// A step of a session.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Stage { $($variant,)* }

        impl Stage {
            const ALL: &[Stage] = &[$(Stage::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Stage::$variant => $name,)* }
            }
        }
    };
}

stages! {
    PosixOpenpt => "posix_openpt",
    Ptsetup => "ptsetup",
    PtsOpen => "pts_open",
    Pipe2 => "pipe2",
    Clone => "clone",
    Dumpable => "dumpable",
    Signals => "signals",
    Subreaper => "subreaper",
    Umask => "umask",
    Poll => "poll",
    Wait => "wait",
    Signal => "signal",
    Kill => "kill",
    Descriptors => "descriptors",
    Fork => "fork",
    Init => "init",
    Cgroup => "cgroup",
    OpenNsUser => "open_ns_user",
    OpenNsMnt => "open_ns_mnt",
    OpenNsUts => "open_ns_uts",
    OpenNsIpc => "open_ns_ipc",
    OpenNsCgroup => "open_ns_cgroup",
    OpenNsNet => "open_ns_net",
    OpenNsTime => "open_ns_time",
    OpenNsPid => "open_ns_pid",
    Image => "image",
    CompareNs => "compare_ns",
    SetnsUser => "setns_user",
    SetnsMnt => "setns_mnt",
    SetnsUts => "setns_uts",
    SetnsIpc => "setns_ipc",
    SetnsCgroup => "setns_cgroup",
    SetnsNet => "setns_net",
    SetnsTime => "setns_time",
    SetnsPid => "setns_pid",
    Stdio => "stdio",
    Rlimit => "rlimit",
    Nice => "nice",
    Cpus => "cpus",
    OomScoreAdj => "oom_score_adj",
    Scheduler => "scheduler",
    IoPriority => "io_priority",
    TimeOffsets => "time_offsets",
    Hostname => "hostname",
    Fds => "fds",
    Propagation => "propagation",
    Chdir => "chdir",
    CapDropBounding => "cap_drop_bounding",
    CapSetThread => "cap_set_thread",
    CapSetAmbient => "cap_set_ambient",
    Setgroups => "setgroups",
    Setgid => "setgid",
    Setuid => "setuid",
    Keyring => "keyring",
    SeccompNoNewPrivs => "seccomp_no_new_privs",
    SeccompInstall => "seccomp_install",
    Execve => "execve",
    MalformedRequest => "malformed_request",
    RequestTooBig => "request_too_big",
    CommandTooBig => "command_too_big",
    ReadyFrame => "ready_frame",
    ExecOutcome => "exec_outcome",
}

impl Stage {
    /// The stage of a number; None for any other, since a tracer of the child may write to the
    /// page.
    pub fn from_number(number: u32) -> Option<Stage> {
        Self::ALL.get(number as usize).copied()
    }
}

/// A stage and the kernel's errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub stage: Stage,
    pub errno: i32,
}

impl Stage {
    pub const fn fault(self, errno: i32) -> Fault {
        Fault { stage: self, errno }
    }

    /// Converts the kernel's error to a fault at this stage, for `map_err`.
    pub fn errno(self) -> impl Fn(rustix::io::Errno) -> Fault {
        move |error| self.fault(error.raw_os_error())
    }
}
