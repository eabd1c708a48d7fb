//! A datagram from a netlink socket: framing, answers, and every rtnetlink table.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linx_wire::netlink::{Attrs, Frames, Verdict, rtnl};

fuzz_target!(|datagram: &[u8]| {
    for frame in Frames::new(datagram) {
        let Ok(frame) = frame else { break };
        let _ = Verdict::of_error(frame.flags, frame.payload);
        let _ = Verdict::of_done(frame.flags, frame.payload);
        let mut rest = Vec::new();
        if let Some(schema) = rtnl::schema(frame.kind) {
            let slots = schema.walk(frame.payload, &mut rest);
            assert!(schema.slots() <= slots.len());
        }
        for (_, nested) in Attrs::new(frame.payload) {
            assert!(nested.len() <= frame.payload.len());
            let _ = Attrs::new(nested).count();
        }
    }
});
