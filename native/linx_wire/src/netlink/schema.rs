//! A message kind as a table, and the walk that decodes a message by it.
//!
//! The walk returns the fields of the table and skips the attributes that it lists. All others, and
//! a known attribute that is too short for its shape, are returned with type and bytes, so that
//! nothing that a newer kernel sends is fatal or lost.

use super::Attrs;

/// The shape of a field's bytes. A payload longer than a number's width is read as its prefix,
/// since kernel structs grow at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    U8,
    U16,
    U32,
    S32,
    /// Text up to the first NUL.
    Text,
    Bytes,
    /// An address of 4 or 16 bytes.
    Ip,
}

/// A decoded field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Unsigned(u32),
    Signed(i32),
    Bytes(&'a [u8]),
}

/// The most slots of a schema, and the longest header.
pub const MAX_SLOTS: usize = 20;
pub const MAX_HEADER: usize = 16;

/// The exclusive bound of attribute types in the index.
const INDEXED: usize = 128;

const UNKNOWN: u8 = 0xff;
const SKIPPED: u8 = 0xfe;

/// One kind of message: a fixed header and attributes. An attribute's index in `attrs` is its slot.
#[derive(Debug)]
pub struct Schema {
    /// Length of the fixed header, padding included.
    pub header: usize,
    pub attrs: &'static [(u16, Shape)],
    /// An attribute that is returned with the rest, but only if the 32 bits at an offset are not 0.
    pub unless_zero: Option<(u16, usize)>,
    index: [u8; INDEXED],
}

/// An item of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// The attribute of a slot.
    Field(usize, Value<'a>),
    /// An attribute outside the table, or too short for its shape.
    Other(u16, &'a [u8]),
}

impl Schema {
    /// Makes a schema; `skip` lists known attributes to drop.
    pub const fn new(header: usize, attrs: &'static [(u16, Shape)], skip: &'static [u16]) -> Self {
        assert!(attrs.len() <= MAX_SLOTS);
        assert!(header <= MAX_HEADER);
        let mut index = [UNKNOWN; INDEXED];
        let mut at = 0;
        while at < attrs.len() {
            index[attrs[at].0 as usize] = at as u8;
            at += 1;
        }
        at = 0;
        while at < skip.len() {
            index[skip[at] as usize] = SKIPPED;
            at += 1;
        }
        Self {
            header,
            attrs,
            unless_zero: None,
            index,
        }
    }

    /// Adds an attribute that most messages have and that is empty in most of them.
    pub const fn unless_zero(mut self, attr: u16, offset: usize) -> Self {
        self.unless_zero = Some((attr, offset));
        self
    }

    /// The header of `payload`; a short one is filled with zeros, in `room`.
    pub fn header<'a>(&self, payload: &'a [u8], room: &'a mut [u8; MAX_HEADER]) -> &'a [u8] {
        if let Some(header) = payload.get(..self.header) {
            return header;
        }
        room[..payload.len()].copy_from_slice(payload);
        &room[..self.header]
    }

    /// The attributes of `payload` in order. The last one of a type counts.
    pub fn walk<'a>(&self, payload: &'a [u8]) -> impl Iterator<Item = Found<'a>> {
        let attrs = payload.get(self.header..).unwrap_or_default();
        Attrs::new(attrs).filter_map(|(kind, bytes)| {
            let slot = self.index.get(usize::from(kind)).copied();
            let slot = slot.unwrap_or(UNKNOWN);
            if slot == SKIPPED || (slot == UNKNOWN && self.idle(kind, bytes)) {
                return None;
            }
            let slot = usize::from(slot);
            let shape = self.attrs.get(slot).map(|(_, shape)| *shape);
            Some(match shape.and_then(|shape| read(shape, bytes)) {
                Some(value) => Found::Field(slot, value),
                None => Found::Other(kind, bytes),
            })
        })
    }
}

impl Schema {
    fn idle(&self, kind: u16, bytes: &[u8]) -> bool {
        self.unless_zero.is_some_and(|(attr, offset)| {
            attr == kind && bytes.get(offset..offset + 4) == Some(&[0; 4])
        })
    }
}

