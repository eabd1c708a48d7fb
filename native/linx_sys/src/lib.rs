//! The system calls that Linx makes from the VM; a failure names its stage and its errno.
//!
//! `unsafe` is denied; each exception has a SAFETY comment.
#![deny(unsafe_code)]

pub mod cgroup;
pub mod fault;
pub mod image;
pub mod job;
mod job_message;
pub mod lane;
pub mod mount;
pub mod netlink;
pub mod netns;
pub mod ns;
pub mod pidfd;
pub mod pin;
pub mod probe;
pub mod procfs;
pub mod release;
pub mod sysctl;
pub mod tty;
pub mod watch;
pub mod work;

pub use fault::{Fault, Stage};
