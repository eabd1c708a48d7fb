//! `struct nlmsghdr`: splitting a datagram into messages.

use super::{align, u16_at, u32_at};

/// Length of `struct nlmsghdr`.
pub const HEADER: usize = 16;

/// One message, its payload without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: u16,
    pub flags: u16,
    pub seq: u32,
    pub port: u32,
    pub payload: &'a [u8],
}

/// The error of a message whose length is below the header's or beyond the buffer's end. No message
/// after it can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed netlink message: length {length} with {left} bytes left")]
pub struct Malformed {
    pub length: u32,
    pub left: usize,
}

/// The messages of a datagram, in order. Ends after the first malformed one.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    pub fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }

    /// The number of bytes that are not split yet.
    pub fn left(&self) -> usize {
        self.rest.len()
    }
}

/// Appends a message with the port 0, which the kernel fills in; false if the length does not fit
/// in 32 bits.
pub fn push(buffer: &mut Vec<u8>, kind: u16, flags: u16, seq: u32, payload: &[u8]) -> bool {
    let Ok(length) = u32::try_from(HEADER + payload.len()) else {
        return false;
    };
    buffer.extend_from_slice(&length.to_ne_bytes());
    buffer.extend_from_slice(&kind.to_ne_bytes());
    buffer.extend_from_slice(&flags.to_ne_bytes());
    buffer.extend_from_slice(&seq.to_ne_bytes());
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(payload);
    buffer.resize(align(buffer.len()), 0);
    true
}

/// Numbers the messages in `buffer` from `first` on and adds `flags` to their own. Returns the next
/// number; None if the buffer does not end with a message.
pub fn number(buffer: &mut [u8], flags: u16, first: u32) -> Option<u64> {
    let mut seq = u64::from(first);
    let mut rest = buffer;
    while !rest.is_empty() {
        let length = u32_at(rest, 0)? as usize;
        let flags = u16_at(rest, 6)? | flags;
        if length < HEADER {
            return None;
        }
        let (message, after) = rest.split_at_mut_checked(align(length))?;
        message.get_mut(6..8)?.copy_from_slice(&flags.to_ne_bytes());
        let number = u32::try_from(seq).ok()?;
        message
            .get_mut(8..12)?
            .copy_from_slice(&number.to_ne_bytes());
        seq += 1;
        rest = after;
    }
    Some(seq)
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.rest;
        // Fewer bytes than a header are padding.
        let (length, kind, flags, seq, port) = (
            u32_at(bytes, 0)?,
            u16_at(bytes, 4)?,
            u16_at(bytes, 6)?,
            u32_at(bytes, 8)?,
            u32_at(bytes, 12)?,
        );
        let end = length as usize;
        let Some(payload) = bytes.get(HEADER..end) else {
            self.rest = &[];
            let left = bytes.len();
            return Some(Err(Malformed { length, left }));
        };
        self.rest = bytes.get(align(end)..).unwrap_or_default();
        Some(Ok(Frame {
            kind,
            flags,
            seq,
            port,
            payload,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(16_u16.to_ne_bytes());
        bytes.extend(5_u16.to_ne_bytes());
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend(9_u32.to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn two_messages_with_padding_between() {
        let mut bytes = message(19, &[1, 2, 3, 0]);
        bytes.extend(message(16, &[]));
        let frames: Vec<_> = Frames::new(&bytes).collect();
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].map(|frame| frame.payload), Ok(&[1, 2, 3][..]));
        assert_eq!(frames[1].map(|frame| frame.seq), Ok(7));
    }

    #[test]
    fn what_is_pushed_is_split_again() {
        let mut bytes = Vec::new();
        assert!(push(&mut bytes, 24, 5, 7, &[1, 2, 3]));
        assert!(push(&mut bytes, 25, 1, 8, &[]));
        assert_eq!(bytes.len(), 20 + 16);
        let mut frames = Frames::new(&bytes);
        let first = frames.next().unwrap().unwrap();
        let (kind, flags, seq, port) = (24, 5, 7, 0);
        let payload = &[1, 2, 3][..];
        assert_eq!(
            first,
            Frame {
                kind,
                flags,
                seq,
                port,
                payload
            }
        );
        assert_eq!(frames.left(), 16);
        assert_eq!(frames.next().unwrap().unwrap().seq, 8);
    }

    #[test]
    fn messages_are_numbered_and_flagged() {
        let mut bytes = Vec::new();
        assert!(push(&mut bytes, 24, 0x400, 0, &[1, 2, 3]));
        assert!(push(&mut bytes, 25, 0, 0, &[]));
        assert_eq!(number(&mut bytes, 1, u32::MAX - 1), Some(1 << 32));
        let frames: Vec<_> = Frames::new(&bytes).flatten().collect();
        assert_eq!((frames[0].seq, frames[0].flags), (u32::MAX - 1, 0x401));
        assert_eq!((frames[1].seq, frames[1].flags), (u32::MAX, 1));
        assert_eq!(frames[0].payload, [1, 2, 3]);
        assert_eq!(number(&mut [], 1, 7), Some(7));
    }

    #[test]
    fn what_is_no_sequence_of_messages_is_not_numbered() {
        for length in [0, 15, 21, u32::MAX] {
            assert_eq!(number(&mut message(length, &[1, 2, 3, 4]), 1, 1), None);
        }
        assert_eq!(number(&mut [0; 3], 1, 1), None);
        let mut two = [message(16, &[]), message(16, &[])].concat();
        assert_eq!(number(&mut two, 1, u32::MAX), None, "numbers end");
    }

    #[test]
    fn a_short_tail_is_padding() {
        let mut bytes = message(16, &[]);
        bytes.extend([0; 15]);
        assert_eq!(Frames::new(&bytes).count(), 1);
    }

    #[test]
    fn a_length_that_overruns_or_undercuts_ends_the_buffer() {
        for length in [0, 15, 21, 100, u32::MAX] {
            let mut bytes = message(length, &[1, 2, 3, 4]);
            bytes.extend(message(16, &[]));
            bytes.truncate(20 + 16 * usize::from(length < 16));
            let frames: Vec<_> = Frames::new(&bytes).collect();
            assert_eq!(frames.len(), 1, "length {length}");
            assert!(frames[0].is_err());
        }
    }
}
