//! NIFs of this subsystem.

use std::collections::HashMap;

use linx_wire::netlink::Attrs;
use linx_wire::netlink::pattern::{Blank, Pattern, text};
use rustler::types::atom::nil;
use rustler::{Binary, Encoder, Env, NewBinary, Term};

use crate::list::List;

/// NFTA_RULE_*.
const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const HANDLE: u16 = 3;
const EXPRESSIONS: u16 = 4;
const USERDATA: u16 = 7;

/// `struct nfgenmsg`.
const HEADER: usize = 4;

/// More patterns than a ruleset has; one of unlike rules must not fill memory.
const MOST: u32 = 1024;

/// The bodies of NEWRULE messages, each as `{family, table, chain, handle, userdata, pattern, blanks}`.
///
/// `pattern` is `{number, bytes, [{expression, attribute}]}` where it comes first, later its number alone. Where there
/// are too many to remember the number is nil.
#[rustler::nif(schedule = "DirtyCpu")]
fn netfilter_rules<'a>(env: Env<'a>, bodies: List<Binary<'a>>) -> Vec<Term<'a>> {
    let mut rules = Rules::default();
    let List(bodies) = bodies;
    bodies.iter().map(|body| rules.rule(env, body)).collect()
}

/// What repeats from rule to rule.
#[derive(Default)]
struct Rules<'a> {
    patterns: HashMap<Vec<u8>, u32>,
    last: Option<(Vec<u8>, u32)>,
    table: Option<(Vec<u8>, Term<'a>)>,
    chain: Option<(Vec<u8>, Term<'a>)>,
}

impl<'a> Rules<'a> {
    fn rule(&mut self, env: Env<'a>, body: &[u8]) -> Term<'a> {
        let (family, attrs) = match body.split_at_checked(HEADER) {
            Some((header, attrs)) => (header.first().copied(), attrs),
            None => (None, &[][..]),
        };
        let mut table = &[][..];
        let mut chain = &[][..];
        let mut handle = None;
        let mut userdata = None;
        let mut expressions = &[][..];
        for (kind, payload) in Attrs::new(attrs) {
            match kind {
                TABLE => table = text(payload),
                CHAIN => chain = text(payload),
                HANDLE => handle = number(payload),
                EXPRESSIONS => expressions = payload,
                USERDATA => userdata = Some(binary(env, payload)),
                _ => {}
            }
        }
        let mut pattern = Pattern::default();
        pattern.read(expressions);
        let blanks: Vec<_> = pattern.blanks.iter().map(|(_, b)| blank(env, b)).collect();
        let blanks = rustler::types::tuple::make_tuple(env, &blanks);
        let pattern = self.pattern(env, pattern);
        let table = name(env, &mut self.table, table);
        let chain = name(env, &mut self.chain, chain);
        (family, table, chain, handle, userdata, pattern, blanks).encode(env)
    }

    fn pattern(&mut self, env: Env<'a>, pattern: Pattern<'_>) -> Term<'a> {
        if let Some((bytes, number)) = &self.last
            && *bytes == pattern.bytes
        {
            return number.encode(env);
        }
        let known = self.patterns.get(&pattern.bytes).copied();
        let (number, term) = match known {
            Some(number) => (number, number.encode(env)),
            None => {
                let places: Vec<_> = pattern
                    .blanks
                    .iter()
                    .map(|(place, _)| (place.expression, place.attribute))
                    .collect();
                let bytes = binary(env, &pattern.bytes);
                let number = u32::try_from(self.patterns.len()).unwrap_or(MOST);
                if number >= MOST {
                    return (nil(), bytes, places).encode(env);
                }
                self.patterns.insert(pattern.bytes.clone(), number);
                (number, (number, bytes, places).encode(env))
            }
        };
        self.last = Some((pattern.bytes, number));
        term
    }
}

/// The same term as long as the name stays the same.
fn name<'a>(env: Env<'a>, last: &mut Option<(Vec<u8>, Term<'a>)>, name: &[u8]) -> Term<'a> {
    match last {
        Some((bytes, term)) if bytes == name => *term,
        _ => {
            let term = binary(env, name);
            *last = Some((name.to_vec(), term));
            term
        }
    }
}

fn blank<'a>(env: Env<'a>, blank: &Blank<'_>) -> Term<'a> {
    match blank {
        Blank::Bytes(bytes) | Blank::Text(bytes) => binary(env, bytes),
        Blank::Number(number) => number.encode(env),
    }
}

/// Of any width that the kernel has numbers of.
fn number(bytes: &[u8]) -> Option<u64> {
    let big = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
    matches!(bytes.len(), 1 | 2 | 4 | 8).then(|| big(bytes))
}

fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(bytes);
    binary.into()
}
