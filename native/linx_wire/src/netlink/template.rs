//! The expressions of an nf_tables rule, split into a template and the values of its placeholders.
//!
//! Many rules of a ruleset have the same expressions and differ only in compared values, counters
//! and names. Their template is the same bytes, so the decoder decodes each template once.
//!
//! Numbers from linux/netfilter/nf_tables.h at 6.18.

use super::Attrs;

/// NFTA_LIST_ELEM, NFTA_EXPR_NAME, NFTA_EXPR_DATA.
const ELEM: u16 = 1;
const NAME: u16 = 1;
const DATA: u16 = 2;

/// NFTA_DATA_VALUE, NFTA_DATA_VERDICT, NFTA_VERDICT_CHAIN.
const VALUE: u16 = 1;
const VERDICT: u16 = 2;
const CHAIN: u16 = 2;

/// The position of a placeholder: the index of its expression in the rule, and the attribute of the
/// expression's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub expression: u32,
    pub attribute: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder<'a> {
    /// A value that a register is compared with or loaded with.
    Bytes(&'a [u8]),
    /// A name, without its NUL.
    Text(&'a [u8]),
    /// A count.
    Number(u64),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template<'a> {
    /// The attributes as the kernel sent them, with zeros in the placeholders.
    pub bytes: Vec<u8>,
    pub placeholders: Vec<(Place, Placeholder<'a>)>,
}

/// How the content of an attribute is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Value,
    ValueOrVerdict,
    Text,
    U64,
}

/// The attributes of an expression that become placeholders. Attributes that decide how others are
/// decoded (registers, offsets, masks) stay in the template.
fn variable(name: &[u8]) -> &'static [(u16, Kind)] {
    match name {
        b"cmp\0" => &[(3, Kind::Value)],
        b"range\0" => &[(3, Kind::Value), (4, Kind::Value)],
        b"immediate\0" => &[(2, Kind::ValueOrVerdict)],
        b"counter\0" => &[(1, Kind::U64), (2, Kind::U64)],
        b"lookup\0" | b"dynset\0" => &[(1, Kind::Text)],
        b"objref\0" => &[(2, Kind::Text), (4, Kind::Text)],
        b"log\0" => &[(2, Kind::Text)],
        _ => &[],
    }
}

impl<'a> Template<'a> {
    /// Makes the template of the content of NFTA_RULE_EXPRESSIONS. Any other bytes are accepted
    /// too.
    pub fn read(&mut self, expressions: &'a [u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(expressions);
        self.placeholders.clear();
        let elements = Attrs::new(expressions).filter(|(kind, _)| *kind == ELEM);
        for (expression, (_, element)) in (0..).zip(elements) {
            let mut attrs = Attrs::new(element);
            // Attributes in another order than the kernel's stay in the template.
            if let (Some((NAME, name)), Some((DATA, data))) = (attrs.next(), attrs.next()) {
                for (kind, (attribute, payload)) in wanted(variable(name), data) {
                    let place = Place {
                        expression,
                        attribute,
                    };
                    self.cut(expressions, place, kind, payload);
                }
            }
        }
    }

    fn cut(&mut self, whole: &[u8], place: Place, kind: Kind, payload: &'a [u8]) {
        let (placeholder, content) = match kind {
            Kind::Text => (Placeholder::Text(text(payload)), payload),
            Kind::U64 => match payload.try_into() {
                Ok(bytes) => (Placeholder::Number(u64::from_be_bytes(bytes)), payload),
                Err(_) => return,
            },
            Kind::Value | Kind::ValueOrVerdict => match Attrs::new(payload).next() {
                Some((VALUE, value)) => (Placeholder::Bytes(value), value),
                Some((VERDICT, verdict)) if kind == Kind::ValueOrVerdict => {
                    let chain = Attrs::new(verdict).find(|(kind, _)| *kind == CHAIN);
                    let Some((_, name)) = chain else { return };
                    (Placeholder::Text(text(name)), name)
                }
                _ => return,
            },
        };
        let start = content.as_ptr().addr() - whole.as_ptr().addr();
        if let Some(hole) = self.bytes.get_mut(start..start + content.len()) {
            hole.fill(0);
            self.placeholders.push((place, placeholder));
        }
    }
}

fn wanted<'a>(
    kinds: &'static [(u16, Kind)],
    data: &'a [u8],
) -> impl Iterator<Item = (Kind, (u16, &'a [u8]))> {
    let attrs = if kinds.is_empty() { &[] } else { data };
    Attrs::new(attrs).filter_map(|attr| {
        let (_, kind) = kinds.iter().find(|(number, _)| *number == attr.0)?;
        Some((*kind, attr))
    })
}

/// The bytes before the first NUL.
pub fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attr(kind: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len() + 4).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn expression(name: &[u8], data: &[Vec<u8>]) -> Vec<u8> {
        attr(
            ELEM,
            &[attr(NAME, name), attr(DATA, &data.concat())].concat(),
        )
    }

    fn cmp(value: &[u8]) -> Vec<u8> {
        let data = attr(3, &attr(VALUE, value));
        expression(b"cmp\0", &[attr(1, &[0, 0, 0, 1]), attr(2, &[0; 4]), data])
    }

    fn counter(bytes: u64, packets: u64) -> Vec<u8> {
        let (bytes, packets) = (bytes.to_be_bytes(), packets.to_be_bytes());
        expression(b"counter\0", &[attr(1, &bytes), attr(2, &packets)])
    }

    fn read(expressions: &[u8]) -> Template<'_> {
        let mut template = Template::default();
        template.read(expressions);
        template
    }

    fn place(expression: u32, attribute: u16) -> Place {
        Place {
            expression,
            attribute,
        }
    }

    #[test]
    fn rules_that_differ_in_values_and_counts_have_one_template() {
        let one = [cmp(&[10, 0, 0, 1]), counter(84, 1)].concat();
        let other = [cmp(&[10, 0, 0, 2]), counter(0, 0)].concat();
        assert_eq!(read(&one).bytes, read(&other).bytes);
        assert_eq!(
            read(&one).placeholders,
            [
                (place(0, 3), Placeholder::Bytes(&[10, 0, 0, 1])),
                (place(1, 1), Placeholder::Number(84)),
                (place(1, 2), Placeholder::Number(1)),
            ]
        );
    }

    #[test]
    fn values_of_unlike_length_have_unlike_templates() {
        assert_ne!(read(&cmp(&[1, 2])).bytes, read(&cmp(&[1])).bytes);
    }

    #[test]
    fn a_jump_is_its_verdict_with_a_placeholder_for_the_chain() {
        let code = attr(1, &(-3_i32).to_be_bytes());
        let verdict = attr(VERDICT, &[code, attr(CHAIN, b"web\0")].concat());
        let jump = expression(b"immediate\0", &[attr(1, &[0; 4]), attr(2, &verdict)]);
        assert_eq!(
            read(&jump).placeholders,
            [(place(0, 2), Placeholder::Text(b"web"))]
        );
        assert_eq!(jump.len(), read(&jump).bytes.len());
    }

    proptest! {
        #[test]
        fn any_bytes_keep_their_length(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(read(&bytes).bytes.len(), bytes.len());
        }

        #[test]
        fn mutated_rules_keep_their_length(at in 0_usize..150, byte in any::<u8>()) {
            let mut bytes = [cmp(&[1, 2, 3, 4]), counter(1, 2), cmp(&[6])].concat();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            prop_assert_eq!(read(&bytes).bytes.len(), bytes.len());
        }
    }
}