fn read(shape: Shape, bytes: &[u8]) -> Option<Value<'_>> {
    match shape {
        Shape::Text => bytes.split(|byte| *byte == 0).next().map(Value::Bytes),
        Shape::Bytes => Some(Value::Bytes(bytes)),
        Shape::Ip => matches!(bytes.len(), 4 | 16).then_some(Value::Bytes(bytes)),
        _ => number(shape, bytes),
    }
}

fn number<'a>(shape: Shape, bytes: &[u8]) -> Option<Value<'a>> {
    Some(match shape {
        Shape::U8 => Value::Unsigned(u32::from(*bytes.first()?)),
        Shape::U16 => Value::Unsigned(u32::from(u16::from_ne_bytes(*bytes.first_chunk()?))),
        Shape::U32 => Value::Unsigned(u32::from_ne_bytes(*bytes.first_chunk()?)),
        Shape::S32 => Value::Signed(i32::from_ne_bytes(*bytes.first_chunk()?)),
        Shape::Text | Shape::Bytes | Shape::Ip => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    static SCHEMA: Schema = Schema::new(
        8,
        &[(1, Shape::Text), (2, Shape::U32), (3, Shape::Ip)],
        &[9],
    );

    fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (4 + payload.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(attrs: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 5, 6, 7, 8];
        for (kind, payload) in attrs {
            bytes.extend(attribute(*kind, payload));
        }
        bytes
    }

    #[test]
    fn known_skipped_unknown_and_odd() {
        let bytes = message(&[
            (1, b"eth0\0"),
            (9, b"skipped"),
            (2, &[1, 0]),
            (3, &[1, 2, 3]),
            (300, b"new"),
        ]);
        let found: Vec<_> = SCHEMA.walk(&bytes).collect();
        assert_eq!(
            found,
            [
                Found::Field(0, Value::Bytes(b"eth0")),
                Found::Other(2, &[1, 0]),
                Found::Other(3, &[1, 2, 3]),
                Found::Other(300, b"new"),
            ]
        );
    }

    #[test]
    fn an_attribute_with_nothing_in_it_is_passed_over() {
        static IDLE: Schema = Schema::new(8, &[(2, Shape::U32)], &[]).unless_zero(12, 4);
        let bytes = message(&[
            (12, &[1, 1, 1, 1, 0, 0, 0, 0, 1]),
            (12, &[0, 0, 0, 0, 0, 0, 1, 0]),
            (12, &[0, 0, 0, 0, 0, 0]),
            (2, &[5, 0, 0, 0]),
        ]);
        let found: Vec<_> = IDLE.walk(&bytes).collect();
        let five = u32::from_ne_bytes([5, 0, 0, 0]);
        assert_eq!(
            found,
            [
                Found::Other(12, &[0, 0, 0, 0, 0, 0, 1, 0]),
                Found::Other(12, &[0, 0, 0, 0, 0, 0]),
                Found::Field(0, Value::Unsigned(five)),
            ]
        );
    }

    #[test]
    fn longer_numbers_are_read_as_their_prefix() {
        let bytes = message(&[(2, &[5, 0, 0, 0, 9, 9, 9, 9])]);
        let found: Vec<_> = SCHEMA.walk(&bytes).collect();
        let five = u32::from_ne_bytes([5, 0, 0, 0]);
        assert_eq!(found, [Found::Field(1, Value::Unsigned(five))]);
    }

    #[test]
    fn a_header_cut_short_is_filled_with_zeros() {
        let mut room = [0; MAX_HEADER];
        assert_eq!(SCHEMA.header(&[1, 2], &mut room), [1, 2, 0, 0, 0, 0, 0, 0]);
        assert_eq!(SCHEMA.header(&message(&[]), &mut room)[4..], [5, 6, 7, 8]);
        assert_eq!(SCHEMA.walk(&[1, 2]).count(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut room = [0; MAX_HEADER];
            prop_assert_eq!(SCHEMA.header(&bytes, &mut room).len(), 8);
            SCHEMA.walk(&bytes).count();
        }
    }
}
