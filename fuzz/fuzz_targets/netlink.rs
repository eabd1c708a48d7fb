//! A datagram from a netlink socket: framing, answers, every rtnetlink table, and the templates of
//! nf_tables rules.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linx_wire::netlink::template::Template;
use linx_wire::netlink::schema::{Found, MAX_HEADER};
use linx_wire::netlink::{Attrs, Frames, Verdict, rtnl};

fuzz_target!(|datagram: &[u8]| {
    for frame in Frames::new(datagram) {
        let Ok(frame) = frame else { break };
        let _ = Verdict::of_error(frame.flags, frame.payload);
        let _ = Verdict::of_done(frame.flags, frame.payload);
        if let Some(schema) = rtnl::schema(frame.kind) {
            let mut room = [0; MAX_HEADER];
            assert_eq!(schema.header(frame.payload, &mut room).len(), schema.header);
            for found in schema.walk(frame.payload) {
                assert!(!matches!(found, Found::Field(slot, _) if slot >= schema.attrs.len()));
            }
        }
        for (_, nested) in Attrs::new(frame.payload) {
            assert!(nested.len() <= frame.payload.len());
            let mut template = Template::default();
            template.read(nested);
            assert_eq!(template.bytes.len(), nested.len());
            let _ = Attrs::new(nested).count();
        }
    }
});
