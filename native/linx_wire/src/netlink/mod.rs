//! The netlink wire format: framing, attributes, the kernel's verdicts, and rtnetlink's messages.
//!
//! ```text
//! 0       4      6      8            12            16
//! +-------+------+------+------------+------------+----- ... -----+
//! |  len  | type | flags|    seq     |    port    |    payload    |   struct nlmsghdr
//! +-------+------+------+------------+------------+----- ... -----+
//! ```
//!
//! Everything is in native byte order. No function here panics or allocates more than its result.

pub mod attr;
pub mod frame;
pub mod rtnl;
pub mod schema;
pub mod template;
pub mod verdict;

pub use attr::Attrs;
pub use frame::{Frame, Frames, Malformed};
pub use verdict::Verdict;

/// The alignment of messages and attributes (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
const ALIGN: usize = 4;

/// The multiple of `ALIGN` from `length` on, or the last one: a message's length field has as many
/// bits as an address of a 32-bit processor.
fn align(length: usize) -> usize {
    length.saturating_add(ALIGN - 1) & !(ALIGN - 1)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*field))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_aligned_up_to_the_last_address() {
        for (length, aligned) in [(0, 0), (1, 4), (4, 4), (usize::MAX - 3, usize::MAX - 3)] {
            assert_eq!(align(length), aligned);
        }
        assert_eq!(align(usize::MAX - 2), usize::MAX - 3);
        assert_eq!(align(usize::MAX), usize::MAX - 3);
    }
}
