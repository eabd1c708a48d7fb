//! `struct nlattr`: the type-length-value elements of a message.

use super::{align, u16_at};

/// NLA_F_NESTED and NLA_F_NET_BYTEORDER are not part of the type.
const TYPE_MASK: u16 = 0x3fff;

const HEADER: usize = 4;

/// The attributes of a message or nest, in order, as `(type, payload)`.
///
/// A length beyond the end stops the walk: the attributes before it are valid, the following ones
/// cannot be found.
#[derive(Clone, Debug)]
pub struct Attrs<'a> {
    rest: &'a [u8],
}

impl<'a> Attrs<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.rest;
        let end = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & TYPE_MASK;
        let payload = bytes.get(HEADER..end);
        self.rest = match payload {
            Some(_) => bytes.get(align(end)..).unwrap_or_default(),
            None => &[],
        };
        payload.map(|payload| (kind, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attribute(length: u16, kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn flags_are_masked_and_padding_skipped() {
        let mut bytes = attribute(5, 1 | 0x8000, &[7, 0, 0, 0]);
        bytes.extend(attribute(4, 2, &[]));
        let found: Vec<_> = Attrs::new(&bytes).collect();
        assert_eq!(found, [(1, &[7][..]), (2, &[][..])]);
    }

    #[test]
    fn a_length_that_overruns_keeps_what_came_before() {
        let mut bytes = attribute(8, 1, &[1, 2, 3, 4]);
        bytes.extend(attribute(100, 2, &[5, 6, 7, 8]));
        assert_eq!(Attrs::new(&bytes).count(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let total: usize = Attrs::new(&bytes).map(|(_, payload)| payload.len() + HEADER).sum();
            prop_assert!(total <= bytes.len());
        }
    }
}
