//! NLMSG_ERROR and NLMSG_DONE: the kernel's reply to a request, with the extended acknowledgement.

use super::{Attrs, align, frame, u32_at};

const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;

const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;
const NLMSGERR_ATTR_MISS_TYPE: u16 = 5;

/// The kernel's reply to one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// 0 for an acknowledgement.
    pub errno: i32,
    /// The bytes of the kernel's message, without the final NUL.
    pub text: Option<&'a [u8]>,
    /// The offset of the wrong attribute in the request, header included.
    pub offset: Option<u32>,
    /// The type of the attribute that is missing.
    pub missing: Option<u32>,
}

impl<'a> Verdict<'a> {
    /// The payload of an NLMSG_ERROR: `int error`, the header of the request, the rest of it unless
    /// it was capped, and then the attributes.
    pub fn of_error(flags: u16, payload: &'a [u8]) -> Self {
        let quoted = match u32_at(payload, 4) {
            Some(length) if flags & NLM_F_CAPPED == 0 => length as usize,
            _ => frame::HEADER,
        };
        Self::read(flags, payload, align(quoted).saturating_add(4))
    }

    /// The payload of an NLMSG_DONE: `int error` and the attributes. Some families send none at
    /// all.
    pub fn of_done(flags: u16, payload: &'a [u8]) -> Self {
        Self::read(flags, payload, 4)
    }

    fn read(flags: u16, payload: &'a [u8], attrs_at: usize) -> Self {
        let code = u32_at(payload, 0).unwrap_or_default() as i32;
        let mut verdict = Self {
            // A dump reports its length as a positive number in DONE; errors are negative.
            errno: code.min(0).saturating_neg(),
            ..Self::default()
        };
        if flags & NLM_F_ACK_TLVS != 0 {
            for (kind, value) in Attrs::new(payload.get(attrs_at..).unwrap_or_default()) {
                match kind {
                    NLMSGERR_ATTR_MSG => verdict.text = value.split(|byte| *byte == 0).next(),
                    NLMSGERR_ATTR_OFFS => verdict.offset = u32_at(value, 0),
                    NLMSGERR_ATTR_MISS_TYPE => verdict.missing = u32_at(value, 0),
                    _ => {}
                }
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The answer to an RTM_NEWROUTE whose gateway is on no link: ENETUNREACH, capped, with text and
    // offset.
    const NEXTHOP: &[u8] = &[
        0x9b, 0xff, 0xff, 0xff, 0x2c, 0, 0, 0, 0x18, 0, 5, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 1,
        0, b'N', b'e', b'x', b't', b'h', b'o', b'p', b' ', b'h', b'a', b's', b' ', b'i', b'n',
        b'v', b'a', b'l', b'i', b'd', b' ', b'g', b'a', b't', b'e', b'w', b'a', b'y', 0, 8, 0, 2,
        0, 36, 0, 0, 0,
    ];

    #[test]
    fn capped_error_with_text_and_offset() {
        let verdict = Verdict::of_error(NLM_F_CAPPED | NLM_F_ACK_TLVS, NEXTHOP);
        assert_eq!(verdict.errno, 101);
        assert_eq!(verdict.text, Some(&b"Nexthop has invalid gateway"[..]));
        assert_eq!(verdict.offset, Some(36));
    }

    #[test]
    fn any_truncation_gives_a_verdict() {
        for end in 0..NEXTHOP.len() {
            for flags in [
                0,
                NLM_F_CAPPED,
                NLM_F_ACK_TLVS,
                NLM_F_CAPPED | NLM_F_ACK_TLVS,
            ] {
                let verdict = Verdict::of_error(flags, &NEXTHOP[..end]);
                assert_eq!(verdict.errno, if end < 4 { 0 } else { 101 });
            }
        }
    }

    #[test]
    fn a_positive_number_in_done_is_no_error() {
        assert_eq!(Verdict::of_done(0, &12_i32.to_ne_bytes()).errno, 0);
        assert_eq!(Verdict::of_done(0, &(-4_i32).to_ne_bytes()).errno, 4);
        assert_eq!(Verdict::of_done(0, &i32::MIN.to_ne_bytes()).errno, i32::MAX);
    }
}
