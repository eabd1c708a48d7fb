//! Messages and answers as terms.
//!
//! Objects go up as flat tuples in the order of their schema, and Elixir makes structs of them:
//! measured at a third of what building maps here costs, and with 40 % less memory, since structs
//! that Elixir makes share their keys.

use linx_sys::Fault;
use linx_wire::netlink::schema::{Found, MAX_HEADER, MAX_SLOTS, Value};
use linx_wire::netlink::{Frame, Frames, frame, rtnl};
use rustler::types::atom::{error, nil, ok};
use rustler::types::tuple::make_tuple;
use rustler::{Atom, Binary, Decoder, Encoder, Env, Error, NewBinary, NifResult, Term};

use super::exchange::{Answer, Data, Events, Failure, State};
use crate::list::List;
use crate::reply::{Success, fault_term};

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;

mod atoms {
    rustler::atoms! { raw, rtnl, empty, more, overrun, malformed, busy }
}

/// How messages go up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `{type, flags, seq, payload}`.
    Raw,
    /// `{type, header, attribute, ..., rest}` by rtnetlink's schemas; `{type}` for a type that has
    /// none.
    Rtnl,
}

impl<'a> Decoder<'a> for Form {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        match term.decode::<Atom>()? {
            form if form == atoms::raw() => Ok(Form::Raw),
            form if form == atoms::rtnl() => Ok(Form::Rtnl),
            _ => Err(Error::BadArg),
        }
    }
}

pub fn message<'a>(env: Env<'a>, frame: &Frame<'_>, form: Form) -> Term<'a> {
    match form {
        Form::Raw => {
            let payload = binary(env, frame.payload);
            (frame.kind, frame.flags, frame.seq, payload).encode(env)
        }
        Form::Rtnl => object(env, frame),
    }
}

fn object<'a>(env: Env<'a>, frame: &Frame<'_>) -> Term<'a> {
    let Some(schema) = rtnl::schema(frame.kind) else {
        return (frame.kind,).encode(env);
    };
    let mut header = [0; MAX_HEADER];
    let mut terms = [nil().encode(env); MAX_SLOTS + 3];
    let mut others = Vec::new();
    terms[0] = frame.kind.encode(env);
    terms[1] = binary(env, schema.header(frame.payload, &mut header));
    for found in schema.walk(frame.payload) {
        match found {
            Found::Field(slot, value) => terms[slot + 2] = field(env, value),
            Found::Other(kind, bytes) => others.push((kind, binary(env, bytes))),
        }
    }
    let size = schema.attrs.len() + 3;
    terms[size - 1] = others.encode(env);
    make_tuple(env, &terms[..size])
}

fn field<'a>(env: Env<'a>, value: Value<'_>) -> Term<'a> {
    match value {
        Value::Unsigned(number) => number.encode(env),
        Value::Signed(number) => number.encode(env),
        Value::Bytes(bytes) => binary(env, bytes),
    }
}

// On the process heap up to 64 bytes: no reference to the receive buffer keeps it alive.
fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(bytes);
    binary.into()
}

/// `:busy`: somebody else has the turn.
pub fn busy(env: Env<'_>) -> Term<'_> {
    atoms::busy().encode(env)
}

/// `{:ok, messages, errors, interrupted}`. A long dump is `{dump, count}` for its messages.
impl Success for Answer {
    fn term<'a>(&self, env: Env<'a>) -> Term<'a> {
        let messages = match &self.data {
            Data::Long(dump, count) => (dump, count).encode(env),
            Data::Short(dump) => dump.terms(env).encode(env),
        };
        (ok(), messages, &self.errors, self.interrupted).encode(env)
    }
}

/// `{seq, errno, offset | nil, text | nil, missing attribute | nil}`.
impl Encoder for Failure {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let text = self.text.as_ref().map(|text| binary(env, text));
        (self.seq, self.errno, self.offset, text, self.missing).encode(env)
    }
}

/// The messages that a call asks to have sent, `[{type, flags, payload}]`, numbered from `first`:
/// their bytes and the last number. Errors come back without being asked for, so the last one's
/// acknowledgement stands for all.
pub fn frames(
    List(requests): &List<(u16, u16, Binary<'_>)>,
    first: u32,
) -> NifResult<(Vec<u8>, u32)> {
    let mut bytes = Vec::with_capacity(256);
    let mut seq = first;
    let mut requests = requests.iter().peekable();
    while let Some((kind, flags, payload)) = requests.next() {
        let flags = match requests.peek() {
            Some(_) => flags | NLM_F_REQUEST,
            None => flags | NLM_F_REQUEST | NLM_F_ACK,
        };
        if !frame::push(&mut bytes, *kind, flags, seq, payload) {
            return Err(Error::BadArg);
        }
        seq += u32::from(requests.peek().is_some());
    }
    Ok((bytes, seq))
}

/// The messages in `parts` as requests with the sequence numbers `seqs`, of which there are as many
/// as messages.
pub fn numbered(List(parts): &List<Binary<'_>>, seqs: (u32, u32)) -> NifResult<Vec<u8>> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        bytes.extend_from_slice(part);
    }
    match frame::number(&mut bytes, NLM_F_REQUEST, seqs.0) {
        Some(next) if u64::from(seqs.1) + 1 == next => Ok(bytes),
        _ => Err(Error::BadArg),
    }
}

/// `{:ok, messages, :empty | :more | :overrun, bytes}` or `{:error, {stage, errno}}`.
pub fn events<'a>(env: Env<'a>, events: Result<Events<'a>, Fault>) -> Term<'a> {
    match events {
        Ok(events) => {
            let state = match events.state {
                State::Empty => atoms::empty(),
                State::More => atoms::more(),
                State::Overrun => atoms::overrun(),
            };
            (ok(), events.messages, state, events.bytes).encode(env)
        }
        Err(fault) => (error(), fault_term(env, fault)).encode(env),
    }
}

/// `{:ok, messages}` or `{:malformed, messages}`, the latter with those before the malformed one.
pub fn decode<'a>(env: Env<'a>, bytes: &[u8], form: Form) -> Term<'a> {
    let mut whole = ok();
    let mut messages = Vec::new();
    for frame in Frames::new(bytes) {
        match frame {
            Ok(frame) => messages.push(message(env, &frame, form)),
            Err(_) => whole = atoms::malformed(),
        }
    }
    (whole, messages).encode(env)
}
