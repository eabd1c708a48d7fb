//! Bytes to Rust values and back. No I/O, no clock, no unsafe: everything here can be fuzzed.
#![forbid(unsafe_code)]

pub mod netlink;

pub mod seccomp;
