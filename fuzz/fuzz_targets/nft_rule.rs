//! The expressions of an nf_tables rule: what is left when its values are taken out is a pattern of itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linx_wire::netlink::pattern::Pattern;

fuzz_target!(|expressions: &[u8]| {
    let mut pattern = Pattern::default();
    pattern.read(expressions);
    assert_eq!(pattern.bytes.len(), expressions.len());
    let mut again = Pattern::default();
    again.read(&pattern.bytes);
    assert_eq!(again.bytes, pattern.bytes);
    assert_eq!(again.blanks.len(), pattern.blanks.len());
});
