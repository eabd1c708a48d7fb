//! A message kind as a table, and the walk that reads a message by it.
//!
//! The walk keeps the fields that the table names and passes over those it says to skip. Everything else, and a known
//! attribute that is too short for its shape, goes to `rest` with its bytes, so that nothing a newer kernel sends is
//! fatal or lost.

use super::Attrs;

/// How the bytes of a field are read. A payload longer than a number's width is read as its prefix, since kernel
/// structs grow at the end.
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

/// A field that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Value<'a> {
    #[default]
    Absent,
    Unsigned(u32),
    Signed(i32),
    Bytes(&'a [u8]),
}

/// Slots a schema may have, and the greatest attribute type that the index holds.
pub const MAX_SLOTS: usize = 32;
const INDEXED: usize = 128;
const MAX_HEADER: usize = 64;

const UNKNOWN: u8 = 0xff;
const SKIPPED: u8 = 0xfe;

/// One kind of message. Slots are the header's fields in order, then the attributes in order.
#[derive(Debug)]
pub struct Schema {
    pub header: &'static [(usize, Shape)],
    /// Length of the fixed header, padding included.
    pub header_length: usize,
    pub attrs: &'static [(u16, Shape)],
    index: [u8; INDEXED],
}

impl Schema {
    /// `skip` lists attributes that are known and not wanted.
    pub const fn new(
        header_length: usize,
        header: &'static [(usize, Shape)],
        attrs: &'static [(u16, Shape)],
        skip: &'static [u16],
    ) -> Self {
        assert!(header.len() + attrs.len() <= MAX_SLOTS);
        assert!(header_length <= MAX_HEADER);
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
            header_length,
            attrs,
            index,
        }
    }

    pub const fn slots(&self) -> usize {
        self.header.len() + self.attrs.len()
    }

    /// Reads `payload`. A header cut short is filled with zeros; of an attribute that comes twice the last counts.
    pub fn walk<'a>(
        &self,
        payload: &'a [u8],
        rest: &mut Vec<(u16, &'a [u8])>,
    ) -> [Value<'a>; MAX_SLOTS] {
        let mut slots = [Value::Absent; MAX_SLOTS];
        let mut header = [0; MAX_HEADER];
        let present = payload.len().min(self.header_length);
        header[..present].copy_from_slice(&payload[..present]);
        for (slot, (at, shape)) in slots.iter_mut().zip(self.header) {
            *slot = number(*shape, &header[*at..]).unwrap_or_default();
        }
        let attrs = payload.get(self.header_length..).unwrap_or_default();
        for (kind, bytes) in Attrs::new(attrs) {
            let at = self
                .index
                .get(usize::from(kind))
                .copied()
                .unwrap_or(UNKNOWN);
            if at == SKIPPED {
                continue;
            }
            let known = self.attrs.get(usize::from(at));
            let slot = slots.get_mut(self.header.len() + usize::from(at));
            match (known.and_then(|(_, shape)| read(*shape, bytes)), slot) {
                (Some(value), Some(slot)) => *slot = value,
                _ => rest.push((kind, bytes)),
            }
        }
        slots
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
        &[(0, Shape::U8), (4, Shape::S32)],
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
        let mut bytes = vec![2, 0, 0, 0];
        bytes.extend((-3_i32).to_ne_bytes());
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
        let mut rest = Vec::new();
        let slots = SCHEMA.walk(&bytes, &mut rest);
        assert_eq!(
            slots[..5],
            [
                Value::Unsigned(2),
                Value::Signed(-3),
                Value::Bytes(b"eth0"),
                Value::Absent,
                Value::Absent
            ]
        );
        assert_eq!(
            rest,
            [(2, &[1, 0][..]), (3, &[1, 2, 3][..]), (300, &b"new"[..])]
        );
    }

    #[test]
    fn longer_numbers_are_read_as_their_prefix_and_the_last_one_counts() {
        let bytes = message(&[(2, &[1, 0, 0, 0]), (2, &[5, 0, 0, 0, 9, 9, 9, 9])]);
        let mut rest = Vec::new();
        assert_eq!(
            SCHEMA.walk(&bytes, &mut rest)[3],
            Value::Unsigned(u32::from_le(5).to_le())
        );
        assert!(rest.is_empty());
    }

    #[test]
    fn a_header_cut_short_reads_as_zero() {
        let mut rest = Vec::new();
        assert_eq!(
            SCHEMA.walk(&[], &mut rest)[..2],
            [Value::Unsigned(0), Value::Signed(0)]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut rest = Vec::new();
            SCHEMA.walk(&bytes, &mut rest);
        }
    }
}
