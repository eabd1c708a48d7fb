//! The NIF library: terms to `linx_wire` and `linx_sys`, and back. Each function decodes, calls and
//! replies.
#![forbid(unsafe_code)]

mod cgroup;
mod list;
mod mount;
mod netfilter;
mod netlink;
mod netns;
mod pin;
mod process;
mod procfs;
mod reply;
mod seccomp;
mod sysctl;
mod target;
mod tty;
mod work;

rustler::init!("Elixir.Linx.Native");
