//! The replies `:ok`, `{:ok, value}` and `{:error, {stage, errno}}`: the one place where a fault
//! becomes a term.

use linx_sys::Fault;
use rustler::types::atom;
use rustler::{Atom, Encoder, Env, NewBinary, Term};

/// The reply of a NIF that makes system calls.
#[derive(Debug)]
pub struct Reply<T>(pub Result<T, Fault>);

/// The term of `Ok(value)`.
pub trait Success {
    fn term<'a>(&self, env: Env<'a>) -> Term<'a>;
}

impl Success for () {
    fn term<'a>(&self, env: Env<'a>) -> Term<'a> {
        atom::ok().encode(env)
    }
}

/// A success that carries a value.
#[derive(Debug)]
pub struct Value<T>(pub T);

impl<T: Encoder> Success for Value<T> {
    fn term<'a>(&self, env: Env<'a>) -> Term<'a> {
        (atom::ok(), &self.0).encode(env)
    }
}

/// Bytes, as a binary.
#[derive(Debug)]
pub struct Bytes(pub Vec<u8>);

impl Encoder for Bytes {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let mut binary = NewBinary::new(env, self.0.len());
        binary.as_mut_slice().copy_from_slice(&self.0);
        binary.into()
    }
}

impl<T: Success> Encoder for Reply<T> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match &self.0 {
            Ok(value) => value.term(env),
            Err(fault) => (atom::error(), fault_term(env, *fault)).encode(env),
        }
    }
}

/// `{stage, errno}`. Stage names come from a fixed table, so the atoms are bounded.
pub fn fault_term<'a>(env: Env<'a>, fault: Fault) -> Term<'a> {
    match Atom::from_str(env, fault.stage.name()) {
        Ok(stage) => (stage, fault.errno).encode(env),
        Err(_) => (atom::error(), fault.errno).encode(env),
    }
}
