//! One job in other namespaces, done by a thread that ends afterwards or, where the kernel refuses
//! threads, by an agent.
//!
//! setns(2) into a user or a time namespace is EINVAL for a process with several threads, and a pid
//! namespace is joined for children only. For these an agent runs one job: it has one thread and
//! may join any namespace. posix_spawn starts it (no copy of the VM's page tables) with one end of
//! a socket pair as its standard input, which carries the job, the namespaces' descriptors and the
//! answer.

mod agent;
mod channel;
mod here;
mod request;
mod run;
mod serve;

pub use agent::{MODE, netlink_socket};
pub use request::{Job, Outcome, decode_answer, decode_job, encode_answer, encode_job};
pub use run::{Namespaces, run_on_this_thread};
pub use serve::{refuse, serve};
