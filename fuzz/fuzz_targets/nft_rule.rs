//! The expressions of an nf_tables rule: the template of a template is the template itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linx_wire::netlink::template::Template;

fuzz_target!(|expressions: &[u8]| {
    let mut template = Template::default();
    template.read(expressions);
    assert_eq!(template.bytes.len(), expressions.len());
    let mut again = Template::default();
    again.read(&template.bytes);
    assert_eq!(again.bytes, template.bytes);
    assert_eq!(again.placeholders.len(), template.placeholders.len());
});
