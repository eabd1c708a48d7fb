//! The NIF of `Linx.Netfilter`: the bodies of a rule dump as templates and values.

use std::collections::HashMap;

use linx_wire::netlink::Attrs;
use linx_wire::netlink::template::{Placeholder, Template, text};
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

/// The bound of the template cache, so that a ruleset without repeated rules does not fill memory.
const MAX_TEMPLATES: u32 = 1024;

/// The bodies of NEWRULE messages, each as
/// `{family, table, chain, handle, userdata, template, placeholders}`.
///
/// `template` is `{number, bytes, [{expression, attribute}]}` at its first use, later its number
/// alone. The number of a template that the full cache does not take is nil.
#[rustler::nif(schedule = "DirtyCpu")]
fn netfilter_rules<'a>(env: Env<'a>, bodies: List<Binary<'a>>) -> Vec<Term<'a>> {
    let mut rules = Rules::default();
    let List(bodies) = bodies;
    bodies.iter().map(|body| rules.rule(env, body)).collect()
}

/// The cache of one dump: its templates, and the last table and chain name as terms.
#[derive(Default)]
struct Rules<'a> {
    templates: HashMap<Vec<u8>, u32>,
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
        let mut template = Template::default();
        template.read(expressions);
        let placeholders: Vec<_> = template
            .placeholders
            .iter()
            .map(|(_, b)| placeholder(env, b))
            .collect();
        let placeholders = rustler::types::tuple::make_tuple(env, &placeholders);
        let template = self.template(env, template);
        let table = name(env, &mut self.table, table);
        let chain = name(env, &mut self.chain, chain);
        (
            family,
            table,
            chain,
            handle,
            userdata,
            template,
            placeholders,
        )
            .encode(env)
    }

    fn template(&mut self, env: Env<'a>, template: Template<'_>) -> Term<'a> {
        if let Some((bytes, number)) = &self.last
            && *bytes == template.bytes
        {
            return number.encode(env);
        }
        let known = self.templates.get(&template.bytes).copied();
        let (number, term) = match known {
            Some(number) => (number, number.encode(env)),
            None => {
                let places: Vec<_> = template
                    .placeholders
                    .iter()
                    .map(|(place, _)| (place.expression, place.attribute))
                    .collect();
                let bytes = binary(env, &template.bytes);
                let number = u32::try_from(self.templates.len()).unwrap_or(MAX_TEMPLATES);
                if number >= MAX_TEMPLATES {
                    return (nil(), bytes, places).encode(env);
                }
                self.templates.insert(template.bytes.clone(), number);
                (number, (number, bytes, places).encode(env))
            }
        };
        self.last = Some((template.bytes, number));
        term
    }
}

/// The term of `name`, which is `last`'s where the name is the same.
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

fn placeholder<'a>(env: Env<'a>, placeholder: &Placeholder<'_>) -> Term<'a> {
    match placeholder {
        Placeholder::Bytes(bytes) | Placeholder::Text(bytes) => binary(env, bytes),
        Placeholder::Number(number) => number.encode(env),
    }
}

/// The big-endian number in `bytes`; None for a width that the kernel has no numbers of.
fn number(bytes: &[u8]) -> Option<u64> {
    let big = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
    matches!(bytes.len(), 1 | 2 | 4 | 8).then(|| big(bytes))
}

fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(bytes);
    binary.into()
}
