//! Bytes to Rust values and back. No I/O, no clock, no unsafe: the whole crate can be fuzzed.
#![forbid(unsafe_code)]

pub mod netlink;

pub mod seccomp;
