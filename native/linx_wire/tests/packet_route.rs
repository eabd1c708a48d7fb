//! The schema walk compared with netlink-packet-route, over captured messages of every kind of
//! object.
//!
//! test/fixtures/netlink/captures.txt holds the messages, and the commands that made the objects;
//! test/fixtures/netlink/capture.exs writes it. Both readers get the same bytes. What the other one
//! has read it writes back from its own types, attribute by attribute, and that is compared with
//! the value that our walk gave.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use linx_wire::netlink::schema::{Found, MAX_HEADER, Shape, Value};
use linx_wire::netlink::{frame, rtnl};
use netlink_packet_core::{Emitable, NetlinkMessage, NetlinkPayload, Nla};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::route::{RouteAddress, RouteAttribute};

const CAPTURES: &str = include_str!("../../../test/fixtures/netlink/captures.txt");

/// A message as either reader has it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    header: Vec<u8>,
    attrs: BTreeMap<u16, Vec<u8>>,
}

fn captures() -> impl Iterator<Item = (u16, Vec<u8>)> {
    let lines = CAPTURES.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let [_, kind, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes = (0..hex.len()).step_by(2).map(byte).collect();
        (kind.parse().unwrap(), bytes)
    })
}

fn theirs(kind: u16, payload: &[u8]) -> RouteNetlinkMessage {
    let mut bytes = Vec::new();
    assert!(frame::push(&mut bytes, kind, 0, 0, payload));
    match NetlinkMessage::deserialize(&bytes).unwrap().payload {
        NetlinkPayload::InnerMessage(message) => message,
        other => panic!("{other:?}"),
    }
}

fn written<N: Nla>(header: &impl Emitable, attributes: &[N]) -> Read {
    let mut bytes = vec![0; header.buffer_len()];
    header.emit(&mut bytes);
    let attrs = attributes.iter().map(|attribute| {
        let mut value = vec![0; attribute.value_len()];
        attribute.emit_value(&mut value);
        (attribute.kind() & 0x3fff, value)
    });
    Read {
        header: bytes,
        attrs: attrs.collect(),
    }
}

fn written_back(message: &RouteNetlinkMessage) -> Read {
    match message {
        RouteNetlinkMessage::NewLink(it) => written(&it.header, &it.attributes),
        RouteNetlinkMessage::NewAddress(it) => written(&it.header, &it.attributes),
        RouteNetlinkMessage::NewRoute(it) => written(&it.header, &it.attributes),
        RouteNetlinkMessage::NewNeighbour(it) => written(&it.header, &it.attributes),
        RouteNetlinkMessage::NewRule(it) => written(&it.header, &it.attributes),
        RouteNetlinkMessage::NewStats(it) => written(&it.header, &it.attributes),
        other => panic!("{other:?}"),
    }
}

/// The schema walk's result, with each value as its bytes on the wire.
fn ours(kind: u16, payload: &[u8]) -> Read {
    let schema = rtnl::schema(kind).unwrap();
    let mut room = [0; MAX_HEADER];
    let mut read = Read {
        header: schema.header(payload, &mut room).to_vec(),
        ..Read::default()
    };
    for found in schema.walk(payload) {
        let Found::Field(slot, value) = found else {
            continue;
        };
        let (number, shape) = schema.attrs[slot];
        let bytes = match (value, shape) {
            (Value::Unsigned(n), Shape::U8) => vec![u8::try_from(n).unwrap()],
            (Value::Unsigned(n), Shape::U16) => u16::try_from(n).unwrap().to_ne_bytes().to_vec(),
            (Value::Unsigned(n), _) => n.to_ne_bytes().to_vec(),
            (Value::Signed(n), _) => n.to_ne_bytes().to_vec(),
            (Value::Bytes(text), Shape::Text) => [text, &[0]].concat(),
            (Value::Bytes(bytes), _) => bytes.to_vec(),
        };
        read.attrs.insert(number, bytes);
    }
    read
}

#[test]
fn every_field_that_both_know_is_the_same() {
    let (mut messages, mut fields) = (0, 0);
    for (kind, payload) in captures() {
        let ours = ours(kind, &payload);
        let theirs = written_back(&theirs(kind, &payload));
        assert_eq!(ours.header, theirs.header, "header of a message {kind}");
        for (number, value) in &ours.attrs {
            let other = theirs.attrs.get(number);
            assert_eq!(other, Some(value), "attribute {number} of a message {kind}");
            fields += 1;
        }
        messages += 1;
    }
    assert!(messages >= 60 && fields >= 250, "{messages} {fields}");
}

#[test]
fn nothing_that_our_tables_name_was_passed_over() {
    for (kind, payload) in captures() {
        let schema = rtnl::schema(kind).unwrap();
        let ours = ours(kind, &payload);
        for number in written_back(&theirs(kind, &payload)).attrs.keys() {
            let named = schema.attrs.iter().any(|(named, _)| named == number);
            assert_eq!(named, ours.attrs.contains_key(number), "{number} of {kind}");
        }
    }
}

// The comparison above goes through bytes. These are the meanings.
#[test]
fn names_and_addresses_mean_the_same() {
    let (mut names, mut destinations) = (0, 0);
    for (kind, payload) in captures() {
        let ours = ours(kind, &payload);
        match theirs(kind, &payload) {
            RouteNetlinkMessage::NewLink(link) => {
                let name = link
                    .attributes
                    .iter()
                    .find_map(|attribute| match attribute {
                        LinkAttribute::IfName(name) => Some(name.clone()),
                        _ => None,
                    });
                let text = ours.attrs.get(&3).map(|text| &text[..text.len() - 1]);
                assert_eq!(text, name.as_deref().map(str::as_bytes));
                names += 1;
            }
            RouteNetlinkMessage::NewRoute(route) => {
                let address = route
                    .attributes
                    .iter()
                    .find_map(|attribute| match attribute {
                        RouteAttribute::Destination(RouteAddress::Inet(ip)) => {
                            Some(ip.octets().to_vec())
                        }
                        RouteAttribute::Destination(RouteAddress::Inet6(ip)) => {
                            Some(ip.octets().to_vec())
                        }
                        _ => None,
                    });
                assert_eq!(ours.attrs.get(&1), address.as_ref());
                destinations += usize::from(address.is_some());
            }
            _ => {}
        }
    }
    assert!(names >= 9 && destinations >= 20, "{names} {destinations}");
}
